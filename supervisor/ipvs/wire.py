"""Operations and dumps, to and from the payload bytes of the generic-netlink family "IPVS". Pure: bytes in, values out.

A payload is what follows the generic-netlink header: nested attributes (length u16, type u16, value, padding to four bytes).
Nothing is ever taken to be at a fixed offset: kernels put PAD attributes before 64-bit values or leave them out as the machine
needs. Attributes are walked, or read by a shape that was learned from walking (`shape`). Those that have no name here are
skipped, so that a newer kernel can say more than we know.

Encoding always writes the complete entry, because the kernel replaces the whole one (a SET that lacks an attribute is refused,
and a fresh one with defaults would change the forwarding method). What the kernel sends that is not well formed raises
`WireError`; no IndexError or struct.error ever leaves this module.

Sources: include/uapi/linux/ip_vs.h (IPVS_CMD_*, IPVS_SVC_ATTR_*, IPVS_DEST_ATTR_*, IPVS_STATS_ATTR_*);
ip_vs_ctl.c (ip_vs_genl_parse_service, ip_vs_genl_parse_dest, ip_vs_genl_fill_service); ipvs.md, sections 4 and 9.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from socket import htonl, htons, ntohs
from typing import Any, assert_never

from checkers.kit.frozen import frozen
from supervisor.core.table import (
    FLAG_HASHED,
    AddDestination,
    AddService,
    ChangeDestination,
    ChangeService,
    Counters,
    DeleteDestination,
    DeleteService,
    Destination,
    Load,
    Op,
    ServiceSettings,
)
from supervisor.ipvs.shape import Place, Shape
from supervisor.model import (
    AddressKey,
    Endpoint,
    Forwarding,
    FwmarkKey,
    IPAddress,
    Method,
    Protocol,
    ServiceKey,
    TunnelChecksum,
    TunnelType,
)

NEW_SERVICE, SET_SERVICE, DEL_SERVICE, GET_SERVICE, NEW_DEST, SET_DEST, DEL_DEST, GET_DEST = range(1, 9)
"""Commands (IPVS_CMD_*)."""

AF_INET, AF_INET6 = 2, 10
UNNAMED = Method(Forwarding.NAT, tunnel_port=-1)
"""Stands for a forwarding method that no configuration can name: it equals nothing anybody wants, so a difference is seen."""

_CMD_SERVICE, _CMD_DEST = 1, 2
_SVC_FAMILY, _SVC_PROTOCOL, _SVC_ADDRESS, _SVC_PORT, _SVC_FWMARK, _SVC_SCHEDULER = range(1, 7)
_SVC_FLAGS, _SVC_TIMEOUT, _SVC_NETMASK, _SVC_STATS, _SVC_ENGINE, _SVC_STATS64 = range(7, 13)
_DEST_ADDRESS, _DEST_PORT, _DEST_FORWARD, _DEST_WEIGHT, _DEST_UPPER, _DEST_LOWER = range(1, 7)
_DEST_ACTIVE, _DEST_INACTIVE, _DEST_PERSISTENT, _DEST_STATS, _DEST_FAMILY, _DEST_STATS64 = range(7, 13)
_DEST_TUNNEL_TYPE, _DEST_TUNNEL_PORT, _DEST_TUNNEL_FLAGS = range(13, 16)
_STATS_CONNECTIONS, _STATS_IN_PACKETS, _STATS_OUT_PACKETS, _STATS_IN_BYTES, _STATS_OUT_BYTES = range(1, 6)

_HEADER = struct.Struct("=HH")
_U8, _U16, _U32, _S32, _U64 = (struct.Struct(f"={code}") for code in "BHIiQ")
_BE16, _BE32 = struct.Struct("!H"), struct.Struct("!I")
_FLAGS = struct.Struct("=II")
_U16_LENGTH, _U32_LENGTH, _ADDRESS_6_LENGTH = 6, 8, 20
# the nest's header; address, port, family, forwarding, weight, upper, lower, each after its own
_DESTINATION_4, _DESTINATION_6 = (
    struct.Struct(f"=HH HH{address} HHH2x HHH2x HHI HHi HHI HHI") for address in ("I", "16s")
)
_TUN = Forwarding.TUN  # to ask an enumeration for a member or its value takes as long as packing a destination
_TYPE_MASK = 0x3FFF  # NLA_TYPE_MASK: the upper two bits say "nested" and "network byte order"


class WireError(Exception):
    """Bytes that are not what the kernel would send, or a value that the wire cannot carry; the text names it."""


@frozen
class ServiceRecord:
    """One service of a dump."""

    key: ServiceKey
    settings: ServiceSettings
    counters: Counters


@frozen
class DestinationRecord:
    """One destination of a dump."""

    destination: Destination
    load: Load


# --- attributes -----------------------------------------------------------------------------------------------------


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute: header, `value`, padding."""
    length = _HEADER.size + len(value)
    return _HEADER.pack(length, kind) + value + bytes(-length % 4)


