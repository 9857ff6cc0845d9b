"""The conversations with children, over memory links and on a virtual clock: what a worker may say, and what ends it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
from collections.abc import Awaitable, Callable, Collection, Iterable

import pytest
import trio
from trio.testing import MockClock

from checkers.kit import wire
from checkers.kit.api import Answer, Ending, Favour, Reason
from checkers.kit.api import Health as WireHealth
from checkers.kit.link import Link, MemoryLink, memory_link_pair
from supervisor.children import spawn
from supervisor.children.assignment import SLICE
from supervisor.children.checkers import LEVELS_MAX, CheckerWorker, StartChecker, Station
from supervisor.children.exporter import ExporterChild, StreamLink
from supervisor.children.favours import Granted
from supervisor.children.patience import HELLO_MAX_S, SECOND_LOOK_S, SILENCE_MAX_S, STARVED_MAX_S, Vitals
from supervisor.children.requests import UNANSWERED_MAX, TooMany
from supervisor.children.spawn import Child
from supervisor.core.events import (
    CheckReported,
    Event,
    Health,
    LevelsRepeated,
    SentinelReported,
    WorkerSilent,
    WorkerSpeaking,
)
from supervisor.core.questions import AskConfiguration, AskEvents, AskHistory, AskReady, AskSnapshot, Question
from supervisor.log import Log

JOB = wire.Job(1, "TCP_CHECK", "192.0.2.1", 80, 5.0, 1, 1.0, 5.0, 5.0)


class Scripted:
    """A child that a test plays by hand."""

    def __init__(self) -> None:
        self.pid = 4711
        self.killed = trio.Event()

    async def wait(self) -> str:
        await self.killed.wait()
        return "signal SIGKILL"

    def kill(self) -> None:
        self.killed.set()


class Stage:
    """One supervised worker whose part a test plays: `theirs` is its end of the link."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.send, self.inbox = trio.open_memory_channel[Event](math.inf)
        self.log = Log(lambda line, _level: self.lines.append(line.decode()), strict=True)
        self.theirs: list[MemoryLink] = []
        self.children: list[Scripted] = []
        self.given = [JOB]
        self.idle_jobs: set[int] = set()
        self.rate = 20
        self.mine = True  # whether it owns its jobs
        self.spoken = 0
        self.ends: list[bool] = []
        self.memory = 0
        self.waited_s: Callable[[], float | None] = lambda: None  # for a processor
        self.worker = self.make("checker-0", self.start)

    def make(self, name: str, start: StartChecker) -> CheckerWorker:
        station: Station = self
        vitals = Vitals(lambda _pid: self.memory, lambda _pid: self.waited_s())
        return CheckerWorker(name, 0, start, station, self.send, self.log, self.favour, vitals)

    def numbers(self, index: int) -> list[int]:
        assert index == 0
        return [job.id for job in self.given]

    def job(self, number: int) -> wire.Job | None:
        return next((job for job in self.given if job.id == number), None)

    def idle(self) -> Collection[int]:
        return self.idle_jobs

    def rate_max(self) -> int:
        return self.rate

    def owned(self, _index: int, jobs: Iterable[int]) -> tuple[int, ...]:
        return tuple(jobs) if self.mine else ()

    def spoke(self, _index: int) -> None:
        self.spoken += 1

    def ended(self, _index: int, _jobs: Collection[int], *, blame: bool) -> None:
        self.ends.append(blame)

    async def favour(self, _job: wire.Job, _favour: Favour) -> Granted:
        await trio.sleep(0.1)
        return Granted(Answer(Ending.DONE, 3, "what it printed"))

    async def start(self, _index: int, _epoch: int) -> tuple[Child, Link]:
        ours, theirs = memory_link_pair()
        child = Scripted()
        self.theirs.append(theirs)
        self.children.append(child)
        return child, ours

    async def say(self, frame: wire.Frame) -> None:
        await self.theirs[-1].send(wire.encode(frame))
        await trio.sleep(0.01)

    async def hello(self) -> None:
        await trio.sleep(0.01)
        await self.say(wire.Hello(4711, "uid=65534 caps=0 nnp=1"))

    def events(self) -> list[Event]:
        found = []
        while True:
            try:
                found.append(self.inbox.receive_nowait())
            except trio.WouldBlock:
                return found


