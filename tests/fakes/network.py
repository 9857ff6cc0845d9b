"""A network in memory, for stories on a virtual clock: scripted servers, and the dialer that reaches them.

    network = FakeNetwork()
    server = network.server("192.168.100.22", 80)      # healthy until told otherwise
    server.behaviour = refuse()                        # or status(503), hang(), drip(), …
    server.requests                                    # what it was asked, with the time: [Asked(at, data)]
    nursery.start_soon(functools.partial(worker.main, link, network.dialer, rng))

A behaviour is data (what happens at connect, then steps: send, pause, end, reset), so the contract suite plays the same
behaviours on real sockets. It needs trio's clock and nothing else: no task, no socket, no thread. An address where nobody is
refuses connections. What is not modelled: a change of behaviour reaches only connections that are made afterwards, and those of
sentinels, which are what they are for.

With `loss` packets get lost on both ways, and the kernels send them again as Linux does: a SYN that has no answer after 1 s, 3 s and 7 s
(tcp_syn_retries; RFC 6298, section 2), data after 0.2 s (TCP_RTO_MIN) and twice as long each time.
"""

from __future__ import annotations

import enum
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import trio

from checkers.kit.api import (
    Answer,
    ConnectFailed,
    ConnectionLost,
    Datagrams,
    DeadlinePassed,
    Favour,
    Favours,
    Glance,
    LocalTrouble,
    ProbeError,
    Stream,
    Target,
    Verdict,
)
from checkers.kit.favours import NO_FAVOURS
from checkers.kit.held import DROPPED_MAX_BYTES
from checkers.kit.probing import recognised
from checkers.kit.timer import Timer
from checkers.kit.watch import TIMES_SILENT, Held, News
from tests.fakes.tls import TlsServerStream

NOTICED_S = 0.2
"""A server stands still when somebody waits longer than this for the place of an idle connection."""

LATENCY_S = 0.001
"""One round trip, when a server has no other."""

SYN_AGAIN_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
DATA_AGAIN_S = (0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6)
"""Pauses before a packet is sent again."""


def lost_s(rng: random.Random, loss: float, again_s: Sequence[float], ways: int) -> float:
    """How much later a packet arrives whose every sending is lost, on one of so many ways, with this probability."""
    late = 0.0
    for pause in again_s:
        if loss == 0.0 or rng.random() < (1 - loss) ** ways:
            return late
        late += pause
    return math.inf


class Connect(enum.Enum):
    """What happens to a connection attempt."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    UNREACHABLE = "unreachable"
    BLACKHOLE = "blackhole"
    NO_DESCRIPTOR = "no descriptor"  # our own trouble


@dataclass(frozen=True, slots=True)
class Send:
    """The server sends these bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """The server does nothing for so many seconds (math.inf: for ever)."""

    duration_s: float


@dataclass(frozen=True, slots=True)
class End:
    """The server ends its side in an orderly way."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The server resets the connection."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """The server sends the first bytes of what it was asked, then these: an answer that has to bear the question's number."""

    size_bytes: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Echo:
    """The server sends the ICMP message back that came, as a reply."""


