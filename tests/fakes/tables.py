"""Short ways to write keys, destinations, services and tables, and Hypothesis strategies for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from types import MappingProxyType

from hypothesis import strategies as st

from supervisor.core.table import (
    FLAG_ONE_PACKET,
    FLAG_PERSISTENT,
    FLAG_SCHEDULER_1,
    FLAG_SCHEDULER_2,
    Destination,
    Service,
    ServiceSettings,
    Table,
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


def tcp(text: str, port: int = 80) -> AddressKey:
    """Return the key of a TCP service."""
    return AddressKey(Protocol.TCP, endpoint(text, port))


def endpoint(text: str, port: int = 80) -> Endpoint:
    """Return an endpoint from a textual address."""
    return Endpoint(ip_address(text), port)


def destination(text: str, weight: int = 1, port: int = 80, method: Method = Method()) -> Destination:
    """Return a destination."""
    return Destination(endpoint(text, port), weight, method)


def service(key: ServiceKey, *destinations: Destination, settings: ServiceSettings | None = None) -> Service:
    """Return a service with destinations; round robin when nothing else is said."""
    plain = ServiceSettings("rr", prefix=32 if key.family == 4 else 128)
    return Service(key, settings or plain, MappingProxyType({d.endpoint: d for d in destinations}))


def table(*services: Service) -> Table:
    """Return a table of these services."""
    return Table(MappingProxyType({item.key: item for item in services}))


def weights(of: Table) -> Mapping[str, Sequence[tuple[str, int]]]:
    """Return a table as text and numbers, sorted, for comparisons that one can read."""
    return {
        str(key): sorted((str(d.endpoint), d.weight) for d in item.destinations.values())
        for key, item in of.services.items()
    }


# --- strategies: what a configuration may ask for and every kernel takes. Few choices, prebuilt, so that they are quick and meet often

KEYS: Sequence[ServiceKey] = (
    tcp("10.0.0.1"),
    tcp("10.0.0.1", 443),
    AddressKey(Protocol.UDP, endpoint("10.0.0.1", 53)),
    tcp("fd00::1"),
    FwmarkKey(4, 7),
    FwmarkKey(6, 7),
)
METHODS: Sequence[Method] = (
    Method(Forwarding.NAT),
    Method(Forwarding.DR),
    Method(Forwarding.TUN, TunnelType.IPIP),
    Method(Forwarding.TUN, TunnelType.GUE, 5555, TunnelChecksum.REMCSUM),
    Method(Forwarding.TUN, TunnelType.GRE, 0, TunnelChecksum.CSUM),
)
"""Forwarding methods in normal form."""
FLAGS = (0, FLAG_SCHEDULER_1, FLAG_SCHEDULER_1 | FLAG_SCHEDULER_2, FLAG_ONE_PACKET)


def _hosts(family: int) -> Sequence[Endpoint]:
    return [endpoint(f"10.1.0.{host}" if family == 4 else f"fd01::{host}") for host in range(1, 6)]


def _settings(family: int) -> Sequence[ServiceSettings]:
    full = 32 if family == 4 else 128
    return [
        made
        for scheduler in ("rr", "wlc")
        for flags in FLAGS
        for made in (
            ServiceSettings(scheduler, flags, 0, full),
            ServiceSettings(scheduler, flags | FLAG_PERSISTENT, 300, full),
            ServiceSettings(scheduler, flags | FLAG_PERSISTENT, 86400, 24),
        )
    ]


HOSTS = {family: _hosts(family) for family in (4, 6)}
SETTINGS = {family: _settings(family) for family in (4, 6)}
"""Settings in normal form: what has no effect has its default."""


def destinations(family: int, hosts: int = 5) -> st.SearchStrategy[Destination]:
    """Destinations of few hosts, so that the same endpoint comes again."""
    return st.builds(
        lambda found, weight, method, thresholds: Destination(found, weight, method, *thresholds),
        st.sampled_from(HOSTS[family][:hosts]),
        st.sampled_from([0, 1, 2, 65535]),
        st.sampled_from(METHODS),
        st.sampled_from([(0, 0), (9, 3), (9, 9)]),
    )


def settings(family: int) -> st.SearchStrategy[ServiceSettings]:
    """Settings in normal form."""
    return st.sampled_from(SETTINGS[family])


def services(key: ServiceKey, hosts: int = 5) -> st.SearchStrategy[Service]:
    """Services with up to `hosts` destinations."""
    return st.builds(
        lambda made, found: Service(key, made, MappingProxyType({d.endpoint: d for d in found})),
        settings(key.family),
        st.lists(destinations(key.family, hosts), max_size=hosts),
    )


def tables(keys: Sequence[ServiceKey] = KEYS, hosts: int = 5) -> st.SearchStrategy[Table]:
    """Tables with some of `keys`."""
    return st.tuples(*(st.none() | services(key, hosts) for key in keys)).map(
        lambda made: table(*(item for item in made if item is not None))
    )
