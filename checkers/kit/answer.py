"""An HTTP/1 answer as it comes in over a stream: its status, then its body as far as somebody wants it.

Read only as far as needed: up to the end of the head for the status, then up to the end that the framing gives, so an answer on a
connection that stays open is whole as soon as it is complete. h11 decides what a head and a body are; only what it made of heads that
are equal but for their Date is remembered. Deliberate differences to keepalived (keepalived.md, section 3.5), all in the server's
favour: interim 1xx answers are skipped, chunks are decoded, a status line without a reason phrase is read, a header may be 64 KiB.
Must never judge what it reads, and never read more than `BODY_MAX_BYTES` of a body.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import h11

from checkers.kit.api import DETAIL_MAX_BYTES, Stream
from checkers.kit.excerpt import excerpt

HEAD_MAX_BYTES = 65_536
"""Longest head of an answer (issue 2; keepalived gives up at 4,095 bytes)."""

BODY_MAX_BYTES = 1_048_576
"""Longest body of an answer that is looked at. Ours: a health page of a megabyte is a mistake."""

RECEIVED_MAX_BYTES = 8 * BODY_MAX_BYTES
"""Most bytes that a body may take, chunks included. Ours: a chunk of one byte takes six, and nobody has a reason for more."""

INTERIM_MAX = 8
"""Most 1xx answers skipped before the real one. Ours: one is usual, eight is a server that never ends."""

REMEMBERED_MAX = 512
"""Most heads remembered, of at most REMEMBERED_MAX_BYTES each: a megabyte together."""

REMEMBERED_MAX_BYTES = 2_048
"""Longest head worth remembering."""

_BEGINNING = b"HTTP/"
_BLANK_LINE = b"\r\n\r\n"
_DATE = re.compile(rb"\r\n[Dd]ate: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT(?=\r\n)")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[^\r\n]*\r\n")
_H11_REQUEST = h11.Request(method="GET", target="/", headers=[("Host", "any")])


class NotHttpError(Exception):
    """The answer is not what HTTP allows, or more than we read."""


class Answer:
    """An answer as it comes in. `data` begins with the last head that was seen; `line` is its status line once it is known.

    `beginning` is the first DETAIL_MAX_BYTES of the body, once somebody asked for the body.
    """

    __slots__ = ("beginning", "data", "line", "stream")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.data = bytearray()
        self.line = ""
        self.beginning = b""

    async def status(self) -> int:
        """Read until the head of the final answer is complete and return its status. Raises ProbeError, NotHttpError."""
        interim = searched = 0
        while True:
            end = self.data.find(_BLANK_LINE, searched) + len(_BLANK_LINE)
            if end < len(_BLANK_LINE):
                searched = max(0, len(self.data) - len(_BLANK_LINE))  # the head may come byte by byte
                await self._more_head()
                continue
            if end > HEAD_MAX_BYTES:
                raise NotHttpError(f"head longer than {HEAD_MAX_BYTES} bytes")
            head = parse(bytes(self.data[:end]))
            self.line = head.line
            if head.status >= 200:
                return head.status
            del self.data[:end]
            searched = 0
            interim += 1
            if interim > INTERIM_MAX:
                raise NotHttpError(f"more than {INTERIM_MAX} interim answers")

    async def _more_head(self) -> None:
        """Read more of a head that is not complete."""
        if not _BEGINNING.startswith(self.data[: len(_BEGINNING)]):
            raise NotHttpError("not an HTTP answer")
        if len(self.data) > HEAD_MAX_BYTES:
            raise NotHttpError(f"head longer than {HEAD_MAX_BYTES} bytes")
        more = await self.stream.receive()
        if not more:
            what = "head cut off" if self.data else "connection closed without an answer"
            raise NotHttpError(f"{what} after {len(self.data)} bytes")
        self.data += more

    async def body(self) -> bytes:
        """Return the whole body, after the status. One that is cut off is what came of it, as with keepalived.

        Raises ProbeError, NotHttpError.
        """
        connection = _new_connection()
        connection.receive_data(bytes(self.data))
        body = bytearray()
        received_bytes = 0
        try:
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    more = await self.stream.receive()
                    received_bytes += len(more)
                    if received_bytes > RECEIVED_MAX_BYTES:
                        raise NotHttpError(f"body takes more than {RECEIVED_MAX_BYTES} bytes")
                    connection.receive_data(more)
                elif isinstance(event, h11.Data):
                    body += event.data
                    if len(body) > BODY_MAX_BYTES:
                        raise NotHttpError(f"body longer than {BODY_MAX_BYTES} bytes")
                elif isinstance(event, h11.EndOfMessage):
                    break
        except h11.RemoteProtocolError:
            if not body:
                raise NotHttpError("body cut off before its first byte") from None
        finally:
            self.beginning = bytes(body[:DETAIL_MAX_BYTES])
        return bytes(body)

    def excerpt(self) -> str:
        """Return what came, for people: the status line and the beginning of the body. Nothing more is read for it."""
        if not self.line:
            return excerpt(bytes(self.data))
        body = self.beginning or self._came_with_the_head()
        return f"{self.line}\\r\\n\\r\\n{excerpt(body)}"[:DETAIL_MAX_BYTES] if body else self.line

    def _came_with_the_head(self) -> bytes:
        """Return the beginning of the body as far as it is here; of a body in chunks, of the first. h11 would take 0.2 ms for it."""
        end = self.data.find(_BLANK_LINE)
        body = bytes(self.data[end + len(_BLANK_LINE) :][: 2 * DETAIL_MAX_BYTES])
        chunk = _CHUNK.match(body) if b"chunked" in self.data[:end].lower() else None
        if chunk is not None:
            body = body[chunk.end() : chunk.end() + int(chunk[1], 16)]
        return body[:DETAIL_MAX_BYTES]


class Head(NamedTuple):
    """What matters of a head: the status, and the status line as printable text."""

    status: int
    line: str


_HEADS: dict[bytes, Head] = {}
"""Heads that h11 has read, without their Date, so that the answers of equal servers hit whatever the second."""


def parse(head: bytes) -> Head:
    """Return what is in `head`, a complete one. Raises NotHttpError."""
    key = _DATE.sub(b"", head, 1)
    known = _HEADS.get(key)
    if known is not None:
        return known
    connection = _new_connection()
    try:
        connection.receive_data(head)
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise NotHttpError(f"not a valid HTTP answer: {error}") from error
    if not isinstance(event, h11.Response | h11.InformationalResponse):
        raise NotHttpError("not a valid HTTP answer")
    parsed = Head(event.status_code, excerpt(head[: head.index(b"\r\n")]))
    if len(key) <= REMEMBERED_MAX_BYTES:
        if len(_HEADS) >= REMEMBERED_MAX:
            del _HEADS[next(iter(_HEADS))]
        _HEADS[key] = parsed
    return parsed


def _new_connection() -> h11.Connection:
    """Return an h11 client that has sent a GET and waits for the answer."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX_BYTES)
    connection.send(_H11_REQUEST)
    connection.send(h11.EndOfMessage())
    return connection