def report(seq: int, *, epoch: int = 1, generation: int = 1, job: int = 1) -> wire.Report:
    result = wire.ReportResult(3, Reason.L4CON, 0.01, "connection refused")
    return wire.Report(epoch, generation, seq, job, WireHealth.DOWN, 1, 2, result)


def on_stage(part: Callable[[Stage], Awaitable[None]]) -> Stage:
    async def main() -> Stage:
        stage = Stage()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.worker.keeper.run)
            await part(stage)
            nursery.cancel_scope.cancel()
        return stage

    return trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_worker_gets_its_jobs_after_its_greeting_and_its_reports_become_events() -> None:
    async def part(stage: Stage) -> None:
        await stage.hello()
        assign = wire.decode_from_supervisor(await stage.theirs[0].receive())
        assert isinstance(assign, wire.Assign)
        assert assign.jobs == (JOB,)
        await stage.say(report(1))
        (event,) = stage.events()
        assert isinstance(event, CheckReported)
        assert (event.job, event.health, event.failures) == (1, Health.DOWN, 2)
        assert event.result is not None
        assert event.result.reason == "L4CON"

    on_stage(part)


def test_a_full_state_repeats_levels_and_ends_the_freeze() -> None:
    async def part(stage: Stage) -> None:
        await stage.hello()
        entry = wire.StateEntry(1, WireHealth.UP, 0, 0)
        await stage.say(wire.State(1, 1, 1, (entry,), last=True))
        assert stage.events() == [LevelsRepeated((CheckReported(1, Health.UP, 0, 0, None),)), WorkerSpeaking((1,))]

    on_stage(part)


def test_a_large_full_state_comes_in_strokes_of_a_millisecond() -> None:
    jobs = range(1, 2 * LEVELS_MAX + 2)

    async def part(stage: Stage) -> None:
        stage.given = [dataclasses.replace(JOB, id=job) for job in jobs]
        await stage.hello()
        (state,) = wire.state_frames(1, 1, 1, [wire.StateEntry(job, WireHealth.UP, 0, 0) for job in jobs])
        await stage.say(state)
        *parts, spoken = stage.events()
        levels = [part.levels for part in parts if isinstance(part, LevelsRepeated)]
        assert [len(part) for part in levels] == [LEVELS_MAX, LEVELS_MAX, 1]
        assert [level.job for part in levels for level in part] == list(jobs)
        assert spoken == WorkerSpeaking(tuple(jobs))

    on_stage(part)


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        ([report(2)], "expected epoch 1 and seq 1, got 1 and 2"),
        ([report(1), report(1)], "expected epoch 1 and seq 2, got 1 and 1"),
        ([report(1, epoch=2)], "expected epoch 1 and seq 1, got 2 and 1"),
        ([report(1, generation=9)], "generation 9 was never assigned"),
        ([report(1, job=99)], "spoke of job 99, which it does not have"),
        ([wire.State(1, 1, 1, (wire.StateEntry(99, WireHealth.UP, 0, 0),), last=True)], "spoke of job 99"),
        ([wire.Hello(1, "again")], "a second hello"),
        ([wire.Ask(1, 1, 1, 1, 99, Favour.SCRIPT)], "asked a favour for job 99, which it does not have"),
        (
            [wire.Ask(1, 1, 1, 1, 1, Favour.SCRIPT), wire.Ask(1, 1, 2, 2, 1, Favour.SCRIPT)],
            "asked a second favour for job 1 before the first was done",
        ),
    ],
)
def test_a_worker_that_says_what_it_must_not_is_killed_and_replaced(frames: list[wire.Frame], complaint: str) -> None:
    async def part(stage: Stage) -> None:
        await stage.hello()
        for frame in frames:
            await stage.say(frame)
        await trio.sleep(1)
        assert stage.children[0].killed.is_set()
        assert len(stage.children) == 2
        assert WorkerSilent((1,)) in stage.events()

    assert any(complaint in line for line in on_stage(part).lines)


