"""HTTP_GET: the real server is up when every url answers as expected (keepalived.md, section 3.5).

One probe asks all urls of the block one after another, each on its own connection with its own time limit, and stops at the
first that fails. (keepalived asks one url in each delay_loop; then a broken third url goes unnoticed for three loops. Whoever wants
that says `urls_one_by_one`, and `checkers.kit.turns` has the rules.)

The request is written byte for byte as keepalived writes it, because servers may key on it; our own keywords `method` and `header`
change it where they stand. `checkers.kit.answer` reads what comes, `checkers.kit.pattern` has the regular expressions.
Must never follow a redirect, and never tell anybody the value of a `header`: it may be a password. SSL_GET (`checkers.ssl`) is the
same over TLS.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from checkers.kit.answer import BODY_MAX_BYTES, Answer, Head, NotHttpError
from checkers.kit.api import ConnectionLost, Dialer, ProbeError, Reason, Stream, Target, Verdict
from checkers.kit.excerpt import excerpt
from checkers.kit.frozen import frozen
from checkers.kit.options import Json, Keyword, Kind
from checkers.kit.pattern import GaveUpError, Pattern, compile_pattern
from checkers.kit.turns import OneByOne
from checkers.kit.values import word

KEYWORD = "HTTP_GET"
SENTINEL = True

HEADERS_MAX = 32
"""Most headers of one's own in a request. Ours."""

HEADER_MAX_BYTES = 4_096
"""Longest header of one's own. Ours: servers take 8 KiB for all of them."""

