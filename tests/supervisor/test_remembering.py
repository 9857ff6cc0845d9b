"""When the state is written, and what happens when it cannot be: on a virtual clock, with a disk that goes wrong on request."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from supervisor.core.kernelsettings import Held
from supervisor.core.memory import Clocks, Life, PoolMemory
from supervisor.log import Log
from supervisor.model import ServiceKey, Timeouts
from supervisor.remembering import ALIVE_S, BACKOFF_MAX_S, Present, Remembering
from supervisor.statefile import FORMAT, decode
from supervisor.statefolder import ASIDE_MAX
from tests.fakes.store import FakeStore
from tests.supervisor.core.builders import KEY

LIFE = Life("boot", "net")
NOTHING: MappingProxyType[Any, Any] = MappingProxyType({})


def wall() -> float:
    return 1_800_000_000.0 + trio.current_time() % 1_000_000


@dataclass
class Play:
    """A program that remembers, as far as that goes."""

    store: FakeStore = field(default_factory=lambda: FakeStore(wall))
    lines: list[dict[str, Any]] = field(default_factory=list)
    news: bool = True
    present: Present = field(default_factory=lambda: Present("0123456789ab", Held(), NOTHING))
    pools: dict[ServiceKey, PoolMemory] = field(default_factory=dict)

    def __post_init__(self) -> None:
        log = Log(lambda line, _: self.lines.append(json.loads(line)), strict=True)
        clock: Callable[[], datetime] = lambda: datetime.fromtimestamp(wall(), UTC)  # noqa: E731
        self.remembering = Remembering(self.store, LIFE, log, clock, in_thread=False)

    def change(self, name: str) -> None:
        """Something new is to be remembered."""
        self.news, self.pools = True, {KEY: PoolMemory(KEY, True, float(len(name)))}
        self.remembering.note()

    async def memories(self, clocks: Clocks) -> dict[ServiceKey, PoolMemory]:
        assert clocks.wall == pytest.approx(wall())
        await trio.lowlevel.checkpoint()
        self.news = False
        return self.pools

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]


def play(story: Callable[[Play], Awaitable[None]]) -> Play:
    async def main() -> Play:
        world = Play()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.remembering.run, world.memories, lambda: world.news, lambda: world.present)
            await story(world)
            nursery.cancel_scope.cancel()
        return world

    return trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_change_is_on_the_disk_at_once_and_many_in_a_second_are_one_write() -> None:
    async def story(world: Play) -> None:
        await trio.sleep(5.0)
        assert len(world.store.writes) == 1
        for _ in range(50):
            world.change("a")
            await trio.sleep(0.1)
        assert 5 <= len(world.store.writes) - 1 <= 6
        await trio.sleep(5.0)
        assert len(world.store.writes) - 1 <= 7
        before = trio.current_time()
        world.change("b")
        await trio.sleep(0.01)
        assert world.store.alive_at == pytest.approx(1_800_000_000.0 + before % 1_000_000)

    play(story)


def test_nothing_is_written_while_nothing_changes_but_the_age_of_the_file_is_kept_low() -> None:
    async def story(world: Play) -> None:
        await trio.sleep(100 * ALIVE_S)
        assert len(world.store.writes) == 1
        assert 90 <= world.store.touches <= 100
        assert wall() - world.store.alive_at <= ALIVE_S + 2

    play(story)


def test_what_is_no_news_of_the_director_is_written_within_two_seconds_too() -> None:
    async def story(world: Play) -> None:
        await trio.sleep(5.0)
        world.present = Present("0123456789ab", Held(Timeouts(tcp=900)), NOTHING)
        await trio.sleep(2.0)
        assert world.store.data is not None
        assert decode(world.store.data).held == Held(Timeouts(tcp=900))

    play(story)


def test_a_full_disk_is_said_once_the_old_file_stays_and_the_next_tries_come_less_often() -> None:
    async def story(world: Play) -> None:
        world.change("old")
        await trio.sleep(5.0)
        old, world.store.trouble = world.store.data, errno.ENOSPC
        world.change("new one")
        await trio.sleep(600.0)
        assert world.store.data == old
        view = world.remembering.view(trio.current_time())
        assert view.error == "ENOSPC No space left on device"
        assert view.writes in {1, 2}
        assert 600 / BACKOFF_MAX_S <= view.failures <= 600 / BACKOFF_MAX_S + 8
        assert view.age_s is not None
        assert view.age_s > 600
        world.store.trouble = 0
        await trio.sleep(BACKOFF_MAX_S + 2)
        assert world.store.data is not None
        assert decode(world.store.data).pools == world.pools
        assert world.remembering.view(trio.current_time()).error == ""

    world = play(story)
    assert world.events() == ["state.write_failed", "state.write_recovered"]
    assert world.lines[0]["reason"] == "ENOSPC No space left on device"


def test_a_directory_of_somebody_else_is_said_with_the_remedy() -> None:
    async def story(world: Play) -> None:
        world.store.trouble = errno.EACCES
        await trio.sleep(5.0)

    assert f"must belong to user {os.geteuid()}" in play(story).lines[0]["reason"]


def test_a_file_that_was_taken_away_is_written_again() -> None:
    async def story(world: Play) -> None:
        await trio.sleep(5.0)
        world.store.data = None
        await trio.sleep(ALIVE_S + 3.0)
        assert world.store.data is not None

    assert play(story).events() == []


def test_the_last_word_is_written_though_nothing_is_new_and_nobody_waits_for_a_disk_for_ever() -> None:
    async def story(world: Play) -> None:
        await trio.sleep(5.5)
        began = trio.current_time()
        await world.remembering.finish(removed=True)
        assert trio.current_time() - began < 0.01
        assert world.store.data is not None
        assert decode(world.store.data).removed

    play(story)


def recalled(data: bytes | None, trouble: int = 0) -> tuple[Play, object]:
    async def main() -> tuple[Play, object]:
        world = Play()
        world.store.data, world.store.trouble = data, trouble
        return world, world.remembering.recall(trio.current_time())

    return trio.run(main, clock=MockClock())


def test_a_damaged_file_is_set_aside_with_its_reason_and_a_newer_one_under_a_name_of_its_own() -> None:
    world, recall = recalled(b'{"format":1')
    assert recall is None
    (line,) = world.lines
    assert line["event"] == "state.set_aside"
    assert "not JSON" in line["reason"]
    assert line["kept_as"].startswith("/var/lib/vipervisor/state.json.damaged-2027")
    assert list(world.store.aside.values()) == [b'{"format":1']
    world, recall = recalled(json.dumps({"format": FORMAT + 1}).encode())
    assert recall is None
    assert list(world.store.aside) == ["newer"]
    assert len(world.store.aside) <= ASIDE_MAX


def test_no_file_is_no_news_and_one_that_cannot_be_read_is() -> None:
    assert recalled(None)[0].lines == []
    world, recall = recalled(b"", errno.EIO)
    assert recall is None
    assert world.events() == ["state.write_failed"]


def test_who_keeps_nothing_writes_nothing_and_ends_at_once() -> None:
    async def main() -> None:
        log = Log(lambda *_: None, strict=True)
        remembering = Remembering(None, LIFE, log, lambda: datetime.now(UTC), in_thread=False)
        assert remembering.recall(0.0) is None
        await remembering.run(Play().memories, lambda: True, lambda: Present("", Held(), NOTHING))
        await remembering.finish(removed=True)
        assert remembering.view(1.0).path == ""

    trio.run(main)
