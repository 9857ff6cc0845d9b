"""Track files while the program runs: the values that they begin with, and who is to look when one has changed.

The first value is `init_file` of its block, written when the daemon starts. As keepalived does it: at the start a file with
`overwrite`, and at the start and at a reload one that is not there. What stands there is replaced by a new file, never written through a
link; its mode is 0600. A value that cannot be written is told and no reason not to go on: the check reads what is there. Must never be
called where a configuration is only looked at. Source: keepalived 2.2.7 itself.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from supervisor.filenews import FilePort
from supervisor.log import Log
from supervisor.model import CheckSpec, TrackFile


def begin(files: Iterable[TrackFile], log: Log, *, starting: bool) -> None:
    """Write the values to begin with; `starting` is False at a reload, where nothing is overwritten."""
    for file in files:
        if file.initial is None or (os.path.lexists(file.path) and not (starting and file.overwrite)):
            continue
        try:
            _write(Path(file.path), f"{file.initial}\n")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            log.emit(
                "track_file.unwritten",
                f"The first value of track_file {file.name} could not be written to {file.path}: {reason}.",
                path=file.path,
                reason=reason,
            )


class Lookers:
    """Has the checks of a file look at it when the kernel has news of it. One task runs `run`."""

    def __init__(
        self, port: FilePort, jobs: Callable[[], Mapping[CheckSpec, int]], look: Callable[[Collection[int]], None]
    ) -> None:
        """`jobs` returns every job that is to be checked now; `look` has some of them look at once."""
        self._port = port
        self._jobs = jobs
        self._look = look
        self._by_file: dict[str, list[int]] = {}

    async def run(self) -> None:
        """Do so until cancelled."""
        await self._port.watch(self._files, self._changed)

    def reconfigured(self) -> None:
        """There are other jobs. Returns at once."""
        self._port.look_again()

    def _files(self) -> Collection[str]:
        self._by_file = {}
        for spec, job in self._jobs().items():
            if spec.type == "FILE_CHECK":
                self._by_file.setdefault(json.loads(spec.options_json)["path"], []).append(job)
        return self._by_file.keys()

    def _changed(self, files: Collection[str]) -> int:
        jobs = [job for file in files for job in self._by_file.get(file, ())]
        self._look(jobs)
        return len(jobs)


def _write(path: Path, text: str) -> None:
    """Put a new file of mode 0600 in the place, whole from its first moment. Raises OSError, ValueError."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as new:
            new.write(text)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink()
        raise
