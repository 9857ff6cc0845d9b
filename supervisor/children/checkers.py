"""The conversation with the checker workers: jobs go out, verdicts come in and become events.

Everything a worker says is checked: its frames must be well-formed (`checkers.kit.wire`), of this incarnation (epoch), without a gap
(seq), about jobs that it was given, and not many times more than these explain (`children.allowance`). A worker can at worst lie about
its own jobs; anything else ends it. Verdicts of an older
configuration are passed over: the full state that follows each assignment says them again. A worker that is silent for
`SILENCE_MAX_S` is killed; until its successor has spoken its verdicts are frozen, because absence of evidence is no evidence.
What it may not do itself it asks of us, for its own jobs and one favour a job at a time (`children.favours`).
"""

from __future__ import annotations

import json
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import trio

from checkers.kit import wire
from checkers.kit.api import TYPES, Favour, Reason
from checkers.kit.api import Health as WireHealth
from checkers.kit.link import Link, LinkError
from supervisor.children.allowance import Allowance, gap_s
from supervisor.children.favours import DoFavour, Granted, refused
from supervisor.children.keeper import Keeper, ProtocolBroken
from supervisor.children.spawn import Child, complain_of_cage
from supervisor.core.events import CheckReported, Event, Health, Result, WorkerSilent, WorkerSpeaking
from supervisor.core.jobs import definition
from supervisor.core.snapshot import CheckCount, CheckTiming, Histogram, WorkerView
from supervisor.log import Log
from supervisor.model import CheckSpec

SILENCE_MAX_S = 3.5
"""A worker beats once a second; three beats missed, and half a second for the way, mean that it hangs (reliability.md, section 6)."""

SECOND_LOOK_S = 0.1
"""After the patience with a worker is over: when it was we who stood still, what it said meanwhile is there at once."""

SOCKETS_MAX = 64
"""Sockets that are opened for one worker and not yet on their way to it. One that never reads cannot have us hold more."""

HELLO_MAX_S = 30.0
"""A starting worker may take this long until its first frame: Python and the imports, on a machine under load."""

StartChecker = Callable[[int, int], Awaitable[tuple[Child, Link]]]
"""Starts worker INDEX in incarnation EPOCH."""


@dataclass
class _Totals:
    """Cumulative counts of one worker: what former incarnations reached, and what the present one says."""

    ended: dict[tuple[str, Reason], int] = field(default_factory=dict)
    ended_durations: dict[str, Histogram] = field(default_factory=dict)
    ended_lag: Histogram = field(default_factory=Histogram)
    beat: wire.Beat | None = None

    def close(self) -> None:
        """The incarnation is over: keep what it reached."""
        self.ended, self.ended_durations, self.ended_lag = self.counts(), self.durations(), self.lag()
        self.beat = None

    def counts(self) -> dict[tuple[str, Reason], int]:
        total = dict(self.ended)
        for kind, reason, count in self.beat.counts if self.beat else ():
            total[kind, reason] = total.get((kind, reason), 0) + count
        return total

    def durations(self) -> dict[str, Histogram]:
        total = dict(self.ended_durations)
        for kind, histogram in self.beat.durations if self.beat else ():
            total[kind] = _sum(total.get(kind, Histogram()), histogram)
        return total

    def lag(self) -> Histogram:
        return _sum(self.ended_lag, self.beat.schedule_lag) if self.beat else self.ended_lag


