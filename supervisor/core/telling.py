"""Makes the values that are told: transitions and the links of the causal chain, in the words operators read.

Pure constructors: `director` decides that something changed, this module says what. No state.
"""

from __future__ import annotations

import math
from typing import assert_never

from supervisor.core.causes import Chain, Chronicle, Kind
from supervisor.core.health import Check
from supervisor.core.override import Override
from supervisor.core.realserver import RealServerState
from supervisor.core.table import AddDestination, ChangeDestination, DeleteDestination, Destination
from supervisor.core.transitions import (
    AdminChanged,
    CheckChanged,
    CheckFailed,
    QuorumChanged,
    RealServerChanged,
    RealServerRemoved,
    SorryChanged,
    Transition,
    VirtualServerRemoved,
    WeightChanged,
)
from supervisor.core.virtualserver import VirtualServerState
from supervisor.model import Endpoint
from supervisor.wording import counted

CHAIN_MAX_LINKS = 12
"""A chain that a refusing kernel keeps answering stops growing here; the beginning is what matters."""


def probe_chain(
    chronicle: Chronicle, server: RealServerState, check: Check, now: float, previous: float, *, turned: bool = True
) -> Chain:
    """Begin the chain of a changed check: the probe and what it meant. `previous` is since when the old level stood.

    `turned` False: only what it says of the weight has changed.
    """
    result, spec = check.result, check.spec
    where = f" of {spec.where}" if spec.where else ""
    if result is None:
        chain = chronicle.begin(now, Kind.PROBE, "the worker's full state said so", target=spec.where)
    else:
        chain = chronicle.begin(
            now,
            Kind.PROBE,
            f"{spec.type}{where}: {result.reason} {result.detail}".rstrip(),
            probe=result.probe,
            reason=result.reason,
            detail=result.detail,
            sent=result.sent,
            received=result.received,
            duration_s=round(result.duration_s, 6),
        )
    if not turned:
        text = (
            "it says nothing of the weight any more" if check.weight is None else f"it speaks of weight {check.weight}"
        )
    elif check.passes and spec.schedule.rise > 1:
        text = f"{spec.schedule.rise} successes in a row bring this check up"
    elif check.passes:
        text = "one success brings a check up"
    else:
        text = f"failed {counted(check.failures, 'time')} in a row, {counted(spec.schedule.retry, 'retry is', 'retries are')} allowed"
        if check.failures <= spec.schedule.retry:
            text = "it failed before it ever passed, and then has no retries"
    return chronicle.extend(
        chain,
        now,
        Kind.CHECK,
        f"check {spec.type} of {server.spec.endpoint} is {check.health.value}: {text}",
        failures=check.failures,
        retry=spec.schedule.retry,
        previous_state_s=round(now - previous, 3),
    )


def server_chain(chronicle: Chronicle, chain: Chain, server: RealServerState, now: float) -> Chain:
    """Add the link of a real server that changed, and the operator's wish that stands over it, if there is one."""
    word = "UP" if server.live else "DOWN"
    text = f"real server {server.spec.endpoint} is {word}"
    chain = chronicle.extend(chain, now, Kind.REAL_SERVER, text, weight=server.effective_weight)
    wish = server.override
    if wish is None:
        return chain
    return chronicle.extend(
        chain,
        now,
        Kind.OPERATOR,
        f"and still {_said(wish)}",
        weight=server.effective_weight,
        by=wish.by,
        reason=wish.reason,
    )


def operator_chain(
    chronicle: Chronicle,
    server: RealServerState,
    wish: Override | None,
    before: Override | None,
    now: float,
    *,
    expired: bool,
) -> Chain:
    """Begin the chain of what an operator's wish changed; `wish` None: it ended, by a word or by its time (`expired`)."""
    told = wish or before or Override()
    what = "the time is over of:" if expired else "it is over:" if wish is None else ""
    text = f"{what} {_said(told)}".strip()
    return chronicle.begin(now, Kind.OPERATOR, text, weight=server.effective_weight, by=told.by, reason=told.reason)


def _said(wish: Override) -> str:
    """Return what somebody wanted, who it was and why."""
    reason = f" ({wish.reason})" if wish.reason else ""
    return f"{wish.text}, said {wish.by or 'an operator'}{reason}"