def attributes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int]]:
    """Walk the attributes in `data[start:end]`, yielding (type, start of the value, end of the value).

    Raises WireError where a length is too short or leaves the frame.
    """
    stop = len(data) if end is None else end
    while start < stop:
        if stop - start < _HEADER.size:
            raise WireError(f"attribute at byte {start}: expected a header of 4 bytes, got {stop - start}")
        length, kind = _HEADER.unpack_from(data, start)
        if length < _HEADER.size or start + length > stop:
            raise WireError(f"attribute at byte {start}: length {length} does not fit into {stop - start} bytes")
        yield kind & _TYPE_MASK, start + _HEADER.size, start + length
        start += (length + 3) & ~3


def _text(value: bytes) -> str:
    try:
        return value.split(b"\0", 1)[0].decode("ascii")
    except UnicodeDecodeError as error:
        raise WireError(f"text {value!r}: {error}") from error


def _address(family: int, data: bytes) -> IPAddress:
    """Read an address; dumps give every one 16 bytes of room."""
    if family == AF_INET and len(data) >= 4:
        return IPv4Address(data[:4])
    if family == AF_INET6 and len(data) == 16:
        return IPv6Address(data)
    raise WireError(f"address of family {family} in {len(data)} bytes")


# --- encoding -------------------------------------------------------------------------------------------------------


def encode(op: Op) -> tuple[int, bytes]:
    """Return the command and the payload of one operation.

    Raises WireError for a value that has no room in its field (a weight beyond 32 bits, a scheduler that is not ASCII).
    """
    try:
        match op:
            case ChangeDestination():  # first, because most are of this kind
                return SET_DEST, service_key(op.key) + _destination(op.destination)
            case AddDestination():
                return NEW_DEST, service_key(op.key) + _destination(op.destination)
            case DeleteDestination():
                return DEL_DEST, service_key(op.key) + attribute(_CMD_DEST, _endpoint(op.endpoint))
            case AddService():
                return NEW_SERVICE, _service(op.key, op.settings)
            case ChangeService():
                return SET_SERVICE, _service(op.key, op.settings)
            case DeleteService():
                return DEL_SERVICE, service_key(op.key)
            case _:
                assert_never(op)
    except (struct.error, UnicodeEncodeError, ValueError, OverflowError) as error:
        raise WireError(f"{op}: {error}") from error


def _family(version: int) -> int:
    return AF_INET6 if version == 6 else AF_INET


def _key_attributes(key: ServiceKey) -> bytes:
    match key:
        case AddressKey(protocol, endpoint):
            return (
                attribute(_SVC_FAMILY, _U16.pack(_family(key.family)))
                + attribute(_SVC_PROTOCOL, _U16.pack(protocol.value))
                + attribute(_SVC_ADDRESS, endpoint.address.packed)
                + attribute(_SVC_PORT, _BE16.pack(endpoint.port))
            )
        case FwmarkKey(family, mark):
            return attribute(_SVC_FAMILY, _U16.pack(_family(family))) + attribute(_SVC_FWMARK, _U32.pack(mark))
        case _:
            assert_never(key)


@lru_cache(maxsize=65536)
def service_key(key: ServiceKey) -> bytes:
    """Return the payload that names a service and says nothing else of it (DEL_SERVICE, GET_DEST, head of *_DEST)."""
    return attribute(_CMD_SERVICE, _key_attributes(key))


