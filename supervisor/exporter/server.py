"""The only network listener: GET and HEAD of /metrics and the pages of `statuspage`, for whoever can reach it, and nothing else.

Readers are strangers: every request is bounded in bytes and time, connections are bounded in number and per peer, nothing that
came in ever goes out again, and no request can make more than one question to the supervisor a second.
It must never crash on input, keep a connection, or hold state for a reader.
Sources: reliability.md, section 8; RFC 9110 and 9112; https://prometheus.io/docs/instrumenting/exposition_formats.
"""

from __future__ import annotations

import contextlib
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias
from urllib.parse import parse_qs, urlsplit

import h11
import trio
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from checkers.kit.frozen import frozen
from supervisor.exporter.answers import SECURITY, Answer, LiveAnswer
from supervisor.exporter.doorman import Doorman
from supervisor.exporter.extent import Extent
from supervisor.exporter.families import SCOPES, Served, families, render_duration, served_families
from supervisor.exporter.hosts import MISDIRECTED, Hosts
from supervisor.exporter.link import NoAnswer, SupervisorLink, View
from supervisor.exporter.names import names as known_names
from supervisor.exporter.rendering import Written, ending, slices
from supervisor.exporter.statuspage import StatusPage

HEAD_MAX_BYTES = 8192
READ_MAX_S = 1.0
"""From the connection, or its TLS handshake, to the end of the request's head."""
TOTAL_MAX_S = 10.0
"""From the connection to its end: as long as Prometheus waits for a scrape (its scrape_timeout by default)."""
LINGER_MAX_S = 0.5
"""Wait for the reader to close first, so that a reset does not eat the answer."""
CONNECTIONS_MAX = 32
CONNECTIONS_PER_PEER_MAX = 8
CACHED_BODIES_MAX = 8
WARM_UP_AFTER_S, WARM_UP_EVERY_S = 20.0, 5.0
"""When it is looked whether the metrics can be written beforehand, and how often then: others need the processor first at a start."""
NAMES_MAX = 100
"""Most name[] filters of one request."""
MEMBERS_MAX = 40
"""The first samples of a family have every name that any has: those of a histogram are 16, the others have one."""

Headers: TypeAlias = tuple[tuple[str, str], ...]
EVERY_HEADER: Headers = (*SECURITY, ("Cache-Control", "no-store"))
Rest: TypeAlias = Callable[[], Awaitable[None]]
"""What follows a head that was sent, for as long as the reader stays."""

GZIP_LEVEL = 1
"""A tenth of the time of the highest, for a quarter more bytes (observability.md, section 1.4)."""
_GZIP_BITS = 16 + zlib.MAX_WBITS  # a gzip header and trailer around the stream (zlib's manual, deflateInit2)

_OPENMETRICS = "application/openmetrics-text; version=1.0.0"
"""What the library's encoder is chosen by: it fails on some malformed versions, so a reader's own words never reach it."""


@frozen
class Selection:
    """Which part of the metrics a scrape wants, in which form."""

    scopes: tuple[str, ...]
    names: frozenset[str]
    openmetrics: bool
    zipped: bool
    extent: Extent = Extent()


class _Scrape:
    """One snapshot as families; the time that each scope took is the last of them."""

    def __init__(self, view: View, selection: Selection, served: Served, supervisor: Collector | None) -> None:
        self._view = view
        self._selection = selection
        self._served = served
        self._supervisor = supervisor

    def __iter__(self) -> Iterator[Metric]:
        """Yield the chosen families; who writes takes them one by one, so that writing is in the measured time."""
        durations_s: dict[str, float] = {}
        for scope in self._selection.scopes:
            begin = time.perf_counter()
            yield from filter(self._chosen, self._of(scope))
            durations_s[scope] = time.perf_counter() - begin
        yield from filter(self._chosen, [render_duration(durations_s)])

    def _of(self, scope: str) -> Iterator[Metric]:
        view = self._view
        yield from families(view.snapshot, view.now_wall, (scope,), self._selection.extent)
        if scope == "process":
            yield from served_families(self._served)
            if self._supervisor is not None:
                yield from self._supervisor.collect()

    def _chosen(self, family: Metric) -> bool:
        names = self._selection.names
        return not names or family.name in names or any(sample.name in names for sample in family.samples[:MEMBERS_MAX])


