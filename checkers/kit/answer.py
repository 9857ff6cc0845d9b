"""An HTTP/1 answer as it comes in over a stream: its status, then its body as far as somebody wants it.

Read only as far as needed: up to the end of the head for the status, then up to the end that the framing gives, so an answer on a
connection that stays open is whole as soon as it is complete. h11 decides what a head and a body are; only what it made of heads that
are equal but for their Date is remembered. Deliberate differences to keepalived (keepalived.md, section 3.5), all in the server's
favour: interim 1xx answers are skipped, chunks are decoded, a status line without a reason phrase is read, a header may be 64 KiB.
Must never judge what it reads, and never read more than `BODY_MAX_BYTES` of a body.
"""

from __future__ import annotations

import re

import h11

from checkers.kit.api import DETAIL_MAX_BYTES, GULP_BYTES, Stream
from checkers.kit.excerpt import excerpt
from checkers.kit.frozen import frozen

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

DATES_MAX = 16
"""Most dates remembered. Ours: clocks of servers differ by seconds."""

_BEGINNING = b"HTTP/"
_BLANK_LINE = b"\r\n\r\n"
_DATE = b"\r\nDate: "
_DATE_BYTES = len("Sat, 28 Nov 2026 17:00:00 GMT")
_DATE_VALUE = re.compile(rb"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[^\r\n]*\r\n")
_BODILESS = (204, 304)
_FRAMING = (b"content-length", b"transfer-encoding")
_H11_REQUEST = h11.Request(method="GET", target="/", headers=[("Host", "any")])


class NotHttpError(Exception):
    """The answer is not what HTTP allows, or more than we read."""


class Answer:
    """An answer as it comes in. `data` begins with the last head that was seen; `line` is its status line once it is known.

    `beginning` is the first DETAIL_MAX_BYTES of the body, once somebody asked for the body; `reusable` tells, once it was read, whether
    the connection may be used again.
    """

    __slots__ = ("_body_start", "_head", "beginning", "data", "line", "reusable", "stream")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.data: bytes | bytearray = b""
        self.line = ""
        self.beginning = b""
        self.reusable = False
        self._head: Head | None = None
        self._body_start = 0

    async def head(self, last: Head | None = None) -> Head:
        """Read until the head of the final answer is complete and return it: `last` itself when it is like that one.

        Raises ProbeError, NotHttpError.
        """
        interim = searched = 0
        if not self.data:
            self.data = await self.stream.receive(GULP_BYTES)  # nearly always the whole head, and the body
        while True:
            end = self.data.find(_BLANK_LINE, searched) + len(_BLANK_LINE)
            if end < len(_BLANK_LINE):
                searched = max(0, len(self.data) - len(_BLANK_LINE))  # the head may come byte by byte
                await self._more_head()
                continue
            if end > HEAD_MAX_BYTES:
                raise NotHttpError(f"head longer than {HEAD_MAX_BYTES} bytes")
            head = parse(bytes(self.data[:end]), last)
            self.line = head.line
            if head.status >= 200:
                self._head, self._body_start = head, end
                return head
            self.data = self.data[end:]
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
        more = await self.stream.receive(GULP_BYTES)
        if not more:
            what = "head cut off" if self.data else "connection closed without an answer"
            raise NotHttpError(f"{what} after {len(self.data)} bytes")
        if isinstance(self.data, bytes):
            self.data = bytearray(self.data)
        self.data += more

    async def body(self) -> bytes:
        """Return the whole body, after the status. One that is cut off is what came of it, as with keepalived.

        Raises ProbeError, NotHttpError.
        """
        head, start = self._head, self._body_start
        if head is not None and head.body_bytes is not None and head.body_bytes <= BODY_MAX_BYTES:
            end = start + head.body_bytes
            if end <= len(self.data):  # nearly always
                self.reusable = head.stays_open and end == len(self.data)
                body = bytes(self.data[start:end])
                self.beginning = body[:DETAIL_MAX_BYTES]
                return body
        return await self._body_by_h11()

    def ends_here(self, body_bytes: int | None = None) -> bool:
        """Whether the answer is known to be here whole, and nothing else, after which the connection may be used again.

        `body_bytes` is the length of its body, if that is known better than from its head: there is none after HEAD.
        """
        head = self._head
        if head is None or not head.stays_open:
            return False
        size = head.body_bytes if body_bytes is None else body_bytes
        return size is not None and len(self.data) == self._body_start + size

    async def _body_by_h11(self) -> bytes:
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
                    self.reusable = connection.our_state is h11.DONE and connection.trailing_data == (b"", False)
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


