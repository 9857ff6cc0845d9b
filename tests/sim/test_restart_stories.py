"""What a restart must not forget: crashes in the middle of anything, stops that keep, files that changed meanwhile, disks that lie."""

from __future__ import annotations

import errno
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from supervisor.core.events import Overridden
from supervisor.core.memory import Life
from supervisor.core.override import AdminState, Override
from supervisor.core.table import (
    AddDestination,
    ChangeDestination,
    DeleteService,
    Service,
    Table,
)
from supervisor.model import Endpoint, ServiceKey, Timeouts
from tests.fakes.behaviours import healthy, refuse
from tests.fakes.tables import destination
from tests.sim.world import World, play

ARTICLE = (Path(__file__).parents[2] / "deploy" / "examples" / "article.conf").read_text()
WITHOUT_INHIBIT = ARTICLE.replace("    inhibit_on_failure\n", "")
ALPHA = WITHOUT_INHIBIT.replace("HTTP_GET {\n", "HTTP_GET {\n alpha\n")


def settled(world: World, *dead: int) -> None:
    for last in (21, 22):
        world.network.server(f"192.168.100.{last}", 80).behaviour = refuse() if last in dead else healthy()


def writes(world: World) -> int:
    return len(world.backend.history)


def say(world: World, wish: Override | None, last: int) -> None:
    target = next(
        e for e in (rs.endpoint for rs in world.config().virtual_servers[0].real_servers) if last_of(e) == last
    )
    world.supervisor._send.send_nowait(Overridden(((world.service(), target),), wish))


def last_of(endpoint: Endpoint) -> int:
    return int(endpoint.address) & 255


def raised(world: World, since: int) -> set[int]:
    """Who was given weight by an operation since a moment of the history."""
    found = set()
    for op in world.backend.ops[since:]:
        if isinstance(op, AddDestination | ChangeDestination) and op.destination.weight:
            found.add(last_of(op.destination.endpoint))
    return found


async def stopped(world: World) -> None:
    world.stop()
    with trio.fail_after(120):
        await world.ended.wait()


@pytest.mark.parametrize("text", [ARTICLE, WITHOUT_INHIBIT, ALPHA])
@pytest.mark.parametrize("stop", [False, True])
def test_who_was_down_stays_down_through_a_flush_while_nobody_ran(tmp_path: Path, text: str, stop: bool) -> None:
    """A crash and `ipvsadm -C`, or a clean stop and a start: the table is empty and the file knows."""

    async def story(world: World) -> None:
        settled(world, 22)
        await world.later(30)
        if stop:
            await stopped(world)
        else:
            world.crash()
            world.backend.meddle(DeleteService(world.service()))
        before = writes(world)
        await world.start()
        await world.later(0.5)
        assert world.weights().get(21) == 1
        await world.later(60)
        assert raised(world, before) == {21}
        settled(world)
        await world.later(15)
        assert world.weights() == {21: 1, 22: 1}

    world = play(story, text, tmp_path)
    told = [line["to"] for line in world.events("real_server.state_changed") if line["real_server"].endswith("22:80")]
    assert told == (["UP"] if text is ALPHA else ["DOWN", "UP"])  # with alpha it was never in service before
    assert world.events("state.recalled")[0]["down"] == 1


