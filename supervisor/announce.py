"""Says in the log what happened: transitions of the core, configurations, what the writer and the addresses met.

One event of the log's catalogue each, with one English sentence. Nothing is decided here, and nothing here ever waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from supervisor.admin.desk import Requested
from supervisor.config import Outcome, Severity
from supervisor.core.changes import Changes
from supervisor.core.transitions import (
    AdminChanged,
    CheckChanged,
    CheckFailed,
    Drained,
    HoldChanged,
    QuorumChanged,
    RealServerChanged,
    RealServerRemoved,
    SelfBlame,
    SorryChanged,
    SuspensionChanged,
    Transition,
    VirtualServerRemoved,
    WeightChanged,
)
from supervisor.ipvs.dryrun import Disagreement
from supervisor.log import Log
from supervisor.model import Config, IPAddress, ServiceKey
from supervisor.wording import counted, lasting


def transition(told: Transition, log: Log) -> None:  # noqa: C901, PLR0912  a branch for each kind
    """Say one transition of the core."""
    match told:
        case RealServerChanged():
            if not told.at_start:  # that it starts as UP is no change worth a line
                _real_server_changed(told, log)
        case CheckChanged():
            _check_changed(told, log)
        case WeightChanged():
            _weight_changed(told, log)
        case QuorumChanged():
            _quorum_changed(told, log)
        case SorryChanged():
            _sorry_changed(told, log)
        case AdminChanged():
            _admin_changed(told, log)
        case Drained():
            _drained(told, log)
        case HoldChanged():
            _hold_changed(told, log)
        case SelfBlame():
            _self_blame(told, log)
        case SuspensionChanged():
            _suspension_changed(told, log)
        case CheckFailed():
            _check_failed(told, log)
        case RealServerRemoved():
            _removed(told, log)
        case VirtualServerRemoved():
            pass  # its real servers say it, and the reload or the stop
        case _:
            assert_never(told)


def _real_server_changed(changed: RealServerChanged, log: Log) -> None:
    word = "UP" if changed.up else "DOWN"
    because = f", reason: {changed.reason} {changed.detail}".rstrip() if changed.check else ", by a new configuration"
    took = f", check duration: {changed.duration_s * 1000:.0f}ms" if changed.check else ""
    log.emit(
        "real_server.state_changed",
        f"Server {changed.real_server} of {changed.virtual_server} is {word}{because}{took}."
        f" {counted(changed.up_left, 'active server')} left with weight {changed.weight_left}.",
        **_probe(changed),
        **{"from": changed.was, "to": word},
        cause="check" if changed.check else "config",
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


def _probe(told: RealServerChanged | CheckChanged | CheckFailed | WeightChanged) -> dict[str, object]:
    """Return the fields that every event about a probe has."""
    return {
        "virtual_server": told.virtual_server,
        "real_server": told.real_server,
        "check": told.check,
        "result": told.reason,
        "detail": told.detail,
        "cause_id": told.cause,
    }


def _check_changed(changed: CheckChanged, log: Log) -> None:
    word = "passes" if changed.up else "fails"
    log.emit(
        "check.changed",
        f"{changed.check} of {changed.real_server} for {changed.virtual_server} {word}: {changed.reason} {changed.detail}".rstrip(),
        **_probe(changed),
        up=changed.up,
        real_server_up=changed.real_server_up,
    )


def _weight_changed(changed: WeightChanged, log: Log) -> None:
    log.emit(
        "real_server.weight_changed",
        f"Server {changed.real_server} of {changed.virtual_server} has weight {changed.weight_new} instead of {changed.weight_old},"
        f" as {changed.check} says: {changed.reason} {changed.detail}".rstrip()
        + ".",
        **_probe(changed),
        weight_old=changed.weight_old,
        weight_new=changed.weight_new,
        weight_left=changed.weight_left,
        quorum=changed.quorum,
    )


def _check_failed(failed: CheckFailed, log: Log) -> None:
    """The first failure of a run, then each doubling: enough to see it coming, no flood. `log` asks for every one."""
    if not failed.log and failed.attempt & (failed.attempt - 1):
        return
    log.emit(
        "real_server.check_failed",
        f"{failed.check} of {failed.real_server} for {failed.virtual_server} failed, attempt {failed.attempt}"
        f" of {failed.retry + 1}: {failed.reason} {failed.detail}".rstrip(),
        **_probe(failed),
        attempt=failed.attempt,
        retries=failed.retry,
    )


def _quorum_changed(changed: QuorumChanged, log: Log) -> None:
    word = "gained" if changed.up else "lost"
    start = "Starting: " if changed.at_start else ""
    log.emit(
        f"virtual_server.quorum_{word}",
        f"{start}Virtual server {changed.virtual_server} {word} its quorum: weight {changed.weight_up}, quorum"
        f" {changed.quorum} with hysteresis {changed.hysteresis}, {changed.servers_up} of {counted(changed.servers_total, 'server')} up.",
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


def _admin_changed(changed: AdminChanged, log: Log) -> None:
    """Say what an operator wants of a real server now. The sentence says who and why."""
    ends = "" if changed.expires_s is None else f" for {lasting(round(changed.expires_s))}"
    weight = "" if changed.weight is None else f" with weight {changed.weight}"
    because = f" ({changed.reason})" if changed.reason else ""
    who = "the end of its time" if changed.expired else changed.by or "an operator"
    log.emit(
        "real_server.admin_changed",
        f"Server {changed.real_server} of {changed.virtual_server} is {changed.admin}{weight}{ends}, by {who}{because}.",
        virtual_server=str(changed.virtual_server),
        real_server=str(changed.real_server),
        admin=changed.admin,
        weight=changed.weight,
        reason=changed.reason,
        by=changed.by,
        expired=changed.expired,
        expires_s=changed.expires_s,
        weight_old=changed.weight_old,
        weight_new=changed.weight_new,
        weight_left=changed.weight_left,
        quorum=changed.quorum,
        cause_id=changed.cause,
    )


def _drained(drained: Drained, log: Log) -> None:
    how = (
        "is empty"
        if drained.in_time
        else f"had its time; {counted(drained.cut_off, 'active connection was', 'active connections were')} cut off"
    )
    log.emit(
        "real_server.drained",
        f"Server {drained.real_server} of {drained.virtual_server}, which left the configuration, {how}"
        f" after {lasting(drained.took_s)} and is out of the table now.",
        virtual_server=str(drained.virtual_server),
        real_server=str(drained.real_server),
        took_s=drained.took_s,
        cut_off=drained.cut_off,
        in_time=drained.in_time,
    )


def _hold_changed(changed: HoldChanged, log: Log) -> None:
    """Say that a real server serves though it is DOWN, or does so no more."""
    fields = {
        "virtual_server": changed.virtual_server,
        "real_server": changed.real_server,
        "held_by": changed.held_by or changed.was,
        "reason": changed.text,
        "result": changed.reason,
        "detail": changed.detail,
        "weight": changed.weight,
        "up_left": changed.up_left,
        "weight_left": changed.weight_left,
        "quorum": changed.quorum,
        "cause_id": changed.cause,
    }
    who = f"Server {changed.real_server} of {changed.virtual_server}"
    if changed.held_by:
        ends = "" if changed.expires_s is None else f" for {lasting(round(changed.expires_s))} at most"
        text = f"{who} is DOWN and stays in service{ends}, {changed.text}. Its last result: {changed.reason} {changed.detail}"
        log.emit("real_server.held", text.rstrip() + ".", **fields, expires_s=changed.expires_s)
    else:
        log.emit("real_server.released", f"{who} is {changed.text}.", **fields)


def _self_blame(told: SelfBlame, log: Log) -> None:
    """Say that the director suspects itself, or does so no more."""
    if told.suspected:
        ends = "" if told.until_s is None else f", for {lasting(round(told.until_s))} at most"
        text = f"This director's own network is suspected, not its real servers: {told.text}. Removals are held{ends}."
        event = "director.self_blame"
    else:
        text = f"This director is no longer suspected, after {lasting(told.since_s)}; no removal is held any more."
        event = "director.self_blame_over"
    log.emit(
        event,
        text,
        reason=told.text,
        held=told.held,
        real_servers=told.real_servers,
        until_s=told.until_s,
        since_s=told.since_s,
    )


def _suspension_changed(changed: SuspensionChanged, log: Log) -> None:
    event, what = (
        ("virtual_server.suspended", "is not on this host: its servers are not checked, and stay as they are")
        if changed.suspended
        else ("virtual_server.resumed", "is on this host: its servers are checked")
    )
    log.emit(event, f"The address of {changed.virtual_server} {what}.", virtual_server=changed.virtual_server)


def _removed(removed: RealServerRemoved, log: Log) -> None:
    reason = "stop" if removed.stopping else "reload"
    log.emit(
        "real_server.removed",
        f"Server {removed.real_server} of {removed.virtual_server} was removed by the {reason}.",
        virtual_server=removed.virtual_server,
        real_server=removed.real_server,
        reason=reason,
        stopping=removed.stopping,
    )


def disagreement(found: Disagreement, log: Log, *, stands: bool) -> None:
    """Say where the kernel's table is not what a dry run would have made it, or that it is now."""
    log.emit(
        "dry_run.disagrees" if stands else "dry_run.agrees",
        f"{found}." if stands else f"No disagreement any more about {found}.",
        virtual_server=found.virtual_server,
        real_server=found.real_server,
        want=found.want,
        have=found.have,
    )


