"""What is told becomes history: at once noted, a little later written down, bounded, and fit for any terminal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from supervisor import recording as recording_module
from supervisor.core.causes import Chronicle, Kind
from supervisor.core.entry import Entry
from supervisor.log import Log
from supervisor.recording import WRITTEN_MAX, Recording
from tests.fakes.store import FakeStore
from tests.supervisor.core.builders import KEY, config, real_server, said, started, virtual_server

POOL, ONE = "203.0.113.100:80/tcp", "192.168.100.21:80"
NOON = datetime(2026, 11, 28, 12, 0, 0, 123456, tzinfo=UTC)


def recording(store: FakeStore | None = None) -> tuple[Recording, Log]:
    log = Log(lambda _line, _level: None, strict=True)
    made = Recording(store, log, lambda: NOON, in_thread=False)
    made.history.reconfigure({POOL: [ONE]})
    return made, log


def play(story: Callable[[], Awaitable[None]]) -> None:
    trio.run(story, clock=MockClock(autojump_threshold=0))


def drained(log: Log, number: int = 0, **more: Any) -> None:
    fields = {"virtual_server": POOL, "real_server": ONE, "took_s": float(number), "in_time": True, **more}
    log.emit("real_server.drained", f"{number} is empty.", **fields)


def told(made: Recording) -> list[Entry]:
    return list(reversed(list(made.history.events())))


def test_what_is_told_is_noted_at_once_and_written_down_in_its_order() -> None:
    made, log = recording()
    for number in range(3):
        drained(log, number)
    assert told(made) == [], "whoever tells does not wait for it"
    made.write_down(2)
    assert [entry.message for entry in told(made)] == ["0 is empty.", "1 is empty."]
    made.write_down()
    assert [entry.id for entry in told(made)] == [1, 2, 3]
    assert made.history.server(POOL, ONE) == told(made)


def test_an_entry_has_the_events_name_level_words_and_fields_that_say_something() -> None:
    made, log = recording()
    chronicle = Chronicle()
    chain = chronicle.begin(0.0, Kind.PROBE, "a probe\x1b[2J")
    chain = chronicle.extend(chain, 0.0, Kind.REAL_SERVER, "itself")
    made.explain = chronicle.recent
    fields = {"virtual_server": POOL, "real_server": ONE, "to": "DOWN", "detail": "", "weight_old": None}
    log.emit("real_server.state_changed", "It is\nDOWN.", **fields, failures=3, cause_id=chain[-1].id)
    made.write_down()
    assert told(made) == [
        Entry(
            id=1,
            at=round(NOON.timestamp(), 3),
            type="real_server.state_changed",
            level="warning",
            said="It is\\nDOWN.",
            virtual_server=POOL,
            real_server=ONE,
            facts={"to": "DOWN", "failures": 3},
            because=("a probe\\x1b[2J",),
        )
    ]


@pytest.mark.parametrize(
    ("level", "event"), [("debug", "worker.started"), ("info", "burst.summary"), ("info", "log.dropped")]
)
def test_what_is_of_use_for_debugging_alone_or_speaks_of_the_logs_own_lines_is_no_history(
    level: str, event: str
) -> None:
    made, log = recording()
    assert log.listener is not None
    made.hear(level, event, "17 more came.", {})
    made.hear("info", "worker.started", "It runs.", {})
    made.write_down()
    assert [entry.message for entry in told(made)] == ["It runs."]


def test_what_waits_is_bounded_and_the_oldest_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording_module, "NOTED_MAX", 10)
    made, log = recording()
    for number in range(25):
        drained(log, number)
    made.write_down()
    assert [entry.message for entry in told(made)] == [f"{number} is empty." for number in range(15, 25)]


def test_a_storm_is_written_down_some_at_a_time_and_others_come_in_between() -> None:
    async def story() -> None:
        made, log = recording()
        turns = 0

        async def decide() -> None:
            nonlocal turns
            while len(told(made)) < 10 * WRITTEN_MAX:
                turns += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.run)
            await trio.testing.wait_all_tasks_blocked()
            for number in range(10 * WRITTEN_MAX):
                drained(log, number)
            await decide()
            nursery.cancel_scope.cancel()
        assert turns >= 10

    play(story)


def test_what_is_told_before_the_history_is_taken_up_follows_it() -> None:
    async def story() -> None:
        store = FakeStore()
        first, log = recording(store)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.run)
            await trio.testing.wait_all_tasks_blocked()
            drained(log, 1)
            await first.finish()
            nursery.cancel_scope.cancel()
        second, log = recording(store)
        drained(log, 2)
        second.write_down()
        assert told(second) == [], "it waits"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(second.run)
            await trio.sleep(2)
            nursery.cancel_scope.cancel()
        assert [(entry.id, entry.message) for entry in told(second)] == [(1, "1 is empty."), (2, "2 is empty.")]

    play(story)


def test_the_name_of_a_real_server_is_one_object_for_all_who_tell_of_it() -> None:
    made, _ = recording()
    configured = config(virtual_server(real_server(21)))
    director = started(configured)
    made.reconfigure(configured)
    (job,) = director.pools.jobs.jobs.values()
    event = said(job, up=True)
    made.heard(event, director)
    made.write_down()
    name = str(configured.virtual_servers[0].real_servers[0].endpoint)
    (entry,) = made.history.server(str(KEY), name)
    assert entry.real_server is name
    assert entry.facts["target"] is name
    assert event.result is not None
    assert entry.facts["duration_s"] is event.result.duration_s, "nor is a number that many have made anew"
