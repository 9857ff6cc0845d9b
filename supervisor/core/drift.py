"""What to do about a kernel table that somebody else has changed: repair it, adopt the change, or let it stand.

`DriftJudge` rules on what is believed (`suspicion`) by the virtual server's `drift_policy`:

* repair: put right at once; but a weight that somebody set to 0 while we want more is an operator's emergency and stands for
  `drift_grace` (as an override, if the director takes it);
* adopt: any weight that somebody gave a server in service stands as an override without an end; what is not a weight is repaired,
  at the same destination too;
* report: nothing is written on account of it.

What stands is a `Concession`: in `amend` it takes the place of what is wanted, for exactly as long as the same is wanted there. So a
verdict of ours is always written, and nothing else has to know of policies. A table that was flushed is never an emergency.

Another writer that keeps undoing our repairs is not fought for ever: more than `REPAIRS_MAX` of one entry within `WINDOW_S` make its
virtual server *contested*. Then foreign changes there stand for a while, doubling each time that the fight goes on; except that a
pool which could serve and has nobody left in service is always put right. Pure: `now` is trio's time in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeAlias, assert_never

from checkers.kit.frozen import frozen
from supervisor.core.diff import normal_destination, normal_settings
from supervisor.core.table import Destination, Service, ServiceSettings, Table
from supervisor.model import DriftPolicy, Endpoint, ServiceKey, VirtualServer

REPAIRS_MAX = 4
"""Repairs of one entry within `WINDOW_S` that may be chance; audits come every second, so a rival is found out after some 5 s."""

WINDOW_S = 60.0

ANSWER_MAX_S = 5.0
"""How long a weight stands at most until the director says what it wants now."""

BACKOFF_FIRST_S, BACKOFF_LAST_S = 60.0, 900.0
"""How long a contested virtual server is left alone at first, and at most: an alert that lasts a minute is seen, one of hours is old."""

Value: TypeAlias = Destination | ServiceSettings | None
"""One entry of the table, None where there is none."""


@frozen
class Difference:
    """One entry that is not as wanted. `endpoint` is None for the service itself."""

    key: ServiceKey
    endpoint: Endpoint | None
    wanted: Value
    actual: Value

    @property
    def kind(self) -> str:
        """What is wrong: missing, extra, weight (with the rest of a destination) or settings."""
        if self.actual is None:
            return "missing"
        if self.wanted is None:
            return "extra"
        return "settings" if self.endpoint is None else "weight"

    @property
    def weight(self) -> tuple[int, int] | None:
        """The wanted and the actual weight of a destination, where they differ."""
        wanted, actual = self.wanted, self.actual
        if not isinstance(wanted, Destination) or not isinstance(actual, Destination):
            return None
        return (wanted.weight, actual.weight) if wanted.weight != actual.weight else None

    @property
    def in_weight_alone(self) -> Difference:
        """The same, as if whoever set the weight had left the rest: `ipvsadm -e` without -m makes DR of NAT, and forgets thresholds."""
        if isinstance(self.wanted, Destination) and isinstance(self.actual, Destination):
            return replace(self, actual=replace(self.wanted, weight=self.actual.weight))
        return self

    @property
    def words(self) -> str:
        """What the kernel has instead of what, for people."""
        return f"{_words(self.actual)} instead of {_words(self.wanted)}"


@frozen
class Concession:
    """A difference that stands until `until`, or until something else is wanted there."""

    difference: Difference
    until: float
    contested: bool = False


@frozen
class Adoption:
    """A weight of a real server that somebody else set and that shall count as an operator's word until `until`.

    `taken_back` tells that it raises a weight of 0 that had been adopted: somebody undoes his emergency as he began it.
    """

    key: ServiceKey
    endpoint: Endpoint
    weight: int
    instead_of: int
    since: float
    until: float
    taken_back: bool = False


@frozen
class Contest:
    """A virtual server that somebody else keeps changing: left alone until `until`, then watched until `settles`."""

    until: float
    settles: float
    backoff_s: float


@frozen
class Ruling:
    """What was decided about the foreign differences of one service. What stood already is not in it.

    `fought` stands because the virtual server is contested; `contest` is set when a contest has just begun, or goes on for longer.
    """

    repaired: tuple[Difference, ...] = ()
    adopted: tuple[Adoption, ...] = ()
    reported: tuple[Difference, ...] = ()
    fought: tuple[Difference, ...] = ()
    contest: Contest | None = None


@frozen
class Lapse:
    """What time alone has changed: differences that stood and are to be repaired now, and contests that are over."""

    over: tuple[Difference, ...] = ()
    settled: tuple[ServiceKey, ...] = ()


class DriftJudge:
    """Rules on differences that are believed, and remembers what stands. One owner: the writer."""

    def __init__(self) -> None:
        self.contests: dict[ServiceKey, Contest] = {}
        self._specs: Mapping[ServiceKey, VirtualServer] = {}
        self._servers: dict[ServiceKey, frozenset[Endpoint]] = {}  # of those specs that were asked for
        self._conceded: dict[ServiceKey, dict[Endpoint | None, Concession]] = {}
        self._history: dict[ServiceKey, dict[Endpoint | None, tuple[float, ...]]] = {}
        self._adopted: dict[tuple[ServiceKey, Endpoint], float] = {}  # weights of 0, and until when they stand
        self._forgot_at = -math.inf
        self._amended: tuple[Table, Table] | None = None  # what was wanted, and what it became

    def reconfigure(self, specs: Iterable[VirtualServer]) -> None:
        """Rule by these virtual servers from now on. What stands at one that changed is looked at anew."""
        before, self._specs = self._specs, {spec.key: spec for spec in specs}
        self._servers = {}
        self._adopted = {name: until for name, until in self._adopted.items() if name[0] in self._specs}
        self._conceded = {key: c for key, c in self._conceded.items() if before.get(key) == self._specs.get(key)}
        self.contests = {key: contest for key, contest in self.contests.items() if key in self._specs}
        self._amended = None

    def inherit(self, adopted: Mapping[tuple[ServiceKey, Endpoint], float]) -> None:
        """Take over what a predecessor adopted: weights of 0, and until when they stand. So they can still be taken back by hand."""
        self._adopted.update(adopted)

    @property
    def unwanted(self) -> Collection[ServiceKey]:
        """Services that nobody here wants, and that stand all the same for now."""
        return {
            key
            for key, conceded in self._conceded.items()
            if None in conceded and conceded[None].difference.wanted is None
        }

    def standing(self) -> list[Difference]:
        """Return every difference that stands."""
        return [concession.difference for conceded in self._conceded.values() for concession in conceded.values()]

    def next_deadline(self) -> float:
        """Return when time alone will change something; never is infinity."""
        ends = [concession.until for conceded in self._conceded.values() for concession in conceded.values()]
        return min([*ends, *(contest.settles for contest in self.contests.values())], default=math.inf)

    def amend(self, wanted: Table) -> Table:
        """Return `wanted` with what stands in its place; the same object where nothing stands.

        A concession ends where something else is wanted than when it was made.
        """
        if not self._conceded:
            return wanted
        if self._amended is not None and self._amended[0] is wanted:
            return self._amended[1]
        for key, conceded in list(self._conceded.items()):
            self._keep(
                key, {e: c for e, c in conceded.items() if _still_wanted(wanted.services.get(key), c.difference)}
            )
        services = dict(wanted.services)
        for key, conceded in self._conceded.items():
            if key in services:
                service = _amended(services[key], conceded.values())
                if service is None:
                    del services[key]
                else:
                    services[key] = service
        amended = Table(MappingProxyType(services)) if self._conceded else wanted
        self._amended = (wanted, amended)
        return amended

    def foresee(self, wanted: Table, specs: Iterable[VirtualServer]) -> Table:
        """Return what `amend` would make of `wanted` after `reconfigure(specs)`. Changes nothing."""
        copy = DriftJudge()
        copy._specs, copy._conceded = self._specs, dict(self._conceded)
        copy.reconfigure(specs)
        return copy.amend(wanted)

    def rule(self, wanted: Service | None, actual: Service | None, now: float) -> Ruling:
        """Decide what becomes of the foreign differences of one service (at least one of both is given), and remember what stands."""
        key = _key(wanted, actual)
        before = self._conceded.get(key, {})
        found = differences(wanted, actual)
        kept = {
            d.endpoint: before[d.endpoint] for d in found if d.endpoint in before and before[d.endpoint].difference == d
        }
        if self._starving(key, wanted, actual):  # no fight is worth a pool with nobody in it
            kept = {endpoint: c for endpoint, c in kept.items() if not c.contested}
        news = [d for d in found if d.endpoint not in kept]
        known = self.contests.get(key)
        contest = self._contest(key, news, now)
        if contest is not None and contest.until > now and not self._starving(key, wanted, actual):
            ruling = Ruling(fought=tuple(news))
            kept |= {d.endpoint: Concession(d, contest.until, contested=True) for d in news}
        else:
            ruling, more = self._by_policy(key, news, now)
            kept |= more
        self._keep(key, kept)
        return replace(ruling, contest=None if contest is known else contest)

    def forget(self) -> None:
        """Let nothing stand any more."""
        self._conceded = {}
        self._amended = None

    def expire(self, now: float) -> Lapse:
        """End what has stood long enough."""
        over: list[Difference] = []
        for key, conceded in list(self._conceded.items()):
            over += [c.difference for c in conceded.values() if c.until <= now]
            self._keep(key, {endpoint: c for endpoint, c in conceded.items() if c.until > now})
        settled = tuple(key for key, contest in self.contests.items() if contest.settles <= now)
        for key in settled:
            del self.contests[key]
        return Lapse(tuple(over), settled)

    def _keep(self, key: ServiceKey, conceded: dict[Endpoint | None, Concession]) -> None:
        self._amended = None
        if conceded:
            self._conceded[key] = conceded
        else:
            self._conceded.pop(key, None)

    def _by_policy(
        self, key: ServiceKey, news: Sequence[Difference], now: float
    ) -> tuple[Ruling, dict[Endpoint | None, Concession]]:
        spec = self._specs.get(key)
        policy = spec.drift_policy if spec else DriftPolicy.REPAIR
        if policy is DriftPolicy.REPORT:
            return Ruling(reported=tuple(news)), {d.endpoint: Concession(d, math.inf) for d in news}
        repaired: list[Difference] = []
        adopted: list[Adoption] = []
        conceded: dict[Endpoint | None, Concession] = {}
        for difference in news:
            adoption = None if spec is None else self._adoption(difference, spec, now)
            if adoption is None:
                repaired.append(difference)
                continue
            adopted.append(adoption)
            # what is taken back stands only until the director had time to say what it wants now
            until = now + ANSWER_MAX_S if adoption.taken_back else adoption.until
            conceded[adoption.endpoint] = Concession(difference.in_weight_alone, until)
        return Ruling(tuple(repaired), tuple(adopted)), conceded

    def _adoption(self, difference: Difference, spec: VirtualServer, now: float) -> Adoption | None:
        """Return what counts as an operator's word, None where it does not.

        Only of a server that we have in service: what somebody says of one that is down is no reason to send clients there.
        """
        if difference.weight is None or difference.endpoint is None:
            return None
        key, endpoint, (wanted, actual) = difference.key, difference.endpoint, difference.weight
        taken_back = wanted == 0 and self._adopted.pop((key, endpoint), now) > now
        adopts = spec.drift_policy is DriftPolicy.ADOPT
        until = math.inf if adopts else now + spec.drift_grace
        emergency = wanted > 0 and (adopts or actual == 0) and endpoint in self._servers_of(spec)
        if not (emergency or taken_back) or until <= now:
            return None
        if actual == 0:
            self._adopted[key, endpoint] = until
        return Adoption(key, endpoint, actual, wanted, now, until, taken_back)

    def _servers_of(self, spec: VirtualServer) -> frozenset[Endpoint]:
        if spec.key not in self._servers:
            self._servers[spec.key] = frozenset(server.endpoint for server in spec.real_servers)
        return self._servers[spec.key]

    def _starving(self, key: ServiceKey, wanted: Service | None, actual: Service | None) -> bool:
        """Tell whether a pool that could serve has nobody in service, and may be helped."""
        spec = self._specs.get(key)
        return (spec is None or spec.drift_policy is not DriftPolicy.REPORT) and _live(wanted) and not _live(actual)

    def _contest(self, key: ServiceKey, news: Sequence[Difference], now: float) -> Contest | None:
        """Count what somebody did again, and return the contest that the virtual server is in, if any."""
        contest = self.contests.get(key)
        if not news or (contest is not None and contest.until > now):
            return contest
        self._forget(now)
        times = self._history.setdefault(key, {})
        for difference in news:
            before = times.get(difference.endpoint, ())
            times[difference.endpoint] = (*(at for at in before if at > now - WINDOW_S), now)
        if contest is not None:  # it was over, and begins again
            backoff_s = min(2 * contest.backoff_s, BACKOFF_LAST_S)
        elif any(len(times[difference.endpoint]) > REPAIRS_MAX for difference in news):
            backoff_s = BACKOFF_FIRST_S
        else:
            return None
        del self._history[key]
        self.contests[key] = Contest(now + backoff_s, now + backoff_s + WINDOW_S, backoff_s)
        return self.contests[key]

    def _forget(self, now: float) -> None:
        """Forget now and then what nobody did again, so that memory is bounded by what happens within two windows."""
        if now < self._forgot_at + WINDOW_S:
            return
        self._forgot_at = now
        for key, times in list(self._history.items()):
            recent = {endpoint: found for endpoint, found in times.items() if found[-1] > now - WINDOW_S}
            if recent:
                self._history[key] = recent
            else:
                del self._history[key]


def differences(wanted: Service | None, actual: Service | None) -> list[Difference]:
    """Return what is not as wanted, entry by entry. A service that is missing, or too much, is one difference."""
    key = _key(wanted, actual)
    found: list[Difference] = []
    if wanted is None or actual is None:
        return [Difference(key, None, _settings(wanted), _settings(actual))] if wanted is not actual else []
    if _settings(wanted) != _settings(actual):
        found.append(Difference(key, None, _settings(wanted), _settings(actual)))
    for endpoint in dict.fromkeys((*wanted.destinations, *actual.destinations)):
        mine, there = _destination(wanted, endpoint), actual.destinations.get(endpoint)
        if mine != there:
            found.append(Difference(key, endpoint, mine, there))
    return found


def _words(value: Value) -> str:
    match value:
        case Destination():
            return f"weight {value.weight} by {value.method.forwarding.name}"
        case ServiceSettings():
            return f"scheduler {value.scheduler}"
        case None:
            return "nothing"
        case _:
            assert_never(value)


def _key(wanted: Service | None, actual: Service | None) -> ServiceKey:
    service = wanted or actual
    assert service is not None
    return service.key


def _settings(service: Service | None) -> ServiceSettings | None:
    return None if service is None else normal_settings(service.key, service.settings)


def _destination(service: Service, endpoint: Endpoint) -> Destination | None:
    found = service.destinations.get(endpoint)
    return None if found is None else normal_destination(found)


def _live(service: Service | None) -> bool:
    return service is not None and any(destination.weight > 0 for destination in service.destinations.values())


def _still_wanted(service: Service | None, difference: Difference) -> bool:
    """Tell whether the same is wanted as when the difference was found."""
    if difference.endpoint is None:
        return _settings(service) == difference.wanted
    return service is not None and _destination(service, difference.endpoint) == difference.wanted


def _amended(service: Service, concessions: Iterable[Concession]) -> Service | None:
    """Return a service with what stands in it; None when it stands that there is none."""
    settings, destinations = service.settings, dict(service.destinations)
    for difference in (concession.difference for concession in concessions):
        match difference.actual:
            case ServiceSettings():
                settings = difference.actual
            case Destination():
                destinations[difference.actual.endpoint] = difference.actual
            case None if difference.endpoint is None:
                return None
            case None:
                destinations.pop(difference.endpoint, None)
            case _:
                assert_never(difference.actual)
    return Service(service.key, settings, MappingProxyType(destinations))