def address(which: IPAddress, state: str, detail: str, log: Log) -> None:
    """Say what became of a virtual address; the states and their details are those of `ipvs.vip`."""
    match state:
        case "conflict":
            text = f"Virtual address {which} was NOT assigned: the machine {detail} answers for it."
            log.emit("address.conflict", text, address=which, mac=detail)
        case "failed":
            log.emit(
                "address.failed", f"Virtual address {which} was NOT assigned: {detail}.", address=which, reason=detail
            )
        case _:
            words = {
                "assigned": f"was assigned on {detail}",
                "present": f"is present on {detail} already and was left alone",
                "released": f"was removed from {detail}",
            }
            log.emit(f"address.{state}", f"Virtual address {which} {words[state]}.", address=which, interface=detail)


def requested(request: Requested, log: Log) -> None:
    """Say what somebody wanted at the admin socket, and what became of it."""
    caller = request.caller
    because = f": {request.reason.rstrip('.?')}" if request.reason else ""
    log.emit(
        "admin.request",
        f"{caller.name} (uid {caller.uid}, pid {caller.pid}) asked: {request.said}; {request.outcome}{because}.",
        verb=request.verb,
        args=request.args,
        uid=caller.uid,
        gid=caller.gid,
        user=caller.user,
        peer_pid=caller.pid,
        outcome=request.outcome,
        reason=request.reason,
        duration_s=request.duration_s,
    )


