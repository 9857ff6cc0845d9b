"""The kernel's table is out of reach, was taken away, or refuses: what becomes of the rest (reliability.md, faults 37 to 46)."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.core.table import AddService, ChangeDestination, DeleteService, Op
from supervisor.ipvs.writer import LOST
from tests.fakes.behaviours import healthy, refuse
from tests.sim.world import World, play

ARTICLE = (Path(__file__).parents[2] / "deploy" / "examples" / "article.conf").read_text()
POLICIES = ["repair", "adopt", "report"]


def two_services(policy: str = "repair") -> str:
    """The article's virtual server, and once more on another port with another scheduler."""
    start = ARTICLE.index("virtual_server")
    governed = ARTICLE.replace("  lvs_sched", f"  drift_policy {policy}\n  lvs_sched", 1)
    other = ARTICLE[start:].replace("203.0.113.100 80", "203.0.113.100 81").replace("lvs_sched rr", "lvs_sched mh")
    return governed + other


async def settled(world: World, *dead: int) -> None:
    for last in (21, 22):
        world.network.server(f"192.168.100.{last}", 80).behaviour = refuse() if last in dead else healthy()
    await world.later(30)


def test_lost_answers_are_no_failures_and_lead_to_a_reading(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        world.backend.lose_applies = 3
        world.backend.lose_reads = 3
        await settled(world, 22)
        assert world.weights() == {21: 1, 22: 0}
        results = {count.result for count in world.snapshot().process.writer.operations}
        assert results == {"ok", LOST}

    assert play(story, ARTICLE, tmp_path).events("kernel.write_failed") == []


@pytest.mark.parametrize("policy", POLICIES)
def test_without_the_right_to_the_table_nothing_is_written_checks_go_on_and_it_says_so(
    tmp_path: Path, policy: str
) -> None:
    async def story(world: World) -> None:
        await settled(world)
        assert world.snapshot().process.ready
        world.backend.unavailable = "the kernel does not let us at its IPVS table (EPERM)"
        before = len(world.backend.history)
        await settled(world, 22)
        assert not world.snapshot().process.ready
        assert not world.snapshot().process.writer.reachable
        assert world.snapshot().virtual_servers[0].real_servers[1].health == "DOWN"
        assert len(world.backend.history) == before
        world.backend.unavailable = ""
        await world.later(3)
        assert world.weights() == {21: 1, 22: 0}
        assert world.snapshot().process.ready

    world = play(story, two_services(policy), tmp_path)
    assert len(world.events("kernel.write_failed")) == len(world.events("kernel.recovered")) == 1


@pytest.mark.parametrize("policy", POLICIES)
def test_a_module_that_was_unloaded_and_is_back_is_filled_under_every_policy(tmp_path: Path, policy: str) -> None:
    async def story(world: World) -> None:
        await settled(world, 22)
        world.backend.unavailable = "the module ip_vs is not loaded"
        world.backend.meddle(*(DeleteService(key) for key in world.backend.table.services))
        await world.later(20)
        world.backend.unavailable = ""
        await world.later(3)
        assert world.weights() == world.weights(1) == {21: 1, 22: 0}

    play(story, two_services(policy), tmp_path)


def test_a_scheduler_without_a_module_hurts_its_own_service_alone_until_the_module_is_there(tmp_path: Path) -> None:
    def refuse_mh(op: Op) -> str:
        return "ENOENT" if isinstance(op, AddService) and op.settings.scheduler == "mh" else ""

    async def story(world: World) -> None:
        world.scope.cancel()
        world.backend.meddle(*(DeleteService(key) for key in world.backend.table.services))
        world.backend.refuse = refuse_mh
        await world.start()
        await settled(world, 22)
        assert world.weights() == {21: 1, 22: 0}
        assert world.weights(1) == {}
        world.backend.refuse = lambda _op: ""
        await world.later(3)
        assert world.weights(1) == {21: 1, 22: 0}

    failed = play(story, two_services(), tmp_path).events("kernel.write_failed")
    assert {line["errno"] for line in failed} >= {"ENOENT"}
    assert all(line["virtual_server"] == "203.0.113.100:81/tcp" for line in failed)


def test_a_table_that_went_with_its_namespace_is_built_from_nothing(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world, 22)
        world.crash()
        world.backend.meddle(DeleteService(world.service()))  # the container was made anew: nothing is left
        await world.start()
        await settled(world, 22)
        assert world.weights() == {21: 1, 22: 0}

    play(story, ARTICLE, tmp_path)


def test_an_entry_that_somebody_took_or_made_first_is_news_and_no_error(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        once = ["ENOENT"]
        world.backend.refuse = lambda op: once.pop() if once and isinstance(op, ChangeDestination) else ""
        await settled(world, 22)
        assert once == []
        assert world.weights() == {21: 1, 22: 0}

    assert play(story, ARTICLE, tmp_path).events("kernel.write_failed") == []
