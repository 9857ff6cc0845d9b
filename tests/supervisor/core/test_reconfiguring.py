"""What a changed file means to what is known already: over a reload, and over a crash with another file at the next start."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address

import pytest

from supervisor.core import views
from supervisor.core.director import Director
from supervisor.core.events import Health
from supervisor.core.table import Destination, Service, ServiceSettings, Table
from supervisor.core.transitions import QuorumChanged, RealServerRemoved, SorryChanged, Transition
from supervisor.model import Endpoint, RealServer, VirtualServer
from tests.supervisor.core.builders import (
    KEY,
    check,
    config,
    endpoint,
    real_server,
    report,
    said,
    started,
    virtual_server,
    weights,
)

OTHER = replace(KEY, endpoint=replace(KEY.endpoint, port=443))


def found(**by_last: int) -> Table:
    destinations = {endpoint(int(n[1:])): Destination(endpoint(int(n[1:])), w) for n, w in by_last.items()}
    return Table({KEY: Service(KEY, ServiceSettings("rr"), destinations)})


def elsewhere(*servers: RealServer) -> VirtualServer:
    return replace(virtual_server(*servers, sorry=None), key=OTHER)


def weights_elsewhere(director: Director) -> dict[int, int]:
    destinations = director.desired().services[OTHER].destinations
    return {int(where.address) & 255: found.weight for where, found in destinations.items()}


@pytest.mark.parametrize("sorry", [None, 20])
def test_a_file_with_none_of_the_servers_that_the_table_has_starts_with_all_of_its_own(sorry: int | None) -> None:
    """To take them all for dead, because the table lacks them, would empty the pool until the first checks."""
    file = config(virtual_server(real_server(31), real_server(32), sorry=sorry))
    director = Director(file, now=0.0, found=found(_21=1, _22=1))
    assert director.start(now=0.0) == []
    assert weights(director) == {31: 1, 32: 1}


def test_where_the_sorry_server_serves_the_absent_ones_are_out_and_not_new() -> None:
    director = Director(config(virtual_server(real_server(21), real_server(22))), now=0.0, found=found(_20=1))
    assert director.start(now=0.0) == []
    assert weights(director) == {20: 1}


def test_a_server_with_inhibit_that_the_table_lacks_is_new_because_out_it_would_stand_there_with_weight_0() -> None:
    servers = real_server(21, inhibit=True), real_server(22, inhibit=True), real_server(23, inhibit=True)
    director = Director(config(virtual_server(*servers)), now=0.0, found=found(_21=1, _22=0))
    director.start(now=0.0)
    assert weights(director) == {21: 1, 22: 0, 23: 1}


def test_a_sorry_server_that_steps_in_at_the_start_because_the_file_changed_is_told() -> None:
    file = config(virtual_server(real_server(21, inhibit=True)))
    director = Director(file, now=0.0, found=found(_21=0, _22=1))
    told = director.start(now=0.0)
    assert weights(director) == {20: 1, 21: 0}
    assert [(type(t), getattr(t, "active", None)) for t in told] == [(QuorumChanged, None), (SorryChanged, True)]


def test_a_virtual_server_that_is_renamed_does_not_begin_with_a_server_that_is_known_to_be_dead() -> None:
    servers = real_server(21), real_server(22)
    director = started(config(virtual_server(*servers)))
    report(director, 21, up=True)
    report(director, 22, up=False)
    director.reconfigure(config(elsewhere(*servers)), now=2.0)
    assert weights_elsewhere(director) == {21: 1}


def test_a_new_virtual_server_does_not_make_a_worker_forget_what_its_job_says_elsewhere() -> None:
    servers = real_server(21), real_server(22)
    director = started(config(virtual_server(*servers)))
    report(director, 21, up=True)
    director.reconfigure(config(elsewhere(*servers), virtual_server(*servers)), now=2.0)
    assert director.job_health(director.virtual_servers[KEY].real_servers[endpoint(21)].checks[0].job) is Health.UP


def test_adopted_consumers_of_one_job_that_disagree_wait_for_a_probe() -> None:
    """The worker's first full state repeats what it was told; it must not turn one belief into the other's verdict."""
    shared = real_server(21)
    both = config(virtual_server(real_server(23), shared), elsewhere(shared, real_server(22)))
    serving = {endpoint(last): Destination(endpoint(last), 1) for last in (21, 22)}
    table = Table(
        {**found(_23=1, _29=1).services, OTHER: Service(OTHER, ServiceSettings("rr"), serving)}
    )  # 21 is new in the first pool, where 29 was
    director = Director(both, now=0.0, found=table)
    director.start(now=0.0)
    job = director.virtual_servers[KEY].real_servers[endpoint(21)].checks[0].job
    assert director.job_health(job) is Health.UNKNOWN
    assert (weights(director), weights_elsewhere(director)) == ({23: 1}, {21: 1, 22: 1})
    director.handle(said(job, up=True), 2.0)
    assert (weights(director), weights_elsewhere(director)) == ({23: 1, 21: 1}, {21: 1, 22: 1})


@pytest.mark.parametrize("seed", range(5))
def test_the_sums_that_are_kept_are_what_a_count_gives(seed: int) -> None:
    rng = random.Random(seed)
    director = started(config(virtual_server(*(real_server(last, weight=last) for last in range(21, 29)))))
    for step in range(200):
        if rng.random() < 0.1:
            chosen = rng.sample(range(21, 29), rng.randint(1, 8))
            servers = [real_server(last, weight=rng.randint(0, 9)) for last in sorted(chosen)]
            if rng.random() < 0.3:
                servers[0] = replace(servers[0], checks=(check(servers[0].endpoint, path=f"/{step}"),))
            director.reconfigure(config(virtual_server(*servers)), now=float(step))
        state = director.virtual_servers[KEY]
        one = rng.choice(list(state.real_servers.values()))
        director.handle(said(one.checks[0].job, up=rng.random() < 0.5), float(step))
        live = [server for server in state.real_servers.values() if server.live]
        assert (state.weight_up, state.servers_up) == (sum(server.spec.weight for server in live), len(live))


def quorums(told: Iterable[Transition]) -> list[tuple[bool, bool]]:
    """Whether each change of a quorum was a gain, and whether it is the new configuration's doing."""
    return [(change.up, change.by_configuration) for change in told if isinstance(change, QuorumChanged)]


