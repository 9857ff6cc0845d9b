"""A reload as an operator asks for it: seen ahead, answered, and undone by itself when nobody says that it is well."""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio

from supervisor.admin.access import Access, Caller
from supervisor.admin.protocol import RequestError, Status
from supervisor.core.changes import Foresight
from supervisor.core.table import Load
from supervisor.model import CheckSpec, Config, RealServer, VirtualServer
from supervisor.rollout import Rollout
from tests.fakes.behaviours import refuse
from tests.sim.test_change_stories import ARTICLE, alive
from tests.sim.world import World, play
from tests.supervisor.core.builders import endpoint

HEAVIER = ARTICLE.replace("192.168.100.21 80 {\n    weight 1", "192.168.100.21 80 {\n    weight 5")
RENAMED = ARTICLE.replace("192.168.100.22", "192.168.100.23")
SERVICE = "203.0.113.100:80/tcp"


def operations(answer: dict[str, list[dict[str, object]]]) -> list[tuple[object, ...]]:
    names = ("operation", "real_server", "weight_old", "weight_new", "active")
    return [tuple(told.get(name) for name in names) for told in answer["operations"]]


def test_plan_says_what_a_reload_would_do_with_live_connections_and_does_nothing(tmp_path: Path) -> None:
    other = tmp_path / "other.conf"
    other.write_text(RENAMED)

    async def story(world: World) -> None:
        alive(world, 21, 22, 23)
        await world.later(30)
        world.backend.carried = {endpoint(22): Load(active=12, inactive=3)}
        await world.later(3)
        before = len(world.backend.history)
        answer = await world.operate("plan", file=str(other))
        assert answer["changes"]["real_servers_added"] == [[SERVICE, "192.168.100.23:80"]]
        assert answer["changes"]["real_servers_removed"] == [[SERVICE, "192.168.100.22:80"]]
        assert operations(answer) == [
            ("AddDestination", "192.168.100.23:80", None, 1, 0),
            ("ChangeDestination", "192.168.100.22:80", 1, 0, 12),
        ]
        await world.later(5)
        assert len(world.backend.history) == before
        assert world.weights() == {21: 1, 22: 1}

    play(story, ARTICLE, tmp_path)


def test_what_plan_foresaw_is_what_the_reload_does(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world, 21, 22, 23)
        world.network.server("192.168.100.22", 80).behaviour = refuse()
        await world.later(30)
        world.path.write_text(RENAMED)
        foreseen = operations(await world.operate("plan"))
        did = await world.operate("reload", wait_s=10)
        assert operations(did) == foreseen
        assert did["settled"] is True
        await world.later(3)
        assert world.weights() == {21: 1, 23: 1}

    play(story, ARTICLE, tmp_path)


def test_a_reload_without_a_change_says_so_and_writes_nothing(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world, 21, 22)
        await world.later(30)
        before = len(world.backend.history)
        answer = await world.operate("reload")
        assert operations(answer) == []
        assert not any(answer["changes"].values())
        assert len(world.backend.history) == before

    play(story, ARTICLE, tmp_path)


def test_a_file_with_mistakes_is_answered_with_every_one_of_them_and_changes_nothing(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world, 21, 22)
        await world.later(30)
        world.path.write_text(ARTICLE.replace("protocol", "protocl").replace("delay_loop", "delay_lop"))
        for verb in ("plan", "reload"):
            with pytest.raises(RequestError) as caught:
                await world.operate(verb)
            assert caught.value.status is Status.CONFIG_INVALID
            assert "protocl" in str(caught.value)
            assert "delay_lop" in str(caught.value)
        world.path.write_text(ARTICLE)
        assert world.weights() == {21: 1, 22: 1}

    play(story, ARTICLE, tmp_path)


def test_a_reload_that_nobody_confirms_goes_back_by_itself(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world, 21, 22)
        await world.later(30)
        world.path.write_text(HEAVIER)
        assert (await world.operate("reload", confirm_within_s=60))["confirm_within_s"] == 60
        await world.later(59)
        assert world.weights() == {21: 5, 22: 1}
        await world.later(2)
        assert world.weights() == {21: 1, 22: 1}
        (said,) = world.events("config.rolled_back")
        assert "was not confirmed in time" in said["message"]

    play(story, ARTICLE, tmp_path)


def test_a_reload_that_is_confirmed_stays_and_there_is_nothing_to_confirm_twice(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world, 21, 22)
        await world.later(30)
        world.path.write_text(HEAVIER)
        await world.operate("reload", confirm_within_s=60)
        await world.operate("confirm")
        await world.later(120)
        assert world.weights() == {21: 5, 22: 1}
        with pytest.raises(RequestError) as caught:
            await world.operate("confirm")
        assert caught.value.status is Status.REFUSED

    play(story, ARTICLE, tmp_path)


