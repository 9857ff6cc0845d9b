"""The article's load balancer, told on a virtual clock with its own file and timings."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.behaviours import blackhole, healthy, keep_alive, refuse, status
from tests.sim.world import World, play

ARTICLE = (Path(__file__).parents[2] / "deploy" / "examples" / "article.conf").read_text()
NOTICED_S = 5 + 3 * 3 + 2


def article_servers(world: World) -> None:
    for last in (21, 22):
        world.network.server(f"192.168.100.{last}", 80).behaviour = healthy()


def test_both_servers_stand_in_the_table_at_once_and_stay_while_they_answer(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        article_servers(world)
        assert world.weights() == {21: 1, 22: 1}
        await world.later(60)
        assert world.weights() == {21: 1, 22: 1}

    world = play(story, ARTICLE, tmp_path)
    assert world.events("real_server.state_changed") == []
    assert world.mails == []


def test_a_killed_server_goes_to_weight_zero_in_time_and_comes_back_with_one_success(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        article_servers(world)
        await world.later(30)
        server = world.network.server("192.168.100.22", 80)
        server.behaviour = refuse()
        await world.later(NOTICED_S)
        assert world.weights() == {21: 1, 22: 0}
        server.behaviour = healthy()
        await world.later(7)
        assert world.weights() == {21: 1, 22: 1}
        await world.later(1)

    world = play(story, ARTICLE, tmp_path)
    assert [(line["real_server"], line["to"]) for line in world.events("real_server.state_changed")] == [
        ("192.168.100.22:80", "DOWN"),
        ("192.168.100.22:80", "UP"),
    ]
    assert world.subjects() == [
        "[LVS_DEVEL] Realserver [192.168.100.22]:tcp:80 of virtual server [203.0.113.100]:tcp:80 - DOWN",
        "[LVS_DEVEL] Realserver [192.168.100.22]:tcp:80 of virtual server [203.0.113.100]:tcp:80 - UP",
    ]
    assert {recipients for _, recipients in world.mails} == {("admin@example.org",)}


def test_a_silent_host_is_noticed_after_its_retries_and_time_outs(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        article_servers(world)
        await world.later(30)
        world.network.server("192.168.100.22", 80).behaviour = blackhole()
        await world.later(5 + 4 * 5 + 3 * 3 + 2)
        assert world.weights() == {21: 1, 22: 0}

    play(story, ARTICLE, tmp_path)


def test_the_wrong_status_is_a_failure_and_names_it(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        article_servers(world)
        world.network.server("192.168.100.22", 80).behaviour = status(503)
        await world.later(30)
        check = world.snapshot().virtual_servers[0].real_servers[1].checks[0]
        assert (check.reason, check.detail) == ("L7STS", "HTTP 503, wanted 200")

    play(story, ARTICLE, tmp_path)


def test_an_answer_that_leaves_the_connection_open_is_a_success(tmp_path: Path) -> None:
    """keepalived fails such a server by time-out; we take a complete answer for one."""

    async def story(world: World) -> None:
        article_servers(world)
        world.network.server("192.168.100.22", 80).behaviour = keep_alive()
        await world.later(60)
        assert world.weights() == {21: 1, 22: 1}

    play(story, ARTICLE, tmp_path)


def test_with_both_dead_the_sorry_server_serves_and_the_pool_is_never_empty_on_the_way(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        article_servers(world)
        await world.later(30)
        for last in (21, 22):
            world.network.server(f"192.168.100.{last}", 80).behaviour = refuse()
        await world.later(NOTICED_S + 1)
        assert world.weights() == {20: 1, 21: 0, 22: 0}
        for last in (21, 22):
            world.network.server(f"192.168.100.{last}", 80).behaviour = healthy()
        await world.later(8)
        assert world.weights() == {21: 1, 22: 1}

    world = play(story, ARTICLE, tmp_path)
    served = False
    for _, table in world.backend.history:
        weights = [d.weight for d in table.services[world.service()].destinations.values()]
        served = served or any(weights)
        assert any(weights) or not served, "a moment with an empty pool"


def test_the_virtual_address_is_assigned_after_the_table_and_released_at_a_clean_stop(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        article_servers(world)
        await world.later(10)
        assert [str(a) for a in world.addresses.assigned] == ["203.0.113.100"]
        world.stop()
        await world.ended.wait()
        assert world.backend.table.services == {}
        assert world.addresses.assigned == {}

    world = play(story, ARTICLE, tmp_path)
    assert world.lines[-1]["event"] == "daemon.stopped"


def test_mail_of_the_last_moment_is_still_delivered_at_a_clean_stop(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.network.server("192.168.100.21", 80)
        while not world.events("real_server.state_changed"):
            await world.later(0.01)
        world.stop()
        await world.ended.wait()

    assert len(play(story, ARTICLE, tmp_path).mails) == 1