Step: TypeAlias = Send | Pause | End | Reset | Mirror | Echo


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a server does: at connect, then `greeting` at once, then `answer` when a request came, then each of `more`.

    `terminator` ends a request. With `lasting` each request of a connection gets `answer`. `tls` names the certificate of a server that
    says all this over TLS (tests.fakes.tls). With `udp` it answers each datagram with `answer`, every Send and Mirror of which is one.
    """

    name: str
    connect: Connect = Connect.ACCEPT
    greeting: tuple[Step, ...] = ()
    answer: tuple[Step, ...] = (Pause(math.inf),)
    more: tuple[tuple[Step, ...], ...] = ()
    terminator: bytes = b"\r\n\r\n"
    lasting: bool = False
    tls: str = ""
    udp: bool = False

    def over_tls(self, certificate: str = "good") -> Behaviour:
        """Return the same over TLS."""
        return replace(self, name=f"{self.name} over TLS ({certificate})", tls=certificate)


def answer_of(code: int, body: bytes, *headers: str) -> bytes:
    """Return an HTTP/1.1 answer with a Content-Length."""
    lines = [f"HTTP/1.1 {code} Because", "Server: fake", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def status(code: int, body: bytes = b"hello\n") -> Behaviour:
    """Answer every request with `code` and end."""
    return Behaviour(f"status {code}", answer=(Send(answer_of(code, body)), End()))


def healthy(body: bytes = b"hello\n") -> Behaviour:
    """Answer every request with 200 and end."""
    return status(200, body)


def keep_alive(body: bytes = b"hello\n") -> Behaviour:
    """Answer with 200 and leave the connection open."""
    return Behaviour("keep alive", answer=(Send(answer_of(200, body)), Pause(math.inf)))


def lasting(body: bytes = b"hello\n", *headers: str) -> Behaviour:
    """Answer each request of a connection with 200."""
    return Behaviour("lasting", answer=(Send(answer_of(200, body, *headers)),), lasting=True)


def refuse() -> Behaviour:
    """Refuse connections: the process died, its host lives."""
    return Behaviour("refuse", Connect.REFUSE)


def unreachable() -> Behaviour:
    """No route to the host."""
    return Behaviour("unreachable", Connect.UNREACHABLE)


def blackhole() -> Behaviour:
    """Never answer to a connection attempt: the host is gone."""
    return Behaviour("blackhole", Connect.BLACKHOLE)


def no_descriptor() -> Behaviour:
    """Fail on our own side before anything is sent."""
    return Behaviour("no descriptor", Connect.NO_DESCRIPTOR)


def hang() -> Behaviour:
    """Accept and never say a word."""
    return Behaviour("hang")


def slow(delay_s: float) -> Behaviour:
    """Answer with 200 after `delay_s` seconds."""
    return Behaviour(f"slow {delay_s:g} s", answer=(Pause(delay_s), Send(answer_of(200, b"hello\n")), End()))


def drip(gap_s: float = 0.05) -> Behaviour:
    """Send a good answer one byte at a time."""
    steps: list[Step] = []
    for octet in answer_of(200, b"hello\n"):
        steps += [Send(bytes([octet])), Pause(gap_s)]
    return Behaviour("drip", answer=(*steps, End()))


def garbage() -> Behaviour:
    """Answer with bytes that are no HTTP."""
    return Behaviour("garbage", answer=(Send(b"\x00\xff\x1b[31m" * 40), End()))


def banner() -> Behaviour:
    """Speak first, another protocol."""
    return Behaviour("banner", greeting=(Send(b"SSH-2.0-OpenSSH_9.2\r\n"),))


def close_early() -> Behaviour:
    """End the connection without an answer."""
    return Behaviour("close early", answer=(End(),))


def cut_head() -> Behaviour:
    """End the connection in the middle of the head."""
    return Behaviour("cut head", answer=(Send(answer_of(200, b"hello\n")[:25]), End()))


def cut_body() -> Behaviour:
    """End the connection in the middle of the body."""
    return Behaviour("cut body", answer=(Send(answer_of(200, b"hello\n")[:-2]), End()))


def reset() -> Behaviour:
    """Reset the connection when the request came."""
    return Behaviour("reset", answer=(Reset(),))


def interim() -> Behaviour:
    """Say 100 Continue first, then 200."""
    data = b"HTTP/1.1 100 Continue\r\n\r\n" + answer_of(200, b"hello\n")
    return Behaviour("interim", answer=(Send(data), End()))


def chunked() -> Behaviour:
    """Answer in chunks and leave the connection open."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    steps = (
        Send(head),
        Pause(0.01),
        Send(b"3\r\nhel\r\n"),
        Pause(0.01),
        Send(b"3\r\nlo\n\r\n0\r\n\r\n"),
        Pause(math.inf),
    )
    return Behaviour("chunked", answer=steps)


