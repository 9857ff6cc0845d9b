"""Who of a virtual server is held in service though DOWN: what `blame` and `guard` say, made true, and told once for each change.

The suspicion against the director comes first, because it doubts the verdicts themselves; the guard then looks at what is left.
"""

from __future__ import annotations

import math
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


def settle(pools: Pools, virtual_server: VirtualServerState, now: float) -> list[Moved]:
    """Hold who is to be held and let go of the others; return whose hold began, ended or changed hands.

    The quorum is the caller's to judge afterwards. Costs nothing where nobody is held and nobody asks for it.
    """
    if not virtual_server.held and virtual_server.spec.min_healthy is None:
        return []
    moved: list[Moved] = []
    kept = {id(server) for server in guard.chosen(virtual_server)}
    for server in virtual_server.real_servers.values():
        _bring(
            pools,
            virtual_server,
            server,
            _by_guard(virtual_server, server, now) if id(server) in kept else None,
            moved,
            now,
        )
    return moved


def _by_guard(virtual_server: VirtualServerState, server: RealServerState, now: float) -> Hold:
    if server.hold is not None and server.hold.by is HeldBy.GUARD:
        return server.hold
    minimum = virtual_server.spec.min_healthy
    return Hold(HeldBy.GUARD, now, text=f"fewer than min_healthy {minimum} would be left")


def _bring(
    pools: Pools,
    virtual_server: VirtualServerState,
    server: RealServerState,
    hold: Hold | None,
    moved: list[Moved],
    now: float,
) -> None:
    """Give a real server its hold, or none."""
    was = server.hold
    if hold == was:
        return
    virtual_server.hold(server, hold)
    if (hold and hold.by) is not (was and was.by):
        server.why = _chain(pools.chronicle, server.why, server, was, now)
        moved.append(Moved(server, was))


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
