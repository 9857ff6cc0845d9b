"""How virtual and real servers begin: from the file, from the kernel's table as it was found, from what the run before knew.

`enter` makes the state of a virtual server that is new to us; `first_quorum` and `adopted_quorum` judge it for the first time.
"""

from __future__ import annotations

from typing import assert_never

from supervisor.core import telling
from supervisor.core.adoption import Standing, spoken_weight, standings
from supervisor.core.causes import Kind
from supervisor.core.events import Health, Result
from supervisor.core.health import Check
from supervisor.core.judgement import quorum_flipped
from supervisor.core.memory import CheckMemory, Clocks, PoolMemory, Recall, ServerMemory, matched
from supervisor.core.override import Override
from supervisor.core.pools import Pools
from supervisor.core.realserver import RealServerState
from supervisor.core.table import Destination, Service
from supervisor.core.transitions import Transition
from supervisor.core.virtualserver import VirtualServerState
from supervisor.model import CheckSpec, Endpoint, RealServer, VirtualServer


def enter(
    pools: Pools, spec: VirtualServer, now: float, found: Service | None, recall: Recall | None = None
) -> VirtualServerState:
    """Make the state of a virtual server that is new to us, from what the kernel has of it and what the run before knew.

    Destinations there that the file does not name leave as with a reload: who is connected to them stays.
    """
    memory = recall.pool(spec.key) if recall else None
    decided = standings(spec, found, memory, recall.age_s if recall else 0.0)
    there = found.destinations if found else {}
    servers: dict[Endpoint, RealServerState] = {}
    for rs in spec.real_servers:
        how, known = decided[rs.endpoint], memory.servers.get(rs.endpoint) if memory else None
        server = new_real_server(pools, rs, how, now, found=there.get(rs.endpoint), known=known)
        if recall is not None:
            _recollect(pools, server, known, recall.wish(spec.key, rs.endpoint), recall.clocks)
        servers[rs.endpoint] = server
    state = VirtualServerState(spec, servers, now)
    state.suspended = pools.must_suspend(spec)
    if there:
        named = endpoints(spec)
        strangers = [destination for endpoint, destination in there.items() if endpoint not in named]
        pools.departures.begin(spec.key, strangers, now, spec.drain_timeout)
    return state


def endpoints(spec: VirtualServer) -> frozenset[Endpoint]:
    """Return every endpoint that a virtual server may have in the table."""
    sorry = () if spec.sorry_server is None else (spec.sorry_server.endpoint,)
    return frozenset((*(rs.endpoint for rs in spec.real_servers), *sorry))


def new_real_server(
    pools: Pools,
    spec: RealServer,
    how: Standing,
    now: float,
    found: Destination | None = None,
    known: ServerMemory | None = None,
) -> RealServerState:
    """Make the state of a real server; `how` says what its checks start from.

    `found` is how it stands in the kernel's table, `known` what is remembered of it.
    """
    if how is Standing.FRESH and known is None:
        checks = [_unknown_check(pools, check, now) for check in spec.checks]
    else:
        checks = _known_checks(pools, spec, how, now, found, known)
    kind, text = _beginning(how, known, checks)
    why = pools.chronicle.extend_together((), now, kind, text, weight=spec.weight)
    return RealServerState(spec, tuple(checks), now, why)


def _unknown_check(pools: Pools, spec: CheckSpec, now: float) -> Check:
    """Make the state of a check of which nobody knows anything, unless another virtual server has the same one."""
    job = pools.jobs.jobs[spec]
    return Check(spec, job, now, health=pools.job_health(job), trusted=not spec.alpha, weight=pools.job_weight(job))


def _known_checks(
    pools: Pools, spec: RealServer, how: Standing, now: float, found: Destination | None, known: ServerMemory | None
) -> list[Check]:
    """Make the states of the checks of a real server of which table or memory know something."""
    jobs = pools.jobs.jobs
    memories = _memories(pools, spec, known)
    weights = _weights(spec, how, found, known, memories)
    checks: list[Check] = []
    for check, memory, weight in zip(spec.checks, memories, weights, strict=True):
        job = jobs[check]
        health = _first_health(how, memory, known)
        trusted = how is Standing.PROVISIONAL or (how is Standing.KNOWN and memory is None) or not check.alpha
        if how is Standing.FRESH:
            health = pools.job_health(
                job
            )  # a virtual server that is renamed sends no client to a server known to be dead
        elif health is Health.UNKNOWN:
            pools.doubted.add(job)
        said = pools.job_weight(job) if weight is None else weight
        checks.append(Check(check, job, now, health=health, trusted=trusted, weight=said))
    return checks


def _memories(pools: Pools, spec: RealServer, known: ServerMemory | None) -> list[CheckMemory | None]:
    """Return for each check what is remembered of it."""
    if known is None:
        return [None] * len(spec.checks)
    names = tuple(pools.definition(check, pools.jobs.jobs[check]) for check in spec.checks)
    return matched(spec.checks, names, known)


