"""Passwords against bcrypt hashes, in a process of their own: a comparison takes 70 ms and more, and the exporter must not stand still.

The walls of the exporter allow no thread, so it forks this one before they go up, and it puts up the same around itself. It knows nothing:
a hash and a password come in, one byte goes out. It ends when the exporter does. Sources: fork(2); bcrypt (PyPI).
"""

from __future__ import annotations

import hmac
import os
import secrets
import signal
import socket
from collections.abc import Mapping

import trio

from checkers.kit import policies
from checkers.kit.cage import Walls, confine

ANSWER_MAX_S = 5.0
"""Longest wait for one comparison; the highest cost that is taken (`webconfig.COSTS`) needs about one second."""

WAITING_MAX = 4
"""Requests that may wait for a comparison; whoever comes then is told to come again. Right passwords are compared once and remembered."""

KNOWN_MAX = 128
"""Passwords, right and wrong ones, that are remembered."""

MEMORY_MAX_BYTES = 256 << 20
PASSWORD_MAX_BYTES = 72
"""What bcrypt looks at; a longer one is wrong."""

_NOBODY = "$2b${:02d}$" + 53 * "."
"""A hash that no password has: who names an unknown user waits as long as who names a known one."""


class TooManyWait(Exception):
    """There is no room for one more comparison just now."""


def fork(uid: int | None, gid: int | None, *unneeded: int) -> socket.socket:
    """Start the verifier and return our end of its socket; `unneeded` are descriptors that it closes. Before any walls and any thread."""
    import bcrypt  # noqa: PLC0415  only who has passwords needs the library

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork():
        theirs.close()
        return ours
    status = 70  # EX_SOFTWARE
    try:
        ours.close()
        for number in unneeded:
            os.close(number)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        confine(
            uid,
            gid,
            32,
            Walls(policies.EXPORTER, shut=True, shut_tcp=True, limited=True, memory_bytes=MEMORY_MAX_BYTES),
        )
        while data := theirs.recv(4096):
            hashed, _, password = data.partition(b"\n")
            theirs.send(b"1" if _fits(bcrypt.checkpw, password, hashed) else b"0")
        status = 0
    finally:
        os._exit(status)
    raise AssertionError


def _fits(check: object, password: bytes, hashed: bytes) -> bool:
    assert callable(check)
    try:
        return bool(check(password, hashed))
    except ValueError:  # no hash, or a password that bcrypt refuses
        return False


class Passwords:
    """Asks the verifier, and remembers what it said for as long as the users are the same."""

    def __init__(self, verifier: socket.socket | None) -> None:
        self._verifier = None if verifier is None else trio.socket.from_stdlib_socket(verifier)
        self._asking = trio.Lock()
        self._users: Mapping[str, str] = {}
        self._known: dict[bytes, bool] = {}
        self._key = secrets.token_bytes(32)

    def take(self, users: Mapping[str, str]) -> None:
        """Know these users (name → bcrypt hash) from now on."""
        self._users = dict(users)
        self._known.clear()

    def close(self) -> None:
        """Let go of the verifier, which ends."""
        if self._verifier is not None:
            self._verifier.close()

    async def fits(self, user: str, password: bytes) -> bool:
        """Tell whether a password is the user's. Raises TooManyWait; OSError when there is no verifier."""
        hashed = self._users.get(user)
        costs = (int(each.split("$")[2]) for each in self._users.values())
        looked_at = hashed or _NOBODY.format(max(costs, default=10))
        name = hmac.digest(self._key, looked_at.encode() + b"\n" + password, "sha256")
        if name not in self._known:
            if self._asking.statistics().tasks_waiting >= WAITING_MAX:
                raise TooManyWait
            async with self._asking:
                fits = name in self._known or await self._ask(looked_at.encode(), password)
            while len(self._known) >= KNOWN_MAX:
                del self._known[next(iter(self._known))]
            self._known.setdefault(name, fits)
        return self._known[name] and hashed is not None

    async def _ask(self, hashed: bytes, password: bytes) -> bool:
        if not 0 < len(password) <= PASSWORD_MAX_BYTES:
            return False
        if self._verifier is None:
            raise OSError("no verifier")
        with trio.fail_after(ANSWER_MAX_S):
            await self._verifier.send(hashed + b"\n" + password)
            said = await self._verifier.recv(1)
        if not said:
            raise OSError("the verifier is gone")
        return said == b"1"
