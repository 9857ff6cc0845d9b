"""A scripted server in memory: what it does, who is there, and what it was asked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from checkers.kit.watch import News
from tests.fakes.behaviours import Behaviour, Connect, healthy
from tests.fakes.loss import Wire

if TYPE_CHECKING:
    from tests.fakes.watch import FakeHeld

NOTICED_S = 0.2
"""A server stands still when somebody waits longer than this for the place of an idle connection."""

LATENCY_S = 0.001
"""One round trip, when a server has no other."""

PATIENCE_S = 60.0
"""So long a server keeps a connection whose end it did not hear of (nginx: client_header_timeout)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that a server was sent. `at` is trio's clock."""

    at: float
    data: bytes


class FakeServer:
    """One address and port. `connections` counts attempts, `open` what stands now; `server_names` are those of TLS clients,
    `farewells` counts their close_notify. All of it may be read at any time.

    `places` is how many connections it serves at once; whoever comes later is in its queue, up to `backlog` of them, and who finds that
    full gets no answer (that a SYN is sent again after a second is not modelled there). `notes_ends`: who leaves is noticed.
    `patience_s` is how long it keeps one whose end it did not hear of, because it was lost.
    `idle_limit_s` is after how long it closes connections that say nothing; `held` are those of sentinels, `holds` counts how many
    were begun, `holds_ended` how many ended by themselves. A change of `behaviour` reaches them: a process that dies closes them, and
    a host that dies is silent.
    """

    def __init__(self, address: str, port: int, behaviour: Behaviour | None = None) -> None:
        self.address = address
        self.port = port
        self._behaviour = healthy() if behaviour is None else behaviour
        self.latency_s = LATENCY_S
        self.connections = 0
        self.open = 0
        self.requests: list[Asked] = []
        self.server_names: list[str] = []
        self.farewells = 0
        self.places: float = math.inf
        self.backlog: float = math.inf
        self.notes_ends = True
        self.patience_s = PATIENCE_S
        self._queue: dict[object, Callable[[], None]] = {}  # who is there, in order, and what serves them
        self._served: set[object] = set()
        self._in_the_way_since = math.inf
        self._stood_still_s = 0.0
        self.stood_still_times = 0  # for more than NOTICED_S
        self.idle_limit_s = math.inf
        self.held: set[FakeHeld] = set()
        self.holds = 0
        self.holds_ended = 0

    def late_s(self, wire: Wire) -> float:
        """Return how much later an attempt to connect is answered because packets are lost, in seconds; math.inf: it never is."""
        if len(self._queue) >= self.places + self.backlog:
            return math.inf
        if not wire.rate:
            return 0.0
        return wire.connected_s() if self.behaviour.connect is Connect.ACCEPT else wire.refused_s()

    def enter(self, who: object, serve: Callable[[], None]) -> None:
        """A connection stands; `serve` is called when it has a place."""
        self._queue[who] = serve
        self._serve()

    def quit(self, who: object) -> None:
        """It is over; may be called twice."""
        self._queue.pop(who, None)
        self._served.discard(who)
        self._serve()

    @property
    def stood_still_s(self) -> float:
        """How long at most somebody waited for a place that a sentinel had, so far."""
        return max(self._stood_still_s, trio.current_time() - self._in_the_way_since)

    def _serve(self) -> None:
        for who, serve in list(self._queue.items()):
            if len(self._served) >= self.places:
                break
            if who not in self._served:
                self._served.add(who)
                serve()
        self._stood_still_s = self.stood_still_s
        waiting = len(self._queue) > len(self._served) and not self._served.isdisjoint(self.held)
        if waiting:
            self._in_the_way_since = min(self._in_the_way_since, trio.current_time())
            return
        self.stood_still_times += trio.current_time() - self._in_the_way_since > NOTICED_S
        self._in_the_way_since = math.inf

    @property
    def behaviour(self) -> Behaviour:
        """What it does."""
        return self._behaviour

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        match behaviour.connect:
            case Connect.REFUSE:
                self.close_idle()
            case Connect.BLACKHOLE | Connect.UNREACHABLE:
                for held in list(self.held):
                    held.fall_silent()
            case Connect.ACCEPT | Connect.NO_DESCRIPTOR:
                pass

    def close_idle(self) -> None:
        """Close all connections that say nothing, as a graceful reload does."""
        for held in sorted(self.held, key=lambda held: held.number):
            held.end(News.ENDED)
