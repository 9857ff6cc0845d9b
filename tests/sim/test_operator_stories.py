"""Operators press buttons: drain, disable, enable and weight over the admin desk, and what traffic, log and `why` make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from supervisor.admin.protocol import RequestError, Status
from supervisor.core.table import ChangeDestination, DeleteDestination
from tests.fakes.behaviours import refuse
from tests.sim.world import World, play

ARTICLE = (Path(__file__).parents[2] / "deploy" / "examples" / "article.conf").read_text()
GROUP = ARTICLE.replace(
    "virtual_server 203.0.113.100 80 {",
    "virtual_server_group web {\n  203.0.113.100 80\n  203.0.113.101 80\n}\nvirtual_server group web {",
)
RS21, RS22 = "192.168.100.21:80", "192.168.100.22:80"
VS = "203.0.113.100:80/tcp"


async def settled(world: World) -> None:
    """Both servers of the article are up."""
    for last in (20, 21, 22):
        world.network.server(f"192.168.100.{last}", 80)
    await world.later(20)
    assert world.weights() == {21: 1, 22: 1}


async def order(world: World, verb: str, real_server: str, **args: Any) -> Any:
    """Alice says something at the admin socket; raises RequestError."""
    return await world.operate(verb, by="alice", real_server=real_server, **args)


async def refusal(world: World, verb: str, real_server: str, **args: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await order(world, verb, real_server, **args)
    return caught.value


def test_a_drained_server_gets_nobody_new_and_answer_log_and_why_say_who_wanted_it(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        answer = await order(world, "drain", "192.168.100.21", reason="CHG-17")
        assert world.weights() == {21: 0, 22: 1}, "when the answer comes, the kernel has it"
        assert answer["in_kernel"]
        (row,) = answer["servers"]
        assert (row["virtual_server"], row["real_server"], row["admin"]) == (VS, RS21, "draining")
        assert not row["enabled"]
        assert (row["weight_old"], row["weight_wanted"], row["weight_kernel"]) == (1, 0, 0)
        assert (row["others"], row["weight_up"], row["quorum"]) == ([{"real_server": RS22, "weight": 1}], 1, 1)
        (told,) = world.events("real_server.admin_changed")
        assert (told["admin"], told["by"], told["reason"]) == ("draining", "alice", "CHG-17")
        (request,) = world.events("admin.request")
        assert (request["verb"], request["user"], request["uid"], request["peer_pid"]) == ("drain", "alice", 0, 4711)
        assert (request["outcome"], request["level"]) == ("done", "info")
        (why,) = await order(world, "why", RS21)
        assert [link["kind"] for link in why["chain"]] == ["operator", "kernel write", "read-back"]
        assert why["real_server"]["override"]["by"] == "alice"
        await order(world, "enable", RS21)
        assert world.weights() == {21: 1, 22: 1}

    play(story, ARTICLE, tmp_path)


def test_what_would_leave_a_pool_without_its_quorum_is_refused_until_forced(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        world.network.server("192.168.100.22", 80).behaviour = refuse()
        await world.later(30)
        error = await refusal(world, "drain", RS21)
        assert error.status is Status.REFUSED
        assert f"would leave {VS} with live weight 0 of the quorum 1; nothing was changed. Say --force" in str(error)
        assert world.weights() == {21: 1, 22: 0}
        assert [line["outcome"] for line in world.events("admin.request")] == ["refused"]
        assert world.events("admin.request")[0]["level"] == "warning"
        answer = await order(world, "drain", RS21, force=True)
        assert answer["servers"][0]["sorry_server"] == "192.168.100.20:80"
        assert world.weights() == {20: 1, 21: 0, 22: 0}

    play(story, ARTICLE, tmp_path)


@pytest.mark.parametrize("seed", range(5))
def test_two_orders_at_once_cannot_both_be_granted_where_only_one_may(tmp_path: Path, seed: int) -> None:
    async def story(world: World) -> None:
        await settled(world)
        granted: list[str] = []
        refused: list[Status] = []

        async def drain(real_server: str) -> None:
            try:
                await order(world, "drain", real_server)
            except RequestError as error:
                refused.append(error.status)
            else:
                granted.append(real_server)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain, RS21)
            nursery.start_soon(drain, RS22)
        assert (len(granted), refused) == (1, [Status.REFUSED])
        assert sorted(world.weights().values()) == [0, 1]

    play(story, ARTICLE, tmp_path, seed=seed)


def test_a_wish_ends_to_the_moment_and_the_end_is_told(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        await order(world, "drain", RS21, for_s=30.2)
        await world.later(30.15)
        assert world.weights() == {21: 0, 22: 1}
        await world.later(0.1)
        assert world.weights() == {21: 1, 22: 1}
        assert [line["expired"] for line in world.events("real_server.admin_changed")] == [False, True]

    play(story, ARTICLE, tmp_path)


def test_the_end_of_a_wish_that_changes_nothing_yet_is_to_the_moment_too(tmp_path: Path) -> None:
    """Nothing is written for it, so nothing but its own end wakes the decision loop."""

    async def story(world: World) -> None:
        await settled(world)
        await order(world, "disable", RS21)
        await world.later(21)
        await order(world, "disable", RS21, for_s=0.3)
        await world.later(0.35)
        assert world.weights() == {21: 1, 22: 1}

    play(story, ARTICLE, tmp_path)


def test_health_never_ends_a_drain_and_a_drain_never_hides_health(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        await order(world, "drain", RS21, reason="new kernel")
        server = world.network.server("192.168.100.21", 80)
        server.behaviour = refuse()
        await world.later(30)
        (why,) = await order(world, "why", RS21)
        assert why["real_server"]["health"] == "DOWN"
        world.network.servers.pop(("192.168.100.21", 80))
        world.network.server("192.168.100.21", 80)
        await world.later(30)
        (why,) = await order(world, "why", RS21)
        assert why["real_server"]["health"] == "UP"
        assert world.weights() == {21: 0, 22: 1}
        assert any("and still draining, said alice (new kernel)" in link["text"] for link in why["chain"])
        changes = [line["to"] for line in world.events("real_server.state_changed") if line["real_server"] == RS21]
        assert changes[-2:] == ["DOWN", "UP"]
        await order(world, "enable", RS21)
        assert world.weights() == {21: 1, 22: 1}

    play(story, ARTICLE, tmp_path)


def test_of_a_group_one_address_can_be_named_and_without_a_name_it_is_all(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        answer = await order(world, "drain", RS21, virtual_server="203.0.113.101:80")
        assert [row["virtual_server"] for row in answer["servers"]] == ["203.0.113.101:80/tcp"]
        assert (world.weights(0), world.weights(1)) == ({21: 1, 22: 1}, {21: 0, 22: 1})
        answer = await order(world, "disable", RS21)
        assert [row["virtual_server"] for row in answer["servers"]] == [VS, "203.0.113.101:80/tcp"]
        assert [row["replaced"] for row in answer["servers"]] == ["", "draining, said alice"]
        assert (world.weights(0), world.weights(1)) == ({21: 0, 22: 1}, {21: 0, 22: 1}), (
            "inhibit_on_failure keeps them in"
        )

    play(story, GROUP, tmp_path)


def test_if_one_of_several_virtual_servers_would_lose_its_quorum_nothing_is_done_anywhere(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        await order(world, "drain", RS22, virtual_server="203.0.113.101:80/tcp")
        error = await refusal(world, "drain", RS21)
        assert "203.0.113.101:80/tcp with live weight 0" in str(error)
        assert VS not in str(error)
        assert (world.weights(0), world.weights(1)) == ({21: 1, 22: 1}, {21: 1, 22: 0})

    play(story, GROUP, tmp_path)


def test_a_sorry_server_cannot_be_drained(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        for name in ("192.168.100.20", "192.168.100.20:80"):
            error = await refusal(world, "drain", name)
            assert error.status is Status.REFUSED
            assert f"192.168.100.20:80 is the sorry server of {VS}" in str(error)

    play(story, ARTICLE, tmp_path)


@pytest.mark.parametrize(
    ("real_server", "inside", "sentence"),
    [
        (
            "192.168.100.23:80",
            None,
            f"no real server '192.168.100.23:80' in the configuration; did you mean {RS21} or {RS22}?",
        ),
        ("192.168.100.12", None, "did you mean 192.168.100.22 or 192.168.100.21?"),
        ("::1", None, "no real server '::1' in the configuration; `vipervisor status` lists them all"),
        ("web1", None, "no real server 'web1'"),
        ("[::1", None, "no real server '[::1'"),
        ("192.168.100.21:80:80", None, "no real server"),
        ("192.168.100.21:0x50", None, "no real server"),
        (
            RS21,
            "203.0.113.1:80",
            "no virtual server '203.0.113.1:80' in the configuration; did you mean 203.0.113.100:80?",
        ),
        ("192.168.100.99", VS, f"no real server '192.168.100.99' in {VS}; did you mean"),
    ],
)
def test_a_name_that_nobody_has_is_answered_with_the_nearest_ones(
    tmp_path: Path, real_server: str, inside: str | None, sentence: str
) -> None:
    async def story(world: World) -> None:
        await settled(world)
        error = await refusal(world, "drain", real_server, virtual_server=inside)
        assert error.status is Status.NOT_FOUND
        assert sentence in str(error)

    play(story, ARTICLE, tmp_path)


@pytest.mark.parametrize(
    ("verb", "args", "complaint"),
    [
        ("drain", {"real_server": 7}, '"real_server" is a printable text'),
        ("drain", {"real_server": ""}, "name a real server"),
        ("drain", {"reason": "two\nlines"}, '"reason" is a printable text'),
        ("drain", {"reason": "\x1b[2J"}, '"reason" is a printable text'),
        ("drain", {"reason": "\ud800"}, '"reason" is a printable text'),
        ("drain", {"reason": "x" * 257}, "at most 256"),
        ("drain", {"for_s": 0}, '"for_s" is a number of seconds'),
        ("drain", {"for_s": -1}, '"for_s"'),
        ("drain", {"for_s": float("nan")}, '"for_s"'),
        ("drain", {"for_s": float("inf")}, '"for_s"'),
        ("drain", {"for_s": True}, '"for_s"'),
        ("drain", {"for_s": "2h"}, '"for_s"'),
        ("drain", {"force": "yes"}, '"force" is true or false'),
        ("weight", {}, '"weight" is a whole number'),
        ("weight", {"weight": -1}, '"weight" is a whole number of 0 to 65535'),
        ("weight", {"weight": 65536}, '"weight"'),
        ("weight", {"weight": 1.5}, '"weight"'),
        ("weight", {"weight": True}, '"weight"'),
    ],
)
def test_arguments_of_the_wrong_kind_change_nothing(
    tmp_path: Path, verb: str, args: dict[str, Any], complaint: str
) -> None:
    async def story(world: World) -> None:
        await settled(world)
        error = await refusal(world, verb, **{"real_server": RS21, **args})
        assert error.status is Status.USAGE
        assert complaint in str(error)
        assert not world.events("real_server.admin_changed")

    play(story, ARTICLE, tmp_path)


def test_a_weight_holds_through_a_failure_and_does_not_wake_a_drained_server(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        await order(world, "weight", RS21, weight=7)
        assert world.weights() == {21: 7, 22: 1}
        await order(world, "drain", RS22)
        error = await refusal(world, "weight", RS22, weight=5)
        assert error.status is Status.REFUSED
        assert (
            f"{RS22} in {VS} is draining, said alice, and a weight would put it back into service; enable it first"
            in str(error)
        )
        await order(world, "weight", RS22, weight=5, force=True)
        assert world.weights() == {21: 7, 22: 5}

    play(story, ARTICLE, tmp_path)


def test_to_enable_what_was_never_taken_out_is_no_news(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        answer = await order(world, "enable", RS21)
        assert [row["changed"] for row in answer["servers"]] == [False]
        assert not world.events("real_server.admin_changed")

    play(story, ARTICLE, tmp_path)


def test_a_reload_keeps_what_operators_said(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        await order(world, "drain", RS21)
        world.reload(ARTICLE.replace("lvs_sched rr", "lvs_sched wrr").replace("weight 1", "weight 4"))
        await world.later(20)
        assert world.weights() == {21: 0, 22: 4}
        await order(world, "enable", RS21)
        assert world.weights() == {21: 4, 22: 4}

    play(story, ARTICLE, tmp_path)


def test_an_order_that_the_kernel_does_not_take_is_answered_as_that_and_stands(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        world.backend.refuse = lambda op: "ENOMEM" if isinstance(op, ChangeDestination | DeleteDestination) else ""
        since = world.now()
        answer = await order(world, "drain", RS21)
        assert not answer["in_kernel"]
        assert answer["servers"][0]["weight_kernel"] == 1
        assert world.now() - since < 5
        world.backend.refuse = lambda _op: ""
        await world.later(5)
        assert world.weights() == {21: 0, 22: 1}

    play(story, ARTICLE, tmp_path)


def test_a_server_that_a_reload_takes_away_in_the_middle_of_its_order_is_left_out_of_the_answer(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        world.backend.refuse = lambda op: "ENOMEM" if isinstance(op, ChangeDestination) else ""
        answers: list[Any] = []

        async def drain() -> None:
            answers.append(await order(world, "drain", RS21))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain)
            await world.later(0.5)
            start, end = ARTICLE.index("  real_server 192.168.100.21"), ARTICLE.index("  real_server  192.168.100.22")
            world.reload(ARTICLE[:start] + ARTICLE[end:])
        assert answers[0]["servers"] == []

    play(story, ARTICLE, tmp_path)
