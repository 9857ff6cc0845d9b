"""What the oracles may know: what the kernel had at the start, the file, and what live workers said since. See `tests.sim.oracles`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from supervisor.core.table import Reading, Service, Table
from supervisor.model import Endpoint, ServiceKey
from tests.sim.expectation import Opinion, opinions
from tests.sim.guarding import how_bad, how_bad_truly
from tests.sim.ledger import Level
from tests.sim.site import DRAIN_MAX_S, FILE, CheckKey, PoolPlan, ServerPlan

if TYPE_CHECKING:
    from tests.sim.stage import Stage

SLACK_S = 2.5
"""For everything between a probe and the kernel, where nothing is wrong: ticks of timers, latencies, a pause of the writer."""

HELD_MAX_S = 60.0
"""Removals are held for so long, and once more, when nearly nobody answers (core.blame, ROUND_MAX_S)."""

OPINIONS_MAX = 400


class Known:
    """What may be known in this life, and which tables are right by it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.blames_itself = False
        """Removals are held: who is down may be in service or not."""
        self.recent: dict[ServiceKey, list[Opinion]] = {}
        """How each service might have stood since the last moment of rest."""
        self.keys_ever: set[ServiceKey] = set()
        """The services that a file of ours has named."""
        self.claims: dict[str, bool] = {}
        """Whether a virtual server has its quorum, as it was told."""
        self.found: Table | None = None
        """The first reading of this life."""
        self.configured_at = -math.inf
        self.turned_at: dict[CheckKey, float] = {}
        """When a worker last said something new of a check."""
        self._origins: dict[tuple[ServiceKey, Endpoint], str] = {}
        self._last: dict[tuple[ServiceKey, Endpoint], bool | None] = {}
        self._leaving: dict[tuple[ServiceKey, Endpoint], float] = {}
        self._asked: dict[tuple[ServiceKey, Endpoint], tuple[CheckKey, ...]] = {}
        """The checks of each real server."""
        self._asked_since: dict[tuple[ServiceKey, Endpoint, CheckKey], float] = {}
        """Since when each check is one of a real server: what is known from before was said of another one."""
        self._proven: set[tuple[ServiceKey, Endpoint]] = set()
        """Who was in service in this life."""
        self._inherited: dict[tuple[ServiceKey, Endpoint, CheckKey], Level] = {}
        """What an edited check takes over from the one whose place it takes, until a probe of its own has said something."""

    def knows(self, key: ServiceKey, server: ServerPlan, name: CheckKey) -> Level | bool | None:
        """What is known of a check of a real server: its level, or only whether it is well; None when both may be right."""
        level = self._stage.ledger.levels.get(name)
        inherited = self._inherited.get((key, server.endpoint, name))
        if inherited is not None and (level is None or not level.probed):
            return None if self.blames_itself and not inherited.up else inherited
        if level is not None:
            return None if self.blames_itself and not level.up else level
        match self._origins.get((key, server.endpoint)):
            case "serving":
                return True
            case "out":
                return False
            case "fresh" if name.alpha:
                return False
            case _:
                return None

    def _truly(self, key: ServiceKey, server: ServerPlan, name: CheckKey) -> Level | bool | None:
        del key, server
        good, weight = self._stage.weather.truth(name)
        if good is False and self.blames_itself:
            return None
        if good is None or self._stage.weather.same_since(name) > trio.current_time() - self.bound_s():
            return None
        return Level(good, weight, probed=True)

    def opinions(self, key: ServiceKey, pool: PoolPlan, *, truly: bool = False) -> list[Opinion]:
        """Every way in which a service may stand now, by what is known; with `truly` by what the servers really do."""
        knows, leaving = self._truly if truly else self.knows, self.leaving_of(key)
        appraise = self._appraise_truly if truly else self.appraise
        found = opinions(key, pool, knows, self.claims.get(str(key)), self._stage.wish_of, leaving, appraise)
        return found or opinions(key, pool, knows, None, self._stage.wish_of, leaving, appraise)

    def appraise(self, key: ServiceKey, pool: PoolPlan, server: ServerPlan) -> tuple[bool | None, int | None]:
        """Whether a real server that is down ever was in service, and how badly it fails, by what its worker said."""
        bad: list[int | None] = []
        for plan in server.checks:
            name = pool.check_key(server.host, plan)
            level, failure = self._stage.ledger.levels.get(name), self._stage.ledger.failures.get(name)
            if level is None or not level.up:
                since = self._asked_since.get((key, server.endpoint, name), -math.inf)
                bad.append(how_bad(failure) if level and failure and failure.at > since else None)
        return self._is_proven(key, pool, server), _worst(bad)

    def _appraise_truly(self, key: ServiceKey, pool: PoolPlan, server: ServerPlan) -> tuple[bool | None, int | None]:
        bad: list[int | None] = []
        for plan in server.checks:
            name = pool.check_key(server.host, plan)
            if self._truly(key, server, name) is None or self._stage.weather.truth(name)[0] is False:
                settled = self._stage.weather.since(name) <= trio.current_time() - self.bound_s()
                bad.append(how_bad_truly(name.kind, self._stage.weather.now(name)) if settled else None)
        return self._is_proven(key, pool, server), _worst(bad)

    def said_at(self, name: CheckKey) -> float:
        """When a worker last said something new of a check."""
        failure = self._stage.ledger.failures.get(name)
        return max(self.turned_at.get(name, -math.inf), failure.at if failure else -math.inf)

    def _is_proven(self, key: ServiceKey, pool: PoolPlan, server: ServerPlan) -> bool | None:
        if (key, server.endpoint) in self._proven:
            return True
        fresh = self._origins.get((key, server.endpoint)) == "fresh"
        alpha = any(pool.check_key(server.host, plan).alpha for plan in server.checks)
        return False if fresh and alpha else None

    def _prove(self, key: ServiceKey, pool: PoolPlan) -> None:
        for server in pool.servers:
            known = [self.knows(key, server, pool.check_key(server.host, plan)) for plan in server.checks]
            if all(isinstance(level, Level) and level.up for level in known):
                self._proven.add((key, server.endpoint))

    def leaving_of(self, key: ServiceKey) -> frozenset[Endpoint]:
        """Who left the file and may still have connections."""
        now = trio.current_time()
        return frozenset(
            endpoint for (where, endpoint), until in self._leaving.items() if where == key and now <= until
        )

    def bound_s(self) -> float:
        """Within this after the last change of anything, the kernel's table is what the weather makes of the file."""
        longest = 0.0
        for _, _, name in self._stage.site.checks():
            tries = (name.retry or 1) + 1  # without retries a time-out beside a sentinel is made again
            down = name.timeout + tries * (name.timeout + 0.1) + name.retry * (name.fast or name.pause)
            up = name.rise * (name.longest + name.timeout)
            every = 1.0 if name.kind == FILE else name.longest
            longest = max(longest, every + 1 + name.warmup + max(down, up) + 0.2 * (name.retry + name.rise))
        return longest + SLACK_S + (2 * HELD_MAX_S if self._stage.site.blames_itself else 0.0)

    def remember(self, key: ServiceKey, pool: PoolPlan) -> None:
        """What is right for a service now may be written some time later."""
        self._prove(key, pool)
        seen = self.recent.setdefault(key, [])
        for opinion in self.opinions(key, pool):
            if opinion not in seen[-4:]:
                seen.append(opinion)
        del seen[:-OPINIONS_MAX]

    def remember_all(self) -> None:
        """The same of every service of the file."""
        for key, pool in self._stage.site.services():
            self.remember(key, pool)

    # -- beginnings -------------------------------------------------------------------------------------------------

    def last_life(self) -> None:
        """What was known of each real server when the supervisor ended: the next one may have kept it."""
        if not self._stage.remembers:
            self._last.clear()
        for key, pool in self._stage.site.services() if self.found is not None else ():
            for server in pool.servers:
                known = [self.knows(key, server, pool.check_key(server.host, plan)) for plan in server.checks]
                ups = [level.up if isinstance(level, Level) else level for level in known]
                self._last[key, server.endpoint] = False if False in ups else None if None in ups else True

    def new_life(self) -> None:
        """The supervisor starts."""
        self.found = None
        self.blames_itself = False
        self._origins.clear()
        self.claims.clear()
        self.recent.clear()
        self._leaving.clear()
        self._inherited.clear()
        self._proven.clear()
        self._asked, self._asked_since = self._checks_of_everybody(), {}
        if not self._stage.remembers:
            self.keys_ever.clear()
        self.keys_ever |= {key for key, _ in self._stage.site.services()}
        self.remember_all()

    def on_first_reading(self, reading: Reading) -> None:
        """The first reading of a life says what each real server starts from (see `a_restart_changes_nothing`)."""
        self.found = reading.table
        for key, service in reading.table.services.items():
            if key in self.keys_ever and self._stage.site.pool_of(key) is None:
                for endpoint in service.destinations:
                    self._leave(key, endpoint)
        for key, pool in self._stage.site.services():
            found = reading.table.services.get(key)
            ours = {server.endpoint for server in pool.servers} | ({pool.sorry_endpoint} if pool.sorry else set())
            serving = {e for e, d in found.destinations.items() if d.weight > 0} if found else set()
            other_file = bool(serving) and not serving & ours
            for endpoint in found.destinations if found else ():
                self._leave(key, endpoint)
            origins = {server.endpoint: _origin(found, server, other_file=other_file) for server in pool.servers}
            if other_file and not pool.sorry and "serving" not in origins.values():
                origins = dict.fromkeys(origins, "changed")  # nobody would serve: a dead server is no worse than none
            for server in pool.servers:
                origin, name = origins[server.endpoint], (key, server.endpoint)
                agrees = name not in self._last or (self._last[name] is not None and self._last[name] is _SHOWS[origin])
                if self._stage.remembers and not agrees:
                    origin = "changed"  # table and memory differ: either may be right until somebody has looked
                self._origins[key, server.endpoint] = origin
        self.recent.clear()
        self.remember_all()

    def on_configuration(self) -> None:
        """A new configuration was taken: what is new starts by its rules, what changed keeps its health until it speaks itself."""
        self.configured_at = trio.current_time()
        self._inherit()
        self._stage.ledger.forget_all_but({name for _, _, name in self._stage.site.checks()})
        known = {(key, endpoint) for key, endpoint in self._origins}
        for key, pool in self._stage.site.services():
            fresh_pool = key not in self.recent
            self.keys_ever.add(key)
            for server in pool.servers:
                if (key, server.endpoint) in known and not fresh_pool:
                    self._origins[key, server.endpoint] = "changed"
                else:
                    self._origins[key, server.endpoint] = "fresh"
        self.claims = {}
        there = {
            (key, endpoint)
            for key, service in self._stage.backend.table.services.items()
            for endpoint in service.destinations
            if key in self.keys_ever
        }
        for key, endpoint in sorted(known | there, key=str):
            self._leave(key, endpoint)
        self.remember_all()

    def _checks_of_everybody(self) -> dict[tuple[ServiceKey, Endpoint], tuple[CheckKey, ...]]:
        return {
            (key, server.endpoint): tuple(pool.check_key(server.host, plan) for plan in server.checks)
            for key, pool in self._stage.site.services()
            for server in pool.servers
        }

    def _inherit(self) -> None:
        """An edited check neither revives a dead server nor takes a live one out, where it is plain whose place it takes."""
        before, self._asked = self._asked, self._checks_of_everybody()
        old = {(*who, name) for who, names in before.items() for name in names}
        new = {(*who, name) for who, names in self._asked.items() for name in names} - old
        self._asked_since |= dict.fromkeys(new, trio.current_time())
        self._proven &= self._asked.keys()
        known = {(who, name): self._settled_level(who, name) for who, names in before.items() for name in names}
        heirs: dict[CheckKey, set[Level | None]] = {}
        for who, names in self._asked.items():
            gone = [name for name in before.get(who, ()) if name not in names]
            for name in names:  # equal checks of several servers are one job: what one of them inherits, all hear
                places = {known[who, other] for other in gone if other.kind == name.kind} or {None}
                goes_on = {self._inherited.get((*who, name))}
                heirs.setdefault(name, set()).update(goes_on if name in before.get(who, ()) else places)
        plain = {name: next(iter(found)) for name, found in heirs.items() if len(found) == 1}
        self._inherited = {
            (*who, name): level
            for who, names in self._asked.items()
            for name in names
            if (level := plain.get(name)) is not None
        }

    def _settled_level(self, who: tuple[ServiceKey, Endpoint], name: CheckKey) -> Level | None:
        """What the program has had time to take in of a check; None: nothing that is certain."""
        level, inherited = self._stage.ledger.levels.get(name), self._inherited.get((*who, name))
        if self.blames_itself or trio.current_time() < self.turned_at.get(name, -math.inf) + SLACK_S:
            return None
        if level is not None and level.probed:
            return level
        return inherited

    def _leave(self, key: ServiceKey, endpoint: Endpoint) -> None:
        """A destination may stand at weight 0 until its connections are gone, or its time is over."""
        pool = self._stage.site.pool_of(key)
        lasts_s = DRAIN_MAX_S if pool is None else pool.drain
        self._leaving[key, endpoint] = trio.current_time() + lasts_s + SLACK_S


def _worst(bad: Sequence[int | None]) -> int | None:
    """The worst of all; None where one is not known, or there is none."""
    known = [each for each in bad if each is not None]
    return max(known) if known and len(known) == len(bad) else None


def _origin(found: Service | None, server: ServerPlan, *, other_file: bool) -> str:
    """A restart changes nothing: who serves goes on serving and who is out stays out, until a probe has said something else."""
    if found is None or not found.destinations:
        return "fresh"
    there = found.destinations.get(server.endpoint)
    if there is None:
        return "fresh" if server.inhibit or other_file else "out"
    return "out" if there.weight == 0 and server.weight > 0 else "serving"


_SHOWS = {"fresh": None, "changed": None, "serving": True, "out": False}
