"""What comes first at a start: the table, then who watches."""

from __future__ import annotations

from pathlib import Path

from supervisor.core.table import DeleteService
from tests.sim.world import World, play

ARTICLE = (Path(__file__).parents[2] / "deploy" / "examples" / "article.conf").read_text()


def test_a_checker_is_started_as_soon_as_the_table_is_written(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.later(0.35)  # of which a checker takes 0.3 s to come up
        assert world.weights()
        assert world.children

    play(story, ARTICLE, tmp_path)


def test_a_kernel_that_takes_nothing_keeps_checkers_waiting_for_a_second_and_no_longer(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.crash()
        await world.ended.wait()
        world.children.clear()
        world.backend.meddle(DeleteService(world.service()))
        world.backend.refuse = lambda _op: "EBUSY"
        await world.start()
        await world.later(0.8)
        assert not world.children
        await world.later(0.6)
        assert world.children

    play(story, ARTICLE, tmp_path)
