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

HEALTH = {WireHealth.UNKNOWN: Health.UNKNOWN, WireHealth.UP: Health.UP, WireHealth.DOWN: Health.DOWN}
"""The wire's numbers of health and the core's own values."""


_NEVER = 0.0
"""There is no certificate that could end (`Result.expires_at`)."""


def event_of(level: wire.Report | wire.StateEntry, result: wire.ReportResult | None) -> CheckReported:
    """Return what a worker said of a job as an event."""
    told = None
    if result is not None:
        # of thousands that are well the words and the absence of a certificate are one object
        texts = sys.intern(result.detail), result.sent, result.received
        duration_s = round(result.duration_s, 6)  # here, so that history has no other than the check
        told = Result(result.probe, result.reason.name, *texts, duration_s, result.expires_at or _NEVER)
    probes = level.probes if isinstance(level, wire.StateEntry) else told.probe if told is not None else 0
    return CheckReported(level.job, HEALTH[level.health], level.edges, level.failures, told, level.weight, probes)


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