def bare_line_feeds() -> Behaviour:
    """Answer with lines that end in LF alone."""
    return Behaviour("bare line feeds", answer=(Send(b"HTTP/1.1 200 OK\nServer: fake\n\nhello\n"), End()))


def head_of(size_bytes: int) -> Behaviour:
    """Answer with a head of so many bytes."""
    start, end = b"HTTP/1.1 200 OK\r\nX-Long: ", b"\r\n\r\n"
    head = start + b"x" * (size_bytes - len(start) - len(end)) + end
    return Behaviour(f"head of {size_bytes} bytes", answer=(Send(head), End()))


def endless_body() -> Behaviour:
    """Answer with 200 and a body that never ends."""
    block = Send(b"x" * 65_536)
    return Behaviour("endless body", answer=(Send(b"HTTP/1.0 200 OK\r\n\r\n"), *[block] * 64, Pause(math.inf)))


def endless_interim() -> Behaviour:
    """Answer with 100 Continue again and again."""
    return Behaviour("endless interim", answer=(Send(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), Pause(math.inf)))


def close_at_once() -> Behaviour:
    """Accept and end the connection before anything is asked."""
    return Behaviour("close at once", greeting=(End(),))


def reset_at_once() -> Behaviour:
    """Accept and reset the connection before anything is asked."""
    return Behaviour("reset at once", greeting=(Pause(0.02), Reset()))


def endless_noise() -> Behaviour:
    """Send bytes that mean nothing without being asked, and never stop."""
    return Behaviour("endless noise", greeting=(*[Send(b"\x00" * 65_536)] * 64, Pause(math.inf)))


def endless_handshake() -> Behaviour:
    """Greet with records of a TLS handshake whose message never ends."""
    message = b"\x02\xff\xff\xff" + b"\x00" * 16_380
    record = b"\x16\x03\x03\x40\x00" + message
    return Behaviour("endless handshake", greeting=(*[Send(record)] * 64, Pause(math.inf)))


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that a server was sent. `at` is trio's clock."""

    at: float
    data: bytes


class FakeServer:
    """One address and port. `connections` counts attempts, `open` what stands now; `server_names` are those of TLS clients,
    `farewells` counts their close_notify. All of it may be read at any time.

    `places` is how many connections it serves at once; whoever comes later is in its queue. `notes_ends`: who leaves is noticed.
    `idle_limit_s` is after how long it closes connections that say nothing; `held` are those of sentinels, `holds` counts how many
    were begun, `holds_ended` how many ended by themselves. A change of `behaviour` reaches them: a process that dies closes them, and
    a host that dies is silent.
    """

    def __init__(self, address: str, port: int, behaviour: Behaviour | None = None) -> None:
        self.address = address
        self.port = port
        self._behaviour = healthy() if behaviour is None else behaviour
        self.latency_s = LATENCY_S
        self.connections = 0
        self.open = 0
        self.requests: list[Asked] = []
        self.server_names: list[str] = []
        self.farewells = 0
        self.places: float = math.inf
        self.notes_ends = True
        self._queue: dict[object, Callable[[], None]] = {}  # who is there, in order, and what serves them
        self._served: set[object] = set()
        self._in_the_way_since = math.inf
        self._stood_still_s = 0.0
        self.stood_still_times = 0  # for more than NOTICED_S
        self.idle_limit_s = math.inf
        self.held: set[FakeHeld] = set()
        self.holds = 0
        self.holds_ended = 0

    def enter(self, who: object, serve: Callable[[], None]) -> None:
        """A connection stands; `serve` is called when it has a place."""
        self._queue[who] = serve
        self._serve()

    def quit(self, who: object) -> None:
        """It is over; may be called twice."""
        self._queue.pop(who, None)
        self._served.discard(who)
        self._serve()

    @property
    def stood_still_s(self) -> float:
        """How long at most somebody waited for a place that a sentinel had, so far."""
        return max(self._stood_still_s, trio.current_time() - self._in_the_way_since)

    def _serve(self) -> None:
        for who, serve in list(self._queue.items()):
            if len(self._served) >= self.places:
                break
            if who not in self._served:
                self._served.add(who)
                serve()
        self._stood_still_s = self.stood_still_s
        waiting = len(self._queue) > len(self._served) and not self._served.isdisjoint(self.held)
        if waiting:
            self._in_the_way_since = min(self._in_the_way_since, trio.current_time())
            return
        self.stood_still_times += trio.current_time() - self._in_the_way_since > NOTICED_S
        self._in_the_way_since = math.inf

    @property
    def behaviour(self) -> Behaviour:
        """What it does."""
        return self._behaviour

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        match behaviour.connect:
            case Connect.REFUSE:
                self.close_idle()
            case Connect.BLACKHOLE | Connect.UNREACHABLE:
                for held in list(self.held):
                    held.fall_silent()
            case Connect.ACCEPT | Connect.NO_DESCRIPTOR:
                pass

    def close_idle(self) -> None:
        """Close all connections that say nothing, as a graceful reload does."""
        for held in sorted(self.held, key=lambda held: held.number):
            held.end(News.ENDED)


