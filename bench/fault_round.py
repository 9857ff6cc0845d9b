"""Faults of many real servers at random moments, one after another, and when each of those who watch them has noticed: ours or others.

    played = FaultRound(farm, [Watcher("keepalived", 50, weights), …], [Kind.SILENT], Pace(…), random)
    played.play()
    played.over              # trials: what happened, and after how many seconds each watcher had weight 0, and its weight again

A server's fault is mended when all who watch it have noticed, and its own next fault comes when all have it back.
"""

from __future__ import annotations

import enum
import heapq
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from bench.farm import Farm
from bench.guest import Cell, percentile

LOOK_S = 0.02
START_MAX_S = 90.0
LIMIT_S = 60.0
"""Who has not noticed by then has not noticed."""


class Kind(enum.Enum):
    """What happens to a real server."""

    KILLED = "SIGKILL of the server"
    SILENT = "silent death of the host"
    SICK = "status 503"


@dataclass(slots=True)
class Trial:
    """One fault, and when each of those who watch that server has noticed it; `mended_at` None: it lasts."""

    server: int
    kind: Kind
    began_at: float
    watchers: frozenset[str]
    gone: dict[str, float] = field(default_factory=dict)
    mended_at: float | None = None
    back: dict[str, float] = field(default_factory=dict)

    def look(self, who: str, weight: int, now: float) -> None:
        """Take what stands in a table now."""
        if weight == 0 and self.mended_at is None and who not in self.gone:
            self.gone[who] = now - self.began_at
        if weight > 0 and self.mended_at is not None and who not in self.back:
            self.back[who] = now - self.mended_at

    def is_noticed(self, now: float) -> bool:
        """Tell whether all have noticed, or nobody waits any longer."""
        return self.watchers <= self.gone.keys() or now - self.began_at > LIMIT_S

    def is_over(self, now: float) -> bool:
        """Tell whether it is mended and all know it, or nobody waits any longer."""
        return self.mended_at is not None and (self.watchers <= self.back.keys() or now - self.mended_at > LIMIT_S)


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who watches the first `servers` of the real servers; `weights` reads its table: the weight of each server by its number."""

    name: str
    servers: int
    weights: Callable[[], Mapping[int, int]]


@dataclass(frozen=True, slots=True)
class Pace:
    """When faults come, in seconds: a server's next one after `dwell_s` and a random part of `spread_s`, and between any two a random time
    within `gap_s`.
    """

    dwell_s: float
    spread_s: float
    gap_s: tuple[float, float]


class Agenda:
    """Whose fault is next, and when. Pure: `now` is an argument."""

    def __init__(self, pace: Pace, random: Random) -> None:
        self._pace, self._random = pace, random
        self._due: list[tuple[float, int]] = []
        self._next_at = 0.0

    def __bool__(self) -> bool:
        """Whether there is a fault to come."""
        return bool(self._due)

    def plan(self, number: int, now: float) -> None:
        """A server is well since now, and is to have a fault."""
        due = now + self._pace.dwell_s + self._random.uniform(0.0, self._pace.spread_s)
        heapq.heappush(self._due, (due, number))

    def take(self, now: float) -> int | None:
        """Return the server whose fault is due; None while there is none, or while the last fault was a moment ago."""
        if not self._due or now < max(self._due[0][0], self._next_at):
            return None
        self._next_at = now + self._random.uniform(*self._pace.gap_s)
        return heapq.heappop(self._due)[1]


class FaultRound:
    """All servers and all who watch them: for each server faults to come, at most one at a time."""

    def __init__(
        self, farm: Farm, watchers: Sequence[Watcher], faults: Sequence[Kind], pace: Pace, random: Random
    ) -> None:
        """Each server has all of `faults`, in an order of its own."""
        self._farm, self._watchers, self._agenda = farm, watchers, Agenda(pace, random)
        self._left = {number: random.sample(faults, len(faults)) for number in range(farm.count)}
        self._open: dict[int, Trial] = {}
        self.over: list[Trial] = []
        self.false_removals = dict.fromkeys((watcher.name for watcher in watchers), 0)
        self._well: dict[str, set[int]] = {}
        self._inflict = {Kind.KILLED: farm.kill, Kind.SILENT: farm.silence, Kind.SICK: farm.sicken}
        self._mend = {Kind.KILLED: farm.start_web, Kind.SILENT: farm.give_voice, Kind.SICK: farm.cure}

    def play(self) -> None:
        """Play all. Raises TimeoutError when somebody does not have all servers in its table at the beginning."""
        self._until_all_serve()
        for server in range(self._farm.count):
            self._rest(server)
        while self._agenda or self._open:
            tables = {watcher.name: watcher.weights() for watcher in self._watchers}
            now = time.monotonic()
            self._look(tables, now)
            for trial in list(self._open.values()):
                self._advance(trial)
            if (number := self._agenda.take(now)) is not None:
                self._begin(number)
            time.sleep(LOOK_S)

    def _until_all_serve(self) -> None:
        limit = time.monotonic() + START_MAX_S
        for watcher in self._watchers:
            wanted = set(range(watcher.servers))
            while {number for number, weight in watcher.weights().items() if weight > 0} != wanted:
                if time.monotonic() > limit:
                    raise TimeoutError(f"{watcher.name} has {watcher.weights()} after {START_MAX_S:g} s")
                time.sleep(0.1)
            self._well[watcher.name] = wanted

    def _rest(self, number: int) -> None:
        if self._left[number]:
            self._agenda.plan(number, time.monotonic())

    def _look(self, tables: Mapping[str, Mapping[int, int]], now: float) -> None:
        for name, weights in tables.items():
            well = {number for number, weight in weights.items() if weight > 0}
            for number in self._well[name] ^ well:
                if (trial := self._open.get(number)) is not None:
                    trial.look(name, int(number in well), now)
                elif number not in well:
                    self.false_removals[name] += 1
            self._well[name] = well

    def _begin(self, number: int) -> None:
        kind = self._left[number].pop()
        watchers = [watcher.name for watcher in self._watchers if number < watcher.servers]
        began_at = time.monotonic()
        self._inflict[kind](number)
        self._open[number] = Trial(number, kind, began_at, frozenset(watchers))

    def _advance(self, trial: Trial) -> None:
        now = time.monotonic()
        if trial.mended_at is None:
            if trial.is_noticed(now):
                trial.mended_at = now
                self._mend[trial.kind](trial.server)
        elif trial.is_over(now):
            del self._open[trial.server]
            self.over.append(trial)
            self._rest(trial.server)


def figures(seconds: Sequence[float]) -> list[Cell]:
    """Return cells of a table: how many trials, their median, 99th percentile and worst, and how many were not noticed, if any."""
    missed = sum(value >= LIMIT_S for value in seconds)
    values = statistics.median(seconds), p99(seconds), max(seconds)
    return [len(seconds), *(f"{value:.2f}" if value < LIMIT_S else f"> {LIMIT_S:g}" for value in values), missed or ""]


FIGURES = ["trials", "median, s", "99th percentile, s", "worst, s", f"not within {LIMIT_S:g} s"]


def p99(seconds: Sequence[float]) -> float:
    """Return the 99th percentile: the worst of fewer than 100."""
    return percentile(seconds, 0.99)