def test_a_favour_is_answered_with_the_number_it_was_asked_with() -> None:
    async def part(stage: Stage) -> None:
        await stage.hello()
        await stage.theirs[0].receive()  # the jobs
        await stage.say(wire.Ask(1, 1, 1, 41, 1, Favour.SCRIPT))
        grant = wire.decode_from_supervisor(await stage.theirs[0].receive())
        assert grant == wire.Grant(41, Ending.DONE, 3, "what it printed")
        await stage.say(wire.Ask(1, 1, 2, 42, 1, Favour.SCRIPT))
        await stage.theirs[0].receive()
        assert not stage.children[0].killed.is_set()
        assert not stage.worker._asking, "nothing is kept of what is done: jobs come and go for years"

    on_stage(part)


PROBED = wire.Probed(1, 1, 1, 1, 1, wire.ReportResult(0, Reason.L7STS, 0.1, "HTTP 503"), None, ())


def test_a_probe_on_request_goes_to_the_worker_and_what_it_saw_comes_back() -> None:
    async def part(stage: Stage) -> None:
        answers: list[wire.Probed | None] = []

        async def ask() -> None:
            answers.append(await stage.worker.probe(1))

        await stage.hello()
        await stage.theirs[0].receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            assert wire.decode_from_supervisor(await stage.theirs[0].receive()) == wire.Probe(1, 1)
            await stage.say(PROBED)
        assert answers == [PROBED]
        assert stage.events() == [], "nobody decides by it"
        assert await stage.worker.probe(99) is None
        assert not stage.children[0].killed.is_set()

    on_stage(part)


def test_a_worker_is_told_who_is_idle_when_that_changes_and_after_each_assignment_and_otherwise_nothing() -> None:
    async def part(stage: Stage) -> None:
        async def told() -> list[wire.FromSupervisor]:
            heard: list[wire.FromSupervisor] = []
            with trio.move_on_after(0.2):
                while True:
                    heard.append(wire.decode_from_supervisor(await stage.theirs[0].receive()))
            return [frame for frame in heard if isinstance(frame, wire.Idle)]

        stage.given = [dataclasses.replace(JOB, id=number) for number in (1, 2, 3)]
        await stage.hello()
        assert await told() == []
        for idle, heard in (
            ({1, 3, 99}, [wire.Idle(idle=True, jobs=(1, 3))]),
            ({1, 3}, []),
            ({3, 2}, [wire.Idle(idle=False, jobs=(1,)), wire.Idle(idle=True, jobs=(2,))]),
        ):
            stage.idle_jobs = set(idle)
            stage.worker.traffic_changed()
            assert await told() == heard
        stage.worker.reassign()
        assert await told() == []  # with the same jobs
        stage.given.append(dataclasses.replace(JOB, id=4))
        stage.worker.reassign()
        assert await told() == [wire.Idle(idle=True, jobs=(2, 3))]

    on_stage(part)


def test_a_worker_is_told_at_once_which_of_its_jobs_are_to_look() -> None:
    async def part(stage: Stage) -> None:
        stage.given = [dataclasses.replace(JOB, id=number) for number in (1, 2, 3)]
        await stage.hello()
        await stage.theirs[0].receive()
        stage.worker.look([3, 99])
        stage.worker.look([1, 3])
        assert wire.decode_from_supervisor(await stage.theirs[0].receive()) == wire.Look((3, 1))

    on_stage(part)


def test_an_answer_that_nobody_asked_for_ends_a_worker() -> None:
    async def part(stage: Stage) -> None:
        await stage.hello()
        await stage.say(PROBED)
        await trio.sleep(1)

    stage = on_stage(part)
    assert stage.children[0].killed.is_set()
    assert any("answered request 1 for job 1, which was not made" in line for line in stage.lines)


def test_who_waits_for_a_worker_that_dies_is_told_so() -> None:
    async def part(stage: Stage) -> None:
        await stage.hello()
        await stage.theirs[0].receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 0.1)
            stage.children[0].kill()
            stage.theirs[0].close()
            assert await stage.worker.probe(1) is None

    on_stage(part)


def test_a_job_may_ask_a_second_favour_at_once_only_after_a_probe_on_request() -> None:
    async def part(stage: Stage) -> None:
        async def ask() -> None:
            await stage.worker.probe(1)

        await stage.hello()
        await stage.theirs[0].receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await stage.theirs[0].receive()
            for number in (1, 2):
                await stage.say(wire.Ask(1, 1, number, number, 1, Favour.FILE))
            grants = [wire.decode_from_supervisor(await stage.theirs[0].receive()) for _ in range(2)]
            assert [grant.number for grant in grants if isinstance(grant, wire.Grant)] == [1, 2]
            assert not stage.children[0].killed.is_set()
            for number in (3, 4, 5):
                await stage.say(wire.Ask(1, 1, number, number, 1, Favour.FILE))
            await trio.sleep(1)

    assert on_stage(part).children[0].killed.is_set()