class FakeNetwork:
    """All servers. `dialer` is what `kit.worker.main` wants as `make_dialer`."""

    def __init__(self) -> None:
        self.servers: dict[tuple[str, int], FakeServer] = {}
        self.udp_servers: dict[tuple[str, int], FakeServer] = {}
        self.echo_servers: dict[str, FakeServer] = {}
        self.loss = 0.0  # probability that a packet of TCP is lost, on each way
        self.rng = random.Random(1)  # of losses

    def late_s(self, again_s: Sequence[float], ways: int = 1) -> float:
        """How much later something arrives because packets are lost."""
        return lost_s(self.rng, self.loss, again_s, ways) if self.loss else 0.0

    def server(self, address: str, port: int) -> FakeServer:
        """Return the server at `address` and `port`, a healthy new one if nobody is there yet."""
        return self.servers.setdefault((address, port), FakeServer(address, port))

    def udp_server(self, address: str, port: int, behaviour: Behaviour) -> FakeServer:
        """Put a server of datagrams at `address` and `port`."""
        return self.udp_servers.setdefault((address, port), FakeServer(address, port, behaviour))

    def echo_server(self, address: str, behaviour: Behaviour) -> FakeServer:
        """Put a host that hears pings at `address`."""
        return self.echo_servers.setdefault(address, FakeServer(address, 0, behaviour))

    def dialer(self, limit_s: float, favours: Favours = NO_FAVOURS) -> FakeDialer:
        """Return the dialer of one probe whose connections may last `limit_s` seconds each."""
        return FakeDialer(self, limit_s, favours)

    def watch(self, timer: Timer) -> FakeWatch:
        """Return where the sentinels of one worker come from."""
        return FakeWatch(self, timer)


class FakeWatch:
    """Where the connections of sentinels come from (kit.watch.Watch)."""

    def __init__(self, network: FakeNetwork, timer: Timer) -> None:
        self._network = network
        self._timer = timer

    def hold(
        self, target: Target, limit_s: float, keepalive_s: float, told: Callable[[News], None], *, leave: bool = False
    ) -> Held | News:
        """See `kit.watch.Watch.hold`."""
        server = self._network.servers.get((target.address, target.port))
        if server is None:
            return News.REFUSED
        if server.behaviour.connect is Connect.NO_DESCRIPTOR:
            return News.SHORT
        server.holds += not leave
        return FakeHeld(server, self._timer, limit_s, keepalive_s, told, leaves=leave)


