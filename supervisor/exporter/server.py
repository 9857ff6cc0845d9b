"""The only network listener: GET and HEAD of /metrics and the pages of `statuspage`, for whoever can reach it, and nothing else.

Readers are strangers: every request is bounded in bytes and time, connections are bounded in number and per peer, nothing that
came in ever goes out again, and no request can make more than one question to the supervisor a second.
It must never crash on input, keep a connection, or hold state for a reader.
Sources: reliability.md, section 8; RFC 9110 and 9112; https://prometheus.io/docs/instrumenting/exposition_formats.
"""

from __future__ import annotations

import contextlib
import gzip
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias
from urllib.parse import parse_qs, urlsplit

import h11
import trio
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from supervisor.core.snapshot import Snapshot
from supervisor.exporter.answer import SECURITY, Answer, LiveAnswer
from supervisor.exporter.families import SCOPES, families, render_duration
from supervisor.exporter.hosts import MISDIRECTED, Hosts
from supervisor.exporter.link import NoAnswer, SupervisorLink
from supervisor.exporter.statuspage import StatusPage

HEAD_MAX_BYTES = 8192
READ_MAX_S = 1.0
"""From the connection to the end of the request's head."""
TOTAL_MAX_S = 5.0
"""From the connection to its end."""
LINGER_MAX_S = 0.5
"""Wait for the reader to close first, so that a reset does not eat the answer."""
CONNECTIONS_MAX = 32
CONNECTIONS_PER_PEER_MAX = 8
CACHED_BODIES_MAX = 8
NAMES_MAX = 100
"""Most name[] filters of one request."""

Rest: TypeAlias = Callable[[], Awaitable[None]]
"""What follows a head that was sent, for as long as the reader stays."""

_OPENMETRICS = "application/openmetrics-text; version=1.0.0"
"""What the library's encoder is chosen by: it fails on some malformed versions, so a reader's own words never reach it."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of the metrics a scrape wants, in which form."""

    scopes: tuple[str, ...]
    names: frozenset[str]
    openmetrics: bool
    zipped: bool


class _Scrape(Collector):
    """One snapshot as a collector of prometheus_client; the time that each scope took is its last family."""

    def __init__(self, snapshot: Snapshot, now_wall: float, selection: Selection, supervisor: Collector | None) -> None:
        self._snapshot = snapshot
        self._now_wall = now_wall
        self._selection = selection
        self._supervisor = supervisor

    def collect(self) -> Iterator[Metric]:
        """Yield the chosen families; the encoder takes them one by one, so that rendering is in the measured time."""
        durations_s: dict[str, float] = {}
        for scope in self._selection.scopes:
            begin = time.perf_counter()
            yield from filter(self._chosen, families(self._snapshot, self._now_wall, (scope,)))
            if scope == "process" and self._supervisor is not None:
                yield from filter(self._chosen, self._supervisor.collect())
            durations_s[scope] = time.perf_counter() - begin
        yield from filter(self._chosen, [render_duration(durations_s)])

    def _chosen(self, family: Metric) -> bool:
        names = self._selection.names
        return not names or not names.isdisjoint({family.name, *(sample.name for sample in family.samples)})


class Site:
    """What is served: request in, answer out."""

    def __init__(
        self,
        link: SupervisorLink,
        supervisor: Collector | None = None,
        names: Sequence[str] = (),
    ) -> None:
        """`supervisor` tells what /proc says of the supervisor (`exporter.process`); `names` are this host's, the best first."""
        self._link = link
        self._hosts = Hosts(names)
        self._page = StatusPage(link, names[0] if names else "this director")
        self._supervisor = supervisor
        self._bodies: dict[Selection, tuple[Snapshot, Answer]] = {}

    async def run(self) -> None:
        """Tell whoever stays what changes; forever. Must run beside the answers."""
        await self._page.live.run()

    async def answer(self, request: h11.Request) -> Answer | LiveAnswer:
        """Answer one request. Never raises for anything that a reader can do."""
        if request.method not in {b"GET", b"HEAD"}:
            return Answer(405, b"only GET and HEAD\n", (("Allow", "GET, HEAD"), *Answer(405, b"").headers))
        try:
            target = urlsplit(request.target.decode("ascii"))
        except ValueError:
            return Answer(400, b"malformed request target\n")
        host = target.netloc or _header(request, b"host")
        if host and not self._hosts.knows(host):  # HTTP/1.0 need not say one, and no browser speaks it
            return Answer(421, MISDIRECTED.encode())
        if target.path != "/metrics":
            return await self._page.answer(target.path, target.query, _header(request, b"accept"))
        try:
            return await self._metrics(_select(target.query, request))
        except NoAnswer:
            return Answer(503, b"the supervisor does not answer\n")
        except UnknownSelection as error:
            return Answer(400, f"{error}\n".encode())

    async def _metrics(self, selection: Selection) -> Answer:
        snapshot, now_wall = await self._link.fetch()
        cached = self._bodies.get(selection)
        if cached is not None and cached[0] is snapshot:
            return cached[1]
        self._bodies = {key: value for key, value in self._bodies.items() if value[0] is snapshot}
        encode, content_type = choose_encoder(_OPENMETRICS if selection.openmetrics else "")
        body = encode(_Scrape(snapshot, now_wall, selection, self._supervisor))
        headers = [("Content-Type", content_type), ("Vary", "Accept, Accept-Encoding")]
        if selection.zipped:
            body = gzip.compress(body, compresslevel=1, mtime=0)
            headers.append(("Content-Encoding", "gzip"))
        answer = Answer(200, body, tuple(headers))
        if len(self._bodies) < CACHED_BODIES_MAX:
            self._bodies[selection] = snapshot, answer
        return answer


