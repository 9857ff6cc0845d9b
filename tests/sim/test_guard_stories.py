"""Pools that fail as a whole: what the guard `min_healthy` makes of it (issue 4)."""

from __future__ import annotations

from pathlib import Path

from supervisor import overview
from supervisor.admin import words
from supervisor.core.snapshot import as_json
from tests.fakes.behaviours import healthy, refuse, slow, status, unreachable
from tests.sim.world import World, play

CHECK = "TCP_CHECK {\n retry 1\n delay_before_retry 1\n connect_timeout 2\n }"
HTTP = CHECK.replace("TCP_CHECK {", "HTTP_GET {\n url {\n path /\n status_code 200\n }")


def pool(count: int, *lines: str, check: str = HTTP, first: int = 21) -> str:
    servers = [f"real_server 192.168.100.{last} 80 {{\n{check}\n}}" for last in range(first, first + count)]
    body = "\n".join((*lines, *servers))
    return f"virtual_server 203.0.113.100 80 {{\n delay_loop 2\n lb_algo rr\n lb_kind NAT\n protocol TCP\n{body}\n}}\n"


GUARDED = pool(4, "min_healthy 50%", "sorry_server 192.168.100.20 80")


def behave(world: World, how: object, *lasts: int) -> None:
    for last in lasts:
        world.network.server(f"192.168.100.{last}", 80).behaviour = how  # type: ignore[assignment]  # behaviours alone are passed


def test_a_database_that_is_slow_for_all_takes_half_of_the_pool_out_at_most(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        behave(world, healthy(), 21, 22, 23, 24)
        await world.later(10)
        behave(world, slow(30), 21, 22, 23, 24)
        await world.later(60)
        kept = world.weights()
        assert len(kept) == 2
        assert 20 not in kept
        before = len(world.backend.history)
        await world.later(120)
        assert world.weights() == kept, "and nobody comes and goes meanwhile"
        assert len(world.backend.history) == before
        text = words.status(as_json(world.snapshot()))
        assert "2 HELD IN SERVICE THOUGH DOWN." in text
        assert text.count("held by guard: fewer than min_healthy 50% would be left") == 2
        assert "2 held in service though down" in overview.summary(world.supervisor.director)
        why = words.why(await world.operate("why", real_server=f"192.168.100.{min(kept)}"))
        assert ", held by guard: fewer than min_healthy 50% would be left\n  weight 1, and so in the kernel" in why
        assert "hold          held by guard" in why
        behave(world, healthy(), 21, 22, 23, 24)
        await world.later(10)
        assert world.weights() == {21: 1, 22: 1, 23: 1, 24: 1}
        assert "HELD" not in words.status(as_json(world.snapshot()))

    world = play(story, GUARDED, tmp_path)
    assert [line["held_by"] for line in world.events("real_server.held")] == ["guard", "guard"]
    assert len(world.events("real_server.released")) == 2
    assert len([line for line in world.events("real_server.state_changed") if line["to"] == "DOWN"]) == 4


def test_servers_that_flap_behind_the_guard_do_not_make_the_table_flap(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        behave(world, healthy(), 21, 22, 23, 24)
        await world.later(10)
        behave(world, status(503), 21, 22, 23, 24)
        await world.later(30)
        kept = set(world.weights())
        for _ in range(10):
            behave(world, slow(30), *kept)
            await world.later(10)
            behave(world, status(500), *kept)
            await world.later(10)
        assert set(world.weights()) == kept

    world = play(story, GUARDED, tmp_path)
    assert len(world.events("real_server.held")) == 2


def test_a_pool_that_refuses_as_a_whole_gets_its_sorry_server(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        behave(world, healthy(), 21, 22, 23, 24)
        await world.later(10)
        behave(world, refuse(), 21, 22, 23, 24)
        await world.later(30)
        assert world.weights() == {20: 1}

    play(story, GUARDED, tmp_path)


def test_a_server_that_was_unreachable_when_it_was_held_and_refuses_now_is_let_go(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        behave(world, healthy(), 21, 22, 23, 24)
        await world.later(10)
        behave(world, unreachable(), 21, 22, 23, 24)
        await world.later(30)
        assert len(world.weights()) == 2
        behave(world, refuse(), 21, 22, 23, 24)
        await world.later(30)
        assert world.weights() == {20: 1}

    play(story, GUARDED, tmp_path)


def test_a_restart_in_the_middle_leaves_the_table_as_it_is(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        behave(world, healthy(), 21, 22, 23, 24)
        await world.later(10)
        behave(world, slow(30), 21, 22, 23, 24)
        await world.later(60)
        kept, before = world.weights(), len(world.backend.history)
        world.crash()
        await world.later(1)
        await world.start()
        await world.later(60)
        assert world.weights() == kept
        assert len(world.backend.history) == before

    play(story, GUARDED, tmp_path)
