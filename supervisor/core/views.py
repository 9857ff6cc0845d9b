"""What observers may know of the virtual servers: the director's state as snapshot values. Reads only."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address

from supervisor.core.director import Director
from supervisor.core.health import Check
from supervisor.core.override import AdminState, Override
from supervisor.core.realserver import RealServerState
from supervisor.core.snapshot import CheckView, OverrideView, RealServerView, SorryView, TrafficView, VirtualServerView
from supervisor.core.table import Counters, Load, Service
from supervisor.core.virtualserver import VirtualServerState
from supervisor.model import AddressKey, Endpoint, FwmarkKey, IPAddress, ServiceKey


def virtual_servers(director: Director, now: float) -> tuple[VirtualServerView, ...]:
    """Return every virtual server as it is at `now`, with what the last reading of the kernel's table carries."""
    return tuple(dataclasses.replace(view, real_servers=tuple(servers)) for view, servers in one_by_one(director, now))


def one_by_one(director: Director, now: float) -> Iterator[tuple[VirtualServerView, Iterator[RealServerView]]]:
    """Yield every virtual server without its real servers, and these one by one. The director may go on meanwhile; `now` stays."""
    everything = ((state, list(state.real_servers.values())) for state in list(director.virtual_servers.values()))
    return of(director, everything, now)


def of(
    director: Director, chosen: Iterable[tuple[VirtualServerState, Sequence[RealServerState]]], now: float
) -> Iterator[tuple[VirtualServerView, Iterator[RealServerView]]]:
    """Yield the virtual servers that were chosen without their real servers, and of these one by one those that were."""
    for state, servers in chosen:
        kernel = director.reading.table.services.get(state.spec.key)
        yield (
            _virtual_server(director, state, kernel, now),
            (_real_server(director, state, kernel, server, now) for server in servers),
        )


def matching(
    director: Director, name: str, inside: str | None = None
) -> list[tuple[VirtualServerState, RealServerState]]:
    """Return the real servers with this "address:port" or address, in each virtual server that has it, or only in `inside`.

    An IPv6 address may be written in any way, with brackets or without. A virtual server is named as status names it; "/tcp" and the
    like may be left out.
    """
    wanted = named(name)
    if wanted is None:
        return []
    address, port = wanted
    return [
        (virtual_server, server)
        for key, virtual_server in director.virtual_servers.items()
        if inside is None or is_called(key, inside)
        for where, server in virtual_server.real_servers.items()
        if where.address == address and (port is None or where.port == port)
    ]


def named(name: str) -> tuple[IPAddress, int | None] | None:
    """Return the address and the port (None: any) that a name of a real server means; None when it is none."""
    if name.startswith("["):
        host, _, port = name[1:].partition("]")
        port = port.removeprefix(":") if port.startswith(":") else ("" if not port else "?")
    elif name.count(":") == 1:
        host, _, port = name.partition(":")
    else:
        host, port = name, ""
    if port and not (port.isascii() and port.isdecimal()):
        return None
    try:
        return ip_address(host), int(port) if port else None
    except ValueError:
        return None


def is_called(key: ServiceKey, name: str) -> bool:
    """Tell whether an operator may call this virtual server so."""
    return name in {str(key), str(key).partition("/")[0]}


def real_server_view(
    director: Director, state: VirtualServerState, server: RealServerState, now: float
) -> RealServerView:
    """Return one real server as it is at `now`."""
    kernel = director.reading.table.services.get(state.spec.key)
    return _real_server(director, state, kernel, server, now)


def _virtual_server(
    director: Director, state: VirtualServerState, kernel: Service | None, now: float
) -> VirtualServerView:
    """Return a virtual server without its real ones."""
    spec, reading = state.spec, director.reading
    key = spec.key
    endpoint = key.endpoint if isinstance(key, AddressKey) else None
    return VirtualServerView(
        virtual_server=str(spec.key),
        scheduler=spec.scheduler,
        forward=spec.method.forwarding.name.lower(),
        family=spec.key.family,
        protocol=str(key.protocol) if isinstance(key, AddressKey) else "",
        address=str(endpoint.address) if endpoint else "",
        port=endpoint.port if endpoint else 0,
        mark=key.mark if isinstance(key, FwmarkKey) else 0,
        quorate=state.quorate,
        quorum=spec.quorum,
        hysteresis=spec.hysteresis,
        weight_up=state.weight_up,
        since_s=now - state.since,
        transitions_up=state.ups,
        transitions_down=state.downs,
        sorry=_sorry(director, state, kernel),
        traffic=_traffic(Load(counters=reading.services.get(spec.key, Counters()))),
        real_servers=(),
        suspended=state.suspended,
        min_healthy=str(state.spec.min_healthy or ""),
        group=spec.group,
        removals_refused=state.refused,
    )


def _sorry(director: Director, state: VirtualServerState, kernel: Service | None) -> SorryView | None:
    sorry = state.spec.sorry_server
    if sorry is None:
        return None
    load = director.reading.load(state.spec.key, sorry.endpoint) or Load()
    return SorryView(str(sorry.endpoint), state.sorry_active, _weight(kernel, sorry.endpoint), _traffic(load))


def _real_server(
    director: Director, state: VirtualServerState, kernel: Service | None, server: RealServerState, now: float
) -> RealServerView:
    spec = server.spec
    load = director.reading.load(state.spec.key, spec.endpoint) or Load()
    return RealServerView(
        real_server=str(spec.endpoint),
        forward=spec.method.forwarding.name.lower(),
        health=server.health.value,
        enabled=server.admin is AdminState.ENABLED,
        weight_configured=spec.weight,
        weight_wanted=state.weight_of(server),
        weight_kernel=_weight(kernel, spec.endpoint),
        since_s=now - server.since,
        transitions_up=server.ups,
        transitions_down=server.downs,
        stale=server.stale,
        traffic=_traffic(load),
        checks=tuple(_check(check, now) for check in server.checks),
        admin=server.admin.value,
        override=_override(server.override, now),
        held=server.hold.by.value if server.hold else "",
        held_text=f"{server.hold.by.text}: {server.hold.text}" if server.hold else "",
        held_s=now - server.hold.since if server.hold else None,
    )


def _override(wish: Override | None, now: float) -> OverrideView | None:
    if wish is None:
        return None
    ends_s = wish.until - now if wish.until < math.inf else None
    return OverrideView(wish.admin.value, wish.weight, wish.reason, wish.by, now - wish.since, ends_s)


def _check(check: Check, now: float) -> CheckView:
    result = check.result
    return CheckView(
        type=check.spec.type,
        target=check.spec.where,
        health=check.health.value,
        reason=result.reason if result else "NONE",
        detail=result.detail if result else "",
        duration_s=result.duration_s if result else 0.0,
        age_s=None if check.heard_at is None else now - check.heard_at,
        failures=check.failures,
        since_s=now - check.since,
        certificate_expires_at=check.expires_at,
        sentinel=(check.sentinel or "on") if check.spec.sentinel else "",
    )


def _weight(kernel: Service | None, endpoint: Endpoint) -> int | None:
    found = kernel.destinations.get(endpoint) if kernel else None
    return found.weight if found else None


def _traffic(load: Load) -> TrafficView:
    counters = load.counters
    return TrafficView(
        active=load.active,
        inactive=load.inactive,
        connections=counters.connections,
        incoming_packets=counters.incoming_packets,
        outgoing_packets=counters.outgoing_packets,
        incoming_bytes=counters.incoming_bytes,
        outgoing_bytes=counters.outgoing_bytes,
    )
