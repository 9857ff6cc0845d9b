"""The admin socket: a Unix stream socket that answers the operator's questions.

Limits: one request line of `protocol.REQUEST_MAX_BYTES`, `PATIENCE_S` for a client to ask, `CLIENTS_MAX` at once. Only the
daemon's own user can connect (mode 0600). A client can make the server wait for nothing but itself.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import trio

from supervisor.admin import protocol
from supervisor.admin.protocol import Request, RequestError

CLIENTS_MAX = 16
PATIENCE_S = 5.0

Verb = Callable[[dict[str, Any]], Any]
"""Carries out one verb: arguments in, a JSON value out; raises RequestError."""


class SocketTaken(Exception):
    """The socket cannot be ours; the text names the remedy."""


def listen(path: Path) -> socket.socket:
    """Open the admin socket at `path`: mode 0600 in a folder that only its owner can write.

    A socket file that a dead daemon left is replaced. Raises SocketTaken when a live one answers there, or the folder is not fit.
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
        sock.listen(CLIENTS_MAX)
    except OSError as error:
        raise SocketTaken(f"{path}: {error.strerror or error}; choose another --admin-socket") from error
    sock.setblocking(False)
    return sock


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


async def serve(sock: socket.socket, verbs: Mapping[str, Verb], version: str) -> None:
    """Answer until cancelled."""
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    seats = trio.Semaphore(CLIENTS_MAX)

    async def attend(stream: trio.SocketStream) -> None:
        async with seats, stream:
            with (
                contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError),
                trio.move_on_after(PATIENCE_S),
            ):
                await _attend(stream, verbs, version)

    await trio.serve_listeners(attend, [listener])


async def _attend(stream: trio.SocketStream, verbs: Mapping[str, Verb], version: str) -> None:
    """Greet, read one request, answer it."""
    await stream.send_all(protocol.greeting(version))
    line = bytearray()
    data = b""
    while b"\n" not in data:
        data = await stream.receive_some(65536)
        line += data
        if not data or len(line) > protocol.REQUEST_MAX_BYTES:
            break
    if not line.strip():
        return
    await stream.send_all(answer(bytes(line).split(b"\n", 1)[0], verbs))


def answer(line: bytes, verbs: Mapping[str, Verb]) -> bytes:
    """Return the answer line to a request line. Never raises RequestError."""
    number = 0
    try:
        request = protocol.decode_request(line)
        number = request.id
        return protocol.encode_result(number, _carry_out(request, verbs))
    except RequestError as error:
        return protocol.encode_error(number, error)


def _carry_out(request: Request, verbs: Mapping[str, Verb]) -> Any:
    verb = verbs.get(request.verb)
    if verb is None:
        raise RequestError(f"unknown verb {request.verb[:40]!r}; there are: {', '.join(sorted(verbs))}")
    return verb(request.args)
