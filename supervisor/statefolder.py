"""The state directory: files that are always whole, replaced at one stroke, and the damaged ones that were set aside.

A write goes to a new file, to the disk, and then takes the old one's name: whoever dies in the middle leaves the old file as it was,
and a power cut shows the old one or the new one, never half of either. What is appended is on the disk when the system thinks fit, and
may end in the middle. Nothing here decides what a file is worth.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import trio

from checkers.kit.frozen import frozen
from supervisor.core.memory import Life

NAME = "state.json"
"""What the next start must know (`statefile`)."""

JOURNAL = "history.jsonl"
"""What people may ask about (`journal`)."""

ASIDE_MAX = 3
"""Damaged files that are kept for whoever wants to know; the oldest go."""


@frozen
class Found:
    """What a store held; `alive_at` (Unix seconds) is when it was last written or touched."""

    data: bytes
    alive_at: float


class Store(Protocol):
    """Where one file is kept. The real one is `Folder`; a fake passes the same contract (tests/contract/test_store.py)."""

    path: Path

    def read(self, limit_bytes: int) -> Found | None:
        """Return what is there, at most one byte more than the limit; None: nothing. Raises OSError."""

    def write(self, data: bytes) -> None:
        """Replace what is there, wholly or not at all. Raises OSError."""

    def append(self, data: bytes) -> None:
        """Add to what is there; a part of it may be added all the same when it goes wrong. Raises OSError, also when nothing is there."""

    def touch(self) -> None:
        """Say that whoever wrote it lives. Raises OSError."""

    def set_aside(self, suffix: str) -> Path:
        """Give what is there another name, so that nothing is there any more, and return it. Raises OSError."""


class Folder:
    """A file in a directory of the file system, which is made when it is not there (mode 0700)."""

    def __init__(self, folder: Path, name: str = NAME) -> None:
        self.folder = folder
        self.path = folder / name

    def read(self, limit_bytes: int) -> Found | None:
        """Return the file. No link is followed, and what is no file is an error: a pipe would never end."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(f"{self.path} is no regular file")
            return Found(file.read(limit_bytes + 1), status.st_mtime)

    def write(self, data: bytes) -> None:
        """Replace the file."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self.folder / f"{self.path.name}.new"
        new.unlink(missing_ok=True)  # of one that died while writing
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise
        self._sync()

    def append(self, data: bytes) -> None:
        """Write at the end of the file. No link is followed, and nothing is waited for."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)

    def touch(self) -> None:
        """Set the file's time to now."""
        os.utime(self.path, follow_symlinks=False)

    def set_aside(self, suffix: str) -> Path:
        """Rename the file to NAME.SUFFIX; of the damaged ones the newest few stay."""
        aside = self.folder / f"{self.path.name}.{suffix}"
        self.path.rename(aside)
        damaged = sorted(self.folder.glob(f"{self.path.name}.damaged-*"))
        for old in damaged[:-ASIDE_MAX]:
            old.unlink(missing_ok=True)
        self._sync()
        return aside

    def _sync(self) -> None:
        """Have the names of the folder on the disk."""
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def present_life() -> Life:
    """Return which boot of the machine and which network namespace this is.

    The number of a namespace is given again when it is gone; its cookie (Linux 5.14) never is.
    """
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        network = str(Path("/proc/self/ns/net").readlink())
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as any_socket:
            network += (
                f" {int.from_bytes(any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)}"
            )
    except OSError:
        return Life()
    return Life(boot_id, network)


async def attempt(work: Callable[[], None], *, in_thread: bool) -> str | None:
    """Do what blocks, in a thread where there may be one; return what went wrong. One that hangs on its disk is left behind at the end."""
    try:
        if in_thread:
            await trio.to_thread.run_sync(work, abandon_on_cancel=True)
        else:
            work()
    except OSError as error:
        return reason_of(error)
    return None


def reason_of(error: OSError) -> str:
    """Return an error in words, with the remedy where there is one."""
    name = errno.errorcode.get(error.errno or 0, "")
    text = error.strerror or str(error)
    remedy = ""
    if error.errno in {errno.EACCES, errno.EPERM}:
        remedy = f" (the directory must belong to user {os.geteuid()}: root without all its rights may write no other)"
    return f"{name} {text}".strip() + remedy


_SO_NETNS_COOKIE = 71  # asm-generic/socket.h


def damaged_suffix(wall: datetime) -> str:
    """Return the suffix of a file that was damaged at a moment; they sort by time."""
    return f"damaged-{wall.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def default_folder(environment: Mapping[str, str], uid: int) -> Path | None:
    """Return where the state is kept when nobody says otherwise; None where there is no home either.

    systemd names what StateDirectory= made (systemd.exec(5)); its list is parted by colons.
    """
    return next(_folders(environment, uid), None)


def _folders(environment: Mapping[str, str], uid: int) -> Iterator[Path]:
    given = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        yield Path(given)
    if uid == 0:
        yield Path("/var/lib/vipervisor")
    states, home = environment.get("XDG_STATE_HOME", ""), environment.get("HOME", "")
    if states.startswith("/"):
        yield Path(states) / "vipervisor"
    if home.startswith("/"):
        yield Path(home) / ".local" / "state" / "vipervisor"
