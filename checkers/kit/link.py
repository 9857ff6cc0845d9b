"""What carries frames between a worker and its supervisor: whole messages, in order, or the end.

    class Link(Protocol):
        async def send(self, data: bytes, descriptor: int | None = None) -> None
                                                   one message; waits while the peer is slow; LinkError when it is gone
        async def receive(self) -> bytes               the next message; b"" when the peer is gone
    def take_descriptor(self) -> int | None        the descriptor that came with it, if this end takes any
        def close(self) -> None                        at once; may be called twice

`SeqpacketLink` is the real one: a Unix SOCK_SEQPACKET pair, where the kernel keeps the boundaries and there is no framing code
to get wrong. `memory_link_pair()` is the same on trio's memory channels, for stories on a virtual clock. Both are bounded: a
sender waits instead of filling memory. One task may send while another receives; never two of the same kind at once.
This module must not know what is in a message.
"""

from __future__ import annotations

import array
import os
import socket
from typing import Protocol

import trio

MESSAGE_MAX_BYTES = 131_072
"""Longest message. Frames are at most 64 KiB (kit.wire); a SOCK_SEQPACKET message may be 212,959 bytes (reliability.md, section 6)."""

MEMORY_MESSAGES_MAX = 256
"""Messages a memory link holds before its sender waits; a socket pair holds 278 small ones (reliability.md, section 6)."""


class LinkError(Exception):
    """The link can no longer be used: the peer is gone, we closed it, or a message was longer than allowed."""


class Link(Protocol):
    """A two-way pipe of messages."""

    async def send(self, data: bytes, descriptor: int | None = None) -> None:
        """Send one message of 1 to MESSAGE_MAX_BYTES bytes, waiting while the peer is slow. Raises LinkError.

        A copy of `descriptor` travels with it; the caller still owns, and closes, its own.
        """

    async def receive(self) -> bytes:
        """Return the next message, b"" when the peer is gone. Raises LinkError."""

    def take_descriptor(self) -> int | None:
        """Return the descriptor that came with the last message, and give it away; None when none came."""

    def close(self) -> None:
        """Close at once; never raises; may be called twice."""


class SeqpacketLink:
    """A link over one end of a Unix SOCK_SEQPACKET socket pair. It owns the socket.

    `takes_descriptors` is for the end that trusts the other one: a descriptor that is sent to an end without it never gets here.
    """

    def __init__(self, sock: trio.socket.SocketType, *, takes_descriptors: bool = False) -> None:
        if sock.type != socket.SOCK_SEQPACKET:
            raise ValueError(f"link: expected a SOCK_SEQPACKET socket, got {sock!r}")
        self._sock = sock
        self._buffer = bytearray(MESSAGE_MAX_BYTES)
        self._beside_bytes = socket.CMSG_SPACE(array.array("i", [0]).itemsize) if takes_descriptors else 0
        self._descriptor: int | None = None

    async def send(self, data: bytes, descriptor: int | None = None) -> None:
        """See `Link.send`."""
        _require_sendable(data)
        beside = [] if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        try:
            await self._sock.sendmsg([data], beside)
        except (OSError, trio.ClosedResourceError) as error:
            raise LinkError(f"link: cannot send: {error}") from error

    async def receive(self) -> bytes:
        """See `Link.receive`."""
        try:
            size, beside, flags, _ = await self._sock.recvmsg_into([self._buffer], self._beside_bytes)
        except ConnectionResetError:
            return b""  # the peer died with messages of ours unread: for us the same as its end
        except (OSError, trio.ClosedResourceError) as error:
            raise LinkError(f"link: cannot receive: {error}") from error
        self._drop_descriptor()
        for _, _, content in beside:
            (self._descriptor,) = array.array("i", content[:4])
        if flags & socket.MSG_TRUNC:
            raise LinkError(f"link: a message is longer than {MESSAGE_MAX_BYTES} bytes")
        return bytes(memoryview(self._buffer)[:size])

    def take_descriptor(self) -> int | None:
        """See `Link.take_descriptor`."""
        taken, self._descriptor = self._descriptor, None
        return taken

    def _drop_descriptor(self) -> None:
        """Close the one that nobody took."""
        taken = self.take_descriptor()
        if taken is not None:
            os.close(taken)

    def close(self) -> None:
        """See `Link.close`."""
        self._drop_descriptor()
        self._sock.close()


class MemoryLink:
    """One end of `memory_link_pair()`."""

    def __init__(self, outgoing: trio.MemorySendChannel[bytes], incoming: trio.MemoryReceiveChannel[bytes]) -> None:
        self._outgoing = outgoing
        self._incoming = incoming

    async def send(self, data: bytes, descriptor: int | None = None) -> None:
        """See `Link.send`. Descriptors do not travel here: in a story there are none."""
        del descriptor
        _require_sendable(data)
        try:
            await self._outgoing.send(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LinkError("link: cannot send: the other end is closed") from error

    async def receive(self) -> bytes:
        """See `Link.receive`."""
        try:
            return await self._incoming.receive()
        except trio.EndOfChannel:
            return b""
        except trio.ClosedResourceError as error:
            raise LinkError("link: cannot receive: this end is closed") from error

    def take_descriptor(self) -> int | None:
        """See `Link.take_descriptor`."""
        return None

    def close(self) -> None:
        """See `Link.close`."""
        self._outgoing.close()
        self._incoming.close()


def memory_link_pair() -> tuple[MemoryLink, MemoryLink]:
    """Return the two ends of a link in memory."""
    there, from_there = trio.open_memory_channel[bytes](MEMORY_MESSAGES_MAX)
    back, from_back = trio.open_memory_channel[bytes](MEMORY_MESSAGES_MAX)
    return MemoryLink(there, from_back), MemoryLink(back, from_there)


def seqpacket_link_pair() -> tuple[SeqpacketLink, SeqpacketLink]:
    """Return the two ends of a link over a new socket pair (both in this process; for tests). Only the second takes descriptors."""
    one, other = trio.socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return SeqpacketLink(one), SeqpacketLink(other, takes_descriptors=True)


def _require_sendable(data: bytes) -> None:
    if not 0 < len(data) <= MESSAGE_MAX_BYTES:
        raise ValueError(f"link: expected a message of 1 to {MESSAGE_MAX_BYTES} bytes, got {len(data)}")
