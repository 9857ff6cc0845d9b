"""To which targets there is no way: the questions in bytes, and what is made of the answers. Real links come and go in
tests/kernel/test_paths_kernel.py.
"""

from __future__ import annotations

import errno
import struct
from ipaddress import ip_address

import pytest

from supervisor.ipvs.paths import BATCH, MOVED_MAX_S, Usual, survey
from supervisor.ipvs.routewire import Link, Way, read_links, read_ways, ways_request
from supervisor.ipvs.wire import WireError
from supervisor.model import IPAddress

SERVER, OTHER = ip_address("192.168.100.21"), ip_address("2001:db8::21")
UP, DOWN, UNPLUGGED = (
    Link("eth1", up=True, running=True),
    Link("eth1", up=False, running=False),
    Link("eth1", up=True, running=False),
)
ETH0 = Link("eth0", up=True, running=True)


def by(interface: int) -> dict[IPAddress, Way]:
    return {SERVER: Way(0, interface, 0)}


NOWHERE: dict[IPAddress, Way] = {SERVER: Way(0, 0, errno.ENETUNREACH)}


def test_a_question_is_the_one_that_the_kernel_documents() -> None:
    assert ways_request([(7, SERVER)]).hex(" ", 4) == (
        "24000000 1a000100 07000000 00000000 02200000 00000000 00000000 08000100 c0a86415"
    )
    assert len(ways_request([(7, OTHER)])) == 16 + 12 + 20


def test_the_way_to_this_machine_itself_is_its_loopback() -> None:
    """The real kernel: reading takes no privilege."""
    addresses = [ip_address("127.0.0.1"), ip_address("127.0.0.2"), ip_address("fe80::1")]
    ways, links = survey(addresses)
    assert set(ways) == set(addresses[:2]), "a link-local address has a way on every interface"
    assert {links[way.interface].name for way in ways.values()} == {"lo"}


def test_more_targets_than_fit_into_one_question_are_asked_for_in_turn() -> None:
    addresses = [ip_address(0x7F000001 + number) for number in range(3 * BATCH + 1)]
    ways, _ = survey(addresses)
    assert set(ways) == set(addresses)


@pytest.mark.parametrize(
    ("ways", "links", "why"),
    [
        (by(3), {2: ETH0, 3: UP}, ""),
        (by(3), {2: ETH0, 3: DOWN}, "eth1 is down"),
        (by(3), {2: ETH0, 3: UNPLUGGED}, "eth1 has no carrier"),
        (NOWHERE, {2: ETH0, 3: UP}, "no route (ENETUNREACH)"),
        (NOWHERE, {2: ETH0, 3: DOWN}, "eth1 is down"),
        (by(2), {2: ETH0, 3: DOWN}, "eth1 is down"),
        (by(2), {2: ETH0}, "its interface is gone"),
        (by(2), {2: ETH0, 3: UP}, "its way is not by eth1 any more"),
    ],
)
def test_a_way_is_lost_with_its_route_its_interface_or_its_carrier(
    ways: dict[IPAddress, Way], links: dict[int, Link], why: str
) -> None:
    usual = Usual()
    assert usual.lost(by(3), {2: ETH0, 3: UP}, 0.0) == {}
    assert usual.lost(ways, links, 1.0) == ({SERVER: why} if why else {})
    assert usual.lost(by(3), {2: ETH0, 3: UP}, 2.0) == {}, "and it is back with it"


def test_a_way_that_moved_for_good_is_the_usual_one_after_a_while() -> None:
    usual, links = Usual(), {2: ETH0, 3: UP}
    usual.lost(by(3), links, 0.0)
    assert usual.settles_at() == float("inf")
    assert usual.lost(by(2), links, 10.0)
    assert usual.settles_at() == 10.0 + MOVED_MAX_S
    assert usual.lost(by(2), links, 10.0 + MOVED_MAX_S) == {}
    assert usual.settles_at() == float("inf")
    assert usual.lost(by(2), {2: ETH0}, 9999.0) == {}


def test_a_target_that_left_the_configuration_is_forgotten() -> None:
    usual, links = Usual(), {2: ETH0, 3: UP}
    usual.lost(by(3), links, 0.0)
    assert usual.lost({}, links, 1.0) == {}
    assert usual.lost(by(2), links, 2.0) == {}


def test_routes_that_lead_nowhere_and_errors_are_no_way() -> None:
    unreachable = struct.pack("=IHHII", 28, 24, 0, 5, 0) + struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 0, 0, 0, 7, 0)
    refused = struct.pack("=IHHIIi", 36, 2, 0, 6, 0, -errno.ENETUNREACH) + bytes(16)
    assert read_ways(unreachable + refused) == [Way(5, 0, errno.EHOSTUNREACH), Way(6, 0, errno.ENETUNREACH)]


@pytest.mark.parametrize("data", [struct.pack("=IHHII", 99, 24, 0, 5, 0), struct.pack("=IHHII", 16, 24, 0, 5, 0)])
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        read_ways(data)


def test_a_dump_of_interfaces_that_fails_is_no_empty_list() -> None:
    with pytest.raises(WireError, match="cannot be read"):
        read_links(struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -1), {})
