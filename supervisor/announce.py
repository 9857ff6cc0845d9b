"""Says in the log what the core told: one transition, one event, one English sentence. Nothing is decided here."""

from __future__ import annotations

from typing import assert_never

from supervisor.core.transitions import (
    CheckChanged,
    CheckFailed,
    QuorumChanged,
    RealServerChanged,
    RealServerRemoved,
    SorryChanged,
    Transition,
)
from supervisor.log import Log


def announce(transition: Transition, log: Log) -> None:
    """Write `transition` into the log. Never blocks."""
    match transition:
        case RealServerChanged():
            _real_server_changed(transition, log)
        case CheckChanged():
            _check_changed(transition, log)
        case QuorumChanged():
            _quorum_changed(transition, log)
        case SorryChanged():
            _sorry_changed(transition, log)
        case CheckFailed():
            _check_failed(transition, log)
        case RealServerRemoved():
            reason = "stop" if transition.stopping else "reload"
            log.emit(
                "real_server.removed",
                f"Server {transition.real_server} of {transition.virtual_server} was removed by the {reason}.",
                virtual_server=transition.virtual_server,
                real_server=transition.real_server,
                reason=reason,
                stopping=transition.stopping,
            )
        case _:
            assert_never(transition)


def _real_server_changed(changed: RealServerChanged, log: Log) -> None:
    word = "UP" if changed.up else "DOWN"
    because = f", reason: {changed.reason} {changed.detail}".rstrip() if changed.check else ", by a new configuration"
    took = f", check duration: {changed.duration_s * 1000:.0f}ms" if changed.check else ""
    log.emit(
        "real_server.state_changed",
        f"Server {changed.real_server} of {changed.virtual_server} is {word}{because}{took}."
        f" {changed.up_left} active servers left with weight {changed.weight_left}.",
        virtual_server=changed.virtual_server,
        real_server=changed.real_server,
        **{"from": changed.was, "to": word},
        cause="check" if changed.check else "config",
        cause_id=changed.cause,
        check=changed.check,
        result=changed.reason,
        detail=changed.detail,
        failures=changed.failures,
        threshold=changed.retry + 1,
        duration_s=changed.duration_s,
        previous_state_s=changed.previous_state_s,
        weight_old=changed.weight_old,
        weight_new=changed.weight_new,
        up_left=changed.up_left,
        weight_left=changed.weight_left,
        quorum=changed.quorum,
    )


def _check_changed(changed: CheckChanged, log: Log) -> None:
    word = "passes" if changed.up else "fails"
    log.emit(
        "check.changed",
        f"{changed.check} of {changed.real_server} for {changed.virtual_server} {word}: {changed.reason} {changed.detail}".rstrip(),
        virtual_server=changed.virtual_server,
        real_server=changed.real_server,
        check=changed.check,
        result=changed.reason,
        detail=changed.detail,
        up=changed.up,
        real_server_up=changed.real_server_up,
        cause_id=changed.cause,
    )


def _check_failed(failed: CheckFailed, log: Log) -> None:
    """The first failure of a run, then each doubling: enough to see it coming, no flood. `log` asks for every one."""
    if not failed.log and failed.attempt & (failed.attempt - 1):
        return
    log.emit(
        "real_server.check_failed",
        f"{failed.check} of {failed.real_server} for {failed.virtual_server} failed, attempt {failed.attempt}"
        f" of {failed.retry + 1}: {failed.reason} {failed.detail}".rstrip(),
        virtual_server=failed.virtual_server,
        real_server=failed.real_server,
        check=failed.check,
        result=failed.reason,
        detail=failed.detail,
        attempt=failed.attempt,
        retries=failed.retry,
        cause_id=failed.cause,
    )


def _quorum_changed(changed: QuorumChanged, log: Log) -> None:
    word = "gained" if changed.up else "lost"
    start = "Starting: " if changed.at_start else ""
    log.emit(
        f"virtual_server.quorum_{word}",
        f"{start}Virtual server {changed.virtual_server} {word} its quorum: weight {changed.weight_up}, quorum"
        f" {changed.quorum} with hysteresis {changed.hysteresis}, {changed.servers_up} of {changed.servers_total} servers up.",
        virtual_server=changed.virtual_server,
        sorry_server=changed.sorry_server,
        weight_up=changed.weight_up,
        quorum=changed.quorum,
        hysteresis=changed.hysteresis,
        servers_up=changed.servers_up,
        servers_total=changed.servers_total,
        cause_id=changed.cause,
        at_start=changed.at_start,
    )


def _sorry_changed(changed: SorryChanged, log: Log) -> None:
    event, word = (
        ("virtual_server.sorry_on", "steps in") if changed.active else ("virtual_server.sorry_off", "steps back")
    )
    log.emit(
        event,
        f"Sorry server {changed.sorry_server} of {changed.virtual_server} {word}.",
        virtual_server=changed.virtual_server,
        sorry_server=changed.sorry_server,
        cause_id=changed.cause,
    )
