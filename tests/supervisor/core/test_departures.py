"""Who leaves the configuration keeps the connections that it has, for a while, and gets no new ones."""

from __future__ import annotations

import math

from supervisor.core.departures import LAST_PACKETS_S
from supervisor.core.director import Director
from supervisor.core.events import KernelRead, Tick
from supervisor.core.table import Load, Loads, Reading
from supervisor.core.transitions import Drained, Transition
from supervisor.model import VirtualServer
from tests.supervisor.core.builders import (
    KEY,
    config,
    endpoint,
    real_server,
    report,
    started,
    virtual_server,
    weights,
)


def pool(*servers: int, drain_timeout: float = 300.0, sorry: int | None = 20) -> VirtualServer:
    return virtual_server(*(real_server(last) for last in servers), drain_timeout=drain_timeout, sorry=sorry)


def read(director: Director, loads: dict[int, Load], *, now: float) -> list[Transition]:
    """The kernel has just what is wanted; `loads` by the last byte of the address."""
    carried: Loads = {KEY: {endpoint(last): load for last, load in loads.items()}}
    return director.handle(KernelRead(Reading(director.desired(), carried), agrees=True), now)


def without_22(drain_timeout: float = 300.0) -> Director:
    director = started(config(pool(21, 22, drain_timeout=drain_timeout)))
    director.reconfigure(config(pool(21, drain_timeout=drain_timeout)), 10.0)
    return director


def test_a_removed_server_stays_at_weight_0_while_it_has_connections_and_goes_when_they_are_gone() -> None:
    director = without_22()
    assert weights(director) == {21: 1, 22: 0}
    assert read(director, {22: Load(active=3)}, now=12.0) == []
    assert read(director, {22: Load(active=1, inactive=5)}, now=14.0) == []
    told = read(director, {22: Load()}, now=16.0)
    assert told == [Drained(KEY, endpoint(22), took_s=6.0, cut_off=0, in_time=True)]
    assert weights(director) == {21: 1}


def test_connections_that_only_end_are_waited_for_a_little_after_the_last_active_one() -> None:
    director = without_22()
    assert read(director, {22: Load(inactive=9)}, now=12.0) == []
    assert read(director, {22: Load(active=1, inactive=9)}, now=20.0) == [], "one came to life again"
    assert read(director, {22: Load(inactive=9)}, now=22.0) == []
    assert read(director, {22: Load(inactive=9)}, now=22.0 + LAST_PACKETS_S - 0.1) == []
    (told,) = read(director, {22: Load(inactive=9)}, now=22.0 + LAST_PACKETS_S)
    assert isinstance(told, Drained)
    assert told.in_time


def test_when_the_time_is_over_the_rest_is_cut_off() -> None:
    director = without_22(drain_timeout=60.0)
    assert director.next_deadline() == 70.0
    read(director, {22: Load(active=2)}, now=69.0)
    (told,) = director.handle(Tick(), 70.0)
    assert isinstance(told, Drained)
    assert not told.in_time
    assert weights(director) == {21: 1}
    assert director.next_deadline() == math.inf


def test_with_a_timeout_of_0_a_removed_server_is_gone_at_once_as_in_keepalived() -> None:
    assert weights(without_22(drain_timeout=0)) == {21: 1}


def test_a_server_that_was_down_and_out_of_the_table_does_not_come_back_to_leave_it() -> None:
    director = started(config(pool(21, 22)))
    report(director, 22, up=False)
    director.reconfigure(config(pool(21)), 10.0)
    assert weights(director) == {21: 1}


def test_a_server_that_comes_back_while_it_leaves_serves_again() -> None:
    director = without_22()
    director.reconfigure(config(pool(21, 22)), 12.0)
    assert weights(director) == {21: 1, 22: 1}
    assert read(director, {22: Load()}, now=14.0) == []
    assert director.next_deadline() == math.inf


def test_a_removed_virtual_server_stays_with_all_its_servers_at_weight_0_until_they_are_empty() -> None:
    director = started(config(pool(21, 22)))
    director.reconfigure(config(), 10.0)
    assert weights(director) == {21: 0, 22: 0}
    assert KEY.endpoint.address in director.addresses(), "who is connected needs the address still"
    read(director, {21: Load(active=1)}, now=12.0)
    assert weights(director) == {21: 0}
    read(director, {}, now=14.0)
    assert KEY not in director.desired().services
    assert not director.addresses()


def test_a_virtual_server_that_comes_back_while_it_leaves_serves_again() -> None:
    director = started(config(pool(21, 22)))
    director.reconfigure(config(), 10.0)
    director.reconfigure(config(pool(21)), 12.0)
    assert weights(director) == {21: 1, 22: 0}


def test_a_stranger_found_in_our_service_at_the_start_leaves_the_same_way() -> None:
    before = started(config(pool(21, 22)))
    director = Director(config(pool(21)), 0.0, before.desired())
    director.start(0.0)
    assert weights(director) == {21: 1, 22: 0}
    read(director, {22: Load()}, now=2.0)
    assert weights(director) == {21: 1}


def test_a_reading_from_before_the_weight_went_to_0_lets_nobody_go() -> None:
    director = started(config(pool(21, 22)))
    before = director.desired()
    director.reconfigure(config(pool(21)), 10.0)
    assert director.handle(KernelRead(Reading(before), agrees=False), 10.1) == []
    assert weights(director) == {21: 1, 22: 0}


def test_the_sorry_server_of_the_new_file_may_be_one_that_leaves() -> None:
    director = started(config(pool(21, 22, sorry=None)))
    director.reconfigure(config(pool(21, sorry=22)), 10.0)
    assert weights(director) == {21: 1}
