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
    LocalTrouble,
    ProbeError,
    Stream,
    Target,
    Verdict,
)
from checkers.kit.connection import Connection
from checkers.kit.deadlines import Deadlines
from checkers.kit.probing import recognised
from checkers.kit.sockets import privileged

if TYPE_CHECKING:
    from checkers.kit.dial import Network


class SocketDialer:
    """The dialer of one job (kit.api.JobDialer).

    `_begun` is the connection of a glance, until the probe is over or a task takes it. `_used` says how many probes had the connection
    before this one. The first that is kept is taken for older than it is, by each dialer to another degree (`number`), and so is the
    first one after a connection failed: else all servers of a rack that came up together had their fresh one in the same second, for ever.
    """

    __slots__ = (
        "_afresh",
        "_begun",
        "_connections",
        "_deadlines",
        "_done",
        "_favours",
        "_glance",
        "_kept",
        "_looking",
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
        self._looking = False  # the glance is under way
        self._afresh = False  # what was begun is no kept one
        # what the latest glance was asked for, until a probe in a task is over
        self._target: Target | None = None
        self._glance: Glance | None = None
        self._done: Callable[[Verdict | None], None] | None = None

    def glance(self, target: Target, glance: Glance, now: float, done: Callable[[Verdict | None], None]) -> bool:
        """See `kit.api.JobDialer.glance`."""
        self._target, self._glance, self._done = target, glance, done
        gate = self._network.gate
        if gate.full:
            gate.line_up(self._let_in)
            return True
        return self._look(target, glance, now)

    def _let_in(self) -> None:
        """The gate has a place for a glance."""
        target, glance, done = self._target, self._glance, self._done
        if target is None or glance is None or done is None:
            return  # the job is gone
        if not self._look(target, glance, trio.current_time()):
            done(None)

    def _look(self, target: Target, glance: Glance, now: float) -> bool:
        """Begin a glance on the kept connection, or on a fresh one; whether that worked. What goes wrong at once, the task finds, too."""
        kept = self._kept
        if kept is None:
            if not self._look_afresh(target, glance, now):
                return False
        else:
            if not isinstance(kept, Connection):
                return False
            self._kept, self._connections = None, ()
            if not kept.ask(glance.first, now, self._told):
                kept.close()
                return False
            self._begun, self._afresh = kept, False
        self._looking = True
        self._network.glances += 1
        return True

    def _look_afresh(self, target: Target, glance: Glance, now: float) -> bool:
        if privileged(target):
            return False
        network = self._network
        connection = Connection(network, self._deadlines, socket.SOCK_STREAM, self._note)
        try:
            connection.begin(target, now, self._told, first=glance.first, spares=network.spares.of(target))
        except ProbeError:
            connection.close()
            return False
        self._used = 0
        self._begun, self._afresh = connection, True
        return True

    def _told(self) -> None:
        """The network has something to tell of the connection of a glance, or its time is over."""
        connection, glance, done = self._begun, self._glance, self._done
        if connection is None or glance is None or done is None:
            return
        silent = not glance.first
        data = connection.glimpse(silent=silent)
        if data == b"" and not silent:
            connection.then = self._told  # nothing yet
            return
        self._over()
        done(None if data is None else recognised(glance, data))

    def _over(self) -> None:
        """A glance is over, whatever it found."""
        self._looking = False
        self._network.glances -= 1

    def glanced(self, probes: int) -> None:
        """See `kit.api.JobDialer.glanced`."""
        connection, self._begun = self._begun, None
        if connection is None:
            return
        if self._used + 1 < probes and self._network.paused < self._network.paused_max:
            connection.pause()
            self._kept = connection
            self._used += 1
        else:
            connection.spare()

    def connect(self, target: Target, first: bytes = b"") -> Coroutine[Any, Any, Connection]:
        """See `kit.api.Dialer.connect`."""
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
        """Connect with a socket of our own, or one that the supervisor opens; or go on with what a glance began."""
        if self._begun is not None and self._afresh:
            begun = self._take_over(self._begun)
            await self._opened(begun.opened())
            return begun
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

    def _take_over(self, begun: Connection) -> Connection:
        """The task goes on with the connection of a glance."""
        self._begun = None
        self._connections += (begun,)
        return begun

    def _note(self, trouble: LocalTrouble) -> None:
        self.fault = trouble.fault

    async def kept(self) -> Stream | None:
        """See `kit.api.Dialer.kept`."""
        if self._begun is not None and not self._afresh:
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
        if self._kept is not None or self._used + 1 >= probes or network.paused >= network.paused_max:
            return False
        stream.pause()
        self._kept = stream
        return True

    def rest(self) -> None:
        """See `kit.api.Dialer.rest`."""
        begun, self._begun, self._done = self._begun, None, None
        if self._looking:
            self._over()
        if begun is not None:
            begun.close()
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
