"""The worker as a task of a story: the same code and the same frames as in its own process, on virtual time."""

from __future__ import annotations

import functools
import gc
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
import trio
from trio.testing import MockClock

from checkers import tcp
from checkers.kit import wire, worker
from checkers.kit.api import Dialer, Ending, Health, Reason, Target, Verdict
from checkers.kit.link import MemoryLink, memory_link_pair
from checkers.kit.options import Json
from tests.fakes.behaviours import blackhole, hang, healthy, no_descriptor, refuse, slow, status, unreachable
from tests.fakes.network import FakeNetwork

T = TypeVar("T")


def job(number: int = 1, **changes: object) -> wire.Job:
    values: dict[str, object] = {
        "id": number,
        "type": "HTTP_GET",
        "address": "192.168.100.20",
        "port": 80,
        "delay_loop": 6.0,
        "retry": 2,
        "delay_before_retry": 2.0,
        "connect_timeout": 3.0,
        "warmup": 0.0,
        "options": {"url": [{"path": "/"}]},
    }
    return wire.Job(**{**values, **changes})  # type: ignore[arg-type]  # a test's short hand


class Supervisor:
    """Our end of the link: keeps every frame with its time."""

    def __init__(self, link: MemoryLink, network: FakeNetwork) -> None:
        self.link = link
        self.network = network
        self.start = trio.current_time()
        self.heard: list[tuple[float, wire.FromWorker]] = []

    async def listen(self) -> None:
        while data := await self.link.receive():
            self.heard.append((round(trio.current_time() - self.start, 2), wire.decode_from_worker(data)))

    async def assign(self, *jobs: wire.Job, generation: int = 1, epoch: int = 1) -> None:
        for frame in wire.assign_frames(epoch, generation, jobs):
            await self.link.send(frame)

    def of(self, kind: type[T]) -> list[tuple[float, T]]:
        return [(at, frame) for at, frame in self.heard if isinstance(frame, kind)]

    def reports(self, number: int = 1) -> list[tuple[float, str, str]]:
        """Return (time, health, reason) of every report of one job."""
        told = [(at, frame) for at, frame in self.of(wire.Report) if frame.job == number]
        return [(at, frame.health.name, frame.result.reason.name) for at, frame in told if frame.result is not None]


def run(story: Callable[[Supervisor], Awaitable[None]]) -> Supervisor:
    async def main() -> Supervisor:
        ours, theirs = memory_link_pair()
        supervisor = Supervisor(ours, FakeNetwork())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.listen)
            nursery.start_soon(functools.partial(worker.main, theirs, supervisor.network.dialer, random.Random(7)))
            await story(supervisor)
            nursery.cancel_scope.cancel()
        return supervisor

    return trio.run(main, clock=MockClock(autojump_threshold=0))


def test_the_first_frame_is_hello_and_nothing_else_comes_before_an_assignment() -> None:
    async def story(_: Supervisor) -> None:
        await trio.sleep(100)

    ((_, frame),) = run(story).heard
    assert isinstance(frame, wire.Hello)
    assert frame.caged == "caged=no"


def test_a_healthy_server_costs_one_report_and_then_silence() -> None:
    async def story(supervisor: Supervisor) -> None:
        server = supervisor.network.server("192.168.100.20", 80)
        await supervisor.assign(job())
        await trio.sleep(600)
        assert len(server.requests) > 90

    assert [row[1:] for row in run(story).reports()] == [("UP", "L7OK")]


def test_every_failure_that_uses_a_retry_is_told_and_then_the_change() -> None:
    async def story(supervisor: Supervisor) -> None:
        server = supervisor.network.server("192.168.100.20", 80)
        await supervisor.assign(job())
        await trio.sleep(5)
        server.behaviour = refuse()
        await trio.sleep(30)
        server.behaviour = healthy()
        await trio.sleep(10)

    supervisor = run(story)
    told = supervisor.reports()
    assert [row[1:] for row in told] == [
        ("UP", "L7OK"),
        ("UP", "L4CON"),
        ("UP", "L4CON"),
        ("DOWN", "L4CON"),
        ("UP", "L7OK"),
    ]
    times = [row[0] for row in told]
    assert times[0] == pytest.approx(1, abs=0.1)
    assert times[1] == pytest.approx(7, abs=0.2)
    assert times[3] == pytest.approx(11, abs=0.4)
    assert [(frame.edges, frame.failures) for _, frame in supervisor.of(wire.Report)] == [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 3),
        (2, 0),
    ]