def test_the_script_of_a_probe_on_request_does_not_wait_for_the_schedule_nor_hold_it_up() -> None:
    async def part(stage: Stage) -> None:
        async def ask() -> None:
            await stage.worker.probe(1)

        async def granted_after_s(number: int) -> float:
            began = trio.current_time()
            await stage.say(wire.Ask(1, 1, number, number, 1, Favour.SCRIPT))
            assert isinstance(wire.decode_from_supervisor(await stage.theirs[0].receive()), wire.Grant)
            return round(trio.current_time() - began, 1)

        stage.given = [dataclasses.replace(JOB, delay_loop=4.0, delay_before_retry=4.0)]
        await stage.hello()
        await stage.theirs[0].receive()
        assert await granted_after_s(1) == 0.1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await stage.theirs[0].receive()
            assert await granted_after_s(2) == 0.1
            assert await granted_after_s(3) == 1.9, "half of its schedule's pause after the first"
            nursery.cancel_scope.cancel()

    on_stage(part)


def test_of_requests_without_an_answer_there_are_no_more_than_there_may_be() -> None:
    async def part(stage: Stage) -> None:
        await stage.hello()
        async with trio.open_nursery() as nursery:
            for _ in range(UNANSWERED_MAX):
                nursery.start_soon(stage.worker.probe, 1)
            await trio.sleep(0.1)
            with pytest.raises(TooMany):
                await stage.worker.probe(1)
            nursery.cancel_scope.cancel()

    on_stage(part)


@pytest.mark.parametrize("data", [b"\x00", b"\x03\x02", b"\x03\x09garbage", b"\x02\x01", b"\xff" * 300])
def test_garbage_ends_a_worker(data: bytes) -> None:
    async def part(stage: Stage) -> None:
        await stage.hello()
        await stage.theirs[0].send(data)
        await trio.sleep(1)
        assert stage.children[0].killed.is_set()

    assert any("malformed frame" in line for line in on_stage(part).lines)


def test_a_verdict_of_an_older_configuration_is_passed_over() -> None:
    async def part(stage: Stage) -> None:
        await stage.hello()
        stage.given.append(dataclasses.replace(JOB, id=2))
        stage.worker.reassign()
        await trio.sleep(0.01)
        await stage.say(report(1, generation=1))
        assert stage.events() == []
        await stage.say(report(2, generation=2))
        assert len(stage.events()) == 1

    on_stage(part)


def test_a_worker_whose_jobs_stay_is_asked_how_they_stand_and_not_told_them_again() -> None:
    async def part(stage: Stage) -> None:
        await stage.hello()
        assert isinstance(wire.decode_from_supervisor(await stage.theirs[0].receive()), wire.Assign)
        stage.worker.reassign()
        assert wire.decode_from_supervisor(await stage.theirs[0].receive()) == wire.AskState()
        await stage.say(report(1, generation=1))
        assert len(stage.events()) == 1
        for given in ([JOB, dataclasses.replace(JOB, id=2)], []):
            stage.given = given
            stage.worker.reassign()
            told = wire.decode_from_supervisor(await stage.theirs[0].receive())
            assert isinstance(told, wire.Assign)
            assert list(told.jobs) == stage.given
        stage.rate = 7
        stage.worker.reassign()
        told = wire.decode_from_supervisor(await stage.theirs[0].receive())
        assert isinstance(told, wire.Assign)
        assert told.rate_max == 7

    on_stage(part)


def test_a_worker_that_comes_back_is_told_its_jobs_though_they_stayed() -> None:
    async def part(stage: Stage) -> None:
        await stage.hello()
        await stage.theirs[0].receive()
        stage.children[0].kill()
        stage.theirs[0].close()
        await trio.sleep(10)
        await stage.say(wire.Hello(4711, "uid=65534 caps=0 nnp=1"))
        assert isinstance(wire.decode_from_supervisor(await stage.theirs[1].receive()), wire.Assign)

    on_stage(part)


