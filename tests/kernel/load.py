"""A client that asks a virtual server several hundred times a second, a new connection for each request, and remembers every failure.

It is a program of its own, so that the harness's work does not slow it down, and it is one process with one epoll, because a system
call costs tens of times more in a User-Mode Linux guest than elsewhere. Started by `Load`, or by hand:

    python -m tests.kernel.load ADDRESS PORT RATE          RATE: requests begun a second, spread evenly

It is an open loop: a request is begun when its moment has come, whatever became of those before it. One in `HOLD_EVERY` connections is
held for `HOLD_S` before it asks: what breaks connections that stand is seen too. Each tenth of a second it prints one line,

    rate AT BEGUN INFLIGHT SLOW NAME=COUNT...              who answered how many; SLOW: answers that took a second or more

and for each request that failed one line `fail BEGUN AT KIND`. AT is when it was lost: when it was refused, reset or answered wrongly;
for one without an answer when it last said something. All moments are those of CLOCK_MONOTONIC, in seconds.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import select
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, product
from subprocess import PIPE, Popen

from tests.kernel import lab

TIMEOUT_S = 3.0
"""A client's patience: long enough for a lost SYN to be sent again (after 1 s), too short for the second time (after 3 s)."""
HOLD_S = 0.5
HOLD_EVERY = 10
SLOW_S = 1.0
INFLIGHT_MAX = 4000
"""Connections at one time; with this many no request is begun: 3 s without any answer at 1000 a second do not reach it."""
REPORT_S = 0.1

SOURCES = tuple(f"203.0.113.{number}" for number in range(10, 18))
"""The clients' addresses: with so many, no pair of address and port comes again within ten minutes at 800 requests a second."""
PORTS = range(2000, 65000)

REQUEST = b"GET / HTTP/1.0\r\nHost: www.example.org\r\n\r\n"
KINDS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
}


class _Asked:
    """One request under way."""

    __slots__ = ("answer", "begun_s", "hold", "said_s", "socket", "state")

    def __init__(self, sock: socket.socket, begun_s: float, *, hold: bool) -> None:
        self.socket, self.begun_s, self.said_s, self.hold = sock, begun_s, begun_s, hold
        self.answer = b""
        self.state = "connecting"