def test_another_reason_while_down_is_told_and_the_same_is_not() -> None:
    async def story(supervisor: Supervisor) -> None:
        server = supervisor.network.server("192.168.100.20", 80)
        server.behaviour = refuse()
        await supervisor.assign(job())
        await trio.sleep(60)
        server.behaviour = status(503)
        await trio.sleep(60)

    assert [row[1:] for row in run(story).reports()] == [("DOWN", "L4CON"), ("DOWN", "L7STS")]


def test_a_host_that_nobody_reached_and_that_refuses_now_is_told_though_both_are_failed_connections() -> None:
    async def story(supervisor: Supervisor) -> None:
        server = supervisor.network.server("192.168.100.20", 80)
        server.behaviour = unreachable()
        await supervisor.assign(job())
        await trio.sleep(60)
        server.behaviour = refuse()
        await trio.sleep(60)

    told = run(story).of(wire.Report)
    details = [frame.result.detail for _, frame in told if frame.result is not None]
    assert details == ["no route to host", "connection refused"]


def test_a_report_tells_what_was_sent_and_what_came() -> None:
    async def story(supervisor: Supervisor) -> None:
        supervisor.network.server("192.168.100.20", 80).behaviour = status(503)
        await supervisor.assign(job())
        await trio.sleep(5)

    ((_, report),) = run(story).of(wire.Report)
    assert report.result is not None
    assert report.result.detail == "HTTP 503, wanted 200-299"
    assert report.result.sent.startswith("GET / HTTP/1.0\\r\\n")
    assert report.result.received == "HTTP/1.1 503 Because\\r\\n\\r\\nhello\\n"
    assert report.result.probe == 1
    assert report.result.duration_s == pytest.approx(0.002)


def test_local_trouble_is_told_once_changes_nothing_and_its_end_is_told_too() -> None:
    async def story(supervisor: Supervisor) -> None:
        server = supervisor.network.server("192.168.100.20", 80)
        await supervisor.assign(job())
        await trio.sleep(5)
        server.behaviour = no_descriptor()
        await trio.sleep(60)
        server.behaviour = healthy()
        await trio.sleep(10)

    assert [row[1:] for row in run(story).reports()] == [("UP", "L7OK"), ("UP", "LOCAL"), ("UP", "L7OK")]


def test_frames_are_numbered_without_a_gap_and_carry_epoch_and_generation() -> None:
    async def story(supervisor: Supervisor) -> None:
        await supervisor.assign(job(), epoch=5, generation=9)
        await trio.sleep(100)

    numbered = [frame for _, frame in run(story).heard if not isinstance(frame, wire.Hello)]
    assert [frame.seq for frame in numbered] == list(range(1, len(numbered) + 1))
    assert {(frame.epoch, frame.generation) for frame in numbered} == {(5, 9)}


def test_the_full_state_comes_after_an_assignment_on_request_and_every_thirty_seconds() -> None:
    async def story(supervisor: Supervisor) -> None:
        supervisor.network.server("192.168.100.20", 80)
        await supervisor.assign(job())
        await trio.sleep(10)
        await supervisor.link.send(wire.encode(wire.AskState()))
        await trio.sleep(55)

    states = run(story).of(wire.State)
    assert [at for at, _ in states] == pytest.approx([0, 10, 30, 60], abs=1.5)
    assert [frame.entries[0].health for _, frame in states] == [Health.UNKNOWN, Health.UP, Health.UP, Health.UP]
    assert all(frame.last for _, frame in states)


def test_a_beat_comes_every_second_and_counts_what_was_probed() -> None:
    async def story(supervisor: Supervisor) -> None:
        supervisor.network.server("192.168.100.20", 80)
        await supervisor.assign(job(), job(2, address="192.168.100.21", type="TCP_CHECK", options={}))
        await trio.sleep(60.5)

    beats = run(story).of(wire.Beat)
    assert 55 <= len(beats) <= 60
    last = beats[-1][1]
    counted = {(name, reason.name): count for name, reason, count in last.counts}
    assert counted.keys() == {("HTTP_GET", "L7OK"), ("TCP_CHECK", "L4CON")}
    durations = dict(last.durations)
    assert sum(durations["HTTP_GET"].counts) == counted["HTTP_GET", "L7OK"]
    assert (last.in_flight, last.overdue) == (0, 0)