class Site:
    """What is served: request in, answer out."""

    def __init__(
        self,
        link: SupervisorLink,
        supervisor: Collector | None = None,
        extent: Extent = Extent(),
        names: Sequence[str] = (),
    ) -> None:
        """`supervisor` tells what /proc says of the supervisor (`exporter.process`); `names` are this host's, the best first."""
        self._hosts = Hosts(names)
        self._page = StatusPage(link, names[0] if names else "this director")
        self.requests: Counter[int] = Counter()
        self.refused = 0
        self._link = link
        self._supervisor = supervisor
        self._extent = extent
        self._bodies: dict[Selection, tuple[View, Answer]] = {}
        self._written: dict[str, Written] = {}  # by content type
        self._rendering = trio.Lock()  # one at a time: each holds the text of the whole table

    async def run(self) -> None:
        """Tell whoever stays what changes; forever. Must run beside the answers."""
        await self._page.live.run()

    async def warm_up(self) -> None:
        """Write the metrics once before anybody asks, as soon as everything was checked; then return.

        From one scrape to the next most of the text stays (`exporter.rendering`); so the first one, which would have to write all of it,
        is for nobody. Where somebody has asked before, there is nothing to do.
        """
        everything = Selection(
            SCOPES, frozenset(), openmetrics=True, zipped=True, extent=self._extent
        )  # as Prometheus asks
        await trio.sleep(WARM_UP_AFTER_S)
        while not self._written:
            with contextlib.suppress(NoAnswer):
                if await self._link.ready():
                    await self._metrics(everything)
            await trio.sleep(WARM_UP_EVERY_S)

    async def answer(self, request: h11.Request) -> Answer | LiveAnswer:
        """Answer one request and count it. Never raises for anything that a reader can do."""
        answer = await self._answered(request)
        self.requests[answer.status] += 1
        return answer

    async def _answered(self, request: h11.Request) -> Answer | LiveAnswer:
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
            return await self._metrics(_select(target.query, request, self._extent))
        except NoAnswer:
            return Answer(503, b"the supervisor does not answer\n")
        except UnknownSelection as error:
            return Answer(400, f"{error}\n".encode())

    async def _metrics(self, selection: Selection) -> Answer:
        async with self._rendering:
            view = await self._link.fetch()
            cached = self._bodies.get(selection)
            if cached is not None and cached[0] is view:
                return cached[1]
            self._bodies = {key: value for key, value in self._bodies.items() if value[0] is view}
            answer = await self._render(view, selection)
            if len(self._bodies) < CACHED_BODIES_MAX:
                self._bodies[selection] = view, answer
            return answer

    async def _render(self, view: View, selection: Selection) -> Answer:
        """Write what was chosen, with a turn for everybody else after each slice."""
        encode, content_type = choose_encoder(_OPENMETRICS if selection.openmetrics else "")
        headers = [("Content-Type", content_type), ("Vary", "Accept, Accept-Encoding")]
        packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_BITS) if selection.zipped else None
        body = bytearray()
        served = Served(dict(self.requests), self.refused, view.took_s)
        written = self._written.setdefault(content_type, {})
        for piece in slices(_Scrape(view, selection, served, self._supervisor), encode, written):
            body += packer.compress(piece) if packer else piece
            await trio.lowlevel.checkpoint()
        end = ending(selection.openmetrics)
        body += packer.compress(end) + packer.flush() if packer else end
        if packer:
            headers.append(("Content-Encoding", "gzip"))
        return Answer(200, bytes(body), tuple(headers))


