"""Fuzz targets of what the kernel and the neighbours on the network say to the privileged half.

Bytes in; an exception comes out for a bug of ours and for nothing else.
"""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address, IPv6Address

from supervisor.ipvs import wire
from supervisor.ipvs.neighbours import MAC_BYTES, claimant
from supervisor.ipvs.netlink import _messages, _result
from supervisor.ipvs.routewire import Link, read_links, read_ways

_ADDRESSES = (IPv4Address("203.0.113.100"), IPv6Address("2001:db8::1234:5678"))
_OWN_MAC = bytes.fromhex("020000000001")


def netlink(data: bytes) -> None:
    """A datagram is messages, a payload a record, or a WireError; the short way to read a destination agrees with the long one."""
    try:
        for kind, _, _, start, end in _messages(data):
            assert 16 <= start <= end <= len(data)
            _result(data, start, end, kind)
    except wire.WireError:
        pass
    for family in (4, 6):
        assert _destination(data, family, short=True) == _destination(data, family, short=False)
    with contextlib.suppress(wire.WireError):
        wire.decode_service(data)


def _destination(data: bytes, family: int, *, short: bool) -> wire.DestinationRecord | str:
    try:
        if short:
            wire.decode_destination(data, family)  # what it has learned counts the second time
            return wire.decode_destination(data, family)
        return wire._walk_destination(data, family)
    except wire.WireError as error:
        return str(error)


def neighbours(data: bytes) -> None:
    """A frame names the hardware address of somebody else, or nobody."""
    for address in _ADDRESSES:
        mac = claimant(data, address, _OWN_MAC)
        assert mac is None or (len(mac) == MAC_BYTES and mac != _OWN_MAC)


def routes(data: bytes) -> None:
    """What the kernel says of interfaces and ways is read, or a WireError."""
    links: dict[int, Link] = {}
    with contextlib.suppress(wire.WireError):
        read_links(data, links)
    assert all(isinstance(link.name, str) for link in links.values())
    with contextlib.suppress(wire.WireError):
        for way in read_ways(data):
            assert isinstance(way.interface, int)
