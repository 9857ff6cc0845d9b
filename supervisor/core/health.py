"""One check of one real server: what its reports make of it.

The worker counts retries (it owns the timers); what arrives here is already a level. This module keeps the level, since when, and the
probe behind it, and answers one question: does this check let its real server be in service?
"""

from __future__ import annotations

import math
from typing import assert_never

from supervisor.core.events import CheckReported, Health, Result
from supervisor.model import CheckSpec, Weighs

INCONCLUSIVE = frozenset({"NONE", "LOCAL", "LATE"})
"""Reasons that say nothing about the real server (checkers.kit.api.INCONCLUSIVE)."""


class Check:
    """The state of one check. `sentinel` is why its idle connection is given up; empty: it is not, as far as anybody said.

    `trusted` says what an UNKNOWN check means: True (keepalived's default) lets the real server serve until something is
    known, False (alpha, or adopted as out of service) keeps it out.

    `weight` is what it says of the real server's weight, None: nothing. `expires_at` is when the server's certificate ends (Unix
    seconds, as the last success showed it; 0: there is none). `failure` is the last result that counted as a failure, None after a success.
    `probes` is the number of the worker's last probe, as far as it was heard of: those that say nothing new have no result here.
    """

    __slots__ = (
        "expires_at",
        "failed_at",
        "failure",
        "failures",
        "health",
        "heard_at",
        "job",
        "probes",
        "result",
        "sentinel",
        "since",
        "spec",
        "stale",
        "trusted",
        "weight",
    )

    def __init__(
        self,
        spec: CheckSpec,
        job: int,
        now: float,
        *,
        health: Health = Health.UNKNOWN,
        trusted: bool,
        weight: int | None = None,
    ) -> None:
        self.spec = spec
        self.job = job
        self.health = health
        self.trusted = trusted and not spec.first_down
        self.weight = spec.first_weight if weight is None else weight
        self.since = now
        self.failures = 0
        self.result: Result | None = None
        self.failure: Result | None = None
        self.failed_at: float | None = None
        self.heard_at: float | None = None
        self.stale = False
        self.sentinel = ""
        self.expires_at = 0.0
        self.probes = 0

    @property
    def began_at(self) -> float:
        """When the last probe that failed began, as far as it is known (trio's seconds); minus infinity when none has."""
        if self.failure is None or self.failed_at is None:
            return -math.inf
        return self.failed_at - self.failure.duration_s

    @property
    def passes(self) -> bool:
        """Whether the real server may be in service as far as this check goes."""
        return self.health is Health.UP or (self.health is Health.UNKNOWN and self.trusted)

    def added_weight(self, configured: int) -> int:
        """Return what this check adds to the configured weight of its real server; may be negative."""
        match self.spec.weighs:
            case Weighs.NOTHING:
                return 0
            case Weighs.ADDS:
                return self.weight or 0
            case Weighs.REPLACES:
                return 0 if self.weight is None else self.weight - configured
            case _:
                assert_never(self.spec.weighs)

    def hear_again(self, level: CheckReported, now: float) -> bool:
        """Take a level without a result in that is as known, as nearly all of thousands are. Tell whether it is; else nothing was done."""
        if level.health is not self.health or level.failures != self.failures or level.weight != self.weight:
            return False
        if level.health is not Health.UNKNOWN:
            self.heard_at = now
        self.probes = level.probes or self.probes
        return True

    def report(self, event: CheckReported, now: float) -> bool:
        """Take a report in; return whether `passes` or `weight` changed. A report of UNKNOWN never changes a known level."""
        before = self.passes, self.weight
        if event.health is not Health.UNKNOWN or event.result is not None:
            self.heard_at = now
        self.failures = event.failures
        self.probes = event.probes or self.probes
        if event.result is not None:
            self.result = event.result
            self.expires_at = event.result.expires_at or self.expires_at
            if event.result.reason not in INCONCLUSIVE:
                self.failure = event.result if event.failures else None
                self.failed_at = now if event.failures else None
        if event.health is not self.health and event.health is not Health.UNKNOWN:
            self.health = event.health
            self.since = now
        if event.health is not Health.UNKNOWN:
            self.weight = event.weight
        return (self.passes, self.weight) != before
