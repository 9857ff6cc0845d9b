"""What was said on the links between the supervisor and its workers, and what the kernel showed when the supervisor started.

The oracles' own record, kept beside the program and by other means: a level is what the newest accepted frame said, so a program
that believes anything else invented it, lost it, or took it from somebody who had no right to say it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

import trio

from checkers.kit import wire
from checkers.kit.api import INCONCLUSIVE, Health
from checkers.kit.job import Job
from checkers.kit.link import Link
from tests.sim.site import FILE, MISC, CheckKey


@dataclass(frozen=True)
class Level:
    """What is known of a check: UP or DOWN, its word on the weight, and whether a probe said so in this life of the supervisor."""

    up: bool
    weight: int | None
    probed: bool


@dataclass(frozen=True)
class Failure:
    """What a worker said last of a check that fails: the code of the reason and the words, and when."""

    reason: str
    detail: str
    at: float = field(default=0.0, compare=False)


def key_of(job: Job) -> CheckKey:
    """Read the check out of a job, field by field."""
    options = job.options
    if job.type == FILE:
        factor = options["factor"]
        assert isinstance(factor, int)
        return CheckKey(FILE, int(str(options["path"]).rpartition("file")[2]), factor=factor)
    if job.type == MISC:
        argv = options["argv"]
        assert isinstance(argv, list)
        host = int(str(argv[0]).rpartition("-")[2])
    else:
        third, fourth = job.address.split(".")[2:]
        host = int(third) * 256 + int(fourth)
    times = (job.delay_loop, job.connect_timeout, job.retry, job.delay_before_retry, job.warmup, job.rise)
    return CheckKey(job.type, host, *times, alpha=job.alpha, dynamic=options.get("misc_dynamic") is True)._replace(
        fast=job.fast_interval or 0.0, down=job.down_interval or 0.0, idle=job.idle_interval or 0.0
    )


@dataclass
class Desk:
    """One worker's place."""

    epoch: int = 0
    generation: int = 0
    jobs: dict[int, CheckKey] = field(default_factory=dict)
    speaks: bool = False
    since: float = 0.0
    """Since when it speaks, or is silent."""
    parts: list[Job] = field(default_factory=list)


class Ledger:
    """The record. `changed` is called after each change of a level; `turned` before it with what was and what is now."""

    def __init__(self) -> None:
        self.levels: dict[CheckKey, Level] = {}
        self.failures: dict[CheckKey, Failure] = {}
        self.desks: dict[int, Desk] = {}
        self.changed: Callable[[CheckKey], None] = lambda _key: None
        self.turned: Callable[[CheckKey, Level | None, Level], None] = lambda _key, _was, _now: None
        self.frames = 0

    def new_life(self) -> None:
        """The supervisor starts: nobody has said anything yet."""
        self.levels.clear()
        self.failures.clear()
        self.desks.clear()

    def forget_all_but(self, names: Collection[CheckKey]) -> None:
        """Other checks left the configuration; when they come back they are new."""
        self.levels = {name: level for name, level in self.levels.items() if name in names}
        self.failures = {name: failure for name, failure in self.failures.items() if name in names}

    def desk(self, index: int) -> Desk:
        return self.desks.setdefault(index, Desk(since=trio.current_time()))

    def silence(self, index: int) -> None:
        """A worker died, was stopped or is starting."""
        desk = self.desk(index)
        if desk.speaks:
            desk.speaks, desk.since = False, trio.current_time()

    def assigned(self, index: int, frame: wire.Assign) -> None:
        """The supervisor gave a worker its jobs, or a part of them."""
        desk = self.desk(index)
        desk.parts = [*(desk.parts if frame.part else []), *frame.jobs]
        desk.epoch, desk.generation = frame.epoch, frame.generation
        if frame.part + 1 == frame.parts:
            desk.jobs = {job.id: key_of(job) for job in desk.parts}
            if desk.speaks:
                desk.speaks, desk.since = False, trio.current_time()

    def accepts(self, index: int, frame: wire.FromWorker) -> bool:
        """Tell whether the supervisor may make anything of a worker's frame."""
        desk = self.desk(index)
        match frame:
            case wire.Report(job=job):
                return self._is_present(desk, frame) and job in desk.jobs
            case wire.State(entries=entries):
                return self._is_present(desk, frame) and all(entry.job in desk.jobs for entry in entries)
            case _:
                return False

    @staticmethod
    def _is_present(desk: Desk, frame: wire.Report | wire.State) -> bool:
        return (frame.epoch, frame.generation) == (desk.epoch, desk.generation)

    def heard(self, index: int, frame: wire.FromWorker) -> None:
        """The supervisor received a frame that the worker said of itself."""
        self.frames += 1
        if not self.accepts(index, frame):
            return
        desk = self.desk(index)
        if isinstance(frame, wire.Report):
            news = self._fails(desk.jobs[frame.job], frame)
            turned = self._level(desk.jobs[frame.job], frame.health, frame.weight, probed=True)
            if news and not turned:
                self.changed(desk.jobs[frame.job])
        elif isinstance(frame, wire.State):
            for entry in frame.entries:
                self._level(desk.jobs[entry.job], entry.health, entry.weight, probed=False)
            if frame.last and not desk.speaks:
                desk.speaks, desk.since = True, trio.current_time()

    def _fails(self, key: CheckKey, frame: wire.Report) -> bool:
        """Note why a check fails; tell whether it is another reason than before."""
        result, was = frame.result, self.failures.get(key)
        if result is None or result.reason in INCONCLUSIVE:
            return False
        if frame.failures:
            self.failures[key] = Failure(result.reason.name, result.detail, trio.current_time())
        else:
            self.failures.pop(key, None)
        return self.failures.get(key) != was

    def _level(self, key: CheckKey, health: Health, weight: int | None, *, probed: bool) -> bool:
        """Note a level; tell whether it changed."""
        if health is Health.UNKNOWN:
            return False
        was = self.levels.get(key)
        now = Level(health is Health.UP, weight, probed or (was is not None and was.probed))
        if was is None or (was.up, was.weight) != (now.up, now.weight):
            self.turned(key, was, now)
            self.levels[key] = now
            self.changed(key)
            return True
        self.levels[key] = now
        return False

    def silent_since(self) -> Mapping[int, float]:
        """Which workers do not speak, and since when."""
        return {index: desk.since for index, desk in self.desks.items() if not desk.speaks}

    def speaking_since(self) -> float:
        """Since when all that speak do."""
        return max((desk.since for desk in self.desks.values() if desk.speaks), default=0.0)


