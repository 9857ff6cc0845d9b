"""One order for many: patterns, which have to be confirmed, and one machine in every virtual server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from supervisor.admin.protocol import RequestError, Status
from tests.sim.test_operator_stories import GROUP, RS21, RS22, order, refusal, settled
from tests.sim.world import World, play

FIRST, SECOND = "203.0.113.100:80/tcp", "203.0.113.101:80/tcp"


def rows(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(row["real_server"], row["virtual_server"]) for row in answer["servers"]]


def test_a_pattern_that_means_more_than_one_is_refused_with_the_list_until_it_is_confirmed(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        error = await refusal(world, "drain", "192.168.100.*", virtual_server=FIRST, force=True)
        assert error.status is Status.REFUSED
        assert str(error).split("\n") == [
            "that means 2 real servers:",
            f"  {RS21} in {FIRST}",
            f"  {RS22} in {FIRST}",
            "nothing was changed. Say --yes if all of them are meant",
        ]
        assert world.weights() == {21: 1, 22: 1}
        answer = await order(world, "drain", "192.168.100.*", virtual_server=FIRST, force=True, yes=True)
        assert rows(answer) == [(RS21, FIRST), (RS22, FIRST)]
        assert world.weights() == {20: 1, 21: 0, 22: 0}
        assert world.weights(1) == {21: 1, 22: 1}

    play(story, GROUP, tmp_path)


@pytest.mark.parametrize("pattern", ["192.168.100.21*", "*.21:80", "*.2?:80", "192.168.100.*"])
def test_a_pattern_means_every_name_that_fits_whole_or_by_its_address(tmp_path: Path, pattern: str) -> None:
    async def story(world: World) -> None:
        await settled(world)
        answer = await order(world, "weight", pattern, weight=3, virtual_server="*.101*", yes=True)
        assert (RS21, SECOND) in rows(answer)
        assert ((RS22, SECOND) in rows(answer)) is ("21" not in pattern)
        assert world.weights() == {21: 1, 22: 1}

    play(story, GROUP, tmp_path)


def test_a_pattern_that_means_one_needs_no_confirmation_and_one_that_means_nobody_is_not_found(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        assert rows(await order(world, "drain", "*.21:*", virtual_server=FIRST)) == [(RS21, FIRST)]
        assert (await refusal(world, "drain", "10.*")).status is Status.NOT_FOUND
        assert (await refusal(world, "drain", "*", virtual_server="10.*")).status is Status.NOT_FOUND
        assert len(await order(world, "why", "*")) == 4, "to look needs no confirmation"

    play(story, GROUP, tmp_path)


def test_a_pattern_keeps_the_quorum_as_a_whole(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        error = await refusal(world, "drain", "*", yes=True)
        assert "Say --force" in str(error)
        assert world.weights() == {21: 1, 22: 1}

    play(story, GROUP, tmp_path)


def test_one_machine_is_drained_in_every_virtual_server_at_one_stroke(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        answer = await world.operate("drain", by="alice", hosts=["192.168.100.21"], reason="new disk")
        assert rows(answer) == [(RS21, FIRST), (RS21, SECOND)]
        assert world.weights() == {21: 0, 22: 1}
        assert world.weights(1) == {21: 0, 22: 1}
        with pytest.raises(RequestError, match="Say --force"):
            await world.operate("drain", by="alice", hosts=["192.168.100.22"])
        assert world.weights() == {21: 0, 22: 1}
        await world.operate("enable", by="alice", hosts=["192.168.100.21"])
        assert world.weights() == {21: 1, 22: 1}

    play(story, GROUP, tmp_path)


@pytest.mark.parametrize("hosts", [[], "192.168.100.21", ["web"], [21], ["192.168.100.9"], ["192.0.2.1"] * 17])
def test_hosts_that_are_none_are_refused(tmp_path: Path, hosts: Any) -> None:
    async def story(world: World) -> None:
        await settled(world)
        with pytest.raises(RequestError):
            await world.operate("drain", by="alice", hosts=hosts, force=True)
        assert world.weights() == {21: 1, 22: 1}

    play(story, GROUP, tmp_path)


def test_the_worst_pattern_takes_no_time(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        error = await refusal(world, "drain", "*1" * 120 + "x")
        assert error.status is Status.NOT_FOUND

    play(story, GROUP, tmp_path)
