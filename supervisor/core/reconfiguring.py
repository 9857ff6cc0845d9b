"""A new configuration takes the place of the old one: what did not change keeps its state, what is new starts by its rules."""

from __future__ import annotations

from supervisor.core import holds, telling
from supervisor.core.adoption import Standing
from supervisor.core.causes import Kind
from supervisor.core.entrance import endpoints, enter, first_quorum, new_real_server
from supervisor.core.groups import Speakers
from supervisor.core.judgement import begin_by_configuration, quorum_flipped
from supervisor.core.pools import Pools
from supervisor.core.realserver import RealServerState
from supervisor.core.succession import carried_over
from supervisor.core.transitions import Transition
from supervisor.core.virtualserver import VirtualServerState
from supervisor.model import Config, Endpoint, RealServer, ServiceKey, VirtualServer


def reconfigure(pools: Pools, config: Config, now: float) -> list[Transition]:
    """Replace the configuration of `pools` and return what is told of it."""
    told: list[Transition] = []
    old, speakers = pools.virtual_servers, Speakers.between(pools.config.virtual_servers, config.virtual_servers)
    pools.config = config
    pools.jobs.update(config)
    staying, inherited = {spec.key for spec in config.virtual_servers}, set(speakers.heirs.values())
    for key, gone in old.items():
        if key in staying:
            continue
        pools.departures.begin_service(gone.service(), now, gone.spec.drain_timeout)
        if key not in inherited:
            told += speakers.spoken(_gone(gone), gone.spec)
    kept, changed = dict[ServiceKey, VirtualServerState](), set[ServiceKey]()
    for spec in config.virtual_servers:
        if pools.departures:
            pools.departures.come_back(spec.key, endpoints(spec))
        known = old.get(speakers.heirs.get(spec.key, spec.key))
        if known is None:
            known = enter(pools, spec, now, None)
            told += speakers.spoken(first_quorum(pools, known, now), spec)
            changed.add(spec.key)
        elif known.spec != spec:
            told += speakers.spoken(_update(pools, known, spec, now), spec)
            changed.add(spec.key)
        kept[spec.key] = known
    pools.virtual_servers = kept
    pools.replaced(changed)
    return told


def _update(pools: Pools, known: VirtualServerState, spec: VirtualServer, now: float) -> list[Transition]:
    """Bring a virtual server to a new specification."""
    old, sorry_before = known.real_servers, known.sorry_in_service
    staying = {rs.endpoint for rs in spec.real_servers}
    told: list[Transition] = [
        telling.removed(known, server, stopping=False) for endpoint, server in old.items() if endpoint not in staying
    ]
    lost_by_removal = known.quorate and not known.holds_with(staying)
    there, named = known.service().destinations, endpoints(spec)
    leaving = [there[endpoint] for endpoint in old if endpoint in there and endpoint not in named]
    flipped: list[tuple[RealServerState, float]] = []
    servers: dict[Endpoint, RealServerState] = {}
    for wanted in spec.real_servers:
        server = old.get(wanted.endpoint)
        if server is None:
            server = new_real_server(pools, wanted, Standing.FRESH, now)
        else:
            since = server.since
            if _change_real_server(pools, server, wanted, now):
                flipped.append((server, since))
        servers[wanted.endpoint] = server
    pools.departures.begin(spec.key, leaving, now, spec.drain_timeout)
    known.spec, known.real_servers = spec, servers
    known.suspended = pools.must_suspend(spec)
    known.recount()
    chain = begin_by_configuration(pools, now)
    moved = holds.settle(pools, known, now)
    quorum_turned = known.judge(now)
    for server, since in flipped:
        server.why = telling.server_chain(pools.chronicle, chain, server, now)
        server.down_why = () if server.live else server.why
        was = "DOWN" if server.live else "UP"
        told.append(
            telling.real_server_changed(known, server, None, was=was, previous_state_s=now - since, weight_old=None)
        )
    told += holds.told(known, moved, now)
    if quorum_turned:
        by_configuration = known.quorate or not lost_by_removal
        return told + quorum_flipped(pools, known, chain, sorry_before, now, by_configuration=by_configuration)
    return told + telling.sorry_changed(known, sorry_before, chain[-1].id)


def _change_real_server(pools: Pools, server: RealServerState, wanted: RealServer, now: float) -> bool:
    """Bring a real server to a new specification; return whether that alone took it in or out."""
    if server.spec.weight != wanted.weight:
        text = f"a new configuration says weight {wanted.weight}"
        server.why = pools.chronicle.extend_together((), now, Kind.CONFIGURATION, text, weight=wanted.weight)
    server.checks = carried_over(server, wanted, pools.jobs.jobs, now)
    server.spec = wanted
    server.weigh()
    return server.judge(now)


def _gone(virtual_server: VirtualServerState) -> list[Transition]:
    """Return what is told of a virtual server that left the configuration: it is DOWN now, unless that was told already."""
    told: list[Transition] = [
        telling.removed(virtual_server, server, stopping=False) for server in virtual_server.real_servers.values()
    ]
    return [*told, telling.virtual_server_removed(virtual_server, stopping=False)] if virtual_server.quorate else told
