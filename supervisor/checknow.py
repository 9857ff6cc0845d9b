"""Probes real servers now because an operator wants to see it: check-now.

Such a probe has no consequence (`checkers.kit.beside`): whoever looks changes nothing, and the schedule goes on undisturbed. It costs
the director and the server as much as any probe, so it is bounded: CHECKS_MAX checks a request, SIDE_BY_SIDE at once, one every
PACE_S whoever asks, and no check again before AGAIN_S have passed. What a worker says of it is hostile input, read by `checkers.kit.wire`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import trio

from checkers.kit import wire
from checkers.kit.api import INCONCLUSIVE, PASSED, Reason
from checkers.kit.frozen import frozen
from checkers.kit.transcript import StepKind
from supervisor import selection
from supervisor.admin.access import Caller
from supervisor.admin.desk import Verb
from supervisor.admin.protocol import RequestError, Status
from supervisor.children.requests import TooMany
from supervisor.core.director import Director
from supervisor.core.entry import printable
from supervisor.model import CheckSpec

CHECKS_MAX = 32
"""Checks that one request may have probed: a real server with all its checks, or a few of them."""

SIDE_BY_SIDE = 4
"""Probes on request at once, whoever asks: a thirtieth of what is let in at once on schedule (checkers.kit.gate)."""

PACE_S = 0.05
"""The least time between two: twenty a second is one more probe in a hundred where 10,000 servers are checked every six seconds."""

LAST_MAX = 256
"""Checks whose last probe on request is remembered, each with at most two texts of `entry.TEXT_MAX` characters: half a megabyte."""

AGAIN_S = 1.0
"""So long a check is left in peace after it was probed on request."""

LIMIT_S = 60.0
"""How long a request may take; a probe that lasts longer is not waited for (a script may: its misc_timeout is the file's business)."""

SLOW_S = 5.0
"""Beyond the time limit of a check, how long is waited for its worker to say what came of it."""


@frozen
class _Wanted:
    """One check to be probed, and where it counts."""

    job: int
    spec: CheckSpec
    health: str
    places: tuple[str, ...]


@frozen
class Seen:
    """What the last probe on request of a check saw. `at` is trio's time; `passed` None: it says nothing of the server."""

    at: float
    passed: bool | None
    reason: str
    detail: str
    duration_s: float
    sent: str
    received: str


class CanProbe(Protocol):
    """The checkers, as far as this verb goes."""

    async def probe(self, job: int) -> wire.Probed | None:
        """Have a job probed and return what was seen, None when nobody can tell. Raises TooMany."""


class CheckNow:
    """The verb. `pool` is who has a job probed."""

    def __init__(self, director: Callable[[], Director], pool: Callable[[], CanProbe]) -> None:
        self._director = director
        self._pool = pool
        self._places = trio.CapacityLimiter(SIDE_BY_SIDE)
        self._next_at = 0.0
        self._again_at: dict[int, float] = {}
        self._last: dict[CheckSpec, Seen] = {}  # the oldest first

    def verbs(self) -> dict[str, Verb]:
        """Return it by its name. It makes traffic, so whoever may only look may not say it."""
        return {"check-now": Verb(self._act, limit_s=LIMIT_S)}

    def last(self, spec: CheckSpec) -> Seen | None:
        """Return what the last probe on request of a check saw, None when nobody asked or it was too long ago."""
        return self._last.get(spec)

    def _remember(self, spec: CheckSpec, seen: wire.Probed) -> None:
        result = seen.result
        if result is None:
            return
        passed = None if result.reason in INCONCLUSIVE else result.reason in PASSED
        sent, received = (_passed_over(seen.steps, kind) for kind in (StepKind.SENT, StepKind.RECEIVED))
        self._last.pop(spec, None)
        self._last[spec] = Seen(
            trio.current_time(), passed, result.reason.name, result.detail, result.duration_s, sent, received
        )
        if len(self._last) > LAST_MAX:
            del self._last[next(iter(self._last))]

    async def _act(self, args: dict[str, Any], _caller: Caller) -> Any:
        trace = selection.yes(args, "trace")
        wanted = self._wanted(args)
        answers: dict[int, dict[str, Any]] = {}

        async def look(one: _Wanted) -> None:
            answers[one.job] = _answer(one, await self._seen(one), trace=trace)

        async with trio.open_nursery() as nursery:
            for one in wanted:
                nursery.start_soon(look, one)
        return {"checks": [answers[one.job] for one in wanted]}

    def _wanted(self, args: dict[str, Any]) -> list[_Wanted]:
        """Return what is meant. Raises RequestError, also when it was probed on request just now."""
        director, now = self._director(), trio.current_time()
        found: dict[int, list[str]] = {}
        specs: dict[int, tuple[CheckSpec, str]] = {}
        for virtual_server, server in selection.real_servers(director, args):
            for check in server.checks:
                job = director.jobs.jobs[check.spec]
                specs[job] = check.spec, check.health.value
                found.setdefault(job, []).append(f"{server.spec.endpoint} in {virtual_server.spec.key}")
        if not found:
            raise RequestError("no checks are configured for it", Status.NOT_FOUND)
        if len(found) > CHECKS_MAX:
            raise RequestError(f"that is {len(found)} checks, and {CHECKS_MAX} is the most at once", Status.REFUSED)
        self._again_at = {job: at for job, at in self._again_at.items() if at > now}
        early = max((self._again_at.get(job, now) for job in found), default=now) - now
        if early > 0:
            raise RequestError(f"probed on request just now; ask again in {early:.1f} s", Status.REFUSED)
        return [_Wanted(job, *specs[job], tuple(places)) for job, places in found.items()]

    async def _seen(self, one: _Wanted) -> wire.Probed | str:
        """Have it probed when its turn comes; return what was seen, or why nothing was."""
        if one.spec.bind_port:
            return "its bind_port is for one probe at a time, and that is the schedule's"
        async with self._places:
            now = trio.current_time()
            self._next_at = max(self._next_at, now) + PACE_S
            self._again_at[one.job] = self._next_at + AGAIN_S
            await trio.sleep_until(self._next_at - PACE_S)
            try:
                with trio.move_on_after(_longest_s(one.spec) + SLOW_S):
                    seen = await self._pool().probe(one.job)
                    if seen is None:
                        return "its checker worker is not there now, or does not have it any more"
                    self._remember(one.spec, seen)
                    return seen
            except TooMany as error:
                return f"{error}; ask again"
        return "its checker worker has said nothing of it in time"


def _passed_over(steps: Iterable[wire.Step], kind: StepKind) -> str:
    """Return what was sent, or received, as the history writes it."""
    return printable("\n".join(step.text for step in steps if step.kind is kind))


def _longest_s(spec: CheckSpec) -> float:
    """How long the probe may take: each url has its own limit."""
    urls = spec.options_json.count('"path":') if '"url":' in spec.options_json else 1
    return spec.schedule.connect_timeout * max(urls, 1)


def _answer(one: _Wanted, seen: wire.Probed | str, *, trace: bool) -> dict[str, Any]:
    result = None if isinstance(seen, str) else seen.result
    answer: dict[str, Any] = {
        "type": one.spec.type,
        "target": one.spec.where,
        "real_servers": list(one.places),
        "health": one.health,
        "result": None,
        "trouble": "",
    }
    if isinstance(seen, str) or result is None:
        return {**answer, "trouble": seen if isinstance(seen, str) else "a new configuration has no such check"}
    answer["result"] = {
        "ok": result.reason in PASSED,
        "reason": result.reason.name,
        "detail": result.detail,
        "duration_s": round(result.duration_s, 6),
        "weight": seen.weight,
        "rule": rule(one.spec, result.reason),
    }
    return {**answer, "steps": _steps(seen.steps)} if trace else answer


def _steps(steps: Iterable[wire.Step]) -> list[dict[str, Any]]:
    return [
        {"at_s": round(step.at_s, 6), "kind": step.kind.name, "size_bytes": step.size_bytes, "text": step.text}
        for step in steps
    ]


def rule(spec: CheckSpec, reason: Reason) -> str:
    """Return the rule that a probe went by: what its server had to do, and did not."""
    limit = f"{spec.schedule.connect_timeout:g} s"
    return _RULES[reason].format(limit=limit, type=spec.type)


_RULES: dict[Reason, str] = {
    Reason.NONE: "",
    Reason.L4OK: "the server takes the connection within {limit} (connect_timeout)",
    Reason.L4CON: "the server takes the connection",
    Reason.L4TOUT: "the server takes the connection within {limit} (connect_timeout)",
    Reason.L6RSP: "the TLS handshake succeeds, with a certificate as the check wants it",
    Reason.L6TOUT: "the TLS handshake is done within {limit} (connect_timeout)",
    Reason.L7OK: "the answer is as the check wants it, within {limit} (connect_timeout)",
    Reason.L7STS: "the answer's status is one that the check accepts (status_code of HTTP; a reply code, a response code)",
    Reason.L7RSP: "the answer is a whole and valid one of its protocol",
    Reason.L7BODY: "the body fits digest, body_length and regex",
    Reason.L7TOUT: "the answer is complete within {limit} (connect_timeout)",
    Reason.LOCAL: "none: this director could not try, which says nothing of the server",
    Reason.LATE: "none: this director was late itself, which says nothing of the server",
    Reason.CRASHED: "none: a bug in {type}, which says nothing of the server",
    Reason.PROCOK: "the script succeeds by its exit status, within {limit} (misc_timeout)",
    Reason.PROCERR: "the script succeeds by its exit status",
    Reason.PROCTOUT: "the script is done within {limit} (misc_timeout)",
    Reason.FILEOK: "the file's value is that of a healthy server",
    Reason.FILEERR: "the file's value is that of a healthy server",
}
