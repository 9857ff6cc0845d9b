"""How virtual and real servers begin: from the file, from the kernel's table as it was found, or from what is known of them elsewhere.

`enter` makes the state of a virtual server that is new to us; `first_quorum` and `adopted_quorum` judge it for the first time.
"""

from __future__ import annotations

from typing import assert_never

from supervisor.core import telling
from supervisor.core.adoption import Standing, made_from_another_file, spoken_weight, standing
from supervisor.core.causes import Kind
from supervisor.core.events import Health
from supervisor.core.health import Check
from supervisor.core.judgement import quorum_flipped
from supervisor.core.pools import Pools
from supervisor.core.realserver import RealServerState
from supervisor.core.table import Destination, Service
from supervisor.core.transitions import Transition
from supervisor.core.virtualserver import VirtualServerState
from supervisor.model import Endpoint, RealServer, VirtualServer


def enter(pools: Pools, spec: VirtualServer, now: float, found: Service | None) -> VirtualServerState:
    """Make the state of a virtual server that is new to us, from what the kernel has of it.

    Destinations there that the file does not name leave as with a reload: who is connected to them stays.
    """
    other_file = made_from_another_file(spec, found)
    there = found.destinations if found else {}
    servers = {
        rs.endpoint: new_real_server(
            pools, rs, standing(rs, found, other_file=other_file), now, found=there.get(rs.endpoint)
        )
        for rs in spec.real_servers
    }
    state = VirtualServerState(spec, servers, now)
    state.suspended = pools.must_suspend(spec)
    strangers = [destination for endpoint, destination in there.items() if endpoint not in endpoints(spec)]
    pools.departures.begin(spec.key, strangers, now, spec.drain_timeout)
    return state


def endpoints(spec: VirtualServer) -> frozenset[Endpoint]:
    """Return every endpoint that a virtual server may have in the table."""
    sorry = () if spec.sorry_server is None else (spec.sorry_server.endpoint,)
    return frozenset((*(rs.endpoint for rs in spec.real_servers), *sorry))


def new_real_server(
    pools: Pools, spec: RealServer, how: Standing, now: float, found: Destination | None = None
) -> RealServerState:
    """Make the state of a real server; `how` says what its checks start from, `found` is how it stands in the kernel's table."""
    match how:
        case Standing.FRESH:
            kind, text = Kind.START, "in the configuration, not checked yet"
            health = Health.UNKNOWN
        case Standing.SERVING:
            kind, text = Kind.ADOPTED, "found in service in the kernel's table"
            health = Health.UP
        case Standing.OUT:
            kind, text = Kind.ADOPTED, "found out of service in the kernel's table"
            health = Health.DOWN
        case _:
            assert_never(how)
    jobs = pools.jobs.jobs
    spoken = spoken_weight(spec, found) if how is Standing.SERVING else {}
    checks = tuple(
        Check(
            c,
            jobs[c],
            now,
            health=_known(pools, jobs[c], health),
            trusted=not c.alpha,
            weight=spoken.get(c, pools.job_weight(jobs[c])),
        )
        for c in spec.checks
    )
    if how is Standing.FRESH and any(check.health is not Health.UNKNOWN for check in checks):
        text = "in the configuration, its checks are known already"
    return RealServerState(spec, checks, now, pools.chronicle.begin(now, kind, text, weight=spec.weight))


def _known(pools: Pools, job: int, health: Health) -> Health:
    """Return what a check starts from: `health`, or where that says nothing, what its job says elsewhere already.

    So a virtual server that is renamed does not send its first clients to a server that is known to be dead.
    """
    return pools.job_health(job) if health is Health.UNKNOWN else health


def first_quorum(pools: Pools, virtual_server: VirtualServerState, now: float) -> list[Transition]:
    """Judge the quorum of a virtual server that the kernel does not have yet (keepalived.md 3.3, "Start")."""
    gained = virtual_server.judge(now)
    told = _first_notices(virtual_server) if pools.config.scripts.at_start else []
    if not gained and virtual_server.spec.sorry_server is None:
        return told
    chain = pools.chronicle.begin(now, Kind.START, "first judgement of the quorum")
    chain = telling.quorum_chain(pools.chronicle, chain, virtual_server, now)
    told.append(telling.quorum_changed(virtual_server, chain, at_start=True))
    return told + telling.sorry_changed(virtual_server, None, chain[-1].id)


def adopted_quorum(pools: Pools, virtual_server: VirtualServerState, found: Service, now: float) -> list[Transition]:
    """Take over the quorum as the table shows it, and judge it: nothing is told unless the table does not hold any more."""
    virtual_server.quorate = _shown_quorate(virtual_server, found)
    sorry_before = virtual_server.sorry_in_service
    if not virtual_server.judge(now):
        return []
    chain = pools.chronicle.begin(now, Kind.ADOPTED, "the kernel's table shows another quorum")
    return quorum_flipped(pools, virtual_server, chain, sorry_before, now)


def _first_notices(virtual_server: VirtualServerState) -> list[Transition]:
    """Tell of the real servers that are UP from the start (rs_init_notifies)."""
    return [
        telling.real_server_changed(
            virtual_server, server, None, was="UNKNOWN", previous_state_s=0.0, weight_old=None, at_start=True
        )
        for server in virtual_server.real_servers.values()
        if server.live
    ]


def _shown_quorate(virtual_server: VirtualServerState, found: Service) -> bool:
    """Return the quorum as the table shows it: lost while the sorry server has weight (unless it is a real server too)."""
    sorry = virtual_server.spec.sorry_server
    standing_in = found.destinations.get(sorry.endpoint) if sorry else None
    is_real = sorry is not None and sorry.endpoint in virtual_server.real_servers
    return is_real or standing_in is None or standing_in.weight == 0
