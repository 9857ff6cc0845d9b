"""The admin socket: a Unix stream socket that answers the operator's questions and takes their orders.

Who connects is known by what the kernel says of them (SO_PEERCRED, SO_PEERGROUPS: unix(7)); what they may, `access` decides. Only the
daemon's own user can connect at all (mode 0600), or the members of the admin group as well (mode 0660).
Limits: one request line of `protocol.REQUEST_MAX_BYTES`, `PATIENCE_S` for a client to ask, the verb's own limit for the answer,
`ANSWER_S` for the client to take it, `CLIENTS_MAX` at once. Who is there without having asked makes room for who comes: silent clients,
however many, keep nobody out. A client can make the server wait for nothing but itself, and when it goes, its order is carried out still.
One who follows events keeps its seat until it goes, or takes no event for `ANSWER_S`; what it is too slow for is dropped, and told.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import trio

from supervisor.admin import protocol
from supervisor.admin.access import Caller
from supervisor.admin.desk import Desk, More, Reply
from supervisor.admin.protocol import RequestError, Status

CLIENTS_MAX = 16
"""Clients at once: operators, and a few scripts of theirs."""

PATIENCE_S = 5.0
"""How long a client may take to ask."""

ANSWER_S = 10.0
"""How long a client may take to read its answer (some megabytes, with ten thousand servers)."""

NAME_MAX_S = 1.0
"""How long the lookup of an account's name may take; a directory service that hangs costs the name, not the answer."""

NAMES_MAX = 4
"""Lookups of names under way; those that hang must not use up the threads that others need."""

_BACKLOG = 64
_PEER_CREDENTIALS = struct.Struct("=iII")  # struct ucred: pid, uid, gid
_PEER_GROUPS = 59  # SO_PEERGROUPS, asm-generic/socket.h, Linux 4.13; Python has no name for it
_GROUPS_MAX_BYTES = 1024  # the most that Python asks for: 256 groups


class SocketTaken(Exception):
    """The socket cannot be ours; the text names the remedy."""