def quorum_chain(chronicle: Chronicle, chain: Chain, virtual_server: VirtualServerState, now: float) -> Chain:
    """Add the link of a quorum that changed."""
    spec = virtual_server.spec
    word = "gained" if virtual_server.quorate else "lost"
    text = (
        f"quorum of {spec.key} {word}: live weight {virtual_server.weight_up},"
        f" quorum {spec.quorum} with hysteresis {spec.hysteresis}"
    )
    return chronicle.extend(
        chain,
        now,
        Kind.QUORUM,
        text,
        weight_up=virtual_server.weight_up,
        quorum=spec.quorum,
        hysteresis=spec.hysteresis,
    )


def write_chain(
    chronicle: Chronicle,
    chain: Chain,
    now: float,
    op: AddDestination | ChangeDestination | DeleteDestination,
    error: str,
    duration_s: float,
) -> Chain:
    """Add the kernel's answer to an operation on a destination; `error` is an errno's name or empty."""
    name = type(op).__name__
    weight = None if isinstance(op, DeleteDestination) else op.destination.weight
    return chronicle.extend_together(
        chain[:CHAIN_MAX_LINKS],
        now,
        Kind.KERNEL_WRITE,
        f"NOT {_done(op)}: the kernel says {error}" if error else _done(op),
        operation=name,
        weight=weight,
        result=error or "ok",
        duration_s=round(duration_s, 6),
    )


def _done(op: AddDestination | ChangeDestination | DeleteDestination) -> str:
    """Return what an operation makes of a destination."""
    match op:
        case AddDestination():
            return f"taken in with weight {op.destination.weight}"
        case ChangeDestination():
            return f"given weight {op.destination.weight}"
        case DeleteDestination():
            return "taken out of the table"
        case _:
            assert_never(op)


def read_chain(chronicle: Chronicle, chain: Chain, now: float, found: Destination | None) -> Chain:
    """Add what was read back after a write."""
    text = f"read back: weight {found.weight}" if found else "read back: not in the table"
    return chronicle.extend_together(chain, now, Kind.READ_BACK, text, weight=found.weight if found else None)


def retry_consumed(virtual_server: VirtualServerState, server: RealServerState, check: Check) -> CheckFailed:
    """A failed probe that changed nothing yet."""
    result = check.result
    return CheckFailed(
        cause=server.why[-1].id,
        virtual_server=virtual_server.spec.key,
        real_server=server.spec.endpoint,
        check=check.spec.type,
        reason=result.reason if result else "",
        detail=result.detail if result else "",
        attempt=check.failures,
        retry=check.spec.schedule.retry,
        log=check.spec.log_all_failures,
        group=virtual_server.spec.group,
        group_use=virtual_server.spec.group_use,
        follower=virtual_server.spec.follower,
    )


def check_changed(
    virtual_server: VirtualServerState, server: RealServerState, check: Check, chain: Chain
) -> CheckChanged:
    """A check let its real server in, or took it out."""
    result = check.result
    return CheckChanged(
        cause=chain[-1].id,
        virtual_server=virtual_server.spec.key,
        real_server=server.spec.endpoint,
        check=check.spec.type,
        up=check.passes,
        reason=result.reason if result else "",
        detail=result.detail if result else "",
        real_server_up=server.live,
        mail=server.spec.mail,
        target=check.spec.target,
        group=virtual_server.spec.group,
        group_use=virtual_server.spec.group_use,
        follower=virtual_server.spec.follower,
    )


def real_server_changed(
    virtual_server: VirtualServerState,
    server: RealServerState,
    check: Check | None,
    *,
    was: str,
    previous_state_s: float,
    weight_old: int | None,
    at_start: bool = False,
) -> RealServerChanged:
    """A real server went up or down, by a check, or (check None) by a new configuration, or is up from the start."""
    result = check.result if check else None
    return RealServerChanged(
        cause=server.why[-1].id,
        virtual_server=virtual_server.spec.key,
        real_server=server.spec.endpoint,
        up=server.live,
        was=was,
        check=check.spec.type if check else "",
        reason=result.reason if result else "",
        detail=result.detail if result else "",
        failures=check.failures if check else 0,
        retry=check.spec.schedule.retry if check else 0,
        duration_s=result.duration_s if result else 0.0,
        previous_state_s=previous_state_s,
        weight_old=weight_old,
        weight_new=virtual_server.weight_of(server),
        up_left=virtual_server.servers_up,
        weight_left=virtual_server.weight_up,
        quorum=virtual_server.spec.quorum,
        mail=server.spec.mail,
        target=check.spec.target if check else None,
        group=virtual_server.spec.group,
        group_use=virtual_server.spec.group_use,
        follower=virtual_server.spec.follower,
        script=server.spec.notify_up if server.live else server.spec.notify_down,
        at_start=at_start,
    )


