"""Clients that ask the virtual server all the time, each request on a new connection, and remember what became of each.

They run as threads of this process inside the clients' network namespace: no program to start, and their records are plain values.
"""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass

from tests.kernel import lab

_REQUEST = b"GET / HTTP/1.0\r\nHost: www.example.org\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """One request: when it began and ended (seconds, `time.monotonic`), who answered ("" when nobody did), and else why not."""

    begun_s: float
    ended_s: float
    answered_by: str
    fault: str


class Clients:
    """`count` clients that make, together, a request every `interval_s` seconds until `stop()`."""

    def __init__(self, namespace: str, count: int = 4, interval_s: float = 0.02, timeout_s: float = 3) -> None:
        self._namespace = namespace
        self._timeout_s = timeout_s
        self._pause_s = interval_s * count
        self._stopped = threading.Event()
        self._requests: list[Request] = []
        self._threads = [
            threading.Thread(target=self._ask_on, args=(n * interval_s,), daemon=True) for n in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Return when the requests in flight have ended."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def since(self, moment_s: float, until_s: float = float("inf")) -> list[Request]:
        """Return the requests that began at or after `moment_s` and before `until_s`, and have ended."""
        return [request for request in self._requests.copy() if moment_s <= request.begun_s < until_s]

    def failed_since(self, moment_s: float, until_s: float = float("inf")) -> list[Request]:
        """Return those that nobody answered."""
        return [request for request in self.since(moment_s, until_s) if request.fault]

    def _ask_on(self, delay_s: float) -> None:
        lab.join(self._namespace)
        due_s = time.monotonic() + delay_s
        while not self._stopped.wait(max(0.0, due_s - time.monotonic())):
            self._requests.append(self._ask())
            due_s = max(due_s + self._pause_s, time.monotonic())

    def _ask(self) -> Request:
        begun_s = time.monotonic()
        answered_by = fault = ""
        try:
            with socket.create_connection((lab.VIRTUAL, 80), timeout=self._timeout_s) as connection:
                connection.sendall(_REQUEST)
                answer = b""
                while chunk := connection.recv(4096):
                    answer += chunk
            head, _, body = answer.partition(b"\r\n\r\n")
            if b" 200 " in head.split(b"\r\n")[0]:
                answered_by = body.decode().strip()
            else:
                fault = f"unexpected answer {answer[:40]!r}"
        except OSError as error:
            fault = repr(error)
        return Request(begun_s, time.monotonic(), answered_by, fault)
