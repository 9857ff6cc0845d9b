"""The connections of a worker, TCP and UDP, with an absolute deadline and cheap enough for thousands of probes a second.

Each trick is measured in performance.md: one nested epoll that trio watches as a single descriptor, edge-triggered, one registration
for each socket; one sweep of a shared timer for time-outs instead of a cancel scope for each probe; a reset instead of a farewell when
the verdict is known, so that no TIME_WAIT is left (a server that counts resets as errors will see them).

**Am I slow, or is the server?** A time-out is evidence only when this process was there to hear the answer. When a
deadline passes, the dialer first takes a second look at the socket, because CPython's epoll may return nothing though data
is ready when the process was stopped meanwhile; what is there then still counts. Then it adds up how long the process did not
run during the probe (`kit.punctuality`); more than a tenth of the limit, and the time-out is *late*: inconclusive, to be repeated
(reliability.md, section 7). Must never decide about a server otherwise, and must never resolve a name.
"""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, NoReturn, Protocol

import trio
from trio.lowlevel import wait_readable

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
from checkers.kit.favours import NO_FAVOURS
from checkers.kit.gate import Gate
from checkers.kit.glance import Look
from checkers.kit.punctuality import Mark, Punctuality, RunQueue, suspended_s
from checkers.kit.sockets import privileged
from checkers.kit.spares import Spares
from checkers.kit.timer import Timer

TIDY_LENGTH = 4096
"""So many connections may wait for their deadline before the closed ones are thrown out. Ours: a megabyte."""


PAUSED_MAX = 256
"""So many connections are kept between probes when nobody says otherwise. Ours: a quarter of the usual 1,024 descriptors."""

EVENTS_AT_ONCE = 128
"""Of so many sockets is told between two turns of the loop. Ours: to close a sentinel takes 40 µs, and a thousand may end at once."""


class Watched(Protocol):
    """What has a socket in the epoll."""

    def wake(self, events: int) -> None:
        """Take note of what the kernel told of the socket."""


class Network:
    """The nested epoll, its task, and the gate. `dialer` is what `kit.worker.main` wants as `make_dialer`."""

    def __init__(self, timer: Timer, punctuality: Punctuality | None = None, paused_max: int = PAUSED_MAX) -> None:
        """`punctuality` is what `run` keeps looking; None: one that knows this process.

        At most `paused_max` connections are kept between probes; `paused` is how many there are.
        """
        self.timer = timer
        self.paused = 0
        self.paused_max = paused_max
        self.punctuality = Punctuality(RunQueue().waited_s, suspended_s) if punctuality is None else punctuality
        self.epoll = select.epoll()
        self.connections: dict[int, Watched] = {}
        self.spares = Spares()
        self.gate = Gate(timer)
        self._deadlines: dict[float, Deadlines] = {}
        self._mark: Mark | None = None
        self._marked_tick = -1

    def dialer(self, limit_s: float, favours: Favours = NO_FAVOURS) -> SocketDialer:
        """Return the dialer of one job, or of one probe, whose connections may last `limit_s` seconds each."""
        return SocketDialer(self, limit_s, favours)

    def mark(self, now: float) -> Mark:
        """Return what `punctuality` had counted at this tick of the timer, whose probes begin together: to ask takes a system call."""
        mark = self._mark
        if mark is None or self._marked_tick != self.timer.ticks:
            mark = self._mark = self.punctuality.mark(now)
            self._marked_tick = self.timer.ticks
        return mark

    def expire(self, connection: Connection, limit_s: float) -> None:
        """Have a connection expire at its deadline, which is `limit_s` seconds from now."""
        deadlines = self._deadlines.get(limit_s)
        if deadlines is None:
            deadlines = self._deadlines[limit_s] = Deadlines(self.timer)
        deadlines.add(connection)

    async def run(self) -> NoReturn:
        """Watch the sockets until cancelled. The timer must run too."""
        self._pulse(self.punctuality.begin(trio.current_time()))
        fd = self.epoll.fileno()
        try:
            while True:
                await wait_readable(fd)
                self.look(EVENTS_AT_ONCE)  # what is left keeps the epoll readable
        finally:
            self.epoll.close()
            self.spares.close()

    def _pulse(self, due: float) -> None:
        """Have the timer look at `due` and ever after whether it is punctual."""
        self.timer.call_at(due, lambda: self._pulse(self.punctuality.look(trio.current_time())))

    def look(self, most: int = 0) -> None:
        """Hand out what the kernel has to tell now, of at most so many sockets (0: of all)."""
        connections = self.connections
        for fd, events in self.epoll.poll(0, most or len(connections) + 1):
            connection = connections.get(fd)
            if connection is not None:
                connection.wake(events)


