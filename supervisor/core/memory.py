"""What outlives the program: the values that the state file holds, made from the director's state and of use to the next start.

    pools = memorize(...)                     # while it runs: what stands now, in wall-clock time
    recall = Recall(memory, life, clocks, …)  # at the next start: what of it still holds
    Director(config, now, found, recall)      # `adoption` weighs it against the kernel's table

Times here are Unix seconds, for trio's clock ends with the process; `Clocks` leads from one to the other. What is known of health,
quorum and the kernel's settings holds for one boot in one network namespace (`Life`), the operator's wishes hold beyond it.
Whoever adds a field adds it to the codec (`supervisor.statefile`) with what its absence means: a file of an older program lacks it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from types import MappingProxyType

from checkers.kit.frozen import frozen
from supervisor.core.events import Health
from supervisor.core.health import Check
from supervisor.core.kernelsettings import Held
from supervisor.core.override import AdminState, Override
from supervisor.core.pause import Pause
from supervisor.core.realserver import RealServerState
from supervisor.core.table import Table
from supervisor.core.virtualserver import VirtualServerState
from supervisor.model import CheckSpec, Config, Endpoint, ServiceKey

FRESH_S = 60.0
"""A server that was UP counts as proven for so long after the last sign of life of who remembers it: a restart takes seconds."""

DRAIN_S = 300.0
"""How long what left may take to be done, where nobody knows any more what the file said (the default of drain_timeout)."""


@frozen
class Life:
    """What bounds the use of what is known: one boot of the machine and one network namespace. Empty: nobody can know."""

    boot_id: str = ""
    network: str = ""

    def is_same(self, other: Life) -> bool:
        """Tell whether both are known and the same."""
        return bool(self.boot_id and self.network) and self == other


@frozen
class Clocks:
    """One moment on both clocks: `now` is trio's, `wall` is Unix time, both in seconds."""

    now: float
    wall: float

    def at(self, moment: float) -> float:
        """Return trio's `moment` as Unix seconds, to the millisecond."""
        return round(self.wall + moment - self.now, 3)

    def moment(self, at: float) -> float:
        """Return Unix seconds as a moment of trio's clock, never one that is still to come."""
        return min(self.now + at - self.wall, self.now)


@frozen
class CheckMemory:
    """One check: `definition` names what it does (`jobs.definition`), `type` finds its successor when that was edited."""

    definition: str
    type: str
    health: Health
    since_at: float
    reason: str = ""
    detail: str = ""
    weight: int | None = None


@frozen
class WishMemory:
    """An operator's wish; `until_at` None: without an end."""

    admin: AdminState
    weight: int | None
    reason: str
    by: str
    since_at: float
    until_at: float | None


@frozen
class PauseMemory:
    """An operator's pause of all writes; `until_at` None: without an end."""

    by: str
    reason: str
    since_at: float
    until_at: float | None


@frozen
class ServerMemory:
    """One real server; `wanted` is the weight that it should have had in the kernel's table, None: not there at all."""

    endpoint: Endpoint
    wanted: int | None
    since_at: float
    checks: tuple[CheckMemory, ...] = ()
    wish: WishMemory | None = None

    @property
    def health(self) -> Health:
        """As `RealServerState.health`; UNKNOWN also when nothing was checked."""
        healths = {check.health for check in self.checks}
        if Health.DOWN in healths:
            return Health.DOWN
        return Health.UP if healths == {Health.UP} else Health.UNKNOWN


@frozen
class PoolMemory:
    """One virtual server; `sorry` is where its sorry server was, if it had one.

    `leaving` are destinations that left the configuration and had connections still, `drain_timeout_s` how long they may take.
    """

    key: ServiceKey
    quorate: bool
    since_at: float
    sorry: Endpoint | None = None
    servers: Mapping[Endpoint, ServerMemory] = field(default_factory=dict)
    leaving: frozenset[Endpoint] = frozenset()
    drain_timeout_s: float = DRAIN_S

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        """Every destination that we may have put there."""
        return self.leaving.union(self.servers, (self.sorry,) if self.sorry else ())


@frozen
class Memory:
    """Everything. `removed`: a clean stop took all that was ours out of the kernel.

    `leaving` are services that left the configuration and may still be in the kernel, with the destinations that we knew.
    """

    version: str
    life: Life
    saved_at: float
    digest: str = ""
    removed: bool = False
    held: Held = field(default_factory=Held)
    pools: Mapping[ServiceKey, PoolMemory] = field(default_factory=dict)
    leaving: Mapping[ServiceKey, frozenset[Endpoint]] = field(default_factory=dict)
    pause: PauseMemory | None = None


