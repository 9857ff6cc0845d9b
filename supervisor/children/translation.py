"""Between the words of the workers and those of the core: a check as a job, a report as an event. Pure."""

from __future__ import annotations

import json
import sys
from typing import assert_never

from checkers.kit import wire
from checkers.kit.api import Health as WireHealth
from supervisor.core.events import CheckReported, Health, Result, SentinelReported
from supervisor.core.jobs import definition
from supervisor.model import CheckSpec

HEALTH = tuple(Health[health.name] for health in WireHealth)
"""The core's own value of health by the wire's number of it."""

_NEVER = 0.0
"""There is no certificate that could end (`Result.expires_at`)."""


def level_of(entry: wire.StateEntry) -> CheckReported:
    """Return an entry of a full state as a report without a result."""
    return CheckReported(entry.job, HEALTH[entry.health], entry.edges, entry.failures, None, entry.weight, entry.probes)


def event_of(report: wire.Report) -> CheckReported:
    """Return what a worker said of a probe as an event."""
    told, result = None, report.result
    if result is not None:
        # of thousands that are well the words and the absence of a certificate are one object
        texts = sys.intern(result.detail), result.sent, result.received
        duration_s = round(result.duration_s, 6)  # here, so that history has no other than the check
        told = Result(result.probe, result.reason.name, *texts, duration_s, result.expires_at or _NEVER)
    probes = 0 if told is None else told.probe
    return CheckReported(report.job, HEALTH[report.health], report.edges, report.failures, told, report.weight, probes)


def sentinel_event_of(told: wire.SentinelTold) -> SentinelReported:
    """Return what a worker said of a sentinel as an event."""
    age = f"{told.age_s:.1f}".removesuffix(".0")
    match told.state:
        case wire.SentinelState.FINE:
            trouble = ""
        case wire.SentinelState.CLOSED:
            trouble = f"given up, closes idle connections after {age} s"
        case wire.SentinelState.ENDS:
            trouble = f"given up, ended again and again with the server, last after {age} s"
        case wire.SentinelState.TALKS:
            trouble = "given up, the server talks without being asked"
        case wire.SentinelState.CROWDS:
            trouble = "given up, the server has no place for an idle connection beside others"
        case wire.SentinelState.MUTE:
            trouble = "given up, the server does not notice who leaves, so whether it has a place for one is not known"
        case _:
            assert_never(told.state)
    return SentinelReported(told.job, trouble)


def job_of(spec: CheckSpec, number: int, health: Health, weight: int | None = None) -> wire.Job:
    """Return a check as a worker gets it; `health` and `weight` are what the director believes of it now."""
    schedule = spec.schedule
    return wire.Job(
        id=number,
        type=spec.type,
        address=str(spec.target.address),
        port=spec.target.port,
        bind_address=str(spec.bind_address) if spec.bind_address else "",
        bind_port=spec.bind_port,
        bind_interface=spec.bind_interface,
        mark=spec.mark,
        rise=schedule.rise,
        sentinel=spec.sentinel,
        fast_retry=spec.fast_retry,
        fast_interval=schedule.fast_interval,
        down_interval=schedule.down_interval,
        idle_interval=schedule.idle_interval,
        options=json.loads(spec.options_json),
        delay_loop=schedule.delay_loop,
        retry=schedule.retry,
        delay_before_retry=schedule.delay_before_retry,
        connect_timeout=schedule.connect_timeout,
        warmup=schedule.warmup,
        alpha=spec.alpha,
        log_all_failures=spec.log_all_failures,
        health=WireHealth[health.name],
        weight=weight,
        definition=definition(spec),
    )