def test_a_beat_shows_what_is_in_flight() -> None:
    async def story(supervisor: Supervisor) -> None:
        supervisor.network.server("192.168.100.20", 80).behaviour = hang()
        await supervisor.assign(job(connect_timeout=50.0))
        await trio.sleep(20)

    assert run(story).of(wire.Beat)[-1][1].in_flight == 1


def test_a_job_that_stays_goes_on_undisturbed_under_its_new_number() -> None:
    async def story(supervisor: Supervisor) -> None:
        server = supervisor.network.server("192.168.100.20", 80)
        await supervisor.assign(job())
        await trio.sleep(5)
        for generation in range(2, 5):
            await supervisor.assign(job(10 * generation), generation=generation)
            await trio.sleep(1)
        asked = [round(asked.at - supervisor.start) for asked in server.requests]
        assert asked == [1, 7]

    states = run(story).of(wire.State)
    assert [(frame.generation, frame.entries[0].job, frame.entries[0].health) for _, frame in states] == [
        (1, 1, Health.UNKNOWN),
        (2, 20, Health.UP),
        (3, 30, Health.UP),
        (4, 40, Health.UP),
    ]


def test_retries_that_were_used_stay_used_over_a_new_assignment() -> None:
    async def story(supervisor: Supervisor) -> None:
        server = supervisor.network.server("192.168.100.20", 80)
        await supervisor.assign(job(retry=1))
        await trio.sleep(5)
        server.behaviour = refuse()
        await trio.sleep(3)
        await supervisor.assign(job(retry=1, health=Health.UP), generation=2)
        await trio.sleep(3)

    assert [row[1:] for row in run(story).reports()] == [("UP", "L7OK"), ("UP", "L4CON"), ("DOWN", "L4CON")]


def test_a_job_that_left_is_probed_no_more_and_a_changed_one_starts_afresh() -> None:
    async def story(supervisor: Supervisor) -> None:
        one = supervisor.network.server("192.168.100.20", 80)
        other = supervisor.network.server("192.168.100.21", 80)
        await supervisor.assign(job(1), job(2, address="192.168.100.21"))
        await trio.sleep(2)
        await supervisor.assign(job(2, address="192.168.100.21", delay_loop=50.0), generation=2)
        await trio.sleep(40)
        assert [len(one.requests), len(other.requests)] == [1, 2]
        assert one.open == other.open == 0

    reports = run(story).of(wire.Report)
    assert [(frame.generation, frame.job) for _, frame in reports if frame.generation == 2] == [(2, 2)]


def test_a_job_removed_in_the_middle_of_its_probe_leaves_no_connection_and_no_report() -> None:
    async def story(supervisor: Supervisor) -> None:
        server = supervisor.network.server("192.168.100.20", 80)
        server.behaviour = hang()
        await supervisor.assign(job())
        await trio.sleep(2)
        assert server.open == 1
        await supervisor.assign(generation=2)
        await trio.sleep(20)
        assert server.open == 0

    assert run(story).reports() == []


def test_a_blackholed_server_does_not_delay_the_others() -> None:
    async def story(supervisor: Supervisor) -> None:
        supervisor.network.server("192.168.100.20", 80).behaviour = blackhole()
        good = supervisor.network.server("192.168.100.21", 80)
        await supervisor.assign(job(1), job(2, address="192.168.100.21", delay_loop=1.0))
        await trio.sleep(20)
        assert len(good.requests) >= 18

    assert [row[1:] for row in run(story).reports(1)] == [("DOWN", "L4TOUT")]


def test_probes_of_one_job_never_overlap() -> None:
    async def story(supervisor: Supervisor) -> None:
        server = supervisor.network.server("192.168.100.20", 80)
        server.behaviour = slow(4.9)
        await supervisor.assign(job(delay_loop=0.5, connect_timeout=5.0))
        for _ in range(200):
            await trio.sleep(0.25)
            assert server.open <= 1
        assert len(server.requests) > 7

    run(story)


def test_a_bug_in_a_checker_costs_its_own_job_a_verdict_and_nobody_else_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(target: Target, prepared: object, dial: Dialer) -> Verdict:  # noqa: ARG001  the shape of a check
        await dial.connect(target)  # left open
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr(tcp, "check", broken)

    async def story(supervisor: Supervisor) -> None:
        server = supervisor.network.server("192.168.100.20", 80)
        await supervisor.assign(job(1, type="TCP_CHECK", options={}), job(2))
        await trio.sleep(30)
        assert server.open == 0

    supervisor = run(story)
    assert [row[1:] for row in supervisor.reports(1)] == [("UNKNOWN", "CRASHED")]
    assert [row[1:] for row in supervisor.reports(2)] == [("UP", "L7OK")]
    first = supervisor.of(wire.Report)[0][1].result
    assert first is not None
    assert first.reason is Reason.L7OK or "ZeroDivisionError" in first.detail


