"""HTTP_GET: the real server is up when every url answers as expected (keepalived.md, section 3.5).

One probe asks all urls of the block one after another, each on its own connection with its own time limit, and stops at the
first that fails. (keepalived asks one url in each delay_loop; then a broken third url goes unnoticed for three loops.)

The request is written byte for byte as keepalived writes it, because servers may key on it. The answer is read only as far as
needed: up to the end of the head when neither digest nor regex is set, else up to the end that the framing gives, so an answer
on a connection that stays open counts as soon as it is complete. h11 decides what a head and a body are; only the verdict of
heads that are equal but for their Date is remembered. Deliberate differences to keepalived, all in the server's favour:
interim 1xx answers are skipped, chunks are decoded, a status line without a reason phrase is read, a header may be 64 KiB.
Must never follow a redirect, and never read more than `BODY_MAX_BYTES` of a body. SSL_GET (`checkers.ssl`) is the same over TLS.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import h11

from checkers.kit.api import Dialer, ProbeError, Reason, Stream, Target, Verdict
from checkers.kit.excerpt import excerpt
from checkers.kit.options import Json, Keyword, Kind
from checkers.kit.values import word

KEYWORD = "HTTP_GET"

HEAD_MAX_BYTES = 65_536
"""Longest head of an answer (issue 2; keepalived gives up at 4,095 bytes)."""

BODY_MAX_BYTES = 1_048_576
"""Longest body of an answer that a digest or regex looks at. Ours: a health page of a megabyte is a mistake."""

INTERIM_MAX = 8
"""Most 1xx answers skipped before the real one. Ours: one is usual, eight is a server that never ends."""

REMEMBERED_MAX = 512
"""Most heads remembered, of at most REMEMBERED_MAX_BYTES each: a megabyte together."""

REMEMBERED_MAX_BYTES = 2_048
"""Longest head worth remembering."""

URL_OPTIONS: tuple[Keyword, ...] = (
    Keyword("path", Kind.TEXT, "what to ask for, used as it stands", required=True),
    Keyword("digest", Kind.HEX, "MD5 of the body", low=32, high=32),
    Keyword("status_code", Kind.STATUS_RANGES, "statuses that are a success (200-299)", repeat=True),
    Keyword("virtualhost", Kind.TEXT, "value of the Host header"),
    Keyword("regex", Kind.REGEX, "regular expression (Python's re, on bytes) that the body must match"),
    Keyword("regex_no_match", Kind.FLAG, "succeed when the regex does not match", default=False),
    Keyword("regex_options", Kind.TEXTS, "caseless multiline dotall extended", repeat=True),
    Keyword(
        "regex_min_offset",
        Kind.INTEGER,
        "a match may start here at the earliest",
        unit="bytes",
        low=0,
        high=BODY_MAX_BYTES,
    ),
    Keyword(
        "regex_max_offset",
        Kind.INTEGER,
        "a match may start here at the latest",
        unit="bytes",
        low=0,
        high=BODY_MAX_BYTES,
    ),
    Keyword("regex_stack", Kind.TEXTS, "start and limit of PCRE's stack; means nothing to Python's re", handled=False),
    Keyword("tls_compliant", Kind.FLAG, "end TLS connections by the book", handled=False),
)

OPTIONS: tuple[Keyword, ...] = (
    Keyword(
        "url", Kind.BLOCK, "one request and what its answer must be", required=True, repeat=True, block=URL_OPTIONS
    ),
    Keyword("virtualhost", Kind.TEXT, "value of the Host header for urls without their own"),
    Keyword(
        "http_protocol",
        Kind.CHOICE,
        "HTTP version of the request",
        default="1.0",
        choices=("1.0", "1.0C", "1.0c", "1.1"),
    ),
    Keyword("enable_sni", Kind.FLAG, "send the server name in TLS", handled=False),
    Keyword("sni_name", Kind.TEXT, "server name to send in TLS", handled=False),
    Keyword("fast_recovery", Kind.FLAG, "ask all urls back to back, which is what always happens here"),
    Keyword("tls_compliant", Kind.FLAG, "end TLS connections by the book", handled=False),
    Keyword(
        "nb_get_retry",
        Kind.INTEGER,
        "failed probes to repeat before the server is down",
        low=0,
        high=4294967295,
        alias_of="retry",
        deprecated="nb_get_retry is the old spelling of retry",
    ),
)

_BEGINNING = b"HTTP/"
_BLANK_LINE = b"\r\n\r\n"
_DATE = re.compile(rb"\r\n[Dd]ate: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT(?=\r\n)")
_H11_REQUEST = h11.Request(method="GET", target="/", headers=[("Host", "any")])
_STATUS_DEFAULT = ((200, 299),)
_REGEX_FLAGS = {"caseless": re.IGNORECASE, "multiline": re.MULTILINE, "dotall": re.DOTALL, "extended": re.VERBOSE}
_PRODUCT = b"KeepAliveClient"  # servers may key on it, so it stays what keepalived says


@dataclass(frozen=True, slots=True)
class Url:
    """One request and what its answer must be. `request` maps a target to its bytes; without a virtual host they differ."""

    path: str
    before_host: bytes
    host: bytes  # empty: the target's own address and port
    statuses: tuple[tuple[int, int], ...]
    digest: str
    regex: re.Pattern[bytes] | None
    wanted_match: bool
    min_offset: int
    max_offset: int
    requests: dict[Target, tuple[bytes, str]] = field(default_factory=dict, compare=False)

    def request(self, target: Target) -> tuple[bytes, str]:
        """Return the bytes to send to `target`, and the same for people."""
        request = self.requests.get(target)
        if request is None:
            data = self.before_host + b"Host: " + (self.host or str(target).encode()) + b"\r\n\r\n"
            request = self.requests[target] = (data, excerpt(data))
        return request

    def complaint(self, body: bytes) -> str:
        """Return what is wrong with the body: first the digest, then the regex; empty when nothing is."""
        if self.digest:
            digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
            if digest != self.digest:
                return f"digest {digest} of {len(body)} bytes, wanted {self.digest}"
        if self.regex is not None:
            match = self.regex.search(body, self.min_offset)
            matched = match is not None and match.start() <= self.max_offset
            if matched is not self.wanted_match:
                return f"regex {'matches' if matched else 'does not match'} the body of {len(body)} bytes"
        return ""

    @property
    def wanted(self) -> str:
        """The accepted statuses for people."""
        return " ".join(str(low) if low == high else f"{low}-{high}" for low, high in self.statuses)

    @property
    def needs_body(self) -> bool:
        """Whether the head alone cannot decide."""
        return bool(self.digest) or self.regex is not None


def prepare(options: Mapping[str, Json]) -> tuple[Url, ...]:
    """Turn the block's values into urls, in the order of the file. Raises ValueError with a sentence for the operator."""
    urls = options.get("url")
    if not isinstance(urls, list) or not urls:
        raise ValueError("there must be at least one url block")
    return tuple(_url(url, options) for url in urls if isinstance(url, dict))


