"""The checker worker: one nursery, one isolated task for each job, and what it tells the supervisor.

    async def main(link: Link, make_dialer: MakeDialer, rng: Random, *, timer: Timer | None = None,
                   confine: Callable[[], str] | None = None, freeze: bool = False) -> None

runs until the link ends, the supervisor says Stop, or it is cancelled. It is the same code under `python -m checkers` and as a
task of a story: everything real (sockets, privileges) comes in as an argument. The protocol, in order: preload the checker
types, `confine()`, say Hello, then obey Assign, AskState, Grant and Stop.

What is told is a level, not an edge: for each job the newest report is kept until the link takes it, so a slow supervisor costs
memory for one report a job and no more. A report goes out when there is something to tell: a change, the first result, a
failure that uses a retry, another reason than last time, a renewed certificate. A quiet success costs no frame. The full state goes
out after each assignment, on request and every STATE_EVERY_S; a beat every BEAT_EVERY_S. What a job needs and this process may not do
is asked of the supervisor (`kit.favours`).

A new assignment replaces the old one, but a job that is still in it goes on undisturbed: same task, same timers, same state.
A bug in a checker costs its own job one verdict CRASHED (the one broad `except` of the project) and nobody else anything; that says
nothing about the server. Nor does what went wrong while this process, or the whole machine, stood still (`kit.punctuality`).
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable

import trio

from checkers.kit import wire
from checkers.kit.api import TYPES, CheckerType, Health, MakeDialer, ProbeError, Reason, Verdict, load
from checkers.kit.excerpt import clip
from checkers.kit.favours import Desk, JobFavours
from checkers.kit.job import Job
from checkers.kit.link import Link, LinkError
from checkers.kit.punctuality import Punctuality
from checkers.kit.schedule import CheckState, Random
from checkers.kit.shedding import Shedding
from checkers.kit.tally import Tally
from checkers.kit.timer import Timer
from checkers.kit.turns import OneByOne, Turns

STATE_EVERY_S = 30.0
"""How often the full state is said (reliability.md, section 6)."""

BEAT_EVERY_S = 1.0
"""How often a sign of life is given (reliability.md, section 6)."""

OVERDUE_S = 1.0
"""So late a job counts as overdue."""


async def main(
    link: Link,
    make_dialer: MakeDialer,
    rng: Random,
    *,
    timer: Timer | None = None,
    punctuality: Punctuality | None = None,
    confine: Callable[[], str] | None = None,
    freeze: bool = False,
) -> None:
    """Be a worker until the link ends; see the module's docstring. Closes the link.

    `timer` is one that somebody runs already (the dialer's); without it the worker runs its own. `punctuality` is one that somebody
    keeps looking (the dialer's, too); without it this process is taken for one that never stands still. `confine` gives up
    privileges and returns what was reached, for Hello. `freeze` hides everything that an assignment made from the garbage
    collector (performance.md, point 7). Raises WireError when the supervisor says nonsense, LinkError never.
    """
    checkers = {keyword: load(keyword) for keyword in TYPES}  # before the walls go up: nothing is imported afterwards
    caged = confine() if confine is not None else "caged=no"
    nonsense: wire.WireError | None = None
    try:
        async with trio.open_nursery() as nursery:
            if timer is None:
                timer = Timer()
                nursery.start_soon(timer.run)
            punctuality = punctuality or Punctuality()
            worker = Worker(link, make_dialer, rng, timer, punctuality, checkers, nursery, freeze=freeze)
            await link.send(wire.encode(wire.Hello(os.getpid(), clip(caged))))
            try:
                await worker.obey()
            except wire.WireError as error:
                nonsense = error
            nursery.cancel_scope.cancel()
    except* LinkError:
        pass  # the supervisor is gone, and so are we
    finally:
        link.close()
    if nonsense is not None:
        raise nonsense


class Runner:
    """One job with its task and its state."""

    __slots__ = (
        "due",
        "due_by",
        "favours",
        "job",
        "last_told",
        "longest_s",
        "naps",
        "prepared",
        "probes",
        "scope",
        "state",
        "target",
        "turns",
    )

    def __init__(self, job: Job, desk: Desk, naps: int) -> None:
        self.job = job
        self.naps = naps  # of this process that were taken into account
        self.target = job.target
        self.favours = JobFavours(desk, lambda: self.job.id, job.connect_timeout)
        self.state = CheckState(job, job.health, job.weight)
        self.scope = trio.CancelScope()
        self.longest_s = _longest(job)
        self.probes = 0
        self.due = 0.0  # of the next probe
        self.due_by = 0.0  # after this its next start or end is overdue
        self.last_told = (Reason.NONE, 0.0)  # reason and end of the certificate of the last report
        self.prepared: object = _NOT_PREPARED
        self.turns: Turns | None = None  # of a check whose requests are made one by one

    def entry(self) -> wire.StateEntry:
        """Return the present level."""
        state = self.state
        return wire.StateEntry(self.job.id, state.health, state.edges, state.failures, state.weight)


_NOT_PREPARED = object()


class Worker:
    """The jobs and their tasks, and what waits to be told."""

    def __init__(
        self,
        link: Link,
        make_dialer: MakeDialer,
        rng: Random,
        timer: Timer,
        punctuality: Punctuality,
        checkers: dict[str, CheckerType],
        nursery: trio.Nursery,
        *,
        freeze: bool,
    ) -> None:
        self._link = link
        self._make_dialer = make_dialer
        self._rng = rng
        self._timer = timer
        self._punctuality = punctuality
        self._shedding = Shedding()
        self._checkers = checkers
        self._nursery = nursery
        self._freeze = freeze
        self._epoch = 0
        self._generation = 0
        self._seq = 0
        self._parts: list[wire.Assign] = []
        self._runners: dict[
            str, list[Runner]
        ] = {}  # by what the job is; more than one only if the supervisor repeats itself
        self._waiting: dict[Runner, wire.ReportResult] = {}  # not sent yet, in the order of need
        self._state_wanted = False
        self._beat_wanted = False
        self._something = trio.Event()
        self._desk = Desk(lambda: self._something.set())  # the event of the moment  # noqa: PLW0108
        self._tally = Tally()
        self._in_flight = 0
        self._assigned = False

    async def obey(self) -> None:
        """Do what the supervisor says until it says Stop or is gone."""
        while data := await self._link.receive():
            match wire.decode_from_supervisor(data):
                case wire.Assign() as part:
                    self._take(part)
                case wire.AskState():
                    self._state_wanted = True
                    self._something.set()
                case wire.Grant() as grant:
                    self._desk.granted(grant, self._link.take_descriptor())
                case wire.Stop():
                    return

    # Assignments

    def _take(self, part: wire.Assign) -> None:
        """Collect the parts of an assignment; apply it with the last. Raises WireError when one is missing."""
        if part.part == 0:
            self._parts = []
        before = self._parts
        if part.part != len(before) or (
            before and (before[0].generation, before[0].parts) != (part.generation, part.parts)
        ):
            raise wire.WireError(f"assign: part {part.part} of generation {part.generation} came out of turn")
        before.append(part)
        if len(before) == part.parts:
            self._parts = []
            self._apply(part.epoch, part.generation, [job for some in before for job in some.jobs])

    def _apply(self, epoch: int, generation: int, jobs: list[Job]) -> None:
        self._epoch, self._generation = epoch, generation
        old, self._runners = self._runners, {}
        fresh: list[Runner] = []
        for job in jobs:
            identity = job.identity()
            same = old.get(identity)
            if same:
                runner = same.pop()
                runner.job = job
            else:
                runner = Runner(job, self._desk, self._punctuality.naps)
                runner.due = runner.state.start(trio.current_time(), self._rng)
                fresh.append(runner)
            self._runners.setdefault(identity, []).append(runner)
        for gone in (runner for left in old.values() for runner in left):
            gone.scope.cancel()
            self._waiting.pop(gone, None)
        for runner in fresh:
            self._nursery.start_soon(self._run, runner)
        if not self._assigned:
            self._assigned = True
            self._nursery.start_soon(self._tell)
            self._nursery.start_soon(self._beat)
        self._state_wanted = True
        self._something.set()
        if self._freeze:
            gc.unfreeze()
            gc.collect()
            gc.freeze()

    # Probes

    async def _run(self, runner: Runner) -> None:
        """Probe one job for ever, by its schedule."""
        state, timer, tally = runner.state, self._timer, self._tally
        with runner.scope:
            while True:
                due = runner.due
                runner.due_by = due + OVERDUE_S
                await timer.sleep_until(due)
                began = trio.current_time()
                self._excuse(runner, began)  # a nap before this probe
                tally.schedule_lag.add(began - due)
                runner.probes += 1
                runner.due_by = began + runner.longest_s + OVERDUE_S
                self._in_flight += 1
                try:
                    verdict = await self._probe(runner)
                finally:
                    self._in_flight -= 1
                now = trio.current_time()
                self._excuse(runner, now)  # a nap during it
                turns = runner.turns
                if turns is not None:
                    verdict = turns.weigh(verdict, state.health)
                changed, runner.due, verdict = state.record(verdict, now, began)
                if turns is not None:
                    went_down = changed and state.health is Health.DOWN
                    runner.due = turns.due(verdict, runner.due, now, went_down=went_down)
                runner.due = self._shedding.due(verdict, now, runner.due)
                tally.add(runner.job.type, verdict, now - began)
                used_retry = not verdict.ok and verdict.conclusive and state.health is Health.UP
                if changed or used_retry or (verdict.reason, verdict.expires_at) != runner.last_told:
                    self._report(runner, verdict, now - began)

    def _excuse(self, runner: Runner, now: float) -> None:
        """Excuse the next failure of a job when this process stood still since it was looked at last."""
        naps = self._punctuality.naps_at(now)
        if naps != runner.naps:
            runner.naps = naps
            runner.state.excuse()

    async def _probe(self, runner: Runner) -> Verdict:
        """Probe once. Whatever happens in the checker becomes a verdict."""
        job = runner.job
        dial = self._make_dialer(job.connect_timeout, runner.favours)
        try:
            checker = self._checkers[job.type]
            if runner.prepared is _NOT_PREPARED:
                runner.prepared = prepared = checker.prepare(job.options)
                runner.turns = Turns(prepared) if isinstance(prepared, OneByOne) else None
            turns = runner.turns
            prepared = runner.prepared if turns is None else turns.take()
            return await checker.check(runner.target, prepared, dial)
        except ProbeError as error:
            return Verdict(error.reason, str(error))
        except Exception as error:  # noqa: BLE001  the one broad except: a bug in a checker is this job's trouble alone
            return Verdict(Reason.CRASHED, f"bug in {job.type}: {type(error).__name__}: {error} ({_place(error)})")
        finally:
            dial.close()
            if dial.fault:
                self._tally.add_fault(dial.fault)
                self._shedding.note(dial.fault)

    def _report(self, runner: Runner, verdict: Verdict, duration_s: float) -> None:
        """Have the present level told, with this verdict as its reason. An earlier report that was not sent yet is replaced."""
        if runner.scope.cancel_called:
            return
        runner.last_told = verdict.reason, verdict.expires_at
        texts = clip(verdict.detail), clip(verdict.sent), clip(verdict.received)
        self._waiting[runner] = wire.ReportResult(
            runner.probes, verdict.reason, max(duration_s, 0.0), *texts, max(verdict.expires_at, 0.0)
        )
        self._something.set()

    # Telling

    async def _beat(self) -> None:
        """Want a beat every second, and the full state every 30."""
        now = trio.current_time()
        beat_due, state_due = now + BEAT_EVERY_S, now + STATE_EVERY_S
        while True:
            await self._timer.sleep_until(beat_due)
            now = trio.current_time()
            beat_due = now + BEAT_EVERY_S
            self._shedding.beat()
            self._beat_wanted = True
            if now >= state_due:
                state_due = now + STATE_EVERY_S
                self._state_wanted = True
            self._something.set()

    async def _tell(self) -> None:
        """Send what is wanted, as fast as the link takes it. The only sender after Hello, so it numbers the frames."""
        while True:
            await self._something.wait()
            self._something = trio.Event()
            while self._beat_wanted or self._state_wanted or self._waiting or self._desk.unsent:
                if self._beat_wanted:
                    self._beat_wanted = False
                    await self._send_beat()
                if self._desk.unsent:
                    await self._send_ask(*self._desk.unsent.popleft())
                if self._waiting:  # before a state, which says the same levels without their reasons
                    runner = next(iter(self._waiting))
                    await self._send_report(runner, self._waiting.pop(runner))
                elif self._state_wanted:
                    self._state_wanted = False
                    await self._send_state()

    async def _send_report(self, runner: Runner, result: wire.ReportResult) -> None:
        self._seq += 1
        now = runner.entry()
        level = now.job, now.health, now.edges, now.failures
        report = wire.Report(self._epoch, self._generation, self._seq, *level, result, now.weight)
        await self._link.send(wire.encode(report))

    async def _send_ask(self, number: int, job: int, favour: wire.Favour) -> None:
        self._seq += 1
        await self._link.send(wire.encode(wire.Ask(self._epoch, self._generation, self._seq, number, job, favour)))

    async def _send_state(self) -> None:
        entries = [runner.entry() for same in self._runners.values() for runner in same]
        for frame in wire.state_frames(self._epoch, self._generation, self._seq + 1, entries):
            if frame.generation != self._generation:
                return  # a new assignment came meanwhile, and wants its own full state
            self._seq = frame.seq
            await self._link.send(wire.encode(frame))

    async def _send_beat(self) -> None:
        self._seq += 1
        now = trio.current_time()
        overdue = sum(runner.due_by < now for same in self._runners.values() for runner in same)
        beat = wire.Beat(
            self._epoch,
            self._generation,
            self._seq,
            max(self._timer.take_lag(), 0.0),
            self._in_flight,
            overdue,
            self._tally.counts(),
            self._tally.durations(),
            self._tally.schedule_lag.histogram(),
            self._punctuality.waited_s(),
            self._punctuality.naps,
            self._shedding.factor,
            self._tally.faults(),
        )
        await self._link.send(wire.encode(beat))


def _longest(job: Job) -> float:
    """Return how long a probe of `job` may take, in seconds: each of its connections has its own limit."""
    several = not job.options.get("urls_one_by_one") and job.options.get("url")
    return job.connect_timeout * (len(several) if isinstance(several, list) else 1)


def _place(error: BaseException) -> str:
    """Return "file.py:12", where an exception was raised. (The traceback module would read source files.)"""
    trace = error.__traceback__
    if trace is None:
        return "nowhere"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"  # noqa: PTH119  no pathlib for a name
