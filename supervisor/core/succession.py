"""What the checks of a real server take along into a new configuration.

What is known stays known: an edited time-out neither revives a dead server nor takes a live one out.
"""

from __future__ import annotations

from collections.abc import Mapping

from supervisor.core.health import Check
from supervisor.core.realserver import RealServerState
from supervisor.model import CheckSpec, RealServer


def carried_over(
    server: RealServerState, wanted: RealServer, jobs: Mapping[CheckSpec, int], now: float
) -> tuple[Check, ...]:
    """Return the checks that `wanted` asks for: each with the state of the old one of the same specification, else of one of its type.

    `jobs` are the numbers in the new configuration. A changed check holds the health of the one it replaces until its own first verdict.
    """
    same = {check.spec: check for check in server.checks}
    others = [check for check in server.checks if check.spec not in wanted.checks]
    checks: list[Check] = []
    for spec in wanted.checks:
        check = same.get(spec) or _successor(spec, others, now, live=server.live)
        check.job = jobs[spec]
        checks.append(check)
    return tuple(checks)


def _successor(spec: CheckSpec, others: list[Check], now: float, *, live: bool) -> Check:
    """Return the state of a new check of a known real server: it takes the place of one of `others`, or starts trusted if live."""
    for check in others:
        if check.spec.type == spec.type:
            others.remove(check)
            successor = Check(spec, 0, now, health=check.health, trusted=check.trusted, weight=check.weight)
            successor.failure, successor.failed_at = check.failure, check.failed_at
            return successor
    return Check(spec, 0, now, trusted=live or not spec.alpha)
