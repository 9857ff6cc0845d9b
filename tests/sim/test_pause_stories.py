"""Operators freeze the kernel's table, thaw it, have it compared, and ask the program how it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from supervisor import overview
from supervisor.admin import selfwords, words
from supervisor.admin.protocol import RequestError, Status
from supervisor.core.memory import Life
from supervisor.core.snapshot import as_json
from supervisor.core.table import ChangeDestination, DeleteDestination
from tests.fakes.behaviours import blackhole, refuse
from tests.sim.test_operator_stories import ARTICLE, RS21, settled
from tests.sim.world import World, play


async def say(world: World, verb: str, **args: Any) -> Any:
    return await world.operate(verb, by="alice", **args)


def spoil(world: World, weight: int = 9) -> None:
    """Somebody gives 192.168.100.21 another weight by hand."""
    key = world.service()
    found = next(d for e, d in world.backend.table.services[key].destinations.items() if str(e) == RS21)
    world.backend.apply([ChangeDestination(key, type(found)(found.endpoint, weight, found.method))])


def test_while_writes_are_paused_the_table_stays_and_afterwards_it_is_made_as_wanted(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        answer = await say(world, "pause", reason="kernel bug, INC-7")
        assert answer["paused"]["by"] == "alice"
        world.network.server("192.168.100.22", 80).behaviour = refuse()
        await world.later(60)
        assert world.weights() == {21: 1, 22: 1}, "nothing is written"
        assert [row.health for row in world.snapshot().virtual_servers[0].real_servers] == ["UP", "DOWN"], (
            "and all is known"
        )
        await say(world, "resume")
        await world.later(1)
        assert world.weights() == {21: 1, 22: 0}
        assert [line["by"] for line in world.events("writes.resumed")] == ["alice"]

    play(story, ARTICLE, tmp_path)


def test_everybody_is_told_of_a_pause_again_and_again(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        await say(world, "pause", reason="INC-7", for_s=3600)
        (line,) = world.events("writes.paused")
        assert (line["level"], line["by"], line["reason"], line["ends_s"]) == ("error", "alice", "INC-7", 3600.0)
        snapshot = world.snapshot()
        assert snapshot.process.paused is not None
        assert "! WRITES PAUSED by alice" in words.status(as_json(snapshot))
        assert "WRITES PAUSED by alice (INC-7)" in overview.summary(world.supervisor.director, snapshot.process.paused)
        assert "WRITES PAUSED" in selfwords.alerts(await say(world, "alerts"))
        await world.later(1900)
        assert len(world.events("writes.paused")) == 3

    play(story, ARTICLE, tmp_path)


def test_a_pause_ends_when_its_time_is_over(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        await say(world, "pause", reason="INC-7", for_s=120)
        world.network.server("192.168.100.22", 80).behaviour = refuse()
        await world.later(119)
        assert world.weights() == {21: 1, 22: 1}
        await world.later(2)
        assert world.weights() == {21: 1, 22: 0}
        assert world.events("writes.resumed")[0]["reason"] == "its time is over"

    play(story, ARTICLE, tmp_path)


def test_a_pause_wants_a_reason_and_an_end_within_bounds(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        for args in ({}, {"reason": "x", "for_s": -1}, {"reason": "x", "for_s": 1e9}, {"reason": "x\n"}):
            with pytest.raises(RequestError):
                await say(world, "pause", **args)
        assert world.snapshot().process.paused is None

    play(story, ARTICLE, tmp_path)


@pytest.mark.parametrize("stopped", [False, True], ids=["crash", "stop"])
def test_a_pause_outlives_the_program_and_its_stop_leaves_the_table(tmp_path: Path, *, stopped: bool) -> None:
    async def story(world: World) -> None:
        await settled(world)
        await say(world, "pause", reason="INC-7", for_s=600)
        await world.later(5)
        if stopped:
            world.stop()
        else:
            world.crash()
        await world.ended.wait()
        assert world.weights() == {21: 1, 22: 1}
        world.network.server("192.168.100.22", 80).behaviour = refuse()
        await world.start()
        await world.later(60)
        assert world.weights() == {21: 1, 22: 1}
        paused = world.snapshot().process.paused
        assert paused is not None
        assert paused.reason == "INC-7"
        assert 400 < (paused.ends_s or 0) < 600
        await say(world, "resume")
        await world.later(60)
        assert world.weights() == {21: 1, 22: 0}

    play(story, ARTICLE, tmp_path)


def test_a_pause_does_not_outlive_the_boot(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        await say(world, "pause", reason="INC-7")
        await world.later(5)
        world.crash()
        await world.ended.wait()
        world.life = Life("boot 2", "net:[1] 1")
        await world.start()
        await world.later(5)
        assert world.snapshot().process.paused is None

    play(story, ARTICLE, tmp_path)


def test_sync_shows_what_is_not_as_wanted_and_puts_right_what_the_policy_lets_stand(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        assert (await say(world, "sync"))["found"] == 0
        spoil(world)
        await world.later(20)
        assert world.weights()[21] == 9, "drift_policy report lets it stand"
        looked = await say(world, "sync", dry_run=True)
        assert (looked["found"], looked["left"]) == (1, 1)
        assert f"{RS21} in 203.0.113.100:80/tcp has weight 9, wanted is weight 1" in selfwords.synced(looked)
        assert world.weights()[21] == 9
        done = await say(world, "sync")
        assert (done["found"], done["left"]) == (1, 0)
        assert selfwords.synced(done).startswith("1 difference in the kernel's table, put right")
        assert world.weights() == {21: 1, 22: 1}
        assert (await say(world, "sync"))["found"] == 0

    play(story, ARTICLE.replace("delay_loop", "drift_policy report\n  delay_loop", 1), tmp_path)


def test_sync_sees_what_happened_a_moment_ago(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        key = world.service()
        endpoint = next(e for e in world.backend.table.services[key].destinations if str(e) == RS21)
        world.backend.apply([DeleteDestination(key, endpoint)])
        done = await say(world, "sync")
        assert [one["kind"] for one in done["differences"]] == ["missing"]
        assert world.weights() == {21: 1, 22: 1}

    play(story, ARTICLE, tmp_path)


def test_sync_changes_nothing_while_writes_are_paused(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        await say(world, "pause", reason="INC-7")
        spoil(world)
        with pytest.raises(RequestError, match="writes are paused by alice") as caught:
            await say(world, "sync")
        assert caught.value.status is Status.REFUSED
        assert (await say(world, "sync", dry_run=True))["found"] == 1
        await world.later(30)
        assert world.weights()[21] == 9

    play(story, ARTICLE, tmp_path)


def test_ready_names_what_is_missing(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        for last in (20, 21):
            world.network.server(f"192.168.100.{last}", 80)
        world.network.server("192.168.100.22", 80).behaviour = blackhole()
        early = await say(world, "ready")
        assert not early["ready"]
        assert early["waiting"] == 2
        shown = selfwords.ready(early)
        assert "2 of 2 checks without a verdict" in shown
        assert "HTTP_GET 192.168.100.22:80 for 192.168.100.22:80 in 203.0.113.100:80/tcp" in shown
        await world.later(120)
        late = await say(world, "ready")
        assert late["ready"]
        assert selfwords.ready(late).startswith("ready: 2 checks")

    play(story, ARTICLE, tmp_path)


def test_alerts_is_a_line_for_a_monitoring_system(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        assert (await say(world, "alerts"))["word"] == "UNKNOWN", "not ready yet"
        await settled(world)
        await world.later(10)
        answer = await say(world, "alerts")
        assert (answer["status"], answer["word"]) == (0, "OK")
        assert selfwords.alerts(answer) == (
            "VIPERVISOR OK - 1 virtual server with quorum, 2 of 2 real servers up | virtual_servers=1"
            " virtual_servers_without_quorum=0 real_servers=2 real_servers_up=2 real_servers_down=0"
            " real_servers_overridden=0 real_servers_held=0 active_connections=0\n"
        )
        world.network.server("192.168.100.22", 80).behaviour = refuse()
        await world.later(60)
        answer = await say(world, "alerts")
        assert (answer["status"], answer["word"]) == (1, "WARNING")
        assert "1 down: 192.168.100.22:80 in 203.0.113.100:80/tcp" in answer["text"]
        world.network.server("192.168.100.21", 80).behaviour = refuse()
        await world.later(60)
        answer = await say(world, "alerts")
        assert (answer["status"], answer["word"]) == (2, "CRITICAL")
        assert "quorum lost: 203.0.113.100:80/tcp (sorry server serves)" in answer["text"]

    play(story, ARTICLE, tmp_path)


def test_the_log_level_is_changed_while_it_runs(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        assert await say(world, "log-level", level="error") == {"level": "error", "before": "debug"}
        before = len(world.lines)
        await say(world, "drain", real_server=RS21)
        assert len(world.lines) == before, "a drain is a warning"
        await say(world, "log-level", level="info")
        await say(world, "enable", real_server=RS21)
        assert len(world.lines) > before
        with pytest.raises(RequestError, match="one of debug, info, warning, error"):
            await say(world, "log-level", level="loud")
        assert (await say(world, "version"))["log_level"] == "info"

    play(story, ARTICLE, tmp_path)
