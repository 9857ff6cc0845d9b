"""Frames that ask who has an address and that say who has it: ARP and IPv6 neighbour discovery. Pure: values to bytes and back.

A question never names an address of ours as its sender (RFC 5227 calls it a probe, RFC 4862 duplicate address detection), so that it
spoils nobody's cache when the answer is "somebody else". An announcement is the ARP *request* form, which caches accepted every
time where the reply form once was ignored (ipvs.md, section 5), and the unsolicited neighbour advertisement with the override flag.

Sources: RFC 826; RFC 5227, sections 2.1.1 and 3; RFC 4861, sections 4.3, 4.4 and 7.2.6; RFC 4862, section 5.4; RFC 2464, section 7.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import assert_never

from supervisor.model import IPAddress

ETHERTYPE_ARP, ETHERTYPE_IPV6 = 0x0806, 0x86DD
MAC_BYTES = 6

_REQUEST, _REPLY = 1, 2
_ICMPV6, _SOLICITATION, _ADVERTISEMENT = 58, 135, 136
_OVERRIDE = 0x20000000
_HOP_LIMIT = 255  # anything less came through a router and is to be ignored
_TARGET_LINK_LAYER_ADDRESS = 2  # option of an advertisement

_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_NEIGHBOUR = struct.Struct("!BBHI16s")
_BROADCAST = b"\xff" * MAC_BYTES
_ALL_NODES = IPv6Address("ff02::1")


def ethertype(address: IPAddress) -> int:
    """Return the type of the frames in which neighbours talk about `address`."""
    return ETHERTYPE_ARP if address.version == 4 else ETHERTYPE_IPV6


def probe(mac: bytes, address: IPAddress) -> bytes:
    """Return the frame with which the machine `mac` asks who has `address`, without claiming it."""
    if isinstance(address, IPv4Address):
        return _arp(mac, bytes(4), address.packed)
    group = IPv6Address(bytes.fromhex("ff0200000000000000000001ff") + address.packed[-3:])  # its solicited-node group
    return _icmpv6(mac, IPv6Address(0), group, _SOLICITATION, 0, address.packed)


def announcement(mac: bytes, address: IPAddress) -> bytes:
    """Return the frame with which the machine `mac` tells everybody that it has `address`."""
    if isinstance(address, IPv4Address):
        return _arp(mac, address.packed, address.packed)
    option = bytes([_TARGET_LINK_LAYER_ADDRESS, 1]) + mac
    return _icmpv6(mac, address, _ALL_NODES, _ADVERTISEMENT, _OVERRIDE, address.packed, option)


def claimant(frame: bytes, address: IPAddress, own_mac: bytes) -> bytes | None:
    """Return the MAC of another machine that has `address`, or is asking for it to take it just as we are.

    None when `frame` says nothing of the kind, or is not well formed: a neighbour's bytes are never trusted and never an error.
    """
    if len(frame) < _ETHERNET.size:
        return None
    _, source, kind = _ETHERNET.unpack_from(frame)
    if kind != ethertype(address):
        return None
    match address:
        case IPv4Address():
            mac = _arp_claimant(frame, address)
        case IPv6Address():
            mac = _neighbour_claimant(frame, source, address)
        case _:
            assert_never(address)
    return None if mac == own_mac else mac


def mac_text(mac: bytes) -> str:
    """Return a MAC as operators write it."""
    return mac.hex(":")


def _arp(mac: bytes, sender: bytes, target: bytes) -> bytes:
    return _ETHERNET.pack(_BROADCAST, mac, ETHERTYPE_ARP) + _ARP.pack(
        1, 0x0800, MAC_BYTES, 4, _REQUEST, mac, sender, bytes(MAC_BYTES), target
    )


def _arp_claimant(frame: bytes, address: IPv4Address) -> bytes | None:
    if len(frame) < _ETHERNET.size + _ARP.size:
        return None
    hardware, protocol, mac_bytes, address_bytes, operation, mac, sender, _, target = _ARP.unpack_from(
        frame, _ETHERNET.size
    )
    if (hardware, protocol, mac_bytes, address_bytes) != (1, 0x0800, MAC_BYTES, 4) or operation not in {
        _REQUEST,
        _REPLY,
    }:
        return None
    has_it = sender == address.packed
    wants_it = operation == _REQUEST and sender == bytes(4) and target == address.packed
    found: bytes = mac
    return found if has_it or wants_it else None


def _icmpv6(
    mac: bytes, source: IPv6Address, group: IPv6Address, kind: int, flags: int, target: bytes, option: bytes = b""
) -> bytes:
    """Return a neighbour discovery message to a multicast group, in its Ethernet frame."""
    message = _NEIGHBOUR.pack(kind, 0, 0, flags, target) + option
    pseudo_header = source.packed + group.packed + struct.pack("!IxxxB", len(message), _ICMPV6)
    checksum = _checksum(pseudo_header + message)
    message = message[:2] + struct.pack("!H", checksum) + message[4:]
    return (
        _ETHERNET.pack(b"\x33\x33" + group.packed[-4:], mac, ETHERTYPE_IPV6)
        + _IPV6.pack(6 << 28, len(message), _ICMPV6, _HOP_LIMIT, source.packed, group.packed)
        + message
    )


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _neighbour_claimant(frame: bytes, source_mac: bytes, address: IPv6Address) -> bytes | None:
    start = _ETHERNET.size + _IPV6.size
    if len(frame) < start + _NEIGHBOUR.size:
        return None
    _, _, protocol, hop_limit, source, _ = _IPV6.unpack_from(frame, _ETHERNET.size)
    kind, _, _, _, target = _NEIGHBOUR.unpack_from(frame, start)
    if protocol != _ICMPV6 or hop_limit != _HOP_LIMIT or target != address.packed:
        return None
    if kind == _ADVERTISEMENT:
        option = frame[start + _NEIGHBOUR.size :]
        named = option[:2] == bytes([_TARGET_LINK_LAYER_ADDRESS, 1]) and len(option) >= 2 + MAC_BYTES
        return option[2 : 2 + MAC_BYTES] if named else source_mac
    return source_mac if kind == _SOLICITATION and source == bytes(16) else None
