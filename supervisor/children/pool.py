"""All checker workers together: who is there, who checks what, and what is told of them.

    pool = CheckerPool(count, start, jobs, make_job, inbox, log, favour, vitals)
    await pool.run()            # until cancelled
    pool.reassign()             # the jobs changed

What is decided here is decided by `core.crew`; this is its hands: it starts and stops the ward, has workers told of their jobs when those
changed, logs the edges, and knows of each job who owns it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import assert_never

import trio

from checkers.kit import wire
from checkers.kit.api import Reason
from supervisor.children.checkers import CheckerWorker, StartChecker
from supervisor.children.favours import DoFavour
from supervisor.children.patience import Vitals
from supervisor.children.totals import added
from supervisor.core.crew import Acquitted, AllLost, Back, Condemned, Crew, Edge, Suspected
from supervisor.core.events import Event, WorkerSilent
from supervisor.core.snapshot import CheckCount, CheckTiming, Histogram
from supervisor.log import Log
from supervisor.model import PROBE_RATE_DEFAULT, CheckSpec
from supervisor.wording import counted

NAMED_MAX = 5
"""Most checks that a log line names; the others are counted."""


class CheckerPool:
    """All workers. One task runs `run`."""

    def __init__(
        self,
        count: int,
        start: StartChecker,
        jobs: Callable[[], Mapping[CheckSpec, int]],
        make_job: Callable[[CheckSpec, int], wire.Job],
        inbox: trio.MemorySendChannel[Event],
        log: Log,
        favour: DoFavour,
        vitals: Vitals,
        rate_max: Callable[[], int] = lambda: PROBE_RATE_DEFAULT,
    ) -> None:
        """`jobs` returns every job that is to be checked now, `make_job` one of them as a worker gets it, `rate_max` the most probes
        a second of one address and port.
        """
        self._jobs = jobs
        self._make_job = make_job
        self._log = log
        self._count = count
        self._crew = Crew(count, 0.0)
        self._idle: Collection[int] = frozenset()
        self.rate_max = rate_max
        self._owners: dict[int, int] = {}
        self._resting: list[int] = []  # jobs that nobody checks any more, to be told
        self._inbox = inbox
        self._stirred = trio.Event()
        self._changed = False  # what is to be checked, since it was distributed
        self._ward_scope: trio.CancelScope | None = None

        def make(name: str, index: int) -> CheckerWorker:
            return CheckerWorker(name, index, start, self, inbox, log, favour, vitals)

        self._ordinary = tuple(make(f"checker-{index}", index) for index in range(count))
        self._ward = make("checker-ward", count)

    @property
    def workers(self) -> tuple[CheckerWorker, ...]:
        """The workers that there are, or ought to be."""
        return (*self._ordinary, self._ward) if self._ward_scope else self._ordinary

    async def run(self) -> None:
        """Keep all workers alive until cancelled."""
        self._crew = Crew(self._count, trio.current_time())
        self._distribute()
        async with trio.open_nursery() as nursery:
            for worker in self._ordinary:
                nursery.start_soon(worker.keeper.run)
            while True:
                if self._crew.ward_wanted and self._ward_scope is None:
                    self._ward_scope = trio.CancelScope()
                    nursery.start_soon(self._run_ward, self._ward_scope)
                elif not self._crew.ward_wanted and self._ward_scope is not None:
                    self._ward_scope.cancel()
                with trio.move_on_at(self._crew.next_change(trio.current_time())):
                    await self._stirred.wait()
                self._stirred = trio.Event()
                self._tell(self._crew.look(trio.current_time()))
                changed, self._changed = self._changed, False
                self._distribute()
                for worker in self.workers if changed else ():
                    worker.reassign()
                if self._resting:
                    resting, self._resting = tuple(self._resting), []
                    await self._inbox.send(WorkerSilent(resting))

    async def _run_ward(self, scope: trio.CancelScope) -> None:
        with scope:
            await self._ward.keeper.run()
        self._ward.keeper.pid = 0
        self._ward.dismiss()
        self._ward_scope = None
        self._stirred.set()

    async def greeted(self) -> None:
        """Wait until every worker has greeted once."""
        for worker in self._ordinary:
            await worker.greeted.wait()

    async def probe(self, job: int) -> wire.Probed | None:
        """Have a job probed now and return what was seen; None when nobody can, or whoever could went away. Raises TooMany."""
        owner = self._owners.get(job)
        worker = next((one for one in self.workers if one.index == owner), None)
        return None if worker is None else await worker.probe(job)

    def look(self, jobs: Iterable[int]) -> None:
        """What these jobs look at has changed: have them look now. Returns at once."""
        by_owner: dict[int, list[int]] = {}
        for job in jobs:
            by_owner.setdefault(self._owners.get(job, -1), []).append(job)
        for worker in self.workers:
            if worker.index in by_owner:
                worker.look(by_owner[worker.index])

    def reassign(self) -> None:
        """The jobs changed: each worker is told of its own anew. Returns at once."""
        self._changed = True
        self._stirred.set()

    def traffic_changed(self, idle: Collection[int]) -> None:
        """The servers of these jobs, and of no others, are used by nobody now: the workers are told of the difference."""
        self._idle = idle
        for worker in self.workers:
            worker.traffic_changed()

    # -- what a worker asks (children.checkers.Station) ------------------------------------------------------------------

    def numbers(self, index: int) -> Collection[int]:
        """Return the jobs of worker INDEX now."""
        return [job for job, owner in self._owners.items() if owner == index]

    def job(self, number: int) -> wire.Job | None:
        """Return a job as a worker gets it; None: nobody wants it any more."""
        spec = self._crew.specs.get(number)
        return None if spec is None else self._make_job(spec, number)

    def owned(self, index: int, jobs: Iterable[int]) -> tuple[int, ...]:
        """Return those of the jobs that are this worker's."""
        return tuple(job for job in jobs if self._owners.get(job) == index)

    def idle(self) -> Collection[int]:
        """Return the jobs whose servers nobody uses now."""
        return self._idle

    def spoke(self, index: int) -> None:
        """It is there. Who was there already changes nothing, and who checks what need not be found out again."""
        if self._crew.awaits(index):
            self._tell(self._crew.spoke(index, trio.current_time()))
            self._stirred.set()

    def ended(self, index: int, jobs: Collection[int], *, blame: bool) -> None:
        """It is not there any more."""
        self._tell(self._crew.ended(index, self.owned(index, jobs), trio.current_time(), blame=blame))
        self._stirred.set()

    # -- jobs ------------------------------------------------------------------------------------------------------------

    def _distribute(self) -> None:
        """Find out who checks what now, and have those told whose jobs changed."""
        jobs = self._jobs()
        before, self._owners = self._owners, self._crew.owners(jobs, trio.current_time())
        changed: set[int] = set()
        moved = 0
        for job, owner in self._owners.items():
            old = before.get(job)
            if old != owner:
                changed.add(owner)
                if old is not None:
                    changed.add(old)
                    moved += 1
        ownerless = [job for job in before if job not in self._owners]
        changed |= {before[job] for job in ownerless}
        self._resting += [job for job in ownerless if job in self._crew.specs]
        for worker in self.workers:
            if worker.index in changed:
                worker.reassign()
                if self._ward.index in changed:  # what these died of may be elsewhere now
                    worker.keeper.hasten()
        if moved:
            self._log.emit("workers.jobs_moved", f"{counted(moved, 'check')} went to another worker.", checks=moved)

    # -- observing -------------------------------------------------------------------------------------------------------

    def lost_for_s(self) -> float:
        """Return for how long there has been no worker at all; 0 while there is one."""
        return self._crew.lost_for_s(trio.current_time())

    def condemned(self) -> tuple[int, ...]:
        """Return the jobs that are kept in the ward because they kill workers."""
        return tuple(sorted(self._crew.condemned))

    def _tell(self, edges: Iterable[Edge]) -> None:
        for edge in edges:
            match edge:
                case AllLost(for_s):
                    self._log.emit(
                        "workers.all_lost",
                        "No checker worker is there: every verdict is frozen, and nothing can be taken in or out until one is back.",
                        silent_s=for_s,
                        checks=len(self._owners),
                    )
                case Back(for_s):
                    self._log.emit(
                        "workers.back", f"A checker worker is there again, after {for_s:.1f} s.", silent_s=for_s
                    )
                case Suspected(worker, jobs):
                    self._log.emit(
                        "worker.suspects",
                        f"checker-{worker} died again and again; its {counted(len(jobs), 'check is', 'checks are')} tried by halves until"
                        " it is known of which.",
                        worker=f"checker-{worker}",
                        checks=len(jobs),
                    )
                case Condemned(job):
                    self._log.emit(
                        "worker.quarantine",
                        f"{self._named((job,))} kills the worker that checks it; it is kept apart in checker-ward from now on.",
                        worker=self._ward.keeper.name,
                        check=self._named((job,)),
                    )
                case Acquitted(jobs):
                    self._log.emit(
                        "worker.quarantine_over",
                        f"No worker has died any more of {counted(len(jobs), 'suspected check')}, which"
                        f" {'is an ordinary one' if len(jobs) == 1 else 'are ordinary ones'} again: {self._named(jobs)}.",
                        checks=len(jobs),
                        check=self._named(jobs),
                    )
                case _:
                    assert_never(edge)

    def _named(self, jobs: Sequence[int]) -> str:
        specs = [self._crew.specs[job] for job in jobs[:NAMED_MAX] if job in self._crew.specs]
        names = ", ".join(f"{spec.type} {spec.target}" for spec in specs)
        return f"{names} and {len(jobs) - NAMED_MAX} more" if len(jobs) > NAMED_MAX else names

    def counts(self) -> tuple[CheckCount, ...]:
        """Return how often each checker type gave each reason."""
        total: dict[tuple[str, Reason], int] = {}
        for worker in (*self._ordinary, self._ward):
            for key, count in worker.totals.counts().items():
                total[key] = total.get(key, 0) + count
        return tuple(CheckCount(kind, reason.name, count) for (kind, reason), count in sorted(total.items()))

    def durations(self) -> tuple[CheckTiming, ...]:
        """Return how long the probes of each checker type took."""
        total: dict[str, Histogram] = {}
        for worker in (*self._ordinary, self._ward):
            for kind, histogram in worker.totals.durations().items():
                total[kind] = added(total.get(kind, Histogram()), histogram)
        return tuple(CheckTiming(kind, total[kind]) for kind in sorted(total))

    def schedule_lag(self) -> Histogram:
        """Return how late probes started."""
        total = Histogram()
        for worker in (*self._ordinary, self._ward):
            total = added(total, worker.totals.lag())
        return total