class FakeHeld:
    """One idle connection to a scripted server (kit.watch.Held). It needs no task: the worker's timer does everything."""

    def __init__(
        self,
        server: FakeServer,
        timer: Timer,
        limit_s: float,
        keepalive_s: float,
        told: Callable[[News], None],
        *,
        leaves: bool,
    ) -> None:
        self.number = server.holds
        self._leaves = leaves
        self._server = server
        self._timer = timer
        self._limit_s = limit_s
        self._silence_s = keepalive_s + TIMES_SILENT - 1
        self._told = told
        self._closed = False
        self.connected = False
        if not leaves:
            server.held.add(self)
        self._after(server.latency_s, self._arrive)

    def close(self) -> None:
        """See `kit.watch.Held.close`."""
        self._closed = True
        self._server.held.discard(self)
        self._server.quit(self)

    def end(self, news: News) -> None:
        """It is over."""
        if not self._closed and self.connected:
            self._server.holds_ended += not self._leaves
            self.close()
            self._told(news)

    def fall_silent(self) -> None:
        """The host is gone: the kernel finds out when no sign of life comes."""
        self._after(self._silence_s, self._find_out)

    def _find_out(self) -> None:
        if self._server.behaviour.connect in {Connect.BLACKHOLE, Connect.UNREACHABLE}:
            self.end(News.LOST)

    def _arrive(self) -> None:
        match self._server.behaviour.connect:
            case Connect.REFUSE:
                self._fail(News.REFUSED)
            case Connect.UNREACHABLE:
                self._fail(News.FAILED)
            case Connect.BLACKHOLE:
                self._after(self._limit_s, lambda: self._fail(News.FAILED))
            case Connect.ACCEPT | Connect.NO_DESCRIPTOR:
                self.connected = True
                self._told(News.CONNECTED)
                self._server.enter(self, self._greet)

    def _greet(self) -> None:
        """What the server does unasked: speak, which is dropped, or end."""
        after_s, said_bytes = self._server.latency_s, 0
        for step in self._server.behaviour.greeting:
            match step:
                case Pause():
                    after_s += step.duration_s
                case Send():
                    said_bytes += len(step.data)
                case End() | Reset():
                    self._after(after_s, lambda: self.end(News.ENDED))
                    return
                case Mirror() | Echo():
                    raise AssertionError("nothing was said")
            if said_bytes > DROPPED_MAX_BYTES:
                self._after(after_s, lambda: self.end(News.NOISE))
                return
        if self._leaves and self._server.notes_ends:
            self._after(after_s, lambda: self.end(News.ENDED))
        self._after(self._server.idle_limit_s, lambda: self.end(News.ENDED))

    def _fail(self, news: News) -> None:
        if not self._closed:
            self.close()
            self._told(news)

    def _after(self, seconds: float, deed: Callable[[], None]) -> None:
        if seconds < math.inf:
            self._timer.call_at(trio.current_time() + seconds, lambda: None if self._closed else deed())


