"""All virtual servers: the state machine between what happens and what is told.

    transitions = director.handle(event, now)      # edges, for humans
    table = director.desired()                     # the level, for the kernel: the same object until something changed

One owner, no I/O, no clock: `now` is trio's time in seconds. Only the virtual servers that an event touches are computed anew.
The state itself is `pools`; how it begins `entrance`, how a change climbs up to the table `judgement`, how a new file takes over
`reconfiguring`. Here is what each event means. Observers' values are made in `views`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import assert_never

from supervisor.core import entrance, judgement, reconfiguring, selfblame, telling
from supervisor.core.blame import Blame
from supervisor.core.causes import Chain
from supervisor.core.drift import Adoption
from supervisor.core.events import (
    AddressesSeen,
    CheckReported,
    DestinationId,
    Event,
    Health,
    KernelRead,
    KernelWritten,
    LevelsRepeated,
    Overridden,
    PathsSeen,
    SentinelReported,
    Tick,
    WeightsAdopted,
    WorkerSilent,
    WorkerSpeaking,
)
from supervisor.core.jobs import JobBook
from supervisor.core.memory import Clocks, PoolMemory, Recall
from supervisor.core.override import ANOTHER_WRITER, AdminState, Override
from supervisor.core.pools import Pools
from supervisor.core.realserver import RealServerState
from supervisor.core.table import AddDestination, ChangeDestination, DeleteDestination, Op, Reading, Table
from supervisor.core.transitions import Drained, SuspensionChanged, Transition
from supervisor.core.virtualserver import VirtualServerState
from supervisor.model import AddressKey, Config, Endpoint, FlushOnStop, IPAddress, ServiceKey


def table_at_start(config: Config) -> Table:
    """The table that the kernel should have after a start with this file, before any check. Pure."""
    director = Director(config, now=0.0)
    director.start(now=0.0)
    return director.desired()


class Director:
    """Decides what the kernel should have. Owned by one task."""

    def __init__(self, config: Config, now: float, found: Table | None = None, recall: Recall | None = None) -> None:
        """Take a configuration, the kernel's table as it was found, and what the run before left to be remembered.

        What serves keeps serving, what was out stays out, what an operator wanted still holds.
        """
        self.pools = pools = Pools(config, found)
        self._recall = recall
        pools.virtual_servers = {
            spec.key: entrance.enter(pools, spec, now, pools.found(spec.key), recall) for spec in config.virtual_servers
        }
        if recall is not None and found is not None:
            for key, ours in recall.abandoned(config, found).items():
                if ours:  # it left the file while nobody ran: the same as with a reload
                    pools.departures.begin_service(found.services[key], now, recall.drain_timeout_s(key))
        pools.replaced()
        self._overridden: dict[DestinationId, float] = {  # until when
            (key, endpoint): server.override.until
            for key, virtual_server in pools.virtual_servers.items()
            for endpoint, server in virtual_server.real_servers.items()
            if server.override is not None
        }

    def fork(self) -> Director:
        """Return a copy that can go its own way, to see what would come of something."""
        director = copy.copy(self)
        director.pools = self.pools.fork()
        director._overridden = dict(self._overridden)  # noqa: SLF001  our own copy
        return director

    @property
    def config(self) -> Config:
        """The configuration that holds."""
        return self.pools.config

    @property
    def virtual_servers(self) -> dict[ServiceKey, VirtualServerState]:
        """All virtual servers in the order of the file."""
        return self.pools.virtual_servers

    @property
    def jobs(self) -> JobBook:
        """The checks and their numbers."""
        return self.pools.jobs

    @property
    def blame(self) -> Blame:
        """What speaks against this director itself."""
        return self.pools.blame

    @property
    def reading(self) -> Reading:
        """What the kernel was last seen to have."""
        return self.pools.reading

    def desired(self) -> Table:
        """Return the table that the kernel should have; the same object until something changed."""
        return self.pools.desired()

    @property
    def moved(self) -> bool:
        """Whether `desired` may be another table than when it was asked for last."""
        return self.pools.moved

    def next_deadline(self) -> float:
        """Return when time alone will change something (trio's seconds): a wish, a departure, a hold or a suspicion ends."""
        pools = self.pools
        wishes = min(self._overridden.values(), default=math.inf)
        return min(wishes, pools.departures.next_deadline(), pools.hold_ends.first, pools.blame.next_deadline())

    def job_health(self, job: int) -> Health:
        """Return the health that a (new) worker should start this job from."""
        return self.pools.job_health(job)

    def job_weight(self, job: int) -> int | None:
        """Return the weight that a (new) worker should believe this job to have spoken of."""
        return self.pools.job_weight(job)

    def real_server(self, key: ServiceKey, endpoint: Endpoint) -> RealServerState | None:
        """Return the state of one real server, None when the configuration has no such one."""
        return self.pools.real_server(key, endpoint)

    def because(self, cause: int) -> Chain:
        """Return what led to a transition that was told just now: the chain up to its `cause`, the beginning first."""
        return self.pools.chronicle.recent(cause)

    def addresses(self) -> frozenset[IPAddress]:
        """Return the addresses that this host must have: of all virtual servers, and of those that left and have connections still.

        Those with ha_suspend come and go by somebody else's decision.
        """
        keys = [key for key, virtual_server in self.virtual_servers.items() if not virtual_server.spec.ha_suspend]
        keys += self.pools.departures.services
        return frozenset(key.endpoint.address for key in keys if isinstance(key, AddressKey))

    @property
    def overrides(self) -> int:
        """How many real servers an operator wants something of."""
        return len(self._overridden)

    @property
    def has_news(self) -> bool:
        """Whether something changed that `memories` has not told yet."""
        return bool(self.pools.unremembered)

    def adopted(self) -> dict[DestinationId, float]:
        """Return the real servers that somebody set to weight 0 in the kernel's table, and until when that stands."""
        return {
            name: until
            for name, until in self._overridden.items()
            if (server := self.pools.real_server(*name))
            and server.override
            and server.override.by == ANOTHER_WRITER
            and server.admin is AdminState.DRAINING
        }

    def leaving(self) -> dict[ServiceKey, frozenset[Endpoint]]:
        """Return the virtual servers that left the configuration and have connections still, with their destinations."""
        departures = self.pools.departures
        return {key: frozenset(departures.of(key)) for key in departures.services}

    def remember(self, clocks: Clocks, most: int) -> bool:
        """Do a part of what `memories` has to do, about `most` real servers; tell whether there is more."""
        return self.pools.remember(clocks, most)

    def memories(self, clocks: Clocks) -> Mapping[ServiceKey, PoolMemory]:
        """Return what the next start should know of every virtual server; the same objects where nothing changed."""
        return self.pools.memories(clocks)

    def is_awake(self, job: int) -> bool:
        """Tell whether anybody wants this job checked now: not while all its virtual servers are suspended."""
        return any(not virtual_server.suspended for virtual_server, _, _ in self.pools.consumers(job))

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Transition]:
        """Judge every quorum for the first time.

        Adopted virtual servers tell nothing, for nothing changed for their clients, unless the file has changed so much meanwhile
        that what the table shows does not hold any more.
        """
        told: list[Transition] = []
        recall, self._recall = self._recall, None
        for key, virtual_server in self.virtual_servers.items():
            found = self.pools.found(key)
            found = found if found is not None and found.destinations else None
            flushed = recall is not None and not recall.memory.removed and recall.pool(key) is not None
            if found is not None or flushed:
                told += entrance.adopted_quorum(self.pools, virtual_server, found, now, recall)
            else:
                told += entrance.first_quorum(self.pools, virtual_server, now)
            self.pools.touch(key)
        return told

    def reconfigure(self, config: Config, now: float) -> list[Transition]:
        """Replace the configuration. What did not change keeps its state; what is new starts by its rules.

        A weight that was adopted from the table ends where the file says something else of its real server than before.
        """
        adopted = {
            name: server.spec
            for name in self._overridden
            if (server := self.pools.real_server(*name)) and server.override and server.override.by == ANOTHER_WRITER
        }
        told = reconfiguring.reconfigure(self.pools, config, now)
        for name, spec in adopted.items():
            server = self.pools.real_server(*name)
            if server is not None and server.spec != spec:
                told += self._wish(*name, None, now)
        self._overridden = {
            name: until for name, until in self._overridden.items() if self.pools.real_server(*name) is not None
        }
        return told + selfblame.reconsider(self.pools, now)

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

    # -- events ----------------------------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Transition]:
        """Take one event in and return the transitions that it caused, in the order in which they happened."""
        told = self._expire(now) if now >= self.next_deadline() else []
        match event:
            case CheckReported() | LevelsRepeated():
                told += self._heard(event, now)
            case SentinelReported():
                self._sentinel_reported(event)
            case WorkerSilent(jobs) | WorkerSpeaking(jobs):
                self._mark(jobs, stale=isinstance(event, WorkerSilent))
            case KernelWritten():
                self._written(event, now)
            case KernelRead():
                told += self._read(event, now)
            case AddressesSeen(addresses):
                told += self._addresses_seen(addresses)
            case PathsSeen(lost):
                told += selfblame.paths_seen(self.pools, lost, now)
            case Overridden():
                for key, endpoint in event.targets:
                    told += self._wish(key, endpoint, event.override, now)
            case WeightsAdopted(adoptions):
                told += [change for adoption in adoptions for change in self._adopt(adoption, now)]
            case Tick():
                pass
            case _:
                assert_never(event)
        return told + selfblame.told(self.pools, now)

    def _heard(self, event: CheckReported | LevelsRepeated, now: float) -> list[Transition]:
        if isinstance(event, LevelsRepeated):
            return [transition for level in event.levels for transition in self._repeated(level, now)]
        return self._reported(event, now)

    def _repeated(self, level: CheckReported, now: float) -> list[Transition]:
        """Take a level in that most often is as it was: then nothing follows from it."""
        for _, _, check in self.pools.consumers(level.job):
            if not check.hear_again(level, now):
                return self._reported(level, now)
        return []

    def _reported(self, event: CheckReported, now: float) -> list[Transition]:
        told = selfblame.heard(self.pools, event, now)
        for virtual_server, server, check in self.pools.consumers(event.job):
            was, since, passed, knew = server.health.value, check.since, check.passes, check.health
            turned_or_weighed = check.report(event, now)
            if turned_or_weighed or check.health is not knew:
                self.pools.unremembered.add(virtual_server.spec.key)
            if turned_or_weighed:
                turned = check.passes is not passed
                chain = telling.probe_chain(self.pools.chronicle, server, check, now, since, turned=turned)
                told += judgement.check_changed(
                    self.pools, virtual_server, server, check, chain, now=now, was=was, turned=turned
                )
            elif event.result is not None and event.failures and event.health is not Health.DOWN:
                told.append(telling.retry_consumed(virtual_server, server, check))
            elif event.result is not None:
                told += judgement.settle(
                    self.pools, virtual_server, now, (server,)
                )  # down for another reason than before
        return told

    def _addresses_seen(self, addresses: frozenset[IPAddress] | None) -> list[Transition]:
        """Suspend the virtual servers with ha_suspend whose address is not here, wake the others (keepalived.md, section 4.8)."""
        self.pools.addresses = addresses
        told: list[Transition] = []
        for key, virtual_server in self.virtual_servers.items():
            suspended = self.pools.must_suspend(virtual_server.spec)
            if suspended is not virtual_server.suspended:
                virtual_server.suspended = suspended
                told.append(SuspensionChanged(key, suspended))
        return told

    def _mark(self, jobs: Iterable[int], *, stale: bool) -> None:
        for job in jobs:
            for _, _, check in self.pools.consumers(job):
                check.stale = stale
                if stale:
                    check.sentinel = ""

    def _sentinel_reported(self, event: SentinelReported) -> None:
        for _, _, check in self.pools.consumers(event.job):
            check.sentinel = event.trouble

    # -- the operator's wishes -------------------------------------------------------------------------------------

    def _wish(self, key: ServiceKey, endpoint: Endpoint, wish: Override | None, now: float) -> list[Transition]:
        server = self.pools.real_server(key, endpoint)
        if server is None:
            return []
        if wish is None:
            self._overridden.pop((key, endpoint), None)
        else:
            self._overridden[key, endpoint] = wish.until
        return judgement.override(self.pools, self.virtual_servers[key], server, wish, now)

    def _adopt(self, found: Adoption, now: float) -> list[Transition]:
        """Take a weight that somebody set in the kernel's table for his word, unless an operator's stands; see `core.drift`."""
        server = self.pools.real_server(found.key, found.endpoint)
        holds = None if server is None else server.override
        if holds is not None and holds.by != ANOTHER_WRITER:
            return []
        if found.taken_back and found.until < math.inf:
            return self._wish(found.key, found.endpoint, None, now)
        wish = Override(
            AdminState.ENABLED if found.weight else AdminState.DRAINING,
            found.weight or None,
            f"set to {found.weight} by hand in the kernel's table",
            ANOTHER_WRITER,
            since=now,
            until=found.until,
        )
        return self._wish(found.key, found.endpoint, wish, now)

    def _expire(self, now: float) -> list[Transition]:
        """End the wishes and the holds whose time is over, and let go who had time to leave."""
        told: list[Transition] = [*self._drained(self.pools.departures.look(None, now))]
        told += selfblame.expire(self.pools, now)
        for key, endpoint in [name for name, until in self._overridden.items() if until <= now]:
            del self._overridden[key, endpoint]
            server = self.pools.real_server(key, endpoint)
            if server is not None:
                told += judgement.override(self.pools, self.virtual_servers[key], server, None, now, expired=True)
        return told

    # -- the kernel's answers --------------------------------------------------------------------------------------

    def _written(self, event: KernelWritten, now: float) -> None:
        """Add the kernel's answer to the chain of every real server that an operation was about."""
        chronicle, errors, unread = self.pools.chronicle, event.errors, self.pools.unread
        answers: dict[tuple[int, type[Op], int | None, str], Chain] = {}  # thousands have one chain, and hear the same
        for index, op in enumerate(event.ops):
            weight: int | None = None
            match op:
                case AddDestination(key, destination) | ChangeDestination(key, destination):
                    endpoint, weight = destination.endpoint, destination.weight
                case DeleteDestination(key, endpoint):
                    pass
                case _:
                    continue
            server = self.pools.real_server(key, endpoint)
            if server is not None:
                error = errors.get(index, "")
                answer = server.why[-1].id, type(op), weight, error
                chain = answers.get(answer)
                if chain is None:
                    chain = telling.write_chain(chronicle, server.why, now, op, error, event.duration_s)
                    answers[answer] = chain
                server.why = chain
                unread.setdefault(key, set()).add(endpoint)

    def _read(self, event: KernelRead, now: float) -> list[Drained]:
        """Keep the newest reading; complete the chains whose write it confirms, and let go who is empty."""
        pools = self.pools
        pools.reading = event.reading
        unread, pools.unread = pools.unread, {}
        seen: dict[tuple[int, int | None], Chain] = {}  # as in `_written`
        for key, endpoints in unread.items():
            virtual_server, service = self.virtual_servers.get(key), pools.found(key)
            servers = virtual_server.real_servers if virtual_server else {}
            for endpoint in endpoints:
                server = servers.get(endpoint)
                if server is not None:
                    found = service.destinations.get(endpoint) if service else None
                    sight = server.why[-1].id, found.weight if found else None
                    chain = seen.get(sight)
                    if chain is None:
                        chain = seen[sight] = telling.read_chain(pools.chronicle, server.why, now, found)
                    server.why = chain
        return self._drained(pools.departures.look(event.reading, now)) if pools.departures else []

    def _drained(self, drained: list[Drained]) -> list[Drained]:
        for one in drained:
            self.pools.touch(one.virtual_server)
        return drained
