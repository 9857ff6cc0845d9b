"""The exporter's conversation with the supervisor, on a virtual clock."""

import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from supervisor.core import questions
from supervisor.core.entry import RESULT, Entry, Extract, Malformed
from supervisor.core.entry import encode as encode_extract
from supervisor.core.snapshot import Snapshot, encode
from supervisor.exporter import link as link_module
from supervisor.exporter.link import ALIVE_EVERY_S, ANSWER_MAX_S, CACHE_S, QUESTIONS_MAX, NoAnswer, SupervisorLink
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
        assert said == b"alive\n" * int(60 / ALIVE_EVERY_S)  # signs of life, and nothing else

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


class Answering:
    """The supervisor's end: answers each question from a table of lines, and notes what it was asked."""

    def __init__(self, stream: Stream, answers: dict[bytes, bytes], pause_s: float = 0.0) -> None:
        self.asked: list[bytes] = []
        self._stream = stream
        self._answers = answers
        self._pause_s = pause_s

    async def run(self) -> None:
        rest = b""
        async for data in self._stream:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line != b"alive":
                    self.asked.append(line)
                    await trio.sleep(self._pause_s)
                    await self._stream.send_all(self._answers[line] + b"\n")


POOL = "203.0.113.100:80/tcp"
EXTRACT = Extract(
    1_800_000_000.0,
    (
        Entry(3, 1_799_999_990.0, RESULT, "info", "TCP_CHECK: L4OK", POOL, "192.168.100.21:80", {"passed": True}),
        Entry(7, 1_799_999_999.5, "real_server.state_changed", "warning", "DOWN", POOL, because=("a probe", "a check")),
    ),
    omitted=12,
)


def test_history_and_events_come_when_they_are_asked_for_and_are_asked_for_once_a_second() -> None:
    async def story(link: SupervisorLink, stream: Stream, _clock: Clock) -> None:
        table = {b"history " + POOL.encode(): encode_extract(EXTRACT), b"events": encode_extract(Extract(1.0, ()))}
        supervisor = Answering(stream, table)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.run)
            for _ in range(3):
                assert await link.history(POOL) == EXTRACT
                assert await link.events() == Extract(1.0, ())
            assert supervisor.asked == list(table)
            await trio.sleep(CACHE_S + 0.1)
            await link.events()
            assert supervisor.asked == [*table, b"events"]
            nursery.cancel_scope.cancel()

    play(story)


def test_there_is_no_history_of_what_is_no_virtual_server_and_what_cannot_be_one_is_not_asked() -> None:
    async def story(link: SupervisorLink, stream: Stream, _clock: Clock) -> None:
        supervisor = Answering(stream, {b"history 203.0.113.9:80/tcp": b"null"})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.run)
            assert await link.history("203.0.113.9:80/tcp") is None
            for name in ("", "two words", "line\nsnapshot", "ü", "x" * 257):
                assert await link.history(name) is None
            assert supervisor.asked == [b"history 203.0.113.9:80/tcp"]
            nursery.cancel_scope.cancel()

    play(story)


def test_questions_wait_in_a_row_and_a_snapshot_is_not_kept_out_by_strangers_who_ask_for_much() -> None:
    async def story(link: SupervisorLink, stream: Stream, _clock: Clock) -> None:
        names = [f"fwm:{number}/ipv4" for number in range(1, 3 * QUESTIONS_MAX)]
        answers = {f"history {name}".encode(): b"null" for name in names}
        supervisor = Answering(stream, {**answers, b"snapshot": aged(1).rstrip()}, pause_s=0.01)
        refused: list[str] = []

        async def ask(name: str) -> None:
            try:
                await link.history(name)
            except NoAnswer:
                refused.append(name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.run)
            async with trio.open_nursery() as strangers:
                for name in names:
                    strangers.start_soon(ask, name)
                strangers.start_soon(link.fetch)
            assert len(refused) >= len(names) - QUESTIONS_MAX - 1
            assert b"snapshot" in supervisor.asked
            nursery.cancel_scope.cancel()

    play(story)


def test_what_nobody_waits_for_any_more_is_not_asked() -> None:
    async def story(link: SupervisorLink, stream: Stream, _clock: Clock) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.fetch)  # stays open, for nobody answers
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(0.5):
                await link.history(POOL)
            nursery.cancel_scope.cancel()
        await stream.send_all(aged(1))
        await trio.sleep(5)
        assert b"history" not in await stream.receive_some()

    play(story)


@pytest.mark.parametrize("line", [b"hello", b"[]", b'{"schema": 1}', b'{"schema":2,"at":1,"entries":[],"omitted":0}'])
def test_what_is_no_extract_is_an_error(line: bytes) -> None:
    async def story(link: SupervisorLink, stream: Stream, _clock: Clock) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Answering(stream, {b"events": line}).run)
            await link.events()

    with pytest.raises(ExceptionGroup) as caught:
        play(story)
    assert caught.group_contains(Malformed, depth=None)


@pytest.mark.parametrize("line", [b"hello\n", b'{"schema": 99}\n', b"\n", b"[]\n"])
def test_what_is_no_snapshot_is_an_error(line: bytes) -> None:
    async def story(link: SupervisorLink, stream: Stream, _clock: Clock) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Answering(stream, {b"snapshot": line.rstrip()}).run)
            await link.fetch()

    with pytest.raises(ExceptionGroup) as caught:
        play(story)
    assert caught.group_contains(ValueError, match="snapshot|JSON|Expecting", depth=None)


def test_an_answer_to_no_question_is_an_error() -> None:
    async def main() -> None:
        ours, theirs = memory_stream_pair()
        await theirs.send_all(aged(1))
        await SupervisorLink(ours).run()

    with pytest.raises(ExceptionGroup) as caught:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    assert caught.group_contains(ValueError, match="no question")


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


def test_a_question_for_readiness_goes_before_all_others_that_wait() -> None:
    async def story(link: SupervisorLink, supervisor: Stream, _clock: Clock) -> None:
        async def ask(question: Callable[[], Awaitable[object]]) -> None:
            with contextlib.suppress(NoAnswer):
                found.append(await question())

        found: list[object] = []
        async with trio.open_nursery() as nursery:
            for question in (link.fetch, link.events, lambda: link.history("203.0.113.1:80/tcp"), link.ready):
                nursery.start_soon(ask, question)
                await trio.testing.wait_all_tasks_blocked()
            assert await supervisor.receive_some() == b"snapshot\n"
            await supervisor.send_all(aged(1))
            await trio.testing.wait_all_tasks_blocked()
            assert await supervisor.receive_some() == b"ready\n"
            await supervisor.send_all(b"false\n")
            await trio.testing.wait_all_tasks_blocked()
            assert found[1:] == [False]
            assert await supervisor.receive_some() == b"events\n"

    play(story)


def test_what_is_neither_true_nor_false_is_no_answer_to_a_question_for_readiness() -> None:
    assert [questions.decode_ready(questions.encode_ready(ready=ready)) for ready in (True, False)] == [True, False]
    with pytest.raises(ValueError, match="expected true or false"):
        questions.decode_ready(b"1")