def listen(path: Path, group: int | None = None) -> socket.socket:
    """Open the admin socket at `path`: mode 0600 in a folder that only its owner can write, or 0660 with a `group` (its gid).

    A socket file that a dead daemon left is replaced. Raises SocketTaken when a live one answers there, the folder is not fit, or the
    socket cannot be given to the group.
    """
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder = path.parent.stat()
        if folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX:
            raise SocketTaken(f"{path.parent}: anybody may write there; choose another --admin-socket")
        _remove_dead(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        mask = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(mask)
        if group is not None:
            _give(path, group)
        sock.listen(_BACKLOG)
    except OSError as error:
        raise SocketTaken(f"{path}: {error.strerror or error}; choose another --admin-socket") from error
    sock.setblocking(False)
    return sock


def _give(path: Path, group: int) -> None:
    """Let a group connect. Raises SocketTaken when we are no member of it and may not become one.

    The owner of a file may give it to a group of its own (chown(2)); we have no CAP_CHOWN, and as root have CAP_SETGID.
    """
    own = os.getegid()
    try:
        with contextlib.suppress(PermissionError):
            os.setegid(group)
        os.chown(path, -1, group)
    except PermissionError as error:
        raise SocketTaken(f"{path}: the daemon's own user is no member of group {group}; make it one") from error
    finally:
        os.setegid(own)
    path.chmod(0o660)


def _remove_dead(path: Path) -> None:
    """Remove a socket file that nobody listens on. Raises SocketTaken when somebody does, or it is no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SocketTaken(f"{path}: is there already and is no socket; choose another --admin-socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            return
    raise SocketTaken(f"{path}: a running vipervisor answers there; stop it, or choose another --admin-socket")


async def serve(sock: socket.socket, desk: Desk, version: str) -> None:
    """Answer until cancelled."""
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    seats = _Seats()

    async def attend(stream: trio.SocketStream) -> None:
        async with stream:
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await _attend(stream, desk, version, seats)

    await trio.serve_listeners(attend, [listener])


class _Seats:
    """CLIENTS_MAX of them. The one that is silent longest makes room; who has asked stays until answered."""

    def __init__(self) -> None:
        self._taken = 0
        self._silent: dict[trio.CancelScope, None] = {}
        self.naming = trio.CapacityLimiter(NAMES_MAX)

    def free(self) -> bool:
        """Tell whether one more can be seated, after whoever may have to go was told to."""
        if self._taken < CLIENTS_MAX:
            return True
        if not self._silent:
            return False
        oldest = next(iter(self._silent))
        del self._silent[oldest]
        oldest.cancel()
        return True

    @contextlib.contextmanager
    def seated(self) -> Iterator[None]:
        """One seat."""
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """The time until a client has asked; over at PATIENCE_S, or when the seat is needed."""
        with trio.move_on_after(PATIENCE_S) as scope:
            self._silent[scope] = None
            try:
                yield
            finally:
                self._silent.pop(scope, None)


async def _attend(stream: trio.SocketStream, desk: Desk, version: str, seats: _Seats) -> None:
    """Greet, read one request, answer it."""
    if not seats.free():
        busy = RequestError(f"busy with the orders of {CLIENTS_MAX} others; ask again", Status.REFUSED)
        with trio.move_on_after(ANSWER_S):
            await stream.send_all(protocol.greeting(version) + protocol.encode_error(0, busy))
        return
    with seats.seated():
        line: bytes | None = None
        with seats.silent():
            await stream.send_all(protocol.greeting(version))
            line = await _request_line(stream)
        if line:
            reply = await desk.answer(line, await _caller(stream, seats.naming))
            if reply.more is None:
                await _taken(stream, reply.line)
            else:
                await _follow(stream, reply, reply.more)


async def _follow(stream: trio.SocketStream, reply: Reply, more: AbstractContextManager[More]) -> None:
    """Answer, and then say each event as it comes, until the client hangs up or takes no more."""
    with more as follower:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at_the_end_of, stream, nursery.cancel_scope)
            line = reply.line
            while await _taken(stream, line):
                event = await follower.next()
                dropped = follower.take_dropped()
                line = protocol.encode_dropped(reply.number, dropped) if dropped else b""
                line += protocol.encode_event(reply.number, event)
            nursery.cancel_scope.cancel()


async def _cancel_at_the_end_of(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        while await stream.receive_some(65536):
            pass  # a follower has nothing to say
    scope.cancel()


async def _taken(stream: trio.SocketStream, line: bytes) -> bool:
    """Say a line; tell whether the client took it in time."""
    with contextlib.suppress(trio.BrokenResourceError), trio.move_on_after(ANSWER_S):
        await stream.send_all(line)
        return True
    return False


async def _request_line(stream: trio.SocketStream) -> bytes:
    """Return the first line, or what is there of it when it is too long or the client says no more."""
    line = bytearray()
    data = b""
    while b"\n" not in data:
        data = await stream.receive_some(65536)
        line += data
        if not data or len(line) > protocol.REQUEST_MAX_BYTES:
            break
    return bytes(line).split(b"\n", 1)[0].strip()


async def _caller(stream: trio.SocketStream, naming: trio.CapacityLimiter) -> Caller:
    """Return who is at the other end, as the kernel says. The account's name may come from a slow directory, so a thread asks for it."""
    option = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
    pid, uid, gid = _PEER_CREDENTIALS.unpack(option)
    user = ""
    with trio.move_on_after(NAME_MAX_S):
        user = await trio.to_thread.run_sync(_user, uid, abandon_on_cancel=True, limiter=naming)
    return Caller(uid, gid, pid, user, _groups(stream))


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _groups(stream: trio.SocketStream) -> frozenset[int]:
    """Return the supplementary groups of the other end; none when the kernel does not tell, or they are more than 256."""
    try:
        option = stream.socket.getsockopt(socket.SOL_SOCKET, _PEER_GROUPS, _GROUPS_MAX_BYTES)
    except OSError:
        return frozenset()
    return frozenset(struct.unpack(f"={len(option) // 4}I", option))