class Deadlines:
    """Connections with the same time limit, so in the order of their deadlines: one alarm for all of them."""

    def __init__(self, timer: Timer) -> None:
        self._timer = timer
        self._queue: deque[tuple[float, Connection]] = deque()
        self._tidy_at = TIDY_LENGTH
        self._alarm_set = False

    def add(self, connection: Connection) -> None:
        """Have `connection` expire at its deadline, unless it is closed by then, or has another one."""
        self._queue.append((connection.deadline, connection))
        if len(self._queue) > self._tidy_at:  # most are closed long before a long limit is over
            self._queue = deque(entry for entry in self._queue if _stands(*entry))
            self._tidy_at = 2 * len(self._queue) + TIDY_LENGTH
        if not self._alarm_set:
            self._alarm_set = True
            self._timer.call_at(connection.deadline, self._sweep)

    def _sweep(self) -> None:
        queue, now = self._queue, trio.current_time()
        while queue and (queue[0][0] <= now or not _stands(*queue[0])):
            deadline, connection = queue.popleft()
            if _stands(deadline, connection):
                connection.expire()
        self._alarm_set = bool(queue)
        if queue:
            self._timer.call_at(queue[0][0], self._sweep)


def _stands(deadline: float, connection: Connection) -> bool:
    """Whether a connection is still to expire at this time."""
    return not connection.closed and connection.deadline == deadline


class SocketDialer:
    """The dialer of one job (kit.api.JobDialer)."""

    __slots__ = (
        "_begun",
        "_begun_afresh",
        "_connections",
        "_favours",
        "_kept",
        "_limit_s",
        "_network",
        "_used",
        "fault",
    )

    def __init__(self, network: Network, limit_s: float, favours: Favours) -> None:
        self.fault = ""
        self._network = network
        self._limit_s = limit_s
        self._favours = favours
        # of this probe; no list, which takes memory when it is empty, too
        self._connections: tuple[Connection, ...] = ()
        self._kept: Stream | None = None
        self._begun: Connection | None = None  # at a glance
        self._begun_afresh = False  # it is no kept one
        self._used = 0  # by so many probes before this one

    def glance(self, target: Target, glance: Glance, now: float, done: Callable[[Verdict | None], None]) -> bool:
        """See `kit.api.JobDialer.glance`."""
        network = self._network
        if network.gate.full or privileged(target):
            return False
        kept = self._kept
        if kept is not None:
            return isinstance(kept, Connection) and self._glance_at(kept, glance, now, done)
        connection = Connection(network, self._limit_s, socket.SOCK_STREAM, self._note)
        try:
            Look(connection, glance, done).open(target, now, network.spares.of(target))
        except ProbeError:
            connection.close()
            return False  # the task finds it, too
        self._connections += (connection,)
        self._used = 0
        self._begun, self._begun_afresh = connection, True
        return True

    def _glance_at(self, kept: Connection, glance: Glance, now: float, done: Callable[[Verdict | None], None]) -> bool:
        """Ask on a kept connection. One that is of no use is closed, and the task makes a fresh one."""
        self._kept = None
        if not kept.resume_at(now) or not Look(kept, glance, done).ask():
            kept.close()
            return False
        self._begun, self._begun_afresh = kept, False
        return True

    def glanced(self, probes: int) -> None:
        """See `kit.api.JobDialer.glanced`."""
        connection, self._begun = self._begun, None
        if connection is not None and (probes == 1 or not self.keep(connection, probes)):
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
        begun = self._begun
        if begun is not None and self._begun_afresh:
            self._begun = None
            await begun.opened()
            return begun
        sock = None if favour is None else await self._asked(favour)
        gate = self._network.gate
        if gate.full:
            await gate.wait()
        connection = Connection(self._network, self._limit_s, kind, self._note)
        self._connections += (connection,)
        self._used = 0
        try:
            await connection.open(target, sock, first)
        except LocalTrouble as trouble:
            self.fault = trouble.fault
            raise
        return connection

    def _note(self, trouble: LocalTrouble) -> None:
        self.fault = trouble.fault

    async def kept(self) -> Stream | None:
        """See `kit.api.Dialer.kept`."""
        begun = self._begun
        if begun is not None and not self._begun_afresh:
            self._begun = None
            return begun
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
        if self._kept is not None or self._used + 1 >= probes or network.paused >= network.paused_max:
            return False
        stream.pause()
        self._kept = stream
        return True

    def rest(self) -> None:
        """See `kit.api.Dialer.rest`."""
        for connection in self._connections:
            if not connection.paused:
                connection.close()
        self.fault = ""
        self._begun = None
        if self._kept is None:
            self._connections = ()
        else:
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