class _Client:
    """The loop. Everything that ends a request is in `_end`."""

    def __init__(self, address: str, port: int, rate: float) -> None:
        self._target = (address, port)
        self._pause_s = 1.0 / rate
        self._epoll = select.epoll()
        self._open: dict[int, _Asked] = {}
        self._patience: list[tuple[float, int, _Asked]] = []
        self._held: list[tuple[float, int, _Asked]] = []
        ahead = int(100 * time.monotonic()) % len(
            PORTS
        )  # of a client before this one, whose ports the kernel still remembers
        ports = [*PORTS[ahead:], *PORTS[:ahead]]
        self._sources = cycle((source, port) for port, source in product(ports, SOURCES))
        self._number = 0
        self._answered = Counter[str]()
        self._begun = self._slow = 0
        self._lines: list[str] = []
        self.stopped = False

    def run(self) -> None:
        now = time.monotonic()
        due, report = now, now + REPORT_S
        while not self.stopped or self._open:
            now = time.monotonic()
            while not self.stopped and due <= now:
                due += self._pause_s
                if now - due > 1:  # the whole machine stood still: do not ask for what was missed
                    due = now
                if len(self._open) < INFLIGHT_MAX:
                    self._begin(now)
            while self._held and self._held[0][0] <= now:
                self._say(heapq.heappop(self._held)[2], now)
            while self._patience and self._patience[0][0] <= now:
                asked = heapq.heappop(self._patience)[2]
                if asked.state != "ended":
                    self._end(asked, asked.said_s, "time-out")
            if now >= report:
                report = now + REPORT_S
                self._report(now)
            wake = report if self.stopped else min(due, report)
            if self._held:
                wake = min(wake, self._held[0][0])
            for descriptor, events in self._epoll.poll(max(wake - time.monotonic(), 0)):
                if (one := self._open.get(descriptor)) is not None:
                    self._progress(one, events)
        self._report(time.monotonic())

    def _begin(self, now: float) -> None:
        self._number += 1
        self._begun += 1
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        asked = _Asked(sock, now, hold=self._number % HOLD_EVERY == 0)
        self._open[sock.fileno()] = asked
        heapq.heappush(self._patience, (now + TIMEOUT_S, self._number, asked))
        try:
            sock.bind(next(self._sources))
            code = sock.connect_ex(self._target)
            if code not in {0, errno.EINPROGRESS}:
                self._end(asked, now, KINDS.get(code, errno.errorcode.get(code, str(code))))
                return
            self._epoll.register(sock.fileno(), select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        except OSError as error:
            self._end(asked, now, errno.errorcode.get(error.errno or 0, repr(error)))

    def _progress(self, asked: _Asked, events: int) -> None:
        now = time.monotonic()
        if asked.state == "connecting" and events & (select.EPOLLOUT | select.EPOLLERR | select.EPOLLHUP):
            code = asked.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._end(asked, now, KINDS.get(code, errno.errorcode.get(code, str(code))))
            elif asked.hold:
                asked.state = "held"
                heapq.heappush(self._held, (now + HOLD_S, id(asked), asked))
            else:
                self._say(asked, now)
            return
        if events & ~select.EPOLLOUT:
            self._hear(asked, now)

    def _say(self, asked: _Asked, now: float) -> None:
        if asked.state == "ended":
            return
        asked.state, asked.said_s = "asked", now
        try:
            asked.socket.send(REQUEST)
        except OSError as error:
            self._end(asked, now, KINDS.get(error.errno or 0, repr(error)))

    def _hear(self, asked: _Asked, now: float) -> None:
        try:
            chunk = asked.socket.recv(4096)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(asked, now, KINDS.get(error.errno or 0, repr(error)))
            return
        asked.answer += chunk
        head, gap, body = asked.answer.partition(b"\r\n\r\n")
        if gap and body.endswith(b"\n") and b" 200 " in head.split(b"\r\n", 1)[0]:
            self._end(asked, now, "", body.decode().strip())
        elif not chunk:
            self._end(asked, now, "wrong" if asked.answer else "reset")

    def _end(self, asked: _Asked, at_s: float, kind: str, who: str = "") -> None:
        del self._open[asked.socket.fileno()]
        asked.socket.close()
        asked.state = "ended"
        if kind:
            self._lines.append(f"fail {asked.begun_s:.4f} {at_s:.4f} {kind}")
            return
        self._answered[who] += 1
        self._slow += at_s - asked.begun_s - (HOLD_S if asked.hold else 0) >= SLOW_S

    def _report(self, now: float) -> None:
        who = " ".join(f"{name}={count}" for name, count in self._answered.items())
        self._lines.append(f"rate {now:.4f} {self._begun} {len(self._open)} {self._slow} {who}")
        self._answered.clear()
        self._begun = self._slow = 0
        sys.stdout.write("\n".join(self._lines) + "\n")
        sys.stdout.flush()
        self._lines.clear()


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that failed: when it began, when it was lost, and how."""

    begun_s: float
    at_s: float
    kind: str


@dataclass(frozen=True, slots=True)
class Report:
    """A tenth of a second: how many requests began, how many were under way at its end, who answered how many."""

    at_s: float
    begun: int
    inflight: int
    slow: int
    answered: dict[str, int]


class Load:
    """The running client, its reports and the failures so far; the records grow while it runs."""

    def __init__(self, world: lab.Lab, rate: float, port: int = 80) -> None:
        more = [f"addr add {source}/24 dev eth0" for source in SOURCES]
        lab.ip_batch(world.clients, more)
        self.failures: list[Failure] = []
        self.reports: list[Report] = []
        # first at the processor: what is asked of it by others must not look like a fault of the table
        command = ["ip", "netns", "exec", world.clients, "nice", "-n", "-15", sys.executable, "-m", "tests.kernel.load"]
        command += [lab.VIRTUAL, str(port), str(rate)]
        self._process = Popen(command, stdout=PIPE, text=True, cwd=lab.ROOT, start_new_session=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def close(self) -> None:
        """Begin no more requests, and return when what became of the last is known."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def between(self, begin_s: float, end_s: float) -> Iterator[Report]:
        """Yield the reports of a time."""
        return (report for report in self.reports.copy() if begin_s <= report.at_s < end_s)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            kind, *words = line.split()
            if kind == "fail":
                self.failures.append(Failure(float(words[0]), float(words[1]), words[2]))
            else:
                answered = {name: int(count) for name, _, count in (word.partition("=") for word in words[4:])}
                begun, inflight, slow = map(int, words[1:4])
                self.reports.append(Report(float(words[0]), begun, inflight, slow, answered))


def main() -> None:
    """Ask until SIGTERM."""
    address, port, rate = sys.argv[1:]
    client = _Client(address, int(port), float(rate))

    def stop(_number: int, _frame: object) -> None:
        client.stopped = True

    signal.signal(signal.SIGTERM, stop)
    client.run()


if __name__ == "__main__":
    main()
