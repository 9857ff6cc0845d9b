"""Makes and opens named pipes for lines that somebody reads, or does not.

A pipe that is missing is made with mode 0600 for the owner that the configuration names, although we may not change owners: it is made
as that owner, in a folder of ours that only he can enter, and moved to its place. What is there already is used as it is, if it is a
pipe; it is opened as its owner, for we may not do all that root may. We hold it for reading too, so that lines stay in it while nobody
else reads.
Sources: fifo(7), pipe(7), setfsuid(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import grp
import os
import pwd
import secrets
import stat
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from supervisor.model import Fifo

MODE = 0o600

_libc = ctypes.CDLL(None, use_errno=True)


class NamedPipe:
    """An open named pipe. `made`: by us, so we remove it."""

    def __init__(self, path: Path, descriptor: int, *, made: bool) -> None:
        self._path = path
        self._descriptor = descriptor
        self._made = made

    def write(self, line: bytes) -> bool:
        """Write one line (at most PIPE_BUF, 4096 bytes, so all of it or nothing) and tell whether it went in."""
        try:
            return os.write(self._descriptor, line) == len(line)
        except OSError:  # full, or taken from us
            return False

    def close(self) -> None:
        """Close it, and remove it if we made it and it is still the one at its path."""
        ours = os.fstat(self._descriptor)
        os.close(self._descriptor)
        with contextlib.suppress(OSError):
            there = self._path.lstat()
            if self._made and (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                self._path.unlink()


def open_pipe(fifo: Fifo) -> NamedPipe:
    """Open a named pipe, making it where it is missing. Raises OSError, for an unknown owner too."""
    path = Path(fifo.path)
    made = not os.path.lexists(path)
    if made:
        _make(path, fifo)
    handle = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        there = os.fstat(handle)
        if not stat.S_ISFIFO(there.st_mode):
            raise OSError(errno.EEXIST, "there is something else, and it is no named pipe")
        owner = nullcontext() if os.geteuid() != 0 else _files_as(there.st_uid, there.st_gid)
        with owner:  # who need not be able to come all the way to it
            descriptor = os.open(f"/proc/self/fd/{handle}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        os.close(handle)
    return NamedPipe(path, descriptor, made=made)


def _make(path: Path, fifo: Fifo) -> None:
    """Raises OSError."""
    uid, gid = _owner(fifo)
    if (uid, gid) == (os.geteuid(), os.getegid()):
        _fifo(path.name, _opened(path.parent))
        return
    if os.geteuid() != 0:
        raise PermissionError(
            errno.EPERM, f"it cannot be made for user {fifo.user}: the daemon was not started by root"
        )
    workshop = path.with_name(f".{path.name[:32]}.{secrets.token_hex(8)}")
    with _files_as(0, gid):
        workshop.mkdir(mode=0o700)
        workshop.chmod(0o730)  # its group is the owner's, who may make things there; nobody else gets in
    try:
        inside = _opened(workshop)  # by us: the owner need not be able to come all the way
        with _files_as(uid, gid):
            _fifo("pipe", inside)
        (workshop / "pipe").rename(path)
    finally:
        with contextlib.suppress(OSError):
            (workshop / "pipe").unlink(missing_ok=True)
        workshop.rmdir()


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _fifo(name: str, folder: int) -> None:
    """Make one in an open folder, which is closed then. Raises OSError."""
    umask = os.umask(0)
    try:
        os.mkfifo(name, MODE, dir_fd=folder)
    finally:
        os.umask(umask)
        os.close(folder)


def _owner(fifo: Fifo) -> tuple[int, int]:
    """Raises OSError."""
    try:
        entry = pwd.getpwnam(fifo.user) if fifo.user else None
        named = grp.getgrnam(fifo.group).gr_gid if fifo.group else None
    except KeyError:
        who = " ".join(filter(None, (fifo.user, fifo.group)))
        raise OSError(errno.EINVAL, f"there is no such owner: {who}") from None
    uid, main = (entry.pw_uid, entry.pw_gid) if entry else (os.geteuid(), os.getegid())
    return uid, main if named is None else named


@contextlib.contextmanager
def _files_as(uid: int, gid: int) -> Iterator[None]:
    """Meanwhile, to the file system, this thread is somebody else. Raises OSError."""
    before = os.geteuid(), os.getegid()
    _become(uid, gid)
    try:
        yield
    finally:
        _become(*before)


def _become(uid: int, gid: int) -> None:
    """Raises OSError. The calls say nothing themselves but who it was before, so they are asked twice."""
    for call, number in ((_libc.setfsgid, gid), (_libc.setfsuid, uid)):
        call(number)
        if call(number) != number:
            raise PermissionError(errno.EPERM, f"we may not act as {number}")
