"""The values that track files begin with: `init_file` of their blocks, written when the daemon starts.

As keepalived does it: at the start a file with `overwrite`, and at the start and at a reload one that is not there. What stands there
is replaced by a new file, never written through a link; its mode is 0600. A value that cannot be written is told and no reason not to
go on: the check reads what is there. Must never be called where a configuration is only looked at. Source: keepalived 2.2.7 itself.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from supervisor.log import Log
from supervisor.model import TrackFile


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
