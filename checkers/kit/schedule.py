"""When one check runs next, and what its verdicts make of its health. Pure: no clock, no I/O; `now` is an argument.

The rules are keepalived's (keepalived.md, sections 3.1 and 3.2), so that an operator's timings mean what they meant:

* The first probe comes 1 s plus a uniform random part of `warmup` after the assignment (FILE_CHECK: at once).
* The retry counter starts exhausted: the very first failure of a fresh check is decisive, and one success brings it up.
* A failure while UP uses a retry, after `delay_before_retry`, until they are used up; then the check is DOWN.
* While DOWN, the next probe comes after `delay_loop` (HTTP_GET: the longer of `delay_loop` and `delay_before_retry`).
* All pauses are measured from the end of the probe (MISC_CHECK: from its beginning, so that the period does not grow by the script).

Ours: a check that the supervisor already believes UP (carried over a reload, or adopted after a restart) starts with all its
retries, so that a restart of ours never makes a healthy server more fragile than it was; one believed DOWN needs one success.
An `alpha` check and an ordinary one differ in what the supervisor makes of UNKNOWN. `rise` (ours, 1 unless set) is how many successes in
a row bring up a check that is DOWN, or an alpha one that never was up; an ordinary one that is UNKNOWN serves already and needs one.

Ours, too, and only where the file asks for it: `fast_interval` is the pause in any transition (after a failure of a check that is up,
instead of delay_before_retry, and between the successes that bring one up), `down_interval` the pause while DOWN, and `idle_interval`
the longer one while nobody uses the server (`idle`, which the supervisor tells) and it has answered IDLE_AFTER times in a row.

Inconclusive verdicts say nothing about the server and are never counted. LOCAL (we could not try) waits a `delay_loop`, as in keepalived
(or the pause of its state, as above), and so does CRASHED (a bug in the checker). LATE (our own loop was not punctual) is tried again at
once, but a run of failures, from the first one until a success or the end of the retries, has LATE_MAX of them: each further one is taken
for the time-out that it looks like, for a machine that is always late must still notice a dead server, and not several times as late as
others (reliability.md, section 7). A server that is well is found so, however late we are: what it said is there at the second look
(kit.dial), and it is out only when that failed LATE_MAX + retry + 1 times on end. After we stood still (`excuse`) the first failure is such
a verdict too, whatever it is: links and routes may come back a moment later than we do.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, Protocol

from checkers.kit.api import Health, Reason, Verdict

FIRST_PROBE_S = 1.0
"""Least wait before the first probe of a check (keepalived.md, section 3.1)."""

LATE_MAX = 3
"""Most LATE verdicts of a run of failures that are repeated at once (reliability.md, section 7, point 3: three in a row)."""

FRESH_ROUND_S = 5.0
"""Longest pause before the fresh round after we stood still. Ours: a link that comes up again takes two to four seconds."""

IDLE_AFTER = 10
"""So many successes in a row before an idle server is probed less often. Ours: after a failure, a start or a hint it has to earn it."""

_SCRIPTS = frozenset({"MISC_CHECK"})
_LONGER_PAUSE_WHILE_DOWN = frozenset({"HTTP_GET", "SSL_GET"})
_PAUSE_FROM_BEGINNING = _SCRIPTS
_FIRST_AT_ONCE = frozenset({"FILE_CHECK"})


class Random(Protocol):
    """The part of random.Random that is needed here."""

    def uniform(self, a: float, b: float) -> float:
        """Return a number between a and b."""


class Settings(Protocol):
    """The part of a job that the rules need; seconds, and `retry` a count."""

    @property
    def type(self) -> str:
        """Checker type."""

    @property
    def delay_loop(self) -> float:
        """Pause between two probes."""

    @property
    def retry(self) -> int:
        """Failures to repeat before the check is DOWN."""

    @property
    def delay_before_retry(self) -> float:
        """Pause before such a repetition."""

    @property
    def rise(self) -> int:
        """Successes in a row that bring a check up."""

    @property
    def alpha(self) -> bool:
        """Whether UNKNOWN counts as down."""

    @property
    def warmup(self) -> float:
        """The first probe comes at a random time within this."""

    @property
    def fast_interval(self) -> float | None:
        """Pause in any transition; None: those of the file."""

    @property
    def down_interval(self) -> float | None:
        """Pause while DOWN; None: that of the file."""

    @property
    def idle_interval(self) -> float | None:
        """Pause while nobody uses the server, where it is longer; None: there is no such thing."""


class Step(NamedTuple):
    """What one verdict led to. `verdict` is the one that counted (a LATE too many became a time-out)."""

    changed: bool
    due: float
    verdict: Verdict


class CheckState:
    """Health and schedule of one check.

    `failures` counts failed probes in a row, `retry_it` retries used, `_doubts` LATE verdicts of this run of failures, `edges` changes
    between UP and DOWN; `has_run` tells whether there was a conclusive verdict, here or before the job came to this worker. `weight` is
    what the last success said of it. `idle` is the supervisor's word that nobody uses the server.
    """

    __slots__ = (
        "_doubts",
        "_excused",
        "_settings",
        "_successes",
        "edges",
        "failures",
        "has_run",
        "health",
        "idle",
        "retry_it",
        "weight",
    )

    def __init__(self, settings: Settings, health: Health = Health.UNKNOWN, weight: int | None = None) -> None:
        self._settings = settings
        self._doubts = 0
        self._excused = False
        self._successes = 0
        self.idle = False
        self.weight = weight
        self.health = health
        self.has_run = health is not Health.UNKNOWN
        self.retry_it = 0 if self.has_run else settings.retry
        self.failures = 0
        self.edges = 0

    def start(self, now: float, rng: Random) -> float:
        """Return when the first probe is due, on the clock of `now` (seconds)."""
        if self._settings.type in _FIRST_AT_ONCE:
            return now
        return now + FIRST_PROBE_S + rng.uniform(0.0, self._settings.warmup)

    @property
    def steady(self) -> bool:
        """Whether it is in no transition: up without a failure, or down without a success. Then a probe may come a little early.

        What waits for a fresh round after we stood still waits the whole of it: links need that time.
        """
        if self._doubts:
            return False
        if self.health is Health.DOWN:
            return not self._successes
        return self.health is Health.UP and not self.failures

    @property
    def well(self) -> bool:
        """Whether it is up, and its last verdict was a success."""
        return self.health is Health.UP and not self.failures and not self._doubts

    @property
    def last_chance(self) -> bool:
        """Whether the next failure takes the server out, for all retries are used up."""
        return self.health is not Health.DOWN and self.retry_it >= self._settings.retry

    def rouse(self) -> None:
        """Something hints at the server: probe it at its full rate, whether anybody uses it or not."""
        if self.health is Health.UP:
            self._successes = 0

    def excuse(self) -> None:
        """We stood still: give the server one fresh round, whose failure does not count."""
        self._excused = True

    def record(self, verdict: Verdict, now: float, began: float | None = None) -> Step:
        """Take in the verdict of a probe that ended at `now` (seconds) and began at `began` (None: the same).

        Returns what changed and when the next is due.
        """
        step = self._record(verdict, now)
        if began is not None and self._settings.type in _PAUSE_FROM_BEGINNING:
            return step._replace(due=max(now, step.due - (now - began)))
        return step

    def go_on(self) -> float:
        """Do what `record` does, of a check that is well, with the same success once more; return the pause until the next probe.

        Not for scripts, whose pauses count from the beginning of the probe.
        """
        self._excused = False
        self._successes += 1
        return self._pause_after_success() if self.idle else self._settings.delay_loop

    def _record(self, verdict: Verdict, now: float) -> Step:
        late = verdict.reason is Reason.LATE
        if late or self._is_excused(verdict):
            self._doubts += 1
            if self._doubts <= LATE_MAX:
                if late:
                    return Step(changed=False, due=now, verdict=verdict)
                detail = f"not counted, for we stood still before: {verdict.detail}"
                pause = max(self._settings.delay_before_retry, min(self._settings.delay_loop, FRESH_ROUND_S))
                return Step(changed=False, due=now + pause, verdict=replace(verdict, reason=Reason.LATE, detail=detail))
            if late:
                verdict = replace(verdict, reason=self._looks_like(verdict))
        if not verdict.conclusive:
            return Step(changed=False, due=now + self._pause_without_news(), verdict=verdict)
        self.has_run = True
        return self._succeeded(verdict, now) if verdict.ok else self._failed(verdict, now)

    def _is_excused(self, verdict: Verdict) -> bool:
        """Tell whether a verdict is a failure that must not count, and use up the excuse."""
        if not self._excused or not verdict.conclusive:
            return False
        self._excused = False
        return not verdict.ok and self.health is not Health.DOWN

    def _looks_like(self, late: Verdict) -> Reason:
        """Return the time-out that a late verdict would have been."""
        if self._settings.type in _SCRIPTS:
            return Reason.PROCTOUT
        return Reason.L7TOUT if late.sent else Reason.L4TOUT

    def _succeeded(self, verdict: Verdict, now: float) -> Step:
        self._doubts = 0
        self.retry_it = 0
        self.failures = 0
        self._successes += 1
        must_rise = self.health is Health.DOWN or (self.health is Health.UNKNOWN and self._settings.alpha)
        changed = False
        if not must_rise or self._successes >= self._settings.rise:
            changed = self._turn(Health.UP) | (verdict.weight != self.weight)
            self.weight = verdict.weight
        return Step(changed, now + self._pause_after_success(), verdict)

    def _pause_after_success(self) -> float:
        settings = self._settings
        if self.health is not Health.UP:
            return _first_set(settings.fast_interval, settings.delay_loop)
        if self.idle and settings.idle_interval is not None and self._successes >= IDLE_AFTER:
            return max(settings.delay_loop, settings.idle_interval)
        return settings.delay_loop

    def _pause_without_news(self) -> float:
        """Return the pause after a verdict that says nothing of the server."""
        settings = self._settings
        if self.health is Health.DOWN:
            return _first_set(settings.down_interval, settings.delay_loop)
        return _first_set(settings.fast_interval, settings.delay_loop) if self.failures else settings.delay_loop

    def _failed(self, verdict: Verdict, now: float) -> Step:
        settings = self._settings
        self.failures += 1
        self._successes = 0
        if self.health is Health.DOWN:
            self._doubts = 0
            pause = settings.delay_loop
            if settings.type in _LONGER_PAUSE_WHILE_DOWN:
                pause = max(pause, settings.delay_before_retry)
            return Step(changed=False, due=now + _first_set(settings.down_interval, pause), verdict=verdict)
        if self.retry_it < settings.retry:
            self.retry_it += 1
            pause = _first_set(settings.fast_interval, settings.delay_before_retry)
            return Step(changed=False, due=now + pause, verdict=verdict)
        self._doubts = 0
        self.retry_it = 0
        changed = self._turn(Health.DOWN)
        return Step(changed, now + _first_set(settings.down_interval, settings.delay_loop), verdict)

    def _turn(self, health: Health) -> bool:
        """Set the health; returns whether it changed. Only UP ↔ DOWN is an edge: the first verdict of a fresh check is not."""
        if self.health is health:
            return False
        self.edges += self.health is not Health.UNKNOWN
        self.health = health
        return True


def _first_set(asked: float | None, otherwise: float) -> float:
    """Return a pause that the file asks for, or the one that holds otherwise."""
    return otherwise if asked is None else asked