class CheckerWorker:
    """One worker: its conversation and what is known of it."""

    def __init__(
        self,
        index: int,
        start: StartChecker,
        jobs: Callable[[int], Sequence[wire.Job]],
        inbox: trio.MemorySendChannel[Event],
        log: Log,
        favour: DoFavour,
    ) -> None:
        """`jobs` returns what worker INDEX shall check now, with the health that the director believes; `favour` does one for a job."""
        self.index = index
        self.totals = _Totals()
        self.caged = ""
        self._heard_at: float | None = None
        self._jobs = jobs
        self._favour = favour
        self._owned: dict[int, wire.Job] = {}
        self._asking: set[int] = set()  # jobs with a favour under way
        self._granted: deque[tuple[int, wire.Grant, socket.SocketType | None]] = deque()  # at most one for each job
        self._places = trio.Semaphore(SOCKETS_MAX)
        self._scripts_at: dict[int, float] = {}  # when a job may have its script run again
        self._allowance = Allowance((), 0.0)
        self._generation = 0
        self._assign = True
        self._something = trio.Event()  # to be sent
        self.greeted = trio.Event()
        """Set by the first greeting of all."""
        self._inbox = inbox
        self._log = log
        self.keeper: Keeper[Link] = Keeper(
            f"checker-{index}", lambda epoch: start(index, epoch), self._converse, log, self._ended
        )

    def reassign(self) -> None:
        """The jobs changed: tell the worker as soon as it listens. Returns at once."""
        self._assign = True
        self._something.set()

    def view(self, now: float) -> WorkerView:
        """Return what observers may know of this worker."""
        beat = self.totals.beat
        return WorkerView(
            name=self.keeper.name,
            pid=self.keeper.pid,
            restarts=self.keeper.restarts,
            age_s=None if self._heard_at is None else now - self._heard_at,
            loop_lag_s=beat.loop_lag_s if beat else 0.0,
            in_flight=beat.in_flight if beat else 0,
            overdue=beat.overdue if beat else 0,
            caged=self.caged,
        )

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
        self.totals.close()
        self.caged = ""
        self._assign = True
        self._asking.clear()
        while self._granted:
            _close(self._granted.popleft()[2])
        self._places = trio.Semaphore(SOCKETS_MAX)
        await self._inbox.send(WorkerSilent(tuple(self._owned)))

    async def _greet(self, link: Link) -> None:
        hello = await self._receive(link, HELLO_MAX_S)
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
                    for frame in self._assignment(epoch):
                        await link.send(frame)
                while self._granted:
                    job, answer, sock = self._granted.popleft()
                    self._asking.discard(job)  # before it is sent: the answer to it may be the next question
                    try:
                        await link.send(wire.encode(answer), None if sock is None else sock.fileno())
                    finally:
                        if sock is not None:
                            sock.close()
                            self._places.release()
                await self._something.wait()
        except LinkError:
            return  # it is gone; `_listen` sees that too

    def _assignment(self, epoch: int) -> list[bytes]:
        """Return the frames of what the worker shall check from now on."""
        self._generation += 1
        jobs = self._jobs(self.index)
        try:
            frames = wire.assign_frames(epoch, self._generation, jobs)
        except wire.WireError:
            jobs = [job for job in jobs if self._fits(job)]
            frames = wire.assign_frames(epoch, self._generation, jobs)
        self._owned = {job.id: job for job in jobs}
        self._scripts_at = {job: at for job, at in self._scripts_at.items() if job in self._owned}
        self._allowance = Allowance(jobs, trio.current_time())
        return frames

    def _fits(self, job: wire.Job) -> bool:
        """Tell whether a job fits a frame; complain if not. It stays unchecked then, and the program not ready."""
        try:
            wire.assign_frames(1, 1, [job])
        except wire.WireError as error:
            self._log.emit(
                "worker.protocol_error",
                f"{job.type} of {job.address} port {job.port} cannot be checked: {error}",
                worker=self.keeper.name,
                reason=str(error),
            )
            return False
        return True

    async def _listen(self, link: Link, epoch: int, nursery: trio.Nursery) -> None:
        seq = 0
        while True:
            frame = await self._receive(link, SILENCE_MAX_S)
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
            else:
                await self._take(frame)

    def _ask(self, asked: wire.Ask, nursery: trio.Nursery) -> None:
        """Do a favour beside everything else. Raises ProtocolBroken."""
        if asked.job in self._asking:
            raise ProtocolBroken(f"asked a second favour for job {asked.job} before the first was done")
        job = self._owned.get(asked.job)
        if job is None and asked.generation == self._generation:
            raise ProtocolBroken(f"asked a favour for job {asked.job}, which it does not have")
        self._asking.add(asked.job)
        nursery.start_soon(self._grant, asked, job)

    async def _grant(self, asked: wire.Ask, job: wire.Job | None) -> None:
        done = await self._do(job, asked.favour) if job else refused("a new configuration has no such job")
        answer = done.answer
        grant = wire.Grant(asked.number, answer.ending, answer.status, answer.text)
        self._granted.append((asked.job, grant, done.socket))
        self._something.set()

    async def _do(self, job: wire.Job, favour: Favour) -> Granted:
        """Do a favour, a script no oftener than its schedule wants it, a socket when there is a place for it."""
        if favour is Favour.SCRIPT:
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

    async def _receive(self, link: Link, patience_s: float) -> wire.FromWorker | None:
        """Return the next frame, None at the end. Raises ProtocolBroken for garbage and for silence."""
        data: bytes | None = None
        try:
            for wait_s in (patience_s, SECOND_LOOK_S):
                with trio.move_on_after(wait_s):
                    data = await link.receive()
                    break
        except LinkError as error:
            raise ProtocolBroken(str(error)) from error
        if data is None:
            raise ProtocolBroken(f"silent for {patience_s:g} s")
        if not data:
            return None
        self._heard_at = trio.current_time()
        try:
            return wire.decode_from_worker(data)
        except wire.WireError as error:
            raise ProtocolBroken(f"malformed frame: {error}") from error

    async def _take(self, frame: wire.Report | wire.State | wire.Beat) -> None:
        """Turn one valid frame into events."""
        match frame:
            case wire.Beat():
                self._require_known(*(entry[0] for entry in frame.counts), *(entry[0] for entry in frame.durations))
                self.totals.beat = frame
            case wire.Report() if frame.generation == self._generation:
                self._require_owned((frame.job,))
                await self._inbox.send(_event(frame, frame.result))
            case wire.State() if frame.generation == self._generation:
                self._require_owned(entry.job for entry in frame.entries)
                for entry in frame.entries:
                    await self._inbox.send(_event(entry, None))
                if frame.last:
                    await self._inbox.send(WorkerSpeaking(tuple(self._owned)))
            case wire.Report() | wire.State():
                pass  # of an older configuration: the state that follows the assignment says it again
            case _:
                assert_never(frame)

    def _require_owned(self, jobs: Iterable[int]) -> None:
        foreign = [job for job in jobs if job not in self._owned]
        if foreign:
            raise ProtocolBroken(f"spoke of job {foreign[0]}, which it does not have")

    def _require_known(self, *kinds: str) -> None:
        """What is counted lives on after the worker, and in Prometheus."""
        foreign = [kind for kind in kinds if kind not in TYPES]
        if foreign:
            raise ProtocolBroken(f"counted checks of type {foreign[0]}, which there is not")


