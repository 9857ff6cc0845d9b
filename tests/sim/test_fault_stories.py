"""What must not happen to traffic when something of ours breaks."""

from __future__ import annotations

from pathlib import Path

import trio
from trio.testing import MockClock

from supervisor.core.table import AddDestination, AddService, ChangeDestination, DeleteService, Destination, Op
from supervisor.model import Config
from tests.fakes.behaviours import healthy, refuse
from tests.sim.world import World, play

ARTICLE = (Path(__file__).parents[2] / "deploy" / "examples" / "article.conf").read_text()
WITHOUT_INHIBIT = ARTICLE.replace("    inhibit_on_failure\n", "")


def settled(world: World, *dead: int) -> None:
    for last in (21, 22):
        behaviour = refuse() if last in dead else healthy()
        world.network.server(f"192.168.100.{last}", 80).behaviour = behaviour


def writes(world: World) -> int:
    return len(world.backend.history)


def test_a_killed_worker_is_back_within_two_seconds_and_the_table_does_not_move(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        settled(world, 22)
        await world.later(30)
        before = writes(world)
        first = world.children[0].pid
        world.children[0].kill()
        await world.later(2)
        assert world.children[0].pid != first
        assert not any(rs.stale for rs in world.snapshot().virtual_servers[0].real_servers)
        await world.later(60)
        assert writes(world) == before
        assert world.weights() == {21: 1, 22: 0}

    world = play(story, ARTICLE, tmp_path)
    assert [line["reason"] for line in world.events("worker.exited")] == ["signal SIGKILL"]
    assert len(world.events("real_server.state_changed")) == 1


class Witness:
    """Somebody who always sees the loop at the same place."""

    def __init__(self) -> None:
        self.expected: list[float] = []

    def expect(self, within_s: float) -> None:
        self.expected.append(within_s)

    def seen(self) -> str:
        return "wiring.py:1 in _decide"


def test_a_loop_that_stood_still_says_for_how_long_and_where(tmp_path: Path) -> None:
    witness = Witness()

    async def story(world: World) -> None:
        settled(world)
        world.stalls = witness
        world.crash()
        await world.ended.wait()
        await world.start()
        await world.later(30)
        assert world.events("loop.lagging") == []
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, MockClock)
        clock.jump(3.0)
        await world.later(30)

    world = play(story, ARTICLE, tmp_path)
    (told,) = world.events("loop.lagging")
    assert told["stack"] == "wiring.py:1 in _decide"
    assert 2.0 < told["lag_s"] <= 3.0
    assert len(witness.expected) > 50, "the witness is told at each tick until when to wait"
    assert world.weights() == {21: 1, 22: 1}


