"""The guard `min_healthy` of a virtual server: when too few real servers are live, the least bad of the others stay in service.

Health checks are one opinion. When most of a pool fails them at once (a slow database behind all, a check that a release broke, an
overload that gets worse with each server that leaves), the few that are left would get all the traffic and fail as well.

* Least bad first (`badness`): a wrong answer before a slow one, that before silence, that before a host that cannot be reached;
  among equals who failed last, since it may only be overloaded; then the order of the file.
* Where connections are refused nothing serves, so such a server is never held: another one in its place, a sorry server, or nobody.
  Nor is one that never was in service, nor one of which nobody knows why it is down.
* Who is held stays held while the minimum needs it, so that nobody comes and goes with each probe; only one that cannot even be
  reached any more makes room for one that can.

Pure: the state in, the real servers to be held out. Compare PyBal's depool-threshold and Envoy's panic threshold (peers.md, section 2.2),
which take any server; that the mildest failure is held is ours. Without `min_healthy` nobody is ever held, as in keepalived.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from supervisor.core import badness
from supervisor.core.badness import Badness
from supervisor.core.events import Health
from supervisor.core.hold import HeldBy
from supervisor.core.override import AdminState
from supervisor.core.realserver import RealServerState
from supervisor.core.virtualserver import VirtualServerState
from supervisor.model import MinHealthy, MinHealthyUnit

_Order: TypeAlias = tuple[bool, bool, Badness, float, int]


def chosen(virtual_server: VirtualServerState) -> list[RealServerState]:
    """Return the real servers that the guard holds in service as things are, the least bad first."""
    minimum = virtual_server.spec.min_healthy
    if minimum is None:
        return []
    percent, scale = minimum.unit is MinHealthyUnit.PERCENT, _SCALE[minimum.unit]
    missing = 0 if percent else minimum.amount * scale
    down: list[tuple[int, int, RealServerState]] = []
    for number, server in enumerate(virtual_server.real_servers.values()):
        if server.override is not None and server.admin is not AdminState.ENABLED:
            continue
        worth = _worth(minimum, server)
        if percent:
            missing += worth * minimum.amount
        if server.live or _held_by_another(server):
            missing -= worth * scale
        elif worth:
            down.append((number, worth * scale, server))
    if missing <= 0:
        return []
    held: list[tuple[int, RealServerState]] = []
    candidates = [(_order(server, number), worth, server) for number, worth, server in down if may_be_held(server)]
    for _, worth, server in sorted(candidates, key=lambda candidate: candidate[0]):
        if missing <= 0:
            break
        held.append((worth, server))
        missing -= worth
    return _needed(held, -missing)


_SCALE = {MinHealthyUnit.PERCENT: 100, MinHealthyUnit.SERVERS: 1, MinHealthyUnit.WEIGHT: 1}
"""Percentages are reckoned in hundredths, so that nothing is rounded."""


def _worth(minimum: MinHealthy, server: RealServerState) -> int:
    """Return what a real server in service is to the minimum: one server, or its weight; nothing with weight 0."""
    weight = server.weight if server.override is None else server.weight_in_service
    return min(weight, 1) if minimum.unit is MinHealthyUnit.SERVERS else weight


def reached(minimum: MinHealthy, serving: Iterable[RealServerState], enabled: Iterable[RealServerState]) -> bool:
    """Tell whether `serving` are enough, of all that are `enabled`: the rule itself, slow and plain."""
    have = sum(_worth(minimum, server) for server in serving)
    if minimum.unit is MinHealthyUnit.PERCENT:
        return have * 100 >= sum(_worth(minimum, server) for server in enabled) * minimum.amount
    return have >= minimum.amount


def may_be_held(server: RealServerState) -> bool:
    """Tell whether a real server may serve though it is DOWN."""
    if server.live or not server.proven or _held_by_another(server):
        return False
    if server.hold is not None and server.health is Health.UNKNOWN:
        return True  # a new configuration has replaced its checks, which have not spoken yet
    return badness.of_server(server) < Badness.UNKNOWN


def _needed(held: list[tuple[int, RealServerState]], spare: int) -> list[RealServerState]:
    """Return `held` without those, the worst first, that turned out not to be needed; `spare` is what is there beyond the minimum."""
    kept: list[RealServerState] = []
    for worth, server in reversed(held):
        if worth <= spare:
            spare -= worth
        else:
            kept.append(server)
    return kept[::-1]


def _held_by_another(server: RealServerState) -> bool:
    return server.hold is not None and server.hold.by is not HeldBy.GUARD


def _order(server: RealServerState, number: int) -> _Order:
    """Return what the least bad is the smallest in."""
    how_bad = badness.of_server(server)
    newcomer = server.hold is None
    return how_bad >= Badness.UNREACHABLE, newcomer, how_bad, -server.since, number