class CheckerPool:
    """All workers together."""

    def __init__(self, workers: Sequence[CheckerWorker]) -> None:
        self.workers = tuple(workers)

    async def run(self) -> None:
        """Keep all workers alive until cancelled."""
        async with trio.open_nursery() as nursery:
            for worker in self.workers:
                nursery.start_soon(worker.keeper.run)

    async def greeted(self) -> None:
        """Wait until every worker has greeted once."""
        for worker in self.workers:
            await worker.greeted.wait()

    def reassign(self) -> None:
        """The configuration changed: each worker gets its jobs anew."""
        for worker in self.workers:
            worker.reassign()

    def counts(self) -> tuple[CheckCount, ...]:
        """Return how often each checker type gave each reason."""
        total: dict[tuple[str, Reason], int] = {}
        for worker in self.workers:
            for key, count in worker.totals.counts().items():
                total[key] = total.get(key, 0) + count
        return tuple(CheckCount(kind, reason.name, count) for (kind, reason), count in sorted(total.items()))

    def durations(self) -> tuple[CheckTiming, ...]:
        """Return how long the probes of each checker type took."""
        total: dict[str, Histogram] = {}
        for worker in self.workers:
            for kind, histogram in worker.totals.durations().items():
                total[kind] = _sum(total.get(kind, Histogram()), histogram)
        return tuple(CheckTiming(kind, total[kind]) for kind in sorted(total))

    def schedule_lag(self) -> Histogram:
        """Return how late probes started."""
        total = Histogram()
        for worker in self.workers:
            total = _sum(total, worker.totals.lag())
        return total


def _event(level: wire.Report | wire.StateEntry, result: wire.ReportResult | None) -> CheckReported:
    told = None
    if result is not None:
        texts = result.detail, result.sent, result.received
        told = Result(result.probe, result.reason.name, *texts, result.duration_s, result.expires_at)
    return CheckReported(level.job, HEALTH[level.health], level.edges, level.failures, told, level.weight)


HEALTH = {WireHealth.UNKNOWN: Health.UNKNOWN, WireHealth.UP: Health.UP, WireHealth.DOWN: Health.DOWN}
"""The wire's numbers of health and the core's own values."""


def _sum(one: Histogram, other: Histogram | wire.Histogram) -> Histogram:
    counts = tuple(a + b for a, b in zip(one.counts, other.counts, strict=True))
    return Histogram(counts, one.sum_s + other.sum_s)


def _close(sock: socket.SocketType | None) -> None:
    if sock is not None:
        sock.close()


def job_of(spec: CheckSpec, number: int, health: Health, weight: int | None = None) -> wire.Job:
    """Return a check as a worker gets it; `health` and `weight` are what the director believes of it now."""
    schedule = spec.schedule
    return wire.Job(
        id=number,
        type=spec.type,
        address=str(spec.target.address),
        port=spec.target.port,
        bind_address=str(spec.bind_address) if spec.bind_address else "",
        bind_port=spec.bind_port,
        bind_interface=spec.bind_interface,
        mark=spec.mark,
        rise=schedule.rise,
        options=json.loads(spec.options_json),
        delay_loop=schedule.delay_loop,
        retry=schedule.retry,
        delay_before_retry=schedule.delay_before_retry,
        connect_timeout=schedule.connect_timeout,
        warmup=schedule.warmup,
        alpha=spec.alpha,
        log_all_failures=spec.log_all_failures,
        health=WireHealth[health.name],
        weight=weight,
        definition=definition(spec),
    )