def test_others_have_a_turn_while_a_large_assignment_is_put_together() -> None:
    async def part(stage: Stage) -> None:
        stage.given = [dataclasses.replace(JOB, id=number) for number in range(1000)]
        turns, making = 0, list[int]()

        def job(number: int) -> wire.Job:
            making.append(turns)
            return stage.given[number]

        stage.job = job  # type: ignore[method-assign]
        await trio.sleep(0.01)
        await stage.theirs[0].send(wire.encode(wire.Hello(4711, "uid=65534 caps=0 nnp=1")))
        while len(making) < len(stage.given):
            turns += 1
            await trio.lowlevel.checkpoint()
        assert max(making.count(turn) for turn in set(making)) <= 2 * SLICE

    on_stage(part)


def test_of_a_job_that_went_to_another_worker_nothing_is_believed_and_nobody_is_killed_for_it() -> None:
    """Two workers speak of one job for a moment, while it moves: its new owner is right."""

    async def part(stage: Stage) -> None:
        await stage.hello()
        stage.mine = False
        await stage.say(report(1))
        await stage.say(wire.State(1, 1, 2, (wire.StateEntry(1, WireHealth.DOWN, 0, 0),), last=True))
        assert stage.events() == [WorkerSpeaking(())]
        assert not stage.children[0].killed.is_set()

    on_stage(part)


@pytest.mark.parametrize(
    "beat",
    [
        wire.Beat(1, 1, 1, 0.0, 0, 0, (("NO_SUCH", Reason.L4OK, 1),), (), wire.Histogram()),
        wire.Beat(1, 1, 1, 0.0, 0, 0, (), (("NO_SUCH", wire.Histogram()),), wire.Histogram()),
        wire.Beat(1, 1, 1, 0.0, 0, 0, (), (), wire.Histogram(), faults=(("whatever comes to its mind", 1),)),
    ],
)
def test_a_worker_cannot_make_up_names_to_be_counted(beat: wire.Beat) -> None:
    async def part(stage: Stage) -> None:
        await stage.hello()
        await stage.say(beat)
        await trio.sleep(1)
        assert stage.children[0].killed.is_set()

    assert any(", which there is not" in line for line in on_stage(part).lines)


def test_a_worker_that_leaks_is_replaced_and_its_jobs_are_not_to_blame() -> None:
    async def part(stage: Stage) -> None:
        await stage.hello()
        await stage.say(wire.Beat(1, 1, 1, 0.0, 0, 0, (), (), wire.Histogram()))
        assert not stage.children[0].killed.is_set()
        stage.memory = 4 << 30
        await stage.say(wire.Beat(1, 1, 2, 0.0, 0, 0, (), (), wire.Histogram()))
        await trio.sleep(1)
        assert stage.children[0].killed.is_set()
        assert stage.ends == [False]

    assert any("it has grown to 4096 MiB" in line for line in on_stage(part).lines)


def test_a_worker_that_dies_with_its_jobs_is_told_apart_from_one_that_never_had_any() -> None:
    async def part(stage: Stage) -> None:
        await trio.sleep(0.01)
        stage.theirs[0].close()
        await trio.sleep(1)
        await stage.hello()
        await trio.sleep(0.1)
        stage.theirs[1].close()
        await trio.sleep(1)
        assert stage.ends == [False, True]

    on_stage(part)


def test_a_bug_in_a_checker_is_logged_with_its_place() -> None:
    async def part(stage: Stage) -> None:
        await stage.hello()
        result = wire.ReportResult(3, Reason.CRASHED, 0.01, "bug in TCP_CHECK: ZeroDivisionError (tcp.py:12)")
        await stage.say(wire.Report(1, 1, 1, 1, WireHealth.UP, 0, 0, result))
        assert not stage.children[0].killed.is_set()

    (line,) = (json.loads(line) for line in on_stage(part).lines if "check.crashed" in line)
    assert (line["level"], line["target"]) == ("error", "192.0.2.1:80")
    assert "tcp.py:12" in line["detail"]


def test_a_worker_that_never_greets_is_replaced() -> None:
    async def part(stage: Stage) -> None:
        await trio.sleep(HELLO_MAX_S + 1)
        assert stage.children[0].killed.is_set()
        assert len(stage.children) == 2

    assert any("no greeting within 20 s" in line for line in on_stage(part).lines)


