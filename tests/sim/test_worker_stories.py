"""What must not happen to traffic when workers die, hang, never start, or when the whole machine stands still."""

from __future__ import annotations

from pathlib import Path

import pytest

from checkers import tcp
from tests.fakes.behaviours import blackhole, healthy, no_descriptor, refuse, status
from tests.sim.world import World, play

FIRST, LAST = 30, 60


def configuration(*, retry: int = 0, check: str = "TCP_CHECK {\n connect_timeout 1\n") -> str:
    """One virtual server with thirty real servers, checked every five seconds."""
    servers = "".join(
        f"real_server 192.168.100.{n} 80 {{\n {check} retry {retry}\n delay_before_retry 1\n }}\n}}\n"
        for n in range(FIRST, LAST)
    )
    return f"virtual_server 203.0.113.100 80 {{\ndelay_loop 5\nlb_algo rr\nlb_kind NAT\nprotocol TCP\n{servers}}}\n"


def servers(world: World, *dead: int) -> None:
    for last in range(FIRST, LAST):
        world.network.server(f"192.168.100.{last}", 80).behaviour = refuse() if last in dead else healthy()


def stale(world: World) -> int:
    return sum(rs.stale for rs in world.snapshot().virtual_servers[0].real_servers)


ALL = dict.fromkeys(range(FIRST, LAST), 1)


