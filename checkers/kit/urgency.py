"""When a check must not wait: what the end of a sentinel, and a refused port, make of its next probe. Pure; `now` is an argument.

The rules, for an operator to read:

* A sentinel that ends is a hint and never a verdict: it brings the next probe forward to now, if the check is UP and is not in the
  middle of its retries already. Whatever that probe finds is counted as any other.
* **A refused port is proof** (`fast_retry`): nobody listens, and whoever answers says so. A refusal uses a retry as ever, but the
  next probe follows at once instead of after `delay_before_retry`. Each retry of the file is still made, each is a real probe.
* Anything softer (a time-out, a wrong status, a reset) keeps the file's `retry` and `delay_before_retry`.
* A sentinel that cannot be opened again because the port refuses is a stronger hint: it brings forward a retry, too, because that
  one will be a refusal. (A killed process may reset its connections a moment before its port refuses, so that the first probe met a
  reset: 7 in 1,000, performance.md.)
* After a removal through a refusal the check looks every RETURN_EVERY_S for RETURN_WITHIN_S as long as the port refuses, so that the
  restart of a service does not cost a whole `delay_loop`; `rise` counts as ever, at the file's pace. At most once in RETURN_AGAIN_S: what
  crashes again and again is not taken in again and again. All checks of a worker share RETURNS_PER_S such looks (`Returns`): when a whole
  site goes, those who still are to be judged come first.

What `kit.punctuality` doubts is no refusal here, its verdict says LATE; and after a verdict that says nothing of the server the next
probe has its own time, whatever sentinels see.
"""

from __future__ import annotations

import enum
import math

from checkers.kit.api import Health, Reason, Verdict
from checkers.kit.sockets import REFUSED

AT_ONCE_MAX = 16
"""So many retries in a row are made at once; if the file has more, these keep its pause. Ours: 16 take some milliseconds."""

RETURN_EVERY_S = 1.0
"""Pause between two looks at a port that refuses since a moment ago. Ours: a refusal costs 50 µs here and nothing there."""

RETURN_WITHIN_S = 10.0
"""So long after the removal. Ours: a service that restarts is back within ten seconds, or it is broken."""

RETURN_AGAIN_S = 60.0
"""Least time between two such returns. Ours: the default delay_loop, which is what a crash costs that is the second in a minute."""

RETURNS_PER_S = 200
"""So many such looks a second, of all checks of one worker. Ours: 1 % of a processor; 5,000 at once kept verdicts waiting."""

NEVER = -math.inf
"""A time long ago. One object for all: a float takes 32 bytes, and thousands of checks and sentinels have two."""


class Hint(enum.IntEnum):
    """What a sentinel saw, the weaker first."""

    NONE = 0
    ENDED = 1  # it was closed or broken
    REFUSED = 2  # it could not be opened again: the port refuses


def is_refusal(verdict: Verdict) -> bool:
    """Tell whether a probe was refused: the host lives, and nobody listens."""
    return verdict.reason is Reason.L4CON and verdict.detail == REFUSED


class Returns:
    """The looks for servers that may be back, one after another."""

    __slots__ = ("_free_at",)

    def __init__(self) -> None:
        self._free_at = NEVER

    def look_at(self, now: float, due: float) -> float:
        """Return when to look the next time, a pause from `now` or when all others had their look; `due` if that is not later."""
        at = max(now + RETURN_EVERY_S, self._free_at)
        if at >= due:
            return due
        self._free_at = at + 1 / RETURNS_PER_S
        return at


class Urgency:
    """The hurry of one check. `fast_retry` is the file's word; without it nothing is hastened here.

    `at_once` tells that the next probe must not even wait for a tick of the timer.
    """

    __slots__ = ("_doubtful", "_fast_retry", "_refusals", "_return_again", "_return_until", "_was_up", "at_once")

    def __init__(self, health: Health, *, fast_retry: bool) -> None:
        """`health` is what the check begins with."""
        self._fast_retry = fast_retry
        self.at_once = False
        self._doubtful = False  # the last verdict said nothing, and has its own time for the next
        self._refusals = 0  # in a row
        self._was_up = health is Health.UP
        self._return_until = self._return_again = NEVER

    def hastens(self, hint: Hint, health: Health, failures: int) -> bool:
        """Tell whether a hint brings the next probe forward, of a check that is `health` and failed `failures` times in a row."""
        if health is not Health.UP or self._doubtful:
            return False
        return hint is Hint.REFUSED or (hint is Hint.ENDED and not failures)

    def due(self, verdict: Verdict, health: Health, due: float, now: float, returns: Returns) -> float:
        """Return when the next probe is due after `verdict` at `now`, which left the check `health`, if the file says `due`.

        `returns` is what all checks of the worker share.
        """
        was_up, self._was_up = self._was_up, health is Health.UP
        self.at_once = False
        self._doubtful = not verdict.conclusive
        if not self._fast_retry or not is_refusal(verdict):
            self._refusals = 0
            return due
        self._refusals += 1
        if health is Health.UP:
            self.at_once = self._refusals <= AT_ONCE_MAX
            return now if self.at_once else due
        if was_up and now >= self._return_again:
            self._return_until = now + RETURN_WITHIN_S
            self._return_again = now + RETURN_AGAIN_S
        if now < self._return_until:
            return returns.look_at(now, due)
        return due