def test_a_silent_worker_is_killed_in_time_and_a_beating_one_is_not() -> None:
    async def part(stage: Stage) -> None:
        await stage.hello()
        for seq in range(1, 11):
            await trio.sleep(1)
            await stage.say(wire.Beat(1, 1, seq, 0.0, 0, 0, (), (), wire.Histogram()))
        assert not stage.children[0].killed.is_set()
        await trio.sleep(SILENCE_MAX_S + 0.1)
        assert stage.children[0].killed.is_set()

    on_stage(part)


def test_whether_a_worker_waits_for_a_processor_is_asked_only_of_one_that_is_silent() -> None:
    asked_at: list[float] = []

    def waited_s() -> float:
        asked_at.append(trio.current_time())
        return 0.0

    async def part(stage: Stage) -> None:
        stage.waited_s = waited_s
        await stage.hello()
        for seq in range(1, 11):
            await trio.sleep(1)
            await stage.say(wire.Beat(1, 1, seq, 0.0, 0, 0, (), (), wire.Histogram()))
        assert not asked_at
        await trio.sleep(SILENCE_MAX_S)
        assert asked_at

    on_stage(part)


def test_what_is_seen_of_a_process_from_outside() -> None:
    assert spawn.memory_bytes(os.getpid()) > 1 << 20
    assert (spawn.waited_s(os.getpid()) or 0.0) >= 0
    gone = 1 << 30  # beyond the largest number that a process can have (proc(5), pid_max)
    assert spawn.memory_bytes(gone) == 0
    assert spawn.waited_s(gone) is None


def test_a_worker_that_waits_for_a_processor_is_given_longer_and_not_for_ever() -> None:
    async def part(stage: Stage) -> None:
        stage.waited_s = trio.current_time
        await stage.hello()
        await trio.sleep(STARVED_MAX_S - 1)
        assert not stage.children[0].killed.is_set()
        await trio.sleep(2)
        assert stage.children[0].killed.is_set()

    assert any("starved of a processor" in line for line in on_stage(part).lines)


def test_a_worker_is_not_blamed_for_a_silence_in_which_it_was_we_who_stood_still() -> None:
    """A stopped supervisor wakes up with its patience over and the beats in the socket: the kernel shows them a moment later."""

    async def part(stage: Stage) -> None:
        await stage.hello()
        await trio.sleep(SILENCE_MAX_S + SECOND_LOOK_S / 2)
        await stage.say(wire.Beat(1, 1, 1, 0.0, 0, 0, (), (), wire.Histogram()))
        await trio.sleep(1)
        assert not stage.children[0].killed.is_set()

    on_stage(part)


def test_a_job_that_no_frame_can_carry_is_named_and_left_out_and_the_others_are_checked() -> None:
    async def part(stage: Stage) -> None:
        huge = dataclasses.replace(JOB, id=2, address="192.0.2.2", options={"regex": "x" * 70_000})
        stage.given = [huge, JOB]
        await stage.hello()
        assign = wire.decode_from_supervisor(await stage.theirs[0].receive())
        assert isinstance(assign, wire.Assign)
        assert assign.jobs == (JOB,)

    (line,) = (line for line in on_stage(part).lines if "protocol_error" in line)
    assert "TCP_CHECK of 192.0.2.2 port 80 cannot be checked" in line


def test_counts_go_on_over_a_restart() -> None:
    async def part(stage: Stage) -> None:
        await stage.hello()
        await stage.say(wire.Beat(1, 1, 1, 0.0, 0, 0, (("TCP_CHECK", Reason.L4OK, 5),), (), wire.Histogram()))
        stage.theirs[0].close()
        await trio.sleep(1)
        await stage.hello()
        await stage.say(wire.Beat(2, 2, 1, 0.0, 0, 0, (("TCP_CHECK", Reason.L4OK, 2),), (), wire.Histogram()))
        assert stage.worker.totals.counts() == {("TCP_CHECK", Reason.L4OK): 7}

    on_stage(part)


def test_a_child_that_cannot_be_started_is_tried_again_with_longer_pauses() -> None:
    async def part(stage: Stage) -> None:
        starts: list[float] = []

        async def fail(_index: int, _epoch: int) -> tuple[Child, Link]:
            starts.append(trio.current_time())
            raise OSError("no more processes")

        worker = stage.make("checker-1", fail)
        with trio.move_on_after(10):
            await worker.keeper.run()
        gaps = [round(b - a, 3) for a, b in itertools.pairwise(starts)]
        assert gaps == sorted(gaps)
        assert len(starts) < 12

    assert any("no more processes" in line for line in on_stage(part).lines)


