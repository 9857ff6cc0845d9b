"""Routing netlink in bytes, as far as it takes to ask which way a packet would go: pure, no socket.

Our own and not pyroute2, because a director asks for ten thousand targets at once: this takes about 10 µs for each.
Sources: rtnetlink(7); include/uapi/linux/rtnetlink.h (rtmsg, RTA_DST, RTA_OIF), if_link.h (ifinfomsg, IFLA_IFNAME), netlink(7).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from checkers.kit.frozen import frozen
from supervisor.ipvs.wire import WireError
from supervisor.model import IPAddress

GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE: whatever a way hangs on."""

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ATTRIBUTE = struct.Struct("=HH")
_NUMBER = struct.Struct("=i")

_ERROR, _DONE = 2, 3
_NEWLINK, _GETLINK, _NEWROUTE, _GETROUTE = 16, 18, 24, 26
_REQUEST, _DUMP = 0x1, 0x300
_RTA_DST, _RTA_OIF, _IFLA_IFNAME = 1, 4, 3
_FAMILIES = {4: 2, 6: 10}  # AF_INET, AF_INET6
_UP, _RUNNING = 0x1, 0x40  # IFF_*
_GOES_NOWHERE = frozenset({6, 7, 8})  # RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT


@frozen
class Link:
    """An interface. `running`: it is up and has a carrier (operstate up or unknown)."""

    name: str
    up: bool
    running: bool


class Way(NamedTuple):
    """The kernel's answer to one question: the index of the interface to go out by, or the errno (positive) why there is none."""

    sequence: int
    interface: int
    error: int


def links_request(sequence: int) -> bytes:
    """Return the question for all interfaces."""
    return _HEADER.pack(_HEADER.size + _LINK.size, _GETLINK, _REQUEST | _DUMP, sequence, 0) + _LINK.pack(0, 0, 0, 0, 0)


def ways_request(questions: Iterable[tuple[int, IPAddress]]) -> bytes:
    """Return the questions which way to go to each address, each with its sequence number."""
    parts: list[bytes] = []
    for sequence, address in questions:
        packed = address.packed
        route = _ROUTE.pack(_FAMILIES[address.version], address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
        attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(packed), _RTA_DST) + packed
        length = _HEADER.size + len(route) + len(attribute)
        parts += (_HEADER.pack(length, _GETROUTE, _REQUEST, sequence, 0), route, attribute)
    return b"".join(parts)


def read_links(data: bytes, links: dict[int, Link]) -> bool:
    """Add the interfaces of one message of a dump; return whether it was the last. Raises WireError."""
    for kind, _, body in _messages(data):
        if kind == _DONE:
            return True
        if kind == _ERROR:
            raise WireError(f"the interfaces cannot be read: {body[: _NUMBER.size].hex()}")
        if kind == _NEWLINK and len(body) >= _LINK.size:
            _, _, index, flags, _ = _LINK.unpack_from(body)
            name = dict(_attributes(body[_LINK.size :])).get(_IFLA_IFNAME, b"")
            links[index] = Link(name.rstrip(b"\0").decode(errors="replace"), bool(flags & _UP), bool(flags & _RUNNING))
    return False


def read_ways(data: bytes) -> list[Way]:
    """Return the answers in what was received. Raises WireError."""
    return [_way(kind, sequence, body) for kind, sequence, body in _messages(data)]


def _way(kind: int, sequence: int, body: bytes) -> Way:
    if kind == _ERROR and len(body) >= _NUMBER.size:
        return Way(sequence, 0, -int(_NUMBER.unpack_from(body)[0]))
    if kind != _NEWROUTE or len(body) < _ROUTE.size:
        raise WireError(f"a message of type {kind} is no answer to where an address is")
    if _ROUTE.unpack_from(body)[7] in _GOES_NOWHERE:
        return Way(sequence, 0, 113)  # EHOSTUNREACH
    interface = dict(_attributes(body[_ROUTE.size :])).get(_RTA_OIF, b"")
    return Way(sequence, _NUMBER.unpack(interface)[0] if len(interface) == _NUMBER.size else 0, 0)


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, sequence number and body of each message. Raises WireError."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            raise WireError(f"a message claims {length} bytes, {len(data) - offset} are there")
        yield kind, sequence, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size or offset + length > len(data):
            return
        yield kind, data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
