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

import errno
import select
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn, Protocol

import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_readable, wait_task_rescheduled

from checkers.kit.api import (
    Answer,
    ConnectionLost,
    Datagrams,
    DeadlinePassed,
    Favour,
    Favours,
    LocalTrouble,
    ProbeError,
    Target,
)
from checkers.kit.favours import NO_FAVOURS
from checkers.kit.gate import Gate
from checkers.kit.punctuality import Mark, Punctuality, RunQueue, suspended_s
from checkers.kit.sockets import address_of, connect_error, errno_text, is_local, open_socket, privileged
from checkers.kit.timer import Timer

TIDY_LENGTH = 4096
"""So many connections may wait for their deadline before the closed ones are thrown out. Ours: a megabyte."""

EVENTS_AT_ONCE = 128
"""Of so many sockets is told between two turns of the loop. Ours: to close a sentinel takes 40 µs, and a thousand may end at once."""

_RESET = struct.pack("ii", 1, 0)  # struct linger: on, 0 s: close sends a reset
_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_BROKEN = select.EPOLLERR | select.EPOLLHUP
_END = _BROKEN | select.EPOLLRDHUP


class Watched(Protocol):
    """What has a socket in the epoll."""

    def wake(self, events: int) -> None:
        """Take note of what the kernel told of the socket."""


class Network:
    """The nested epoll, its task, and the gate. `dialer` is what `kit.worker.main` wants as `make_dialer`."""

    def __init__(self, timer: Timer, punctuality: Punctuality | None = None) -> None:
        """`punctuality` is what `run` keeps looking; None: one that knows this process."""
        self.timer = timer
        self.punctuality = Punctuality(RunQueue().waited_s, suspended_s) if punctuality is None else punctuality
        self.epoll = select.epoll()
        self.connections: dict[int, Watched] = {}
        self.gate = Gate(timer)
        self._deadlines: dict[float, Deadlines] = {}

    def dialer(self, limit_s: float, favours: Favours = NO_FAVOURS) -> SocketDialer:
        """Return the dialer of one probe whose connections may last `limit_s` seconds each."""
        return SocketDialer(self, limit_s, favours)

    def deadlines(self, limit_s: float) -> Deadlines:
        """Return the queue of connections that may last `limit_s` seconds."""
        deadlines = self._deadlines.get(limit_s)
        if deadlines is None:
            deadlines = self._deadlines[limit_s] = Deadlines(self.timer)
        return deadlines

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
        self._queue: deque[Connection] = deque()
        self._tidy_at = TIDY_LENGTH
        self._alarm_set = False

    def add(self, connection: Connection) -> None:
        """Have `connection` expire at its deadline, unless it is closed by then."""
        self._queue.append(connection)
        if len(self._queue) > self._tidy_at:  # most are closed long before a long limit is over
            self._queue = deque(other for other in self._queue if not other.closed)
            self._tidy_at = 2 * len(self._queue) + TIDY_LENGTH
        if not self._alarm_set:
            self._alarm_set = True
            self._timer.call_at(connection.deadline, self._sweep)

    def _sweep(self) -> None:
        queue, now = self._queue, trio.current_time()
        while queue and (queue[0].closed or queue[0].deadline <= now):
            connection = queue.popleft()
            if not connection.closed:
                connection.expire()
        self._alarm_set = bool(queue)
        if queue:
            self._timer.call_at(queue[0].deadline, self._sweep)


class SocketDialer:
    """The dialer of one probe (kit.api.Dialer)."""

    __slots__ = ("_connections", "_favours", "_limit_s", "_network", "fault")

    def __init__(self, network: Network, limit_s: float, favours: Favours) -> None:
        self.fault = ""
        self._network = network
        self._limit_s = limit_s
        self._favours = favours
        self._connections: list[Connection] = []

    async def connect(self, target: Target) -> Connection:
        """See `kit.api.Dialer.connect`."""
        sock = await self._asked(Favour.STREAM) if privileged(target) else None
        return await self._connect(target, socket.SOCK_STREAM, sock)

    async def connect_udp(self, target: Target) -> Connection:
        """See `kit.api.Dialer.connect_udp`."""
        sock = await self._asked(Favour.DATAGRAMS) if privileged(target) else None
        return await self._connect(target, socket.SOCK_DGRAM, sock)

    async def connect_echo(self, target: Target) -> Datagrams:
        """See `kit.api.Dialer.connect_echo`."""
        sock = await self._asked(Favour.ECHO)
        raw = sock.type is socket.SOCK_RAW and not target.is_ipv6
        connection = await self._connect(replace(target, port=0), socket.SOCK_DGRAM, sock)
        return _WithoutIpHeader(connection) if raw else connection

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
        self, target: Target, kind: socket.SocketKind, sock: socket.SocketType | None = None
    ) -> Connection:
        gate = self._network.gate
        if gate.full:
            await gate.wait()
        connection = Connection(self._network, self._limit_s, kind, self._note)
        self._connections.append(connection)
        try:
            await connection.open(target, sock)
        except LocalTrouble as trouble:
            self.fault = trouble.fault
            raise
        return connection

    def _note(self, trouble: LocalTrouble) -> None:
        self.fault = trouble.fault

    def close(self) -> None:
        """See `kit.api.Dialer.close`."""
        for connection in self._connections:
            connection.close()


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


