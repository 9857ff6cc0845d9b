"""The wire format, byte for byte, and both ways. The golden bytes were put together by hand from include/uapi/linux/ip_vs.h;
tests/kernel/test_backend_kernel.py shows that a kernel and ipvsadm understand them so.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.table import (
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
from supervisor.ipvs import wire
from supervisor.ipvs.wire import (
    UNNAMED,
    WireError,
    attribute,
    attributes,
    decode_destination,
    decode_service,
    encode,
    service_key,
)
from supervisor.model import (
    AddressKey,
    Endpoint,
    Forwarding,
    FwmarkKey,
    Method,
    Protocol,
    ServiceKey,
    TunnelChecksum,
    TunnelType,
)
from tests.fakes.tables import destination, endpoint, tcp

KEY = tcp("10.0.0.1")
little = pytest.mark.skipif(sys.byteorder != "little", reason="the golden bytes are those of a little-endian kernel")


def data(text: str) -> bytes:
    """Read hex with spaces, line ends and comments."""
    return bytes.fromhex(" ".join(line.split("#")[0] for line in text.splitlines()))


KEY_BYTES = """
    06 00 01 00  02 00 00 00            # AF_INET, padded
    06 00 02 00  06 00 00 00            # TCP
    08 00 03 00  0a 00 00 01            # 10.0.0.1
    06 00 04 00  00 50 00 00            # port 80, network order