def test_a_child_whose_killer_may_be_gone_is_started_at_once_and_its_next_pauses_are_short_again() -> None:
    async def part(stage: Stage) -> None:
        starts: list[float] = []

        async def fail(_index: int, _epoch: int) -> tuple[Child, Link]:
            starts.append(trio.current_time())
            raise OSError("no more processes")

        worker = stage.make("checker-1", fail)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.keeper.run)
            await trio.sleep(20)
            before = len(starts)
            worker.keeper.hasten()
            await trio.sleep(0.5)
            nursery.cancel_scope.cancel()
        assert len(starts) - before == 4  # at once, after 0.05, 0.1 and 0.2 s

    on_stage(part)


def answered(question: Question) -> bytes:
    """What a supervisor says to each question."""
    match question:
        case AskSnapshot():
            return b'{"schema":1}'
        case AskReady():
            return b"true"
        case AskEvents():
            return b'"events"'
        case AskConfiguration():
            return b'"configuration"'
        case AskHistory(virtual_server):
            return f'"{virtual_server}"'.encode()


def play_exporter(*said: bytes) -> tuple[list[str], list[bytes], str]:
    """Let an exporter say these bytes; return log lines, answers and what it is said to listen on."""
    lines: list[str] = []
    answers: list[bytes] = []

    async def main() -> str:
        here, there = trio.testing.memory_stream_pair()
        child = Scripted()
        starts: list[int] = []

        async def start(epoch: int) -> tuple[Child, StreamLink]:
            starts.append(epoch)
            if epoch > 1:
                await trio.sleep_forever()
            return child, StreamLink(here)

        log = Log(lambda line, _level: lines.append(line.decode()), strict=True)
        exporter = ExporterChild(start, lambda question: (answered(question)[:5], answered(question)[5:]), log)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(exporter.keeper.run)
            for data in said:
                await there.send_all(data)
                await trio.sleep(0.1)
            listening = exporter.listening
            with trio.move_on_after(0.2):
                answers.append(bytes(await there.receive_some()))
            nursery.cancel_scope.cancel()
        return listening

    return lines, answers, trio.run(main, clock=MockClock(autojump_threshold=0))


HELLO = b'{"hello":{"pid":1,"caged":"caps=0","listening":"127.0.0.1:9720"}}\n'


def test_the_exporter_greets_and_gets_a_snapshot_a_line_for_each_question() -> None:
    _, answers, listening = play_exporter(HELLO[:10], HELLO[10:], b"snapshot\nsnap", b"shot\n")
    assert listening == "127.0.0.1:9720"
    assert answers == [b'{"schema":1}\n{"schema":1}\n']


def test_the_exporter_gets_history_and_events_when_it_asks_for_them() -> None:
    _, answers, _ = play_exporter(HELLO, b"history 203.0.113.100:80/tcp\nevents\nready\n", b"history fwm:7/ipv6\n")
    assert answers == [b'"203.0.113.100:80/tcp"\n"events"\ntrue\n"fwm:7/ipv6"\n']


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ((b'{"error":"cannot listen on 127.0.0.1:1"}\n',), "cannot listen"),
        ((b"nonsense\n",), "malformed greeting"),
        ((b"[]\n",), "malformed greeting"),
        ((HELLO, b"delete everything\n"), "expected a question or alive, got"),
        ((HELLO, b"history \n"), "expected a question or alive, got"),
        ((HELLO, b"history a b\n"), "expected a question or alive, got"),
        ((HELLO, b"history " + b"x" * 257 + b"\n"), "expected a question or alive, got"),
        ((HELLO, b"history \x1b[2J\n"), "expected a question or alive, got"),
        ((HELLO, b"history \xff\n"), "expected a question or alive, got"),
        ((HELLO, b"ready 1\n"), "expected a question or alive, got"),
        ((HELLO, b"events 1000000\n"), "expected a question or alive, got"),
        ((HELLO, b"x" * 5000), "a line without an end"),
    ],
)
def test_an_exporter_that_says_anything_else_is_ended(said: tuple[bytes, ...], complaint: str) -> None:
    lines, _, _ = play_exporter(*said)
    assert any(complaint in line and "worker.protocol_error" in line for line in lines)


