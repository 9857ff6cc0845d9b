"""A change of one real server, followed up to the table: weight, quorum, sorry server, and what is told of each.

Every way in which a real server can change while the file stays the same ends here: a check that turned or spoke of a weight, an
operator's wish that began or ended, a hold that began or ended (`holds`).
"""

from __future__ import annotations

from collections.abc import Iterable

from supervisor.core import holds, telling
from supervisor.core.causes import Chain, Kind
from supervisor.core.health import Check
from supervisor.core.override import Override
from supervisor.core.pools import Pools
from supervisor.core.realserver import RealServerState
from supervisor.core.transitions import Transition
from supervisor.core.virtualserver import VirtualServerState
from supervisor.model import Endpoint


def check_changed(
    pools: Pools,
    virtual_server: VirtualServerState,
    server: RealServerState,
    check: Check,
    chain: Chain,
    *,
    now: float,
    was: str,
    turned: bool,
) -> list[Transition]:
    """Follow a check that let its real server in or took it out (`turned`), or spoke of its weight."""
    told: list[Transition] = []
    since, weight_old = server.since, virtual_server.weight_of(server)
    was_live, effective_old = server.live, server.effective_weight
    sorry_before = virtual_server.sorry_in_service
    server.weigh()
    flipped = server.judge(now)
    virtual_server.count(server, was_live=was_live, old_weight=effective_old)
    if turned:
        told.append(telling.check_changed(virtual_server, server, check, chain))
    if not flipped and server.effective_weight == effective_old:
        return told + settle(pools, virtual_server, now, (server,))
    server.why = telling.server_chain(pools.chronicle, chain, server, now)
    server.down_why = () if server.live else server.why
    moved = holds.settle(pools, virtual_server, now, (server,))
    quorum_turned = virtual_server.judge(now)
    if flipped:
        told.append(
            telling.real_server_changed(
                virtual_server, server, check, was=was, previous_state_s=now - since, weight_old=weight_old
            )
        )
    else:
        told.append(telling.weight_changed(virtual_server, server, check, effective_old))
    told += holds.told(virtual_server, moved, now)
    if quorum_turned:
        told += quorum_flipped(pools, virtual_server, server.why, sorry_before, now)
    pools.touch(virtual_server.spec.key)
    return told


def override(
    pools: Pools,
    virtual_server: VirtualServerState,
    server: RealServerState,
    wish: Override | None,
    now: float,
    *,
    expired: bool = False,
) -> list[Transition]:
    """Follow an operator's wish that begins, changes or ends (None)."""
    before = server.override
    if wish == before:
        return []
    weight_old, effective_old = virtual_server.weight_of(server), server.effective_weight
    sorry_before = virtual_server.sorry_in_service
    server.override = wish
    virtual_server.count(server, was_live=server.live, old_weight=effective_old)
    server.why = telling.operator_chain(pools.chronicle, server, wish, before, now, expired=expired)
    moved = holds.settle(pools, virtual_server, now, (server,))
    quorum_turned = virtual_server.judge(now)
    told: list[Transition] = [
        telling.admin_changed(virtual_server, server, wish or before or Override(), now, weight_old, expired=expired)
    ]
    told += holds.told(virtual_server, moved, now)
    if quorum_turned:
        told += quorum_flipped(pools, virtual_server, server.why, sorry_before, now)
    pools.touch(virtual_server.spec.key)
    return told


def settle(
    pools: Pools, virtual_server: VirtualServerState, now: float, servers: Iterable[RealServerState] | None = None
) -> list[Transition]:
    """Bring up to date who of `servers` (None: all) is held, after something that changes no health: a reason, a path, time."""
    sorry_before = virtual_server.sorry_in_service
    moved = holds.settle(pools, virtual_server, now, servers)
    if not moved:
        return []
    told = holds.told(virtual_server, moved, now)
    if virtual_server.judge(now):
        told += quorum_flipped(pools, virtual_server, moved[-1].server.why, sorry_before, now)
    pools.touch(virtual_server.spec.key)
    return told


def quorum_flipped(
    pools: Pools,
    virtual_server: VirtualServerState,
    chain: Chain,
    sorry_before: Endpoint | None,
    now: float,
    *,
    by_configuration: bool = False,
) -> list[Transition]:
    """Tell of a quorum that changed, and make it the reason of every weight that it changed."""
    chain = telling.quorum_chain(pools.chronicle, chain, virtual_server, now)
    if virtual_server.spec.sorry_server is not None:  # without one, nobody else's weight changes
        for server in virtual_server.real_servers.values():
            if server.in_service:
                server.why = chain
    told: list[Transition] = [telling.quorum_changed(virtual_server, chain, by_configuration=by_configuration)]
    return told + telling.sorry_changed(virtual_server, sorry_before, chain[-1].id)


def begin_by_configuration(pools: Pools, now: float) -> Chain:
    """Begin the chain of what a new configuration changes."""
    return pools.chronicle.begin(now, Kind.CONFIGURATION, "a new configuration was loaded")