def test_a_stop_that_keeps_leaves_everything_and_the_next_start_writes_nothing(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.keep = True
        world.crash()
        await world.start()
        settled(world, 22)
        await world.later(30)
        before = writes(world)
        await stopped(world)
        await world.later(30)
        await world.start()
        await world.later(60)
        assert writes(world) == before
        assert world.weights() == {21: 1, 22: 0}

    world = play(story, ARTICLE, tmp_path)
    assert world.events("daemon.stopped")[-1]["kernel_table"] == "left as it is, as asked"
    assert [line["to"] for line in world.events("real_server.state_changed")] == ["DOWN"]


def test_an_override_outlives_crash_and_reboot_and_ends_at_its_time(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        settled(world)
        await world.later(30)
        began = world.now()
        say(world, Override(AdminState.DRAINING, reason="CHG-1", by="alice", since=began, until=began + 120), 22)
        await world.later(1)
        assert world.weights() == {21: 1, 22: 0}
        world.crash()
        await world.later(5)
        await world.start()
        await world.later(30)
        assert world.weights() == {21: 1, 22: 0}
        world.crash()
        world.backend.meddle(DeleteService(world.service()))
        world.life = Life("boot 2", "net:[1] 1")
        await world.later(20)
        await world.start()
        await world.later(20)
        assert world.weights() == {21: 1, 22: 0}
        await trio.sleep_until(began + 119.5)
        assert world.weights() == {21: 1, 22: 0}
        await world.later(1.5)
        assert world.weights() == {21: 1, 22: 1}

    world = play(story, ARTICLE, tmp_path)
    assert [line["expired"] for line in world.events("real_server.admin_changed")] == [False, True]


def test_an_override_that_ended_while_nobody_ran_is_over_and_told(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        settled(world)
        await world.later(30)
        say(world, Override(AdminState.DISABLED, by="alice", until=world.now() + 20), 22)
        await world.later(5)
        assert world.weights() == {21: 1}
        world.crash()
        await world.later(20)
        await world.start()
        await world.later(1)
        assert world.weights() == {21: 1, 22: 1}  # it was UP half a minute ago, and out only because somebody said so

    world = play(story, WITHOUT_INHIBIT, tmp_path)
    assert [line["expired"] for line in world.events("real_server.admin_changed")] == [False, True]


def test_an_override_without_an_end_has_none_after_a_restart(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        settled(world)
        await world.later(30)
        say(world, Override(AdminState.DRAINING, by="alice"), 22)
        await world.later(1)
        world.crash()
        await world.start()
        await world.later(600)
        assert world.weights() == {21: 1, 22: 0}
        assert world.supervisor._director.next_deadline() == math.inf

    play(story, ARTICLE, tmp_path)


OTHER = ARTICLE + ARTICLE[ARTICLE.index("virtual_server") :].replace("203.0.113.100", "203.0.113.101")


def test_a_virtual_server_that_left_the_file_while_nobody_ran_is_taken_away_and_no_other_is_touched(
    tmp_path: Path,
) -> None:
    async def story(world: World) -> None:
        settled(world, 22)
        await world.later(30)
        gone = world.service(1)
        assert len(world.backend.table.services) == 2
        world.crash()
        world.path.write_text(ARTICLE)
        before = writes(world)
        await world.start()
        await world.later(30)
        *_, last = ops = world.backend.ops[before:]
        assert {op.key for op in ops} == {gone}
        assert last == DeleteService(gone)
        assert len(ops) == 2  # the one that served goes to weight 0 first: who is connected may finish
        assert world.weights() == {21: 1, 22: 0}

    world = play(story, OTHER, tmp_path)
    assert [(line["virtual_server"], line["taken_out"]) for line in world.events("state.abandoned")] == [
        ("203.0.113.101:80/tcp", True)
    ]


def test_a_virtual_server_that_others_have_taken_over_stays(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        settled(world)
        await world.later(30)
        gone = world.service(1)
        world.crash()
        world.path.write_text(ARTICLE)
        world.backend.meddle(AddDestination(gone, destination("10.1.0.1")))
        before = writes(world)
        await world.start()
        await world.later(30)
        assert writes(world) == before

    assert play(story, OTHER, tmp_path).events("state.abandoned")[0]["taken_out"] is False


def test_after_a_clean_stop_nothing_in_the_kernel_is_ours_any_more(tmp_path: Path) -> None:
    """What stands there at the next start was made by somebody else, whatever its name."""

    async def story(world: World) -> None:
        settled(world)
        await world.later(30)
        service = world.backend.table.services[world.service(1)]
        await stopped(world)
        world.path.write_text(ARTICLE)
        world.backend._memory.table = Table({service.key: service})
        await world.start()
        await world.later(30)
        assert service.key in world.backend.table.services

    assert not play(story, OTHER, tmp_path).events("state.abandoned")


def test_a_server_that_is_new_in_the_file_joins_at_once_as_at_a_reload(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        settled(world)
        world.network.server("192.168.100.23", 80)
        await world.later(30)
        world.crash()
        world.path.write_text(WITHOUT_INHIBIT.replace("192.168.100.22", "192.168.100.23"))
        await world.start()
        await world.later(0.5)
        assert world.weights() == {21: 1, 23: 1}

    play(story, WITHOUT_INHIBIT, tmp_path)


def test_a_server_that_somebody_took_out_while_nobody_ran_stays_out_until_a_probe(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        settled(world)
        await world.later(30)
        world.crash()
        world.backend.meddle(ChangeDestination(world.service(), replace(destination("192.168.100.22"), weight=0)))
        before = writes(world)
        asked = len(world.network.server("192.168.100.22", 80).requests)
        await world.start()
        while len(world.network.server("192.168.100.22", 80).requests) == asked:
            assert writes(world) == before
            await world.later(0.05)
        await world.later(1)
        assert world.weights() == {21: 1, 22: 1}

    play(story, ARTICLE, tmp_path)


@pytest.mark.parametrize("damage", ["cut", "zeros", "type"])
def test_a_damaged_file_is_set_aside_and_the_start_goes_by_the_table(tmp_path: Path, damage: str) -> None:
    async def story(world: World) -> None:
        settled(world, 22)
        await world.later(30)
        world.crash()
        data = world.store.data
        assert data is not None
        hurt = {"cut": data[:300], "zeros": bytes(len(data)), "type": data.replace(b'"wanted":1', b'"wanted":"1"')}
        world.store.data = hurt[damage]
        before = writes(world)
        await world.start()
        await world.later(30)
        assert writes(world) == before
        assert world.weights() == {21: 1, 22: 0}
        assert len(world.store.aside) == 1
        assert json.loads(world.store.data or b"")["format"] == 1

    world = play(story, ARTICLE, tmp_path)
    assert [line["reason"] != "" for line in world.events("state.set_aside")] == [True]


def test_a_stale_file_revives_nobody_and_takes_nobody_out(tmp_path: Path) -> None:
    """The disk was full while 21 died and 22 came back: the file says the opposite of what is."""

    async def story(world: World) -> None:
        settled(world, 22)
        await world.later(40)
        world.store.trouble = errno.ENOSPC
        settled(world, 21)
        await world.later(60)
        assert world.weights() == {21: 0, 22: 1}
        before = writes(world)
        world.crash()
        world.store.trouble = 0
        await world.start()
        await world.later(60)
        assert writes(world) == before
        assert world.weights() == {21: 0, 22: 1}

    world = play(story, ARTICLE, tmp_path)
    assert len(world.events("state.write_failed")) == 1


def test_a_server_in_doubt_that_is_dead_is_out_after_its_first_probe(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        settled(world, 22)
        await world.later(40)
        world.crash()
        world.backend.meddle(ChangeDestination(world.service(), destination("192.168.100.22")))
        await world.start()
        await world.later(0.2)
        assert world.weights() == {21: 1, 22: 1}  # somebody gave it weight, and we know no better than yesterday
        await world.later(1 + 5 + 0.5)  # the first probe comes 1 to 6 s after the start; no retry
        assert world.weights() == {21: 1, 22: 0}

    play(story, ARTICLE, tmp_path)


def test_time_outs_go_back_to_what_was_there_before_the_run_that_crashed(tmp_path: Path) -> None:
    text = "global_defs {\nlvs_timeouts tcp 1000 udp 77\n}\n" + ARTICLE

    async def story(world: World) -> None:
        settled(world)
        await world.later(10)
        assert world.backend.settings().timeouts == Timeouts(1000, 120, 77)
        world.crash()
        await world.start()
        await world.later(10)
        world.crash()
        await world.start()
        await world.later(10)
        await stopped(world)
        assert world.backend.settings().timeouts == Timeouts(900, 120, 300)

    play(story, text, tmp_path)


def test_time_outs_that_left_the_file_while_nobody_ran_go_back_at_the_start(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        settled(world)
        await world.later(10)
        world.crash()
        world.path.write_text(ARTICLE)
        await world.start()
        await world.later(10)
        assert world.backend.settings().timeouts == Timeouts(900, 120, 300)

    play(story, "global_defs {\nlvs_timeouts tcp 1000 udp 77\n}\n" + ARTICLE, tmp_path)


def test_the_state_is_seen_by_observers(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        settled(world)
        await world.later(30)
        state = world.snapshot().process.state
        assert (state.path, state.failures, state.error) == ("/var/lib/vipervisor/state.json", 0, "")
        assert 0 < state.writes <= 10
        assert state.age_s is not None
        assert state.age_s < 30

    play(story, ARTICLE, tmp_path)


# -- crashes at random moments -------------------------------------------------------------------------------------------------

POOL = (
    "virtual_server 203.0.113.{n} 80 {{\n delay_loop 5\n lb_algo rr\n lb_kind NAT\n protocol TCP\n {sorry}{servers}}}\n"
)


def pools() -> str:
    """Four pools of three: with and without inhibit, with and without a sorry server; TCP checks, no retry."""
    text = ""
    for n in range(4):
        inhibit = "inhibit_on_failure" if n % 2 else ""
        check = f"{{\n {inhibit}\n TCP_CHECK {{\n connect_timeout 1\n retry 0\n }}\n}}\n"
        servers = "".join(f"real_server 10.0.{n}.{last} 80 {check}" for last in (1, 2, 3))
        text += POOL.format(n=100 + n, sorry="sorry_server 10.0.9.9 80\n " if n > 1 else "", servers=servers)
    return text


def dead_but_serving(world: World, dead: set[tuple[ServiceKey, Endpoint]], since: int) -> list[str]:
    return [
        str(op)
        for op in world.backend.ops[since:]
        if isinstance(op, AddDestination | ChangeDestination)
        and op.destination.weight
        and (op.key, op.destination.endpoint) in dead
    ]


def serving(service: Service | None) -> set[Endpoint]:
    return {e for e, d in service.destinations.items() if d.weight} if service else set()


@pytest.mark.parametrize("seed", range(6))
def test_a_crash_in_the_middle_of_anything_revives_nobody_and_empties_no_pool(tmp_path: Path, seed: int) -> None:
    """Servers come and go, answers are lost, the disk fails, the table is flushed while nobody runs; each crash at a random moment.

    One server of each pool is dead for good and known to be: it never gets weight again. One always lives: it always has weight,
    but for the time in which a stranger had flushed the table.
    """

    async def story(world: World) -> None:
        configured = world.config().virtual_servers
        for n, spec in enumerate(configured):
            for last in (1, 2, 3):
                world.network.server(f"10.0.{n}.{last}", 80).behaviour = refuse() if last == 1 else healthy()
            assert len(spec.real_servers) == 3
        await world.later(15)
        dead = {(spec.key, spec.real_servers[0].endpoint) for spec in configured}
        alive = {spec.key: spec.real_servers[1].endpoint for spec in configured}
        for _ in range(40):
            mark = writes(world)
            for _ in range(world.rng.randrange(4)):
                n = world.rng.randrange(4)
                world.network.server(f"10.0.{n}.3", 80).behaviour = world.rng.choice([refuse(), healthy()])
                await world.later(world.rng.expovariate(1 / 3))
            world.backend.lose_applies = world.rng.randrange(2)
            world.store.trouble = errno.EIO if world.rng.random() < 0.1 else 0
            await world.later(world.rng.choice([0.0, 0.01, 0.3, 7.0]))
            world.crash()
            if world.rng.random() < 0.3:
                flushed = world.rng.choice(list(configured)).key
                if flushed in world.backend.table.services:
                    world.backend.meddle(DeleteService(flushed))
            world.store.trouble = 0
            await world.later(world.rng.choice([0.0, 1.0, 20.0, 100.0]))
            at_start = world.backend.table
            await world.start()
            await world.later(0.5)
            for spec in configured:
                if alive[spec.key] in serving(at_start.services.get(spec.key)):
                    assert alive[spec.key] in serving(world.backend.table.services.get(spec.key))
                assert serving(world.backend.table.services.get(spec.key))
            assert dead_but_serving(world, dead, mark) == []
            await world.later(world.rng.choice([0.0, 10.0]))
        await world.later(30)
        for spec in configured:
            assert alive[spec.key] in serving(world.backend.table.services[spec.key])

    play(story, pools(), tmp_path, seed=seed)
