"""One check of one real server: what its reports make of it.

The worker counts retries (it owns the timers); what arrives here is already a level. This module keeps the level, since when, and the
probe behind it, and answers one question: does this check let its real server be in service?
"""

from __future__ import annotations

from supervisor.core.events import CheckReported, Health, Result
from supervisor.model import CheckSpec


class Check:
    """The state of one check.

    `trusted` says what an UNKNOWN check means: True (keepalived's default) lets the real server serve until something is
    known, False (alpha, or adopted as out of service) keeps it out.
    """

    __slots__ = ("failures", "health", "heard_at", "job", "result", "since", "spec", "stale", "trusted")

    def __init__(
        self, spec: CheckSpec, job: int, now: float, *, health: Health = Health.UNKNOWN, trusted: bool
    ) -> None:
        self.spec = spec
        self.job = job
        self.health = health
        self.trusted = trusted
        self.since = now
        self.failures = 0
        self.result: Result | None = None
        self.heard_at: float | None = None
        self.stale = False

    @property
    def passes(self) -> bool:
        """Whether the real server may be in service as far as this check goes."""
        return self.health is Health.UP or (self.health is Health.UNKNOWN and self.trusted)

    def report(self, event: CheckReported, now: float) -> bool:
        """Take a report in; return whether `passes` changed. A report of UNKNOWN never changes a known level."""
        before = self.passes
        if event.health is not Health.UNKNOWN or event.result is not None:
            self.heard_at = now
        self.failures = event.failures
        if event.result is not None:
            self.result = event.result
        if event.health is not self.health and event.health is not Health.UNKNOWN:
            self.health = event.health
            self.since = now
        return self.passes is not before