def weight_changed(
    virtual_server: VirtualServerState, server: RealServerState, check: Check, weight_old: int
) -> WeightChanged:
    """A live real server got another weight from one of its checks."""
    result = check.result
    return WeightChanged(
        cause=server.why[-1].id,
        virtual_server=virtual_server.spec.key,
        real_server=server.spec.endpoint,
        check=check.spec.type,
        reason=result.reason if result else "",
        detail=result.detail if result else "",
        weight_old=weight_old,
        weight_new=server.effective_weight,
        weight_left=virtual_server.weight_up,
        quorum=virtual_server.spec.quorum,
        group=virtual_server.spec.group,
        group_use=virtual_server.spec.group_use,
        follower=virtual_server.spec.follower,
    )


def admin_changed(
    virtual_server: VirtualServerState,
    server: RealServerState,
    told: Override,
    now: float,
    weight_old: int | None,
    *,
    expired: bool,
) -> AdminChanged:
    """An operator's wish began, changed or ended; `told` is the one that holds, or the one that ended."""
    spec, holds = virtual_server.spec, server.override
    return AdminChanged(
        cause=server.why[-1].id,
        virtual_server=spec.key,
        real_server=server.spec.endpoint,
        admin=server.admin.value,
        weight=holds.weight if holds else None,
        reason=told.reason,
        by=told.by,
        expires_s=holds.until - now if holds and holds.until < math.inf else None,
        expired=expired,
        weight_old=weight_old,
        weight_new=virtual_server.weight_of(server),
        weight_left=virtual_server.weight_up,
        quorum=spec.quorum,
        group=spec.group,
        group_use=spec.group_use,
        follower=spec.follower,
    )


def quorum_changed(
    virtual_server: VirtualServerState, chain: Chain, *, at_start: bool = False, by_configuration: bool = False
) -> QuorumChanged:
    """A virtual server gained or lost its quorum."""
    spec = virtual_server.spec
    return QuorumChanged(
        cause=chain[-1].id,
        virtual_server=spec.key,
        up=virtual_server.quorate,
        weight_up=virtual_server.weight_up,
        quorum=spec.quorum,
        hysteresis=spec.hysteresis,
        servers_up=virtual_server.servers_up,
        servers_total=len(virtual_server.real_servers),
        sorry_server=spec.sorry_server.endpoint if spec.sorry_server else None,
        at_start=at_start,
        mail=spec.mail,
        group=spec.group,
        group_use=spec.group_use,
        follower=spec.follower,
        script=spec.quorum_up if virtual_server.quorate else spec.quorum_down,
        by_configuration=by_configuration,
    )


def sorry_changed(virtual_server: VirtualServerState, before: Endpoint | None, cause: int) -> list[Transition]:
    """What to tell when the sorry server in service was `before` and is now another one, or none."""
    after = virtual_server.sorry_in_service
    if after == before:
        return []
    spec = virtual_server.spec
    changes = ((before, False), (after, True))
    return [
        SorryChanged(
            cause,
            spec.key,
            endpoint,
            active=active,
            group=spec.group,
            group_use=spec.group_use,
            follower=spec.follower,
        )
        for endpoint, active in changes
        if endpoint is not None
    ]


def removed(virtual_server: VirtualServerState, server: RealServerState, *, stopping: bool) -> RealServerRemoved:
    """A real server left with a reload, or with the whole program."""
    spec, in_service = virtual_server.spec, server.live and not virtual_server.sorry_active
    return RealServerRemoved(
        spec.key,
        server.spec.endpoint,
        stopping=stopping,
        mail=server.spec.mail,
        group=spec.group,
        group_use=spec.group_use,
        follower=spec.follower,
        script=server.spec.notify_down if in_service else None,
        in_service=in_service,
    )


def virtual_server_removed(virtual_server: VirtualServerState, *, stopping: bool) -> VirtualServerRemoved:
    """A virtual server left with a reload, or with the whole program."""
    spec = virtual_server.spec
    return VirtualServerRemoved(
        spec.key,
        stopping=stopping,
        mail=spec.mail and not stopping,
        quorum=spec.quorum,
        hysteresis=spec.hysteresis,
        group=spec.group,
        group_use=spec.group_use,
        follower=spec.follower,
        script=spec.quorum_down,
    )
