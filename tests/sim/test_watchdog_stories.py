"""What systemd's watchdog lives from: that we decide, and that we write, and not that a timer runs."""

from __future__ import annotations

from pathlib import Path

import trio

from supervisor.systemd import Pulse
from tests.sim.world import World, play

ARTICLE = (Path(__file__).parents[2] / "deploy" / "examples" / "article.conf").read_text()
PERIOD_S = 10.0
"""WatchdogSec= of the unit."""


def test_a_program_that_works_gives_a_sign_of_life_each_second(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        for _ in range(600):
            await world.later(1)
            assert world.now() - world.manager.fed_at <= 1
        assert world.events("watchdog.withheld") == []
        assert world.manager.shown.startswith("1 virtual servers")

    play(story, ARTICLE, tmp_path)


def test_a_tick_is_an_event_only_where_nothing_else_has_happened_since_the_last(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.later(60)
        before = world.supervisor._taken
        await world.later(60)
        readings, others = 60, 20  # full states of the worker, and the like
        assert world.supervisor._taken - before <= 2 * readings + others

    play(story, ARTICLE, tmp_path)


def test_a_kernel_that_is_gone_for_a_while_is_no_standstill(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.backend.unavailable = "the module was unloaded"
        await world.later(300)
        assert world.now() - world.manager.fed_at <= 1

    play(story, ARTICLE, tmp_path)


def test_a_writer_that_hangs_is_left_to_the_watchdog_after_half_a_minute(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        async def never() -> bool:
            await trio.sleep_forever()
            raise AssertionError

        await world.later(10)
        world.supervisor._writer._audit = never  # type: ignore[method-assign]  # the kernel does not come back
        await world.later(25)
        assert world.now() - world.manager.fed_at <= 1
        await world.later(60)
        assert world.now() - world.manager.fed_at > PERIOD_S
        (told,) = world.events("watchdog.withheld")
        assert told["what"] == "the writer of the kernel's table"
        assert world.manager.shown == "stuck: the writer of the kernel's table"

    play(story, ARTICLE, tmp_path)


def test_a_decision_loop_that_hangs_is_left_to_the_watchdog_within_seconds(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        async def never() -> None:
            await trio.sleep_forever()

        await world.later(10)
        world.supervisor._more = never  # type: ignore[method-assign]  # a wait that does not end
        await world.later(15)
        assert world.now() - world.manager.fed_at > PERIOD_S / 2
        (told,) = world.events("watchdog.withheld")
        assert told["what"] == "the decision loop"

    play(story, ARTICLE, tmp_path)


def test_a_pulse_counts_beats_and_not_time() -> None:
    moves = 0
    pulse = Pulse({"it": (lambda: moves, 2)})
    assert [pulse.beat() for _ in range(5)] == ["", "", "", "it", "it"]
    moves += 1
    assert pulse.beat() == ""
