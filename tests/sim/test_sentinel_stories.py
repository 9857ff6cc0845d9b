"""Sentinels in the whole program, with the article's file: what an operator sees of servers that die, reload, or close connections."""

from __future__ import annotations

from pathlib import Path

from checkers.kit.timer import TICK_S
from checkers.kit.trial import TRIAL_S
from supervisor.admin import words
from tests.fakes.behaviours import blackhole, healthy, refuse, status
from tests.sim.test_article_story import ARTICLE, NOTICED_S, article_servers
from tests.sim.world import World, play

SECOND = "192.168.100.22"


ALONE = ARTICLE.replace("router_id LVS_DEVEL", "router_id LVS_DEVEL\n  sentinel no")


def test_a_killed_server_has_weight_zero_in_a_moment_and_is_back_in_a_second(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        article_servers(world)
        await world.later(30)
        world.network.server(SECOND, 80).behaviour = refuse()
        await world.later(0.1)
        assert world.weights() == {21: 1, 22: 0}
        world.network.server(SECOND, 80).behaviour = healthy()
        await world.later(1.2)
        assert world.weights() == {21: 1, 22: 1}

    world = play(story, ARTICLE, tmp_path)
    (down, up) = world.events("real_server.state_changed")
    assert (down["to"], down["failures"], up["to"]) == ("DOWN", 4, "UP")


def test_with_sentinel_no_the_file_means_what_it_means_to_keepalived(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        article_servers(world)
        await world.later(30)
        world.network.server(SECOND, 80).behaviour = refuse()
        await world.later(3 * 3 - 0.1)
        assert world.weights() == {21: 1, 22: 1}
        await world.later(NOTICED_S - 3 * 3)
        assert world.weights() == {21: 1, 22: 0}
        assert world.network.server(SECOND, 80).holds == 0

    play(story, ALONE, tmp_path)


def test_a_hundred_graceful_reloads_remove_nobody_and_are_told_to_nobody(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        article_servers(world)
        await world.later(30)
        written = len(world.backend.ops)
        for _ in range(100):
            world.network.server(SECOND, 80).close_idle()
            await world.later(20)
        assert len(world.backend.ops) == written

    world = play(story, ARTICLE, tmp_path)
    assert world.events("real_server.state_changed") == []
    assert world.events("real_server.check_failed") == []


def test_a_wrong_status_still_has_all_its_retries_and_pauses(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        article_servers(world)
        await world.later(30)
        world.network.server(SECOND, 80).behaviour = status(500)
        world.network.server(SECOND, 80).close_idle()
        await world.later(3 * 3 - 0.2)
        assert world.weights() == {21: 1, 22: 1}
        await world.later(1)
        assert world.weights() == {21: 1, 22: 0}

    play(story, ARTICLE, tmp_path)


def test_a_silent_host_is_noticed_three_seconds_after_its_death_and_not_at_the_next_probe(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        article_servers(world)
        await world.later(100)
        world.network.server(SECOND, 80).behaviour = blackhole()
        await world.later(3 + 4 * 5 + 3 * 3 + 0.5)
        assert world.weights() == {21: 1, 22: 0}

    play(story, ARTICLE.replace("delay_loop 5", "delay_loop 60"), tmp_path)


def test_the_guard_holds_the_last_server_as_ever(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        article_servers(world)
        await world.later(30)
        for last in (21, 22):
            world.network.server(f"192.168.100.{last}", 80).behaviour = status(500)
            world.network.server(f"192.168.100.{last}", 80).close_idle()
        await world.later(15)
        assert sorted(world.weights().values()) == [0, 1]

    guarded = ARTICLE.replace("protocol TCP", "protocol TCP\n  min_healthy 1").replace(
        "  sorry_server 192.168.100.20 80\n", ""
    )
    play(story, guarded, tmp_path)


def test_why_says_that_a_sentinel_is_given_up_and_for_what(tmp_path: Path) -> None:
    said: list[str] = []

    async def story(world: World) -> None:
        article_servers(world)
        world.network.server(SECOND, 80).idle_limit_s = 5.0
        await world.later(60)
        answer = await world.operate("why", real_server=SECOND)
        said.append(words.why(answer if isinstance(answer, list) else answer["answers"]))
        world.children[0].kill()
        await world.later(3)
        answer = await world.operate("why", real_server=SECOND)
        said.append(words.why(answer if isinstance(answer, list) else answer["answers"]))

    play(story, ARTICLE, tmp_path)
    assert "  sentinel of HTTP_GET 192.168.100.22:80: given up, closes idle connections after 5" in said[0]
    assert "sentinel of" not in said[1]  # another worker, which knows nothing of it yet


def test_servers_with_one_place_serve_clients_and_probes_as_if_nobody_watched(tmp_path: Path) -> None:
    said: list[str] = []

    async def story(world: World) -> None:
        article_servers(world)
        for last in (21, 22):
            world.network.server(f"192.168.100.{last}", 80).places = 1
        await world.later(30)
        written = len(world.backend.ops)
        await world.later(3000)
        assert len(world.backend.ops) == written
        for last in (21, 22):
            assert world.network.server(f"192.168.100.{last}", 80).stood_still_s <= TRIAL_S + 2 * TICK_S
            assert world.network.server(f"192.168.100.{last}", 80).holds == 1
        world.reload(ARTICLE.replace("weight 1", "weight 2"))
        await world.later(300)
        assert world.network.server(SECOND, 80).holds == 1
        answer = await world.operate("why", real_server=SECOND)
        said.append(words.why(answer if isinstance(answer, list) else answer["answers"]))

    world = play(story, ARTICLE, tmp_path)
    assert world.events("real_server.check_failed") == []
    assert "given up, the server has no place for an idle connection beside others" in said[0]
    assert "noticed after (expected-at most): refused port 2.5-" in said[0]