def _netmask(family: int, prefix: int) -> bytes:
    """Return the persistence granularity: IPv4 as a mask in network order, IPv6 as a prefix length in ours."""
    if not 1 <= prefix <= (32 if family == 4 else 128):
        raise ValueError(f"persistence prefix {prefix} of an IPv{family} service")
    if family == 6:
        return _U32.pack(prefix)
    return _BE32.pack((0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF)


def _service(key: ServiceKey, settings: ServiceSettings) -> bytes:
    body = (
        _key_attributes(key)
        + attribute(_SVC_SCHEDULER, settings.scheduler.encode("ascii") + b"\0")
        + attribute(_SVC_FLAGS, _FLAGS.pack(settings.flags & ~FLAG_HASHED, 0xFFFFFFFF))
        + attribute(_SVC_TIMEOUT, _U32.pack(settings.timeout))
        + attribute(_SVC_NETMASK, _netmask(key.family, settings.prefix))
    )
    if settings.engine:
        body += attribute(_SVC_ENGINE, settings.engine.encode("ascii") + b"\0")
    return attribute(_CMD_SERVICE, body)


def _endpoint(endpoint: Endpoint) -> bytes:
    return (
        attribute(_DEST_ADDRESS, endpoint.address.packed)
        + attribute(_DEST_PORT, _BE16.pack(endpoint.port))
        + attribute(_DEST_FAMILY, _U16.pack(_family(endpoint.address.version)))
    )


def _destination(destination: Destination) -> bytes:
    """Return the nest of a destination. It is what a storm is made of, so all that each has goes through one struct."""
    endpoint, method = destination.endpoint, destination.method
    tunnel = _tunnel(method) if method.forwarding is _TUN else b""
    address = endpoint.address
    inner: int | bytes
    if isinstance(address, IPv4Address):
        whole, family, length, inner = _DESTINATION_4, AF_INET, _U32_LENGTH, htonl(int(address))
    else:
        whole, family, length, inner = _DESTINATION_6, AF_INET6, _ADDRESS_6_LENGTH, address.packed
    # positional, because unpacking pairs into the call takes longer than all the packing
    numbers = whole.pack(
        whole.size + len(tunnel), _CMD_DEST,
        length, _DEST_ADDRESS, inner,
        _U16_LENGTH, _DEST_PORT, htons(endpoint.port),
        _U16_LENGTH, _DEST_FAMILY, family,
        _U32_LENGTH, _DEST_FORWARD, method.forwarding._value_,
        _U32_LENGTH, _DEST_WEIGHT, destination.weight,
        _U32_LENGTH, _DEST_UPPER, destination.upper_threshold,
        _U32_LENGTH, _DEST_LOWER, destination.lower_threshold,
    )  # fmt: skip
    return numbers + tunnel


def _tunnel(method: Method) -> bytes:
    return (
        attribute(_DEST_TUNNEL_TYPE, _U8.pack(method.tunnel.value))
        + attribute(_DEST_TUNNEL_PORT, _BE16.pack(method.tunnel_port))
        + attribute(_DEST_TUNNEL_FLAGS, _U16.pack(method.tunnel_checksum.value))
    )


# --- decoding -------------------------------------------------------------------------------------------------------


def decode_service(payload: bytes) -> ServiceRecord | None:
    """Read one answer of a GET_SERVICE dump.

    Returns None for a service whose protocol no configuration can name (the kernel takes any number): it is somebody
    else's for certain. Raises WireError.
    """
    numbers, others = _read(payload, *_nest(payload, _CMD_SERVICE), _SERVICE_NUMBERS)
    family = numbers.get(_SVC_FAMILY, 0)
    if family not in {AF_INET, AF_INET6}:
        raise WireError(f"service of address family {family}: expected 2 or 10")
    protocol = _PROTOCOLS.get(numbers.get(_SVC_PROTOCOL, 0))
    if mark := numbers.get(_SVC_FWMARK, 0):
        key: ServiceKey = FwmarkKey(6 if family == AF_INET6 else 4, mark)
    elif protocol is not None:
        address = _address(family, others.get(_SVC_ADDRESS, b""))
        key = AddressKey(protocol, Endpoint(address, numbers.get(_SVC_PORT, 0)))
    else:
        return None
    settings = ServiceSettings(
        scheduler=_text(others.get(_SVC_SCHEDULER, b"")),
        flags=_flags(others.get(_SVC_FLAGS, b"")) & ~FLAG_HASHED,
        timeout=numbers.get(_SVC_TIMEOUT, 0),
        prefix=_prefix(family, others.get(_SVC_NETMASK, b"")),
        engine=_text(others.get(_SVC_ENGINE, b"")),
    )
    return ServiceRecord(key, settings, _counters(others.get(_SVC_STATS64, b"")))


def decode_destination(payload: bytes, service_family: int) -> DestinationRecord:
    """Read one answer of a GET_DEST dump of a service of IP version `service_family` (4 or 6). Raises WireError."""
    shape = _shapes.get(len(payload))
    values: Any = None if shape is None else shape.read(payload)
    if values is None:
        return _walk_destination(payload, service_family)
    family, address, port, forward, weight, upper, lower, active, inactive, persistent, *rest = values
    tunnel, tunnel_port, tunnel_flags, *counted = rest
    return DestinationRecord(
        Destination(
            _endpoint_of(family, address, ntohs(port)),
            weight,
            _method(forward & _FORWARD_MASK, tunnel, ntohs(tunnel_port), tunnel_flags),
            upper,
            lower,
        ),
        Load(active, inactive, persistent, Counters(*counted)),
    )


def _walk_destination(payload: bytes, service_family: int) -> DestinationRecord:
    """Read a destination attribute by attribute, and learn its shape for those that come after it."""
    start, end = _nest(payload, _CMD_DEST)
    numbers, others = _read(payload, start, end, _DESTINATION_NUMBERS)
    number = numbers.get
    family = number(_DEST_FAMILY, _family(service_family))  # kernels before 3.18 say none: it was the service's
    destination = Destination(
        endpoint=_endpoint_of(family, others.get(_DEST_ADDRESS, b""), number(_DEST_PORT, 0)),
        weight=number(_DEST_WEIGHT, 0),
        method=_method(
            number(_DEST_FORWARD, 0) & _FORWARD_MASK,
            number(_DEST_TUNNEL_TYPE, 0),
            number(_DEST_TUNNEL_PORT, 0),
            number(_DEST_TUNNEL_FLAGS, 0),
        ),
        upper_threshold=number(_DEST_UPPER, 0),
        lower_threshold=number(_DEST_LOWER, 0),
    )
    load = Load(
        active=number(_DEST_ACTIVE, 0),
        inactive=number(_DEST_INACTIVE, 0),
        persistent=number(_DEST_PERSISTENT, 0),
        counters=_counters(others.get(_DEST_STATS64, b"")),
    )
    _learn(payload, start, end)
    return DestinationRecord(destination, load)


_shapes: dict[int, Shape] = {}
"""Shapes of destinations by the length of their payload; a kernel has one or two."""
_SHAPES_MAX = 8
_LEARNED = (
    (_DEST_FAMILY, "H"),
    (_DEST_ADDRESS, "16s"),
    (_DEST_PORT, "H"),  # network order, as are tunnel ports: turned round when read
    (_DEST_FORWARD, "I"),
    (_DEST_WEIGHT, "i"),
    (_DEST_UPPER, "I"),
    (_DEST_LOWER, "I"),
    (_DEST_ACTIVE, "I"),
    (_DEST_INACTIVE, "I"),
    (_DEST_PERSISTENT, "I"),
    (_DEST_TUNNEL_TYPE, "B"),
    (_DEST_TUNNEL_PORT, "H"),
    (_DEST_TUNNEL_FLAGS, "H"),
)


def _learn(payload: bytes, start: int, end: int) -> None:
    """Remember the shape of a well-formed destination at `payload[start:end]` when it says all that there is to say."""
    walked = list(attributes(payload, start, end))
    outer = {kind: first for kind, first, _ in walked}
    if not {kind for kind, _ in _LEARNED} | {_DEST_STATS64} <= outer.keys() or len(outer) < len(walked):
        return  # an older kernel, or an attribute twice
    if any(last - first != 16 for kind, first, last in walked if kind == _DEST_ADDRESS):
        return
    counters = next(list(attributes(payload, first, last)) for kind, first, last in walked if kind == _DEST_STATS64)
    inner = {kind: first for kind, first, _ in counters}
    if not _COUNTERS.keys() <= inner.keys():
        return
    headers = [start, *(first for _, first, _ in walked), *(first for _, first, _ in counters)]
    places = [Place(outer[kind], layout) for kind, layout in _LEARNED]
    places += [Place(inner[kind], "Q") for kind in _COUNTERS]
    if len(_shapes) >= _SHAPES_MAX:
        _shapes.clear()
    _shapes[len(payload)] = Shape.learn(payload, [first - _HEADER.size for first in sorted(headers)], places)


@lru_cache(maxsize=65536)
def _endpoint_of(family: int, address: bytes, port: int) -> Endpoint:
    return Endpoint(_address(family, address), port)


_SERVICE_NUMBERS = {_SVC_FAMILY: _U16, _SVC_PROTOCOL: _U16, _SVC_PORT: _BE16, _SVC_FWMARK: _U32, _SVC_TIMEOUT: _U32}
_DESTINATION_NUMBERS = {
    _DEST_PORT: _BE16,
    _DEST_FORWARD: _U32,
    _DEST_WEIGHT: _S32,
    _DEST_UPPER: _U32,
    _DEST_LOWER: _U32,
    _DEST_ACTIVE: _U32,
    _DEST_INACTIVE: _U32,
    _DEST_PERSISTENT: _U32,
    _DEST_FAMILY: _U16,
    _DEST_TUNNEL_TYPE: _U8,
    _DEST_TUNNEL_PORT: _BE16,
    _DEST_TUNNEL_FLAGS: _U16,
}
_COUNTERS = dict.fromkeys(range(_STATS_CONNECTIONS, _STATS_OUT_BYTES + 1), _U64)
_FORWARD_MASK = 0x7  # IP_VS_CONN_F_FWD_MASK


def _read(
    data: bytes, start: int, end: int, layouts: Mapping[int, struct.Struct]
) -> tuple[dict[int, int], dict[int, bytes]]:
    """Return the attributes that `layouts` gives a number format as numbers by type, all others as bytes by type."""
    numbers: dict[int, int] = {}
    others: dict[int, bytes] = {}
    for kind, first, last in attributes(data, start, end):
        layout = layouts.get(kind)
        if layout is None:
            others[kind] = data[first:last]
        elif last - first == layout.size:
            numbers[kind] = layout.unpack_from(data, first)[0]
        else:
            raise WireError(f"attribute {kind}: expected {layout.size} bytes, got {last - first}")
    return numbers, others


_PROTOCOLS = {protocol.value: protocol for protocol in Protocol}
_METHODS = {Forwarding.NAT.value: Method(Forwarding.NAT), Forwarding.DR.value: Method(Forwarding.DR)}


def _nest(payload: bytes, wanted: int) -> tuple[int, int]:
    for kind, start, end in attributes(payload):
        if kind == wanted:
            return start, end
    raise WireError(f"answer without the attribute {wanted}, {len(payload)} bytes long")


def _flags(value: bytes) -> int:
    """Read struct ip_vs_flags: the flags, and a mask that says nothing in a dump."""
    if len(value) != _FLAGS.size:
        raise WireError(f"flags of {len(value)} bytes, expected {_FLAGS.size}")
    flags: int = _FLAGS.unpack(value)[0]
    return flags


def _counters(value: bytes) -> Counters:
    """Read IPVS_*_ATTR_STATS64; rates and PAD are skipped."""
    numbers, _ = _read(value, 0, len(value), _COUNTERS)
    return Counters(*(numbers.get(kind, 0) for kind in _COUNTERS))


def _prefix(family: int, mask: bytes) -> int:
    """Return the persistence prefix, -1 for a mask with a hole: no configuration can name that, so it differs from all."""
    if len(mask) != 4:
        raise WireError(f"netmask of {len(mask)} bytes, expected 4")
    if family == AF_INET6:
        prefix: int = _U32.unpack(mask)[0]
        return prefix
    bits: int = _BE32.unpack(mask)[0]
    prefix = bits.bit_count()
    return prefix if bits == (0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF else -1


@lru_cache(maxsize=256)
def _method(forward: int, tunnel: int, port: int, flags: int) -> Method:
    """Return the forwarding method; tunnel details count only where they mean something."""
    if forward != Forwarding.TUN.value:
        return _METHODS.get(forward, UNNAMED)
    try:
        kind, checksum = TunnelType(tunnel), TunnelChecksum(flags)
    except ValueError:
        return UNNAMED
    return Method(Forwarding.TUN, kind, port, checksum)
