"""A virtual_server_group whose addresses change: people know one virtual server, and hear of it once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address

import pytest

from supervisor.core.director import Director
from supervisor.core.transitions import Transition
from supervisor.model import AddressKey, Config, Endpoint, Protocol, RealServer, VirtualServer
from tests.supervisor.core.builders import config, endpoint, real_server, said, started, virtual_server

SERVERS = real_server(21), real_server(22)


def key(last: int) -> AddressKey:
    return AddressKey(Protocol.TCP, Endpoint(ip_address(f"203.0.113.{last}"), 80))


def group(*addresses: int, servers: tuple[RealServer, ...] = SERVERS, use: int = 0) -> tuple[VirtualServer, ...]:
    """A block that uses a group of these addresses."""
    one = replace(virtual_server(*servers, sorry=None), group="web", group_use=use)
    return tuple(replace(one, key=key(last), follower=last != addresses[0]) for last in addresses)


def running(*addresses: int, dead: tuple[int, ...] = ()) -> Director:
    director = started(config(*group(*addresses)))
    for server in SERVERS:
        number = int(server.endpoint.address) & 255
        director.handle(said(director.jobs.jobs[server.checks[0]], up=number not in dead), 1.0)
    return director


def heard(told: Iterable[Transition]) -> list[str]:
    """What reaches people: the kind of each transition that no other address tells."""
    return [type(transition).__name__ for transition in told if not transition.follower]


def reloaded(director: Director, file: Config) -> list[str]:
    return heard(director.reconfigure(file, now=5.0))


def serving(director: Director, last: int) -> set[int]:
    return {int(where.address) & 255 for where in director.desired().services[key(last)].destinations}


@pytest.mark.parametrize(
    "addresses",
    [(100, 101, 102), (100, 102), (100,), (101, 100), (101,), (102, 103), (102, 101)],
    ids=["one more", "another second", "one less", "other way round", "first gone", "all others", "new first"],
)
@pytest.mark.parametrize("dead", [(), (21,), (21, 22)])
def test_other_addresses_are_no_news_and_serve_with_what_is_known(
    addresses: tuple[int, ...], dead: tuple[int, ...]
) -> None:
    director = running(100, 101, dead=dead)
    assert reloaded(director, config(*group(*addresses))) == []
    for last in addresses:
        assert serving(director, last) == {21, 22} - set(dead)
    assert set(director.desired().services) == {key(last) for last in addresses}


@pytest.mark.parametrize("addresses", [(100, 101), (100, 102), (101,), (102,), (102, 100)])
def test_what_else_changes_is_told_once(addresses: tuple[int, ...]) -> None:
    director = running(100, 101, dead=(22,))
    other = config(*group(*addresses, servers=(real_server(22),)))
    assert reloaded(director, other) == ["RealServerRemoved", "QuorumChanged"]
    assert reloaded(director, config(*group(*addresses))) == ["QuorumChanged"]


def test_a_group_that_leaves_the_file_is_told_once() -> None:
    director = running(100, 101)
    elsewhere = replace(group(100)[0], group="", key=key(50))
    assert reloaded(director, config(elsewhere)) == [
        "RealServerRemoved",
        "RealServerRemoved",
        "VirtualServerRemoved",
        "QuorumChanged",
    ]


def test_a_second_block_of_a_group_is_another_virtual_server() -> None:
    director = running(100)
    udp = replace(group(101, use=1)[0], key=replace(key(101), protocol=Protocol.UDP))
    assert reloaded(director, config(*group(100), udp)) == ["QuorumChanged"]
    assert reloaded(director, config(*group(100))) == ["RealServerRemoved", "RealServerRemoved", "VirtualServerRemoved"]


def test_the_one_that_takes_the_place_of_the_first_goes_on_with_its_state() -> None:
    director = running(100, dead=(21,))
    before = director.virtual_servers[key(100)].real_servers[endpoint(21)].why
    reloaded(director, config(*group(101)))
    assert director.virtual_servers[key(101)].real_servers[endpoint(21)].why == before
