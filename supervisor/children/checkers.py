"""The conversation with the checker workers: jobs go out, verdicts come in and become events.

Everything a worker says is checked: its frames must be well-formed (`checkers.kit.wire`), of this incarnation (epoch), without a gap
(seq), about jobs that it was given, and not many times more than these explain (`children.allowance`). A worker can at worst lie about
its own jobs; anything else ends it. Verdicts of an older
configuration are passed over: the full state that follows each assignment says them again. A worker that is silent, or unfit
(`core.fitness`), is killed; until its successor has spoken its verdicts are frozen, because absence of evidence is no evidence.
Who checks what is decided for all workers together (`children.pool`), and of a job only its owner is believed.
What it may not do itself it asks of us, for its own jobs and one favour a job at a time (`children.favours`).
"""

from __future__ import annotations

import socket
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Iterable, KeysView
from typing import Protocol, assert_never

import trio

from checkers.kit import wire
from checkers.kit.api import TYPES, Favour, Reason
from checkers.kit.link import Link, LinkError
from checkers.kit.sockets import is_fault
from supervisor.children.allowance import Allowance, gap_s
from supervisor.children.assignment import Jobs, assemble
from supervisor.children.favours import DoFavour, Granted, refused
from supervisor.children.keeper import Keeper, ProtocolBroken
from supervisor.children.patience import SILENCE_MAX_S, HelloPatience, Vitals, first_word, patiently
from supervisor.children.requests import Requests
from supervisor.children.spawn import Child, complain_of_cage
from supervisor.children.totals import Totals
from supervisor.children.translation import event_of, level_of, sentinel_event_of
from supervisor.core.events import Event, LevelsRepeated, WorkerSilent, WorkerSpeaking
from supervisor.core.fitness import Finding, Fitness, Kind, Symptoms
from supervisor.core.snapshot import WorkerView
from supervisor.log import Log

SOCKETS_MAX = 64
"""Sockets that are opened for one worker and not yet on their way to it. One that never reads cannot have us hold more."""

LEVELS_MAX = 256
"""So many entries of a full state become one event: a millisecond of the decision loop."""

StartChecker = Callable[[int, int], Awaitable[tuple[Child, Link]]]
"""Starts worker INDEX in incarnation EPOCH."""


class Station(Jobs, Protocol):
    """What a worker asks of those who know all workers."""

    def owned(self, index: int, jobs: Iterable[int]) -> tuple[int, ...]:
        """Return those of the jobs that are this worker's and nobody else's now: only their owner is believed."""

    def idle(self) -> Collection[int]:
        """Return the jobs whose servers nobody uses now, whoever has them."""

    def spoke(self, index: int) -> None:
        """It said a full state of what it was given last."""

    def ended(self, index: int, jobs: Collection[int], *, blame: bool) -> None:
        """It ended, and had these jobs. `blame`: it died with them, and not because it was to be replaced."""