"""

GOLDEN = [
    (
        AddService(KEY, ServiceSettings("rr")),
        1,
        "48 00 01 00"
        + KEY_BYTES
        + """
            07 00 06 00  72 72 00 00                            # scheduler "rr", its end and one byte of padding
            0c 00 07 00  00 00 00 00  ff ff ff ff               # flags, all of them meant
            08 00 08 00  00 00 00 00                            # no time-out
            08 00 09 00  ff ff ff ff                            # 255.255.255.255
        """,
    ),
    (
        ChangeService(tcp("fd00::1", 443), ServiceSettings("wlc", flags=0x1 | 0x2, timeout=300, prefix=64)),
        2,
        """
            54 00 01 00
            06 00 01 00  0a 00 00 00                            # AF_INET6
            06 00 02 00  06 00 00 00
            14 00 03 00  fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01
            06 00 04 00  01 bb 00 00                            # port 443
            08 00 06 00  77 6c 63 00                            # "wlc"
            0c 00 07 00  01 00 00 00  ff ff ff ff               # persistent; "hashed" is the kernel's own
            08 00 08 00  2c 01 00 00                            # 300 s
            08 00 09 00  40 00 00 00                            # prefix length 64 as a number of ours
        """,
    ),
    (
        AddService(FwmarkKey(4, 7), ServiceSettings("rr", flags=0x1, timeout=1, prefix=24, engine="sip")),
        1,
        """
            40 00 01 00
            06 00 01 00  02 00 00 00
            08 00 05 00  07 00 00 00                            # mark 7, and neither protocol, address nor port
            07 00 06 00  72 72 00 00
            0c 00 07 00  01 00 00 00  ff ff ff ff
            08 00 08 00  01 00 00 00
            08 00 09 00  ff ff ff 00                            # 255.255.255.0, network order
            08 00 0b 00  73 69 70 00                            # persistence engine "sip"
        """,
    ),
    (DeleteService(KEY), 3, "24 00 01 00" + KEY_BYTES),
    (DeleteService(FwmarkKey(6, 7)), 3, "14 00 01 00  06 00 01 00 0a 00 00 00  08 00 05 00 07 00 00 00"),
    (
        AddDestination(KEY, destination("10.1.0.2", 5, 8080)),
        5,
        "24 00 01 00"
        + KEY_BYTES
        + """
            3c 00 02 00
            08 00 01 00  0a 01 00 02
            06 00 02 00  1f 90 00 00                            # port 8080, network order
            06 00 0b 00  02 00 00 00                            # AF_INET
            08 00 03 00  00 00 00 00                            # NAT
            08 00 04 00  05 00 00 00                            # weight 5
            08 00 05 00  00 00 00 00                            # thresholds
            08 00 06 00  00 00 00 00
        """,
    ),
    (
        ChangeDestination(
            KEY,
            Destination(
                Endpoint(IPv6Address("fd01::2"), 80),
                0,
                Method(Forwarding.TUN, TunnelType.GUE, 5555, TunnelChecksum.REMCSUM),
                9,
                3,
            ),
        ),
        6,
        "24 00 01 00"
        + KEY_BYTES
        + """
            60 00 02 00
            14 00 01 00  fd 01 00 00 00 00 00 00 00 00 00 00 00 00 00 02
            06 00 02 00  00 50 00 00
            06 00 0b 00  0a 00 00 00
            08 00 03 00  02 00 00 00                            # TUN
            08 00 04 00  00 00 00 00
            08 00 05 00  09 00 00 00
            08 00 06 00  03 00 00 00
            05 00 0d 00  01 00 00 00                            # GUE
            06 00 0e 00  15 b3 00 00                            # tunnel port 5555, network order
            06 00 0f 00  02 00 00 00                            # remote checksum offload
        """,
    ),
    (
        DeleteDestination(KEY, endpoint("10.1.0.2", 8080)),
        7,
        "24 00 01 00"
        + KEY_BYTES
        + "1c 00 02 00  08 00 01 00 0a 01 00 02  06 00 02 00 1f 90 00 00  06 00 0b 00 02 00 00 00",
    ),
]


@little
@pytest.mark.parametrize(("op", "command", "golden"), GOLDEN)
def test_an_operation_has_exactly_these_bytes(op: Op, command: int, golden: str) -> None:
    assert encode(op) == (command, data(golden))


STATS64 = """
    60 00 0c 00
    04 00 0b 00                                                 # PAD, as kernels without unaligned access put it
    0c 00 01 00  07 00 00 00 00 00 00 00                        # connections
    0c 00 02 00  01 00 00 00 01 00 00 00                        # packets in: 2^32 + 1
    0c 00 03 00  09 00 00 00 00 00 00 00
    0c 00 04 00  0a 00 00 00 00 00 00 00
    04 00 0b 00
    0c 00 05 00  0b 00 00 00 00 00 00 00                        # bytes out
    0c 00 06 00  ff ff 00 00 00 00 00 00                        # connections per second: not ours to read
    0c 00 63 00  00 00 00 00 00 00 00 00                        # something newer than we are
