"""Time-outs and sync daemons, to and from the payload bytes of the generic-netlink family "IPVS". Pure, with the rules of `wire`.

Sources: include/uapi/linux/ip_vs.h (IPVS_CMD_*, IPVS_CMD_ATTR_*, IPVS_DAEMON_ATTR_*); ip_vs_ctl.c (ip_vs_genl_new_daemon,
ip_vs_genl_set_config, ip_vs_genl_fill_daemon); ipvs.md, section 9.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import assert_never

from supervisor.core.kernelsettings import Change, SetTimeouts, StartSync, StopSync
from supervisor.ipvs.wire import WireError, attribute, attributes
from supervisor.model import IPAddress, SyncDaemon, SyncRole, Timeouts

NEW_DAEMON, DEL_DAEMON, GET_DAEMON, SET_CONFIG, GET_CONFIG = range(9, 14)
"""Commands (IPVS_CMD_*)."""

_CMD_DAEMON, _CMD_TIMEOUT_TCP, _CMD_TIMEOUT_TCP_FIN, _CMD_TIMEOUT_UDP = range(3, 7)
_STATE, _INTERFACE, _SYNC_ID, _MAX_LENGTH, _GROUP, _GROUP6, _PORT, _TTL = range(1, 9)
_U8, _U16, _U32 = (struct.Struct(f"={code}") for code in "BHI")


def encode_change(change: Change) -> tuple[int, bytes]:
    """Return the command and the payload of one change.

    Raises WireError for a value that has no room in its field.
    """
    try:
        match change:
            case SetTimeouts(timeouts):
                return SET_CONFIG, _timeouts(timeouts)
            case StartSync(daemon):
                return NEW_DAEMON, _sync_daemon(daemon)
            case StopSync(role):
                return DEL_DAEMON, attribute(_CMD_DAEMON, attribute(_STATE, _U32.pack(role.value)))
            case _:
                assert_never(change)
    except struct.error as error:
        raise WireError(f"{change}: {error}") from error


def _timeouts(timeouts: Timeouts) -> bytes:
    """Return only those that are set: the kernel keeps the others."""
    numbers = {_CMD_TIMEOUT_TCP: timeouts.tcp, _CMD_TIMEOUT_TCP_FIN: timeouts.tcp_fin, _CMD_TIMEOUT_UDP: timeouts.udp}
    return b"".join(attribute(kind, _U32.pack(value)) for kind, value in numbers.items() if value)


def _sync_daemon(daemon: SyncDaemon) -> bytes:
    body = (
        attribute(_STATE, _U32.pack(daemon.role.value))
        + attribute(_INTERFACE, daemon.interface.encode() + b"\0")
        + attribute(_SYNC_ID, _U32.pack(daemon.sync_id))
    )
    if daemon.max_length:
        body += attribute(_MAX_LENGTH, _U16.pack(daemon.max_length))
    body += attribute(_GROUP6 if daemon.group.version == 6 else _GROUP, daemon.group.packed)
    body += attribute(_PORT, _U16.pack(daemon.port)) + attribute(_TTL, _U8.pack(daemon.ttl))
    return attribute(_CMD_DAEMON, body)


def decode_timeouts(payload: bytes) -> Timeouts:
    """Read the answer of GET_CONFIG. Raises WireError, also when one of the three is not in it."""
    values = _by_kind(payload, 0, len(payload))
    tcp, tcp_fin, udp = (
        _number(values, kind, _U32) for kind in (_CMD_TIMEOUT_TCP, _CMD_TIMEOUT_TCP_FIN, _CMD_TIMEOUT_UDP)
    )
    return Timeouts(tcp, tcp_fin, udp)


def decode_sync_daemon(payload: bytes) -> SyncDaemon:
    """Read one answer of a GET_DAEMON dump. Raises WireError.

    Kernels before 4.3 say no length, group, port or TTL: theirs are the defaults.
    """
    outer = _by_kind(payload, 0, len(payload))
    if _CMD_DAEMON not in outer:
        raise WireError(f"answer without a daemon, {len(payload)} bytes long")
    values = _by_kind(outer[_CMD_DAEMON], 0, len(outer[_CMD_DAEMON]))
    try:
        role = SyncRole(_number(values, _STATE, _U32))
        interface = values.get(_INTERFACE, b"").split(b"\0", 1)[0].decode()
    except ValueError as error:
        raise WireError(f"sync daemon: {error}") from error
    plain = SyncDaemon(role, interface, _number(values, _SYNC_ID, _U32))
    return SyncDaemon(
        role,
        interface,
        plain.sync_id,
        max_length=_number(values, _MAX_LENGTH, _U16, plain.max_length),
        group=_group(values, plain.group),
        port=_number(values, _PORT, _U16, plain.port),
        ttl=_number(values, _TTL, _U8, plain.ttl),
    )


def _by_kind(data: bytes, start: int, end: int) -> dict[int, bytes]:
    return {kind: data[first:last] for kind, first, last in attributes(data, start, end)}


def _number(values: dict[int, bytes], kind: int, layout: struct.Struct, default: int | None = None) -> int:
    value = values.get(kind)
    if value is None and default is not None:
        return default
    if value is None or len(value) != layout.size:
        raise WireError(f"attribute {kind}: expected {layout.size} bytes, got {0 if value is None else len(value)}")
    number: int = layout.unpack(value)[0]
    return number


def _group(values: dict[int, bytes], default: IPAddress) -> IPAddress:
    if (packed := values.get(_GROUP)) is not None and len(packed) == 4:
        return IPv4Address(packed)
    if (packed := values.get(_GROUP6)) is not None and len(packed) == 16:
        return IPv6Address(packed)
    if _GROUP in values or _GROUP6 in values:
        raise WireError("the group of a sync daemon is no address")
    return default
