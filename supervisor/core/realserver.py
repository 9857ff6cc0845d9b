"""One real server of one virtual server: its checks and its configured weight make its effective weight.

A real server is live while every check passes (AND logic, keepalived.md 3.3), and in service while it is live, or held though it is
not (`hold`), and no operator has taken it out. Nothing here knows of quorum, sorry servers or the kernel.
"""

from __future__ import annotations

import copy

from supervisor.core.causes import Chain
from supervisor.core.events import Health
from supervisor.core.health import Check
from supervisor.core.hold import Hold
from supervisor.core.override import AdminState, Override
from supervisor.model import RealServer

WEIGHT_MAX = 65535
"""Where weights end that nobody wrote down (ipvs.md, section 4)."""


class RealServerState:
    """What is known of one real server. `why` is the causal chain of its present weight in the table.

    `down_why` is the chain by which it went DOWN, for as long as it is: an operator's wish begins a chain of its own. `proven` tells that
    it was in service once since we know it: one that never was has shown nothing that is worth being held for.
    """

    __slots__ = (
        "checks",
        "down_why",
        "downs",
        "hold",
        "live",
        "override",
        "proven",
        "since",
        "spec",
        "ups",
        "weight",
        "why",
    )

    def __init__(self, spec: RealServer, checks: tuple[Check, ...], now: float, why: Chain) -> None:
        self.spec = spec
        self.checks = checks
        self.since = now
        self.why = why
        self.down_why: Chain = ()
        self.ups = 0
        self.downs = 0
        self.override: Override | None = None
        self.hold: Hold | None = None
        self.live = self.proven = self.passes
        self.weight = spec.weight
        self.weigh()

    def fork(self) -> RealServerState:
        """Return a copy with checks of its own."""
        state = copy.copy(self)
        state.checks = tuple(map(copy.copy, self.checks))
        return state

    @property
    def passes(self) -> bool:
        """Whether all checks let it serve; a real server without checks always serves."""
        return all(check.passes for check in self.checks)

    @property
    def health(self) -> Health:
        """DOWN while any check is down, else UNKNOWN while any has not spoken, else UP."""
        healths = {check.health for check in self.checks}
        if Health.DOWN in healths:
            return Health.DOWN
        return Health.UNKNOWN if Health.UNKNOWN in healths else Health.UP

    @property
    def admin(self) -> AdminState:
        """What the operator wants of it."""
        return AdminState.ENABLED if self.override is None else self.override.admin

    @property
    def in_service(self) -> bool:
        """Whether clients may be sent to it, as far as it goes alone."""
        return (self.live or self.hold is not None) and self.admin is AdminState.ENABLED

    @property
    def weight_in_service(self) -> int:
        """The weight that it has whenever it is in service."""
        wish = self.override.weight if self.override else None
        return self.weight if wish is None else wish

    @property
    def effective_weight(self) -> int:
        """The weight that it brings to its virtual server now: 0 unless in service."""
        return self.weight_under(self.override)

    def weight_under(self, wish: Override | None) -> int:
        """Return the weight that it would bring to its virtual server now if this were the operator's wish."""
        serves = self.live or self.hold is not None
        if not serves or wish is None:
            return self.weight if serves else 0
        if wish.admin is not AdminState.ENABLED:
            return 0
        return self.weight if wish.weight is None else wish.weight

    @property
    def stale(self) -> bool:
        """Whether a verdict is frozen because its worker is silent."""
        return any(check.stale for check in self.checks)

    def weigh(self) -> bool:
        """Bring `weight` up to date: the configured one and what the checks say of it, within 0 to 65535. Return whether it changed."""
        before = self.weight
        configured = self.spec.weight
        added = 0
        for check in self.checks:
            added += check.added_weight(configured)
        self.weight = min(max(configured + added, 0), max(WEIGHT_MAX, configured)) if added else configured
        return self.weight != before

    def judge(self, now: float) -> bool:
        """Bring `live` up to date with the checks; return whether it changed."""
        if self.passes is self.live:
            return False
        self.live = not self.live
        self.since = now
        if self.live:
            self.proven = True
            self.ups += 1
        else:
            self.downs += 1
        return True
