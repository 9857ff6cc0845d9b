"""Who is idle is known from the kernel's counts, and costs nothing where nobody asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from supervisor.core.events import DestinationId
from supervisor.core.idleness import LOOK_EVERY_S, QUIET_S, Idleness
from supervisor.core.table import Counters, Load, Reading, Table
from supervisor.model import AddressKey, CheckSpec, Endpoint, Protocol, RealServer, Schedule, ServiceKey, VirtualServer
from tests.supervisor.core.builders import endpoint

LAZY = Schedule(5.0, 1, 1.0, 1.0, 5.0, idle_interval=60.0)


def key(number: int) -> AddressKey:
    return AddressKey(Protocol.TCP, endpoint(100 + number))


def spec(host: int, schedule: Schedule = LAZY) -> CheckSpec:
    return CheckSpec("TCP_CHECK", endpoint(host), schedule)


def pool(number: int, *specs: CheckSpec) -> VirtualServer:
    return VirtualServer(key(number), real_servers=tuple(RealServer(one.target, checks=(one,)) for one in specs))


def name(number: int, where: Endpoint) -> DestinationId:
    return key(number), where


def reading(carried: Mapping[DestinationId, Load]) -> Reading:
    loads: dict[ServiceKey, dict[Endpoint, Load]] = {}
    for (service, where), load in carried.items():
        loads.setdefault(service, {})[where] = load
    return Reading(Table(), loads)


def watching(*pools: VirtualServer) -> Idleness:
    idleness = Idleness()
    specs = [check for one in pools for server in one.real_servers for check in server.checks]
    idleness.reconfigure(pools, {check: number for number, check in enumerate(dict.fromkeys(specs), start=1)})
    return idleness


def test_a_server_is_idle_after_a_while_without_traffic_and_busy_at_the_first_packet() -> None:
    idleness, one = watching(pool(1, spec(21))), name(1, endpoint(21))
    quiet = Load(counters=Counters(7, 70))
    assert [idleness.look(reading({one: quiet}), now) for now in (0.0, QUIET_S - 1, QUIET_S)] == [False, False, True]
    assert idleness.idle == {1}
    assert not idleness.look(reading({one: quiet}), 2 * QUIET_S)
    assert idleness.look(reading({one: replace(quiet, counters=Counters(7, 71))}), 2 * QUIET_S + LOOK_EVERY_S)
    assert idleness.idle == set()


def test_an_open_connection_is_traffic() -> None:
    idleness, one = watching(pool(1, spec(21))), name(1, endpoint(21))
    for now in range(0, 1000, 10):
        idleness.look(reading({one: Load(active=1)}), float(now))
    assert idleness.idle == set()


def test_who_is_in_several_virtual_servers_is_idle_only_if_it_is_in_all_of_them() -> None:
    idleness = watching(pool(1, spec(21)), pool(2, spec(21)))
    for now in range(200):
        busy = Load(counters=Counters(now, now))
        idleness.look(reading({name(1, endpoint(21)): Load(), name(2, endpoint(21)): busy}), float(now))
    assert idleness.idle == set()


def test_of_who_is_not_in_the_table_nothing_is_known_and_its_quiet_begins_anew() -> None:
    idleness, one = watching(pool(1, spec(21))), name(1, endpoint(21))
    idleness.look(reading({one: Load()}), 0.0)
    assert idleness.look(reading({one: Load()}), QUIET_S)
    assert idleness.look(reading({}), QUIET_S + 2)
    assert [idleness.look(reading({one: Load()}), QUIET_S + at) for at in (4.0, QUIET_S + 3.0, QUIET_S + 4.0)] == [
        False,
        False,
        True,
    ]


def test_checks_without_an_idle_interval_are_of_no_interest() -> None:
    idleness, one = watching(pool(1, spec(21, replace(LAZY, idle_interval=None)))), name(1, endpoint(21))
    assert not any(idleness.look(reading({one: Load()}), float(now)) for now in range(200))


def test_readings_that_come_in_a_storm_are_passed_over() -> None:
    idleness, one = watching(pool(1, spec(21))), name(1, endpoint(21))
    for step in range(100):
        idleness.look(reading({one: Load(counters=Counters(step))}), step * LOOK_EVERY_S / 100)
    assert idleness.look(reading({one: Load(counters=Counters(0))}), QUIET_S + LOOK_EVERY_S)


def test_a_new_configuration_forgets_who_left() -> None:
    idleness, one = watching(pool(1, spec(21))), name(1, endpoint(21))
    idleness.look(reading({one: Load()}), 0.0)
    idleness.look(reading({one: Load()}), QUIET_S)
    idleness.reconfigure([pool(1, spec(22))], {spec(22): 2})
    assert idleness.idle == set()
