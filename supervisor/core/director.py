"""All virtual servers: the state machine between what happens and what is told.

    transitions = director.handle(event, now)      # edges, for humans
    table = director.desired()                     # the level, for the kernel: the same object until something changed

One owner, no I/O, no clock: `now` is trio's time in seconds. Only the virtual servers that an event touches are computed anew.
Reading order: `__init__` and `start`, then `handle`, then `reconfigure`. Observers' values are made in `views.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from types import MappingProxyType
from typing import assert_never

from supervisor.core import telling
from supervisor.core.adoption import Standing, made_from_another_file, spoken_weight, standing
from supervisor.core.causes import Chain, Chronicle, Kind
from supervisor.core.events import (
    AddressesSeen,
    CheckReported,
    DestinationId,
    Event,
    Health,
    KernelRead,
    KernelWritten,
    Tick,
    WorkerSilent,
    WorkerSpeaking,
)
from supervisor.core.groups import Speakers
from supervisor.core.health import Check
from supervisor.core.jobs import JobBook
from supervisor.core.realserver import RealServerState
from supervisor.core.succession import carried_over, renumber
from supervisor.core.table import (
    AddDestination,
    ChangeDestination,
    DeleteDestination,
    Destination,
    Reading,
    Service,
    Table,
)
from supervisor.core.transitions import SuspensionChanged, Transition
from supervisor.core.virtualserver import VirtualServerState
from supervisor.model import (
    AddressKey,
    Config,
    Endpoint,
    FlushOnStop,
    IPAddress,
    RealServer,
    ServiceKey,
    VirtualServer,
)


def table_at_start(config: Config) -> Table:
    """The table that the kernel should have after a start with this file, before any check. Pure."""
    director = Director(config, now=0.0)
    director.start(now=0.0)
    return director.desired()


class Director:
    """Decides what the kernel should have. Owned by one task."""

    def __init__(self, config: Config, now: float, found: Table | None = None) -> None:
        """Take a configuration, and the kernel's table as it was found: what serves keeps serving, what was out stays out."""
        self.config = config
        self.reading = Reading(found or Table())
        self.jobs = JobBook()
        self.virtual_servers: dict[ServiceKey, VirtualServerState] = {}
        self._chronicle = Chronicle()
        self._consumers: dict[int, list[tuple[VirtualServerState, RealServerState, Check]]] = {}
        self._services: dict[ServiceKey, Service] = {}
        self._dirty: set[ServiceKey] = set()
        self._desired: Table | None = None
        self._unread: set[DestinationId] = set()
        self._addresses: frozenset[IPAddress] | None = frozenset()  # of this host; None: suspend nothing
        self.jobs.update(config)
        for spec in config.virtual_servers:
            self.virtual_servers[spec.key] = self._enter(spec, now, self._found(spec.key))
        self._index()

    def desired(self) -> Table:
        """Return the table that the kernel should have; the same object until something changed."""
        for key in self._dirty:
            service = self.virtual_servers[key].service()
            if service != self._services.get(key):
                self._services[key] = service
                self._desired = None
        self._dirty.clear()
        if self._desired is None:
            self._desired = Table(MappingProxyType({key: self._services[key] for key in self.virtual_servers}))
        return self._desired

    def next_deadline(self) -> float:
        """Return when time alone will change something: nothing in the core waits for a time yet, so never."""
        return math.inf

    def job_health(self, job: int) -> Health:
        """Return the health that a (new) worker should start this job from.

        It comes back as the worker's first full state, before any probe. So consumers that disagree (adopted from a table
        that served in one place and not in the other) give UNKNOWN: no belief may overrule another, only a probe may.
        """
        known = {check.health for _, _, check in self._consumers.get(job, ())} - {Health.UNKNOWN}
        return known.pop() if len(known) == 1 else Health.UNKNOWN

    def job_weight(self, job: int) -> int | None:
        """Return the weight that a (new) worker should believe this job to have spoken of."""
        return next((check.weight for _, _, check in self._consumers.get(job, ()) if check.weight is not None), None)

    # -- beginnings ------------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Transition]:
        """Judge every quorum for the first time.

        Adopted virtual servers tell nothing, for nothing changed for their clients, unless the file has changed so much meanwhile
        that what the table shows does not hold any more.
        """
        told: list[Transition] = []
        for key, virtual_server in self.virtual_servers.items():
            found = self._found(key)
            if found is not None and found.destinations:
                virtual_server.quorate = _adopted_quorum(virtual_server, found)
                sorry_before = virtual_server.sorry_in_service
                if virtual_server.judge(now):
                    chain = self._chronicle.begin(now, Kind.ADOPTED, "the kernel's table shows another quorum")
                    told += self._quorum_flipped(virtual_server, chain, sorry_before, now)
            else:
                told += self._first_quorum(virtual_server, now)
            self._dirty.add(key)
        return told

    def _found(self, key: ServiceKey) -> Service | None:
        return self.reading.table.services.get(key)

    def _enter(self, spec: VirtualServer, now: float, found: Service | None) -> VirtualServerState:
        """Make the state of a virtual server that is new to us, from what the kernel has of it."""
        other_file = made_from_another_file(spec, found)
        there = found.destinations if found else {}
        servers = {
            rs.endpoint: self._new_real_server(
                rs, standing(rs, found, other_file=other_file), now, found=there.get(rs.endpoint)
            )
            for rs in spec.real_servers
        }
        state = VirtualServerState(spec, servers, now)
        state.suspended = self._must_suspend(spec)
        return state

    def _new_real_server(
        self, spec: RealServer, how: Standing, now: float, found: Destination | None = None
    ) -> RealServerState:
        """Make the state of a real server; `how` says what its checks start from, `found` is how it stands in the kernel's table."""
        match how:
            case Standing.FRESH:
                kind, text = Kind.START, "in the configuration, not checked yet"
                health = Health.UNKNOWN
            case Standing.SERVING:
                kind, text = Kind.ADOPTED, "found in service in the kernel's table"
                health = Health.UP
            case Standing.OUT:
                kind, text = Kind.ADOPTED, "found out of service in the kernel's table"
                health = Health.DOWN
            case _:
                assert_never(how)
        jobs = self.jobs.jobs
        spoken = spoken_weight(spec, found) if how is Standing.SERVING else {}
        checks = tuple(
            Check(
                c,
                jobs[c],
                now,
                health=self._known(jobs[c], health),
                trusted=not c.alpha,
                weight=spoken.get(c, self.job_weight(jobs[c])),
            )
            for c in spec.checks
        )
        if how is Standing.FRESH and any(check.health is not Health.UNKNOWN for check in checks):
            text = "in the configuration, its checks are known already"
        return RealServerState(spec, checks, now, self._chronicle.begin(now, kind, text, weight=spec.weight))

    def _known(self, job: int, health: Health) -> Health:
        """Return what a check starts from: `health`, or where that says nothing, what its job says elsewhere already.

        So a virtual server that is renamed does not send its first clients to a server that is known to be dead.
        """
        return self.job_health(job) if health is Health.UNKNOWN else health

    def _first_quorum(self, virtual_server: VirtualServerState, now: float) -> list[Transition]:
        """Judge the quorum of a virtual server that the kernel does not have yet (keepalived.md 3.3, "Start")."""
        gained = virtual_server.judge(now)
        told = self._first_notices(virtual_server) if self.config.scripts.at_start else []
        if not gained and virtual_server.spec.sorry_server is None:
            return told
        chain = self._chronicle.begin(now, Kind.START, "first judgement of the quorum")
        chain = telling.quorum_chain(self._chronicle, chain, virtual_server, now)
        told.append(telling.quorum_changed(virtual_server, chain, at_start=True))
        return told + telling.sorry_changed(virtual_server, None, chain[-1].id)

    @staticmethod
    def _first_notices(virtual_server: VirtualServerState) -> list[Transition]:
        """Tell of the real servers that are UP from the start (rs_init_notifies)."""
        return [
            telling.real_server_changed(
                virtual_server, server, None, was="UNKNOWN", previous_state_s=0.0, weight_old=None, at_start=True
            )
            for server in virtual_server.real_servers.values()
            if server.live
        ]

    # -- events ----------------------------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Transition]:
        """Take one event in and return the transitions that it caused, in the order in which they happened."""
        match event:
            case CheckReported():
                return self._reported(event, now)
            case WorkerSilent(jobs):
                self._mark(jobs, stale=True)
            case WorkerSpeaking(jobs):
                self._mark(jobs, stale=False)
            case KernelWritten():
                self._written(event, now)
            case KernelRead():
                self._read(event, now)
            case AddressesSeen(addresses):
                return self._addresses_seen(addresses)
            case Tick():
                pass
            case _:
                assert_never(event)
        return []

    def _reported(self, event: CheckReported, now: float) -> list[Transition]:
        told: list[Transition] = []
        for virtual_server, server, check in self._consumers.get(event.job, ()):
            was, since, passed = server.health.value, check.since, check.passes
            if check.report(event, now):
                turned = check.passes is not passed
                chain = telling.probe_chain(self._chronicle, server, check, now, since, turned=turned)
                told += self._check_changed(virtual_server, server, check, chain, now=now, was=was, turned=turned)
            elif event.result is not None and event.failures and event.health is not Health.DOWN:
                told.append(telling.retry_consumed(virtual_server, server, check))
        return told

    def _check_changed(
        self,
        virtual_server: VirtualServerState,
        server: RealServerState,
        check: Check,
        chain: Chain,
        *,
        now: float,
        was: str,
        turned: bool,
    ) -> list[Transition]:
        """A check let its real server in or took it out (`turned`), or spoke of its weight: follow the change up to the table."""
        told: list[Transition] = []
        since, weight_old = server.since, virtual_server.weight_of(server)
        was_live, effective_old = server.live, server.effective_weight
        sorry_before = virtual_server.sorry_in_service
        server.weigh()
        flipped = server.judge(now)
        virtual_server.count(server, was_live=was_live, old_weight=effective_old)
        if turned:
            told.append(telling.check_changed(virtual_server, server, check, chain))
        if not flipped and server.effective_weight == effective_old:
            return told
        server.why = telling.server_chain(self._chronicle, chain, server, now)
        quorum_flipped = virtual_server.judge(now)
        if flipped:
            told.append(
                telling.real_server_changed(
                    virtual_server, server, check, was=was, previous_state_s=now - since, weight_old=weight_old
                )
            )
        else:
            told.append(telling.weight_changed(virtual_server, server, check, effective_old))
        if quorum_flipped:
            told += self._quorum_flipped(virtual_server, server.why, sorry_before, now)
        self._dirty.add(virtual_server.spec.key)
        return told

    def _quorum_flipped(
        self,
        virtual_server: VirtualServerState,
        chain: Chain,
        sorry_before: Endpoint | None,
        now: float,
        *,
        by_configuration: bool = False,
    ) -> list[Transition]:
        """Tell of a quorum that changed, and make it the reason of every weight that it changed."""
        chain = telling.quorum_chain(self._chronicle, chain, virtual_server, now)
        if virtual_server.spec.sorry_server is not None:  # without one, nobody else's weight changes
            for server in virtual_server.real_servers.values():
                if server.live:
                    server.why = chain
        told: list[Transition] = [telling.quorum_changed(virtual_server, chain, by_configuration=by_configuration)]
        return told + telling.sorry_changed(virtual_server, sorry_before, chain[-1].id)

    def is_awake(self, job: int) -> bool:
        """Tell whether anybody wants this job checked now: not while all its virtual servers are suspended."""
        return any(not virtual_server.suspended for virtual_server, _, _ in self._consumers.get(job, ()))

    def _addresses_seen(self, addresses: frozenset[IPAddress] | None) -> list[Transition]:
        """Suspend the virtual servers with ha_suspend whose address is not here, wake the others (keepalived.md, section 4.8)."""
        self._addresses = addresses
        told: list[Transition] = []
        for key, virtual_server in self.virtual_servers.items():
            suspended = self._must_suspend(virtual_server.spec)
            if suspended is not virtual_server.suspended:
                virtual_server.suspended = suspended
                told.append(SuspensionChanged(key, suspended))
        return told

    def _must_suspend(self, spec: VirtualServer) -> bool:
        key = spec.key
        if not spec.ha_suspend or self._addresses is None or not isinstance(key, AddressKey):
            return False
        return key.endpoint.address not in self._addresses

    def _mark(self, jobs: Iterable[int], *, stale: bool) -> None:
        for job in jobs:
            for _, _, check in self._consumers.get(job, ()):
                check.stale = stale

    # -- the kernel's answers --------------------------------------------------------------------------------------

    def _written(self, event: KernelWritten, now: float) -> None:
        """Add the kernel's answer to the chain of every real server that an operation was about."""
        for index, op in enumerate(event.ops):
            match op:
                case AddDestination(key, destination) | ChangeDestination(key, destination):
                    endpoint = destination.endpoint
                case DeleteDestination(key, endpoint):
                    pass
                case _:
                    continue
            server = self.real_server(key, endpoint)
            if server is not None:
                error = event.errors.get(index, "")
                server.why = telling.write_chain(self._chronicle, server.why, now, op, error, event.duration_s)
                self._unread.add((key, endpoint))

    def _read(self, event: KernelRead, now: float) -> None:
        """Keep the newest reading; complete the chains whose write it confirms."""
        self.reading = event.reading
        unread, self._unread = self._unread, set()
        for key, endpoint in unread:
            server = self.real_server(key, endpoint)
            if server is not None:
                service = self._found(key)
                found = service.destinations.get(endpoint) if service else None
                server.why = telling.read_chain(self._chronicle, server.why, now, found)

    # -- a new configuration ---------------------------------------------------------------------------------------

    def reconfigure(self, config: Config, now: float) -> list[Transition]:
        """Replace the configuration. What did not change keeps its state; what is new starts by its rules."""
        told: list[Transition] = []
        old, speakers = self.virtual_servers, Speakers.between(self.config.virtual_servers, config.virtual_servers)
        self.config = config
        self.jobs.update(config)
        self.virtual_servers = {}
        staying = {spec.key for spec in config.virtual_servers} | set(speakers.heirs.values())
        for key, gone in old.items():
            if key not in staying:
                told += speakers.spoken(_gone(gone), gone.spec)
        for spec in config.virtual_servers:
            known = old.get(speakers.heirs.get(spec.key, spec.key))
            if known is None:
                known = self._enter(spec, now, None)
                told += speakers.spoken(self._first_quorum(known, now), spec)
            elif known.spec == spec:
                renumber(known.real_servers.values(), self.jobs.jobs)
            else:
                told += speakers.spoken(self._update(known, spec, now), spec)
            self.virtual_servers[spec.key] = known
        self._index()
        self._services = {key: vs.service() for key, vs in self.virtual_servers.items()}
        self._dirty.clear()
        self._desired = None
        return told

    def _update(self, known: VirtualServerState, spec: VirtualServer, now: float) -> list[Transition]:
        """Bring a virtual server to a new specification."""
        old, sorry_before = known.real_servers, known.sorry_in_service
        staying = {rs.endpoint for rs in spec.real_servers}
        told: list[Transition] = [
            telling.removed(known, server, stopping=False)
            for endpoint, server in old.items()
            if endpoint not in staying
        ]
        lost_by_removal = known.quorate and not known.holds_with(staying)
        flipped: list[tuple[RealServerState, float]] = []
        servers: dict[Endpoint, RealServerState] = {}
        for wanted in spec.real_servers:
            server = old.get(wanted.endpoint)
            if server is None:
                server = self._new_real_server(wanted, Standing.FRESH, now)
            else:
                since = server.since
                if self._change_real_server(server, wanted, now):
                    flipped.append((server, since))
            servers[wanted.endpoint] = server
        known.spec, known.real_servers = spec, servers
        known.suspended = self._must_suspend(spec)
        known.recount()
        chain = self._chronicle.begin(now, Kind.CONFIGURATION, "a new configuration was loaded")
        quorum_flipped = known.judge(now)
        for server, since in flipped:
            server.why = telling.server_chain(self._chronicle, chain, server, now)
            was = "DOWN" if server.live else "UP"
            told.append(
                telling.real_server_changed(known, server, None, was=was, previous_state_s=now - since, weight_old=None)
            )
        if quorum_flipped:
            by_configuration = known.quorate or not lost_by_removal
            return told + self._quorum_flipped(known, chain, sorry_before, now, by_configuration=by_configuration)
        return told + telling.sorry_changed(known, sorry_before, chain[-1].id)

    def _change_real_server(self, server: RealServerState, wanted: RealServer, now: float) -> bool:
        """Bring a real server to a new specification; return whether that alone took it in or out."""
        if server.spec.weight != wanted.weight:
            text = f"a new configuration says weight {wanted.weight}"
            server.why = self._chronicle.begin(now, Kind.CONFIGURATION, text, weight=wanted.weight)
        server.checks = carried_over(server, wanted, self.jobs.jobs, now)
        server.spec = wanted
        server.weigh()
        return server.judge(now)

    def stop(self) -> list[Transition]:
        """Return what is told at a clean stop: with omega, every real server in service goes down, and its virtual server with it.

        With lvs_flush_on_stop the real servers are not taken out one by one, and not told either (keepalived.md, section 3.8).
        """
        told: list[Transition] = []
        one_by_one = self.config.kernel.flush_on_stop is FlushOnStop.NOTHING
        for virtual_server in self.virtual_servers.values():
            if virtual_server.spec.omega:
                told += [
                    telling.removed(virtual_server, server, stopping=True)
                    for server in virtual_server.real_servers.values()
                    if one_by_one and server.live and not virtual_server.sorry_active
                ]
                told.append(telling.virtual_server_removed(virtual_server, stopping=True))
        return told

    # -- indexes ---------------------------------------------------------------------------------------------------

    def real_server(self, key: ServiceKey, endpoint: Endpoint) -> RealServerState | None:
        """Return the state of one real server, None when the configuration has no such one."""
        virtual_server = self.virtual_servers.get(key)
        return virtual_server.real_servers.get(endpoint) if virtual_server else None

    def _index(self) -> None:
        self._consumers = {}
        for virtual_server in self.virtual_servers.values():
            for server in virtual_server.real_servers.values():
                for check in server.checks:
                    self._consumers.setdefault(check.job, []).append((virtual_server, server, check))


def _gone(virtual_server: VirtualServerState) -> list[Transition]:
    """Return what is told of a virtual server that left the configuration: it is DOWN now, unless that was told already."""
    told: list[Transition] = [
        telling.removed(virtual_server, server, stopping=False) for server in virtual_server.real_servers.values()
    ]
    return [*told, telling.virtual_server_removed(virtual_server, stopping=False)] if virtual_server.quorate else told


def _adopted_quorum(virtual_server: VirtualServerState, found: Service) -> bool:
    """Return the quorum as the table shows it: lost while the sorry server has weight (unless it is a real server too)."""
    sorry = virtual_server.spec.sorry_server
    standing_in = found.destinations.get(sorry.endpoint) if sorry else None
    is_real = sorry is not None and sorry.endpoint in virtual_server.real_servers
    return is_real or standing_in is None or standing_in.weight == 0