def rejected(outcome: Outcome, log: Log, *, running: str = "") -> None:
    """Say in the log that a configuration was refused, with its first problem; each other one is a line of its own."""
    errors = [problem for problem in outcome.problems if problem.severity is Severity.ERROR]
    first = errors[0]
    kept = " The configuration before it goes on running." if running else ""
    told = counted(len(errors), "error") + (", the first" if len(errors) > 1 else "")
    log.emit(
        "config.rejected",
        f"The configuration was refused: {told} at {first.file}:{first.line}: {first.message}.{kept}",
        path=first.file,
        line=first.line,
        column=first.column,
        text=first.source_line,
        reason=first.message,
        suggestion=first.suggestion,
        errors=len(errors),
        running_hash=running,
    )


def rejected_as_empty(config: Config, log: Log, *, running: Config) -> str:
    """Say that a file without any virtual server was refused: a truncated file must not take every service down. Return the reason."""
    reason = f"it names no virtual server, and {len(running.virtual_servers)} are running"
    return _rejected_though_valid(config, reason, "stop the daemon to remove all", log, running, " virtual servers")


def rejected_for_want(config: Config, reason: str, log: Log, *, running: Config) -> str:
    """Say that a file was refused because what it needs cannot be loaded: files of the program were replaced. Return the reason."""
    remedy = "restart the daemon: it can read no more of the program that it was started from"
    return _rejected_though_valid(config, reason, remedy, log, running)


def _rejected_though_valid(config: Config, reason: str, remedy: str, log: Log, running: Config, more: str = "") -> str:
    """Say that a file without errors was refused, and return the same for who asked. `more` completes the remedy where it stands alone."""
    log.emit(
        "config.rejected",
        f"The configuration was refused: {reason}. The configuration before it goes on running; {remedy}.",
        path=config.source,
        reason=reason,
        suggestion=f"{remedy}{more}",
        errors=0,
        running_hash=running.digest,
    )
    return f"{config.source}: {reason}; {remedy}"


def rolled_back(base: Config, unconfirmed: str, log: Log) -> None:
    """Say that a configuration was not confirmed in time, and the one before it runs again."""
    log.emit(
        "config.rolled_back",
        f"The configuration {unconfirmed} was not confirmed in time; {base.digest}, which ran before it, runs again."
        " The file is as it was.",
        path=base.source,
        hash=base.digest,
        reason="not confirmed in time",
        running_hash=unconfirmed,
    )


def loaded(outcome: Outcome, log: Log, changes: Changes | None = None) -> None:
    """Say in the log that a configuration was loaded, and what it changes; each warning is a line of its own."""
    config = outcome.config
    assert config is not None
    servers = config.virtual_servers
    changes = changes or Changes(virtual_servers_added=tuple(vs.key for vs in servers))
    for problem in outcome.problems:
        if problem.severity is Severity.WARNING:
            log.emit(
                "config.warning",
                f"{problem.file}:{problem.line}: {problem.message}",
                path=problem.file,
                line=problem.line,
                column=problem.column,
                text=problem.source_line,
                reason=problem.message,
                suggestion=problem.suggestion,
            )
    log.emit(
        "config.loaded",
        f"Configuration {config.source} loaded: {counted(len(servers), 'virtual server')}.",
        path=config.source,
        hash=config.digest,
        files=len(outcome.files),
        added=len(changes.virtual_servers_added),
        changed=len(changes.virtual_servers_changed),
        removed=len(changes.virtual_servers_removed),
        warnings=config.warnings,
        virtual_servers=len(servers),
        real_servers=sum(len(vs.real_servers) for vs in servers),
    )


def abandoned(services: Mapping[ServiceKey, bool], log: Log) -> None:
    """Say which services left the configuration while nobody ran; True: they are still ours and go."""
    for key, ours in services.items():
        fate = "it was ours and is taken out of the kernel" if ours else "others have put servers there, so it stays"
        log.emit(
            "state.abandoned",
            f"Virtual server {key} left the configuration since the last run: {fate}.",
            virtual_server=key,
            taken_out=ours,
        )
