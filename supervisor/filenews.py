"""The kernel's news of files: which of those that FILE_CHECKs watch was written, replaced or removed just now.

A folder is watched for each file, because a file is often replaced by another of its name; where the file is a link, the folder of what
it leads to as well. Whoever gets the news reads the file anyway every second (`checkers.file`), so nothing depends on it: a folder that
cannot be watched, a file system whose changes are made elsewhere, or a machine without watches left costs that second and no more.

Reads nothing of a file; decides nothing. Sources: inotify(7).
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import trio

REST_MIN_S = 0.1
"""Least pause between two pieces of news; what changes meanwhile is one of them. A file that never rests costs ten looks a second."""

REST_PER_LOOK_S = 0.005
"""And so much for each check that looked at the last one: 200 looks a second at most, whoever writes the files. Ours."""

REST_MAX_S = 1.0
"""They are looked at every second anyway."""

AGAIN_S = 30.0
"""A folder that could not be watched is tried again after so long; that there is one now nobody tells."""

_CLOEXEC_NONBLOCK = os.O_CLOEXEC | os.O_NONBLOCK  # IN_CLOEXEC and IN_NONBLOCK are the same numbers
_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _DELETE = 0x8, 0x40, 0x80, 0x200
_OVERFLOW, _IGNORED = 0x4000, 0x8000
_ONLY_FOLDERS = 0x0100_0000
_NEWS = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _DELETE | _ONLY_FOLDERS
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name; the name follows
_READ_BYTES = 65_536

Changed = Callable[[Collection[str]], int]
"""Takes the files that changed, by the names that were given; returns how many checks look at them now."""


class FilePort(Protocol):
    """What the wiring needs of whoever hears of files; stories pass a fake."""

    async def watch(self, files: Callable[[], Collection[str]], changed: Changed) -> None:
        """Tell which of the files changed, until cancelled. All of them may have when watching begins."""

    def look_again(self) -> None:
        """There are other files."""


class KernelFiles:
    """The files of this machine."""

    def __init__(self) -> None:
        self._again = trio.Event()

    def look_again(self) -> None:
        """See FilePort."""
        self._again.set()

    async def watch(self, files: Callable[[], Collection[str]], changed: Changed) -> None:
        """See FilePort."""
        while True:
            self._again = trio.Event()
            wanted = tuple(files())
            if not wanted:
                await self._again.wait()
                continue
            # a thread, because a folder may be on a server that hangs
            lookout = await trio.to_thread.run_sync(Lookout, wanted, abandon_on_cancel=True)
            try:
                changed(wanted)
                await trio.sleep(REST_MIN_S)
                with trio.move_on_after(AGAIN_S if lookout.missing else float("inf")):
                    await self._listen(lookout, changed)
            finally:
                lookout.close()

    async def _listen(self, lookout: Lookout, changed: Changed) -> None:
        """Tell what the lookout sees, until there are other files or a folder of them went away."""
        while True:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_first, lookout.readable, nursery.cancel_scope)
                nursery.start_soon(_first, self._again.wait, nursery.cancel_scope)
            if self._again.is_set():
                return
            missing, seen = lookout.missing, lookout.read()
            looks = changed(seen) if seen else 0
            await trio.sleep(min(max(REST_MIN_S, REST_PER_LOOK_S * looks), REST_MAX_S))
            if lookout.missing and not missing:
                return


async def _first(wait: Callable[[], Awaitable[object]], scope: trio.CancelScope) -> None:
    await wait()
    scope.cancel()


class Lookout:
    """Watches over some files from now on. `missing` tells that not all of their folders are watched."""

    def __init__(self, files: Iterable[str]) -> None:
        self._files = tuple(files)
        self._watches: dict[int, dict[bytes, list[str]]] = {}
        self._descriptor = _libc.inotify_init1(_CLOEXEC_NONBLOCK)
        folders, self.missing = _by_folder(self._files)
        for folder, names in folders.items():
            watch = _libc.inotify_add_watch(self._descriptor, folder, _NEWS) if self._descriptor >= 0 else -1
            if watch < 0:
                self.missing = True
                continue
            known = self._watches.setdefault(watch, {})  # two names of one folder are one watch
            for name, meant in names.items():
                known.setdefault(name, []).extend(meant)

    async def readable(self) -> None:
        """Wait until there may be something to read."""
        if self._descriptor < 0:
            await trio.sleep_forever()
        await trio.lowlevel.wait_readable(self._descriptor)

    def read(self) -> tuple[str, ...]:
        """Return the files of which there is news; all of them when the kernel had more than it could keep."""
        changed: dict[str, None] = {}
        with suppress(BlockingIOError):
            data = os.read(self._descriptor, _READ_BYTES)
            at = 0
            while at < len(data):
                watch, mask, _, length = _EVENT.unpack_from(data, at)
                name = data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
                at += _EVENT.size + length
                if mask & _OVERFLOW:
                    return self._files
                self.missing |= bool(mask & _IGNORED)  # the folder is gone
                changed.update(dict.fromkeys(self._watches.get(watch, {}).get(name, ())))
        return tuple(changed)

    def close(self) -> None:
        """Watch no more."""
        if self._descriptor >= 0:
            trio.lowlevel.notify_closing(self._descriptor)
            os.close(self._descriptor)


def _by_folder(files: Iterable[str]) -> tuple[Mapping[bytes, Mapping[bytes, list[str]]], bool]:
    """Return, by folder and by name in it, the files that are meant (where they stand and lead to); and whether one is missing."""
    folders: dict[bytes, dict[bytes, list[str]]] = {}
    missing = False
    for file in files:
        try:
            paths = {Path(file).absolute(), Path(os.path.realpath(file))}
        except (OSError, ValueError):  # no working directory any more; a name that no file can have
            missing = True
            continue
        for path in paths:
            folder = folders.setdefault(os.fsencode(path.parent), {})
            folder.setdefault(os.fsencode(path.name), []).append(file)
    return folders, missing


_libc = ctypes.CDLL(None, use_errno=True)
