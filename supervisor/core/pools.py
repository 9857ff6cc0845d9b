"""What the director knows: every virtual server with its state, and the indexes that lead to them.

    pools.virtual_servers[key]         # the state of one
    pools.touch(key)                   # it changed: its part of the table is computed anew
    pools.desired()                    # the table of all, the same object until something changed

Data and lookups alone. What happens to them is told in the modules beside: `entrance` (how they begin), `judgement` (a change, followed
up to the table), `reconfiguring` (another file), `director` (which event means what).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

from supervisor.core.blame import Blame
from supervisor.core.causes import Chronicle
from supervisor.core.departures import Departures
from supervisor.core.events import Health
from supervisor.core.health import Check
from supervisor.core.hold import Ends
from supervisor.core.jobs import JobBook, definition
from supervisor.core.memory import Clocks, PoolMemory, remember
from supervisor.core.realserver import RealServerState
from supervisor.core.table import Reading, Service, Table
from supervisor.core.virtualserver import VirtualServerState
from supervisor.model import AddressKey, CheckSpec, Config, Endpoint, IPAddress, ServiceKey, VirtualServer

Consumer: TypeAlias = tuple[VirtualServerState, RealServerState, Check]
"""Who listens to a job."""


class Pools:
    """The director's state. One owner: its director.

    `reading` is the kernel's table as it was read last, `addresses` are those of this host (None: nobody can know them).
    """

    def __init__(self, config: Config, found: Table | None = None) -> None:
        self.config = config
        self.reading = Reading(found or Table())
        self.addresses: frozenset[IPAddress] | None = frozenset()
        self.jobs = JobBook()
        self.jobs.update(config)
        self.virtual_servers: dict[ServiceKey, VirtualServerState] = {}
        self.departures = Departures()
        self.chronicle = Chronicle()
        self.blame = Blame()
        self.hold_ends = Ends()
        self.unread: dict[ServiceKey, set[Endpoint]] = {}  # written, and not read back yet
        self.doubted: set[int] = (
            set()
        )  # jobs of which memory and table say different things, until a probe says something
        self.unremembered: set[ServiceKey] = set()  # changed since `memories` was called
        self._memories: dict[ServiceKey, PoolMemory] = {}
        self._definitions: dict[int, str] = {}
        self._consumer: dict[
            int, Consumer
        ] = {}  # of jobs that have one: nearly all, so those of thousands need no tuple each
        self._consumers: dict[int, tuple[Consumer, ...]] = {}  # of those that have several
        self._services: dict[ServiceKey, Service] = {}
        self._dirty: set[ServiceKey] = set()
        self._desired: Table | None = None

    def fork(self) -> Pools:
        """Return a copy that can go its own way, to see what would come of something. Linear in the number of real servers."""
        copy = Pools(self.config, self.reading.table)
        copy.reading, copy.addresses = self.reading, self.addresses
        copy.jobs = self.jobs.fork()
        copy.departures = self.departures.fork()
        copy.doubted = set(self.doubted)
        copy.blame, copy.hold_ends = self.blame.fork(), self.hold_ends.fork()
        copy.virtual_servers = {key: state.fork() for key, state in self.virtual_servers.items()}
        copy._services, copy._dirty = dict(self._services), set(self._dirty)
        copy.replaced(())
        return copy

    # -- lookups ---------------------------------------------------------------------------------------------------

    def consumers(self, job: int) -> Sequence[Consumer]:
        """Return who listens to a job."""
        only = self._consumer.get(job)
        return self._consumers.get(job, ()) if only is None else (only,)

    def real_server(self, key: ServiceKey, endpoint: Endpoint) -> RealServerState | None:
        """Return the state of one real server, None when the configuration has no such one."""
        virtual_server = self.virtual_servers.get(key)
        return virtual_server.real_servers.get(endpoint) if virtual_server else None

    def found(self, key: ServiceKey) -> Service | None:
        """Return what the kernel was last seen to have of a virtual server."""
        return self.reading.table.services.get(key)

    def job_health(self, job: int) -> Health:
        """Return the health that a (new) worker should start this job from.

        It comes back as the worker's first full state, before any probe. So consumers that disagree (adopted from a table
        that served in one place and not in the other) give UNKNOWN: no belief may overrule another, only a probe may.
        """
        consumers = self.consumers(job)
        if not consumers:
            return Health.UNKNOWN
        known = {check.health for _, _, check in consumers}
        if job in self.doubted and Health.UNKNOWN in known:
            return Health.UNKNOWN
        known.discard(Health.UNKNOWN)
        return known.pop() if len(known) == 1 else Health.UNKNOWN

    def job_weight(self, job: int) -> int | None:
        """Return the weight that a (new) worker should believe this job to have spoken of."""
        for _, _, check in self.consumers(job):
            if check.weight is not None:
                return check.weight
        return None

    def definition(self, spec: CheckSpec, job: int) -> str:
        """Return what names the definition of a check from one run to the next."""
        found = self._definitions.get(job)
        if found is None:
            found = self._definitions[job] = definition(spec)
        return found

    def must_suspend(self, spec: VirtualServer) -> bool:
        """Tell whether a virtual server rests because its address is not here (ha_suspend)."""
        key = spec.key
        if not spec.ha_suspend or self.addresses is None or not isinstance(key, AddressKey):
            return False
        return key.endpoint.address not in self.addresses

    # -- the table -------------------------------------------------------------------------------------------------

    @property
    def moved(self) -> bool:
        """Whether there is something to compute for `desired`, which may come to the same table all the same."""
        return bool(self._dirty) or self._desired is None

    def desired(self) -> Table:
        """Return the table that the kernel should have; the same object until something changed."""
        for key in self._dirty:
            service = self._service(key)
            if service == self._services.get(key):
                continue
            self._desired = None
            if service is None:
                del self._services[key]
            else:
                self._services[key] = service
        self._dirty.clear()
        if self._desired is None:
            self._desired = Table(MappingProxyType({key: self._services[key] for key in self._keys()}))
        return self._desired

    def _service(self, key: ServiceKey) -> Service | None:
        """Return what the kernel should have under this key, with what is on its way out; None: nothing."""
        virtual_server = self.virtual_servers.get(key)
        if virtual_server is None:
            return self.departures.left(key)
        return self.departures.join(virtual_server.service())

    def _keys(self) -> tuple[ServiceKey, ...]:
        return (*self.virtual_servers, *self.departures.services)

    def touch(self, key: ServiceKey) -> None:
        """Note that a virtual server changed, or what is left of one."""
        self._dirty.add(key)
        self.unremembered.add(key)

    def replaced(self, changed: Collection[ServiceKey] | None = None) -> None:
        """Note that `virtual_servers` is another set than before: every index anew, and the table when it is asked for.

        `changed` are those that came or are not as they were (None: all); of the others, services and memories still hold.
        """
        self._index()
        self.blame.reconfigure(self.config.blame, self.virtual_servers.values())
        anew = {*(self.virtual_servers if changed is None else changed), *self.departures.touched}
        keys = dict.fromkeys(self._keys())
        self._services = {key: self._services[key] for key in keys if key in self._services}
        self._dirty = (self._dirty | anew) & keys.keys()
        self._desired = None
        self.unremembered.update(anew & self.virtual_servers.keys())
        current = set(self.jobs.jobs.values())
        self._definitions = {job: name for job, name in self._definitions.items() if job in current}

    def _index(self) -> None:
        """Note who listens to each job."""
        self._consumer, several = {}, defaultdict[int, list[Consumer]](list)
        for virtual_server in self.virtual_servers.values():
            for server in virtual_server.real_servers.values():
                for check in server.checks:
                    consumer = virtual_server, server, check
                    first = self._consumer.setdefault(check.job, consumer)
                    if first is not consumer:
                        several[check.job].append(consumer)
        self._consumers = {job: (self._consumer.pop(job), *others) for job, others in several.items()}

    # -- memory ----------------------------------------------------------------------------------------------------

    def remember(self, clocks: Clocks, most: int) -> bool:
        """Bring the memory of changed virtual servers up to date, about `most` real servers at once; tell whether there are more."""
        while self.unremembered and most > 0:
            key = self.unremembered.pop()
            state = self.virtual_servers.get(key)
            if state is not None:
                leaving = self.departures.of(key)
                self._memories[key] = remember(state, leaving, clocks, lambda c: self.definition(c.spec, c.job))
                most -= len(state.real_servers) + 1
        return bool(self.unremembered)

    def memories(self, clocks: Clocks) -> Mapping[ServiceKey, PoolMemory]:
        """Return what is to be remembered of every virtual server; made anew for those that changed, the same objects for the others."""
        while self.remember(clocks, most=1000):
            pass
        self._memories = {key: self._memories[key] for key in self.virtual_servers}
        return MappingProxyType(self._memories)