@frozen
class Recall:
    """A memory, seen from a later start in `life` at the moment `clocks`; `alive_at` is the last sign of life of who left it."""

    memory: Memory
    life: Life
    clocks: Clocks
    alive_at: float

    @property
    def trusted(self) -> bool:
        """Whether what it knows of the kernel and of health can still be true."""
        return self.life.is_same(self.memory.life)

    @property
    def age_s(self) -> float:
        """Seconds since its last sign of life; 0 where the clock was set back."""
        return max(self.clocks.wall - self.alive_at, 0.0)

    def pool(self, key: ServiceKey) -> PoolMemory | None:
        """Return what is known of a virtual server, None when nothing is or it cannot be true any more."""
        return self.memory.pools.get(key) if self.trusted else None

    def held(self) -> Held:
        """Return which settings of the kernel are ours to give back."""
        return self.memory.held if self.trusted and not self.memory.removed else Held()

    def pause(self) -> Pause | None:
        """Return the pause of writes that still stands, in the same life alone: a new boot begins with an empty table."""
        pause = self.memory.pause
        if pause is None or not self.trusted or self.memory.removed:
            return None
        left_s = math.inf if pause.until_at is None else pause.until_at - max(self.clocks.wall, self.alive_at)
        return Pause(pause.by, pause.reason, self.clocks.moment(pause.since_at), self.clocks.now + left_s)

    def drain_timeout_s(self, key: ServiceKey) -> float:
        """Return how long the destinations of a virtual server that left may take to be done."""
        pool = self.memory.pools.get(key)
        return pool.drain_timeout_s if pool else DRAIN_S

    def wish(self, key: ServiceKey, endpoint: Endpoint) -> Override | None:
        """Return what an operator wants of a real server, in any life. One whose end has passed is returned too, so that its end is told.

        A clock that was set back does not prolong it.
        """
        pool = self.memory.pools.get(key)
        server = pool.servers.get(endpoint) if pool else None
        if server is None or server.wish is None:
            return None
        wish, now = server.wish, self.clocks.now
        left_s = math.inf if wish.until_at is None else wish.until_at - max(self.clocks.wall, self.alive_at)
        since = self.clocks.moment(wish.since_at)
        return Override(wish.admin, wish.weight, wish.reason, wish.by, since, now + left_s)

    def abandoned(self, config: Config, found: Table) -> dict[ServiceKey, bool]:
        """Return the services in the kernel that were ours and are not in the configuration any more: True, they still are.

        False: there is a destination that we never put there, so that somebody else has it now.
        """
        if not self.trusted or self.memory.removed:
            return {}
        ours = {**self.memory.leaving, **{key: pool.endpoints for key, pool in self.memory.pools.items()}}
        for spec in config.virtual_servers:
            ours.pop(spec.key, None)
        there = {key: found.services[key] for key in ours if key in found.services}
        return {key: ours[key].issuperset(service.destinations) for key, service in there.items()}


def remember(
    state: VirtualServerState, leaving: Iterable[Endpoint], clocks: Clocks, define: Callable[[Check], str]
) -> PoolMemory:
    """Return what is to be remembered of a virtual server; `define` names what a check does (`jobs.definition`)."""
    servers = {
        endpoint: _server(server, state.weight_of(server), clocks, define)
        for endpoint, server in state.real_servers.items()
    }
    spec = state.spec
    sorry = spec.sorry_server.endpoint if spec.sorry_server else None
    return PoolMemory(
        spec.key,
        state.quorate,
        clocks.at(state.since),
        sorry,
        MappingProxyType(servers),
        frozenset(leaving),
        spec.drain_timeout,
    )


def _server(
    server: RealServerState, wanted: int | None, clocks: Clocks, define: Callable[[Check], str]
) -> ServerMemory:
    return ServerMemory(
        server.spec.endpoint,
        wanted,
        clocks.at(server.since),
        tuple(_check(check, clocks, define) for check in server.checks),
        None if server.override is None else _wish(server.override, clocks),
    )


def _check(check: Check, clocks: Clocks, define: Callable[[Check], str]) -> CheckMemory:
    result = check.result
    return CheckMemory(
        define(check),
        check.spec.type,
        check.health,
        clocks.at(check.since),
        result.reason if result else "",
        result.detail if result else "",
        check.weight,
    )


def _wish(wish: Override, clocks: Clocks) -> WishMemory:
    until_at = None if wish.until == math.inf else clocks.at(wish.until)
    return WishMemory(wish.admin, wish.weight, wish.reason, wish.by, clocks.at(wish.since), until_at)


def remembered_pause(pause: Pause | None, clocks: Clocks) -> PauseMemory | None:
    """Return what is to be remembered of a pause."""
    if pause is None:
        return None
    until_at = None if pause.until == math.inf else clocks.at(pause.until)
    return PauseMemory(pause.by, pause.reason, clocks.at(pause.since), until_at)


def matched(checks: tuple[CheckSpec, ...], names: tuple[str, ...], memory: ServerMemory) -> list[CheckMemory | None]:
    """Return for each check of the configuration what is remembered of it: of the same definition, else of one of its type.

    `names` are the definitions of `checks`. As at a reload, an edited check takes over what the one that it replaces knew.
    """
    left = list(memory.checks)
    found: list[CheckMemory | None] = []
    for name in names:
        same = next((check for check in left if check.definition == name), None)
        found.append(same)
        if same is not None:
            left.remove(same)
    for index, spec in enumerate(checks):
        if found[index] is None:
            found[index] = next((check for check in left if check.type == spec.type), None)
            if found[index] is not None:
                left.remove(found[index])  # type: ignore[arg-type]  # just found there
    return found
