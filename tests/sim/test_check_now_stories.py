"""An operator has servers probed now: what is shown, what it costs, and that it changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from supervisor.admin import checkwords, words
from supervisor.admin.protocol import RequestError, Status
from supervisor.core.entry import decode
from supervisor.core.questions import AskHistory
from supervisor.exporter.picture import last_failures
from tests.fakes.behaviours import blackhole, hang, refuse, status
from tests.sim.test_operator_stories import ARTICLE, GROUP, RS22, order, settled
from tests.sim.world import World, play


async def check_now(world: World, real_server: str, **args: Any) -> list[dict[str, Any]]:
    checks: list[dict[str, Any]] = (await order(world, "check-now", real_server, **args))["checks"]
    return checks


def test_a_probe_on_request_shows_what_was_sent_and_received_and_the_rule_that_was_broken(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        world.network.server("192.168.100.22", 80).behaviour = status(503, b"no database\n")
        (check,) = await check_now(world, RS22, trace=True)
        assert (check["result"]["ok"], check["result"]["reason"]) == (False, "L7STS")
        assert check["result"]["detail"] == "HTTP 503, wanted 200"
        assert "status" in check["result"]["rule"]
        assert [step["kind"] for step in check["steps"]][:4] == ["CONNECTING", "CONNECTED", "SENT", "RECEIVED"]
        assert check["real_servers"] == [f"{RS22} in 203.0.113.100:80/tcp"]
        shown = checkwords.checked({"checks": [check]})
        for told in (
            "✖ FAILS: L7STS HTTP 503, wanted 200",
            "> GET / HTTP/1.0",
            "< HTTP/1.1 503 Because",
            "< no database",
        ):
            assert told in shown
        (request,) = world.events("admin.request")
        assert (request["verb"], request["outcome"]) == ("check-now", "done")

    play(story, ARTICLE, tmp_path)


def test_looking_at_a_server_takes_it_neither_out_nor_in(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        server = world.network.server("192.168.100.22", 80)
        for _ in range(20):
            server.behaviour = refuse()
            (check,) = await check_now(world, RS22)
            assert not check["result"]["ok"]
            server.behaviour = status(200)
            await world.later(1.1)
        assert world.weights() == {21: 1, 22: 1}
        assert not world.events("real_server.check_failed"), "the schedule's own probes all passed"
        server.behaviour = refuse()
        await world.later(60)
        assert world.weights() == {21: 1, 22: 0}

    play(story, ARTICLE.replace("router_id", "sentinel no\n  router_id"), tmp_path)


def test_the_same_check_in_two_virtual_servers_is_one_probe(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        before = world.network.server("192.168.100.22", 80).connections
        (check,) = await check_now(world, "192.168.100.22")
        assert len(check["real_servers"]) == 2
        assert world.network.server("192.168.100.22", 80).connections == before + 1

    play(story, GROUP, tmp_path)


def test_a_check_is_not_probed_again_within_a_second_whoever_asks(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        await check_now(world, RS22)
        with pytest.raises(RequestError, match="ask again in") as caught:
            await check_now(world, RS22)
        assert caught.value.status is Status.REFUSED
        await world.later(1.1)
        await check_now(world, RS22)

    play(story, ARTICLE, tmp_path)


def test_a_server_that_says_nothing_is_waited_for_as_long_as_its_check_would(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        for behaviour, reason in ((hang(), "L7TOUT"), (blackhole(), "L4TOUT")):
            world.network.server("192.168.100.22", 80).behaviour = behaviour
            began = world.now()
            (check,) = await check_now(world, RS22)
            assert check["result"]["reason"] == reason
            assert world.now() - began == pytest.approx(check["result"]["duration_s"], abs=0.2)
            await world.later(2)

    play(story, ARTICLE, tmp_path)


def test_where_no_worker_is_nobody_waits_for_an_answer(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        world.no_starts.add(0)
        world.children[0].kill()
        await world.later(0.5)
        (check,) = await check_now(world, RS22)
        assert check["result"] is None
        assert "worker is not there" in check["trouble"]
        assert "NOT PROBED" in checkwords.checked({"checks": [check]})

    play(story, ARTICLE, tmp_path)


def test_a_worker_that_dies_of_the_probe_ends_the_wait(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        world.network.server("192.168.100.22", 80).behaviour = hang()
        answers: list[dict[str, Any]] = []

        async def ask() -> None:
            answers.extend(await check_now(world, RS22))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await world.later(0.5)
            world.children[0].kill()
        assert answers[0]["result"] is None

    play(story, ARTICLE, tmp_path)


def test_a_server_that_there_is_not_is_not_found(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        with pytest.raises(RequestError, match="did you mean") as caught:
            await check_now(world, "192.168.100.23:80")
        assert caught.value.status is Status.NOT_FOUND

    play(story, ARTICLE, tmp_path)


def test_why_and_the_page_remember_the_last_probe_on_request_and_the_history_does_not(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        server = world.network.server("192.168.100.22", 80)
        server.behaviour = status(503, b"token=hunter2\n")
        await check_now(world, RS22)
        server.behaviour = status(200)
        await world.later(30)
        (answer,) = await world.operate("why", real_server=RS22)
        (asked,) = [told for told in answer["results"] if "by check-now" in told["message"]]
        assert (
            asked["message"] == f"HTTP_GET {RS22}: L7STS HTTP 503, wanted 200, by check-now, which counts for nothing"
        )
        assert asked["facts"]["passed"] is False
        shown = words.why([answer])
        assert "  The last that failed, 30s ago:\n" in shown
        assert "> GET / HTTP/1.0\n" in shown
        assert "< token=***\n" in shown
        found = await world.operate("history", name=RS22)
        assert "by check-now" not in str(found)
        assert world.weights() == {21: 1, 22: 1}
        extract = decode(b"".join(world.supervisor._answer(AskHistory("203.0.113.100:80/tcp"))))
        assert extract is not None
        failed = last_failures(extract)[RS22]
        assert "hunter2" not in str(failed)
        assert failed.facts["result"] == "L7STS"

    play(story, ARTICLE, tmp_path)
