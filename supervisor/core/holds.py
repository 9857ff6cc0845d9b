"""Who of a virtual server is held in service though DOWN: what `blame` and `guard` say, made true, and told once for each change.

The suspicion against the director comes first, because it doubts the verdicts themselves; the guard then looks at what is left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from supervisor.core import badness, guard, telling
from supervisor.core.causes import Chain, Chronicle, Kind
from supervisor.core.events import Health
from supervisor.core.hold import HeldBy, Hold
from supervisor.core.pools import Pools
from supervisor.core.realserver import RealServerState
from supervisor.core.transitions import HoldChanged, Transition
from supervisor.core.virtualserver import VirtualServerState


class Moved(NamedTuple):
    """A hold that began, ended or changed hands. `was` is the one before."""

    server: RealServerState
    was: Hold | None


def settle(
    pools: Pools, virtual_server: VirtualServerState, now: float, servers: Iterable[RealServerState] | None = None
) -> list[Moved]:
    """Hold who is to be held and let go of the others; return whose hold began, ended or changed hands.

    `servers` are those that something has changed about, None: all. The guard always looks at all, where there is one. The quorum is
    the caller's to judge afterwards.
    """
    before: dict[int, Moved] = {}
    if pools.blame.refuted(virtual_server, now):
        servers = None
    for server in virtual_server.real_servers.values() if servers is None else servers:
        was = server.hold
        hold = pools.blame.hold_for(virtual_server, server, now)
        if hold is not None or (was is not None and (was.by is HeldBy.BLAME or server.live)):
            before[id(server)] = Moved(server, was)
            virtual_server.hold(server, hold)
    if virtual_server.spec.min_healthy is not None or virtual_server.guarded:
        _guard(virtual_server, before, now)
    moved = [moved for moved in before.values() if _noted(pools, virtual_server, moved.server, moved.was, now)]
    virtual_server.refused += sum(each.was is None for each in moved)
    return moved


def _guard(virtual_server: VirtualServerState, before: dict[int, Moved], now: float) -> None:
    """Do what the guard says; add to `before` whom that changes."""
    kept = {id(server): server for server in guard.chosen(virtual_server)}
    if virtual_server.guarded:
        for server in virtual_server.real_servers.values():
            if server.hold is not None and server.hold.by is HeldBy.GUARD and id(server) not in kept:
                before.setdefault(id(server), Moved(server, server.hold))
                virtual_server.hold(server, None)
    for server in kept.values():
        if server.hold is None:
            before.setdefault(id(server), Moved(server, None))
            text = f"fewer than min_healthy {virtual_server.spec.min_healthy} would be left"
            virtual_server.hold(server, Hold(HeldBy.GUARD, now, text=text))


def _noted(
    pools: Pools, virtual_server: VirtualServerState, server: RealServerState, was: Hold | None, now: float
) -> bool:
    """Take note of the hold of a real server, and of its end; tell whether it is another one than before."""
    hold, name = server.hold, (virtual_server.spec.key, server.spec.endpoint)
    if hold is None or hold.next_at == math.inf:
        pools.hold_ends.drop(name)
    else:
        pools.hold_ends.note(name, hold.next_at)
    if (hold and hold.by) is (was and was.by):
        return False
    blamed = [each is not None and each.by is HeldBy.BLAME for each in (was, hold)]
    pools.blame.held += blamed[1] - blamed[0]
    server.why = _chain(pools.chronicle, server.why, server, was, now)
    return True


def told(virtual_server: VirtualServerState, moved: list[Moved], now: float) -> list[Transition]:
    """Return what is told of holds that moved."""
    return [_changed(virtual_server, change.server, change.was, now) for change in moved]


def _changed(virtual_server: VirtualServerState, server: RealServerState, was: Hold | None, now: float) -> HoldChanged:
    """A real server is held in service though it is DOWN, or no more; `was` is the hold before."""
    spec, hold = virtual_server.spec, server.hold
    down = [check for check in server.checks if check.health is Health.DOWN]
    worst = max(down, key=badness.of_check, default=None)
    failure = worst.failure if worst else None
    return HoldChanged(
        cause=server.why[-1].id,
        virtual_server=spec.key,
        real_server=server.spec.endpoint,
        held_by=hold.by.value if hold else "",
        was=was.by.value if was else "",
        text=_text(server, was),
        reason=failure.reason if failure else "",
        detail=failure.detail if failure else "",
        expires_s=hold.until - now if hold and hold.until < math.inf else None,
        weight=virtual_server.weight_of(server),
        up_left=virtual_server.servers_up,
        weight_left=virtual_server.weight_up,
        quorum=spec.quorum,
        group=spec.group,
        group_use=spec.group_use,
        follower=spec.follower,
    )


def _chain(chronicle: Chronicle, chain: Chain, server: RealServerState, was: Hold | None, now: float) -> Chain:
    """Add the link of a hold that began or ended; `was` is the one before."""
    text = _text(server, was)
    return chronicle.extend(chain[: telling.CHAIN_MAX_LINKS], now, Kind.HOLD, text, weight=server.effective_weight)


def _text(server: RealServerState, was: Hold | None) -> str:
    if server.hold is not None:
        return f"{server.hold.by.text}: {server.hold.text}"
    over = "it is up again" if server.live else "it is not needed any more, or its time is over"
    return f"no longer {was.by.text if was else 'held'}: {over}"