def _first_health(how: Standing, memory: CheckMemory | None, known: ServerMemory | None) -> Health:
    """Return what one check starts from."""
    match how:
        case Standing.FRESH:
            return Health.UNKNOWN
        case Standing.SERVING:
            return Health.UP
        case Standing.PROVISIONAL:
            return Health.UP if memory is not None and memory.health is Health.UP else Health.UNKNOWN
        case Standing.KNOWN:
            return Health.UNKNOWN if memory is None else memory.health
        case Standing.OUT:  # one that was down is enough to keep it out, and the others keep what they know
            is_down = known is not None and known.health is Health.DOWN
            return memory.health if is_down and memory is not None else Health.DOWN
        case _:
            assert_never(how)


def _weights(
    spec: RealServer,
    how: Standing,
    found: Destination | None,
    known: ServerMemory | None,
    memories: list[CheckMemory | None],
) -> list[int | None]:
    """Return what each check has said of the weight: as the table shows it, else as it is remembered; what a file says is known."""
    remembered = [
        None if memory is None or check.first_weight is not None else memory.weight
        for check, memory in zip(spec.checks, memories, strict=True)
    ]
    wish = known.wish if known else None
    if how not in {Standing.SERVING, Standing.PROVISIONAL} or (wish and wish.weight is not None):
        return remembered
    if known is not None and found is not None and known.wanted == found.weight:
        return remembered
    spoken = spoken_weight(spec, found)
    return [spoken.get(check) for check in spec.checks]


def _beginning(how: Standing, known: ServerMemory | None, checks: list[Check]) -> tuple[Kind, str]:
    """Return the first link of the chain: why a real server starts as it does."""
    if how is Standing.FRESH:
        if any(check.health is not Health.UNKNOWN for check in checks):
            return Kind.START, "in the configuration, its checks are known already"
        return Kind.START, "in the configuration, not checked yet"
    down = next((check for check in known.checks if check.health is Health.DOWN), None) if known else None
    because = f": {down.type} {down.reason} {down.detail}".rstrip() if down and down.reason else ""
    match how:
        case Standing.SERVING:
            return Kind.ADOPTED, "found in service in the kernel's table"
        case Standing.PROVISIONAL if down is not None:
            text = "found in service in the kernel's table, though it was DOWN when last seen; the next probe decides"
            return Kind.ADOPTED, text + because
        case Standing.PROVISIONAL:
            return Kind.ADOPTED, "found in service in the kernel's table, not checked yet"
        case Standing.KNOWN:
            return Kind.ADOPTED, f"{'DOWN' if down else 'UP'} when last seen, before this start{because}"
        case Standing.OUT if down is not None:
            return Kind.ADOPTED, f"DOWN when last seen, before this start{because}"
        case Standing.OUT:
            return Kind.ADOPTED, "found out of service in the kernel's table"
        case _:
            assert_never(how)


def _recollect(
    pools: Pools, server: RealServerState, known: ServerMemory | None, wish: Override | None, clocks: Clocks
) -> None:
    """Let a real server have what outlived the run before: since when it is what it is, its last probe, the operator's wish."""
    if known is not None:
        if server.health is known.health:
            server.since = clocks.moment(known.since_at)
        for check, memory in zip(server.checks, _memories(pools, server.spec, known), strict=True):
            if memory is None or memory.health is not check.health:
                continue
            check.since = clocks.moment(memory.since_at)
            if memory.reason:
                check.result = Result(0, memory.reason, memory.detail, "", "", 0.0)
    if wish is not None:
        server.override = wish
        server.why = telling.operator_chain(pools.chronicle, server, wish, None, clocks.now, expired=False)


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


def adopted_quorum(
    pools: Pools, virtual_server: VirtualServerState, found: Service | None, now: float, recall: Recall | None = None
) -> list[Transition]:
    """Take over the quorum as table and memory show it, and judge it: nothing is told unless that does not hold any more."""
    memory = recall.pool(virtual_server.spec.key) if recall else None
    virtual_server.quorate = _shown_quorate(virtual_server, found, memory)
    if recall and memory and memory.quorate is virtual_server.quorate:
        virtual_server.since = recall.clocks.moment(memory.since_at)
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


def _shown_quorate(virtual_server: VirtualServerState, found: Service | None, memory: PoolMemory | None) -> bool:
    """Return the quorum as the table shows it: lost while the sorry server has weight.

    Where the table cannot show it (no sorry server, or one that is a real server too) it is as remembered, else held.
    """
    sorry = virtual_server.spec.sorry_server
    if found is None or sorry is None or sorry.endpoint in virtual_server.real_servers:
        return memory.quorate if memory else True
    standing_in = found.destinations.get(sorry.endpoint)
    return standing_in is None or standing_in.weight == 0
