"""Compares what the kernel has with what is wanted, and finds what nobody here wrote.

`believed` is the table as far as our writes and believed readings tell; `target` is what the kernel shall have: what is wanted, with
what stands by policy in its place (`core.drift`). The writer sends what lies between the two. Nothing here reads or writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from checkers.kit.frozen import frozen
from supervisor.core.diff import diff, normal_settings
from supervisor.core.drift import Adoption, DriftJudge, Ruling
from supervisor.core.events import DestinationId
from supervisor.core.snapshot import ContestView, DriftView
from supervisor.core.suspicion import Suspicions
from supervisor.core.table import (
    AddDestination,
    AddService,
    ChangeDestination,
    ChangeService,
    DeleteDestination,
    DeleteService,
    Op,
    Reading,
    ServiceSettings,
    Table,
)
from supervisor.ipvs.notices import Action, Adopted, Contested, Drift, Notice, Settled
from supervisor.model import ServiceKey, VirtualServer

STANDING_SHOWN_MAX = 100
"""Differences that stand and are shown one by one; beyond that only their number (a flushed table under `report`)."""


@frozen
class Findings:
    """What a reading showed: whether the kernel is as it shall be, and what is to be taken for an operator's word."""

    agrees: bool
    adopted: tuple[Adoption, ...] = ()


class Inspection:
    """What is known of the kernel's table. One owner: the writer's task. `notice` says things in the log and must not wait."""

    def __init__(self, confirm_delay_s: float, notice: Callable[[Notice], None]) -> None:
        self.believed: Table | None = None
        self.found = Counter[str]()
        self.repaired = Counter[str]()
        self.adopted = 0
        self._notice = notice
        self._judge = DriftJudge()
        self._suspicions = Suspicions(confirm_delay_s)

    def reconfigure(self, virtual_servers: Iterable[VirtualServer]) -> None:
        """Rule by the policies of these virtual servers from now on."""
        self._judge.reconfigure(virtual_servers)

    def inherit(self, adopted: Mapping[DestinationId, float]) -> None:
        """Take over the weights of 0 that a predecessor adopted, with their ends."""
        self._judge.inherit(adopted)

    def target(self, wanted: Table) -> Table:
        """Return what the kernel shall have; the same object until something changed."""
        return self._judge.amend(wanted)

    def foresee(self, wanted: Table, virtual_servers: Iterable[VirtualServer]) -> Table:
        """Return what `target` would be with these virtual servers. Changes nothing."""
        return self._judge.foresee(wanted, virtual_servers)

    def mine(self, owned: set[ServiceKey]) -> Collection[ServiceKey]:
        """Return the services that go when they are not wanted."""
        unwanted = self._judge.unwanted
        return owned.difference(unwanted) if unwanted else owned

    def insist(self, actual: Table) -> None:
        """Nothing of `actual`, the table as it was read, stands any more: what is not as wanted is our own unfinished work now."""
        self.believed = actual
        self._suspicions.clear()
        self._judge.forget()

    def forget(self) -> None:
        """The table itself was gone: nothing is known, and nothing stands any more."""
        self.believed = None
        self._suspicions.clear()
        self._judge.forget()

    @property
    def suspects(self) -> frozenset[ServiceKey]:
        """The services to look at again at `next_look`."""
        return frozenset(self._suspicions.keys)

    def next_look(self) -> float:
        """Return when the suspects are to be read again."""
        return self._suspicions.next_look()

    def next_deadline(self) -> float:
        """Return when `lapse` has something to do."""
        return self._judge.next_deadline()

    def lapse(self, now: float) -> None:
        """End what stood long enough: the next write repairs it."""
        lapse = self._judge.expire(now)
        for key in lapse.settled:
            self._notice(Settled(key))
        if lapse.over:
            self.repaired.update(difference.kind for difference in lapse.over)
            self._notice(Drift(Action.REPAIRED, lapse.over[0].key, len(lapse.over), ended=True))

    def looks_otherwise(self, there: dict[ServiceKey, ServiceSettings], owned: Collection[ServiceKey]) -> bool:
        """Tell whether the services alone, without their destinations, show that something is not as believed."""
        assert self.believed is not None
        ours = {key: service for key, service in self.believed.services.items() if key in owned}
        return any(key in owned and key not in ours for key in there) or any(
            key not in there or normal_settings(key, there[key]) != normal_settings(key, service.settings)
            for key, service in ours.items()
        )

    def examine(
        self, wanted: Table, actual: Table, owned: set[ServiceKey], read: Collection[ServiceKey] | None, now: float
    ) -> Findings:
        """Compare a reading with the wish. Only the services `read` (None: all) were read just now.

        What we know to be our own unfinished work is no suspect.
        """
        assert self.believed is not None
        target, mine = self.target(wanted), self.mine(owned)
        ops = diff(target, actual, mine)
        if not ops:
            return self._agree(wanted, actual, owned)
        unfinished = {op.key for op in diff(target, self.believed, mine)}
        foreign = [op for op in ops if op.key not in unfinished and (read is None or op.key in read)]
        confirmed = self._suspicions.look(foreign, read, now)
        if not confirmed:
            return Findings(agrees=False)
        self.believed = with_services(self.believed, actual, confirmed)
        rulings = {
            key: self._judge.rule(wanted.services.get(key), actual.services.get(key), now)
            for key in dict.fromkeys(op.key for op in foreign)
            if key in confirmed
        }
        rest = diff(self.target(wanted), actual, self.mine(owned))
        mending = [op for op in rest if op.key in confirmed]
        self._tell(rulings, [op for op in ops if op.key in confirmed], mending)
        adopted = tuple(adoption for ruling in rulings.values() for adoption in ruling.adopted)
        self.adopted += len(adopted)
        if not rest:
            return Findings(self._agree(wanted, actual, owned).agrees, adopted)
        return Findings(agrees=False, adopted=adopted)

    def _agree(self, wanted: Table, actual: Table, owned: set[ServiceKey]) -> Findings:
        self.believed = self.target(wanted)
        self._suspicions.clear()
        standing = self.believed is not wanted or bool(self._judge.unwanted)
        self.found = _counted(diff(wanted, actual, owned)) if standing else Counter()
        return Findings(agrees=True)

    def _tell(self, rulings: dict[ServiceKey, Ruling], before: Sequence[Op], mending: Sequence[Op]) -> None:
        """Say what was found and what becomes of it; `before` are the operations that would have mended all, `mending` those that will."""
        self.found = _counted(before)
        self.repaired += _counted(mending)
        reported = [op for op in before if rulings[op.key].reported]
        for action, ops in ((Action.REPAIRED, mending), (Action.REPORTED, reported)):
            if ops:
                self._notice(_drift(action, ops))
        for key, ruling in rulings.items():
            for adoption in ruling.adopted:
                self._notice(Adopted(adoption))
            if ruling.contest is not None:
                self._notice(Contested(key, ruling.contest.backoff_s))

    def contests(self, now: float) -> tuple[ContestView, ...]:
        """Return the virtual servers that somebody else keeps changing."""
        return tuple(
            ContestView(str(key), max(contest.until - now, 0.0)) for key, contest in self._judge.contests.items()
        )

    def standing(self) -> tuple[int, tuple[DriftView, ...]]:
        """Return how many differences stand, and the first of them."""
        found = self._judge.standing()
        return len(found), tuple(
            DriftView(str(d.key), "" if d.endpoint is None else str(d.endpoint), d.words)
            for d in found[:STANDING_SHOWN_MAX]
        )


