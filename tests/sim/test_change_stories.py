"""What a changed file, a crash and an order at a bad moment may do to traffic."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
import trio

from supervisor.admin.protocol import RequestError, Status
from supervisor.core.table import Load
from supervisor.model import Endpoint
from tests.fakes.behaviours import refuse
from tests.sim.world import World, play

ARTICLE = (Path(__file__).parents[2] / "deploy" / "examples" / "article.conf").read_text()
WITHOUT_SORRY = ARTICLE.replace("  sorry_server 192.168.100.20 80\n", "")
WITHOUT_INHIBIT = ARTICLE.replace("    inhibit_on_failure\n", "")


def alive(world: World, *lasts: int) -> None:
    for last in lasts:
        world.network.server(f"192.168.100.{last}", 80)


async def over(world: World) -> bool:
    with trio.move_on_after(120):
        await world.ended.wait()
    return world.ended.is_set()


@pytest.mark.parametrize("remove", ["", "    inhibit_on_failure\n"])
def test_a_start_with_other_servers_after_a_crash_never_empties_the_pool(tmp_path: Path, remove: str) -> None:
    file = WITHOUT_SORRY.replace(remove, "") if remove else WITHOUT_SORRY

    async def story(world: World) -> None:
        alive(world, 21, 22, 31, 32)
        await world.later(30)
        world.crash()
        await world.later(1)
        world.path.write_text(file.replace(".100.21", ".100.31").replace(".100.22", ".100.32"))
        before = len(world.backend.history)
        await world.start()
        await world.later(20)
        for _, table in world.backend.history[before:]:
            (service,) = table.services.values()
            assert any(destination.weight for destination in service.destinations.values())
        assert world.weights() == {31: 1, 32: 1}

    play(story, file, tmp_path)


def test_an_order_to_stop_is_obeyed_while_the_table_cannot_be_read_yet(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.crash()
        await world.later(1)
        world.backend.unavailable = "no module"
        await world.start()
        await world.later(5)
        world.stop()
        assert await over(world)
        assert not world.events("daemon.ready")[1:]
        assert "could not be read" in world.events("daemon.stopped")[0]["kernel_table"]

    play(story, ARTICLE, tmp_path)


def test_an_order_to_reload_is_obeyed_as_soon_as_the_table_can_be_read(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world, 21, 22)
        world.crash()
        await world.later(1)
        world.backend.unavailable = "no module"
        await world.start()
        world.reload(ARTICLE.replace("weight 1", "weight 7"))
        await world.later(5)
        world.backend.unavailable = ""
        await world.later(3)
        assert world.weights() == {21: 7, 22: 7}

    play(story, ARTICLE, tmp_path)


def test_two_reloads_and_a_stop_in_a_burst_end_cleanly(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world, 21, 22)
        await world.later(10)
        world.reload()
        world.reload()
        world.stop()
        assert await over(world)
        assert not world.backend.table.services

    play(story, ARTICLE, tmp_path)


def test_a_renamed_virtual_server_is_never_given_a_server_that_is_known_to_be_dead(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world, 21)
        world.network.server("192.168.100.22", 80).behaviour = refuse()
        await world.later(30)
        before = len(world.backend.history)
        world.reload(WITHOUT_INHIBIT.replace("203.0.113.100", "203.0.113.101"))
        await world.later(20)
        key = world.service()
        pools = [
            table.services[key].destinations for _, table in world.backend.history[before:] if key in table.services
        ]
        assert {int(endpoint.address) & 255 for pool in pools for endpoint in pool} == {21}

    play(story, WITHOUT_INHIBIT, tmp_path)


def test_a_rack_that_fails_in_one_moment_is_a_few_tables_and_not_one_for_each_server(tmp_path: Path) -> None:
    servers = "".join(
        f"real_server 10.0.0.{last} 80 {{\ninhibit_on_failure\nTCP_CHECK {{\nconnect_timeout 1\nwarmup 0\n}}\n}}\n"
        for last in range(1, 101)
    )
    text = f"virtual_server 203.0.113.100 80 {{\ndelay_loop 5\nlb_algo rr\nlb_kind NAT\nprotocol TCP\n{servers}}}\n"

    async def story(world: World) -> None:
        for last in range(1, 101):
            world.network.server(f"10.0.0.{last}", 80).behaviour = refuse()
        before = len(world.backend.batches)
        await world.later(5)
        assert set(world.weights().values()) == {0}
        assert len(world.backend.batches) - before <= 6

    play(story, text, tmp_path)


def test_why_answers_a_question_of_the_wrong_kind_instead_of_dying_of_it(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        odd: tuple[object, ...] = ([], {}, 7)
        for inside in odd:
            with pytest.raises(RequestError) as caught:
                await world.operate("why", real_server="192.168.100.21", virtual_server=inside)
            assert caught.value.status is Status.USAGE

    play(story, ARTICLE, tmp_path)


def test_a_removed_server_keeps_its_clients_until_they_are_done(tmp_path: Path) -> None:
    block = ARTICLE[ARTICLE.index("  real_server  192.168.100.22") :].rstrip().removesuffix("}")
    gone = Endpoint(ip_address("192.168.100.22"), 80)

    async def story(world: World) -> None:
        alive(world, 21, 22)
        await world.later(30)
        world.backend.carried = {gone: Load(active=2)}
        world.path.write_text(ARTICLE.replace(block, ""))
        world.reload()
        await world.later(60)
        assert world.weights() == {21: 1, 22: 0}
        world.backend.carried = {}
        await world.later(3)
        assert world.weights() == {21: 1}
        (said,) = world.events("real_server.drained")
        assert said["level"] == "info"

    play(story, ARTICLE, tmp_path)