class CheckerWorker:
    """One worker: its conversation and what is known of it."""

    def __init__(
        self,
        name: str,
        index: int,
        start: StartChecker,
        station: Station,
        inbox: trio.MemorySendChannel[Event],
        log: Log,
        favour: DoFavour,
        vitals: Vitals,
    ) -> None:
        """`favour` does one for a job."""
        self.index = index
        self.totals = Totals()
        self.caged = ""
        self._heard_at: float | None = None
        self._patience = HelloPatience()
        self._station = station
        self._favour = favour
        self._vitals = vitals
        self._memory_bytes = 0
        self._fitness = Fitness()
        self._given = False  # this incarnation has its jobs
        self._unfit = False  # this incarnation is to be replaced, and not to blame
        self._owned = _jobs(())
        self._rate_max = 0
        self._asking: Counter[int] = Counter()  # jobs with favours under way
        self._requests = Requests()
        self._granted: deque[tuple[int, wire.Grant, socket.SocketType | None]] = deque()  # at most one for each job
        self._places = trio.Semaphore(SOCKETS_MAX)
        self._scripts_at: dict[int, float] = {}  # when a job may have its script run again
        self._allowance = Allowance((), 0.0)
        self._generation = 0
        self._assign = True
        self._told_idle: frozenset[int] = frozenset()  # what this incarnation was told last
        self._traffic_changed = False
        self._look: dict[int, None] = {}  # jobs that are to look at once, and do not know yet
        self._something = trio.Event()  # to be sent
        self.greeted = trio.Event()
        """Set by the first greeting of all."""
        self._inbox = inbox
        self._log = log
        self.keeper: Keeper[Link] = Keeper(name, lambda epoch: start(index, epoch), self._converse, log, self._ended)

    def reassign(self) -> None:
        """The jobs changed: tell the worker as soon as it listens. Returns at once."""
        self._assign = True
        self._something.set()

    def traffic_changed(self) -> None:
        """Others are idle than before: tell the worker as soon as it listens. Returns at once."""
        self._traffic_changed = True
        self._something.set()

    def look(self, jobs: Iterable[int]) -> None:
        """What these of its jobs look at has changed: have them look as soon as the worker listens. Returns at once."""
        self._look.update(dict.fromkeys(jobs))
        self._something.set()

    def view(self, now: float) -> WorkerView:
        """Return what observers may know of this worker."""
        beat, totals = self.totals.beat, self.totals
        return WorkerView(
            name=self.keeper.name,
            pid=self.keeper.pid,
            restarts=self.keeper.restarts,
            age_s=None if self._heard_at is None else now - self._heard_at,
            loop_lag_s=beat.loop_lag_s if beat else 0.0,
            in_flight=beat.in_flight if beat else 0,
            overdue=beat.overdue if beat else 0,
            caged=self.caged,
            checks=len(self._owned) if self._given else 0,
            run_delay_s=totals.run_delay_s(),
            naps=totals.naps(),
            inconclusive=totals.inconclusive(),
            faults=totals.faults(),
            stretch=beat.stretch if beat else 1,
            memory_bytes=self._memory_bytes,
            sentinels=beat.sentinels_held if beat else 0,
            sentinels_ended=totals.sentinels_ended(),
            sentinels_given_up=beat.sentinels_given_up if beat else 0,
            sentinels_unaffordable=beat.sentinels_unaffordable if beat else 0,
        )

    async def probe(self, job: int) -> wire.Probed | None:
        """Have one of its jobs probed now and return what was seen; None when the worker or the job went away meanwhile.

        Raises TooMany.
        """
        if job not in self._owned or not self._given:
            return None
        request = self._requests.add(job)
        self._something.set()
        await request.over.wait()
        return request.answer

    async def _converse(self, link: Link, epoch: int) -> None:
        """Speak with one incarnation until it is gone. Raises ProtocolBroken."""
        await self._greet(link)
        broken: ProtocolBroken | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send, link, epoch)
            try:
                await self._listen(link, epoch, nursery)
            except ProtocolBroken as error:  # carried out of the nursery as itself, not in a group
                broken = error
            nursery.cancel_scope.cancel()
        if broken is not None:
            raise broken

    async def _ended(self) -> None:
        """The incarnation is over: keep its counts, freeze its verdicts."""
        silent = self._station.owned(self.index, self._owned)
        self._station.ended(self.index, self._owned, blame=self._given and not self._unfit)
        self.dismiss()
        await self._inbox.send(WorkerSilent(silent))

    def dismiss(self) -> None:
        """There is no process any more, or there shall be none: forget what was between it and us."""
        self.totals.close()
        self.caged = ""
        self._memory_bytes = 0
        self._assign = True
        self._given = self._unfit = False
        self._tell(self._fitness.ended())
        self._asking.clear()
        self._requests.clear()
        self._look.clear()  # the successor looks at once by itself
        while self._granted:
            _close(self._granted.popleft()[2])
        self._places = trio.Semaphore(SOCKETS_MAX)

    async def _greet(self, link: Link) -> None:
        hello = self._read(await first_word(lambda: _received(link), self._patience))
        if not isinstance(hello, wire.Hello):
            raise ProtocolBroken(f"expected a hello, got {type(hello).__name__ if hello else 'the end'}")
        self.caged = hello.caged
        self.greeted.set()
        self._log.emit(
            "worker.started",
            f"{self.keeper.name} runs with {hello.caged}",
            worker=self.keeper.name,
            worker_pid=self.keeper.pid,
            caged=hello.caged,
        )
        complain_of_cage(self.keeper.name, hello.caged, self._log)

    async def _send(self, link: Link, epoch: int) -> None:
        """Send the jobs now and whenever they change, and what was granted. The only sender."""
        try:
            while True:
                self._something = trio.Event()
                if self._assign:
                    self._assign = False
                    for frame in await self._assignment(epoch):
                        await link.send(frame)
                    self._traffic_changed = True
                if self._traffic_changed:
                    self._traffic_changed = False
                    for word in self._idle_words():
                        await link.send(wire.encode(word))
                look, self._look = [*self._look], {}
                for order in wire.look_frames([job for job in look if job in self._owned]):
                    await link.send(wire.encode(order))
                for number, asked in self._requests.unsent():
                    await link.send(wire.encode(wire.Probe(number, asked)))
                while self._granted:
                    job, answer, sock = self._granted.popleft()
                    self._done(job)  # before it is sent: the answer to it may be the next question
                    try:
                        await link.send(wire.encode(answer), None if sock is None else sock.fileno())
                    finally:
                        if sock is not None:
                            sock.close()
                            self._places.release()
                await self._something.wait()
        except LinkError:
            return  # it is gone; `_listen` sees that too

    async def _assignment(self, epoch: int) -> Iterable[bytes]:
        """Return the frames of what the worker shall check from now on; when it checks just that already, of the question how it stands.

        A job keeps its number for as long as it is the same check (`core.jobs`), so the same numbers are the same jobs.
        """
        station = self._station
        if self._given and self._rate_max == station.rate_max() and self._owned == set(station.numbers(self.index)):
            return (wire.encode(wire.AskState()),)
        assignment = await assemble(station, self.index, epoch, self._generation + 1, self._complain_of)
        self._generation += 1
        self._told_idle = frozenset()
        self._owned = _jobs(assignment.jobs)
        self._rate_max = assignment.rate_max
        self._scripts_at = {job: at for job, at in self._scripts_at.items() if job in self._owned}
        self._allowance = Allowance(assignment.gaps_s, trio.current_time())
        self._given = True
        return assignment.frames

    def _idle_words(self) -> list[wire.Idle]:
        """Return what the worker has to be told of its servers' traffic: the differences to what it was told last."""
        before, self._told_idle = self._told_idle, frozenset(self._owned & self._station.idle())
        return [
            *wire.idle_frames(sorted(before - self._told_idle), idle=False),
            *wire.idle_frames(sorted(self._told_idle - before), idle=True),
        ]

    def _complain_of(self, job: wire.Job, why: str) -> None:
        """Say that a job stays unchecked, and the program not ready."""
        self._log.emit(
            "worker.protocol_error",
            f"{job.type} of {job.address} port {job.port} cannot be checked: {why}",
            worker=self.keeper.name,
            reason=why,
        )

    def _waited_s(self) -> float | None:
        return self._vitals.waited_s(self.keeper.pid)

    async def _listen(self, link: Link, epoch: int, nursery: trio.Nursery) -> None:
        seq = 0
        while True:
            frame = self._read(await patiently(lambda: _received(link), SILENCE_MAX_S, self._waited_s))
            if frame is None:
                return
            if isinstance(frame, wire.Hello):
                raise ProtocolBroken("a second hello")
            cost = len(frame.entries) + 1 if isinstance(frame, wire.State) else 1
            if not self._allowance.take(cost, trio.current_time()):
                raise ProtocolBroken(f"said more than {self._allowance.per_s:.0f} frames a second")
            seq += 1
            if frame.epoch != epoch or frame.seq != seq:
                raise ProtocolBroken(f"expected epoch {epoch} and seq {seq}, got {frame.epoch} and {frame.seq}")
            if frame.generation > self._generation:
                raise ProtocolBroken(f"generation {frame.generation} was never assigned")
            if isinstance(frame, wire.Ask):
                self._ask(frame, nursery)
            elif isinstance(frame, wire.Probed):
                self._requests.answered(frame)
            else:
                await self._take(frame)

    def _ask(self, asked: wire.Ask, nursery: trio.Nursery) -> None:
        """Do a favour beside everything else. Raises ProtocolBroken."""
        if self._asking[asked.job] > self._requests.beside(asked.job):
            raise ProtocolBroken(f"asked a second favour for job {asked.job} before the first was done")
        job = self._station.job(asked.job) if asked.job in self._owned else None
        if asked.job not in self._owned and asked.generation == self._generation:
            raise ProtocolBroken(f"asked a favour for job {asked.job}, which it does not have")
        self._asking[asked.job] += 1
        nursery.start_soon(self._grant, asked, job)

    def _done(self, job: int) -> None:
        """A favour for a job is over; of a job that has none under way, which may be none of ours any more, nothing is kept."""
        self._asking[job] -= 1
        if self._asking[job] <= 0:
            del self._asking[job]

    async def _grant(self, asked: wire.Ask, job: wire.Job | None) -> None:
        done = await self._do(job, asked.favour) if job else refused("a new configuration has no such job")
        answer = done.answer
        grant = wire.Grant(asked.number, answer.ending, answer.status, answer.text)
        self._granted.append((asked.job, grant, done.socket))
        self._something.set()

    async def _do(self, job: wire.Job, favour: Favour) -> Granted:
        """Do a favour, a script no oftener than its schedule or a request wants it, a socket when there is a place for it."""
        if favour is Favour.SCRIPT:
            if self._requests.takes_script(job.id):
                return await self._favour(job, favour)
            await trio.sleep_until(self._scripts_at.get(job.id, 0.0))
            self._scripts_at[job.id] = trio.current_time() + gap_s(job) / 2
            return await self._favour(job, favour)
        if favour is Favour.FILE:
            return await self._favour(job, favour)
        places = self._places
        await places.acquire()
        done: Granted | None = None
        try:
            done = await self._favour(job, favour)
        finally:
            if done is None or done.socket is None:
                places.release()
        return done

    def _read(self, data: bytes) -> wire.FromWorker | None:
        """Return a frame, None at the end. Raises ProtocolBroken for garbage."""
        if not data:
            return None
        self._heard_at = trio.current_time()
        try:
            return wire.decode_from_worker(data)
        except wire.WireError as error:
            raise ProtocolBroken(f"malformed frame: {error}") from error

    async def _take(self, frame: wire.Report | wire.State | wire.Beat | wire.SentinelTold) -> None:
        """Turn one valid frame into events."""
        match frame:
            case wire.Beat():
                self._take_beat(frame)
            case wire.Report() if frame.generation == self._generation:
                if self._believed((frame.job,)):
                    self._note_crash(frame)
                    await self._inbox.send(event_of(frame))
            case wire.State() if frame.generation == self._generation:
                believed = set(self._believed(entry.job for entry in frame.entries))
                entries = [entry for entry in frame.entries if entry.job in believed]
                for start in range(0, len(entries), LEVELS_MAX):
                    levels = tuple(level_of(entry) for entry in entries[start : start + LEVELS_MAX])
                    await self._inbox.send(LevelsRepeated(levels))
                if frame.last:
                    await self._inbox.send(WorkerSpeaking(self._station.owned(self.index, self._owned)))
                    self._station.spoke(self.index)
            case wire.SentinelTold() if frame.generation == self._generation:
                if self._believed((frame.job,)):
                    await self._inbox.send(sentinel_event_of(frame))
            case wire.Report() | wire.State() | wire.SentinelTold():
                pass  # of an older configuration: the state that follows the assignment says it again
            case _:
                assert_never(frame)

    def _believed(self, jobs: Iterable[int]) -> tuple[int, ...]:
        """Return those of the jobs that are this worker's still; another worker may have got one. Raises ProtocolBroken."""
        spoken = tuple(jobs)
        for job in spoken:
            if job not in self._owned:
                raise ProtocolBroken(f"spoke of job {job}, which it does not have")
        return self._station.owned(self.index, spoken)

    def _take_beat(self, beat: wire.Beat) -> None:
        """Raises ProtocolBroken: also for a worker that had better be replaced."""
        odd = [kind for kind, *_ in (*beat.counts, *beat.durations) if kind not in TYPES]
        odd += [fault for fault, _ in beat.faults if not is_fault(fault)]
        if odd:
            raise ProtocolBroken(f"counted {odd[0]!r}, which there is not")
        self._note_sentinels(beat)
        self.totals.beat = beat
        self._memory_bytes = self._vitals.memory_bytes(self.keeper.pid) if self.keeper.pid else 0
        symptoms = Symptoms(beat.loop_lag_s, beat.run_delay_s, dict(beat.faults), self._memory_bytes, len(self._owned))
        self._tell(self._fitness.beat(trio.current_time(), symptoms))

    def _note_sentinels(self, beat: wire.Beat) -> None:
        """Log once that sentinels lack descriptors, and once that they do no longer."""
        before = self.totals.beat
        short = beat.sentinels_unaffordable > 0
        if short is (before is not None and before.sentinels_unaffordable > 0):
            return
        what = f"{beat.sentinels_unaffordable} idle connections lack a descriptor, {beat.sentinels_held} are held"
        if not short:
            what = "idle connections lack descriptors no longer"
        self._log.emit(
            "worker.sentinels_short",
            f"{self.keeper.name}: {what}",
            worker=self.keeper.name,
            reason=what,
            sentinels=beat.sentinels_held,
            over=not short,
        )

    def _tell(self, findings: Iterable[Finding]) -> None:
        """Log what is wrong with the worker itself, or is right again. Raises ProtocolBroken for one that is unfit."""
        for finding in findings:
            match finding.kind:
                case Kind.UNFIT:
                    self._unfit = True
                    raise ProtocolBroken(f"to be replaced: {finding.text}")
                case Kind.TROUBLE:
                    event, what = "worker.local_trouble", "is refused what it needs by its own machine"
                case Kind.SLOW:
                    event, what = "worker.slow", "is slow"
                case _:
                    assert_never(finding.kind)
            self._log.emit(
                event,
                f"{self.keeper.name} {'no longer ' if finding.over else ''}{what}: {finding.text}",
                worker=self.keeper.name,
                reason=finding.text,
                stretch=self.totals.beat.stretch if self.totals.beat else 1,
                over=finding.over,
            )

    def _note_crash(self, report: wire.Report) -> None:
        """A bug in a checker says nothing of its server, but somebody should know."""
        if report.result is not None and report.result.reason is Reason.CRASHED:
            job = self._station.job(report.job)
            if job is None:
                return  # it left the configuration meanwhile
            self._log.emit(
                "check.crashed",
                f"{job.type} of {job.target}: {report.result.detail}",
                worker=self.keeper.name,
                check=job.type,
                target=str(job.target),
                detail=report.result.detail,
            )


async def _received(link: Link) -> bytes:
    """Return the next message, b"" at the end. Raises ProtocolBroken for one that is too long."""
    try:
        return await link.receive()
    except LinkError as error:
        raise ProtocolBroken(str(error)) from error


def _jobs(numbers: Iterable[int]) -> KeysView[int]:
    """Return a set of jobs, as a dictionary's keys: of thousands a set proper takes twice the room."""
    return dict.fromkeys(numbers).keys()


def _close(sock: socket.SocketType | None) -> None:
    if sock is not None:
        sock.close()
