"""News for and against this director (`blame`), followed up to the table and to people.

What speaks for a suspicion is looked at where it comes in; who is held because of it is settled for every virtual server that it may
touch; that the director is suspected at all is told once when it begins and once when it is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from supervisor.core import judgement
from supervisor.core.events import CheckReported
from supervisor.core.hold import Ends, HeldBy, Hold
from supervisor.core.pools import Pools
from supervisor.core.realserver import RealServerState
from supervisor.core.transitions import SelfBlame, Transition
from supervisor.core.virtualserver import VirtualServerState
from supervisor.model import IPAddress, ServiceKey


def paths_seen(pools: Pools, lost: Mapping[IPAddress, str] | None, now: float) -> list[Transition]:
    """Take the kernel's word on paths in."""
    pools.blame.paths_seen(lost)
    for state in pools.virtual_servers.values():
        pools.blame.judge_path(state, now)
    return _settle(pools, pools.virtual_servers.values(), now)


def heard(pools: Pools, event: CheckReported, now: float) -> list[Transition]:
    """Take a report in as evidence, before it is judged: so the verdict that makes the silence complete takes nobody out."""
    consumers = pools.consumers(event.job)
    if not consumers or not pools.blame.heard(consumers[0][2].spec, event, now):
        return []
    if not pools.blame.judge_silence(pools.virtual_servers.values(), now):
        return []
    return _settle(pools, pools.virtual_servers.values(), now)


def expire(pools: Pools, now: float) -> list[Transition]:
    """End the holds and the silence whose time is over."""
    if pools.blame.over(now):
        return _settle(pools, pools.virtual_servers.values(), now)
    moved: list[Transition] = []
    due: dict[ServiceKey, list[RealServerState]] = {}
    for key, endpoint in pools.hold_ends.due(now):
        server = pools.real_server(key, endpoint)
        if server is not None:
            due.setdefault(key, []).append(server)
    for key, servers in due.items():
        moved += judgement.settle(pools, pools.virtual_servers[key], now, servers)
    return moved


def reconsider(pools: Pools, now: float) -> list[Transition]:
    """Look at everything anew under another configuration."""
    pools.hold_ends = Ends()
    pools.blame.held = len(_held(pools))
    for state in pools.virtual_servers.values():
        pools.blame.judge_path(state, now)
    return _settle(pools, pools.virtual_servers.values(), now) + told(pools, now)


def told(pools: Pools, now: float) -> list[Transition]:
    """Tell that the director is suspected, or is no more; nothing while that stays as it is.

    It is from the moment on at which a virtual server is cut off from here, though nobody may be held yet, or ever: probes that cannot
    even leave say nothing of their servers.
    """
    blame = pools.blame
    suspected = bool(blame.cut_off) or (blame.held > 0 and (blame.since is not None or blame.active))
    if (blame.since is not None) is suspected:
        return []
    held = _held(pools)
    if suspected:
        cut_off = [pools.virtual_servers[key] for key in blame.cut_off if key in pools.virtual_servers]
        blame.since, blame.text = now, held[0].text if held else blame.why_cut_off(cut_off[0]) if cut_off else ""
    servers = sum(len(state.real_servers) for state in pools.virtual_servers.values())
    since = now if blame.since is None else blame.since
    until = max((hold.until for hold in held), default=None)
    change = SelfBlame(
        suspected=suspected,
        text=blame.text,
        held=len(held),
        real_servers=servers,
        until_s=None if until is None else until - now,
        since_s=now - since,
    )
    if not suspected:
        blame.since, blame.text = None, ""
    return [change]


def _held(pools: Pools) -> list[Hold]:
    """Return the holds that the suspicion gave."""
    return [
        server.hold
        for state in pools.virtual_servers.values()
        if state.held
        for server in state.real_servers.values()
        if server.hold is not None and server.hold.by is HeldBy.BLAME
    ]


def _settle(pools: Pools, states: Iterable[VirtualServerState], now: float) -> list[Transition]:
    moved: list[Transition] = []
    for state in states:
        moved += judgement.settle(pools, state, now)
    return moved
