"""When descriptors, ports or memory run out, fewer probes are better than none: pauses grow until they suffice. Pure.

A beat (kit.worker.BEAT_EVERY_S) in which something ran out doubles every ordinary pause, up to STRETCH_MAX; QUIET_BEATS without any
halve it again. Pauses after a failure stay as they are: a server that may be dead deserves what there is.
"""

from __future__ import annotations

from checkers.kit.api import Verdict
from checkers.kit.sockets import SHORTAGES

STRETCH_MAX = 8
"""Longest pause in ordinary ones: a delay_loop of 6 s becomes 48 s at worst. Ours: further on it would no longer be a check."""

PAUSE_MAX_S = 60.0
"""No pause is made longer than this: a check that is rarer anyway costs little, and what is short now may be there again in a second."""

QUIET_BEATS = 10
"""So many beats without a shortage before the pauses are halved. Ours: ten seconds, so that a steady shortage is met ten times a minute."""


class Shedding:
    """The factor of all pauses, 1 to STRETCH_MAX."""

    __slots__ = ("_quiet", "_short", "factor")

    def __init__(self) -> None:
        self.factor = 1
        self._short = False
        self._quiet = 0

    def note(self, fault: str) -> None:
        """Take note of a fault of our own (kit.api.LocalTrouble.fault)."""
        if fault in SHORTAGES:
            self._short = True

    def beat(self) -> None:
        """Draw the sum of the last beat."""
        if self._short:
            self.factor = min(self.factor * 2, STRETCH_MAX)
            self._quiet = 0
        elif self.factor > 1:
            self._quiet += 1
            if self._quiet >= QUIET_BEATS:
                self.factor //= 2
                self._quiet = 0
        self._short = False

    def due(self, verdict: Verdict, now: float, due: float) -> float:
        """Return when the next probe is due after `verdict` at `now`, if it were due at `due` (seconds)."""
        if self.factor == 1 or (verdict.conclusive and not verdict.ok):
            return due
        pause_s = due - now
        return now + max(pause_s, min(pause_s * self.factor, PAUSE_MAX_S))