"""
COUNTERS = Counters(7, (1 << 32) + 1, 9, 10, 11)


@little
def test_a_service_of_a_dump_is_read() -> None:
    payload = data(
        """
            b8 00 01 80                                         # with the bit for "nested", which the kernel may set
            06 00 01 00  02 00 00 00
            06 00 02 00  06 00 00 00
            14 00 03 00  0a 00 00 01 00 00 00 00 00 00 00 00 00 00 00 00    # 16 bytes of room, cut to the family
            06 00 04 00  00 50 00 00
            07 00 06 00  72 72 00 00
            0c 00 07 00  03 00 00 00  ff ff ff ff               # persistent, hashed
            08 00 08 00  2c 01 00 00
            08 00 09 00  ff ff ff 00
            04 00 0a 00                                         # the old 32-bit counters
        """
        + STATS64
    )
    record = decode_service(payload)
    assert record is not None
    assert record.key == KEY
    assert record.settings == ServiceSettings("rr", flags=0x1, timeout=300, prefix=24)
    assert record.counters == COUNTERS


@little
def test_a_destination_of_a_dump_is_read() -> None:
    payload = data(
        """
            c0 00 02 00
            14 00 01 00  0a 01 00 02 00 00 00 00 00 00 00 00 00 00 00 00
            06 00 02 00  1f 90 00 00
            08 00 03 00  03 00 00 00
            08 00 04 00  05 00 00 00
            08 00 05 00  09 00 00 00
            08 00 06 00  03 00 00 00
            08 00 07 00  64 00 00 00                            # active
            08 00 08 00  65 00 00 00                            # inactive
            08 00 09 00  66 00 00 00                            # persistent
            06 00 0b 00  02 00 00 00
        """
        + STATS64
    )
    record = decode_destination(payload, 4)
    assert record.destination == Destination(endpoint("10.1.0.2", 8080), 5, Method(Forwarding.DR), 9, 3)
    assert record.load == Load(100, 101, 102, COUNTERS)


def nest(kind: int, *parts: bytes) -> bytes:
    return attribute(kind, b"".join(parts))


def u16(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=H", value))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def a_service(*parts: bytes, mask: bytes = b"\xff" * 4, flags: bytes = bytes(8)) -> bytes:
    return nest(1, *parts, attribute(6, b"rr\0"), attribute(7, flags), attribute(9, mask))


AN_ADDRESS = (u16(1, 2), u16(2, 6), attribute(3, bytes([10, 0, 0, 1])), attribute(4, b"\0P"))


def test_a_service_of_a_protocol_without_a_name_is_left_out() -> None:
    assert decode_service(a_service(u16(1, 2), u16(2, 1), attribute(3, bytes(16)), attribute(4, bytes(2)))) is None


def test_a_netmask_with_a_hole_equals_no_prefix() -> None:
    record = decode_service(a_service(*AN_ADDRESS, mask=bytes([255, 255, 0, 255])))
    assert record is not None
    assert record.settings.prefix == -1


@pytest.mark.parametrize("prefix", range(1, 33))
def test_every_netmask_is_its_prefix(prefix: int) -> None:
    mask = IPv4Address((0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF).packed
    record = decode_service(a_service(*AN_ADDRESS, mask=mask))
    assert record is not None
    assert record.settings.prefix == prefix


@pytest.mark.parametrize("forward", [1, 4, 5, 6, 7])
def test_a_forwarding_method_without_a_name_equals_none_that_has_one(forward: int) -> None:
    payload = nest(2, attribute(1, bytes([10, 1, 0, 2])), attribute(2, b"\0P"), u32(3, forward))
    assert decode_destination(payload, 4).destination.method == UNNAMED


def test_an_unknown_tunnel_equals_none_that_has_a_name() -> None:
    payload = nest(2, attribute(1, bytes([10, 1, 0, 2])), attribute(2, b"\0P"), u32(3, 2), attribute(13, b"\x09"))
    assert decode_destination(payload, 4).destination.method == UNNAMED


def test_tunnel_details_of_a_method_that_is_no_tunnel_are_nothing() -> None:
    payload = nest(2, attribute(1, bytes([10, 1, 0, 2])), attribute(2, b"\0P"), u32(3, 3), attribute(13, b"\x01"))
    assert decode_destination(payload, 4).destination.method == Method(Forwarding.DR)


def test_a_destination_without_a_family_has_the_services() -> None:
    payload = nest(2, attribute(1, IPv6Address("fd01::2").packed), attribute(2, b"\0P"))
    assert decode_destination(payload, 6).destination.endpoint == endpoint("fd01::2")


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "without the attribute 1"),
        (b"\x08", "header of 4 bytes, got 1"),
        (b"\x08\0\x01\0", "does not fit"),
        (b"\x03\0\x01\0", "does not fit"),
        (nest(1, b"\xff\0\x01\0"), "does not fit"),
        (nest(1), "address family 0"),
        (nest(1, u16(1, 7)), "address family 7"),
        (nest(1, u32(1, 2)), "expected 2 bytes, got 4"),
        (a_service(u16(1, 2), u16(2, 6), attribute(3, b"\x0a\0")), "address of family 2 in 2 bytes"),
        (a_service(u16(1, 10), u16(2, 6), attribute(3, bytes(4))), "address of family 10 in 4 bytes"),
        (a_service(*AN_ADDRESS, mask=b""), "netmask of 0 bytes"),
        (a_service(*AN_ADDRESS, flags=b"\0"), "flags of 1 bytes"),
        (nest(1, *AN_ADDRESS, attribute(6, b"\xff"), attribute(7, bytes(8)), attribute(9, bytes(4))), "text"),
        (nest(1, *AN_ADDRESS, attribute(7, bytes(8)), attribute(9, bytes(4)), nest(12, u32(1, 1))), "expected 8 bytes"),
    ],
)
def test_what_is_malformed_says_where(payload: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        decode_service(payload)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_our_own_error(noise: bytes) -> None:
    for read in (decode_service, lambda payload: decode_destination(payload, 4), lambda p: list(attributes(p))):
        try:
            read(noise)
        except WireError:
            continue


@given(st.sampled_from(GOLDEN), st.data())
def test_spoilt_bytes_are_read_or_refused_with_our_own_error(golden: tuple[Op, int, str], draw: st.DataObject) -> None:
    spoilt = bytearray(data(golden[2]))
    for place in draw.draw(st.lists(st.integers(0, len(spoilt) - 1), max_size=4)):
        spoilt[place] = draw.draw(st.integers(0, 255))
    cut = bytes(spoilt[: draw.draw(st.integers(0, len(spoilt)))])
    for read in (decode_service, lambda payload: decode_destination(payload, 6)):
        try:
            read(cut)
        except WireError:
            continue


@pytest.mark.parametrize(
    "op",
    [
        AddDestination(KEY, destination("10.1.0.1", 1 << 31)),
        AddDestination(KEY, destination("10.1.0.1", port=65536)),
        AddService(KEY, ServiceSettings("rr\u00e9")),
        AddService(KEY, ServiceSettings("rr", prefix=33)),
        AddService(KEY, ServiceSettings("rr", prefix=-1)),
        AddService(KEY, ServiceSettings("rr", timeout=-1)),
        DeleteService(FwmarkKey(4, 1 << 32)),
    ],
)
def test_a_value_without_room_is_refused_by_name(op: Op) -> None:
    with pytest.raises(WireError, match=type(op).__name__):
        encode(op)


def full(number: int, port: int, weight: int, forward: int, counted: list[int], *, pad: bool, family: int = 2) -> bytes:
    """Return a destination as a dump has it, with every attribute that the kernel knows."""
    address = struct.pack("!I", number).ljust(16, b"\0")
    gap = attribute(11, b"") if pad else b""
    stats = b"".join(gap + attribute(kind, struct.pack("=Q", value)) for kind, value in enumerate(counted, 1))
    return nest(
        2,
        attribute(1, address),
        attribute(2, struct.pack("!H", port)),
        u32(3, forward),
        attribute(4, struct.pack("=i", weight)),
        *(u32(kind, number >> kind) for kind in range(5, 10)),
        u16(11, family),
        attribute(10, attribute(1, bytes(4)) + gap),
        attribute(12, stats),
        attribute(13, bytes([number % 5])),
        attribute(14, struct.pack("!H", port // 2)),
        u16(15, number % 4),
    )


fulls = st.builds(
    full,
    st.integers(0, (1 << 32) - 1),
    st.integers(0, 65535),
    st.integers(-(1 << 31), (1 << 31) - 1),
    st.integers(0, 9),
    st.lists(st.integers(0, (1 << 64) - 1), min_size=10, max_size=10),
    pad=st.booleans(),
    family=st.sampled_from([2, 10]),
)


@given(st.lists(fulls, min_size=1, max_size=5))
def test_records_read_by_a_learned_shape_are_what_walking_them_gives(payloads: list[bytes]) -> None:
    for payload in payloads:
        walked = wire._walk_destination(payload, 4)
        assert len(payload) in wire._shapes
        assert decode_destination(payload, 4) == walked


def test_ports_of_a_record_read_by_its_shape_are_in_our_order() -> None:
    payload = full(
        0x0A010001, 0x1F90, 5, 2, list(range(10)), pad=True
    )  # type and flags follow from the address: GRE, CSUM
    decode_destination(payload, 4)
    record = decode_destination(payload, 4)
    assert record.destination.endpoint == endpoint("10.1.0.1", 8080)
    assert record.destination.method == Method(Forwarding.TUN, TunnelType.GRE, 4040, TunnelChecksum.CSUM)
    assert record.load.counters == Counters(0, 1, 2, 3, 4)


@given(fulls, st.data())
def test_a_record_that_only_resembles_a_learned_shape_is_walked(payload: bytes, draw: st.DataObject) -> None:
    decode_destination(payload, 4)
    spoilt = bytearray(payload)
    for place in draw.draw(st.lists(st.integers(0, len(spoilt) - 1), min_size=1, max_size=3)):
        spoilt[place] ^= draw.draw(st.sampled_from([1, 2, 4, 8, 16, 128]))

    def outcome(read: Callable[[bytes, int], object]) -> object:
        try:
            return read(bytes(spoilt), 4)
        except WireError:
            return "refused"

    quick = outcome(decode_destination)
    assert quick == outcome(wire._walk_destination)


def test_records_without_all_that_there_is_to_say_are_never_learned() -> None:
    wire._shapes.clear()
    decode_destination(nest(2, attribute(1, bytes([10, 1, 0, 2])), attribute(2, b"\0P")), 4)
    assert wire._shapes == {}


# --- both ways ------------------------------------------------------------------------------------------------------

addresses = {4: st.ip_addresses(v=4), 6: st.ip_addresses(v=6)}
ports = st.integers(0, 65535)
endpoints = {family: st.builds(Endpoint, addresses[family], ports) for family in (4, 6)}
any_endpoint = st.one_of(endpoints[4], endpoints[6])
keys: st.SearchStrategy[ServiceKey] = st.one_of(
    st.builds(AddressKey, st.sampled_from(Protocol), any_endpoint),
    st.builds(FwmarkKey, st.sampled_from([4, 6]), st.integers(1, (1 << 32) - 1)),
)
words = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=15)
methods = st.one_of(
    st.sampled_from([Method(Forwarding.NAT), Method(Forwarding.DR)]),
    st.builds(Method, st.just(Forwarding.TUN), st.sampled_from(TunnelType), ports, st.sampled_from(TunnelChecksum)),
)
numbers = st.integers(0, (1 << 32) - 1)
any_destination = st.builds(
    Destination, any_endpoint, st.integers(-(1 << 31), (1 << 31) - 1), methods, numbers, numbers
)


@given(keys, words, numbers, numbers, st.integers(1, 32), st.one_of(st.just(""), words))
def test_a_service_comes_back_as_it_went(
    key: ServiceKey, scheduler: str, flags: int, timeout: int, prefix: int, engine: str
) -> None:
    settings = ServiceSettings(scheduler, flags & ~0x2, timeout, prefix * key.family // 4, engine)
    _, payload = encode(AddService(key, settings))
    record = decode_service(payload)
    assert record is not None
    assert (record.key, record.settings) == (key, settings)


@given(keys, any_destination)
def test_a_destination_comes_back_as_it_went(key: ServiceKey, wanted: Destination) -> None:
    _, payload = encode(AddDestination(key, wanted))
    head = service_key(key)
    assert payload.startswith(head)
    assert decode_destination(payload[len(head) :], key.family).destination == wanted


@given(st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=20)), max_size=8))
def test_attributes_come_back_as_they_went(items: list[tuple[int, bytes]]) -> None:
    payload = b"".join(attribute(kind, value) for kind, value in items)
    assert len(payload) % 4 == 0
    assert [(kind, payload[start:end]) for kind, start, end in attributes(payload)] == items
