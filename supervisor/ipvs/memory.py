"""The embedded table: the `Backend` interface over a `Table` in memory. For trying things and for tests on a virtual clock.

It agrees with the kernel wherever the contract suite looks (tests/contract), also in what it refuses: a negative weight and an
upper threshold below the lower one are ERANGE (ip_vs_add_dest). It never fails otherwise; tests that want lost answers or foreign
hands wrap it (tests/fakes/backend.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from types import MappingProxyType

from supervisor.core.table import (
    AddDestination,
    ChangeDestination,
    Counters,
    Load,
    Op,
    Reading,
    Service,
    Table,
    TableError,
    apply,
)
from supervisor.model import Endpoint, IPAddress, ServiceKey


class MemoryBackend:
    """A table in memory, empty at first or as given."""

    name = "memory"

    def __init__(self, table: Table | None = None) -> None:
        self.table = Table() if table is None else table

    def close(self) -> None:
        """Do nothing: the table stays."""

    def read(self, keys: Collection[ServiceKey] | None = None) -> Reading:
        """Return the table, or only the services `keys`; no connections, no traffic."""
        services: dict[ServiceKey, Service] = {
            key: service for key, service in self.table.services.items() if keys is None or key in keys
        }
        loads: dict[tuple[ServiceKey, Endpoint], Load] = {
            (key, endpoint): Load() for key, service in services.items() for endpoint in service.destinations
        }
        return Reading(
            Table(MappingProxyType(services)),
            MappingProxyType(loads),
            MappingProxyType(dict.fromkeys(services, Counters())),
        )

    def apply(self, ops: Sequence[Op]) -> list[str]:
        """Carry out `ops` in order; a failure does not stop the rest. Return one errno name ("" = done) for each."""
        return [self._apply(op) for op in ops]

    def _apply(self, op: Op) -> str:
        if isinstance(op, AddDestination | ChangeDestination):
            destination = op.destination
            if destination.weight < 0 or destination.upper_threshold < destination.lower_threshold:
                return "ERANGE" if op.key in self.table.services else "ESRCH"
        try:
            self.table = apply(self.table, op)
        except TableError as error:
            return error.word
        return ""


class MemoryAddresses:
    """Virtual addresses beside a table in memory: none is assigned, because nothing outside this process is touched."""

    def __init__(self, report: Callable[[IPAddress, str, str], None]) -> None:
        """`report` is never called: there is nothing to report."""

    async def assign(self, addresses: Collection[IPAddress], default_interface: str) -> None:
        """Assign nothing."""

    async def release(self) -> None:
        """Release nothing."""

    async def watch(self, seen: Callable[[frozenset[IPAddress] | None], Awaitable[None]]) -> None:
        """Say that nobody can know which addresses are here, so that nothing is suspended."""
        await seen(None)