URL_OPTIONS: tuple[Keyword, ...] = (
    Keyword("path", Kind.TEXT, "what to ask for, used as it stands", required=True),
    Keyword("digest", Kind.HEX, "MD5 of the body", low=32, high=32),
    Keyword("status_code", Kind.STATUS_RANGES, "statuses that are a success (200-299)", repeat=True),
    Keyword("virtualhost", Kind.TEXT, "value of the Host header"),
    Keyword("regex", Kind.REGEX, "regular expression (PCRE2, on bytes) that the body must match"),
    Keyword("regex_no_match", Kind.FLAG, "succeed when the regex does not match", default=False),
    Keyword("regex_options", Kind.TEXTS, "PCRE2's options: caseless multiline dotall extended utf …", repeat=True),
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
    Keyword("regex_stack", Kind.TEXTS, "start and limit of PCRE2's stack; means nothing here, no stack is used"),
    Keyword("tls_compliant", Kind.FLAG, "end the TLS connection by the book"),
    Keyword(
        "method", Kind.CHOICE, "what to do with the path", default="GET", choices=("GET", "HEAD", "OPTIONS"), own=True
    ),
    Keyword("header", Kind.CONCEALED, 'a header of the request, "Name: value"', repeat=True, own=True),
    Keyword("body_length", Kind.TEXT, "bytes that the body must have: N, or N-M", own=True),
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
    Keyword("enable_sni", Kind.FLAG, "send the server name in TLS"),
    Keyword("sni_name", Kind.TEXT, "server name to send in TLS"),
    Keyword(
        "http_keepalive",
        Kind.INTEGER,
        "keep the connection between probes, with a fresh one for each N-th (a fresh one for each)",
        low=2,
        high=1000,
        own=True,
    ),
    Keyword("urls_one_by_one", Kind.FLAG, "ask one url in each delay_loop, as keepalived does", own=True),
    Keyword("fast_recovery", Kind.FLAG, "ask urls back to back while not up; always so without urls_one_by_one"),
    Keyword("tls_compliant", Kind.FLAG, "end TLS connections by the book"),
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

_STATUS_DEFAULT = ((200, 299),)
_NOTHING = Verdict(Reason.NONE)
_PRODUCT = b"KeepAliveClient"  # servers may key on it, so it stays what keepalived says
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_OTHERWISE: Mapping[str, str] = {
    "host": "use virtualhost",
    "connection": "use http_protocol",
    "content-length": "no body is sent",
    "transfer-encoding": "no body is sent",
}
"""Headers that may not be given by `header`, in lower case, and what to do instead."""
_REGEX_COMPANIONS = ("regex_no_match", "regex_options", "regex_min_offset", "regex_max_offset", "regex_stack")
_TLS_ONLY = ("tls_compliant", "enable_sni", "sni_name")

Farewell: TypeAlias = Callable[[Stream], Awaitable[None]]
"""Ends a connection by the book."""


@dataclass(slots=True)
class Request:
    """What one server is asked: the bytes, and the same for people. `last` is the last head that decided alone, and how.

    `length` is that of an answer with such a head after which the connection may be used again; 0: there is none.
    """

    data: bytes
    shown: str
    last: tuple[Head | None, Verdict] = (None, _NOTHING)
    length: int = 0


@frozen
class Url:
    """One request and what its answer must be. `request` maps a target to its bytes; without a virtual host they differ."""

    path: str
    label: str  # for a failure: which of several urls it was
    before_host: bytes
    host: bytes  # empty: the target's own address and port
    after_host: bytes
    shown: bytes  # `after_host` for people
    statuses: tuple[tuple[int, int], ...]
    lengths: tuple[int, int] | None
    digest: str
    regex: Pattern | None
    wanted_match: bool
    min_offset: int
    max_offset: int
    orderly: bool  # a TLS connection is ended by the book
    bodiless: bool  # the answer has no body, whatever its head says
    probes: int  # so many may use one connection
    requests: dict[Target, Request] = field(default_factory=dict, compare=False)

    def request(self, target: Target) -> Request:
        """Return what `target` is asked."""
        request = self.requests.get(target)
        if request is None:
            data = self.before_host + b"Host: " + (self.host or str(target).encode()) + b"\r\n"
            shown = excerpt(data + self.shown + b"\r\n")
            request = self.requests[target] = Request(data + self.after_host + b"\r\n", shown)
        return request

    def complaint(self, body: bytes) -> str:
        """Return what is wrong with the body: its length, then its digest, then the regex; empty when nothing is."""
        if self.lengths is not None and not self.lengths[0] <= len(body) <= self.lengths[1]:
            low, high = self.lengths
            return f"body of {len(body)} bytes, wanted {low if low == high else f'{low}-{high}'}"
        if self.digest:
            digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
            if digest != self.digest:
                return f"digest {digest} of {len(body)} bytes, wanted {self.digest}"
        if self.regex is not None:
            try:
                matched = self.regex.found_in(body, self.min_offset, self.max_offset)
            except GaveUpError as error:
                return f"regex gave up on the body of {len(body)} bytes: {error}"
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
        return bool(self.digest) or self.regex is not None or self.lengths is not None


def prepare(options: Mapping[str, Json]) -> tuple[Url, ...] | OneByOne:
    """Turn the block's values into urls, in the order of the file. Raises ValueError with a sentence for the operator."""
    urls = urls_of(options)
    return in_turns([(url,) for url in urls], options) if len(urls) > 1 and options.get("urls_one_by_one") else urls


def in_turns(parts: Sequence[tuple[object, ...]], options: Mapping[str, Json]) -> OneByOne:
    """Return what asks the parts one by one; for SSL_GET too."""
    return OneByOne(tuple(parts), hurry=bool(options.get("fast_recovery")))


def urls_of(options: Mapping[str, Json]) -> tuple[Url, ...]:
    """Return the urls of a block, for SSL_GET too. Raises ValueError with a sentence for the operator."""
    urls = options.get("url")
    if not isinstance(urls, list) or not urls:
        raise ValueError("there must be at least one url block")
    several = len(urls) > 1
    return tuple(_url(url, options, several=several) for url in urls if isinstance(url, dict))


def remarks(options: Mapping[str, Json]) -> Iterator[str]:
    """Yield a sentence for each value that is allowed and means nothing; its keyword comes first."""
    for name in _TLS_ONLY:
        if options.get(name):
            yield f"{name} means nothing without TLS, which is SSL_GET"
    yield from url_remarks(options)
    for url in _blocks(options):
        if url.get("tls_compliant"):
            yield "tls_compliant means nothing without TLS, which is SSL_GET"


def url_remarks(options: Mapping[str, Json]) -> Iterator[str]:
    """Yield the remarks that hold with TLS as well."""
    for url in _blocks(options):
        if url.get("regex") is None:
            yield from (f"{name} has no effect without regex" for name in _REGEX_COMPANIONS if url.get(name))
            continue
        if url.get("regex_stack"):
            yield "regex_stack has no effect: a regular expression has a limit of memory, and no stack"
        low, high = _offsets(url)
        if low > high:
            yield f"regex_min_offset {low} is above regex_max_offset {high}: both are ignored"


def _blocks(options: Mapping[str, Json]) -> list[dict[str, Json]]:
    urls = options.get("url")
    return [url for url in urls if isinstance(url, dict)] if isinstance(urls, list) else []


def _url(url: Mapping[str, Json], options: Mapping[str, Json], *, several: bool) -> Url:
    path = word("path", url.get("path"))
    if not path:
        raise ValueError("url needs a path")
    method, protocol = str(url.get("method", "GET")), str(options.get("http_protocol", "1.0"))
    probes = options.get("http_keepalive")
    probes = probes if isinstance(probes, int) else 1
    connection = b"" if protocol == "1.0" else b"Connection: close\r\n"
    if probes > 1:
        connection = b"Connection: keep-alive\r\n"
    headers = _headers(url.get("header"))
    product = headers.pop("user-agent", ("", b"User-Agent: " + _PRODUCT))[1]
    low, high = _offsets(url)
    made = Url(
        path=path,
        label=f"{path}: " if several else "",
        before_host=f"{method} {path} HTTP/{protocol[:3]}\r\n".encode() + product + b"\r\n" + connection,
        host=word("virtualhost", url.get("virtualhost") or options.get("virtualhost")).encode(),
        after_host=b"".join(line + b"\r\n" for _, line in headers.values()),
        shown=b"".join(name.encode() + b": ***\r\n" for name, _ in headers.values()),
        statuses=_ranges(url.get("status_code")) or _STATUS_DEFAULT,
        lengths=_lengths(url.get("body_length")),
        digest=str(url.get("digest") or "").lower(),
        regex=_regex(url),
        wanted_match=not url.get("regex_no_match", False),
        min_offset=low if low <= high else 0,
        max_offset=high if low <= high else BODY_MAX_BYTES,
        bodiless=method == "HEAD",
        probes=probes,
        orderly=bool(url.get("tls_compliant", options.get("tls_compliant", False))),
    )
    if method == "HEAD" and made.needs_body:
        raise ValueError("method HEAD asks for no body, and body_length, digest or regex look at one")
    return made


def _headers(value: Json) -> dict[str, tuple[str, bytes]]:
    """Return the headers of one's own by name in lower case: the name as written, and the whole line without its end."""
    headers: dict[str, tuple[str, bytes]] = {}
    for text in value if isinstance(value, list) else []:
        name, colon, content = str(text).partition(":")
        if not colon or _TOKEN.fullmatch(name) is None:
            raise ValueError('header must be "Name: value"')
        if not content.strip().isprintable():
            raise ValueError(f"header {name} has control characters in it")
        key = name.lower()
        if key in _OTHERWISE:
            raise ValueError(f"header {name} cannot be set: {_OTHERWISE[key]}")
        if key in headers:
            raise ValueError(f"header {name} stands there twice")
        headers[key] = name, f"{name}: {content.strip()}".encode()
        if len(headers[key][1]) > HEADER_MAX_BYTES or len(headers) > HEADERS_MAX:
            raise ValueError(f"header: at most {HEADERS_MAX} of at most {HEADER_MAX_BYTES} bytes each")
    return headers


def _lengths(value: Json) -> tuple[int, int] | None:
    if value is None:
        return None
    match = re.fullmatch(r"([0-9]{1,7})(?:-([0-9]{1,7}))?", str(value), re.ASCII)
    low = int(match[1]) if match else 1
    high = int(match[2]) if match and match[2] else low
    if match is None or not low <= high <= BODY_MAX_BYTES:
        raise ValueError(f"body_length must be N or N-M, bytes up to {BODY_MAX_BYTES}; not {value!r}")
    return low, high


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


def _offsets(url: Mapping[str, Json]) -> tuple[int, int]:
    low, high = url.get("regex_min_offset"), url.get("regex_max_offset")
    return low if isinstance(low, int) else 0, high if isinstance(high, int) else BODY_MAX_BYTES


def _regex(url: Mapping[str, Json]) -> Pattern | None:
    names = url.get("regex_options") or []
    options = [str(name) for name in names] if isinstance(names, list) else [str(names)]
    pattern = url.get("regex")
    compiled = compile_pattern("" if pattern is None else str(pattern), options)
    return None if pattern is None else compiled


@frozen
class SameHead:
    """A request whose last answer was judged by its head alone: one with the same head, whatever its date, is as good."""

    layer: ClassVar[None] = None
    first: bytes
    probes: int
    request: Request

    def recognise(self, data: bytes) -> Verdict | None:
        """Return the last verdict if the answer begins in the same way, and is here whole where the connection is to be used again."""
        request = self.request
        head, verdict = request.last
        if head is None or (self.probes > 1 and len(data) != request.length):
            return None
        return verdict if head.begins(data) else None


def glance(target: Target, prepared: tuple[Url, ...]) -> SameHead | None:
    """Return how a probe goes if nothing happens: a single url whose answers are judged by their heads."""
    if len(prepared) != 1 or prepared[0].needs_body:
        return None
    url = prepared[0]
    request = url.request(target)
    return SameHead(request.data, url.probes, request)


async def check(target: Target, prepared: tuple[Url, ...], dial: Dialer) -> Verdict:
    """Ask all urls in turn. Returns the first failure, or the last success; a failed connect leaves as ProbeError."""
    verdict = _NOTHING
    for url in prepared:
        verdict = await ask(target, url, dial)
        if not verdict.ok:
            break
    return verdict


async def ask(target: Target, url: Url, dial: Dialer, farewell: Farewell | None = None) -> Verdict:
    """Ask one url over a connection of `dial`; for SSL_GET too, whose dialers speak TLS. None: the connection ends abruptly.

    A kept connection on which nothing comes proves nothing of the server, whatever happened to it: a fresh one is made at once.
    """
    request = url.request(target)
    kept = await dial.kept() if url.probes > 1 else None
    if kept is not None:
        answer = Answer(kept)
        verdict = await _answered(answer, url, request, dial, farewell, say=request.data)
        if answer.data or answer.line or not verdict.conclusive:
            return verdict
    try:
        stream = await dial.connect(target, request.data)
    except ConnectionLost as error:
        return Verdict(error.reason, url.label + str(error), sent=request.shown)
    return await _answered(Answer(stream), url, request, dial, farewell)


async def _answered(
    answer: Answer, url: Url, request: Request, dial: Dialer, farewell: Farewell | None, say: bytes = b""
) -> Verdict:
    """Say what is still to be said, judge what comes, and keep the connection or close it."""
    stream = answer.stream
    kept = False
    try:
        if say:
            await stream.send(say)
        verdict = await _judged(answer, url, request)
        if url.probes > 1 and verdict.ok:
            over = answer.ends_here(0 if url.bodiless else None) or (not url.bodiless and await _is_over(answer, url))
            kept = over and dial.keep(stream, url.probes)
        if farewell is not None and not kept:
            await farewell(stream)
    except ProbeError as error:
        reason, detail = error.reason, url.label + str(error)
    except NotHttpError as error:
        reason, detail = Reason.L7RSP, url.label + str(error)
    else:
        return verdict
    finally:
        if not kept:
            stream.close()
    return Verdict(reason, detail, sent=request.shown, received=answer.excerpt())


async def _is_over(answer: Answer, url: Url) -> bool:
    """Read what is left of an answer that was judged already; whether the connection may be used again."""
    if not url.needs_body:
        try:
            await answer.body()
        except (ProbeError, NotHttpError):
            return False
    return answer.reusable


async def _judged(answer: Answer, url: Url, request: Request) -> Verdict:
    """Read as far as needed and return the verdict. Raises ProbeError, NotHttpError."""
    known, verdict = request.last
    head = await answer.head(known)
    if head is known:
        return verdict
    status = head.status
    reason, detail = Reason.L7OK, f"HTTP {status}"
    if not any(low <= status <= high for low, high in url.statuses):
        reason, detail = Reason.L7STS, f"{url.label}HTTP {status}, wanted {url.wanted}"
    elif url.needs_body:
        complaint = url.complaint(await answer.body())
        if complaint:
            reason, detail = Reason.L7BODY, url.label + complaint
    if reason is not Reason.L7OK:
        return Verdict(reason, detail, sent=request.shown, received=answer.excerpt())
    verdict = Verdict(reason, detail, sent=request.shown, received=head.line)
    if not url.needs_body:
        request.last = head, verdict
        request.length = head.reusable_length(bodiless=url.bodiless)
    return verdict
