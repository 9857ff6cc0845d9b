"""Who checks what: jobs go to the workers that are there, and what kills workers is kept apart from everybody else.

    crew = Crew(workers=4)
    crew.spoke(2, now), crew.ended(2, jobs, now, blame=True)     what happens to the workers; edges come back, for people
    crew.look(now)                                              when `next_change()` has come
    owners = crew.owners(jobs)                                  job number → index of its worker; a job without one rests

Three rules. **A worker that is away is replaced by the others**: after REASSIGN_AFTER_S its jobs go to those that are there, by rendezvous
hashing, and come back with it. **Who dies of its jobs keeps them**: one that died with jobs less than QUICK_S ago does not hand them on,
because whatever killed it would kill the next one. **The ward**: after DEATHS_MAX quick deaths the jobs of the worker are suspects; half
of them go to the ward, a worker of its own (index `workers`) that has nothing else. When the ward dies, one of those was guilty, and half
of them stay; when the worker at home dies, the next group takes their place. So the suspects halve with every death of the ward, and a
single one is *condemned*: it is checked in the ward alone, however often that dies, until the ward has lived for RELEASE_S. When both
have lived for long enough, all other suspects are acquitted. While there is a trial the condemned rest.

Pure; `now` in seconds of any steady clock. Sources: reliability.md, sections 1 (Supervision) and 6.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from checkers.kit.frozen import frozen
from supervisor.core.jobs import ranking
from supervisor.model import CheckSpec

REASSIGN_AFTER_S = 1.0
"""A worker that is back within this keeps its jobs: each move costs them a pause before the next probe. Starting takes 0.3 s."""

START_MAX_S = 5.0
"""At the beginning a worker may take so long to be there before its jobs go elsewhere (reliability.md, section 2, number 36)."""

FIRST_MAX_S = 20.0
"""At the beginning it is shouted that no worker is there only after this: on a busy machine Python takes its time."""

QUICK_S = 60.0
"""Deaths within this time of each other are quick; one that lived longer has proved itself (keepalived's respawn rule, too)."""

DEATHS_MAX = 3
"""So many quick deaths make suspects of a worker's jobs. Ours: two can be a coincidence of restarts."""

INNOCENT_S = 30.0
"""Least time that suspects must live for to be innocent; longer where their first probes take longer."""

RELEASE_S = 600.0
"""A ward that lived for so long gives its condemned jobs back: the server was mended, or it was something else."""

CONDEMNED_MAX = 64
"""Most condemned jobs. Beyond, it is not a server that kills workers but our code, and keeping jobs apart does not help."""

TRIAL_MAX_S = 600.0
"""Longest trial: who goes on dying after that dies of something else."""

ALL_LOST_AFTER_S = 3.0
"""Without any worker for so long, it is shouted about: a single one that is replaced is back well before."""


@frozen
class AllLost:
    """No worker is there, so no verdict can change."""

    for_s: float


@frozen
class Back:
    """A worker is there again."""

    for_s: float


@frozen
class Suspected:
    """A worker died again and again: so many of its jobs are suspects."""

    worker: int
    jobs: tuple[int, ...]


@frozen
class Condemned:
    """A job kills whoever checks it, and is kept in the ward."""

    job: int


@frozen
class Acquitted:
    """These jobs were suspects or condemned, and are ordinary ones again."""

    jobs: tuple[int, ...]


Edge: TypeAlias = AllLost | Back | Suspected | Condemned | Acquitted


@dataclass(slots=True)
class _Place:
    """One worker. `away_at` is when it went (None: it is there), `deaths` are the last ones that its jobs may be to blame for."""

    away_at: float | None
    deaths: deque[float]


@dataclass(slots=True)
class _Trial:
    """Which suspects are in the ward, which wait at home, in groups, and since when both workers live with them (None: not yet)."""

    home: int
    begun: float
    ward: frozenset[int]
    groups: deque[frozenset[int]]
    since: float | None = None

    @property
    def suspects(self) -> frozenset[int]:
        """All of them."""
        return self.ward.union(*self.groups)


class Crew:
    """The workers and their jobs. Index `workers` is the ward."""

    def __init__(self, workers: int, now: float) -> None:
        """`workers` ordinary ones (1 or more), none of which is there yet."""
        self.ward = workers
        self.condemned: frozenset[int] = frozenset()
        self._places = [_Place(now + START_MAX_S - REASSIGN_AFTER_S, deque(maxlen=DEATHS_MAX)) for _ in range(workers)]
        self._ward = _Place(None, deque(maxlen=1))
        self._trial: _Trial | None = None
        self._jobs: Mapping[CheckSpec, int] = {}
        self._rankings: list[tuple[int, ...]] = []  # of `_jobs`, in their order
        self.specs: Mapping[int, CheckSpec] = {}
        """The jobs that `owners` was asked for last, by their numbers."""
        self._lost_since: float | None = now + FIRST_MAX_S - ALL_LOST_AFTER_S
        self._told_lost = False

    @property
    def ward_wanted(self) -> bool:
        """Whether anything is to be checked in the ward."""
        return self._trial is not None or bool(self.condemned)

    def lost_for_s(self, now: float) -> float:
        """Return for how long no worker has been there, once that was told; 0 while one is."""
        return now - self._lost_since if self._told_lost and self._lost_since is not None else 0.0

    # -- what happens --------------------------------------------------------------------------------------------------

    def awaits(self, index: int) -> bool:
        """Tell whether it is news when this worker says a full state, which it does every half minute."""
        return index == self.ward or self._place(index).away_at is not None

    def spoke(self, index: int, now: float) -> list[Edge]:
        """A worker said its first full state: it is there."""
        if not self.awaits(index):
            return []
        self._place(index).away_at = None
        self._begin_trial_time(now)
        if index == self.ward:
            return []
        since, self._lost_since = self._lost_since, None
        told, self._told_lost = self._told_lost, False
        return [Back(now - since)] if told and since is not None else []

    def ended(self, index: int, jobs: Iterable[int], now: float, *, blame: bool) -> list[Edge]:
        """A worker ended that had these jobs. `blame`: it died of itself, and had been given them."""
        place = self._place(index)
        if place.away_at is None:
            place.away_at = now
        trial = self._trial
        if trial is not None:
            trial.since = None
        if self._lost_since is None and all(other.away_at is not None for other in self._places):
            self._lost_since = now
        if not blame:
            return []
        place.deaths.append(now)
        if trial is not None:
            if index == self.ward:
                return self._ward_died(trial, now)
            return self._home_died(trial) if index == trial.home else []
        if index != self.ward and self._died_too_often(place, now):
            suspects = frozenset(jobs) - self.condemned
            if suspects and len(self.condemned) < CONDEMNED_MAX:
                self._trial = _Trial(index, now, suspects, deque())
                self._halve(self._trial)
                return [Suspected(index, tuple(sorted(suspects)))]
        return []

    def look(self, now: float) -> list[Edge]:
        """See what time alone has changed."""
        edges: list[Edge] = []
        if self._lost_since is not None and not self._told_lost and now >= self._lost_since + ALL_LOST_AFTER_S:
            self._told_lost = True
            edges.append(AllLost(now - self._lost_since))
        trial = self._trial
        if trial is not None and now >= self._acquittal_at():
            edges += self._acquit(trial)
        elif trial is None and self.condemned and now >= self._release_at():
            edges.append(Acquitted(tuple(sorted(self.condemned))))
            self.condemned = frozenset()
        return edges

    def next_change(self, now: float) -> float:
        """Return when `look` or `owners` will give something new, if nothing happens before."""
        times = [self._acquittal_at(), self._release_at()]
        if self._lost_since is not None and not self._told_lost:
            times.append(self._lost_since + ALL_LOST_AFTER_S)
        for place in self._places:
            if place.away_at is not None:
                times += [place.away_at + REASSIGN_AFTER_S, *(death + QUICK_S for death in place.deaths)]
        return min((time for time in times if time > now), default=math.inf)

    # -- who checks what -----------------------------------------------------------------------------------------------

    def owners(self, jobs: Mapping[CheckSpec, int], now: float) -> dict[int, int]:
        """Return job number → index of the worker that checks it now. A job that is not there rests: its verdict is frozen."""
        if jobs is not self._jobs:
            self._learn(jobs)
        here = [self._takes_jobs(place, now) for place in self._places]
        if not any(here):
            here = [True] * len(here)  # nobody is there: whoever comes first finds its own
        trial = self._trial
        suspects = trial.suspects if trial is not None else frozenset()
        owners: dict[int, int] = {}
        for number, ranked in zip(jobs.values(), self._rankings, strict=True):
            if number in self.condemned:
                if trial is None:
                    owners[number] = self.ward
            elif trial is not None and number in suspects:
                owners[number] = self.ward if number in trial.ward else trial.home
            else:
                owners[number] = next(index for index in ranked if here[index])
        return owners

    def _takes_jobs(self, place: _Place, now: float) -> bool:
        """Tell whether a worker is there, back in a moment, or must keep what may have killed it."""
        if place.away_at is None or now < place.away_at + REASSIGN_AFTER_S:
            return True
        return (
            len(place.deaths) > 1 and now < place.deaths[-1] + QUICK_S and place.deaths[-1] < place.deaths[-2] + QUICK_S
        )

    def _learn(self, jobs: Mapping[CheckSpec, int]) -> None:
        """Take in a new configuration: what left it is neither suspect nor condemned any more."""
        known = dict(zip(self._jobs.values(), self._rankings, strict=True))
        self._rankings = [known.get(number) or ranking(spec, len(self._places)) for spec, number in jobs.items()]
        self._jobs = jobs
        self.specs = {number: spec for spec, number in jobs.items()}
        numbers = self.specs.keys()
        self.condemned &= numbers
        trial = self._trial
        if trial is not None:
            trial.ward &= numbers
            trial.groups = deque(group & numbers for group in trial.groups if group & numbers)
            if not trial.ward:
                self._next_group(trial)

    # -- suspects ------------------------------------------------------------------------------------------------------

    def _place(self, index: int) -> _Place:
        return self._ward if index == self.ward else self._places[index]

    @staticmethod
    def _died_too_often(place: _Place, now: float) -> bool:
        return len(place.deaths) == DEATHS_MAX and now - place.deaths[0] <= QUICK_S

    def _ward_died(self, trial: _Trial, now: float) -> list[Edge]:
        """One of those in the ward is guilty, for it had nothing else."""
        guilty = trial.ward
        if len(guilty) > 1:
            self._halve(trial)
            return []
        self.condemned |= guilty
        self._ward.deaths.append(now)
        condemned: list[Edge] = [Condemned(job) for job in guilty]
        if len(self.condemned) >= CONDEMNED_MAX and trial.groups:
            trial.ward = frozenset()
            return condemned + self._acquit(trial)
        self._next_group(trial)
        return condemned

    def _home_died(self, trial: _Trial) -> list[Edge]:
        """It died of one that is at home, or of something else if there is none: try the next group."""
        if not trial.groups:
            return self._acquit(trial)
        trial.groups.append(trial.ward)
        self._next_group(trial)
        return []

    def _halve(self, trial: _Trial) -> None:
        """Half of those in the ward go home, and are the next to be tried."""
        order = sorted(trial.ward)
        half = (len(order) + 1) // 2
        trial.ward = frozenset(order[:half])
        if order[half:]:
            trial.groups.appendleft(frozenset(order[half:]))
        self._ward.away_at = 0.0  # until it has said the state of these

    def _next_group(self, trial: _Trial) -> None:
        """Put the next group into the ward; without one the trial is over."""
        trial.since = None
        self._ward.away_at = 0.0
        if trial.groups:
            trial.ward = trial.groups.popleft()
        else:
            self._trial = None
            self._places[trial.home].deaths.clear()

    def _acquit(self, trial: _Trial) -> list[Edge]:
        self._trial = None
        self._places[trial.home].deaths.clear()
        return [Acquitted(tuple(sorted(trial.suspects)))]

    def _begin_trial_time(self, now: float) -> None:
        """Both live: from now on the suspects prove themselves."""
        trial = self._trial
        if trial is None or trial.since is not None:
            return
        if self._ward.away_at is None and self._places[trial.home].away_at is None:
            trial.since = now

    def _acquittal_at(self) -> float:
        trial = self._trial
        if trial is None:
            return math.inf
        if trial.since is None:
            return trial.begun + TRIAL_MAX_S
        schedules = (self.specs[job].schedule for job in trial.suspects if job in self.specs)
        first_probes_s = max((1.0 + s.warmup + s.connect_timeout for s in schedules), default=0.0)
        return min(trial.begun + TRIAL_MAX_S, trial.since + max(INNOCENT_S, 5.0 + first_probes_s))

    def _release_at(self) -> float:
        if not self.condemned or self._trial is not None or not self._ward.deaths:
            return math.inf
        return self._ward.deaths[-1] + RELEASE_S