class FakeDialer:
    """The dialer of one job (kit.api.JobDialer)."""

    def __init__(self, network: FakeNetwork, limit_s: float, favours: Favours) -> None:
        self._network = network
        self._limit_s = limit_s
        self._favours = favours
        self._streams: list[FakeStream | FakeDatagrams] = []
        self._kept: Stream | None = None
        self._used = 0
        self._glancing: trio.CancelScope | None = None
        self._begun: Glimpsed | ProbeError | None = None  # what a glance left for the probe that goes on with it
        self._begun_afresh = False
        self.fault = ""

    def glance(self, target: Target, glance: Glance, now: float, done: Callable[[Verdict | None], None]) -> bool:
        """See `kit.api.JobDialer.glance`. Here it needs a task, which is nobody's."""
        del now  # its streams look themselves
        kept, self._kept = self._kept, None
        if kept is not None and not kept.resume():
            kept.close()
            return False
        self._begun_afresh = kept is None
        self._glancing = trio.CancelScope()
        trio.lowlevel.spawn_system_task(self._look, self._glancing, target, kept, glance, done)
        return True

    async def _look(
        self,
        scope: trio.CancelScope,
        target: Target,
        stream: Stream | None,
        glance: Glance,
        done: Callable[[Verdict | None], None],
    ) -> None:
        with scope:
            verdict = None
            try:
                stream = stream or await self._connect(target)
                self._begun = Glimpsed(stream, glance.first)
                verdict = recognised(glance, await self._begun.glimpse())
            except ProbeError as error:
                self._begun = self._begun or error
            if not scope.cancel_called:
                self._glancing = None
                done(verdict)

    def glanced(self, probes: int) -> None:
        """See `kit.api.JobDialer.glanced`."""
        begun, self._begun = self._begun, None
        assert isinstance(begun, Glimpsed)
        if not self.keep(begun.stream, probes):
            begun.stream.close()

    async def connect(self, target: Target, first: bytes = b"") -> Stream:
        """See `kit.api.Dialer.connect`."""
        if self._begun is not None and self._begun_afresh:
            begun, self._begun = self._begun, None
            await trio.lowlevel.checkpoint()
            if isinstance(begun, ProbeError):
                raise begun
            return begun
        stream = await self._connect(target)
        if first:
            await stream.send(first)
        return stream

    async def kept(self) -> Stream | None:
        """See `kit.api.Dialer.kept`."""
        if isinstance(self._begun, Glimpsed) and not self._begun_afresh:
            begun, self._begun = self._begun, None
            return begun
        stream, self._kept = self._kept, None
        if stream is None or stream.resume():
            return stream
        stream.close()
        return None

    def keep(self, stream: Stream, probes: int) -> bool:
        """See `kit.api.Dialer.keep`."""
        if isinstance(stream, Glimpsed):
            stream = stream.stream
        if self._kept is not None or self._used + 1 >= probes:
            return False
        stream.pause()
        self._kept = stream
        return True

    async def _connect(self, target: Target) -> Stream:
        deadline = trio.current_time() + self._limit_s
        server = self._network.servers.get((target.address, target.port))
        if server is None:
            await trio.lowlevel.checkpoint()
            raise ConnectFailed("connection refused")
        server.connections += 1
        how = server.behaviour.connect
        if how is Connect.NO_DESCRIPTOR:
            await trio.lowlevel.checkpoint()
            self.fault = "EMFILE"
            raise LocalTrouble("cannot open a socket: too many open files", self.fault)
        pause_s = math.inf if how is Connect.BLACKHOLE else server.latency_s + self._network.late_s(SYN_AGAIN_S, 2)
        if not await _sleep_within(pause_s, deadline):
            raise DeadlinePassed(f"no connection within {self._limit_s:g} s", connected=False)
        if how is Connect.REFUSE:
            raise ConnectFailed("connection refused")
        if how is Connect.UNREACHABLE:
            raise ConnectFailed("no route to host")
        self._used = 0
        stream = FakeStream(server, deadline, self._limit_s, self._network.late_s)
        self._streams.append(stream)
        return TlsServerStream(stream, server.behaviour.tls) if server.behaviour.tls else stream

    async def connect_udp(self, target: Target) -> Datagrams:
        """See `kit.api.Dialer.connect_udp`."""
        await trio.lowlevel.checkpoint()
        return self._datagrams(target, self._network.udp_servers.get((target.address, target.port)))

    async def connect_echo(self, target: Target) -> Datagrams:
        """See `kit.api.Dialer.connect_echo`."""
        await trio.lowlevel.checkpoint()
        return self._datagrams(target, self._network.echo_servers.get(target.address))

    async def run_script(self) -> Answer:
        """See `kit.api.Dialer.run_script`: as in the real one, the supervisor is asked."""
        return await self._favours.answer(Favour.SCRIPT)

    async def read_file(self) -> Answer:
        """See `kit.api.Dialer.read_file`: as in the real one, the supervisor is asked."""
        return await self._favours.answer(Favour.FILE)

    def _datagrams(self, target: Target, server: FakeServer | None) -> FakeDatagrams:
        if server is None:
            server = FakeServer(target.address, target.port, Behaviour("nobody", Connect.REFUSE, udp=True))
        server.connections += 1
        if server.behaviour.connect is Connect.NO_DESCRIPTOR:
            self.fault = "EMFILE"
            raise LocalTrouble("cannot open a socket: too many open files", self.fault)
        datagrams = FakeDatagrams(server, trio.current_time() + self._limit_s, self._limit_s)
        self._streams.append(datagrams)
        return datagrams

    def rest(self) -> None:
        """See `kit.api.Dialer.rest`."""
        if self._glancing is not None:
            self._glancing.cancel()
            self._glancing = None
        self._begun = None
        for stream in self._streams:
            if not stream.paused:
                stream.close()
        self._streams.clear()
        self.fault = ""
        if self._kept is not None:
            self._used += 1

    def close(self) -> None:
        """See `kit.api.Dialer.close`."""
        self.rest()
        if self._kept is not None:
            self._kept.close()


