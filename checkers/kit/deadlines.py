"""Has the connections of probes expire when their time is over: one alarm for all that have the same time limit.

They begin one after another, so the first one that is still there is the next one to expire. Works on trio's clock, and knows nothing of
sockets. Who comes here has lasted for a while already (`kit.gate`): the many that are over soon cost nothing.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Protocol

import trio

from checkers.kit.timer import Timer


class Expires(Protocol):
    """What has a time limit."""

    def expire(self) -> None:
        """The time is over. Must not raise and not wait."""


class Deadlines:
    """Who has `limit_s` seconds, in the order of their ends."""

    __slots__ = ("_alarm_set", "_running", "_timer", "limit_s")

    def __init__(self, timer: Timer, limit_s: float) -> None:
        self.limit_s = limit_s
        self._timer = timer
        self._running: dict[Expires, float] = {}
        self._alarm_set = False

    def add(self, who: Expires, began: float) -> None:
        """Have `who` expire `limit_s` after it began, unless it is dropped by then. It must not be there already."""
        self._running[who] = end = began + self.limit_s
        if not self._alarm_set:
            self._alarm_set = True
            self._timer.call_at(end, self._sweep)

    def drop(self, who: Expires) -> None:
        """It is over before its time; harmless when it is not there."""
        self._running.pop(who, None)

    def _sweep(self) -> None:
        now, running = trio.current_time(), self._running
        for who, _ in [*takewhile(lambda entry: entry[1] <= now, running.items())]:
            if running.pop(who, None) is not None:  # nobody dropped it meanwhile
                who.expire()
        end = next(iter(running.values()), None)
        self._alarm_set = end is not None
        if end is not None:
            self._timer.call_at(end, self._sweep)