class UnknownSelection(Exception):
    """A query that chooses what does not exist; the text does not repeat it."""


def _select(query: str, request: h11.Request, extent: Extent) -> Selection:
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
    names = frozenset(parameters.get("name[]", ()))
    if names - known_names():
        raise UnknownSelection("unknown name[]; the names are in docs/metrics.md and in /metrics without it")
    return Selection(
        scopes=tuple(scope for scope in SCOPES if scope in scopes),
        names=names,
        openmetrics="application/openmetrics-text" in _header(request, b"accept"),
        zipped=_takes_gzip(_header(request, b"accept-encoding")),
        extent=extent,
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


async def handle(stream: trio.abc.Stream, site: Site, doorman: Doorman) -> Rest | None:
    """Serve one connection: one request, one answer, within TOTAL_MAX_S; then it is closed, unless something is to follow."""
    rest = None
    with trio.move_on_after(TOTAL_MAX_S):
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # the reader went away
            received = await doorman.receive(stream)
            if received is not None:
                rest = await _converse(received, site, doorman)
    if rest is None:
        await trio.aclose_forcefully(stream)
    return rest


async def _converse(stream: trio.abc.Stream, site: Site, doorman: Doorman) -> Rest | None:
    """Answer one request. Returns what is to follow the head that was sent, if anything."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX_BYTES)
    with trio.move_on_after(READ_MAX_S) as patience:
        request = await _read_request(stream, connection)
    if patience.cancelled_caught or request is None:
        return None
    answer: Answer | LiveAnswer
    if isinstance(request, h11.Request):
        refusal = await doorman.refusal(request)
        answer = await site.answer(request) if refusal is None else refusal
        head_only = request.method == b"HEAD"
    else:
        answer, refusal, head_only = request, request, False
    if refusal is not None:
        site.requests[refusal.status] += 1
    await stream.send_all(_head(connection, answer, doorman.headers))
    if isinstance(answer, LiveAnswer):
        if not head_only:
            return partial(answer.feed.pour, stream, lambda data: connection.send(h11.Data(data)) or b"")
    elif not head_only:
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


def _head(connection: h11.Connection, answer: Answer | LiveAnswer, headers: Headers) -> bytes:
    """Return the head of an answer. `headers` are the operator's and go before ours of the same name, an answer's own before both."""
    every = {name.lower(): (name, value) for name, value in (*EVERY_HEADER, *headers, *answer.headers)}
    length = () if isinstance(answer, LiveAnswer) else (("Content-Length", str(len(answer.body))),)
    head = h11.Response(status_code=answer.status, headers=[*every.values(), *length, ("Connection", "close")])
    return connection.send(head) or b""


async def _linger(stream: trio.abc.Stream) -> None:
    """Say that this was all, and let the reader close, reading at most one more head."""
    if isinstance(stream, trio.abc.HalfCloseableStream):
        await stream.send_eof()
    left_bytes = 2 * HEAD_MAX_BYTES
    while left_bytes > 0 and (data := await stream.receive_some(HEAD_MAX_BYTES)):
        left_bytes -= len(data)


class Doorkeeper:
    """Counts connections; who comes beyond the limits is closed unheard."""

    def __init__(self, site: Site, doorman: Doorman | None = None) -> None:
        self._site = site
        self._doorman = doorman or Doorman()
        self._open: Counter[str] = Counter()

    async def serve(self, stream: trio.abc.Stream, peer: str) -> None:
        """Serve one connection from the address `peer`, if there is room."""
        if self._open.total() >= CONNECTIONS_MAX or self._open[peer] >= CONNECTIONS_PER_PEER_MAX:
            self._site.refused += 1
            await trio.aclose_forcefully(stream)
            return
        self._open[peer] += 1
        rest = None
        try:
            rest = await handle(stream, self._site, self._doorman)
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