class Glimpsed:
    """A connection on which a glance said and heard something, for the probe that goes on with it (kit.api.Stream)."""

    def __init__(self, stream: Stream, first: bytes) -> None:
        self.stream = stream
        self._first = first
        self._said = False
        self._heard: bytes | ProbeError = b""

    async def glimpse(self) -> bytes:
        """Say what is to be said, and return the first that comes. Raises ProbeError."""
        if not self._first:
            return b""
        try:
            await self.stream.send(self._first)
            self._said = True
            heard = await self.stream.receive()
        except ProbeError as error:
            self._heard = error
            raise
        self._heard = heard
        return heard

    async def send(self, data: bytes) -> None:
        """See `kit.api.Stream.send`: what was said already is not said again."""
        said, self._said = self._said, False
        if not (said and data == self._first):
            await self.stream.send(data)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """See `kit.api.Stream.receive`."""
        heard, self._heard = self._heard, b""
        if isinstance(heard, ProbeError):
            raise heard
        return heard or await self.stream.receive(max_bytes)

    def close(self) -> None:
        """See `kit.api.Stream.close`."""
        self.stream.close()

    def pause(self) -> None:
        """See `kit.api.Stream.pause`."""
        self.stream.pause()

    def resume(self) -> bool:
        """See `kit.api.Stream.resume`."""
        return self.stream.resume()


class FakeStream:
    """One connection to a scripted server (kit.api.Stream)."""

    def __init__(
        self, server: FakeServer, deadline: float, limit_s: float, late_s: Callable[[Sequence[float]], float]
    ) -> None:
        self._server = server
        self._deadline = deadline
        self._limit_s = limit_s
        self._late_s = late_s
        self._steps = list(server.behaviour.greeting)
        self._answers = [server.behaviour.answer, *server.behaviour.more]
        self._asked = b""
        self._closed = False
        self._behaviour = server.behaviour
        self._paused_at = 0.0
        self.paused = False
        self._served = trio.Event()
        server.open += 1
        server.enter(self, self._served.set)

    def pause(self) -> None:
        """See `kit.api.Stream.pause`."""
        self.paused = True
        self._paused_at = trio.current_time()

    def resume(self) -> bool:
        """See `kit.api.Stream.resume`: a server that behaves otherwise now is another process, and ended what there was."""
        now, server = trio.current_time(), self._server
        self.paused = False
        self._deadline = now + self._limit_s
        return not self._steps and now - self._paused_at <= server.idle_limit_s and server.behaviour is self._behaviour

    async def send(self, data: bytes) -> None:
        """See `kit.api.Stream.send`."""
        self._require_open()
        await trio.lowlevel.checkpoint()
        self._asked += data
        terminator = self._server.behaviour.terminator
        while self._answers and terminator in self._asked:
            request, _, self._asked = self._asked.partition(terminator)
            self._server.requests.append(Asked(trio.current_time(), request + terminator))
            late_s = self._late_s(DATA_AGAIN_S) + self._late_s(DATA_AGAIN_S)  # the question, and the answer
            answer = self._answers[0] if self._behaviour.lasting else self._answers.pop(0)
            self._steps += [Pause(self._server.latency_s + late_s), *answer]

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """See `kit.api.Stream.receive`."""
        self._require_open()
        await trio.lowlevel.checkpoint()
        if not self._served.is_set():
            await self._wait_for_a_place()
        while self._steps:
            match step := self._steps.pop(0):
                case Pause():
                    await self.wait(step.duration_s)
                case Send():
                    if len(step.data) > max_bytes:
                        self._steps.insert(0, Send(step.data[max_bytes:]))
                    return step.data[:max_bytes]
                case End():
                    self._steps.insert(0, step)
                    return b""
                case Reset():
                    self._steps.insert(0, step)
                    raise ConnectionLost("connection reset")
                case Mirror() | Echo():
                    raise AssertionError("only datagrams are mirrored")
        await self.wait(math.inf)
        raise AssertionError("nothing lasts longer than for ever")

    def close(self) -> None:
        """See `kit.api.Stream.close`."""
        if not self._closed:
            self._closed = True
            self._server.open -= 1
            self._server.quit(self)

    async def _wait_for_a_place(self) -> None:
        with trio.move_on_at(self._deadline):
            await self._served.wait()
        if not self._served.is_set():
            raise DeadlinePassed(f"no complete answer within {self._limit_s:g} s", connected=True)

    async def wait(self, duration_s: float) -> None:
        """Do nothing for so long, or until the deadline. Raises DeadlinePassed."""
        if not await _sleep_within(duration_s, self._deadline):
            raise DeadlinePassed(f"no complete answer within {self._limit_s:g} s", connected=True)

    def note_server_name(self, name: str) -> None:
        """Take note of the name that a TLS client sent, empty for none."""
        self._server.server_names.append(name)

    def note_farewell(self) -> None:
        """Take note of a TLS client that ended by the book."""
        self._server.farewells += 1

    def _require_open(self) -> None:
        if self._closed:
            raise ConnectionLost("used after close")


