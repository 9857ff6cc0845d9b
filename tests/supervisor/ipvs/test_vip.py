"""Which interface an address goes to; what it does to real interfaces is in tests/kernel/test_vip_kernel.py."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from supervisor.ipvs.vip import CannotAssign, Link, Present, choose

LO = Link(1, "lo", up=True, mac=b"")
ETH0 = Link(2, "eth0", up=True, mac=bytes.fromhex("020000000002"))
ETH1 = Link(3, "eth1", up=True, mac=bytes.fromhex("020000000003"))
DOWN = Link(4, "eth2", up=False, mac=bytes.fromhex("020000000004"))
LINKS = [LO, ETH0, ETH1, DOWN]


def at(link: Link, text: str, *, ours: bool = False) -> Present:
    address, prefix = text.split("/")
    return Present(ip_address(address), int(prefix), link.index, ours)


PRESENT = [
    at(LO, "127.0.0.1/8"),
    at(ETH0, "203.0.113.1/24"),
    at(ETH0, "2001:db8::1/64"),
    at(ETH1, "203.0.0.1/16"),
    at(DOWN, "198.51.100.1/24"),
]


@pytest.mark.parametrize(
    ("address", "default", "expected"),
    [
        ("203.0.113.100", "eth1", ETH0),  # the narrower of two networks
        ("203.0.7.7", "eth0", ETH1),
        ("192.0.2.1", "eth1", ETH1),  # no network: the default
        ("2001:db8::ffff", "eth1", ETH0),
        ("fd00::1", "eth1", ETH1),
    ],
)
def test_an_address_goes_where_its_network_is_else_to_the_default_interface(
    address: str, default: str, expected: Link
) -> None:
    assert choose(ip_address(address), LINKS, PRESENT, default) == expected


def test_an_address_that_stands_alone_is_no_network() -> None:
    present = [at(ETH1, "192.0.2.1/32")]
    assert choose(ip_address("192.0.2.1"), LINKS, present, "eth0") == ETH0


@pytest.mark.parametrize(
    ("address", "default", "message"),
    [
        ("192.0.2.1", "bond7", "no interface bond7 · name one with default_interface"),
        ("198.51.100.7", "eth0", "interface eth2 is down · `ip link set eth2 up`"),
        ("192.0.2.1", "eth2", "interface eth2 is down"),
    ],
)
def test_where_there_is_no_interface_the_remedy_is_named(address: str, default: str, message: str) -> None:
    with pytest.raises(CannotAssign, match=message):
        choose(ip_address(address), LINKS, PRESENT, default)
