"""What one job dials with: TCP and UDP, with sockets of our own or of the supervisor's, kept between probes, and probes at a glance.

A *glance* is a probe without a turn of its task, as long as the server says what it said the last time. Nearly every probe of a healthy
fleet is that: a connection, the same words, the same answer. To wake a task for it, twice, costs more than everything else that Python
does (bench/cpu_per_check.py). So a checker type may say in advance what it says first and how it knows the answer again
(`kit.api.Glance`); the timer begins such a probe, the epoll ends it, and the task of the job sleeps on. Whatever is not so (an error, a
time-out, another answer, half an answer) is no verdict here: the task is woken, runs its checker from the beginning as ever, and is
handed this very connection with what came over it. So there is one place that decides what a failure is.

Must never judge a failure, and must never resolve a name. The connections are `kit.connection`'s, and `kit.dial` watches them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import trio

from checkers.kit.api import (
    Answer,
    Datagrams,
    Favour,
    Favours,
    Glance,
    Layer,
    LocalTrouble,
    ProbeError,
    Stream,
    Target,
    Verdict,
)
from checkers.kit.connection import Connection
from checkers.kit.deadlines import Deadlines
from checkers.kit.probing import made, recognised
from checkers.kit.sockets import privileged

if TYPE_CHECKING:
    from checkers.kit.dial import Network


def _nobody(verdict: Verdict | None, now: float) -> None:
    """Nobody hears of a glance."""


class SocketDialer:
    """The dialer of one job (kit.api.JobDialer).

    `_begun` is the connection of a glance, the kept one or another, until the probe is over or a task takes it, and `_layer` what is
    spoken on it. `_used` says how many probes had the connection before this one. The first that is kept is taken for older than it is, by
    each dialer to another degree (`number`), and so is the first one after a connection failed: else all servers of a rack that came up
    together had their fresh one in the same second, for ever.
    """

    __slots__ = (
        "_begun",
        "_connections",
        "_deadlines",
        "_done",
        "_favours",
        "_glance",
        "_kept",
        "_layer",
        "_lined_up",
        "_network",
        "_number",
        "_settled",
        "_target",
        "_used",
        "fault",
    )

    def __init__(self, network: Network, deadlines: Deadlines, favours: Favours, number: int) -> None:
        self.fault = ""
        self._network = network
        self._deadlines = deadlines
        self._favours = favours
        self._number = number
        self._used = 0
        self._settled = False  # `_used` was set off by `number`
        # of this probe; no list, which takes memory when it is empty, too
        self._connections: tuple[Connection, ...] = ()
        self._kept: Stream | None = None
        self._begun: Connection | None = None
        self._layer: Layer | None = None
        # of glances
        self._target: Target | None = None
        self._glance: Glance | None = None
        self._done: Callable[[Verdict | None, float], None] = _nobody
        self._lined_up = False  # for the next one

    def acquaint(self, target: Target, glance: Glance, done: Callable[[Verdict | None, float], None]) -> None:
        """See `kit.api.JobDialer.acquaint`."""
        self._target, self._glance, self._done = target, glance, done

    def glance(self, now: float) -> bool:
        """See `kit.api.JobDialer.glance`. What goes wrong at once, the task finds, too."""
        glance, gate, kept = self._glance, self._network.gate, self._kept
        if glance is None:
            return False
        if gate.full:
            self._lined_up = True
            gate.line_up(self._let_in)
            return True
        if kept is None:
            return self._look_afresh(glance, now)
        if not isinstance(kept, Connection):
            return False
        if not kept.ask(glance.first, now, self._told):
            self._kept = None
            kept.close()
            return False
        self._begun = kept
        return True

    def _let_in(self) -> None:
        """The gate has a place for a glance."""
        if not self._lined_up:
            return  # nobody wants it any more
        self._lined_up = False
        if not self.glance(trio.current_time()):
            self._leave_it()

    def _look_afresh(self, glance: Glance, now: float) -> bool:
        target = self._target
        if target is None or privileged(target):
            return False
        network, first, layer = self._network, glance.first, None
        if glance.layer is not None:
            layer = made(glance.layer)
            if layer is None:
                return False
            first = layer.hello()
        connection = Connection(network, self._deadlines, socket.SOCK_STREAM, self._note)
        try:
            connection.begin(target, now, self._told, first=first, spares=network.spares.of(target))
        except ProbeError:
            connection.close()
            return False
        self._used = 0
        self._begun, self._layer = connection, layer
        return True

    def _told(self) -> None:
        """The network has something to tell of the connection of a glance, or its time is over."""
        connection, glance = self._begun, self._glance
        if connection is None or glance is None:
            return
        data = connection.glimpse(silent=not glance.first)
        layer = self._layer
        if data and layer is not None:
            connection.forget()
            data = layer.take(data)
            if data == b"":
                if connection.go_on(layer.to_say(), self._told):
                    return
                data = None
        if data == b"" and glance.first:
            connection.then = self._told  # nothing yet
            return
        verdict = None if data is None else recognised(glance, data)
        if verdict is None:
            self._leave_it()
            return
        self._begun = self._layer = None
        network = self._network
        used = self._used = self._used + 1
        if used < glance.probes and (connection.kept or network.kept < network.kept_max):
            connection.pause()
            self._kept = connection
        else:
            self._kept, self._connections = None, ()
            connection.spare()
        self._done(verdict, network.heard_at)

    def _leave_it(self) -> None:
        """It is for the task of the job to look properly."""
        self._network.called = True
        self._done(None, self._network.heard_at)

    def connect(self, target: Target, first: bytes = b"") -> Coroutine[Any, Any, Stream]:
        """See `kit.api.Dialer.connect`."""
        if self._begun is not None and self._begun is not self._kept:
            return self._go_on(self._begun)
        return self._connect(target, socket.SOCK_STREAM, Favour.STREAM if privileged(target) else None, first)

    def connect_udp(self, target: Target) -> Coroutine[Any, Any, Connection]:
        """See `kit.api.Dialer.connect_udp`."""
        return self._connect(target, socket.SOCK_DGRAM, Favour.DATAGRAMS if privileged(target) else None)

    async def connect_echo(self, target: Target) -> Datagrams:
        """See `kit.api.Dialer.connect_echo`."""
        connection = await self._connect(replace(target, port=0), socket.SOCK_DGRAM, Favour.ECHO)
        return _WithoutIpHeader(connection) if connection.is_raw and not target.is_ipv6 else connection

    async def run_script(self) -> Answer:
        """See `kit.api.Dialer.run_script`."""
        return await self._answered(Favour.SCRIPT)

    async def read_file(self) -> Answer:
        """See `kit.api.Dialer.read_file`."""
        return await self._answered(Favour.FILE)

    async def _answered(self, favour: Favour) -> Answer:
        try:
            return await self._favours.answer(favour)
        except LocalTrouble as trouble:
            self.fault = trouble.fault
            raise

    async def _asked(self, favour: Favour) -> socket.socket:
        try:
            return socket.socket(fileno=await self._favours.socket(favour))
        except LocalTrouble as trouble:
            self.fault = trouble.fault
            raise

    async def _connect(
        self, target: Target, kind: socket.SocketKind, favour: Favour | None, first: bytes = b""
    ) -> Connection:
        """Connect with a socket of our own, or one that the supervisor opens."""
        sock = None if favour is None else await self._asked(favour)
        gate = self._network.gate
        if gate.full:
            await gate.wait()
        connection = Connection(self._network, self._deadlines, kind, self._note)
        self._connections += (connection,)
        self._used = 0
        spares = self._network.spares.of(target) if sock is None and kind is socket.SOCK_STREAM else None
        await self._opened(connection.open(target, sock, first, spares))
        return connection

    async def _opened(self, opening: Coroutine[Any, Any, None]) -> None:
        """Wait until a connection stands, and take note of what went wrong instead."""
        try:
            await opening
        except ProbeError as error:
            self._settled = False
            if isinstance(error, LocalTrouble):
                self.fault = error.fault
            raise

    async def _go_on(self, begun: Connection) -> Stream:
        """Go on with what a glance began."""
        layer = self._layer
        self._take_over(begun)
        await self._opened(begun.opened())
        return begun if layer is None else layer.over(begun)

    def _take_over(self, begun: Connection) -> Connection:
        """The task goes on with the connection of a glance."""
        self._begun = self._kept = self._layer = None
        begun.unkeep()
        self._connections = (begun,)
        return begun

    def _note(self, trouble: LocalTrouble) -> None:
        self.fault = trouble.fault

    async def kept(self) -> Stream | None:
        """See `kit.api.Dialer.kept`."""
        if self._begun is not None and self._begun is self._kept:
            return self._take_over(self._begun)
        stream, self._kept = self._kept, None
        if stream is None:
            return None
        gate = self._network.gate
        if gate.full:
            await gate.wait()
        if stream.resume():
            return stream
        stream.close()
        return None

    def keep(self, stream: Stream, probes: int) -> bool:
        """See `kit.api.Dialer.keep`."""
        network = self._network
        if not self._settled:
            self._used, self._settled = self._number % probes, True
        if self._kept is not None or self._used + 1 >= probes or network.kept >= network.kept_max:
            return False
        stream.pause()
        self._kept = stream
        return True

    def rest(self) -> None:
        """See `kit.api.Dialer.rest`."""
        begun, self._begun, self._lined_up = self._begun, None, False
        self._layer = None
        if begun is not None:
            begun.close()
            self._kept = None
        for connection in self._connections:
            if not connection.paused:
                connection.close()
        self.fault = ""
        if self._kept is None:
            self._connections = ()
        else:  # it may have TLS around it, and is to be closed when that does not go on
            self._connections = tuple(connection for connection in self._connections if connection.paused)
            self._used += 1

    def close(self) -> None:
        """See `kit.api.Dialer.close`."""
        self.rest()
        stream, self._kept = self._kept, None
        if stream is not None:
            stream.close()


class _WithoutIpHeader:
    """Datagrams of a raw IPv4 socket, each without the IP header that comes with it (kit.api.Datagrams)."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def send(self, data: bytes) -> None:
        """See `kit.api.Datagrams.send`."""
        await self._connection.send(data)

    async def receive(self) -> bytes:
        """See `kit.api.Datagrams.receive`."""
        packet = await self._connection.receive()
        return packet[(packet[0] & 0x0F) * 4 :] if packet else packet

    def close(self) -> None:
        """See `kit.api.Datagrams.close`."""
        self._connection.close()