def test_a_second_reload_on_trial_goes_back_to_the_last_one_that_was_not(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world, 21, 22, 23)
        await world.later(30)
        world.path.write_text(HEAVIER)
        await world.operate("reload", confirm_within_s=60)
        await world.later(30)
        world.path.write_text(HEAVIER.replace("weight 5", "weight 9"))
        await world.operate("reload", confirm_within_s=60)
        await world.later(59)
        assert world.weights() == {21: 9, 22: 1}
        await world.later(2)
        assert world.weights() == {21: 1, 22: 1}

    play(story, ARTICLE, tmp_path)


def test_a_refused_file_does_not_end_a_trial(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world, 21, 22)
        await world.later(30)
        world.path.write_text(HEAVIER)
        await world.operate("reload", confirm_within_s=60)
        world.path.write_text("nonsense")
        with pytest.raises(RequestError):
            await world.operate("reload")
        world.path.write_text(ARTICLE)
        await world.later(61)
        assert world.weights() == {21: 1, 22: 1}

    play(story, ARTICLE, tmp_path)


def test_requests_that_wait_together_are_one_reading_and_all_are_answered(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world, 21, 22)
        await world.later(30)
        answers: list[object] = []

        async def ask() -> None:
            answers.append(await world.operate("reload"))

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(ask)
            world.reload()
        await world.later(1)
        assert len(answers) == 50
        assert len(world.events("config.loaded")) <= 4

    play(story, ARTICLE, tmp_path)


def test_a_reload_that_the_kernel_does_not_take_in_time_says_so(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world, 21, 22)
        await world.later(30)
        world.backend.refuse = lambda _op: "EINVAL"
        world.path.write_text(HEAVIER)
        with pytest.raises(RequestError) as caught:
            await world.operate("reload", wait_s=5)
        assert caught.value.status is Status.TIMEOUT

    play(story, ARTICLE, tmp_path)


@pytest.mark.parametrize("args", [{"wait_s": 0}, {"wait_s": "1"}, {"wait_s": True}, {"confirm_within_s": 1e9}])
def test_nonsense_for_a_number_of_seconds_is_refused(tmp_path: Path, args: dict[str, Any]) -> None:
    async def story(world: World) -> None:
        with pytest.raises(RequestError, match="is a number of seconds"):
            await world.operate("reload", **args)

    play(story, ARTICLE, tmp_path)


def test_who_may_only_ask_has_no_file_read_but_the_one_that_runs(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        access = Access(owner=0, group=50)
        rollout = Rollout(world.supervisor, world.supervisor._reloads, world.supervisor._load, access)
        member = Caller(uid=1001, gid=50, pid=4712, user="bob")
        assert not any((await rollout.plan({}, member))["changes"].values())
        with pytest.raises(RequestError, match="bob may ask and not change anything") as caught:
            await rollout.plan({"file": "/etc/shadow"}, member)
        assert caught.value.status is Status.REFUSED

    play(story, ARTICLE, tmp_path)


def test_what_a_start_and_each_reload_made_is_kept_out_of_the_collector_and_nothing_else_is(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world, 21, 22)
        await world.later(60)
        assert world.stays == 2, "at the start, when the director is there and when the table is written"
        world.reload(HEAVIER)
        await world.later(60)
        assert world.stays == 3
        world.reload("virtual_server {")  # refused: nothing was made that stays
        await world.later(60)
        assert world.stays == 3

    play(story, ARTICLE, tmp_path)


def test_memory_is_given_back_when_much_was_made_and_else_every_ten_seconds(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        alive(world, 21, 22)
        await world.later(15)
        before = len(world.gave_back)
        await world.later(60)
        assert 5 <= len(world.gave_back) - before <= 9, "every ten seconds, and with each full state of a worker"
        before = len(world.gave_back)
        world.reload(HEAVIER)
        await world.later(0.3)
        assert len(world.gave_back) > before

    play(story, ARTICLE, tmp_path)


PARTS = (Config, VirtualServer, RealServer, CheckSpec, Foresight)


def held() -> Counter[type]:
    """Count what configurations, and what is said of them, are made of."""
    gc.collect()
    return Counter(type(it) for it in gc.get_objects() if isinstance(it, PARTS))


def test_nothing_of_the_configuration_before_is_held_after_a_reload(tmp_path: Path) -> None:
    other = ARTICLE.replace("weight 1", "weight 5").replace("delay_loop 5", "delay_loop 7")
    assert "weight 5" in other  # nothing is as it was
    assert "delay_loop 7" in other

    async def story(world: World) -> None:
        alive(world, 21, 22)
        await world.later(60)
        before = held()
        world.reload(other)
        await world.later(60)
        assert held() == before

    play(story, ARTICLE, tmp_path)
