"""One connection of a probe on a real socket, or with SOCK_DGRAM its datagrams. Made by `kit.dialer`; `kit.dial` says what is ready.

A probe costs its task two turns: one when it is due, which connects, and one when the server has said something; at a glance it costs
none (`kit.dialer`). What is to be said first is said in between by whoever hears of the connection (`wake`); and it is said together with
the last packet of the handshake, which saves one: TCP_QUICKACK off has the kernel wait with that acknowledgement for data, tcp(7).
"""

from __future__ import annotations

import errno
import functools
import select
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import trio
from trio.lowlevel import Abort, current_task, wait_task_rescheduled

from checkers.kit.api import GULP_BYTES, ConnectionLost, DeadlinePassed, LocalTrouble, ProbeError, Target
from checkers.kit.punctuality import NO_MARK
from checkers.kit.sockets import address_of, connect_error, errno_text, is_local, open_socket
from checkers.kit.spares import keep

if TYPE_CHECKING:
    from checkers.kit.deadlines import Deadlines
    from checkers.kit.dial import Network

EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET

_RESET = struct.pack("ii", 1, 0)  # struct linger: on, 0 s: close sends a reset
_BROKEN = select.EPOLLERR | select.EPOLLHUP
_END = _BROKEN | select.EPOLLRDHUP
_TOLD = _END | select.EPOLLIN