def test_options_that_do_not_prepare_are_a_crash_of_that_job_alone() -> None:
    async def story(supervisor: Supervisor) -> None:
        supervisor.network.server("192.168.100.20", 80)
        bad: dict[str, Json] = {"url": [{"path": "/", "regex": "("}]}
        await supervisor.assign(job(1, options=bad), job(2))
        await trio.sleep(30)

    supervisor = run(story)
    assert [row[1:] for row in supervisor.reports(1)] == [("UNKNOWN", "CRASHED")]
    assert [row[1:] for row in supervisor.reports(2)] == [("UP", "L7OK")]


def test_what_an_assignment_made_is_hidden_from_the_garbage_collector_and_the_next_one_hides_its_own() -> None:
    """A collection that looks at ten thousand jobs holds up the loop for 143 ms."""
    hidden: list[int] = []

    async def main() -> None:
        ours, theirs = memory_link_pair()
        supervisor = Supervisor(ours, FakeNetwork())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.listen)
            dialer = supervisor.network.dialer
            nursery.start_soon(functools.partial(worker.main, theirs, dialer, random.Random(7), freeze=True))
            for count in (0, 500):
                await supervisor.assign(*[job(number, address=f"192.0.2.{number % 250}") for number in range(count)])
                await trio.sleep(0.1)
                hidden.append(gc.get_freeze_count())
            nursery.cancel_scope.cancel()

    try:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    finally:
        gc.unfreeze()
    assert 0 < hidden[0] < hidden[1]


def test_a_supervisor_that_does_not_listen_gets_only_the_newest_level_of_each_job() -> None:
    async def main() -> None:
        ours, theirs = memory_link_pair()
        network = FakeNetwork()
        server = network.server("192.168.100.20", 80)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(functools.partial(worker.main, theirs, network.dialer, random.Random(7)))
            for frame in wire.assign_frames(1, 1, [job(retry=0, delay_loop=1.0)]):
                await ours.send(frame)
            for number in range(2000):
                server.behaviour = refuse() if number % 2 else healthy()
                await trio.sleep(1)
            heard = [wire.decode_from_worker(await ours.receive()) for _ in range(300)]
            reports = [frame for frame in heard if isinstance(frame, wire.Report)]
            assert reports[-1].edges > len(reports) > 50
            assert [frame.edges for frame in reports] == sorted({frame.edges for frame in reports})
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("end", ["stop", "close"])
def test_the_worker_ends_when_told_to_stop_or_when_its_supervisor_is_gone(end: str) -> None:
    async def main() -> None:
        ours, theirs = memory_link_pair()
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(functools.partial(worker.main, theirs, FakeNetwork().dialer, random.Random(7)))
                for frame in wire.assign_frames(1, 1, [job()]):
                    await ours.send(frame)
                await trio.sleep(3)
                if end == "stop":
                    await ours.send(wire.encode(wire.Stop()))
                else:
                    ours.close()

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([b"nonsense"], id="no frame"),
        pytest.param([wire.encode(wire.Assign(1, 1, 1, 2, ()))], id="the second part first"),
        pytest.param(
            [wire.encode(wire.Assign(1, 1, 0, 2, ())), wire.encode(wire.Assign(1, 2, 1, 2, ()))], id="parts of two"
        ),
    ],
)
def test_a_supervisor_that_talks_nonsense_ends_the_worker_with_a_wire_error(frames: list[bytes]) -> None:
    async def main() -> None:
        ours, theirs = memory_link_pair()
        for frame in frames:
            await ours.send(frame)
        with pytest.raises(wire.WireError):
            await worker.main(theirs, FakeNetwork().dialer, random.Random(7))

    trio.run(main, clock=MockClock(autojump_threshold=0))


URLS: Json = [{"path": "/a"}, {"path": "/b", "status_code": [[200, 299], [503, 503]]}, {"path": "/c"}]


