"""What a worker told of a probe, as entries of the history of everybody who listens to it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from supervisor.core.causes import Fact
from supervisor.core.entry import ID_MAX, RESULT, Entry, Facts, printable, printable_once, result_sentence
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
            said="",
            virtual_server=printable(str(virtual_server.spec.key)),
            real_server=printable_once(str(server.spec.endpoint)),
            facts=_facts(check, event, result, passed=passed),
        )


def on_request(
    virtual_server: VirtualServerState,
    server: RealServerState,
    check: Check,
    result: Result,
    *,
    passed: bool | None,
    at: float,
    number: int,
) -> Entry:
    """Return an entry for a probe that somebody asked for (check-now): it is shown among the others, and in no history.

    `number` is that of the probe in one answer; ids count down from the largest, where no entry of the history is.
    """
    facts = {"check": check.spec.type, "target": check.spec.where, "result": result.reason, "detail": result.detail}
    told = result_sentence(facts)
    wire = {"sent": result.sent, "received": result.received}
    return Entry(
        id=ID_MAX - number,
        at=at,
        type=RESULT,
        level="info" if passed else "warning",
        said=printable(f"{told}, by check-now, which counts for nothing"),
        virtual_server=printable(str(virtual_server.spec.key)),
        real_server=printable_once(str(server.spec.endpoint)),
        facts={
            **{name: printable(text) for name, text in (facts | wire).items() if text},
            "passed": passed,
            "duration_s": round(result.duration_s, 6),
        },
    )


Heard: TypeAlias = Mapping[tuple[str, str, str], tuple[int, float]]
"""What was heard last of each check: (real server, type, target) → number of its last probe, and when that was heard, in Unix seconds."""


def heard(virtual_server: VirtualServerState, now: float, at: float) -> Heard:
    """Return what was heard of the checks of a virtual server. `now` is trio's clock, `at` the wall clock at the same moment."""
    return {
        (printable_once(str(endpoint)), check.spec.type, printable_once(check.spec.where)): (
            check.probes,
            at - (now - check.heard_at),
        )
        for endpoint, server in virtual_server.real_servers.items()
        for check in server.checks
        if check.heard_at is not None
    }


def counted_on(told: Sequence[Entry], last: Heard) -> list[Entry]:
    """Return entries of one virtual server, the last result of each check with the probes since that said the same.

    A worker tells what is new alone, and how many probes it has done with each full state, every half minute. So the count is as true as
    that, and `last_at` says of when it is.
    """
    found = list(told)
    open_still = dict(last)
    for place in reversed(range(len(found))):
        entry = found[place]
        if entry.type != RESULT:
            continue
        name = entry.real_server, str(entry.facts.get("check")), str(entry.facts.get("target", ""))
        probes, heard_at = open_still.pop(name, (0, 0.0))
        number = entry.facts.get("probe")
        more = probes - number if isinstance(number, int) else 0
        if more > 0:
            found[place] = replace(entry, count=entry.count + more, last_at=max(round(heard_at, 3), entry.ended_at))
    return found


def _facts(check: Check, event: CheckReported, result: Result, *, passed: bool | None) -> Facts:
    """Return what is to be known of a result. Of a success, what was sent and received says nothing that is worth its memory."""
    facts: dict[str, Fact] = {
        "check": check.spec.type,
        "target": printable_once(check.spec.where),
        "result": result.reason,
        "detail": printable(result.detail),
        "passed": passed,
        "probe": result.probe,
        "duration_s": result.duration_s,
    }
    if not passed:
        facts |= {"failures": event.failures, "sent": printable(result.sent), "received": printable(result.received)}
    return Facts(
        {name: value for name, value in facts.items() if value != "" and (value is not None or name == "passed")}
    )
