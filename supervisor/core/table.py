"""The level: everything the kernel is told, as one immutable value, and the operations that change it.

A `Table` maps service keys to `Service`s, a `Service` maps endpoints to `Destination`s. `Op` is one kernel change and `apply`
says what it means; the kernel backend and the embedded one must agree with it (tests/contract). Weights are 0 to 65535,
times are seconds, flags are the kernel's bits. Sources: include/uapi/linux/ip_vs.h; ipvs.md, sections 4 and 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from types import MappingProxyType
from typing import TypeAlias, assert_never

from checkers.kit.frozen import frozen
from supervisor.model import Endpoint, Method, ServiceKey

FLAG_PERSISTENT = 0x1
FLAG_HASHED = 0x2  # the kernel's own mark on every service it serves; nobody can set or clear it
FLAG_ONE_PACKET = 0x4
FLAG_SCHEDULER_1 = 0x8
FLAG_SCHEDULER_2 = 0x10
FLAG_SCHEDULER_3 = 0x20


@frozen
class Destination:
    """One destination as we want it or as the kernel has it. Equality is what a write would change."""

    endpoint: Endpoint
    weight: int
    method: Method = Method()
    upper_threshold: int = 0
    lower_threshold: int = 0


@frozen
class ServiceSettings:
    """A service without its destinations. `prefix` is the persistence granularity (32 or 128: each client)."""

    scheduler: str
    flags: int = 0
    timeout: int = 0
    prefix: int = 32
    engine: str = ""


def _no_destinations() -> Mapping[Endpoint, Destination]:
    return MappingProxyType({})


@frozen
class Service:
    """One service with its destinations, in the order in which they are added."""

    key: ServiceKey
    settings: ServiceSettings
    destinations: Mapping[Endpoint, Destination] = field(default_factory=_no_destinations)


@frozen
class Counters:
    """Traffic counters (IPVS_STATS_ATTR_*, 64 bit)."""

    connections: int = 0
    incoming_packets: int = 0
    outgoing_packets: int = 0
    incoming_bytes: int = 0
    outgoing_bytes: int = 0


@frozen
class Load:
    """What a destination carries now, beside the counters."""

    active: int = 0
    inactive: int = 0
    persistent: int = 0
    counters: Counters = Counters()


@frozen
class Table:
    """All services, in the order in which they are added. The empty table is `Table()`."""

    services: Mapping[ServiceKey, Service] = field(default_factory=lambda: MappingProxyType({}))


Loads: TypeAlias = Mapping[ServiceKey, Mapping[Endpoint, Load]]
"""What every destination of every service carries."""


@frozen
class Reading:
    """One dump of the kernel: the table and what it carries. `loads` may lack a destination that was just added."""

    table: Table
    loads: Loads = field(default_factory=lambda: MappingProxyType({}))
    services: Mapping[ServiceKey, Counters] = field(default_factory=lambda: MappingProxyType({}))

    def load(self, key: ServiceKey, endpoint: Endpoint) -> Load | None:
        """Return what a destination carries; None: it is not in the reading."""
        found = self.loads.get(key)
        return None if found is None else found.get(endpoint)


@frozen
class AddService:
    """Create a service without destinations."""

    key: ServiceKey
    settings: ServiceSettings


@frozen
class ChangeService:
    """Replace the settings of a service; its destinations stay."""

    key: ServiceKey
    settings: ServiceSettings


@frozen
class DeleteService:
    """Delete a service and its destinations."""

    key: ServiceKey


@frozen
class AddDestination:
    """Add a destination to a service."""

    key: ServiceKey
    destination: Destination


@frozen
class ChangeDestination:
    """Replace a destination, found by its endpoint."""

    key: ServiceKey
    destination: Destination


@frozen
class DeleteDestination:
    """Delete a destination."""

    key: ServiceKey
    endpoint: Endpoint


Op: TypeAlias = AddService | ChangeService | DeleteService | AddDestination | ChangeDestination | DeleteDestination


class TableError(Exception):
    """An operation that the table cannot take; `word` is the errno's name as the kernel would answer it."""

    def __init__(self, word: str, op: Op) -> None:
        super().__init__(f"{word}: {op}")
        self.word = word
        self.op = op


class Draft:
    """A table that is being changed: many operations on it cost what they touch, and not the whole table each.

    Services and destinations keep their order; who is replaced stays where it was.
    """

    def __init__(self, table: Table) -> None:
        self._services = dict(table.services)
        self._touched: dict[ServiceKey, dict[Endpoint, Destination]] = {}

    def __contains__(self, key: ServiceKey) -> bool:
        """Tell whether there is a service under this key."""
        return key in self._services

    def apply(self, op: Op) -> None:
        """Carry out one operation. Raises TableError with the kernel's errno: EEXIST, ESRCH (service), ENOENT (destination)."""
        match op:
            case AddService():
                if op.key in self._services:
                    raise TableError("EEXIST", op)
                self._services[op.key] = Service(op.key, op.settings)
            case ChangeService():
                self._services[op.key] = replace(self._service(op), settings=op.settings)
            case DeleteService():
                self._service(op)
                del self._services[op.key]
                self._touched.pop(op.key, None)
            case AddDestination():
                destinations = self._destinations(op)
                if op.destination.endpoint in destinations:
                    raise TableError("EEXIST", op)
                destinations[op.destination.endpoint] = op.destination
            case ChangeDestination():
                destinations = self._destinations(op)
                if op.destination.endpoint not in destinations:
                    raise TableError("ENOENT", op)
                destinations[op.destination.endpoint] = op.destination
            case DeleteDestination():
                destinations = self._destinations(op)
                if op.endpoint not in destinations:
                    raise TableError("ENOENT", op)
                del destinations[op.endpoint]
            case _:
                assert_never(op)

    def table(self) -> Table:
        """Return what it has become. The draft is used up."""
        for key, destinations in self._touched.items():
            self._services[key] = replace(self._services[key], destinations=MappingProxyType(destinations))
        return Table(MappingProxyType(self._services))

    def _service(self, op: Op) -> Service:
        try:
            return self._services[op.key]
        except KeyError:
            raise TableError("ESRCH", op) from None

    def _destinations(self, op: Op) -> dict[Endpoint, Destination]:
        """Return a service's destinations to be changed."""
        service = self._service(op)
        found = self._touched.get(op.key)
        if found is None:
            found = self._touched[op.key] = dict(service.destinations)
        return found


def apply(table: Table, op: Op) -> Table:
    """Return `table` after `op`, or raise TableError as `Draft.apply` does."""
    draft = Draft(table)
    draft.apply(op)
    return draft.table()