def test_the_jobs_of_a_worker_that_cannot_come_back_are_done_by_the_others_and_return_with_it(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        servers(world)
        await world.later(30)
        before = {worker.name: worker.checks for worker in world.snapshot().process.workers}
        world.no_starts = {1}
        world.children[1].kill()
        await world.later(0.5)
        assert stale(world) == before["checker-1"]
        await world.later(1.5)
        assert stale(world) == 0, "others have taken them over"
        servers(world, *range(FIRST, LAST, 2))
        await world.later(15)
        assert world.weights() == dict.fromkeys(range(FIRST + 1, LAST, 2), 1)
        world.no_starts = set()
        await world.later(40)
        after = {worker.name: worker.checks for worker in world.snapshot().process.workers}
        assert after == before
        assert world.weights() == dict.fromkeys(range(FIRST + 1, LAST, 2), 1)
        servers(world)
        await world.later(15)
        assert world.weights() == ALL

    world = play(story, configuration(), tmp_path, workers=3)
    moves = [line["checks"] for line in world.events("workers.jobs_moved")]
    assert len(moves) == 2
    assert moves[0] == moves[1]
    ups_and_downs = [line["to"] for line in world.events("real_server.state_changed")]
    assert ups_and_downs == ["DOWN"] * 15 + ["UP"] * 15, "no verdict changed by a move"


def test_a_worker_that_is_back_in_a_moment_keeps_its_jobs(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        servers(world)
        await world.later(30)
        world.children[1].kill()
        await world.later(30)
        assert stale(world) == 0
        assert world.weights() == ALL

    assert not play(story, configuration(), tmp_path, workers=3).events("workers.jobs_moved")


def test_without_any_worker_the_table_stands_still_and_the_program_shouts(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        servers(world)
        await world.later(30)
        before = len(world.backend.history)
        world.no_starts = {0, 1}
        for child in world.children.values():
            child.kill()
        servers(world, *ALL)
        await world.later(2)
        assert world.snapshot().process.workers_lost_s == 0
        assert not world.events("workers.all_lost")
        await world.later(118)
        assert len(world.backend.history) == before
        assert world.weights() == ALL
        assert stale(world) == len(ALL)
        assert world.snapshot().process.workers_lost_s > 115
        world.no_starts = set()
        servers(world)
        await world.later(90)
        assert world.snapshot().process.workers_lost_s == 0
        assert stale(world) == 0
        assert world.weights() == ALL

    world = play(story, configuration(), tmp_path, workers=2)
    (lost,), (back,) = world.events("workers.all_lost"), world.events("workers.back")
    assert lost["level"] == "error"
    assert back["silent_s"] > 115
    assert not world.events("real_server.state_changed")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_kills_its_worker_is_kept_apart_and_the_others_are_watched(tmp_path: Path, workers: int) -> None:
    async def story(world: World) -> None:
        servers(world)
        await world.later(30)
        world.poison.add("192.168.100.45")
        await world.later(120)
        assert world.snapshot().process.checks_quarantined == 1
        assert world.weights() == ALL, "who kills its checker is not known to be dead"
        restarts = {worker.name: worker.restarts for worker in world.snapshot().process.workers}
        servers(world, 31, 32, 33)
        await world.later(60)
        assert set(ALL) - set(world.weights()) == {31, 32, 33}
        after = {worker.name: worker.restarts for worker in world.snapshot().process.workers}
        assert {name for name in after if after[name] != restarts[name]} == {"checker-ward"}
        world.poison.clear()
        servers(world, 45)
        await world.later(60)
        assert 45 not in world.weights(), "the ward checks it"
        await world.later(700)
        assert world.snapshot().process.checks_quarantined == 0
        assert "checker-ward" not in {worker.name for worker in world.snapshot().process.workers}
        servers(world)
        await world.later(30)
        assert world.weights() == ALL

    world = play(story, configuration(), tmp_path, workers=workers)
    (told,) = world.events("worker.quarantine")
    assert "192.168.100.45:80" in told["check"]
    assert told["level"] == "error"
    over = world.events("worker.quarantine_over")
    assert any("192.168.100.45:80" in line["check"] for line in over)
    assert {line["level"] for line in over} == {"info"}


def test_while_the_next_one_is_looked_for_the_condemned_rest_and_are_marked(tmp_path: Path) -> None:
    """Two servers that kill their checker, one after the other: the first is not checked for a while, and everybody can see it."""

    async def story(world: World) -> None:
        servers(world)
        await world.later(30)
        world.poison.add("192.168.100.45")
        await world.later(120)
        assert world.snapshot().process.checks_quarantined == 1
        world.poison.add("192.168.100.50")
        rested = False
        for _ in range(600):
            await world.later(0.2)
            at_rest = next(
                rs.stale
                for rs in world.snapshot().virtual_servers[0].real_servers
                if rs.real_server.startswith("192.168.100.45:")
            )
            if world.events("worker.suspects")[1:] and world.snapshot().process.checks_quarantined == 1:
                rested |= at_rest
        assert rested
        assert world.snapshot().process.checks_quarantined == 2
        world.poison.clear()
        await world.later(60)
        assert stale(world) == 0
        assert world.weights() == ALL

    play(story, configuration(), tmp_path)


def test_a_machine_that_was_suspended_gives_every_server_a_fresh_round(tmp_path: Path) -> None:
    """It wakes up, its links are down for some seconds yet, no check has a retry: and not one server is taken out."""

    async def story(world: World) -> None:
        servers(world)
        await world.later(30)
        for child in world.children.values():
            child.punctuality.naps += 1
        servers(world, *ALL)
        await world.later(4.5)
        servers(world)
        await world.later(60)
        assert world.weights() == ALL

    assert not play(story, configuration(), tmp_path, workers=2).events("real_server.state_changed")


def test_after_a_suspension_the_really_dead_are_taken_out_all_the_same(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        servers(world)
        await world.later(30)
        world.children[0].punctuality.naps += 1
        servers(world, 40)
        await world.later(5 + 5 + 1)
        assert set(ALL) - set(world.weights()) == {40}

    play(story, configuration(), tmp_path)


def test_all_descriptors_used_up_take_nobody_out_and_are_told_of(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        servers(world)
        await world.later(30)
        for server in world.network.servers.values():
            server.behaviour = no_descriptor()
        await world.later(60)
        (worker,) = [each for each in world.snapshot().process.workers if each.name == "checker-0"]
        assert worker.faults["EMFILE"] > 0
        assert worker.stretch > 1
        servers(world)
        await world.later(120)
        assert world.weights() == ALL
        (worker,) = [each for each in world.snapshot().process.workers if each.name == "checker-0"]
        assert worker.stretch == 1

    world = play(story, configuration(), tmp_path)
    assert not world.events("real_server.state_changed")
    assert [line["over"] for line in world.events("worker.local_trouble")] == [False, True]


def test_a_bug_in_a_checker_takes_no_server_out_and_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    def broken_at_a_glance(*_: object) -> None:
        raise ZeroDivisionError

    async def story(world: World) -> None:
        servers(world)
        await world.later(30)
        monkeypatch.setattr(tcp, "check", broken)
        monkeypatch.setattr(tcp.Standing, "recognise", broken_at_a_glance)
        await world.later(60)
        assert world.weights() == ALL
        counts = {count.reason: count.count for count in world.snapshot().process.checks}
        assert counts["CRASHED"] > 30

    world = play(story, configuration(), tmp_path)
    assert len(world.events("check.crashed")) == 30
    assert not world.events("real_server.state_changed")


def test_a_worker_that_dies_in_the_middle_of_a_failover_loses_no_news(tmp_path: Path) -> None:
    """A verdict that dies with its worker is found again by the next one: states are levels."""

    async def story(world: World) -> None:
        servers(world)
        await world.later(30)
        servers(world, 40, 41)
        for _ in range(12):
            await world.later(0.5)
            world.children[1].kill()
        for server in ("192.168.100.42", "192.168.100.43"):
            world.network.server(server, 80).behaviour = blackhole()
        await world.later(120)
        assert set(ALL) - set(world.weights()) == {40, 41, 42, 43}
        servers(world)
        await world.later(60)
        assert world.weights() == ALL

    world = play(
        story, configuration(check="HTTP_GET {\n url {\n path /\n }\n connect_timeout 1\n"), tmp_path, workers=2
    )
    told = [(line["real_server"], line["to"]) for line in world.events("real_server.state_changed")]
    assert len(told) == len(set(told)) == 8, "each transition was told once"


def test_servers_that_answer_wrongly_in_the_middle_of_a_move_are_out_once(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        servers(world)
        await world.later(30)
        world.no_starts = {0}
        world.children[0].kill()
        for last in (33, 34, 35):
            world.network.server(f"192.168.100.{last}", 80).behaviour = status(503)
        await world.later(4)
        world.no_starts = set()
        await world.later(60)
        assert set(ALL) - set(world.weights()) == {33, 34, 35}

    world = play(
        story, configuration(check="HTTP_GET {\n url {\n path /\n }\n connect_timeout 1\n"), tmp_path, workers=2
    )
    assert len(world.events("real_server.state_changed")) == 3


def test_what_a_full_state_says_of_many_checks_is_heard_at_one_time_that_is_kept_once(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        servers(world)
        await world.later(65)  # two full states
        (pool,) = world.supervisor.director.virtual_servers.values()
        times = [check.heard_at for server in pool.real_servers.values() for check in server.checks]
        assert None not in times
        assert len(set(map(id, times))) == 1

    play(story, configuration(), tmp_path)
