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

from supervisor.core import badness
from supervisor.core.badness import Badness
from supervisor.core.events import Health
from supervisor.core.hold import HeldBy
from supervisor.core.override import AdminState
from supervisor.core.realserver import RealServerState
from supervisor.core.virtualserver import VirtualServerState
from supervisor.model import MinHealthy, MinHealthyUnit


def chosen(virtual_server: VirtualServerState) -> list[RealServerState]:
    """Return the real servers that the guard holds in service as things are, the least bad first."""
    minimum = virtual_server.spec.min_healthy
    if minimum is None:
        return []
    enabled = [server for server in virtual_server.real_servers.values() if server.admin is AdminState.ENABLED]
    serving = [server for server in enabled if server.live or _held_by_another(server)]
    if reached(minimum, serving, enabled):
        return []
    candidates = [(_order(server, number), server) for number, server in enumerate(enabled) if may_be_held(server)]
    held: list[RealServerState] = []
    for _, server in sorted(candidates, key=lambda candidate: candidate[0]):
        if reached(minimum, [*serving, *held], enabled):
            break
        held.append(server)
    return _needed(minimum, serving, held, enabled)


def reached(minimum: MinHealthy, serving: Iterable[RealServerState], enabled: Iterable[RealServerState]) -> bool:
    """Tell whether `serving` are enough, of all that are `enabled`."""
    match minimum.unit:
        case MinHealthyUnit.SERVERS:
            return sum(server.weight_in_service > 0 for server in serving) >= minimum.amount
        case MinHealthyUnit.WEIGHT:
            return _weight(serving) >= minimum.amount
        case MinHealthyUnit.PERCENT:
            return _weight(serving) * 100 >= _weight(enabled) * minimum.amount


def may_be_held(server: RealServerState) -> bool:
    """Tell whether a real server may serve though it is DOWN."""
    if server.live or not server.proven or server.weight_in_service == 0 or _held_by_another(server):
        return False
    if server.hold is not None and server.health is Health.UNKNOWN:
        return True  # a new configuration has replaced its checks, which have not spoken yet
    return badness.of_server(server) < Badness.UNKNOWN


def _needed(
    minimum: MinHealthy, serving: list[RealServerState], held: list[RealServerState], enabled: list[RealServerState]
) -> list[RealServerState]:
    """Return `held` without those, the worst first, whose weight turned out not to be needed."""
    for server in reversed(held):
        rest = [other for other in held if other is not server]
        if reached(minimum, [*serving, *rest], enabled):
            held = rest
    return held


def _held_by_another(server: RealServerState) -> bool:
    return server.hold is not None and server.hold.by is not HeldBy.GUARD


def _order(server: RealServerState, number: int) -> tuple[bool, bool, Badness, float, int]:
    """Return what the least bad is the smallest in."""
    how_bad = badness.of_server(server)
    newcomer = server.hold is None
    return how_bad >= Badness.UNREACHABLE, newcomer, how_bad, -server.since, number


def _weight(servers: Iterable[RealServerState]) -> int:
    return sum(server.weight_in_service for server in servers)
