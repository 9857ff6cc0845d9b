"""How much a worker may say, do and have us hold: what honest ones need is far below, and what is beyond ends or waits."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import struct

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from checkers.kit import wire
from checkers.kit.api import Answer, Ending, Favour, Reason
from checkers.kit.link import LinkError
from supervisor.children.allowance import BURST, Allowance, gap_s
from supervisor.children.checkers import SOCKETS_MAX
from supervisor.children.favours import Granted
from supervisor.filenews import REST_MIN_S
from tests.supervisor.children.test_children import HELLO, JOB, Stage, play_exporter


@given(st.integers(0, 200), st.sampled_from([0.1, 1.0, 60.0]))
def test_every_job_may_fail_at_every_probe_and_all_at_once(jobs: int, delay_s: float) -> None:
    job = dataclasses.replace(JOB, delay_loop=delay_s, delay_before_retry=delay_s)
    allowance = Allowance([gap_s(job)] * jobs, 0.0)
    assert all(allowance.take(jobs + 1, number * delay_s) for number in range(50))


def test_the_checks_of_a_file_that_never_rests_may_say_what_each_look_found() -> None:
    job = dataclasses.replace(JOB, type="FILE_CHECK", delay_loop=1.0, delay_before_retry=1.0)
    allowance = Allowance([gap_s(job)] * 10, 0.0)
    asked_and_told = 2 * 10
    assert all(allowance.take(asked_and_told, number * REST_MIN_S) for number in range(1000))


def test_a_flood_is_beyond_it_however_slowly_it_began() -> None:
    allowance = Allowance([gap_s(JOB)], 0.0)
    assert allowance.take(1, 3600.0)
    taken = next(number for number in itertools.count() if not allowance.take(1, 3600.0))
    assert BURST <= taken < 1000
    assert allowance.take(1, 3700.0)


def ended_with(frames: list[wire.Frame], jobs: list[wire.Job] | None = None) -> str:
    """Return what a worker that says `frames` is ended with."""

    async def play() -> str:
        stage = Stage()
        if jobs is not None:
            stage.given = jobs
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.worker.keeper.run)
            await stage.hello()
            for frame in frames:
                with contextlib.suppress(LinkError):  # it is ended, and hears it so
                    await stage.theirs[0].send(wire.encode(frame))
            await trio.sleep(0.5)
            nursery.cancel_scope.cancel()
        return "".join(line for line in stage.lines if "protocol_error" in line)

    return trio.run(play, clock=MockClock(autojump_threshold=0))


def test_a_worker_that_floods_us_is_ended() -> None:
    report = wire.Report(1, 1, 1, 1, wire.Health.DOWN, 1, 0, None)
    flood: list[wire.Frame] = [dataclasses.replace(report, seq=number, edges=number) for number in range(1, 2000)]
    assert "frames a second" in ended_with(flood)


def test_a_worker_that_counts_what_there_is_not_is_ended() -> None:
    zeros = wire.Histogram((0,) * (len(wire.DURATION_BUCKETS_S) + 1), 0.0)
    beat = wire.Beat(1, 1, 1, 0.0, 0, 0, (("EVIL_CHECK", Reason.L7OK, 1),), (), zeros)
    assert "EVIL_CHECK" in ended_with([beat])
    assert ended_with([dataclasses.replace(beat, counts=(("TCP_CHECK", Reason.L4OK, 1),))]) == ""


@pytest.mark.parametrize("seconds", [1e13, float("1e308")])
def test_seconds_beyond_all_calendars_are_refused(seconds: float) -> None:
    result = wire.ReportResult(1, Reason.L7OK, 0.1, "", "", "", expires_at=seconds)
    encoded = wire.encode(wire.Report(1, 1, 1, 1, wire.Health.UP, 1, 0, dataclasses.replace(result, expires_at=1.0)))

    with pytest.raises(wire.WireError, match="seconds"):
        wire.decode_from_worker(encoded.replace(struct.pack(">d", 1.0), struct.pack(">d", seconds)))


class Counting(Stage):
    """A stage that counts the favours which are done at the same time, and when scripts ran."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.scripts_at: list[float] = []

    async def favour(self, _job: wire.Job, favour: Favour) -> Granted:
        if favour is Favour.SCRIPT:
            self.scripts_at.append(trio.current_time())
            return Granted(Answer(Ending.DONE, 0, ""))
        self.now += 1
        self.most = max(self.most, self.now)
        await trio.sleep(1.0)
        self.now -= 1
        return Granted(Answer(Ending.DONE, 0, ""))


def test_only_so_many_sockets_are_opened_for_one_worker_at_once() -> None:
    async def play() -> int:
        stage = Counting()
        stage.given = [dataclasses.replace(JOB, id=number) for number in range(1, 301)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.worker.keeper.run)
            await stage.hello()
            for number in range(1, 301):
                await stage.say(wire.Ask(1, 1, number, number, number, Favour.ECHO))
            nursery.cancel_scope.cancel()
        return stage.most

    assert trio.run(play, clock=MockClock(autojump_threshold=0)) == SOCKETS_MAX


def test_a_script_runs_no_oftener_than_its_schedule_wants_it() -> None:
    async def play() -> list[float]:
        stage = Counting()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.worker.keeper.run)
            await stage.hello()
            for number in range(1, 4):
                await stage.say(wire.Ask(1, 1, number, number, JOB.id, Favour.SCRIPT))
                await trio.sleep(1.0)
            nursery.cancel_scope.cancel()
        return stage.scripts_at

    times = trio.run(play, clock=MockClock(autojump_threshold=0))
    gap_s = min(JOB.delay_loop, JOB.delay_before_retry) / 2
    assert len(times) >= 2
    assert all(later - earlier >= gap_s for earlier, later in itertools.pairwise(times))


@pytest.mark.parametrize(
    "greeting",
    [
        b"[" * 4000 + b"\n",
        b'{"hello": ' * 400 + b"\n",
        b"1\n",
        b'{"hello": {"caged": 1}}\n',
        b"\xff\xfe\n",
        b'{"error": 1}\n',
    ],
)
def test_an_exporter_that_was_taken_over_cannot_end_us_with_its_greeting(greeting: bytes) -> None:
    lines, _, _ = play_exporter(greeting)
    assert any("worker.protocol_error" in line for line in lines)


def test_what_an_exporter_says_of_itself_can_be_written_down() -> None:
    lines, _, listening = play_exporter(
        b'{"hello":{"caged":"\\ud800\\u001b[31m","listening":"' + b"x" * 1000 + b'"}}\n'
    )
    assert len(listening) <= 200
    assert any("worker.started" in line for line in lines)
    assert all(line.isprintable() for text in lines for line in text.splitlines())


def test_an_exporter_that_asks_without_end_gets_its_answers_one_after_another() -> None:
    _, answers, _ = play_exporter(HELLO, b"snapshot\n" * 50)
    assert answers[0].count(b"\n") == 50