class Connection:
    """One connection of a probe (kit.api.Stream), or with SOCK_DGRAM its datagrams (kit.api.Datagrams). One task uses it.

    The epoll tells an edge once, so what it told is kept until the task has acted on it, and the end of the stream for ever.
    """

    __slots__ = (
        "_ended",
        "_events",
        "_expired",
        "_fd",
        "_kind",
        "_limit_s",
        "_mark",
        "_network",
        "_note",
        "_sock",
        "_task",
        "closed",
        "connected",
        "deadline",
    )

    def __init__(
        self, network: Network, limit_s: float, kind: socket.SocketKind, note: Callable[[LocalTrouble], None]
    ) -> None:
        """`note` is told of every trouble of our own that comes after the connection stands."""
        self._network = network
        self._note = note
        self._limit_s = limit_s
        self._kind = kind
        self.deadline = 0.0
        self._mark = Mark(0.0, 0.0, 0)
        self._sock: socket.SocketType | None = None
        self._fd = -1
        self._task: Task | None = None
        self._events = 0
        self._ended = False
        self._expired = False
        self.connected = False
        self.closed = False

    async def open(self, target: Target, sock: socket.SocketType | None = None) -> None:
        """Connect, with `sock` if the supervisor opened one; the time limit starts now.

        Raises ConnectFailed, DeadlinePassed, LocalTrouble.
        """
        network = self._network
        now = trio.current_time()
        network.gate.enter(self, now)
        self._mark = network.punctuality.mark(now)
        self.deadline = now + self._limit_s
        self._sock = sock = open_socket(target, self._kind) if sock is None else sock
        self._fd = fd = sock.fileno()
        error = sock.connect_ex(address_of(target))
        if error and error != errno.EINPROGRESS:
            raise connect_error(error, at_once=True)
        network.connections[fd] = self
        network.epoll.register(fd, _EVENTS)
        network.deadlines(self._limit_s).add(self)
        events = await self._wait()
        if events & _BROKEN:
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise connect_error(error)
        self._events |= events & select.EPOLLIN  # a server that speaks first: this edge is not told again
        self.connected = True

    async def send(self, data: bytes) -> None:
        """See `kit.api.Stream.send`."""
        sent = 0
        unread = 0
        while True:
            try:
                sent += self._socket().send(data[sent:] if sent else data)
            except BlockingIOError:
                unread |= await self._wait() & select.EPOLLIN
            except OSError as error:
                raise self._broken(error) from error
            if sent == len(data):
                self._events |= unread
                return

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """See `kit.api.Stream.receive`."""
        while True:
            if not self._ended:
                await self._wait()
            try:
                data = self._socket().recv(max_bytes)
            except BlockingIOError:
                self._ended = False
                continue
            except OSError as error:
                raise self._broken(error) from error
            if len(data) == max_bytes or self._kind is socket.SOCK_DGRAM:
                # there may be more, and the edge will not be told again
                self._events |= select.EPOLLIN
                await trio.lowlevel.checkpoint()
            return data

    def close(self) -> None:
        """See `kit.api.Stream.close`: with a reset."""
        sock, self._sock = self._sock, None
        self.closed = True
        self._network.gate.leave(self)
        if sock is None:
            return
        self._network.connections.pop(self._fd, None)
        if self._kind is socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        sock.close()

    def wake(self, events: int) -> None:
        """Take note of what the kernel told, and wake the task that waits for it."""
        self._events |= events
        if events & _END:
            self._ended = True
        task, self._task = self._task, None
        if task is not None:
            reschedule(task)

    async def _wait(self) -> int:
        """Return what the kernel told since the last call, waiting for it if need be. Raises DeadlinePassed."""
        if not self._events:
            if self._expired:
                self._raise_expired()
            self._task = current_task()
            await wait_task_rescheduled(self._abort)
            if not self._events:
                self._raise_expired()
        events, self._events = self._events, 0
        return events

    def _abort(self, _: object) -> Abort:
        self._task = None
        return Abort.SUCCEEDED

    def expire(self) -> None:
        """The deadline passed: take a second look, then wake the task to find it."""
        self._expired = True
        if self._task is not None:
            self._network.look()
        task, self._task = self._task, None
        if task is not None:
            reschedule(task)

    def _raise_expired(self) -> NoReturn:
        now, punctuality = trio.current_time(), self._network.punctuality
        late = punctuality.too_late(self._mark, now, self.deadline, self._limit_s)
        what = "complete answer" if self.connected else "connection"
        detail = f"no {what} within {self._limit_s:g} s"
        if late:
            detail += f", of which this checker missed {punctuality.away_s(self._mark, now):.3g} s itself"
        raise DeadlinePassed(detail, connected=self.connected, late=late)

    def _broken(self, error: OSError) -> ProbeError:
        """Return what an error of sending or receiving means: for datagrams it is the answer to an earlier one."""
        if self._kind is not socket.SOCK_DGRAM and not is_local(error.errno):
            return ConnectionLost(errno_text(error.errno))
        meaning = connect_error(error.errno)
        if isinstance(meaning, LocalTrouble):
            self._note(meaning)
        return meaning

    def _socket(self) -> socket.SocketType:
        if self._sock is None:
            raise ConnectionLost("used after close")
        return self._sock
