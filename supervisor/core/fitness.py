"""What the beats of one worker say about the worker itself: in trouble, slow, unfit. Pure; it outlives the incarnations of its worker.

A worker that has grown beyond all measure, has no descriptor left for ten beats, or is late for half a minute though it had a processor, is
*unfit*: another one in its place has none of that. Not more often than every RECYCLE_EVERY_S, because a machine that has too little of
something would only be busy with starting.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from checkers.kit.frozen import frozen
from supervisor.wording import counted

LAG_MAX_S = 0.5
"""A loop that is later than this is told of: time-outs of a second begin to mean nothing."""

STARVED_SHARE = 0.5
"""A process that waited for a processor for this part of the time is starved: replacing it would not help."""

TROUBLE_OVER_S = 30.0
"""Without a new fault for so long, the trouble is over."""

LAG_OVER_BEATS = 10
LAG_UNFIT_BEATS = 30
SHORT_UNFIT_BEATS = 10
RECYCLE_EVERY_S = 600.0

MEMORY_BASE_BYTES = 256 << 20
MEMORY_EACH_BYTES = 64 << 10
"""A worker takes 26 MiB when it starts, and some kilobytes for each check (reliability.md, section 5); ten times as much is a leak."""


class Kind(enum.Enum):
    """What is told of a worker."""

    TROUBLE = "trouble"  # its own machine refuses it something
    SLOW = "slow"
    UNFIT = "unfit"  # to be replaced


@frozen
class Finding:
    """An edge: something began, or is `over`."""

    kind: Kind
    text: str
    over: bool = False


@frozen
class Symptoms:
    """One beat. Faults and `run_delay_s` grow from the start of the incarnation; `memory_bytes` 0: not known."""

    lag_s: float
    run_delay_s: float
    faults: Mapping[str, int]
    memory_bytes: int
    checks: int


class Fitness:
    """The history of one worker, as far as it matters."""

    def __init__(self) -> None:
        self._last: Symptoms | None = None
        self._last_at = 0.0
        self._fault_at: float | None = None
        self._slow = False
        self._slow_beats = 0
        self._punctual_beats = 0
        self._short_beats = 0
        self._recycled_at: float | None = None

    def ended(self) -> list[Finding]:
        """The incarnation is over: what was wrong with it is over, too."""
        self._last = None
        self._slow_beats = self._punctual_beats = self._short_beats = 0
        over = []
        if self._slow:
            self._slow = False
            over.append(Finding(Kind.SLOW, "it ended", over=True))
        if self._fault_at is not None:
            self._fault_at = None
            over.append(Finding(Kind.TROUBLE, "it ended", over=True))
        return over

    def beat(self, now: float, symptoms: Symptoms) -> list[Finding]:
        """Take one beat in; return what is to be told, UNFIT last."""
        before = self._last or Symptoms(0.0, 0.0, {}, 0, 0)
        gap_s = now - self._last_at if self._last else 1.0
        self._last, self._last_at = symptoms, now
        new = {name: count - before.faults.get(name, 0) for name, count in symptoms.faults.items()}
        fresh = {name: count for name, count in new.items() if count > 0}
        starved = symptoms.run_delay_s - before.run_delay_s > STARVED_SHARE * max(gap_s, 0.1)
        found = [*self._trouble(now, fresh), *self._slowness(symptoms.lag_s, starved=starved)]
        unfit = self._unfit(symptoms, fresh)
        if unfit and (self._recycled_at is None or now >= self._recycled_at + RECYCLE_EVERY_S):
            self._recycled_at = now
            found.append(Finding(Kind.UNFIT, unfit))
        return found

    def _trouble(self, now: float, fresh: Mapping[str, int]) -> list[Finding]:
        if fresh:
            began, self._fault_at = self._fault_at is None, now
            text = ", ".join(f"{name} {counted(count, 'time')}" for name, count in sorted(fresh.items()))
            return [Finding(Kind.TROUBLE, text)] if began else []
        if self._fault_at is not None and now >= self._fault_at + TROUBLE_OVER_S:
            self._fault_at = None
            return [Finding(Kind.TROUBLE, f"nothing refused for {TROUBLE_OVER_S:g} s", over=True)]
        return []

    def _slowness(self, lag_s: float, *, starved: bool) -> list[Finding]:
        if lag_s >= LAG_MAX_S:
            self._punctual_beats = 0
            self._slow_beats += not starved
            if not self._slow:
                self._slow = True
                why = "it waits for a processor" if starved else "it had a processor"
                return [Finding(Kind.SLOW, f"its loop is late by {lag_s:.1f} s; {why}")]
            return []
        self._slow_beats = 0
        self._punctual_beats += 1
        if self._slow and self._punctual_beats >= LAG_OVER_BEATS:
            self._slow = False
            return [Finding(Kind.SLOW, "its loop is punctual again", over=True)]
        return []

    def _unfit(self, symptoms: Symptoms, fresh: Mapping[str, int]) -> str:
        """Return why it should be replaced, empty for no reason."""
        self._short_beats = self._short_beats + 1 if "EMFILE" in fresh else 0
        limit_bytes = MEMORY_BASE_BYTES + symptoms.checks * MEMORY_EACH_BYTES
        if symptoms.memory_bytes > limit_bytes:
            return f"it has grown to {symptoms.memory_bytes >> 20} MiB, more than {limit_bytes >> 20} MiB"
        if self._short_beats >= SHORT_UNFIT_BEATS:
            return f"it has had no descriptor left for {self._short_beats} beats"
        if self._slow_beats >= LAG_UNFIT_BEATS:
            return f"its loop has been late for {self._slow_beats} beats though it had a processor"
        return ""
