"""A table as the lines of `ipvsadm -Sn`, so that it can be compared with the kernel's and piped into `ipvsadm -R`.

The format and its order are ipvsadm 1.31's: services by firewall mark, family, protocol, address and port; destinations by address and
port. Thresholds are not printed, because `ipvsadm -Sn` does not print them either. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from supervisor.core.table import (
    FLAG_ONE_PACKET,
    FLAG_PERSISTENT,
    FLAG_SCHEDULER_1,
    FLAG_SCHEDULER_2,
    FLAG_SCHEDULER_3,
    Destination,
    Service,
    Table,
)
from supervisor.model import AddressKey, Forwarding, FwmarkKey, Method, Protocol, ServiceKey, TunnelChecksum, TunnelType

_PROTOCOL_OPTIONS = {Protocol.TCP: "-t", Protocol.UDP: "-u", Protocol.SCTP: "--sctp-service"}
_METHOD_OPTIONS = {Forwarding.NAT: "-m", Forwarding.DR: "-g", Forwarding.TUN: "-i"}
_CHECKSUM_OPTIONS = {
    TunnelChecksum.NONE: "--tun-nocsum",
    TunnelChecksum.CSUM: "--tun-csum",
    TunnelChecksum.REMCSUM: "--tun-remcsum",
}
_FLAG_NAMES = {
    "sh": ("sh-fallback", "sh-port", "flag-3"),
    "mh": ("mh-fallback", "mh-port", "flag-3"),
}
_SCHEDULER_FLAGS = (FLAG_SCHEDULER_1, FLAG_SCHEDULER_2, FLAG_SCHEDULER_3)


def rules(table: Table) -> str:
    """Return the table as text, each line ended by a newline; the empty table is the empty text."""
    lines: list[str] = []
    for service in sorted(table.services.values(), key=lambda service: _order(service.key)):
        name = _name(service.key)
        lines.append(" ".join(["-A", name, *_settings(service)]))
        endpoints = sorted(service.destinations, key=lambda found: (found.address.version, found))
        lines += [" ".join(["-a", name, *_destination(service.destinations[found])]) for found in endpoints]
    return "".join(f"{line}\n" for line in lines)


def _order(key: ServiceKey) -> tuple[int, int, int, int, int]:
    match key:
        case AddressKey(protocol, endpoint):
            return (0, key.family, protocol.value, int(endpoint.address), endpoint.port)
        case FwmarkKey(family, mark):
            return (mark, family, 0, 0, 0)


def _name(key: ServiceKey) -> str:
    match key:
        case AddressKey(protocol, endpoint):
            return f"{_PROTOCOL_OPTIONS[protocol]} {endpoint}"
        case FwmarkKey(family, mark):
            return f"-f {mark} -6" if family == 6 else f"-f {mark}"


def _settings(service: Service) -> Iterator[str]:
    settings = service.settings
    yield f"-s {settings.scheduler}"
    if settings.flags & FLAG_PERSISTENT:
        yield f"-p {settings.timeout}"
        whole = 32 if service.key.family == 4 else 128
        if settings.prefix != whole:
            yield f"-M {_mask(settings.prefix) if whole == 32 else settings.prefix}"
    if settings.engine:
        yield f"--pe {settings.engine}"
    if settings.flags & FLAG_ONE_PACKET:
        yield "-o"
    names = _FLAG_NAMES.get(settings.scheduler, ("flag-1", "flag-2", "flag-3"))
    set_flags = [name for name, bit in zip(names, _SCHEDULER_FLAGS, strict=True) if settings.flags & bit]
    if set_flags:
        yield f"-b {','.join(set_flags)}"


def _mask(prefix: int) -> str:
    bits = (0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF
    return ".".join(str(byte) for byte in bits.to_bytes(4))


def _destination(destination: Destination) -> Iterator[str]:
    yield f"-r {destination.endpoint}"
    yield _METHOD_OPTIONS[destination.method.forwarding]
    yield f"-w {destination.weight}"
    if destination.method.forwarding is Forwarding.TUN:
        yield from _tunnel(destination.method)


def _tunnel(method: Method) -> Iterator[str]:
    yield f"--tun-type {method.tunnel.name.lower()}"
    if method.tunnel is TunnelType.GUE:
        yield f"--tun-port {method.tunnel_port}"
    if method.tunnel is not TunnelType.IPIP:
        yield _CHECKSUM_OPTIONS[method.tunnel_checksum]
