"""Starts a child process: one socket pair, nothing else inherited, no way back to our privileges.

A child runs as our own user only until it has imported its code; then, before its first byte from anywhere, it locks itself up
(`checkers.kit.cage`). That order lets a virtual environment stand in a folder that the unprivileged user cannot read.
Its messages go to our standard error, never into the log's stream.
"""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import trio

from checkers.kit import cage
from checkers.kit.frozen import frozen
from supervisor.log import Log

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds both packages; a child finds its code there, wherever it was started."""


_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

_FIELDS_MAX_BYTES = 256
"""statm has seven numbers and schedstat three, of at most 20 digits each."""


class UnknownUser(Exception):
    """The user that children shall run as does not exist; the text names the remedy."""


@frozen
class Account:
    """Who a child becomes. None: it stays who we are (we are not root and could not change it)."""

    uid: int | None
    gid: int | None

    def arguments(self) -> list[str]:
        """Return the command-line arguments that tell a child."""
        return [] if self.uid is None or self.gid is None else ["--uid", str(self.uid), "--gid", str(self.gid)]


def account(name: str) -> Account:
    """Return the account of an unprivileged user. Raises UnknownUser for a name that does not exist, and for root itself."""
    if os.geteuid() != 0:
        return Account(None, None)
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise UnknownUser(f"--user {name}: no such user; create it or name another unprivileged one") from None
    if entry.pw_uid == 0:
        raise UnknownUser(f"--user {name}: children must not run as root; name an unprivileged user such as nobody")
    return Account(entry.pw_uid, entry.pw_gid)


class Child(Protocol):
    """A running child, whether a process or (in a story) a task."""

    pid: int

    async def wait(self) -> str:
        """Wait for its end and return how it ended: "exit 0", "signal SIGKILL"."""

    def kill(self) -> None:
        """End it at once; never raises."""


class ProcessChild:
    """A child that is a process."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self.pid = process.pid

    async def wait(self) -> str:
        """See `Child.wait`."""
        status = await self._process.wait()
        if status >= 0:
            return f"exit {status}"
        try:
            return f"signal {signal.Signals(-status).name}"
        except ValueError:
            return f"signal {-status}"

    def kill(self) -> None:
        """See `Child.kill`."""
        try:
            self._process.kill()
        except OSError:  # it is gone already, or (a stopped one of another user) not ours to kill any more
            return


def memory_bytes(pid: int) -> int:
    """Return how much memory a process has in use (proc(5), statm, resident), 0 when that cannot be known."""
    try:
        return int(_fields(pid, "statm")[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0


def waited_s(pid: int) -> float | None:
    """Return how long a process has waited for a processor so far (schedstat of proc(5), second number), None when it cannot be known."""
    try:
        return int(_fields(pid, "schedstat")[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return None


def _fields(pid: int, name: str) -> list[bytes]:
    """Return the words of a short file of a process. Raises OSError.

    Asked for at each beat of each worker, and a third of the system calls that a file of Python makes.
    """
    file = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, _FIELDS_MAX_BYTES).split()
    finally:
        os.close(file)


def complain_of_cage(name: str, caged: str, log: Log) -> None:
    """Say in the log what a process could not get of its cage, if anything; `caged` is its own text (`checkers.kit.cage`)."""
    lacks = cage.lacks(caged)
    if lacks:
        log.emit(
            "cage.incomplete",
            f"{name} runs without {lacks.replace(',', ', ')}: this kernel does not have it, or does not let us.",
            worker=name,
            lacks=lacks,
            caged=caged,
        )


async def start(module: str, arguments: Sequence[str], kind: socket.SocketKind) -> tuple[ProcessChild, socket.socket]:
    """Start `python -m MODULE --link-fd N ARGUMENTS` and return it with our end of its Unix socket pair.

    Raises OSError when no process can be had.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    try:
        environment = {name: value for name, value in os.environ.items() if name in KEPT_VARIABLES}
        environment["PYTHONPATH"] = str(PACKAGE_ROOT)
        process = await trio.lowlevel.open_process(
            [sys.executable, "-P", "-m", module, "--link-fd", str(theirs.fileno()), *arguments],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            env=environment,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return ProcessChild(process), ours


KEPT_VARIABLES = frozenset(
    {"PATH", "LANG", "LC_ALL", "TZ", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONHASHSEED", "VIRTUAL_ENV"}
)
"""Environment that a child keeps; anything else (preloads, proxies, secrets) stays with us."""
