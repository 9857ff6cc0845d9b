"""A network in memory, for stories on a virtual clock: scripted servers, and the dialer that reaches them.

    network = FakeNetwork()
    server = network.server("192.168.100.22", 80)      # healthy until told otherwise
    server.behaviour = refuse()                        # or status(503), hang(), drip(), …
    server.requests                                    # what it was asked, with the time: [Asked(at, data)]
    nursery.start_soon(functools.partial(worker.main, link, network.dialer, rng))

It needs trio's clock and nothing else: no task, no socket, no thread. An address where nobody is refuses connections. What is not
modelled: a change of behaviour reaches only connections that are made afterwards, and those of sentinels, which are what they are
for. With a rate of losses on its `wire` packets get lost on both ways, and the kernels send them again as Linux does (tests.fakes.loss).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from checkers.kit.api import (
    Answer,
    ConnectFailed,
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
from checkers.kit.probing import recognised
from checkers.kit.timer import Timer
from tests.fakes.behaviours import Behaviour, Connect
from tests.fakes.connections import FakeDatagrams, FakeStream, Glimpsed, sleep_within
from tests.fakes.loss import Wire
from tests.fakes.server import FakeServer
from tests.fakes.tls import TlsServerStream
from tests.fakes.watch import FakeWatch


class FakeNetwork:
    """All servers. `dialer` is what `kit.worker.main` wants as `make_dialer`."""

    def __init__(self) -> None:
        self.servers: dict[tuple[str, int], FakeServer] = {}
        self.udp_servers: dict[tuple[str, int], FakeServer] = {}
        self.echo_servers: dict[str, FakeServer] = {}
        self.wire = Wire()

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
        return FakeWatch(self.servers, timer, lambda: self.wire)


class FakeDialer:
    """The dialer of one job (kit.api.JobDialer)."""

    def __init__(self, network: FakeNetwork, limit_s: float, favours: Favours) -> None:
        self._network = network
        self._limit_s = limit_s
        self._favours = favours
        self._streams: list[FakeStream | FakeDatagrams] = []
        self._kept: Stream | None = None
        self._used = 0
        self._wanted: tuple[Target, Glance, Callable[[Verdict | None, float], None]] | None = None
        self._glancing: trio.CancelScope | None = None
        self._begun: Glimpsed | ProbeError | None = None  # what a glance left for the probe that goes on with it
        self._begun_afresh = False
        self.fault = ""

    def acquaint(self, target: Target, glance: Glance, done: Callable[[Verdict | None, float], None]) -> None:
        """See `kit.api.JobDialer.acquaint`."""
        self._wanted = target, glance, done

    def glance(self, now: float) -> bool:
        """See `kit.api.JobDialer.glance`. Here it needs a task, which is nobody's."""
        del now  # its streams look themselves
        if self._wanted is None:
            return False
        target, glance, done = self._wanted
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
        done: Callable[[Verdict | None, float], None],
    ) -> None:
        with scope:
            verdict = None
            try:
                layer = glance.layer() if stream is None and glance.layer is not None else None
                stream = stream or await self._connect(target)
                self._begun = begun = Glimpsed(stream, glance.first, layer)
                heard = await begun.glimpse()
                verdict = None if heard is None else recognised(glance, heard)
            except ProbeError as error:
                self._begun = self._begun or error
            if not scope.cancel_called:
                self._glancing = None
                if verdict is not None:
                    self._glanced(glance.probes)
                done(verdict, trio.current_time())

    def _glanced(self, probes: int) -> None:
        begun, self._begun = self._begun, None
        assert isinstance(begun, Glimpsed)
        if not self.keep(begun.stream, probes):
            begun.stream.close()
        self.rest()

    async def connect(self, target: Target, first: bytes = b"") -> Stream:
        """See `kit.api.Dialer.connect`."""
        if self._begun is not None and self._begun_afresh:
            begun, self._begun = self._begun, None
            await trio.lowlevel.checkpoint()
            if isinstance(begun, ProbeError):
                raise begun
            return begun.opened()
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
        wire = self._network.wire
        late_s = math.inf if how is Connect.BLACKHOLE else server.late_s(wire)
        if not await sleep_within(server.latency_s + late_s, deadline):
            raise DeadlinePassed(f"no connection within {self._limit_s:g} s", connected=False)
        if how is Connect.REFUSE:
            raise ConnectFailed("connection refused")
        if how is Connect.UNREACHABLE:
            raise ConnectFailed("no route to host")
        self._used = 0
        stream = FakeStream(server, deadline, self._limit_s, wire, late_s)
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
        until = trio.current_time() + self._limit_s
        datagrams = FakeDatagrams(server, until, self._limit_s, self._network.wire)
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
