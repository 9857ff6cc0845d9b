"""The exporter's conversation with the supervisor, on a virtual clock."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from supervisor.core.snapshot import Snapshot, encode
from supervisor.exporter import link as link_module
from supervisor.exporter.link import ANSWER_MAX_S, NoAnswer, SupervisorLink
from tests.fakes import snapshots

Stream = trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]


def aged(uptime_s: float) -> bytes:
    return encode(Snapshot(replace(snapshots.process(), uptime_s=uptime_s), ())) + b"\n"


class Clock:
    """A wall clock that can be set."""

    def __init__(self) -> None:
        self.offset_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.offset_s + trio.current_time()


def play(story: Callable[[SupervisorLink, Stream, Clock], Awaitable[None]]) -> None:
    """Run `story` with a link, the supervisor's end of it, and its wall clock."""

    async def main() -> None:
        ours, theirs = memory_stream_pair()
        clock = Clock()
        link = SupervisorLink(ours, clock)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            await story(link, theirs, clock)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_the_greeting_is_one_line_of_json() -> None:
    async def story(link: SupervisorLink, supervisor: Stream, _clock: Clock) -> None:
        await link.greet({"hello": {"pid": 7}})
        data = await supervisor.receive_some()
        assert data.endswith(b"\n")
        assert json.loads(data) == {"hello": {"pid": 7}}

    play(story)


def test_nobody_asks_without_need() -> None:
    async def story(_link: SupervisorLink, supervisor: Stream, _clock: Clock) -> None:
        said = b""
        with trio.move_on_after(60.5):
            while True:
                said += await supervisor.receive_some()
        assert said == b"alive\n" * 60  # signs of life, and nothing else

    play(story)


def test_an_answer_in_many_pieces_is_put_together() -> None:
    async def story(link: SupervisorLink, supervisor: Stream, _clock: Clock) -> None:
        async def answer() -> None:
            assert await supervisor.receive_some() == b"snapshot\n"
            for byte in aged(7):
                await supervisor.send_all(bytes([byte]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            snapshot = (await link.fetch()).snapshot
        assert snapshot.process.uptime_s == 7

    play(story)


def test_a_busy_supervisor_finds_one_question_and_its_late_answer_is_good() -> None:
    async def story(link: SupervisorLink, supervisor: Stream, _clock: Clock) -> None:
        begin = trio.current_time()
        for _ in range(3):
            with pytest.raises(NoAnswer):
                await link.fetch()
        assert trio.current_time() - begin == pytest.approx(3 * ANSWER_MAX_S)
        said = await supervisor.receive_some()
        assert said.startswith(b"snapshot\n")
        assert said.count(b"snapshot") == 1
        await supervisor.send_all(aged(1))
        await trio.testing.wait_all_tasks_blocked()
        snapshot = (await link.fetch()).snapshot
        assert snapshot.process.uptime_s == 1

    play(story)


def test_the_clock_of_a_snapshot_follows_the_supervisors_time_and_not_the_delay_of_its_answer() -> None:
    async def story(link: SupervisorLink, supervisor: Stream, clock: Clock) -> None:
        async def ask(uptime_s: float, delay_s: float) -> float:
            async def answer() -> None:
                while b"snapshot" not in await supervisor.receive_some():
                    pass
                await trio.sleep(delay_s)
                await supervisor.send_all(aged(uptime_s))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer)
                now_wall = (await link.fetch()).now_wall
            return now_wall - uptime_s

        started = await ask(100.0, 0.01)
        await trio.sleep(10)
        assert await ask(110.01, 0.3) == started
        await trio.sleep(10)
        clock.offset_s += 3600  # somebody set the clock
        assert await ask(120.31, 0.01) == pytest.approx(started + 3600, abs=1)

    play(story)


def test_the_end_of_the_supervisor_ends_the_conversation() -> None:
    async def main() -> None:
        ours, theirs = memory_stream_pair()
        with trio.fail_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(SupervisorLink(ours).run)
                await trio.testing.wait_all_tasks_blocked()
                await theirs.aclose()

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("line", [b"hello\n", b'{"schema": 99}\n', b"\n", b"[]\n"])
def test_what_is_no_snapshot_is_an_error(line: bytes) -> None:
    async def main() -> None:
        ours, theirs = memory_stream_pair()
        await theirs.send_all(line)
        await SupervisorLink(ours).run()

    with pytest.raises(ExceptionGroup) as caught:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    assert caught.group_contains(ValueError, match="snapshot|JSON|Expecting")


def test_an_endless_answer_is_an_error_and_not_a_full_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "LINE_MAX_BYTES", 1000)

    async def main() -> None:
        ours, theirs = memory_stream_pair()
        await theirs.send_all(b"x" * 1001)
        await SupervisorLink(ours).run()

    with pytest.raises(ExceptionGroup) as caught:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    assert caught.group_contains(ValueError, match="longer than")


def test_an_answer_that_is_long_in_coming_is_waited_for_as_long_as_it_moves() -> None:
    async def story(link: SupervisorLink, supervisor: Stream, _clock: Clock) -> None:
        async def answer() -> None:
            while b"snapshot" not in await supervisor.receive_some():
                pass
            data = aged(7)
            for start in range(0, len(data), 1000):
                await supervisor.send_all(data[start : start + 1000])
                await trio.sleep(ANSWER_MAX_S - 0.1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            view = await link.fetch()
        assert view.snapshot.process.uptime_s == 7
        assert view.took_s > 1.5 * ANSWER_MAX_S

    play(story)
