"""Is it them, or is it me? What the director does when the evidence is against itself, and when it is not (issue 4)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from supervisor.admin import words
from supervisor.core.snapshot import as_json
from tests.fakes.behaviours import Behaviour, blackhole, healthy, refuse, unreachable
from tests.sim.world import World, play

CHECK = "TCP_CHECK {\n retry 1\n delay_before_retry 1\n connect_timeout 2\n }"
A, B = range(21, 25), range(31, 35)


def virtual_server(last: int, servers: Iterable[int], *lines: str, check: str = CHECK) -> str:
    real = [f"real_server 192.168.100.{server} 80 {{\n{check}\n}}" for server in servers]
    body = "\n".join((*lines, *real))
    return (
        f"virtual_server 203.0.113.{last} 80 {{\n delay_loop 2\n lb_algo rr\n lb_kind NAT\n protocol TCP\n{body}\n}}\n"
    )


TWO_POOLS = virtual_server(100, A) + virtual_server(101, B)


def behave(world: World, how: Behaviour, *servers: int) -> None:
    for server in servers:
        world.network.server(f"192.168.100.{server}", 80).behaviour = how


def addresses(*servers: int) -> list[str]:
    return [f"192.168.100.{server}" for server in servers]


def all_at_one(servers: Iterable[int]) -> dict[int, int]:
    return dict.fromkeys(servers, 1)


def writes(world: World) -> int:
    return len(world.backend.history)


# -- our own network is gone: the kernel says so -------------------------------------------------------------------------------


def test_difference_uplink_that_is_pulled_takes_nobody_out(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        behave(world, healthy(), *A, *B)
        await world.later(20)
        before = writes(world)
        world.paths.lose(*addresses(*A, *B))
        behave(world, blackhole(), *A, *B)
        await world.later(60)
        status = words.status(as_json(world.snapshot()))
        assert "8 HELD IN SERVICE THOUGH DOWN." in status
        assert "THE DIRECTOR ITSELF IS SUSPECTED" in status
        assert "held: the director is suspected: eth1 has no carrier" in status
        assert world.snapshot().process.targets_without_path == 8
        world.paths.restore()
        behave(world, healthy(), *A, *B)
        await world.later(60)
        assert writes(world) == before
        assert world.weights() == all_at_one(A)
        assert "SUSPECTED" not in words.status(as_json(world.snapshot()))

    world = play(story, TWO_POOLS, tmp_path)
    assert len(world.events("director.self_blame")) == 1
    assert len(world.events("director.self_blame_over")) == 1
    assert len([line for line in world.events("real_server.state_changed") if line["to"] == "DOWN"]) == 8, (
        "told as ever"
    )


def test_an_uplink_that_comes_back_in_the_middle_of_a_probe_takes_nobody_out(tmp_path: Path) -> None:
    for moment in range(30, 90):

        async def story(world: World, after: float = moment / 10) -> None:
            behave(world, healthy(), *A, *B)
            await world.later(20)
            before = writes(world)
            world.paths.lose(*addresses(*A, *B))
            behave(world, blackhole(), *A, *B)
            await world.later(after)
            world.paths.restore()
            behave(world, healthy(), *A, *B)
            await world.later(30)
            assert writes(world) == before

        folder = tmp_path / str(moment)
        folder.mkdir()
        play(story, TWO_POOLS, folder)


def test_a_path_that_is_lost_for_good_is_acted_on_in_the_end(tmp_path: Path) -> None:
    text = "global_defs {\n self_blame_hold 100\n}\n" + virtual_server(100, A)

    async def story(world: World) -> None:
        behave(world, healthy(), *A)
        await world.later(20)
        world.paths.lose(*addresses(*A))
        behave(world, blackhole(), *A)
        await world.later(99)
        assert world.weights() == all_at_one(A)
        await world.later(3)
        assert world.weights() == {}

    world = play(story, text, tmp_path)
    assert world.events("director.self_blame_over") == [], "there is no way still"


def test_servers_behind_a_lost_path_are_taken_out_while_others_can_be_reached(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        behave(world, healthy(), *A)
        await world.later(20)
        world.paths.lose(*addresses(21, 22))
        behave(world, blackhole(), 21, 22)
        await world.later(12)
        assert world.weights() == {23: 1, 24: 1}

    world = play(story, virtual_server(100, A), tmp_path)
    assert world.events("director.self_blame") == []


def test_a_sorry_server_that_can_be_reached_steps_in_after_one_round(tmp_path: Path) -> None:
    text = virtual_server(100, A, "sorry_server 127.0.0.1 8080")

    async def story(world: World) -> None:
        behave(world, healthy(), *A)
        await world.later(20)
        world.paths.lose(*addresses(*A))
        behave(world, blackhole(), *A)
        await world.later(2 + 2 * 2 + 1 + 4)
        assert world.weights() == all_at_one(A)
        await world.later(4)
        assert world.weights() == {1: 1}

    play(story, text, tmp_path)


def test_a_refused_connection_is_an_answer_whatever_the_kernel_says_of_the_path(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        behave(world, healthy(), *A)
        await world.later(20)
        world.paths.lose(*addresses(*A))
        behave(world, refuse(), 21)
        await world.later(12)
        assert world.weights() == all_at_one((22, 23, 24))

    play(story, virtual_server(100, A), tmp_path)


def test_self_blame_off_does_as_keepalived_does(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        behave(world, healthy(), *A, *B)
        await world.later(20)
        world.paths.lose(*addresses(*A, *B))
        behave(world, blackhole(), *A, *B)
        await world.later(12)
        assert world.weights() == {}

    world = play(story, "global_defs {\n self_blame off\n}\n" + TWO_POOLS, tmp_path)
    assert world.events("director.self_blame") == []


def test_a_reload_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        behave(world, healthy(), *A, *B)
        await world.later(20)
        before = writes(world)
        world.paths.lose(*addresses(*A, *B))
        behave(world, blackhole(), *A, *B)
        await world.later(20)
        world.reload(TWO_POOLS.replace("retry 1", "retry 2"))
        await world.later(20)
        assert writes(world) == before
        world.paths.restore()
        behave(world, healthy(), *A, *B)
        await world.later(30)
        assert writes(world) == before

    play(story, TWO_POOLS, tmp_path)


# -- nobody answers: the switch behind our cable --------------------------------------------------------------------------------


def test_difference_silence_of_nearly_all_hosts_is_held_for_a_round(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        behave(world, healthy(), *A, *B)
        await world.later(20)
        before = writes(world)
        behave(world, blackhole(), *A, *B)
        await world.later(10)
        assert "8 of 8 hosts fell silent within" in words.status(as_json(world.snapshot()))
        behave(world, healthy(), *A, *B)
        await world.later(30)
        assert writes(world) == before

    world = play(story, TWO_POOLS, tmp_path)
    assert len(world.events("director.self_blame")) == len(world.events("director.self_blame_over")) == 1


def test_when_all_are_really_dead_they_are_taken_out_one_round_late_and_the_sorry_server_steps_in(
    tmp_path: Path,
) -> None:
    text = virtual_server(100, A, "sorry_server 192.168.100.20 80") + virtual_server(101, B)

    async def story(world: World) -> None:
        behave(world, healthy(), *A, *B)
        await world.later(20)
        behave(world, unreachable(), *A, *B)
        await world.later(3 + 7 + 1)  # detection takes 3 s where nobody waits for an answer, and a round is 7 s
        assert world.weights() == {20: 1}
        assert world.weights(1) == {}
        before = writes(world)
        await world.later(300)
        assert writes(world) == before, "the same silence is not held twice"
        assert len(world.events("director.self_blame")) == 1

    play(story, text, tmp_path)


def test_a_rack_that_dies_is_taken_out_as_fast_as_without_any_doubt(tmp_path: Path) -> None:
    took: list[float] = []
    for settings in ("", "global_defs {\n self_blame off\n}\n"):

        async def story(world: World) -> None:
            behave(world, healthy(), *A, *B)
            await world.later(20)
            behave(world, blackhole(), *A, 31)  # five of eight hosts, of two virtual servers
            began = world.now()
            while world.weights() or 31 in world.weights(1):
                await world.later(0.01)
            took.append(world.now() - began)

        folder = tmp_path / f"self_blame{len(took)}"
        folder.mkdir()
        world = play(story, settings + TWO_POOLS, folder)
        assert world.events("director.self_blame") == []
    assert took[0] == took[1] <= 2 + 2 * 2 + 1 + 0.1


def test_a_single_pool_that_falls_silent_is_no_reason_to_doubt_ourselves(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        servers = range(21, 31)
        behave(world, healthy(), *servers)
        await world.later(20)
        behave(world, blackhole(), *servers)
        await world.later(10)
        assert world.weights() == {}

    world = play(story, virtual_server(100, range(21, 31)), tmp_path)
    assert world.events("director.self_blame") == []


def test_refusals_are_answers(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        behave(world, healthy(), *A, *B)
        await world.later(20)
        behave(world, refuse(), *A, *B)
        await world.later(6)
        assert world.weights() == {}

    play(story, TWO_POOLS, tmp_path)


def test_those_that_were_taken_out_before_it_was_clear_are_put_back(tmp_path: Path) -> None:
    """The slow checks of the second pool have not asked yet when the first one goes down."""
    text = virtual_server(100, A) + virtual_server(101, B).replace("delay_loop 2", "delay_loop 20")
    text = "global_defs {\nsentinel no\n}\n" + text  # with sentinels nobody would be taken out at all

    async def story(world: World) -> None:
        behave(world, healthy(), *A, *B)
        await world.later(61)
        behave(world, blackhole(), *A, *B)
        await world.later(8)
        assert world.weights() == {}
        await world.later(6)
        assert world.weights() == all_at_one(A)
        assert world.weights(1) == all_at_one(B)
        behave(world, healthy(), *A, *B)
        await world.later(40)
        assert world.weights() == all_at_one(A)
        assert world.weights(1) == all_at_one(B)

    play(story, text, tmp_path)
