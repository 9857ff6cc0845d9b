"""Settings of the kernel, byte for byte. The golden bytes were put together by hand from include/uapi/linux/ip_vs.h;
tests/kernel/test_kernel_settings.py shows that a kernel and ipvsadm understand them so.
"""

from __future__ import annotations

import struct
import sys
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.kernelsettings import Change, SetTimeouts, StartSync, StopSync
from supervisor.ipvs.settingswire import (
    DEL_DAEMON,
    GET_CONFIG,
    GET_DAEMON,
    NEW_DAEMON,
    SET_CONFIG,
    decode_sync_daemon,
    decode_timeouts,
    encode_change,
)
from supervisor.ipvs.wire import WireError, attribute
from supervisor.model import SyncDaemon, SyncRole, Timeouts

little = pytest.mark.skipif(sys.byteorder != "little", reason="the golden bytes are those of a little-endian kernel")


def data(text: str) -> bytes:
    """Read hex with spaces, line ends and comments."""
    return bytes.fromhex(" ".join(line.split("#")[0] for line in text.splitlines()))


MASTER = SyncDaemon(SyncRole.MASTER, "eth0", 7)
BACKUP = SyncDaemon(SyncRole.BACKUP, "lo", 255, 1400, IPv6Address("ff02::81"), 9000, 3)

GOLDEN: list[tuple[Change, int, str]] = [
    (
        SetTimeouts(Timeouts(900, 120, 300)),
        12,
        """08 00 04 00  84 03 00 00  # tcp
           08 00 05 00  78 00 00 00  # tcp fin
           08 00 06 00  2c 01 00 00  # udp""",
    ),
    (SetTimeouts(Timeouts(udp=2678400)), 12, "08 00 06 00  80 de 28 00"),
    (
        StartSync(MASTER),
        9,
        """38 00 03 00               # daemon
           08 00 01 00  01 00 00 00  # state: master
           09 00 02 00  65 74 68 30 00 00 00 00  # eth0
           08 00 03 00  07 00 00 00  # sync id
           08 00 05 00  e0 00 00 51  # group
           06 00 07 00  90 22 00 00  # port, in the machine's own order
           05 00 08 00  01 00 00 00  # ttl""",
    ),
    (
        StartSync(BACKUP),
        9,
        """48 00 03 00
           08 00 01 00  02 00 00 00
           07 00 02 00  6c 6f 00 00
           08 00 03 00  ff 00 00 00
           06 00 04 00  78 05 00 00  # length
           14 00 06 00  ff 02 00 00 00 00 00 00 00 00 00 00 00 00 00 81
           06 00 07 00  28 23 00 00
           05 00 08 00  03 00 00 00""",
    ),
    (StopSync(SyncRole.BACKUP), 10, "0c 00 03 00  08 00 01 00  02 00 00 00"),
]


def test_the_commands_have_the_kernels_numbers() -> None:
    assert (NEW_DAEMON, DEL_DAEMON, GET_DAEMON, SET_CONFIG, GET_CONFIG) == (9, 10, 11, 12, 13)


@little
@pytest.mark.parametrize(("change", "command", "payload"), GOLDEN)
def test_a_change_has_its_golden_bytes(change: Change, command: int, payload: str) -> None:
    assert encode_change(change) == (command, data(payload))


@pytest.mark.parametrize("daemon", [MASTER, BACKUP])
def test_what_is_said_of_a_sync_daemon_is_understood(daemon: SyncDaemon) -> None:
    _, payload = encode_change(StartSync(daemon))
    assert decode_sync_daemon(payload) == daemon


def test_what_is_said_of_time_outs_is_understood() -> None:
    timeouts = Timeouts(900, 120, 300)
    assert decode_timeouts(encode_change(SetTimeouts(timeouts))[1]) == timeouts


def test_an_older_kernel_says_less_of_a_sync_daemon() -> None:
    number = struct.Struct("=I").pack
    inner = attribute(1, number(1)) + attribute(2, b"eth0\0") + attribute(3, number(7))
    assert decode_sync_daemon(attribute(3, inner)) == SyncDaemon(
        SyncRole.MASTER, "eth0", 7, group=IPv4Address("224.0.0.81")
    )


@pytest.mark.parametrize(
    "change",
    [
        SetTimeouts(Timeouts(tcp=1 << 32)),
        SetTimeouts(Timeouts(udp=-1)),
        StartSync(SyncDaemon(SyncRole.MASTER, "eth0", max_length=65536)),
        StartSync(SyncDaemon(SyncRole.MASTER, "eth0", port=65536)),
        StartSync(SyncDaemon(SyncRole.MASTER, "eth0", ttl=256)),
    ],
)
def test_a_value_without_room_in_its_field_is_named(change: Change) -> None:
    with pytest.raises(WireError, match=str(change)):
        encode_change(change)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        attribute(3, b""),
        attribute(3, attribute(1, bytes(4)) + attribute(3, bytes(4))),
        attribute(3, attribute(1, struct.pack("=I", 3)) + attribute(3, bytes(4))),
        attribute(3, attribute(1, struct.pack("=I", 1)) + attribute(2, b"\xff\0") + attribute(3, bytes(4))),
        attribute(3, attribute(1, struct.pack("=I", 1)) + attribute(3, bytes(4)) + attribute(5, bytes(3))),
        attribute(3, attribute(1, struct.pack("=I", 1)) + attribute(3, bytes(4)) + attribute(7, bytes(4))),
    ],
)
def test_a_sync_daemon_that_is_not_well_formed_is_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        decode_sync_daemon(payload)


def test_a_time_out_that_is_missing_is_refused() -> None:
    with pytest.raises(WireError, match="attribute 6: expected 4 bytes, got 0"):
        decode_timeouts(attribute(4, bytes(4)) + attribute(5, bytes(4)))


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    for decode in (decode_sync_daemon, decode_timeouts):
        try:
            decode(payload)
        except WireError:
            continue