def test_urls_one_by_one_are_asked_one_in_each_loop_and_the_bad_one_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random.Random, "uniform", lambda _self, low, _high: low)

    async def story(supervisor: Supervisor) -> None:
        server = supervisor.network.server("192.168.100.20", 80)
        await supervisor.assign(job(retry=1, options={"url": URLS, "urls_one_by_one": True}))
        await trio.sleep(24)  # a 1 s, b 7 s, c 13 s: up; a 19 s
        server.behaviour = status(503)
        await trio.sleep(20)  # b 25 s is content; c 31 s, c 33 s: down; c 39 s
        server.behaviour = healthy()
        await trio.sleep(30)  # c 45 s; a 51 s, b 57 s, c 63 s: up; a 69 s
        asked = [(round(one.at - supervisor.start), one.data.split()[1].decode()) for one in server.requests]
        assert " ".join(f"{at}{path}" for at, path in asked) == (
            "1/a 7/b 13/c 19/a 25/b 31/c 33/c 39/c 45/c 51/a 57/b 63/c 69/a"
        )

    told = [(round(at), *rest) for at, *rest in run(story).reports()]
    assert told == [
        (13, "UP", "L7OK"),
        (31, "UP", "L7STS"),
        (33, "DOWN", "L7STS"),
        (45, "DOWN", "NONE"),
        (63, "UP", "L7OK"),
    ]


def test_urls_one_by_one_in_a_hurry_do_not_wait_for_each_other_while_not_up() -> None:
    async def story(supervisor: Supervisor) -> None:
        server = supervisor.network.server("192.168.100.20", 80)
        options: Json = {"url": URLS, "urls_one_by_one": True, "fast_recovery": True}
        await supervisor.assign(job(options=options))
        await trio.sleep(5)
        assert [one.data.split()[1] for one in server.requests] == [b"/a", b"/b", b"/c"]

    ((at, *told),) = run(story).reports()
    assert told == ["UP", "L7OK"]
    assert at == pytest.approx(1, abs=0.2)


def test_a_probe_on_request_is_answered_and_changes_nothing_of_the_schedule() -> None:
    async def story(supervisor: Supervisor) -> None:
        server = supervisor.network.server("192.168.100.20", 80)
        await supervisor.assign(job())
        await trio.sleep(10)
        server.behaviour = status(503)
        await supervisor.link.send(wire.encode(wire.Probe(7, 1)))
        await trio.sleep(1)
        server.behaviour = healthy()
        await trio.sleep(20)

    told = run(story)
    ((at, probed),) = told.of(wire.Probed)
    assert (at, probed.number, probed.job) == (10.0, 7, 1)
    assert probed.result is not None
    assert probed.result.reason is Reason.L7STS
    assert [step.kind.name for step in probed.steps] == ["CONNECTING", "CONNECTED", "SENT", "RECEIVED", "CLOSED"]
    assert told.reports() == [(1.0, "UP", "L7OK")], "what it found is no failure of the schedule's"
    asked = told.network.server("192.168.100.20", 80).requests
    assert [round(one.at - told.start) for one in asked] == [1, 7, 10, 13, 19, 25]


def test_a_probe_on_request_of_a_job_that_is_gone_has_no_result() -> None:
    async def story(supervisor: Supervisor) -> None:
        await supervisor.assign(job())
        await trio.sleep(1)
        await supervisor.assign(generation=2)
        await supervisor.link.send(wire.encode(wire.Probe(7, 1)))
        await trio.sleep(1)

    ((_, probed),) = run(story).of(wire.Probed)
    assert probed.result is None
    assert probed.generation == 2


def test_a_job_that_is_to_look_does_so_at_once_and_one_that_looks_just_now_once_more() -> None:
    async def story(supervisor: Supervisor) -> None:
        async def grant(*, later_s: float = 0.0) -> None:
            await trio.sleep(0.2)
            ask = supervisor.of(wire.Ask)[-1][1]
            await trio.sleep(later_s)
            await supervisor.link.send(wire.encode(wire.Grant(ask.number, Ending.DONE, text="0")))

        look = wire.encode(wire.Look((7, 1)))
        options: dict[str, Json] = {"path": "/run/load", "factor": 1}
        await supervisor.assign(job(type="FILE_CHECK", options=options, delay_loop=10.0))
        await grant()
        await trio.sleep(3)
        await supervisor.link.send(look)
        await trio.sleep(0.2)
        await supervisor.link.send(look)
        await grant(later_s=1.0)
        await grant()
        await trio.sleep(11)

    asked_at = [at for at, _ in run(story).of(wire.Ask)]
    assert asked_at == pytest.approx([0, 3.2, 4.6, 14.8], abs=0.2)
