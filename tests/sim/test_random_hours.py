"""An hour for fifty real servers with random faults, told from a seed.

What must hold, however the faults fall: the table is what the verdicts make it; no pool is empty while anything could serve it;
every transition is told once, in turn.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.core.director import Director
from supervisor.core.rules import rules
from supervisor.core.table import Table
from tests.fakes.behaviours import (
    Behaviour,
    blackhole,
    close_early,
    garbage,
    hang,
    healthy,
    keep_alive,
    refuse,
    slow,
    status,
)
from tests.sim.world import World, play

HOUR_S = 3600.0
POOLS, SERVERS = 10, 5
FAULTS: tuple[Callable[[], Behaviour], ...] = (
    refuse,
    blackhole,
    hang,
    garbage,
    close_early,
    lambda: status(500),
    lambda: slow(2.0),
)


def configuration() -> str:
    """Ten pools of five; every second one with inhibit, every third with a quorum of two, TCP and HTTP checks by turns."""
    text = "global_defs {\n  notification_email {\n admin@example.org\n }\n  smtp_server 203.0.113.200\n}\n"
    for pool in range(POOLS):
        text += f"virtual_server 203.0.113.{100 + pool} 80 {{\n  delay_loop 5\n  lb_algo wrr\n  lb_kind NAT\n  protocol TCP\n"
        text += f"  sorry_server 10.0.{pool}.250 80\n"
        text += "  quorum 2\n" if pool % 3 == 0 else ""
        for server in range(1, SERVERS + 1):
            inhibit = "inhibit_on_failure" if pool % 2 else ""
            check = (
                "TCP_CHECK {\n connect_timeout 1\n }"
                if server % 2
                else "HTTP_GET {\n url {\n path /\n }\n connect_timeout 1\n retry 2\n delay_before_retry 1\n }"
            )
            text += f"  real_server 10.0.{pool}.{server} 80 {{\n  weight {server}\n {inhibit}\n {check}\n  }}\n"
        text += "}\n"
    return text


async def random_hour(world: World) -> None:
    servers = [world.network.server(f"10.0.{pool}.{n}", 80) for pool in range(POOLS) for n in range(1, SERVERS + 1)]
    end = 0.0
    while end < HOUR_S:
        pause = world.rng.expovariate(1 / 20)
        await world.later(pause)
        end += pause
        trouble = world.rng.random()
        if trouble < 0.02:
            world.children[0].kill()
        elif trouble < 0.03:
            world.crash()
            await world.start()
        elif trouble < 0.06:
            world.reload()
        elif trouble < 0.08:
            world.backend.lose_applies = 1
        elif trouble < 0.3:
            pool = world.rng.randrange(POOLS)
            for server in servers[pool * SERVERS : (pool + 1) * SERVERS]:
                server.behaviour = world.rng.choice(FAULTS)()
        else:
            fault = world.rng.choice(FAULTS)()
            world.rng.choice(servers).behaviour = world.rng.choice([fault, healthy(), healthy(), keep_alive()])
    for server in servers:
        server.behaviour = healthy()
    await world.later(60)


def assert_the_table_is_what_the_verdicts_make_it(world: World) -> None:
    director = world.supervisor._director
    assert rules(world.backend.table) == rules(director.desired())
    assert rules(world.backend.table) == rules(_by_hand(director)), "desired() is not the function of the verdicts"
    assert all(server.live for vs in director.virtual_servers.values() for server in vs.real_servers.values())


def _by_hand(director: Director) -> Table:
    return Table({key: vs.service() for key, vs in director.virtual_servers.items()})


def assert_no_pool_was_ever_empty(world: World) -> None:
    """From the first moment on at which a pool served, it serves: with a sorry server, something always could."""
    served: set[object] = set()
    for op, table in world.backend.history:
        service = table.services.get(op.key)
        assert service is not None, "a service was deleted"
        if any(destination.weight for destination in service.destinations.values()):
            served.add(op.key)
        assert op.key not in served or any(d.weight for d in service.destinations.values()), f"empty pool after {op}"


def assert_every_transition_was_told_once_and_in_turn(world: World) -> None:
    last: dict[tuple[str, str], str] = {}
    for line in world.lines:
        if line["event"] == "real_server.state_changed":
            who = (line["virtual_server"], line["real_server"])
            assert last.get(who, "UP") != line["to"], f"{who} went {line['to']} twice"
            last[who] = line["to"]
    assert last
    assert set(last.values()) == {"UP"}, "a recovery was lost"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_hour_of_random_faults_leaves_the_table_as_the_verdicts_make_it(seed: int, tmp_path: Path) -> None:
    world = play(random_hour, configuration(), tmp_path, seed=seed)
    assert_the_table_is_what_the_verdicts_make_it(world)
    assert_no_pool_was_ever_empty(world)
    assert_every_transition_was_told_once_and_in_turn(world)


def test_the_same_seed_tells_the_same_hour(tmp_path: Path) -> None:
    async def some_minutes(world: World) -> None:
        servers = [world.network.server(f"10.0.{pool}.1", 80) for pool in range(POOLS)]
        for _ in range(20):
            await world.later(world.rng.expovariate(1 / 10))
            world.rng.choice(servers).behaviour = world.rng.choice([refuse(), healthy()])

    def told(seed: int) -> str:
        (tmp_path / f"{seed}").mkdir(exist_ok=True)
        world = play(some_minutes, configuration(), tmp_path / f"{seed}", seed=seed)
        return json.dumps(world.lines)

    assert told(7) == told(7)
    assert told(7) != told(8)
