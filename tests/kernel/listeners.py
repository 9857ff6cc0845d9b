"""Real servers as cheap as they can be: listening sockets of one network namespace, all served by one thread.

Every address of 10.0.0.0/8 is the namespace's own, so a server is one socket: to open it is to start the server, to close it is to kill
it, and its machine goes on answering "connection refused". A plain server takes a connection and closes it; one on the web port answers
a request with 200 and closes, or, while it hangs, takes the connection and never says a word.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterable
from typing import TypeAlias

from tests.kernel import lab

Place: TypeAlias = tuple[str, int]

WEB_PORT = 8080
_ANSWER = b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n"


class Listeners:
    """The real servers of one namespace. `listen` says which of them live; the rest refuse."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._listeners: dict[Place, socket.socket] = {}
        self.hanging: set[str] = set()
        self._unanswered: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        self._changed = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def listen(self, places: Iterable[Place]) -> None:
        """Open what is not open and close what is not named."""
        wanted = set(places)
        with self._changed:
            for place in self._listeners.keys() - wanted:
                listener = self._listeners.pop(place)
                self._selector.unregister(listener)
                listener.close()
            new = wanted - self._listeners.keys()
            if new:
                opened = lab.inside(self._namespace, lambda: [(place, _listener(place)) for place in sorted(new)])
                for place, listener in opened:
                    self._listeners[place] = listener
                    self._selector.register(listener, selectors.EVENT_READ, place)

    def close(self) -> None:
        """End the thread and every server."""
        self._over.set()
        self._thread.join()
        self.listen(())
        for connection in self._unanswered:
            connection.close()
        self._selector.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            for key, _ in self._selector.select(0.1):
                with self._changed:
                    self._attend(key)

    def _attend(self, key: selectors.SelectorKey) -> None:
        """A client came, or said something. What was closed meanwhile is no matter any more."""
        assert isinstance(key.fileobj, socket.socket)
        if key.data is None:
            self._answer(key.fileobj)
        elif self._listeners.get(key.data) is key.fileobj:
            self._accept(key.data)

    def _accept(self, place: Place) -> None:
        try:
            connection, _ = self._listeners[place].accept()
        except OSError:
            return  # the client has gone already
        address, port = place
        if port != WEB_PORT:
            connection.close()
            return
        if address in self.hanging:
            self._unanswered.append(connection)
            return
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ)

    def _answer(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        try:
            if connection.recv(4096):
                connection.send(_ANSWER)
        except OSError:
            pass  # the client has gone already
        connection.close()


def _listener(place: Place) -> socket.socket:
    listener = socket.create_server(place, backlog=64)
    listener.setblocking(False)
    return listener
