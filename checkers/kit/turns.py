"""Several requests of one check, one for each probe: which is next, and what an answer says of the whole. Pure.

A checker asks for it by returning `OneByOne` from `prepare`; its `check` is then given one of the parts each time and need not know of
the others. The rules are keepalived's for several urls (keepalived.md, section 3.5):

* Each probe asks one part; when it answers the next probe asks the next, and after the last one the first.
* A check that is up stays up by any part that answers. One that is not comes up when the last part answers, after all the others.
* A part that fails is asked again. Once it has brought the check down, it alone is asked until it answers; then all from the first.
* In a hurry (fast_recovery), a check that is not up does not wait for its next part when one has answered.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from checkers.kit.api import Health, Reason, Verdict
from checkers.kit.frozen import frozen


@frozen
class OneByOne:
    """What `prepare` returns for a check of several parts: what `check` wants, once for each of them. At least two parts."""

    parts: tuple[Any, ...]
    hurry: bool = False


class Turns:
    """Whose turn it is in one check. `take` before each probe, `weigh` its verdict before it is recorded, `due` afterwards."""

    __slots__ = ("_failed", "_next", "_plan")

    def __init__(self, plan: OneByOne) -> None:
        self._plan = plan
        self._next = 0
        self._failed = False  # the part that is next brought the check down and has not answered since

    def take(self) -> Any:
        """Return the part to probe now."""
        return self._plan.parts[self._next]

    def weigh(self, verdict: Verdict, health: Health) -> Verdict:
        """Return what the verdict of a part says of a check that was `health`: Reason.NONE when it is too early to say."""
        if not verdict.ok:
            return verdict
        number, count = self._next + 1, len(self._plan.parts)
        complete = number == count and not self._failed
        self._next = 0 if self._failed or complete else self._next + 1
        self._failed = False
        if complete or health is Health.UP:
            return verdict
        return replace(verdict, reason=Reason.NONE, detail=f"{verdict.detail} ({number} of {count}; not yet all)")

    def due(self, verdict: Verdict, due: float, now: float, *, went_down: bool) -> float:
        """Return when the next probe is due: `due` as the schedule has it, or `now`. `went_down`: by this very verdict."""
        if went_down:
            self._failed = True
        return now if self._plan.hurry and verdict.reason is Reason.NONE else due