def test_a_stopped_worker_is_replaced_and_its_verdicts_are_frozen_meanwhile(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        settled(world)
        await world.later(30)
        before = writes(world)
        world.links[0].frozen = True
        await world.later(6)
        assert world.events("worker.protocol_error")[0]["reason"] == "silent for 3.5 s"
        assert world.snapshot().process.workers[1].restarts == 1
        await world.later(30)
        assert writes(world) == before

    play(story, ARTICLE, tmp_path)


def test_a_server_that_dies_while_no_worker_lives_is_noticed_by_the_next_one(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        settled(world)
        await world.later(30)
        world.children[0].kill()
        settled(world, 22)
        await world.later(5 + 5 + 4 * 3 + 2)
        assert world.weights() == {21: 1, 22: 0}

    play(story, ARTICLE, tmp_path)


def test_a_crashed_supervisor_leaves_the_table_and_the_next_one_adopts_it(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        settled(world, 22)
        await world.later(30)
        before = writes(world)
        world.crash()
        await world.later(3)
        await world.start()
        await world.later(60)
        assert writes(world) == before
        assert world.weights() == {21: 1, 22: 0}
        settled(world)
        await world.later(15)
        assert world.weights() == {21: 1, 22: 1}

    world = play(story, ARTICLE, tmp_path)
    assert [line["to"] for line in world.events("real_server.state_changed")] == ["DOWN", "UP"]


def test_a_crash_while_the_sorry_server_serves_is_adopted_too(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        settled(world, 21, 22)
        await world.later(40)
        assert world.weights() == {20: 1}
        before = writes(world)
        world.crash()
        await world.start()
        await world.later(40)
        assert writes(world) == before
        settled(world)
        await world.later(15)
        assert world.weights() == {21: 1, 22: 1}

    play(story, WITHOUT_INHIBIT, tmp_path)


def test_services_that_the_file_does_not_name_are_never_touched(tmp_path: Path) -> None:
    other = ARTICLE.replace("203.0.113.100", "203.0.113.101")

    async def story(world: World) -> None:
        settled(world)
        await world.later(5)
        world.path.write_text(other)
        foreign = world.service()
        world.path.write_text(ARTICLE)
        ours = world.backend.table.services[world.service()]
        world.backend.meddle(AddService(foreign, ours.settings))
        await world.later(10)
        world.stop()
        await world.ended.wait()
        assert list(world.backend.table.services) == [foreign]

    play(story, ARTICLE, tmp_path)


def test_a_table_flushed_by_hand_is_put_right_within_seconds(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        settled(world, 22)
        await world.later(30)
        world.backend.meddle(DeleteService(world.service()))
        await world.later(4)
        assert world.weights() == {21: 1, 22: 0}

    assert play(story, ARTICLE, tmp_path).events("kernel.drift_found")


def test_a_kernel_that_refuses_for_a_while_is_asked_again_until_it_takes_the_change(tmp_path: Path) -> None:
    def refuse_changes(op: Op) -> str:
        return "ENOMEM" if isinstance(op, ChangeDestination) else ""

    async def story(world: World) -> None:
        settled(world)
        await world.later(30)
        world.backend.refuse = refuse_changes
        settled(world, 22)
        await world.later(60)
        assert world.weights() == {21: 1, 22: 1}
        world.backend.refuse = lambda _op: ""
        await world.later(2)
        assert world.weights() == {21: 1, 22: 0}

    world = play(story, ARTICLE, tmp_path)
    assert [line["errno"] for line in world.events("kernel.write_failed")] == ["ENOMEM"]


def test_a_sorry_server_that_the_kernel_refuses_leaves_the_last_real_server_in(tmp_path: Path) -> None:
    def refuse_sorry(op: Op) -> str:
        return "EINVAL" if isinstance(op, AddDestination) and int(op.destination.endpoint.address) & 255 == 20 else ""

    async def story(world: World) -> None:
        settled(world)
        await world.later(30)
        world.backend.refuse = refuse_sorry
        settled(world, 21, 22)
        await world.later(60)
        assert [weight for weight in world.weights().values() if weight] == [1]

    play(story, ARTICLE, tmp_path)


def test_a_reload_of_the_same_file_writes_nothing_and_keeps_who_is_down(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        settled(world, 22)
        await world.later(30)
        before = writes(world)
        world.reload()
        await world.later(60)
        assert writes(world) == before
        assert world.weights() == {21: 1, 22: 0}
        assert world.snapshot().process.reloads_ok == 1

    world = play(story, ARTICLE, tmp_path)
    assert len(world.events("real_server.state_changed")) == 1


def test_a_reload_writes_only_the_difference(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        settled(world)
        await world.later(30)
        before = writes(world)
        world.reload(ARTICLE.replace("weight 1", "weight 9", 1))
        await world.later(2)
        assert world.backend.ops[before:] == [
            ChangeDestination(
                world.service(), Destination(world.config().virtual_servers[0].real_servers[0].endpoint, 9)
            )
        ]

    play(story, ARTICLE, tmp_path)


def test_an_invalid_file_is_refused_whole_and_the_old_configuration_goes_on(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        settled(world)
        await world.later(30)
        before = writes(world)
        world.reload(ARTICLE.replace("weight 1", "weihgt 1", 1))
        await world.later(2)
        process = world.snapshot().process
        assert (process.reload_ok, process.reloads_rejected) == (False, 1)
        world.path.write_text(ARTICLE)
        settled(world, 22)
        await world.later(30)
        assert world.weights() == {21: 1, 22: 0}
        assert world.backend.ops[before:] != []

    world = play(story, ARTICLE, tmp_path)
    assert [line["suggestion"] for line in world.events("config.rejected")] == ['did you mean "weight"?']


def test_a_file_without_any_virtual_server_is_refused_while_some_are_running(tmp_path: Path) -> None:
    """A truncated file makes keepalived delete every service."""

    async def story(world: World) -> None:
        settled(world)
        await world.later(30)
        before = writes(world)
        world.reload("")
        await world.later(5)
        assert writes(world) == before
        assert not world.snapshot().process.reload_ok
        world.path.write_text(ARTICLE)
        world.reload()
        await world.later(5)
        assert world.snapshot().process.reload_ok

    world = play(story, ARTICLE, tmp_path)
    assert "stop the daemon to remove all" in world.events("config.rejected")[0]["message"]


def test_the_daemon_starts_with_an_empty_file_and_takes_a_full_one_later(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        assert world.snapshot().process.ready
        settled(world)
        world.reload(ARTICLE)
        await world.later(5)
        assert world.weights() == {21: 1, 22: 1}

    play(story, "", tmp_path)


def test_a_new_server_of_a_reload_joins_at_once_and_a_removed_one_leaves(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        settled(world)
        world.network.server("192.168.100.23", 80)
        await world.later(30)
        world.reload(ARTICLE.replace("192.168.100.22", "192.168.100.23"))
        await world.later(2)
        assert world.weights() == {21: 1, 23: 1}
        await world.later(30)
        assert world.network.server("192.168.100.23", 80).requests
        asked = len(world.network.server("192.168.100.22", 80).requests)
        await world.later(30)
        assert len(world.network.server("192.168.100.22", 80).requests) == asked

    play(story, ARTICLE, tmp_path)


def test_two_workers_share_the_jobs_and_each_is_probed_once_a_loop(tmp_path: Path) -> None:
    servers = "".join(
        f"real_server 192.168.100.{n} 80 {{\n TCP_CHECK {{\n connect_timeout 1\n }}\n}}\n" for n in range(30, 60)
    )
    text = f"virtual_server 203.0.113.100 80 {{\ndelay_loop 5\nlb_algo rr\nlb_kind NAT\nprotocol TCP\n{servers}}}\n"

    async def story(world: World) -> None:
        for last in range(30, 60):
            world.network.server(f"192.168.100.{last}", 80)
        await world.later(66)
        counts = [server.connections for server in world.network.servers.values()]
        assert min(counts) >= 11
        assert max(counts) <= 14

    world = play(story, text, tmp_path, workers=2)
    jobs = [worker._owned for worker in world.supervisor._pool.workers]
    assert all(jobs)
    assert not jobs[0] & jobs[1]
    assert isinstance(world.config(), Config)
