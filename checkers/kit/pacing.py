"""Holds the probes of one address and port to a number a second, however many checks there are of it. Pure: time is an argument.

Who asks for more waits its turn; nothing is left out. Turns are given in the order in which they were asked for, so with at most
one turn of each check outstanding a check waits for all others once. `supervisor.core.detection` reckons with that wait.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from checkers.kit.api import Target
from checkers.kit.job import Job
from checkers.kit.timer import TICK_S

NOWHERE = ("0.0.0.0", 0)
"""Where scripts and files are checked (supervisor.model.NOWHERE): no server, so there is nothing to spare."""

WINDOW_S = 1.0 + TICK_S
"""In each such time at most the number of turns: a tick more than a second, for a probe may begin a tick after its turn."""


class Pacing:
    """Turns for the checks of one assignment."""

    __slots__ = ("_most", "turns")

    def __init__(self, most_per_s: int, jobs: Iterable[Job] = (), before: Pacing | None = None) -> None:
        """`most_per_s`: 0 for no limit. `before` is what held until now: what began within the last second still counts."""
        self._most = most_per_s
        kept: dict[tuple[str, int], deque[float]] = before.turns if before else {}
        checks = Counter((job.address, job.port) for job in jobs) if most_per_s else Counter[tuple[str, int]]()
        del checks[NOWHERE]
        self.turns: dict[tuple[str, int], deque[float]] = {
            where: deque(kept.get(where, ()), most_per_s)
            for where, count in checks.items()
            if count > 1 or most_per_s * TICK_S < 1  # a single check begins one probe a tick at most
        }

    def limits(self, target: Target) -> bool:
        """Tell whether a probe of a target needs a turn at all."""
        return (target.address, target.port) in self.turns

    def has_turn(self, address: str, port: int, now: float) -> bool:
        """Take a turn if it is now; whether it is."""
        turns = self.turns.get((address, port))
        if turns is None:
            return True
        if len(turns) == self._most and turns[0] + WINDOW_S > now:
            return False
        turns.append(now)
        return True

    def turn(self, address: str, port: int, now: float) -> float:
        """Take a turn and return when it is: `now` unless too many others were before it (seconds)."""
        turns = self.turns.get((address, port))
        if turns is None:
            return now
        at = now
        if len(turns) == self._most:
            at = max(now, turns[0] + WINDOW_S)
        turns.append(at)
        return at