class TappedLink:
    """The supervisor's end of a link, with everything on it written down. A worker can be stopped, delayed, or spoken for."""

    def __init__(self, link: Link, index: int, ledger: Ledger) -> None:
        self._link = link
        self._index = index
        self._ledger = ledger
        self.frozen = False
        self.delay_s = 0.0
        self.slow_s = 0.0
        """So long an assignment takes on its way: the worker is busy and does not listen."""
        self.nonsense = ""
        """What was said for the worker that no worker of ours would say, and for which it must be ended at once."""
        self.went_on: Callable[[str], None] = lambda _what: None
        self.lies: list[
            Callable[
                [wire.Report | wire.State | wire.Beat | wire.Ask | wire.Probed | wire.SentinelTold], tuple[bytes, bool]
            ]
        ] = []
        """Each makes, of the worker's next frame, one to be said before it, and tells whether it counts in the sequence."""
        self._pending: bytes | None = None
        self._held: tuple[bytes, float] | None = (
            None  # on its way, and when it arrives: who waits may give up and come again
        )
        self._behind = 0  # frames that were said for the worker
        self.last: wire.FromWorker | None = None
        """The frame that the supervisor received last."""
        self.accepted: Mapping[int, CheckKey] | None = None
        """The jobs that it was free to speak of; None: nothing may be made of it."""

    async def send(self, data: bytes, descriptor: int | None = None) -> None:
        if data[1] == 5:
            frame = wire.decode_from_supervisor(data)
            assert isinstance(frame, wire.Assign)
            self._ledger.assigned(self._index, frame)
            if self.slow_s:
                await trio.sleep(self.slow_s)
        await self._link.send(data, descriptor)

    async def receive(self) -> bytes:
        if self.nonsense:
            self.went_on(self.nonsense)
        if self._pending is not None:
            data, self._pending = self._pending, None
            return self._record(data)
        if self._held is None:
            self._held = (await self._link.receive(), trio.current_time() + self.delay_s)
        if self.frozen:
            await trio.sleep_forever()
        data, ready_at = self._held
        if ready_at > trio.current_time():
            await trio.sleep_until(ready_at)
        self._held = None
        if not data:
            return data
        if self._behind or self.lies:
            frame = wire.decode_from_worker(data)
            if not isinstance(frame, wire.Hello):
                data = self._shifted(frame)
                if self.lies:
                    return self._lie(data)
        return self._record(data)

    def take_descriptor(self) -> int | None:
        return self._link.take_descriptor()

    def close(self) -> None:
        self._link.close()

    def holds_news(self) -> bool:
        """Whether a verdict is on its way."""
        waiting = (self._held[0] if self._held else b"", self._pending or b"")
        return any(data[1] in {2, 3} for data in waiting if data)

    def _record(self, data: bytes) -> bytes:
        self.last = wire.decode_from_worker(data)
        self.accepted = self._ledger.desk(self._index).jobs if self._ledger.accepts(self._index, self.last) else None
        self._ledger.heard(self._index, self.last)
        return data

    def _lie(self, data: bytes) -> bytes:
        frame = wire.decode_from_worker(data)
        assert not isinstance(frame, wire.Hello)
        said, counts = self.lies.pop(0)(frame)
        if counts:
            self._behind += 1
            frame = wire.decode_from_worker(data)
            assert not isinstance(frame, wire.Hello)
            self._pending = wire.encode(_later(frame, 1))
        else:
            self._pending = data
        self.accepted = None
        return said

    def _shifted(
        self, frame: wire.Report | wire.State | wire.Beat | wire.Ask | wire.Probed | wire.SentinelTold
    ) -> bytes:
        return wire.encode(_later(frame, self._behind))


def _later(
    frame: wire.Report | wire.State | wire.Beat | wire.Ask | wire.Probed | wire.SentinelTold, by: int
) -> wire.Report | wire.State | wire.Beat | wire.Ask | wire.Probed | wire.SentinelTold:
    return replace(frame, seq=frame.seq + by)