class Connection:
    """One connection of a probe (kit.api.Stream), or with SOCK_DGRAM its datagrams (kit.api.Datagrams). One task uses it.

    The epoll tells an edge once, so what it told is kept until the task has acted on it, and the end of the stream for ever. `then` is
    called once when there is something to act on. What a glance read and said is kept for the task that takes the connection over.
    """

    __slots__ = (
        "_aside",
        "_began",
        "_deadlines",
        "_ended",
        "_events",
        "_expired",
        "_fd",
        "_first",
        "_kind",
        "_mark",
        "_network",
        "_note",
        "_said",
        "_sock",
        "_spares",
        "closed",
        "connected",
        "kept",
        "paused",
        "then",
    )

    def __init__(
        self, network: Network, deadlines: Deadlines, kind: socket.SocketKind, note: Callable[[LocalTrouble], None]
    ) -> None:
        """`deadlines` have it expire; `note` is told of every trouble of our own that comes after the connection stands."""
        self._network = network
        self._note = note
        self._deadlines = deadlines
        self._kind = kind
        self._began = 0.0
        self._mark = NO_MARK
        self._sock: socket.SocketType | None = None
        self._fd = -1
        self._spares: list[socket.SocketType] | None = None
        self._first = b""
        self._said = b""  # at a glance
        self._aside: bytes | OSError = b""  # what a glance read
        self.then: Callable[[], object] | None = None
        self._events = 0
        self._ended = False
        self._expired = False
        self.kept = False  # it is one of `Network.kept`
        self.paused = False  # and no probe uses it
        self.connected = False
        self.closed = False

    async def open(
        self,
        target: Target,
        sock: socket.SocketType | None = None,
        first: bytes = b"",
        spares: list[socket.SocketType] | None = None,
    ) -> None:
        """Connect, with `sock` if the supervisor opened one; the time limit starts now. See `kit.api.Dialer.connect` for `first`.

        Raises ConnectFailed, DeadlinePassed, LocalTrouble; with `first` nothing once it was said: that is for `receive` to find.
        """
        self.begin(
            target, trio.current_time(), functools.partial(self._network.call, current_task()), sock, first, spares
        )
        await wait_task_rescheduled(self._abort)
        await self.opened()

    def begin(
        self,
        target: Target,
        now: float,
        then: Callable[[], object],
        sock: socket.SocketType | None = None,
        first: bytes = b"",
        spares: list[socket.SocketType] | None = None,
    ) -> None:
        """Begin to `open` at `now`; call `then` where that would return. Raises LocalTrouble, ConnectFailed.

        The socket may be one of `spares`, and `spare` puts it there.
        """
        network = self._network
        self._begin(now)
        self._spares = spares
        watched = bool(spares)
        if spares:
            sock = spares.pop()
        self._sock = sock = open_socket(target, self._kind) if sock is None else sock
        self._fd = fd = sock.fileno()
        if first:
            self._first = first
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        # with spares, it is an address like others
        error = sock.connect_ex((target.address, target.port) if spares is not None else address_of(target))
        if error and error != errno.EINPROGRESS:
            raise connect_error(error, at_once=True)
        network.connections[fd] = self
        if not watched:
            network.epoll.register(fd, EVENTS)
        self.then = then

    async def opened(self) -> None:
        """Do the rest of `open` once it was told of."""
        if not self.connected:
            self._connected()
        rest, self._first = self._first, b""
        if rest:
            await self.send(rest)

    def ask(self, data: bytes, now: float, then: Callable[[], object]) -> bool:
        """Go on at `now`, on a connection that was kept: say all of `data`, and call `then` when something comes. Whether that worked."""
        sock = self._sock
        if sock is None or self._events or self._ended or not self.paused:
            return False
        self._begin(now)
        try:
            if sock.send(data) < len(data):
                return False
        except OSError:
            return False
        self._said, self.then = data, then
        return True

    def glimpse(self, *, silent: bool) -> bytes | None:
        """Return what came, without waiting for more; b"" when nothing did yet. What was read is kept for `receive`.

        With `silent`, b"" tells that the connection stands. None: it is for a task to see what happened.
        """
        if self._expired or self._events & _BROKEN:
            return None
        if silent:
            return b""
        sock = self._sock
        if sock is None or not self.connected or self._first:
            return None
        try:
            data = sock.recv(GULP_BYTES)
        except BlockingIOError:
            self._events, self._ended = 0, False
            return b""
        except OSError as error:
            self._aside = error
            return None
        self._events = select.EPOLLIN if len(data) == GULP_BYTES else 0  # that edge is not told again
        self._aside = data
        return data or None

    def forget(self) -> None:
        """What `glimpse` returned is not to be kept: somebody took it."""
        self._aside = b""

    def go_on(self, data: bytes, then: Callable[[], object]) -> bool:
        """Say `data` on behalf of a glance, and call `then` when something comes. False: a task is to go on, which says the rest first."""
        assert self._sock is not None
        sent = 0
        if data:
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                pass
            except OSError as error:
                self._aside = error
                return False
        self._first = data[sent:]
        if self._first or self._ended or self._events:
            return False
        self.then = then
        return True

    def _begin(self, now: float) -> None:
        """Begin the time limit, and end a pause."""
        network = self._network
        self.paused = False
        self._began = now
        if network.marked_at != now:
            network.mark(now)
        self._mark = network.marked
        network.gate.enter(self, now)

    def lasts(self) -> None:
        """See `kit.gate.Busy`: it may last until its time is over."""
        self._deadlines.add(self, self._began)

    def _end(self) -> None:
        """The probe is over, or its connection is."""
        if not self._network.gate.leave(self):
            self._deadlines.drop(self)

    @property
    def is_raw(self) -> bool:
        """Whether IPv4 datagrams come with their IP header."""
        return self._socket().type is socket.SOCK_RAW

    def _connected(self) -> None:
        """Take note that the connection stands, or raise why it does not."""
        events, self._events = self._events, 0
        if not events:
            self._raise_expired()
        if events & _BROKEN:
            error = self._socket().getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise connect_error(error)
        self._events = events & select.EPOLLIN  # a server that speaks first: this edge is not told again
        self.connected = True

    async def send(self, data: bytes) -> None:
        """See `kit.api.Stream.send`."""
        said, self._said = self._said, b""
        if said and said == data:
            return
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
        aside, self._aside = self._aside, b""
        if isinstance(aside, OSError):
            raise self._broken(aside) from aside
        if aside:
            return aside
        while True:
            if self._events:
                self._events = 0
            elif not self._ended:
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
        if self.closed:
            return
        sock, self._sock = self._sock, None
        self.closed = True
        self.paused = False
        self.unkeep()
        self._end()
        if sock is None:
            return
        self._network.connections.pop(self._fd, None)
        if self._kind is socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        sock.close()

    def spare(self) -> None:
        """Close, in the same way for the server, but spare the socket if somebody else may use it."""
        spares, sock = self._spares, self._sock
        if spares is not None and sock is not None and keep(spares, sock):
            self._sock = None
            self._network.connections.pop(self._fd, None)
        self.close()

    def pause(self) -> None:
        """See `kit.api.Stream.pause`."""
        if not self.kept:
            self.kept = True
            self._network.kept += 1
        self.paused = True
        self._said = self._aside = b""
        self._end()

    def resume(self) -> bool:
        """See `kit.api.Stream.resume`."""
        if self._events or self._ended or not self.paused:
            return False
        self.unkeep()
        self._begin(trio.current_time())
        return True

    def unkeep(self) -> None:
        """Whoever has it now decides whether it is kept again."""
        if self.kept:
            self.kept = False
            self._network.kept -= 1

    def wake(self, events: int) -> None:
        """Take note of what the kernel told, say what is to be said first, and go on with `then` if there is something for it."""
        self._events |= events
        if events & _END:
            self._ended = True
            if self.paused:
                self.close()  # a server need not hold what is of no use any more
        if self._first and not self.connected and not events & _BROKEN and self._say_first() and not events & _TOLD:
            self._events = 0
            return
        then, self.then = self.then, None
        if then is not None:
            then()

    def _say_first(self) -> bool:
        """Say what is to be said first; whether that worked whole. What did not, the task says, or finds why."""
        assert self._sock is not None
        self.connected = True
        try:
            sent = self._sock.send(self._first)
        except OSError:
            return False
        self._first = self._first[sent:]
        return not self._first

    async def _wait(self) -> int:
        """Return what the kernel told since the last call, waiting for it if need be. Raises DeadlinePassed."""
        if not self._events:
            if self._expired:
                self._raise_expired()
            self.then = functools.partial(self._network.call, current_task())
            await wait_task_rescheduled(self._abort)
            if not self._events:
                self._raise_expired()
        events, self._events = self._events, 0
        return events

    def _abort(self, _: object) -> Abort:
        self.then = None
        return Abort.SUCCEEDED

    def expire(self) -> None:
        """The deadline passed: take a second look, then have it found."""
        self._expired = True
        if self.then is not None:
            self._network.look()
        then, self.then = self.then, None
        if then is not None:
            then()

    def _raise_expired(self) -> NoReturn:
        now, punctuality = trio.current_time(), self._network.punctuality
        limit_s = self._deadlines.limit_s
        late = punctuality.too_late(self._mark, now, self._began + limit_s, limit_s)
        what = "complete answer" if self.connected else "connection"
        detail = f"no {what} within {limit_s:g} s"
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
