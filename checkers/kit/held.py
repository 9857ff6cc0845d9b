"""The idle connections of sentinels (`kit.sentinels`) as sockets: opened without waiting, watched by the dialer's epoll, never written to.

What a server says unasked (a banner) is read and dropped, up to DROPPED_MAX_BYTES. That a host died in silence shows in three ways, all
of them the kernel's: keep-alive probes that nobody answers and TCP_USER_TIMEOUT (tcp(7)), and an ICMP error or an ARP entry that fails,
which a TCP socket hears of at once with IP_RECVERR (ip(7)). None of it is a verdict.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
from collections.abc import Callable

import trio

from checkers.kit.api import LocalTrouble, Target
from checkers.kit.dial import Network
from checkers.kit.sockets import SHORTAGES, address_of, hear_errors, open_socket
from checkers.kit.timer import Alarm
from checkers.kit.watch import TIMES_SILENT, Held, News

DROPPED_MAX_BYTES = 65_536
"""So much may a server say unasked before its sentinel is given up. Ours: a banner has 255 bytes (RFC 4253), a farewell some hundred."""

READ_BYTES = 16_384

_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_BROKEN = select.EPOLLERR | select.EPOLLHUP
_SPOKE = _BROKEN | select.EPOLLIN | select.EPOLLRDHUP
_RESET = struct.pack("ii", 1, 0)  # struct linger: on, 0 s: close sends a reset and leaves no TIME_WAIT
_LEFT = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})
"""Errors that the server itself caused: a process that dies with unread data resets."""


class SocketWatch:
    """Where the connections come from (kit.watch.Watch)."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def hold(
        self, target: Target, limit_s: float, keepalive_s: float, told: Callable[[News], None], *, leave: bool = False
    ) -> Held | News:
        """See `kit.watch.Watch.hold`."""
        try:
            sock = open_socket(target, socket.SOCK_STREAM)
        except LocalTrouble as trouble:
            return News.SHORT if trouble.fault in SHORTAGES else News.FAILED
        try:
            _ask_for_signs_of_life(sock, int(keepalive_s), ipv6=target.is_ipv6)
            error = sock.connect_ex(address_of(target))
        except (LocalTrouble, OSError):
            sock.close()
            return News.FAILED
        if error and error != errno.EINPROGRESS:
            sock.close()
            return _failure(error)
        return HeldSocket(self._network, sock, limit_s, told, leave=leave)


class HeldSocket:
    """One connection (kit.watch.Held)."""

    __slots__ = ("_connected", "_dropped_bytes", "_fd", "_leave", "_limit", "_network", "_sock", "_told")

    def __init__(
        self, network: Network, sock: socket.SocketType, limit_s: float, told: Callable[[News], None], *, leave: bool
    ) -> None:
        self._network = network
        self._leave = leave
        self._sock: socket.SocketType | None = sock
        self._told = told
        self._connected = False
        self._dropped_bytes = 0
        self._fd = sock.fileno()
        network.connections[self._fd] = self
        network.epoll.register(self._fd, _EVENTS)
        self._limit: Alarm | None = network.timer.call_at(trio.current_time() + limit_s, self._expire)

    def wake(self, events: int) -> None:
        """The kernel tells something of it."""
        if not self._connected:
            if events & _BROKEN:
                self._finish(_failure(self._error()))
                return
            self._connected = True
            if self._limit is not None:
                self._limit.cancel()
                self._limit = None
            self._told(News.CONNECTED)
            self._take_leave()
        if events & _SPOKE:
            self._read()

    def close(self) -> None:
        """See `kit.watch.Held.close`: with a reset, so that nothing is left of it on either side."""
        sock, self._sock = self._sock, None
        if sock is None:
            return
        if self._limit is not None:
            self._limit.cancel()
        self._network.connections.pop(self._fd, None)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        sock.close()

    def _take_leave(self) -> None:
        """End our side, if that is what it is for."""
        if self._leave and self._sock is not None:
            with contextlib.suppress(OSError):  # it is over already, and is read of in a moment
                self._sock.shutdown(socket.SHUT_WR)

    def _read(self) -> None:
        """Drop what came, and find the end."""
        sock = self._sock
        while sock is not None:
            try:
                data = sock.recv(READ_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                self._finish(News.ENDED if error.errno in _LEFT else News.LOST)
                return
            if not data:
                self._finish(News.ENDED)
                return
            self._dropped_bytes += len(data)
            if self._dropped_bytes > DROPPED_MAX_BYTES:
                self._finish(News.NOISE)
                return

    def _error(self) -> int:
        return self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if self._sock is not None else 0

    def _expire(self) -> None:
        self._limit = None
        if not self._connected and self._sock is not None:
            self._finish(News.FAILED)

    def _finish(self, news: News) -> None:
        self.close()
        self._told(news)


def _failure(error: int) -> News:
    return News.REFUSED if error == errno.ECONNREFUSED else News.FAILED


def _ask_for_signs_of_life(sock: socket.SocketType, every_s: int, *, ipv6: bool) -> None:
    """Have the kernel ask the host for a sign of life while nothing comes, and give up when TIMES_SILENT of them fail to come."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, every_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, TIMES_SILENT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * (every_s + TIMES_SILENT - 1))
    hear_errors(sock, ipv6=ipv6)
