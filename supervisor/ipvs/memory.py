"""The embedded table: the `Backend` interface over a `Table` in memory. For trying things and for tests on a virtual clock.

It agrees with the kernel wherever the contract suite looks (tests/contract), also in what it refuses: a negative weight and an
upper threshold below the lower one are ERANGE (ip_vs_add_dest), a second sync daemon of a role is EEXIST, and one beside a
destination of another family than its service's EINVAL. It never fails otherwise; tests that want lost answers or foreign hands
wrap it (tests/fakes/backend.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import assert_never

from supervisor.core.kernelsettings import Change, KernelState, SetTimeouts, StartSync, StopSync
from supervisor.core.table import (
    AddDestination,
    ChangeDestination,
    Counters,
    Draft,
    Load,
    Loads,
    Op,
    Reading,
    Service,
    ServiceSettings,
    Table,
    TableError,
)
from supervisor.model import IPAddress, ServiceKey, SyncDaemon, SyncRole, Timeouts

KERNEL_TIMEOUTS = Timeouts(900, 120, 300)
"""The kernel's own, in seconds (ipvs.md, section 4)."""

SYNC_LENGTH = 1472
"""Bytes of a sync daemon's message where nobody asks for a number: what an interface with an MTU of 1500 gives."""


_NO_LOAD = Load()


def _loads(table: Table) -> Loads:
    return {key: dict.fromkeys(service.destinations, _NO_LOAD) for key, service in table.services.items()}


class MemoryBackend:
    """A table in memory, empty at first or as given."""

    name = "memory"

    def __init__(self, table: Table | None = None) -> None:
        self.table = Table() if table is None else table
        self._loads: tuple[Table, Loads] = Table(), {}  # of which table
        self.timeouts = KERNEL_TIMEOUTS
        self.sync_daemons: dict[SyncRole, SyncDaemon] = {}

    def close(self) -> None:
        """Do nothing: the table stays."""

    def read(self, keys: Collection[ServiceKey] | None = None) -> Reading:
        """Return the table, or only the services `keys`; no connections, no traffic."""
        if keys is None:
            if self._loads[0] is not self.table:
                self._loads = self.table, _loads(self.table)
            return Reading(self.table, self._loads[1], MappingProxyType(dict.fromkeys(self.table.services, Counters())))
        services: dict[ServiceKey, Service] = {
            key: service for key, service in self.table.services.items() if key in keys
        }
        table = Table(MappingProxyType(services))
        return Reading(table, _loads(table), MappingProxyType(dict.fromkeys(services, Counters())))

    def services(self) -> dict[ServiceKey, ServiceSettings]:
        """Return every service without its destinations."""
        return {key: service.settings for key, service in self.table.services.items()}

    def apply(self, ops: Sequence[Op]) -> list[str]:
        """Carry out `ops` in order; a failure does not stop the rest. Return one errno name ("" = done) for each."""
        draft = Draft(self.table)
        words = [self._apply(draft, op) for op in ops]
        self.table = draft.table()
        return words

    def _apply(self, draft: Draft, op: Op) -> str:
        if isinstance(op, AddDestination | ChangeDestination):
            destination = op.destination
            if self.sync_daemons and destination.endpoint.address.version != op.key.family:
                return "EINVAL" if op.key in draft else "ESRCH"
            if destination.weight < 0 or destination.upper_threshold < destination.lower_threshold:
                return "ERANGE" if op.key in draft else "ESRCH"
        try:
            draft.apply(op)
        except TableError as error:
            return error.word
        return ""

    def settings(self) -> KernelState:
        """Return the time-outs and the sync daemons."""
        return KernelState(
            self.timeouts, tuple(self.sync_daemons[role] for role in SyncRole if role in self.sync_daemons)
        )

    def adjust(self, change: Change) -> str:
        """Carry out one change and return the errno's name ("" = done)."""
        match change:
            case SetTimeouts(asked):
                now = self.timeouts
                self.timeouts = Timeouts(asked.tcp or now.tcp, asked.tcp_fin or now.tcp_fin, asked.udp or now.udp)
            case StartSync(daemon):
                if self._has_mixed_families():
                    return "EINVAL"
                if daemon.role in self.sync_daemons:
                    return "EEXIST"
                self.sync_daemons[daemon.role] = replace(daemon, max_length=daemon.max_length or SYNC_LENGTH)
            case StopSync(role):
                if self.sync_daemons.pop(role, None) is None:
                    return "ESRCH"
            case _:
                assert_never(change)
        return ""

    def _has_mixed_families(self) -> bool:
        return any(
            endpoint.address.version != key.family
            for key, service in self.table.services.items()
            for endpoint in service.destinations
        )


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