@frozen
class Head:
    """What matters of a head: the status, and the status line as printable text.

    `before` and `after` are its bytes around the value of its Date; without a Date (an ordinary one) all are in `before`.
    `body_bytes` is the length of the body where the head says it; None: whoever reads the body finds out. `stays_open` tells whether
    the connection may be used again after it.
    """

    before: bytes
    after: bytes
    status: int
    line: str
    body_bytes: int | None = None
    stays_open: bool = False

    def begins(self, data: bytes) -> bool:
        """Tell whether `data` begins with a head like this one, whatever its Date."""
        before, after = self.before, self.after
        if not data.startswith(before):
            return False
        if not after:
            return True
        start = len(before)
        end = start + _DATE_BYTES
        return data.startswith(after, end) and _is_date(data[start:end])

    @property
    def length(self) -> int:
        """Length of a head like this one."""
        return len(self.before) + (_DATE_BYTES + len(self.after) if self.after else 0)

    def reusable_length(self, *, bodiless: bool) -> int:
        """Return the length of an answer, with its body if it has one, after which the connection may be used again; 0: that is unknown."""
        body_bytes = 0 if bodiless else self.body_bytes
        return self.length + body_bytes if self.stays_open and body_bytes is not None else 0


_HEADS: dict[tuple[bytes, bytes], Head] = {}
"""Heads that h11 has read, by what is around their Date, so that the answers of equal servers hit whatever the second."""

_DATES: set[bytes] = set()
"""Dates that are what they should be."""


def parse(head: bytes, last: Head | None = None) -> Head:
    """Return what is in `head`, a complete one; the same object for the same head while it is remembered. Raises NotHttpError.

    `last` is what the same server said the last time, and is remembered by whoever gives it: servers may differ in an ETag.
    """
    if last is not None and last.length == len(head) and last.begins(head):
        return last
    key = _around_date(head)
    known = _HEADS.get(key)
    if known is not None:
        return known
    parsed = _read(head, *key)
    if sum(map(len, key)) <= REMEMBERED_MAX_BYTES:
        if len(_HEADS) >= REMEMBERED_MAX:
            del _HEADS[next(iter(_HEADS))]
        _HEADS[key] = parsed
    return parsed


def _around_date(head: bytes) -> tuple[bytes, bytes]:
    """Return what is before and after the value of a head's Date; all and nothing when that is missing or not an ordinary one."""
    start = head.find(_DATE) + len(_DATE)
    end = start + _DATE_BYTES
    if start < len(_DATE) or head[end : end + 2] != b"\r\n" or not _is_date(head[start:end]):
        return head, b""
    return head[:start], head[end:]


def _is_date(value: bytes) -> bool:
    """Whether this is an ordinary value of a Date."""
    if value in _DATES:
        return True
    if _DATE_VALUE.fullmatch(value) is None:
        return False
    if len(_DATES) >= DATES_MAX:
        _DATES.clear()
    _DATES.add(value)
    return True


def _read(head: bytes, before: bytes, after: bytes) -> Head:
    """Have h11 read a head, which is in two parts besides. Raises NotHttpError."""
    connection = _new_connection()
    try:
        connection.receive_data(head)
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise NotHttpError(f"not a valid HTTP answer: {error}") from error
    if not isinstance(event, h11.Response | h11.InformationalResponse):
        raise NotHttpError("not a valid HTTP answer")
    stays_open = connection.our_state is h11.DONE  # else it is MUST_CLOSE
    line = excerpt(head[: head.index(b"\r\n")])
    return Head(before, after, event.status_code, line, _body_bytes(event), stays_open)


def _body_bytes(head: h11.Response | h11.InformationalResponse) -> int | None:
    """Return the length of the body where it is plain from the head (RFC 9112, section 6.3)."""
    if head.status_code in _BODILESS:
        return 0
    headers = {name: value for name, value in head.headers if name in _FRAMING}  # h11 has made one of equal lengths
    return int(headers[b"content-length"]) if headers.keys() == {b"content-length"} else None


def _new_connection() -> h11.Connection:
    """Return an h11 client that has sent a GET and waits for the answer."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX_BYTES)
    connection.send(_H11_REQUEST)
    connection.send(h11.EndOfMessage())
    return connection
