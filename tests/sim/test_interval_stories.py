"""How often servers are looked at: fast in a transition, as the file says while down, less often while nobody uses them."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import trio

from supervisor.core.table import Counters, Load
from supervisor.model import Endpoint
from tests.fakes.behaviours import healthy, refuse
from tests.sim.world import World, play

HERE = Endpoint(ip_address("192.168.100.21"), 80)


def pool(*lines: str, check: str = "TCP_CHECK {\nconnect_timeout 1\nretry 2\ndelay_before_retry 3\nwarmup 0\n}") -> str:
    servers = "".join(f"real_server 192.168.100.{last} 80 {{\n{check}\n}}\n" for last in (21, 22))
    more = "\n".join(lines)
    return f"virtual_server 203.0.113.100 80 {{\ndelay_loop 5\nsentinel no\nlb_algo rr\nlb_kind NAT\nprotocol TCP\n{more}\n{servers}}}\n"


async def connections(world: World, seconds: float) -> int:
    """How often server 21 was asked in that time."""
    server = world.network.server("192.168.100.21", 80)
    before = server.connections
    await world.later(seconds)
    return server.connections - before


async def until(what: Callable[[], bool]) -> float:
    """Wait until it is so; return for how long, in seconds."""
    since = trio.current_time()
    while not what():  # noqa: ASYNC110  nothing tells a story of what it waits for
        await trio.sleep(0.01)
    return trio.current_time() - since


async def out(world: World) -> float:
    """Seconds until server 21 is out."""
    return await until(lambda: 21 not in world.weights())


def test_fast_interval_shortens_the_time_from_the_first_failure_to_the_removal(tmp_path: Path) -> None:
    found: dict[str, float] = {}

    def story(name: str, *lines: str) -> None:
        async def play_it(world: World) -> None:
            server = world.network.server("192.168.100.21", 80)
            world.network.server("192.168.100.22", 80)
            await world.later(10)
            server.behaviour = refuse()
            before = server.connections
            await until(lambda: server.connections > before)
            found[name] = await out(world)

        play(play_it, pool(*lines), tmp_path)

    story("the file's own")
    story("fast", "fast_interval 0.2")
    assert 6.0 <= found["the file's own"] <= 6.3
    assert 0.35 <= found["fast"] <= 0.7


def test_down_interval_is_how_often_one_that_is_down_is_asked(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.network.server("192.168.100.21", 80).behaviour = refuse()
        world.network.server("192.168.100.22", 80)
        await world.later(10)
        assert await connections(world, 60) in range(28, 32)
        world.reload(pool("down_interval 20"))
        await world.later(30)
        assert await connections(world, 200) in range(9, 12)

    play(story, pool("down_interval 2"), tmp_path)


def test_a_server_without_traffic_is_asked_less_often_and_at_full_rate_again_as_soon_as_somebody_comes(
    tmp_path: Path,
) -> None:
    async def story(world: World) -> None:
        for last in (21, 22):
            world.network.server(f"192.168.100.{last}", 80)
        await world.later(180)
        assert await connections(world, 300) in range(9, 12)
        world.backend.carried[HERE] = Load(counters=Counters(1, 10))
        assert await connections(world, 8) >= 1
        world.backend.carried[HERE] = Load(active=1)
        assert await connections(world, 50) in range(9, 12)
        world.backend.carried[HERE] = Load()
        await world.later(180)
        assert await connections(world, 300) in range(9, 12)
        world.reload(pool("idle_interval 30", "hysteresis 0", "lvs_sched wrr"))
        await world.later(100)
        assert await connections(world, 300) in range(9, 12), "a reload that leaves the check alone leaves it idle"
        world.children[0].kill()
        await world.later(120)
        assert await connections(world, 300) in range(9, 12), "a new worker is told"

    play(story, pool("idle_interval 30"), tmp_path)


def test_an_idle_server_that_fails_is_looked_at_like_any_other_and_while_down_is_not_idle(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        server = world.network.server("192.168.100.21", 80)
        world.network.server("192.168.100.22", 80)
        await world.later(180)
        server.behaviour = refuse()
        before = server.connections
        await until(lambda: server.connections > before)
        assert await out(world) < 6.3
        assert await connections(world, 60) in range(11, 14)
        server.behaviour = healthy()
        await world.later(6)
        assert 21 in world.weights()
        assert await connections(world, 50) in range(9, 12), "it has to earn its rest"

    play(story, pool("idle_interval 30"), tmp_path)


def test_one_server_in_many_virtual_servers_is_asked_no_more_often_than_the_limit_says(tmp_path: Path) -> None:
    text = "global_defs {\nprobe_rate_max 3\n}\n" + "".join(
        pool(check=f"TCP_CHECK {{\nconnect_timeout 1\nwarmup 0\ndelay_loop 1.{number}\n}}").replace(
            "203.0.113.100", f"203.0.113.{number}"
        )
        for number in range(1, 9)
    )

    async def story(world: World) -> None:
        for last in (21, 22):
            world.network.server(f"192.168.100.{last}", 80)
        await world.later(5)
        rates = [await connections(world, 1) for _ in range(60)]
        assert max(rates) <= 3
        assert sum(rates) >= 150, "whoever waited had its turn"
        assert all(
            row.checks[0].age_s is not None for vs in world.snapshot().virtual_servers for row in vs.real_servers
        )

    for workers in (1, 3):
        play(story, text, tmp_path, workers=workers)
