"""The table of a dry run: changes go to a copy in memory, and the kernel's own table is only read, to say where the two disagree.

For running beside a live keepalived (or any other program that keeps the table): at the start the copy is what the kernel has, from then
on it is what we would have made of it. Whenever the writer reads the whole table, the kernel's is read too; a disagreement that
two readings in a row show is told once, and once more when it is over. Must never send a change to the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias, assert_never

from checkers.kit.frozen import frozen
from supervisor.core.diff import diff
from supervisor.core.kernelsettings import Change, KernelState
from supervisor.core.table import (
    AddDestination,
    AddService,
    ChangeDestination,
    ChangeService,
    DeleteDestination,
    DeleteService,
    Destination,
    Op,
    Reading,
    ServiceSettings,
    Table,
)
from supervisor.ipvs.backend import Backend
from supervisor.ipvs.memory import MemoryBackend
from supervisor.ipvs.vip import VirtualAddresses
from supervisor.model import Endpoint, IPAddress, ServiceKey


@frozen
class Disagreement:
    """One difference between what we would have in the kernel (`want`) and what is there (`have`), in words."""

    virtual_server: ServiceKey
    real_server: Endpoint | None  # None: the service itself
    want: str
    have: str

    def __str__(self) -> str:
        where = str(self.virtual_server)
        if self.real_server is not None:
            where += f", real server {self.real_server}"
        return f"{where}: we would have {self.want}, the kernel has {self.have}"


Tell: TypeAlias = Callable[[Disagreement, bool], None]
"""Takes a disagreement, and whether it stands (True) or is over (False). Must not wait."""


class DryRunBackend:
    """A table in memory that begins as the kernel's, beside the kernel's that is only read. Raises what reading it raises."""

    name = "dry-run"

    def __init__(self, kernel: Backend, keys: Collection[ServiceKey], tell: Tell) -> None:
        """`keys` are the services that the configuration names: only these, and what we change later, are compared."""
        self._kernel = kernel
        self._copy = MemoryBackend(kernel.read().table)
        self._ours = set(keys)
        self._tell = tell
        self._seen: frozenset[Disagreement] = frozenset()
        self.standing: frozenset[Disagreement] = frozenset()
        """What two readings in a row have shown."""

    def close(self) -> None:
        """Give the kernel's socket back."""
        self._kernel.close()

    def read(self, keys: Collection[ServiceKey] | None = None) -> Reading:
        """Return what our table would be, with the kernel's own connections and traffic when the whole of it is read."""
        ours = self._copy.read(keys)
        if keys is not None:
            return ours
        kernel = self._kernel.read()
        self._compare(kernel.table)
        loads = {
            key: {endpoint: kernel.load(key, endpoint) or load for endpoint, load in found.items()}
            for key, found in ours.loads.items()
        }
        return Reading(ours.table, loads, {**ours.services, **kernel.services})

    def services(self) -> dict[ServiceKey, ServiceSettings]:
        """Return the services of our table."""
        return self._copy.services()

    def apply(self, ops: Sequence[Op]) -> list[str]:
        """Change the copy."""
        self._ours.update(op.key for op in ops)
        return self._copy.apply(ops)

    def settings(self) -> KernelState:
        """Return the kernel's own."""
        return self._kernel.settings()

    def adjust(self, change: Change) -> str:
        """Change nothing; the wiring does not even ask in a dry run."""
        del change
        return ""

    def _compare(self, kernel: Table) -> None:
        ours = {key: service for key, service in self._copy.table.services.items() if key in self._ours}
        ops = diff(Table(ours), kernel, self._ours)
        found = frozenset(_disagreement(op, kernel, self._copy.table) for op in ops)
        standing = found & self._seen
        for over in sorted(self.standing - found, key=str):
            self._tell(over, False)
        for new in sorted(standing - self.standing, key=str):
            self._tell(new, True)
        self.standing = standing | (self.standing & found)
        self._seen = found


class WatchedAddresses(VirtualAddresses):
    """The addresses of this host beside a dry run: they are watched, and none is assigned or released."""

    async def assign(self, addresses: Collection[IPAddress], default_interface: str) -> None:
        """Assign nothing."""

    async def release(self) -> None:
        """Release nothing."""


def _disagreement(op: Op, kernel: Table, ours: Table) -> Disagreement:
    """Say in words what an operation on the kernel's table would mend."""
    here = kernel.services.get(op.key)
    match op:
        case AddService(key, settings):
            return Disagreement(key, None, _service_words(settings), "no such service")
        case ChangeService(key, settings):
            assert here is not None
            return Disagreement(key, None, _service_words(settings), _service_words(here.settings))
        case DeleteService(key):
            return Disagreement(key, None, "no such service", "one")
        case AddDestination(key, destination):
            return Disagreement(key, destination.endpoint, _words(destination), "nothing")
        case ChangeDestination(key, destination):
            there = here.destinations.get(destination.endpoint) if here else None
            return Disagreement(key, destination.endpoint, _words(destination), _words(there))
        case DeleteDestination(key, endpoint):
            there = here.destinations.get(endpoint) if here else None
            mine = ours.services.get(key)
            return Disagreement(key, endpoint, _words(mine.destinations.get(endpoint) if mine else None), _words(there))
        case _:
            assert_never(op)


def _words(destination: Destination | None) -> str:
    if destination is None:
        return "nothing"
    limits = f", thresholds {destination.upper_threshold}/{destination.lower_threshold}" * bool(
        destination.upper_threshold or destination.lower_threshold
    )
    return f"weight {destination.weight} by {destination.method.forwarding.name}{limits}"


def _service_words(settings: ServiceSettings) -> str:
    engine = f", engine {settings.engine}" if settings.engine else ""
    persistence = f", persistence {settings.timeout} s /{settings.prefix}" if settings.timeout else ""
    return f"scheduler {settings.scheduler}, flags {settings.flags:#x}{persistence}{engine}"