def _url(url: Mapping[str, Json], options: Mapping[str, Json]) -> Url:
    path = word("path", url.get("path"))
    if not path:
        raise ValueError("url needs a path")
    protocol = str(options.get("http_protocol", "1.0"))
    close = b"" if protocol == "1.0" else b"Connection: close\r\n"
    line = f"GET {path} HTTP/{protocol[:3]}\r\n".encode()
    statuses = _ranges(url.get("status_code"))
    return Url(
        path=path,
        before_host=line + b"User-Agent: " + _PRODUCT + b"\r\n" + close,
        host=word("virtualhost", url.get("virtualhost") or options.get("virtualhost")).encode(),
        statuses=statuses or _STATUS_DEFAULT,
        digest=str(url.get("digest") or "").lower(),
        regex=_regex(url),
        wanted_match=not url.get("regex_no_match", False),
        min_offset=_integer(url, "regex_min_offset", 0),
        max_offset=_integer(url, "regex_max_offset", BODY_MAX_BYTES),
    )


def _ranges(value: Json) -> tuple[tuple[int, int], ...]:
    """Return [[low, high], …] as pairs."""
    ranges = []
    for pair in value if isinstance(value, list) else []:
        match pair:
            case [int(low), int(high)]:
                ranges.append((low, high))
            case _:
                raise ValueError(f"status_code: expected a range, got {pair!r}")
    return tuple(ranges)


def _integer(url: Mapping[str, Json], name: str, default: int) -> int:
    value = url.get(name)
    return value if isinstance(value, int) else default


def _regex(url: Mapping[str, Json]) -> re.Pattern[bytes] | None:
    pattern = url.get("regex")
    names = url.get("regex_options") or []
    flags = re.NOFLAG
    for name in names if isinstance(names, list) else [names]:
        if name not in _REGEX_FLAGS:
            raise ValueError(f"regex_options: {name!r} is not supported, only {', '.join(_REGEX_FLAGS)}")
        flags |= _REGEX_FLAGS[str(name)]
    if pattern is None:
        return None
    try:
        return re.compile(str(pattern).encode(), flags)
    except re.error as error:
        raise ValueError(f"regex does not compile: {error}") from error


async def check(target: Target, prepared: tuple[Url, ...], dial: Dialer) -> Verdict:
    """Ask all urls in turn. Returns the first failure, or the last success; a failed connect leaves as ProbeError."""
    return await ask_all(target, [(url, dial) for url in prepared])