def test_a_quorum_that_a_file_raises_or_lowers_is_the_configurations_doing() -> None:
    director = started(config(virtual_server(real_server(21), real_server(22))))
    report(director, 22, up=False)
    too_much = config(virtual_server(real_server(21), real_server(22), quorum=2))
    assert quorums(director.reconfigure(too_much, now=2.0)) == [(False, True)]
    enough = config(virtual_server(real_server(21), real_server(22)))
    assert quorums(director.reconfigure(enough, now=3.0)) == [(True, True)]


def test_a_quorum_that_goes_with_a_removed_server_is_lost() -> None:
    director = started(config(virtual_server(real_server(21), real_server(22), real_server(23), quorum=2)))
    report(director, 23, up=False)
    told = director.reconfigure(config(virtual_server(real_server(22), real_server(23), quorum=2)), now=2.0)
    assert quorums(told) == [(False, False)]
    assert [change.in_service for change in told if isinstance(change, RealServerRemoved)] == [True]


def test_the_last_live_server_swapped_for_another_costs_no_quorum() -> None:
    director = started(config(virtual_server(real_server(21))))
    told = director.reconfigure(config(virtual_server(real_server(22))), now=2.0)
    assert quorums(told) == []
    assert weights(director) == {22: 1}


@pytest.mark.parametrize(
    "name", ["2001:DB8:0:0::1", "[2001:db8:0::0:1]:80", "2001:db8::1", "[2001:DB8::1]", "[2001:db8::1]:80"]
)
def test_a_real_server_is_found_however_its_ipv6_address_is_written(name: str) -> None:
    where = Endpoint(ip_address("2001:db8::1"), 80)
    director = started(config(virtual_server(RealServer(where), real_server(21))))
    assert [server.spec.endpoint for _, server in views.matching(director, name)] == [where]
    assert views.matching(director, "2001:db8::2") == views.matching(director, "nonsense]:80") == []