class FakeDatagrams:
    """The datagrams exchanged with a scripted server (kit.api.Datagrams)."""

    paused = False

    def __init__(self, server: FakeServer, deadline: float, limit_s: float) -> None:
        self._server = server
        self._deadline = deadline
        self._limit_s = limit_s
        self._steps: list[tuple[Step, bytes]] = []
        self._closed = False
        server.open += 1

    async def send(self, data: bytes) -> None:
        """See `kit.api.Datagrams.send`."""
        await trio.lowlevel.checkpoint()
        self._server.requests.append(Asked(trio.current_time(), data))
        steps = (Pause(self._server.latency_s), *self._server.behaviour.answer)
        self._steps += [(step, data) for step in steps]

    async def receive(self) -> bytes:
        """See `kit.api.Datagrams.receive`."""
        await trio.lowlevel.checkpoint()
        match self._server.behaviour.connect:
            case Connect.REFUSE | Connect.UNREACHABLE as how:
                await self._wait(self._server.latency_s)
                raise ConnectFailed("connection refused" if how is Connect.REFUSE else "no route to host")
            case Connect.BLACKHOLE:
                await self._wait(math.inf)
        while self._steps:
            step, asked = self._steps.pop(0)
            match step:
                case Pause():
                    await self._wait(step.duration_s)
                case Send():
                    return step.data
                case Mirror():
                    return asked[: step.size_bytes] + step.data
                case Echo():
                    return bytes([129 if asked[0] == 128 else 0]) + asked[1:]
                case End() | Reset():
                    raise AssertionError("datagrams have no end")
        await self._wait(math.inf)
        raise AssertionError("nothing lasts longer than for ever")

    def close(self) -> None:
        """See `kit.api.Datagrams.close`."""
        if not self._closed:
            self._closed = True
            self._server.open -= 1

    async def _wait(self, duration_s: float) -> None:
        if not await _sleep_within(duration_s, self._deadline):
            raise DeadlinePassed(f"no complete answer within {self._limit_s:g} s", connected=True)


async def _sleep_within(duration_s: float, deadline: float) -> bool:
    """Sleep, but not past the deadline; tell whether the whole sleep fitted."""
    if duration_s <= 0:
        await trio.lowlevel.checkpoint()
        return True
    until = trio.current_time() + duration_s
    await trio.sleep_until(min(until, deadline))
    return until <= deadline
