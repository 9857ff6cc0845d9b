"""Small servers of every protocol that checks speak, in a network namespace, to be started, stopped and spoilt at will."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import TypeAlias

from tests.kernel import lab

Talk: TypeAlias = Callable[[socket.socket], None]
"""What a TCP server does with a connection; it may raise OSError."""

Answer: TypeAlias = Callable[[bytes], bytes]
"""What a UDP server answers to a datagram."""


class TcpServer:
    """Serves one address and port of a namespace while it is up; `talk` may be replaced at any time."""

    def __init__(self, namespace: str, address: str, port: int, talk: Talk) -> None:
        self.talk = talk
        self._namespace = namespace
        self._where = (address, port)
        self.up()

    def up(self) -> None:
        """Listen."""
        self._listener = lab.inside(self._namespace, lambda: socket.create_server(self._where))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def down(self) -> None:
        """Listen no more: who connects is refused."""
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept
        self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        with connection, contextlib.suppress(OSError):
            self.talk(connection)


class UdpServer:
    """The same over UDP: one answer to each datagram."""

    def __init__(self, namespace: str, address: str, port: int, answer: Answer) -> None:
        self._answer = answer
        self._namespace = namespace
        self._where = (address, port)
        self.up()

    def up(self) -> None:
        """Answer."""
        self._socket = lab.inside(self._namespace, self._bound)
        threading.Thread(target=self._serve, args=(self._socket,), daemon=True).start()

    def down(self) -> None:
        """Answer no more: the port is unreachable."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # says that it is not connected, and wakes the thread all the same
        self._socket.close()

    def _bound(self) -> socket.socket:
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.bind(self._where)
        return bound

    def _serve(self, bound: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, sender = bound.recvfrom(4096)
                if not data:
                    return
                bound.sendto(self._answer(data), sender)


# -- what they say -------------------------------------------------------------------------------------------------------


def wait(connection: socket.socket) -> None:
    """Until the client has gone."""
    connection.recv(1)


def web(connection: socket.socket) -> None:
    """200 to whatever comes."""
    connection.recv(4096)
    connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")


def web_broken(connection: socket.socket) -> None:
    """500 to whatever comes."""
    connection.recv(4096)
    connection.sendall(b"HTTP/1.0 500 Oh\r\nContent-Length: 2\r\nConnection: close\r\n\r\noh")


def smtp(greeting: bytes = b"220 mail\r\n", helo: bytes = b"250 mail\r\n") -> Talk:
    """A mail server that says this."""

    def talk(connection: socket.socket) -> None:
        for reply in (greeting, helo, b"221 bye\r\n"):
            connection.sendall(reply)
            connection.recv(512)

    return talk


def hang_up(_connection: socket.socket) -> None:
    """Without a word."""


def echo(data: bytes) -> bytes:
    """The same back."""
    return data


def dns(query: bytes) -> bytes:
    """One A record for whatever is asked: RFC 1035, section 4."""
    flags, counts = b"\x84\x00", query[4:6] + b"\x00\x01\x00\x00\x00\x00"
    record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01"
    return query[:2] + flags + counts + query[12:] + record
