"""The behaviours of the fake network played on real sockets: `serve` one connection, `serve_datagrams` one bound socket.

Who asks is told of every request as it came, before it is answered: `note` with its bytes, `heard` with its sender too.
"""

from __future__ import annotations

import math
import socket
import struct
from collections.abc import Callable
from typing import NoReturn, TypeAlias

import trio

from tests.fakes.behaviours import Behaviour, Echo, End, Mirror, Pause, Reset, Send, Step
from tests.fakes.tls import context_of

Client: TypeAlias = trio.SocketStream | trio.SSLStream[trio.SocketStream]
Note: TypeAlias = Callable[[bytes], None]
Heard: TypeAlias = Callable[[bytes, tuple[str, int]], None]


def unheard(_request: bytes, _sender: tuple[str, int] = ("", 0)) -> None:
    """Take note of nothing."""


async def hold(client: Client) -> NoReturn:
    """Say nothing any more until the client is gone; then the connection ends. Raises trio.ClosedResourceError."""
    while await client.receive_some(4096):
        pass
    raise trio.ClosedResourceError


async def play(steps: tuple[Step, ...], client: Client) -> None:
    """Do what a scripted server does."""
    for step in steps:
        match step:
            case Send():
                await client.send_all(step.data)
            case Pause():
                await hold(client) if math.isinf(step.duration_s) else await trio.sleep(step.duration_s)
            case End():
                await client.aclose()
                return
            case Reset():
                transport = client.transport_stream if isinstance(client, trio.SSLStream) else client
                transport.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                await transport.aclose()
                return
            case Mirror() | Echo():
                raise AssertionError("only datagrams are mirrored")


async def serve(behaviour: Behaviour, connection: trio.SocketStream, note: Note = unheard) -> None:
    """Be the server of one connection."""
    asked = b""
    client: Client = connection
    if behaviour.tls:
        client = trio.SSLStream(connection, context_of(behaviour.tls), server_side=True, https_compatible=True)
    try:
        await play(behaviour.greeting, client)
        for answer in (behaviour.answer, *behaviour.more):
            while behaviour.terminator not in asked:
                more = await client.receive_some(4096)
                if not more:
                    return
                asked += more
            request, _, asked = asked.partition(behaviour.terminator)
            note(request + behaviour.terminator)
            await play(answer, client)
        await hold(client)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return  # the checker knew enough and reset the connection


async def serve_datagrams(behaviour: Behaviour, server: trio.socket.SocketType, heard: Heard = unheard) -> None:
    """Answer every datagram; silence while a pause for ever lasts, but later datagrams are still taken note of."""
    with server:
        while True:
            asked, client = await server.recvfrom(65_536)
            heard(asked, (client[0], client[1]))
            for step in behaviour.answer:
                match step:
                    case Send():
                        await server.sendto(step.data, client)
                    case Mirror():
                        await server.sendto(asked[: step.size_bytes] + step.data, client)
                    case Pause() if not math.isinf(step.duration_s):
                        await trio.sleep(step.duration_s)
                    case Pause():
                        break
                    case End() | Reset() | Echo():
                        raise AssertionError("datagrams have no end")
