"""What the kernel's table may be, from the operator's file and what is known of each check: a second opinion on the whole core.

Written from the rules (keepalived.md, section 3.3; DESIGN.md), not from `supervisor.core`, and shares nothing with it. Where something
is not known yet more than one answer is allowed; where everything is known there is exactly one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from supervisor.core.table import Service
from supervisor.model import Endpoint, ServiceKey
from tests.sim.guarding import Member, ways_of_holding, worth_of
from tests.sim.ledger import Level
from tests.sim.site import FILE, MISC, CheckKey, PoolPlan, ServerPlan

WEIGHT_MAX = 65535
ABSENT = -1
ANY_WEIGHT = -2

Allowed: TypeAlias = frozenset[int]
"""Weights that a destination may have; ABSENT: it may be missing, ANY_WEIGHT: any above 0."""

Knows: TypeAlias = Callable[[ServiceKey, ServerPlan, CheckKey], "Level | bool | None"]
"""What is known of a check for one real server: a level, or, where nobody has said anything, whether it serves meanwhile (None: either)."""


@dataclass(frozen=True)
class Wish:
    """What an operator wants of a real server: "enabled", "draining" or "disabled", and a weight instead of all others."""

    admin: str
    weight: int | None = None


Overrules: TypeAlias = Callable[[ServiceKey, Endpoint], "Wish | None"]


def nobody(_key: ServiceKey, _endpoint: Endpoint) -> Wish | None:
    """No operator has said anything."""
    return None


Appraise: TypeAlias = Callable[[ServiceKey, PoolPlan, ServerPlan], tuple["bool | None", "int | None"]]
"""Whether a real server ever was in service, and how badly it fails (see `guarding`); None: not known."""


def nothing_known(_key: ServiceKey, _pool: PoolPlan, _server: ServerPlan) -> tuple[bool | None, int | None]:
    """Nobody knows anything of a server that is down."""
    return None, None


@dataclass(frozen=True)
class Opinion:
    """One way in which a service may stand. `quorate` is what it presumes. Endpoints that are not named must be absent, or, while they
    are `leaving`, may keep their connections at weight 0.
    """

    quorate: bool
    weights: Mapping[Endpoint, Allowed]
    leaving: frozenset[Endpoint] = frozenset()

    def allows(self, endpoint: Endpoint, weight: int) -> bool:
        """Tell whether a destination may stand so (ABSENT: be missing)."""
        allowed = self.weights.get(endpoint, _LEAVING if endpoint in self.leaving else _MISSING)
        return weight in allowed or (weight > 0 and ANY_WEIGHT in allowed)

    def allows_emptiness(self) -> bool:
        return all(ABSENT in allowed or 0 in allowed for allowed in self.weights.values())

    def fits(self, service: Service) -> bool:
        """Tell whether the whole service stands so."""
        there = service.destinations
        return all(self.allows(endpoint, d.weight) for endpoint, d in there.items()) and all(
            endpoint in there or ABSENT in allowed for endpoint, allowed in self.weights.items()
        )


_MISSING: Allowed = frozenset({ABSENT})
_LEAVING: Allowed = frozenset({ABSENT, 0})


@dataclass(frozen=True)
class _Server:
    plan: ServerPlan
    live: bool | None
    weight: int | None
    """While live; None: any."""
    drained: bool = False
    """The operator lets nobody new in: weight 0 while it is live, and nothing to the quorum."""
    disabled: bool = False

    @property
    def least(self) -> int:
        return (1 if self.weight is None else self.weight) if self.live and not self.drained else 0

    @property
    def most(self) -> int:
        return 0 if self.live is False or self.drained else WEIGHT_MAX if self.weight is None else self.weight


def _server(key: ServiceKey, pool: PoolPlan, plan: ServerPlan, knows: Knows, overrules: Overrules) -> _Server:
    live: bool | None = True
    weight: int | None = plan.weight
    for check in plan.checks:
        name = pool.check_key(plan.host, check)
        known = knows(key, plan, name)
        if isinstance(known, Level):
            if not known.up:
                live = False
                if name.dynamic:
                    weight = None  # if it is held in service: what it said last is no word of this life
            elif weight is not None:
                weight = _weighed(weight, plan.weight, name, known)
        else:
            if known is None and live:
                live = None
            elif known is False:
                live = False
            if name.dynamic or (name.kind == FILE and name.factor):
                weight = None
    if weight is not None:
        weight = min(max(weight, 0), WEIGHT_MAX)
    wish = overrules(key, plan.endpoint)
    if wish is None:
        return _Server(plan, live, weight)
    if wish.admin == "disabled":
        return _Server(plan, False, 0, disabled=True)
    return _Server(plan, live, weight if wish.weight is None else wish.weight, drained=wish.admin == "draining")


def _weighed(weight: int, configured: int, name: CheckKey, level: Level) -> int:
    if level.weight is None or not (name.dynamic or name.factor):
        return weight  # what says nothing of the weight any more may still be known by what it said when it did
    return weight + level.weight - (configured if name.kind == MISC else 0)


def opinions(
    key: ServiceKey,
    pool: PoolPlan,
    knows: Knows,
    was_quorate: bool | None = None,
    overrules: Overrules = nobody,
    leaving: frozenset[Endpoint] = frozenset(),
    appraise: Appraise = nothing_known,
) -> list[Opinion]:
    """Return every way in which the service may stand; `was_quorate` decides between the margins, where it is known."""
    servers = [_server(key, pool, plan, knows, overrules) for plan in pool.servers]
    ways = _guarded(key, pool, servers, appraise) if pool.min_healthy else [servers]
    return [opinion for way in ways for opinion in _opinions_on(pool, way, was_quorate, leaving)]


def _guarded(key: ServiceKey, pool: PoolPlan, servers: list[_Server], appraise: Appraise) -> list[list[_Server]]:
    """Return every way in which `min_healthy` may have some of those serve that are down."""
    members = []
    for server in servers:
        if not (server.drained or server.disabled):
            proven, bad = appraise(key, pool, server.plan)
            worth = worth_of(pool.min_healthy, server.weight)
            members.append(Member(server.plan.endpoint, worth, server.live, proven, bad))
    ways = ways_of_holding(pool.min_healthy, members)
    if ways is not None:
        return [_holding(servers, held, live=True) for held in ways]
    return [_holding(servers, {m.endpoint for m in members if m.may_be_held is not False}, live=None)]


def _holding(servers: list[_Server], held: Collection[Endpoint], *, live: bool | None) -> list[_Server]:
    return [
        replace(server, live=live) if server.live is False and server.plan.endpoint in held else server
        for server in servers
    ]


def _opinions_on(
    pool: PoolPlan, servers: list[_Server], was_quorate: bool | None, leaving: frozenset[Endpoint]
) -> list[Opinion]:
    least, most = sum(server.least for server in servers), sum(server.most for server in servers)
    found = []
    for quorate in (True, False):
        if quorate:
            possible = most > 0 and most >= pool.quorum - pool.hysteresis
            forced = least >= pool.quorum + pool.hysteresis
        else:
            possible = least < pool.quorum + pool.hysteresis
            forced = most == 0 or most < pool.quorum - pool.hysteresis
        if possible and (forced or was_quorate in {None, quorate}):
            found.append(Opinion(quorate, _weights(pool, servers, quorate=quorate), leaving))
    return found


def _weights(pool: PoolPlan, servers: list[_Server], *, quorate: bool) -> dict[Endpoint, Allowed]:
    weights: dict[Endpoint, Allowed] = {}
    stands_in = bool(pool.sorry) and not quorate
    for server in servers:
        out = 0 if server.plan.inhibit else ABSENT
        into = ANY_WEIGHT if server.weight is None else server.weight
        if server.drained and server.live is not False:
            allowed = {0} if server.live else {0, out}
        elif stands_in or server.live is False:
            allowed = {out}
        elif server.live:
            allowed = {into}
            if server.weight is None:
                allowed.add(0)  # a script may say 0
        else:
            allowed = {into, out, 0}
        weights[server.plan.endpoint] = frozenset(allowed)
    if stands_in:
        weights[pool.sorry_endpoint] = frozenset({1})
    elif pool.sorry == "inhibit":
        weights[pool.sorry_endpoint] = frozenset({0})
    return weights