class UnknownSelection(Exception):
    """A query that chooses what does not exist; the text does not repeat it."""


def _select(query: str, request: h11.Request) -> Selection:
    """Read the query and the headers of a scrape. Raises UnknownSelection."""
    try:
        parameters = parse_qs(query, max_num_fields=NAMES_MAX + 1)
    except ValueError:
        raise UnknownSelection(f"at most {NAMES_MAX} parameters") from None
    if not parameters.keys() <= {"scope", "name[]"}:
        raise UnknownSelection("unknown parameter; there are scope and name[]")
    scopes = {word for value in parameters.get("scope", [",".join(SCOPES)]) for word in value.split(",")}
    if not scopes <= set(SCOPES):
        raise UnknownSelection(f"unknown scope; there are {', '.join(SCOPES)}")
    return Selection(
        scopes=tuple(scope for scope in SCOPES if scope in scopes),
        names=frozenset(parameters.get("name[]", ())),
        openmetrics="application/openmetrics-text" in _header(request, b"accept"),
        zipped=_takes_gzip(_header(request, b"accept-encoding")),
    )


def _header(request: h11.Request, name: bytes) -> str:
    return ",".join(value.decode("latin-1") for key, value in request.headers if key == name)


def _takes_gzip(accept_encoding: str) -> bool:
    """Whether gzip is acceptable (RFC 9110, section 12.5.3)."""
    for item in accept_encoding.split(","):
        coding, _, weight = item.replace(" ", "").lower().partition(";")
        if coding == "gzip":
            return weight.strip("q=0.") != "" or weight == ""
    return False


async def handle(stream: trio.abc.Stream, site: Site) -> Rest | None:
    """Serve one connection: one request, one answer, within TOTAL_MAX_S; then it is closed, unless something is to follow."""
    rest = None
    with trio.move_on_after(TOTAL_MAX_S):
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # the reader went away
            rest = await _converse(stream, site)
    if rest is None:
        await trio.aclose_forcefully(stream)
    return rest


async def _converse(stream: trio.abc.Stream, site: Site) -> Rest | None:
    """Answer one request. Returns what is to follow the head that was sent, if anything."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX_BYTES)
    with trio.move_on_after(READ_MAX_S) as patience:
        request = await _read_request(stream, connection)
    if patience.cancelled_caught or request is None:
        return None
    answer = await site.answer(request) if isinstance(request, h11.Request) else request
    head_only = isinstance(request, h11.Request) and request.method == b"HEAD"
    if isinstance(answer, LiveAnswer):
        await stream.send_all(_head(connection, 200, answer.headers))
        if not head_only:
            return partial(answer.feed.pour, stream, lambda data: connection.send(h11.Data(data)) or b"")
    else:
        length = ("Content-Length", str(len(answer.body)))
        await stream.send_all(_head(connection, answer.status, (*answer.headers, length)))
        if not head_only:
            await stream.send_all(answer.body)
    with trio.move_on_after(LINGER_MAX_S):
        await _linger(stream)
    return None


async def _read_request(stream: trio.abc.Stream, connection: h11.Connection) -> h11.Request | Answer | None:
    """Return the request, the answer to a bad one, or None at the reader's end."""
    received_bytes = 0
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                return event
            if event is not h11.NEED_DATA:
                return None
            if received_bytes >= HEAD_MAX_BYTES:
                return Answer(431, b"the request's head is longer than 8 KiB\n")
            data = await stream.receive_some(HEAD_MAX_BYTES - received_bytes)
            received_bytes += len(data)
            connection.receive_data(bytes(data))
    except h11.RemoteProtocolError as error:
        return Answer(error.error_status_hint, b"malformed request\n")


def _head(connection: h11.Connection, status: int, headers: tuple[tuple[str, str], ...]) -> bytes:
    """Return the head of an answer, with what holds for all of them."""
    kept = () if any(name == "Cache-Control" for name, _ in headers) else (("Cache-Control", "no-store"),)
    response = h11.Response(status_code=status, headers=[*headers, *SECURITY, *kept, ("Connection", "close")])
    return connection.send(response) or b""


async def _linger(stream: trio.abc.Stream) -> None:
    """Say that this was all, and let the reader close, reading at most one more head."""
    if isinstance(stream, trio.abc.HalfCloseableStream):
        await stream.send_eof()
    left_bytes = 2 * HEAD_MAX_BYTES
    while left_bytes > 0 and (data := await stream.receive_some(HEAD_MAX_BYTES)):
        left_bytes -= len(data)


class Doorkeeper:
    """Counts connections; who comes beyond the limits is closed unheard."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._open: Counter[str] = Counter()

    async def serve(self, stream: trio.abc.Stream, peer: str) -> None:
        """Serve one connection from the address `peer`, if there is room."""
        if self._open.total() >= CONNECTIONS_MAX or self._open[peer] >= CONNECTIONS_PER_PEER_MAX:
            await trio.aclose_forcefully(stream)
            return
        self._open[peer] += 1
        rest = None
        try:
            rest = await handle(stream, self._site)
        finally:
            self._open[peer] -= 1
            self._open += Counter()  # forget who is gone
        if rest is not None:  # it has limits of its own
            await rest()
            await trio.aclose_forcefully(stream)

    async def serve_socket(self, stream: trio.SocketStream) -> None:
        """Serve one accepted connection."""
        try:
            peer = str(stream.socket.getpeername()[0])
        except OSError:
            await trio.aclose_forcefully(stream)  # gone already
            return
        await self.serve(stream, peer)