def with_services(table: Table, other: Table, keys: Collection[ServiceKey]) -> Table:
    """Return `table` with the services `keys` as `other` has them, or has them not."""
    services = {key: service for key, service in table.services.items() if key not in keys}
    services |= {key: service for key, service in other.services.items() if key in keys}
    return Table(MappingProxyType(services))


def united(one: Table, other: Table, keys: Collection[ServiceKey]) -> Table:
    """Return `other` with what its services `keys` have in `one` alone: destinations that one of two readings lacks."""
    services = dict(other.services)
    for key in services.keys() & keys:
        before, service = one.services[key].destinations, services[key]
        if before.keys() - service.destinations.keys():
            services[key] = replace(service, destinations=MappingProxyType({**before, **service.destinations}))
    return Table(MappingProxyType(services))


def merged(before: Reading, part: Reading, keys: Collection[ServiceKey]) -> Reading:
    """Put the services `keys` as `part` has them into an earlier reading of everything."""
    loads = {key: found for key, found in before.loads.items() if key not in keys}
    counters = {key: counted for key, counted in before.services.items() if key not in keys}
    return Reading(
        with_services(before.table, part.table, keys),
        MappingProxyType(loads | dict(part.loads)),
        MappingProxyType(counters | dict(part.services)),
    )


def _drift(action: Action, ops: Sequence[Op]) -> Drift:
    keys = {op.key for op in ops}
    found = _counted(ops)
    return Drift(
        action,
        keys.pop() if len(keys) == 1 else None,
        len(ops),
        missing=found["missing"],
        extra=found["extra"],
        weight=found["weight"],
        settings=found["settings"],
    )


def _counted(ops: Iterable[Op]) -> Counter[str]:
    """Sort the operations that would mend a difference by what is wrong."""
    kinds = Counter(type(op) for op in ops)
    return Counter(
        missing=kinds[AddService] + kinds[AddDestination],
        extra=kinds[DeleteService] + kinds[DeleteDestination],
        weight=kinds[ChangeDestination],
        settings=kinds[ChangeService],
    )
