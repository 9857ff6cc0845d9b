"""What a worker told of a probe, as entries of the history of everybody who listens to it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from supervisor.core.causes import Fact
from supervisor.core.entry import RESULT, Entry, printable
from supervisor.core.events import CheckReported, Result
from supervisor.core.health import INCONCLUSIVE, Check
from supervisor.core.realserver import RealServerState
from supervisor.core.virtualserver import VirtualServerState

Listener: TypeAlias = tuple[VirtualServerState, RealServerState, Check]
"""One of those whom a check is about (`Pools.consumers`)."""


def entries(
    listeners: Iterable[Listener], event: CheckReported, result: Result, first_id: int, at: float
) -> Iterator[Entry]:
    """Yield one entry for each real server that a result is about, numbered from `first_id`. `at` is the wall clock, in Unix seconds."""
    for number, (virtual_server, server, check) in enumerate(listeners, start=first_id):
        passed = None if result.reason in INCONCLUSIVE else not event.failures
        yield Entry(
            id=number,
            at=at,
            type=RESULT,
            level="info" if passed else "warning",
            message=printable(_sentence(check, result)),
            virtual_server=printable(str(virtual_server.spec.key)),
            real_server=printable(str(server.spec.endpoint)),
            facts=_facts(check, event, result, passed=passed),
        )


def _sentence(check: Check, result: Result) -> str:
    where = f" {check.spec.where}" if check.spec.where else ""
    return f"{check.spec.type}{where}: {result.reason} {result.detail}".rstrip()


def _facts(check: Check, event: CheckReported, result: Result, *, passed: bool | None) -> dict[str, Fact]:
    """Return what is to be known of a result. Of a success, what was sent and received says nothing that is worth its memory."""
    facts: dict[str, Fact] = {
        "check": check.spec.type,
        "target": printable(check.spec.where),
        "result": result.reason,
        "detail": printable(result.detail),
        "passed": passed,
        "probe": result.probe,
        "duration_s": round(result.duration_s, 6),
    }
    if not passed:
        facts |= {"failures": event.failures, "sent": printable(result.sent), "received": printable(result.received)}
    return {name: value for name, value in facts.items() if value != "" and (value is not None or name == "passed")}
