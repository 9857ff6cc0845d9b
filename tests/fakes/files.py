"""A fake of the kernel's news of files: a story says which changed."""

from __future__ import annotations

from collections.abc import Callable, Collection

import trio

from supervisor.filenews import Changed


class FakeFiles(dict[str, str]):
    """The first line of each file, by its path; a `FilePort` that tells of those that a story writes by `write`."""

    def __init__(self) -> None:
        super().__init__()
        self._changed: Changed = _nobody_hears
        self._again = trio.Event()

    def write(self, path: str, line: str) -> None:
        """A file says something else, and the kernel tells of it. (What is just put into the dictionary is found by looking.)"""
        self[path] = line
        self._changed((path,))

    async def watch(self, files: Callable[[], Collection[str]], changed: Changed) -> None:
        """Tell what a story writes of these files, until cancelled."""
        try:
            while True:
                self._again = trio.Event()
                self._changed = changed
                changed(files())
                await self._again.wait()
        finally:
            self._changed = _nobody_hears

    def look_again(self) -> None:
        """See FilePort."""
        self._again.set()


def _nobody_hears(files: Collection[str]) -> int:
    del files
    return 0
