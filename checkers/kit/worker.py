"""The checker worker: one nursery, one isolated task for each job, and what it tells the supervisor.

    async def main(link: Link, make_dialer: MakeDialer, rng: Random, *, timer: Timer | None = None,
                   confine: Callable[[], str] | None = None, freeze: bool = False) -> None

runs until the link ends, the supervisor says Stop, or it is cancelled. It is the same code under `python -m checkers` and as a
task of a story: everything real (sockets, privileges) comes in as an argument. The protocol, in order: preload the checker
types, `confine()`, say Hello, then obey Assign, AskState, Grant, Probe, Idle and Stop.

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
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import trio

from checkers.kit import wire
from checkers.kit.api import TYPES, CheckerType, Health, MakeDialer, Verdict, glance_of, load
from checkers.kit.beside import Seen, look
from checkers.kit.excerpt import clip
from checkers.kit.favours import Desk
from checkers.kit.job import Job
from checkers.kit.link import Link, LinkError
from checkers.kit.pacing import Pacing
from checkers.kit.probing import result_of, verdict_of
from checkers.kit.punctuality import Punctuality
from checkers.kit.runner import NOT_PREPARED, Probing, Runner
from checkers.kit.schedule import Random
from checkers.kit.sentinels import Sentinels
from checkers.kit.shedding import Shedding
from checkers.kit.sockets import SHORTAGES
from checkers.kit.spread import NOWHERE, Spread
from checkers.kit.tally import Tally
from checkers.kit.timer import Timer
from checkers.kit.turns import OneByOne, Turns
from checkers.kit.urgency import Returns
from checkers.kit.watch import MakeWatch, Watch

STATE_EVERY_S = 30.0
"""How often the full state is said (reliability.md, section 6)."""

BEAT_EVERY_S = 1.0
"""How often a sign of life is given (reliability.md, section 6)."""

OVERDUE_S = 1.0
"""So late a job counts as overdue."""

BEGUN_MAX = 100
"""Tasks that are begun at one stroke: a few milliseconds."""

TASK = "checkers.kit.worker.Worker._run"
"""What the task of a job is called: one text for all, of which trio would make one for each."""

GARBAGE_OBJECTS = 20_000
"""New objects between two collections of garbage. Ours: the interpreter's 700 is 30 collections a second at 1,000 checks a second, 8 % of
all work, and a probe leaves no cycles; so many objects take some milliseconds."""


async def main(
    link: Link,
    make_dialer: MakeDialer,
    rng: Random,
    *,
    timer: Timer | None = None,
    punctuality: Punctuality | None = None,
    make_watch: MakeWatch | None = None,
    max_files: int = 0,
    confine: Callable[[], str] | None = None,
    freeze: bool = False,
) -> None:
    """Be a worker until the link ends; see the module's docstring. Closes the link.

    `timer` is one that somebody runs already (the dialer's); without it the worker runs its own. `punctuality` is one that somebody
    keeps looking (the dialer's, too); without it this process is taken for one that never stands still. `make_watch` makes what
    sentinels are held by; without it there are none. `max_files` is how many descriptors there may be (0: no end). `confine` gives up
    privileges and returns what was reached, for Hello. `freeze` hides everything that an assignment made from the garbage
    collector (performance.md, point 7). Raises WireError when the supervisor says nonsense, LinkError never.
    """
    if freeze:
        gc.set_threshold(GARBAGE_OBJECTS, *gc.get_threshold()[1:])
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
            if make_watch is not None:
                worker.watch(make_watch(timer), max_files)
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
        self._sentinels: Sentinels | None = None
        self._watched: dict[Runner, None] = {}  # whose sentinel is to be told of
        self._shedding = Shedding()
        self._returns = Returns()
        self._spread = Spread()
        self._pacing = Pacing(0)
        # trio.current_time, which each probe asks, looks the clock up anew, three calls deep
        self._clock = trio.lowlevel.current_clock()
        self._checkers = checkers
        self._nursery = nursery
        self._freeze = freeze
        self._epoch = 0
        self._generation = 0
        self._seq = 0
        self._parts: list[wire.Assign] = []
        self._runners: dict[str, Runner] = {}  # by what the job is
        self._numbers: dict[int, Runner] = {}  # by the job's
        self._once_more: set[Runner] = set()  # what they look at became another while they looked
        self._waiting: dict[Runner, wire.ReportResult] = {}  # not sent yet, in the order of need
        self._looked: deque[tuple[wire.Probe, Seen]] = deque()  # as many as the supervisor asked for
        self._state_wanted = False
        self._beat_wanted = False
        self._something = trio.Event()
        self._desk = Desk(lambda: self._something.set())  # the event of the moment  # noqa: PLW0108
        self._probing = Probing(self._begin, self._glance, self._glanced, self._desk)
        self._tally = Tally()
        self._in_flight = 0
        self._assigned = False

    def watch(self, watch: Watch, max_files: int) -> None:
        """Have sentinels, held by `watch`, within `max_files` descriptors."""
        self._sentinels = Sentinels(watch, self._timer, self._rng, max_files, self._sentinel_changed, self._punctuality)
        self._nursery.start_soon(self._sentinels.run)

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
                case wire.Probe() as asked:
                    self._probe_beside(asked)
                case wire.Idle() as word:
                    self._take_idle(word)
                case wire.Look() as word:
                    self._look_again(word.jobs)
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
            self._apply(part.epoch, part.generation, [job for some in before for job in some.jobs], part.rate_max)

    def _apply(self, epoch: int, generation: int, jobs: list[Job], rate_max: int) -> None:
        self._epoch, self._generation = epoch, generation
        old, self._runners = self._runners, {}
        fresh: list[Runner] = []
        self._spread, self._pacing = Spread(), Pacing(rate_max, jobs, self._pacing)
        now = trio.current_time()
        for job in jobs:
            identity = job.identity()
            while identity in self._runners:
                identity += " again"  # only if the supervisor repeats itself
            same = old.pop(identity, None)
            if same is not None:
                runner = same
                runner.stay(job)
            else:
                naps = self._punctuality.naps
                runner = Runner(job, self._make_dialer, self._probing, naps, self._timer)
                runner.due = runner.state.start(now, self._rng)
                runner.due_by = runner.due + OVERDUE_S
                fresh.append(runner)
            if same is None or runner.booking is not NOWHERE:
                runner.booking = self._spread.book(now, runner.due - now, self._rng, movable=False)
            runner.paced = self._pacing.limits(runner.target)
            self._runners[identity] = runner
        self._numbers = {runner.job.id: runner for runner in self._runners.values()}
        for gone in old.values():
            gone.leave()
            gone.booking = NOWHERE
            self._waiting.pop(gone, None)
            self._once_more.discard(gone)
        self._watched = {}
        if self._sentinels is not None:
            self._sentinels.assign([*self._runners.values()])
        if fresh:
            self._nursery.start_soon(self._begin_all, fresh)
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

    async def _begin_all(self, fresh: list[Runner]) -> None:
        """Begin the tasks of new jobs, some at a time: thousands at once would hold up everybody else, and what the supervisor hears."""
        for count, runner in enumerate(fresh, 1):
            self._nursery.start_soon(self._run, runner, name=TASK)
            if count % BEGUN_MAX == 0:
                await trio.lowlevel.checkpoint()

    # Probes

    async def _run(self, runner: Runner) -> None:
        """Probe one job by its schedule, until nobody wants it. What is in this frame and awaited in its sleep takes memory."""
        try:
            while not runner.gone:
                await runner.rest()
                await self._probe(runner)
        finally:
            self._in_flight -= runner.looking
            runner.end()
            runner.dial.close()

    async def _probe(self, runner: Runner) -> None:
        """Make the probe that is due in the task of its job, or go on with what a glance began."""
        if runner.gone:
            return
        with runner.awake():
            began = await self._turn_of(runner)
            try:
                verdict = await verdict_of(runner.job.type, runner.probe)
            finally:
                self._finish(runner)
            self._judge(runner, verdict, began)
            runner.due_by = runner.due + OVERDUE_S

    async def _turn_of(self, runner: Runner) -> float:
        """Wait until the server may be asked again; return when the probe began. A glance may have begun it."""
        urgent = runner.heed()
        if runner.looking:
            return runner.began
        self._spread.leave(runner.booking)
        runner.booking = NOWHERE
        due = runner.due
        if not urgent:
            now, target = trio.current_time(), runner.target
            turn = self._pacing.turn(target.address, target.port, now)
            if turn > now:
                due = turn
                runner.due_by = turn + OVERDUE_S
                await self._timer.sleep_until(turn)
        return self._start(runner, due, trio.current_time())

    def _start(self, runner: Runner, due: float, now: float) -> float:
        """A probe that was due at `due` begins."""
        self._tally.schedule_lag.add(now - due)
        runner.due_by = now + runner.longest_s + OVERDUE_S
        runner.began = now
        runner.looking = True
        self._in_flight += 1
        return now

    def _glance(self, runner: Runner, now: float) -> bool:
        """Begin the probe of a sleeping job without waking it, if nothing speaks against that; whether it began."""
        if runner.usual is None:
            return False
        if runner.paced and not self._pacing.has_turn(runner.target.address, runner.target.port, now):
            return False
        if not runner.dial.glance(now):
            return False
        self._start(runner, runner.due, now)
        return True

    def _glanced(self, runner: Runner, verdict: Verdict | None, now: float) -> None:
        """A glance told at `now` that all is as it was, or that the job is to look properly (None)."""
        if runner.gone:
            return
        if verdict is None:
            runner.wake()
            return
        runner.looking = False
        self._in_flight -= 1
        sentinel = runner.sentinel
        if verdict is runner.usual and (sentinel is None or sentinel.at_rest):
            # it says nothing new: what `_judge` does beside this would change nothing, and take as long again
            runner.probes += 1
            if self._punctuality.naps != runner.naps:
                self._excuse(runner, now)
            pause = runner.state.go_on()
            if self._shedding.factor > 1:
                pause = self._shedding.due(verdict, now, now + pause) - now
            runner.booking = self._spread.book(now, pause, self._rng, movable=True, instead_of=runner.booking)
            runner.count_usual(now - runner.began)
        else:
            self._judge(runner, verdict, runner.began)
        due = runner.booking[0]
        runner.due_by = due + OVERDUE_S
        if runner.hint:
            runner.due = due
            runner.wake()
        else:
            self._timer.set(runner, due)

    def _judge(self, runner: Runner, verdict: Verdict, began: float) -> None:
        """Draw the conclusions from the verdict of a probe that began at `began`: when is the next one, and what is to be told?"""
        state, now = runner.state, trio.current_time()
        runner.probes += 1
        self._excuse(runner, now)
        if runner.sentinel is not None and self._sentinels is not None:
            verdict = self._sentinels.weigh(runner, verdict, began)
        turns = runner.turns
        if turns is not None:
            verdict = turns.weigh(verdict, state.health)
        changed, runner.due, verdict = state.record(verdict, now, began)
        runner.usual = None
        if runner.glances and verdict.ok and state.well:
            runner.usual, runner.count_usual = verdict, self._tally.usual(runner.job.type, verdict.reason)
        if turns is not None:
            went_down = changed and state.health is Health.DOWN
            runner.due = turns.due(verdict, runner.due, now, went_down=went_down)
        due = self._shedding.due(verdict, now, runner.due)
        due = runner.urgency.due(verdict, state.health, due, now, self._returns)
        if runner in self._once_more:
            self._once_more.discard(runner)
            due = now
        runner.booking = self._spread.book(now, due - now, self._rng, movable=state.steady, instead_of=runner.booking)
        runner.due = runner.booking[0]
        if runner.sentinel is not None and self._sentinels is not None:
            self._sentinels.judged(runner, verdict)
        self._tally.add(runner.job.type, verdict, now - began)
        used_retry = not verdict.ok and verdict.conclusive and state.health is Health.UP
        if changed or used_retry or not runner.was_told(verdict):
            self._report(runner, verdict, now - began)

    def _take_idle(self, word: wire.Idle) -> None:
        """Some servers have no users any more, or have them again: those are looked at within a delay_loop, spread over it."""
        now = trio.current_time()
        for number in word.jobs:
            runner = self._numbers.get(number)
            if runner is None or runner.state.idle is word.idle:
                continue
            runner.state.idle = word.idle
            if not word.idle:
                self._hasten(runner, now, now + self._rng.uniform(0.0, runner.job.delay_loop))

    def _look_again(self, jobs: Iterable[int]) -> None:
        """What these jobs look at is another now: have them look at once, and those that look just now once more."""
        now = trio.current_time()
        for number in jobs:
            runner = self._numbers.get(number)
            if runner is None:
                continue
            if runner.booking is NOWHERE:
                self._once_more.add(runner)
            else:
                self._hasten(runner, now, now)
                runner.hurry()

    def _hasten(self, runner: Runner, now: float, due: float) -> None:
        """Have a job probed at `due` if that is earlier than it would be anyway."""
        if runner.booking is NOWHERE or due >= runner.due:
            return
        self._spread.leave(runner.booking)
        runner.booking = self._spread.book(now, due - now, self._rng, movable=False)
        runner.shorten(due)
        runner.due = due
        runner.due_by = due + OVERDUE_S

    def _excuse(self, runner: Runner, now: float) -> None:
        """Excuse a failure of a job when this process stood still since it was looked at last: before this probe, or during it."""
        naps = self._punctuality.naps_at(now)
        if naps != runner.naps:
            runner.naps = naps
            runner.state.excuse()

    def _begin(self, runner: Runner) -> Coroutine[Any, Any, Verdict]:
        """Have the checker look."""
        checker, prepared = self._prepared(runner)
        turns = runner.turns
        return checker.check(runner.target, prepared if turns is None else turns.take(), runner.dial)

    def _finish(self, runner: Runner) -> None:
        """A probe is over."""
        self._in_flight -= runner.looking
        runner.looking = False
        fault = runner.dial.fault
        runner.dial.rest()
        if fault:
            self._tally.add_fault(fault)
            if self._sentinels is not None and fault in SHORTAGES:
                self._sentinels.relinquish()
            self._shedding.note(fault)

    def _prepared(self, runner: Runner) -> tuple[CheckerType, object]:
        """Return the checker of a job and what it made of the job's options."""
        checker = self._checkers[runner.job.type]
        if runner.prepared is NOT_PREPARED:
            runner.prepared = prepared = checker.prepare(runner.job.options)
            runner.turns = Turns(prepared) if isinstance(prepared, OneByOne) else None
            glance = glance_of(checker, runner.target, prepared) if runner.turns is None else None
            if glance is not None:
                runner.look_out(glance)
        return checker, runner.prepared

    # Probes on request

    def _probe_beside(self, asked: wire.Probe) -> None:
        """Probe a job once more, beside its schedule."""
        runner = self._numbers.get(asked.job)
        if runner is None:
            self._seen(asked, Seen(None))
        else:
            self._nursery.start_soon(self._look, asked, runner)

    async def _look(self, asked: wire.Probe, runner: Runner) -> None:
        dial = self._make_dialer(runner.job.connect_timeout, runner)
        self._seen(asked, await look(runner.job, lambda: self._prepared(runner), dial))

    def _seen(self, asked: wire.Probe, seen: Seen) -> None:
        self._looked.append((asked, seen))
        self._something.set()

    def _report(self, runner: Runner, verdict: Verdict, duration_s: float) -> None:
        """Have the present level told, with this verdict as its reason. An earlier report that was not sent yet is replaced."""
        if runner.gone:
            return
        runner.tell(verdict)
        self._waiting[runner] = result_of(verdict, runner.probes, duration_s)
        self._something.set()

    def _sentinel_changed(self, runner: Runner) -> None:
        """Have it told that a sentinel was given up, or is fine again."""
        self._watched[runner] = None
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
            self._tally.settle()
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
            while (
                self._beat_wanted
                or self._state_wanted
                or self._waiting
                or self._desk.unsent
                or self._looked
                or self._watched
            ):
                if self._beat_wanted:
                    self._beat_wanted = False
                    await self._send_beat()
                if self._desk.unsent:
                    await self._send_ask(*self._desk.unsent.popleft())
                if self._looked:
                    await self._send_probed(*self._looked.popleft())
                if self._watched:
                    await self._send_sentinel(self._watched.popitem()[0])
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

    async def _send_ask(self, number: int, job: Callable[[], int], favour: wire.Favour) -> None:
        if job() not in self._numbers:
            return  # it left with the assignment that came a moment ago, and whoever asks is being cancelled
        self._seq += 1
        await self._link.send(wire.encode(wire.Ask(self._epoch, self._generation, self._seq, number, job(), favour)))

    async def _send_probed(self, asked: wire.Probe, seen: Seen) -> None:
        self._seq += 1
        levels = self._epoch, self._generation, self._seq, asked.number, asked.job
        await self._link.send(wire.encode(wire.Probed(*levels, seen.result, seen.weight, seen.steps)))

    async def _send_sentinel(self, runner: Runner) -> None:
        sentinel = runner.sentinel
        if sentinel is None:
            return
        self._seq += 1
        levels = self._epoch, self._generation, self._seq, runner.job.id, sentinel.state, sentinel.age_s
        await self._link.send(wire.encode(wire.SentinelTold(*levels)))

    async def _send_state(self) -> None:
        entries = [runner.entry() for runner in self._runners.values()]
        for frame in wire.state_frames(self._epoch, self._generation, self._seq + 1, entries):
            if frame.generation != self._generation:
                return  # a new assignment came meanwhile, and wants its own full state
            self._seq = frame.seq
            await self._link.send(wire.encode(frame))

    async def _send_beat(self) -> None:
        self._seq += 1
        now = trio.current_time()
        overdue = sum(runner.due_by < now for runner in self._runners.values())
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
            *(self._sentinels.counts() if self._sentinels is not None else ()),
        )
        await self._link.send(wire.encode(beat))