def test_an_exporter_that_is_silent_is_replaced_and_one_that_lives_is_not() -> None:
    lines, _, _ = play_exporter(HELLO, *[b"alive\n"] * 200)
    assert not any("protocol_error" in line for line in lines)
    starts, lines = exporter_for(25.0, HELLO)
    assert len(starts) == 3
    assert any("silent for 10 s" in line for line in lines)


def test_an_exporter_that_never_greets_is_replaced() -> None:
    starts, lines = exporter_for(25.0)
    assert len(starts) == 2
    assert any("no greeting within 20 s" in line for line in lines)


def test_an_exporter_that_takes_no_answer_is_replaced() -> None:
    starts, lines = exporter_for(15.0, HELLO + b"snapshot\n", full=True)
    assert len(starts) == 2
    assert any("took no answer within 10 s" in line for line in lines)


def exporter_for(duration_s: float, *said: bytes, full: bool = False) -> tuple[list[float], list[str]]:
    """Let exporters that say the same and then nothing run for a while; return when each was started, and the log.

    `full`: nobody takes what is sent to them.
    """
    lines: list[str] = []
    starts: list[float] = []

    async def main() -> None:
        async def start(_epoch: int) -> tuple[Child, StreamLink]:
            starts.append(trio.current_time())
            here, there = trio.testing.lockstep_stream_pair() if full else trio.testing.memory_stream_pair()
            for data in said:
                nursery.start_soon(there.send_all, data)
            keep.append(there)
            return Scripted(), StreamLink(here)

        keep: list[trio.abc.Stream] = []
        log = Log(lambda line, _level: lines.append(line.decode()), strict=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ExporterChild(start, lambda question: [answered(question)], log).keeper.run)
            await trio.sleep(duration_s)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return starts, lines


def test_children_never_run_as_root_or_as_a_user_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(spawn.UnknownUser, match="no such user"):
        spawn.account("nobody-of-that-name")
    with pytest.raises(spawn.UnknownUser, match="must not run as root"):
        spawn.account("root")
    assert spawn.account("nobody").arguments()[0] == "--uid"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert spawn.account("nobody").arguments() == []


def beat_with(seq: int, unaffordable: int) -> wire.Beat:
    return wire.Beat(
        1, 1, seq, 0.0, 0, 0, (), (), wire.Histogram(), sentinels_held=7, sentinels_unaffordable=unaffordable
    )


def test_that_sentinels_lack_descriptors_is_told_once_and_once_when_it_is_over() -> None:
    async def part(stage: Stage) -> None:
        await stage.hello()
        for seq, unaffordable in enumerate((0, 3, 3, 5, 0, 0), 1):
            await stage.say(beat_with(seq, unaffordable))
            await trio.sleep(0.01)

    told = [line for line in on_stage(part).lines if "worker.sentinels_short" in line]
    assert len(told) == 2
    assert "3 idle connections lack a descriptor, 7 are held" in told[0]
    assert "no longer" in told[1]


@pytest.mark.parametrize(
    ("state", "trouble"),
    [
        (wire.SentinelState.FINE, ""),
        (wire.SentinelState.CLOSED, "given up, closes idle connections after 5 s"),
        (wire.SentinelState.ENDS, "given up, ended again and again with the server, last after 5 s"),
        (wire.SentinelState.TALKS, "given up, the server talks without being asked"),
    ],
)
def test_what_a_worker_says_of_a_sentinel_becomes_an_event(state: wire.SentinelState, trouble: str) -> None:
    heard: list[Event] = []

    async def part(stage: Stage) -> None:
        await stage.hello()
        await stage.say(wire.SentinelTold(1, 1, 1, JOB.id, state, 5.02))
        await trio.sleep(0.01)
        heard.extend(stage.events())

    on_stage(part)
    assert SentinelReported(JOB.id, trouble) in heard


def test_a_worker_that_speaks_of_somebody_elses_sentinel_is_ended() -> None:
    async def part(stage: Stage) -> None:
        await stage.hello()
        await stage.say(wire.SentinelTold(1, 1, 1, 99, wire.SentinelState.CLOSED, 5.0))
        await trio.sleep(1)
        assert stage.children[0].killed.is_set()

    on_stage(part)