async def ask_all(target: Target, requests: Sequence[tuple[Url, Dialer]]) -> Verdict:
    """Ask each url over a connection of its dialer, as `check` does; for SSL_GET, whose dialers speak TLS."""
    verdict = Verdict(Reason.NONE)
    for url, dial in requests:
        verdict = await _ask(target, url, dial)
        if not verdict.ok:
            return replace(verdict, detail=f"{url.path}: {verdict.detail}") if len(requests) > 1 else verdict
    return verdict


async def _ask(target: Target, url: Url, dial: Dialer) -> Verdict:
    request, sent = url.request(target)
    answer = _Answer(await dial.connect(target))
    try:
        await answer.stream.send(request)
        reason, detail = await answer.judge(url)
    except ProbeError as error:
        reason, detail = error.reason, str(error)
    except _NotHttpError as error:
        reason, detail = Reason.L7RSP, str(error)
    finally:
        answer.stream.close()
    return Verdict(reason, detail, sent=sent, received=answer.line or excerpt(answer.data))


class _NotHttpError(Exception):
    """The answer is not what HTTP allows, or more than we read."""


class _Answer:
    """An answer as it comes in. `data` begins with the last head that was seen; `line` is its status line once it is known."""

    __slots__ = ("data", "line", "stream")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.data = b""
        self.line = ""

    async def judge(self, url: Url) -> tuple[Reason, str]:
        """Read as far as needed. Returns the reason and the detail of the verdict. Raises ProbeError, _NotHttpError."""
        status = await self._status()
        if not any(low <= status <= high for low, high in url.statuses):
            return Reason.L7STS, f"HTTP {status}, wanted {url.wanted}"
        if url.needs_body:
            complaint = url.complaint(await self._body())
            if complaint:
                return Reason.L7BODY, complaint
        return Reason.L7OK, f"HTTP {status}"

    async def _status(self) -> int:
        """Read until the head of the final answer is complete and return its status."""
        interim = 0
        while True:
            end = self.data.find(_BLANK_LINE) + len(_BLANK_LINE)
            if end < len(_BLANK_LINE):
                await self._more_head()
                continue
            if end > HEAD_MAX_BYTES:
                raise _NotHttpError(f"head longer than {HEAD_MAX_BYTES} bytes")
            head = _parse(self.data[:end])
            self.line = head.line
            if head.status >= 200:
                return head.status
            self.data = self.data[end:]
            interim += 1
            if interim > INTERIM_MAX:
                raise _NotHttpError(f"more than {INTERIM_MAX} interim answers")

    async def _more_head(self) -> None:
        """Read more of a head that is not complete."""
        if not _BEGINNING.startswith(self.data[: len(_BEGINNING)]):
            raise _NotHttpError("not an HTTP answer")
        if len(self.data) > HEAD_MAX_BYTES:
            raise _NotHttpError(f"head longer than {HEAD_MAX_BYTES} bytes")
        more = await self.stream.receive()
        if not more:
            what = "head cut off" if self.data else "connection closed without an answer"
            raise _NotHttpError(f"{what} after {len(self.data)} bytes")
        self.data = self.data + more if self.data else more

    async def _body(self) -> bytes:
        """Return the whole body. One that is cut off is judged by what came, as keepalived does."""
        connection = _new_connection()
        connection.receive_data(self.data)
        body = bytearray()
        try:
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(await self.stream.receive())
                elif isinstance(event, h11.Data):
                    body += event.data
                    if len(body) > BODY_MAX_BYTES:
                        raise _NotHttpError(f"body longer than {BODY_MAX_BYTES} bytes")
                elif isinstance(event, h11.EndOfMessage):
                    break
        except h11.RemoteProtocolError:
            if not body:
                raise _NotHttpError("body cut off before its first byte") from None
        return bytes(body)


class _Head(NamedTuple):
    """What matters of a head: the status, and the status line as printable text."""

    status: int
    line: str


_HEADS: dict[bytes, _Head] = {}
"""Heads that h11 has read, without their Date, so that the answers of equal servers hit whatever the second."""


def _parse(head: bytes) -> _Head:
    """Return what is in `head`, a complete one. Raises _NotHttpError."""
    key = _DATE.sub(b"", head, 1)
    known = _HEADS.get(key)
    if known is not None:
        return known
    connection = _new_connection()
    try:
        connection.receive_data(head)
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise _NotHttpError(f"not a valid HTTP answer: {error}") from error
    if not isinstance(event, h11.Response | h11.InformationalResponse):
        raise _NotHttpError("not a valid HTTP answer")
    parsed = _Head(event.status_code, excerpt(head[: head.index(b"\r\n")]))
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
