"""What happened is known when somebody asks: after a reload, a crash, a disk that went wrong; and whoever follows is told of it."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import trio

from supervisor import journaling
from supervisor.admin.access import Caller
from supervisor.admin.desk import Following
from supervisor.admin.protocol import Request, RequestError, Status
from supervisor.core.entry import decode
from supervisor.core.questions import AskEvents, AskHistory
from supervisor.core.table import ChangeDestination
from supervisor.journal import decode as decode_journal
from supervisor.recording import BEHIND_MAX, FOLLOWERS_MAX
from tests.fakes.behaviours import refuse
from tests.sim.test_operator_stories import ARTICLE, RS21, RS22, VS, order, settled
from tests.sim.world import World, play

ROOT = Caller(uid=0, gid=0, pid=4711, user="alice")
FAILS, PASSES = "HTTP_GET 192.168.100.22:80: L4CON connection refused", "HTTP_GET 192.168.100.22:80: L7OK HTTP 200"


async def known(world: World, name: str = RS22, **args: Any) -> list[dict[str, Any]]:
    """The entries of one server."""
    (server,) = (await world.operate("history", name=name, **args))["servers"]
    entries: list[dict[str, Any]] = server["entries"]
    return entries


async def types(world: World, name: str = RS22) -> list[str]:
    return [entry["type"] for entry in await known(world, name)]


def goes_on(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> bool:
    """Whether a history is the same and goes on: the run of successes with which it ended may be longer."""
    run = before[-2]
    assert run["message"] == PASSES
    longer = [{**told, "count": 1, "last_at": 0, "facts": {}} if told["id"] == run["id"] else told for told in after]
    return longer[: len(before)] == [*before[:-2], {**run, "count": 1, "last_at": 0, "facts": {}}, before[-1]]


def uncounted(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same without how often, and until when."""
    return [{key: value for key, value in told.items() if key not in {"count", "last_at"}} for told in entries]


async def break_and_mend(world: World) -> None:
    """The second server of the article is down for a minute."""
    server = world.network.server("192.168.100.22", 80)
    before, server.behaviour = server.behaviour, refuse()
    await world.later(60)
    server.behaviour = before
    await world.later(60)


def test_probes_that_say_nothing_new_count_at_the_time_of_asking(tmp_path: Path) -> None:
    """A worker says with each full state, every half minute, how many it has done."""

    async def story(world: World) -> None:
        await settled(world)
        probed = world.network.server("192.168.100.22", 80).connections
        (before,) = await known(world)
        await world.later(600)
        (after,) = await known(world)
        probed = world.network.server("192.168.100.22", 80).connections - probed
        assert probed > 100
        assert after["id"] == before["id"]
        assert probed - 8 <= after["count"] - before.get("count", 1) <= probed, "half a minute is six probes"
        age_s = (await world.operate("history", name=RS22))["at"] - after["last_at"]
        assert 0 <= age_s <= 31
        (why,) = await world.operate("why", real_server=RS22)
        assert why["results"][-1]["count"] == after["count"]
        assert why["results"][-1]["last_age_s"] <= 31
        (pool,) = (await world.operate("history", name=VS))["servers"]
        assert after["count"] in [entry.get("count") for entry in pool["entries"]]

    play(story, ARTICLE, tmp_path)


def test_a_server_that_failed_and_came_back_has_its_story_with_numbers_causes_and_what_was_sent(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        await break_and_mend(world)
        up, failed, down, back, again = await known(world)
        assert [up["message"], failed["message"], back["message"]] == [PASSES, FAILS, PASSES]
        assert (failed["facts"]["result"], failed["facts"]["passed"]) == ("L4CON", False)
        assert up["count"] > 3
        assert failed["count"] > 5, "the probes that said the same and were not told one by one count too"
        assert failed["last_at"] == back["at"]
        assert (down["type"], down["facts"]["to"]) == ("real_server.state_changed", "DOWN")
        assert down["because"] == [
            "HTTP_GET of 192.168.100.22:80: L4CON connection refused",
            "check HTTP_GET of 192.168.100.22:80 is DOWN: failed 4 times in a row, 3 retries are allowed",
        ]
        assert (again["type"], again["facts"]["to"]) == ("real_server.state_changed", "UP")
        assert await types(world, RS21) == ["check.result"]

    play(story, ARTICLE, tmp_path)


def test_why_tells_the_last_results_beside_the_chain(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        await break_and_mend(world)
        (answer,) = await order(world, "why", RS22)
        assert [told["message"] for told in answer["results"]] == [PASSES, FAILS, PASSES]
        assert answer["results"][1]["age_s"] > answer["results"][1]["last_age_s"] == answer["results"][2]["age_s"]

    play(story, ARTICLE, tmp_path)


def test_history_outlives_a_crash_and_goes_on_with_the_next_id(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        await order(world, "drain", RS22, reason="CHG-17", for_s=5)
        await break_and_mend(world)
        before, events = await known(world), (await world.operate("events", most=100))["events"]
        world.crash()
        await world.ended.wait()
        await world.later(10)
        await world.start()
        await world.later(30)
        assert goes_on(before, await known(world))
        again = (await world.operate("events", most=100))["events"]
        assert again[: len(events)] == events
        assert [told["type"] for told in again[len(events) :]][:2] == ["state.recalled", "daemon.ready"]
        ids = [told["id"] for told in again]
        assert ids == sorted(set(ids))

    play(story, ARTICLE, tmp_path)


def test_history_outlives_a_clean_stop_with_the_stop_itself(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        await break_and_mend(world)
        before = await known(world)
        world.stop()
        await world.ended.wait()
        await world.start()
        await world.later(5)
        messages = [told["type"] for told in (await world.operate("events", most=100))["events"]]
        assert messages.index("daemon.stopping") < messages.index("daemon.stopped") < messages.index("state.recalled")
        assert goes_on(before, await known(world))

    play(story, ARTICLE, tmp_path)


def test_news_cost_lines_and_the_whole_is_written_once(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        await break_and_mend(world)
        assert len(world.journal.writes) == 1
        assert 3 <= len(world.journal.appends) <= 10
        written = len(world.journal.appends)
        await world.later(600)
        assert len(world.journal.appends) == written, "where nothing happens nothing is written"

    play(story, ARTICLE, tmp_path)


def test_a_journal_that_has_grown_is_written_anew_and_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journaling, "GROWN_BYTES", 1000)

    async def story(world: World) -> None:
        await settled(world)
        for _ in range(4):
            await break_and_mend(world)
        assert len(world.journal.writes) > 1
        before = await known(world)
        world.crash()
        await world.ended.wait()
        await world.start()
        await world.later(0.5)
        assert uncounted(await known(world)) == uncounted(before), (
            "what nobody told of quiet probes is not in the journal"
        )

    play(story, ARTICLE, tmp_path)


def test_a_reload_keeps_the_history_of_what_it_keeps(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        await break_and_mend(world)
        before = await known(world)
        world.reload(ARTICLE.replace("delay_loop 5", "delay_loop 6"))
        await world.later(1)
        assert goes_on(before, await known(world))
        (loaded,) = (await world.operate("events", types=["config.loaded"]))["events"]
        assert loaded["facts"]["changed"] == 1

    play(story, ARTICLE, tmp_path)


def test_what_left_with_a_reload_is_known_by_its_events_alone(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        head, mark, tail = ARTICLE.rpartition("  real_server  192.168.100.22")
        assert mark
        world.reload(head + tail[tail.index("\n  }\n") + 5 :])
        await world.later(1)
        with pytest.raises(RequestError, match=r"no real server '192.168.100.22:80'"):
            await known(world)
        (removed,) = (await world.operate("events", types=["real_server.removed"]))["events"]
        assert removed["real_server"] == RS22

    play(story, ARTICLE, tmp_path)


@pytest.mark.parametrize(
    ("spoil", "holds", "suffix"),
    [
        (lambda data: b"\0" * len(data), False, "damaged-"),
        (lambda data: data.replace(b'"format":1', b'"format":9'), False, "newer"),
        (lambda data: data + b"garbage\n", True, "damaged-"),
    ],
    ids=["zeros", "newer", "garbage-at-the-end"],
)
def test_a_journal_that_cannot_be_used_is_set_aside_and_said_and_what_is_whole_of_it_holds(
    tmp_path: Path, spoil: Any, holds: bool, suffix: str
) -> None:
    async def story(world: World) -> None:
        await settled(world)
        await break_and_mend(world)
        before = await known(world)
        world.crash()
        await world.ended.wait()
        assert world.journal.data is not None
        world.journal.data = spoiled = spoil(world.journal.data)
        await world.start()
        await world.later(3)
        (said,) = world.events("history.set_aside")
        assert said["path"] == "/var/lib/vipervisor/history.jsonl"
        assert f"history.jsonl.{suffix}" in said["kept_as"]
        assert list(world.journal.aside.values()) == [spoiled]
        assert goes_on(before, await known(world)) is holds
        assert world.journal.data is not None
        assert decode_journal(world.journal.data).whole, "a new one is there"

    play(story, ARTICLE, tmp_path)


def test_a_line_that_was_cut_by_a_crash_is_no_damage(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        await break_and_mend(world)
        before = await known(world)
        world.crash()
        await world.ended.wait()
        assert world.journal.data is not None
        world.journal.data += b'{"id":4711,"at":18000'
        await world.start()
        await world.later(3)
        assert world.events("history.set_aside") == []
        assert goes_on(before, await known(world))
        assert decode_journal(world.journal.data).whole

    play(story, ARTICLE, tmp_path)


def test_a_full_disk_is_said_once_costs_no_service_and_what_happened_meanwhile_is_kept(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        world.journal.trouble = errno.ENOSPC
        await break_and_mend(world)
        assert world.weights() == {21: 1, 22: 1}
        assert [line["reason"] for line in world.events("history.write_failed")] == ["ENOSPC No space left on device"]
        world.journal.trouble = 0
        await world.later(70)
        assert [line["path"] for line in world.lines if line["event"] == "history.write_recovered"] == [
            str(world.journal.path)
        ]
        before = await known(world)
        world.crash()
        await world.ended.wait()
        await world.start()
        await world.later(0.5)
        assert uncounted(await known(world)) == uncounted(before)

    play(story, ARTICLE, tmp_path)


def test_somebody_who_takes_the_journal_away_gets_a_whole_new_one(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        world.journal.set_aside("by-hand")
        await break_and_mend(world)
        found = world.journal.read(10**6)
        assert found is not None
        assert decode_journal(found.data).whole
        assert FAILS.encode() in found.data

    play(story, ARTICLE, tmp_path)


def test_what_the_kernel_refuses_is_in_the_history_of_its_server(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        world.backend.refuse = lambda op: "EPERM" if isinstance(op, ChangeDestination) else ""
        await order(world, "weight", RS22, weight=7)
        await world.later(5)
        refused = [told for told in await known(world) if told["type"] == "kernel.write_failed"]
        assert "The kernel refused ChangeDestination for 192.168.100.22:80" in refused[0]["message"]
        assert refused[0]["facts"]["errno"] == "EPERM"
        assert "kernel.write_failed" not in await types(world, RS21)

    play(story, ARTICLE, tmp_path)


def test_a_virtual_server_has_its_own_story_and_that_of_its_servers(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        for last in (21, 22):
            world.network.server(f"192.168.100.{last}", 80).behaviour = refuse()
        await world.later(60)
        told = await known(world, VS)
        lost = next(entry for entry in told if entry["type"] == "virtual_server.quorum_lost")
        assert lost["because"][-1].startswith("real server 192.168.100.2"), "the last one that went"
        assert "virtual_server.sorry_on" in [entry["type"] for entry in told]
        assert {entry.get("real_server", "") for entry in told} == {"", RS21, RS22}
        (few,) = (await world.operate("history", name=VS.partition("/")[0], most=3))["servers"]
        assert few["entries"] == told[-3:]
        assert few["omitted"] == len(told) - 3

    play(story, ARTICLE, tmp_path)


@pytest.mark.parametrize(
    ("verb", "args", "complaint", "status"),
    [
        ("history", {}, "name a real server", Status.USAGE),
        ("history", {"name": "192.168.100.99"}, "no real server", Status.NOT_FOUND),
        ("history", {"name": "203.0.113.100:80/tpc"}, "did you mean 203.0.113.100:80/tcp", Status.NOT_FOUND),
        ("history", {"name": RS21, "most": 0}, '"most" is a whole number', Status.USAGE),
        ("history", {"name": RS21, "most": True}, '"most" is a whole number', Status.USAGE),
        ("events", {"types": ["real_servre"]}, "did you mean real_server", Status.NOT_FOUND),
        ("events", {"types": "real_server"}, '"types" is a list', Status.USAGE),
        ("events", {"types": ["x"] * 33}, '"types" is a list of at most 32', Status.USAGE),
        ("events", {"since_s": -1}, '"since_s" is a number', Status.USAGE),
        ("events", {"since_s": True}, '"since_s" is a number', Status.USAGE),
        ("events", {"follow": "yes"}, '"follow" is true or false', Status.USAGE),
    ],
)
def test_a_question_that_makes_no_sense_is_answered_with_what_would(
    tmp_path: Path, verb: str, args: dict[str, Any], complaint: str, status: Status
) -> None:
    async def story(world: World) -> None:
        await settled(world)
        with pytest.raises(RequestError, match=complaint) as caught:
            await world.operate(verb, **args)
        assert caught.value.status is status

    play(story, ARTICLE, tmp_path)


def test_events_are_chosen_by_type_by_kind_by_pattern_and_by_age(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        await break_and_mend(world)

        async def chosen(**args: Any) -> set[str]:
            return {told["type"] for told in (await world.operate("events", **args))["events"]}

        assert await chosen(types=["real_server.state_changed"]) == {"real_server.state_changed"}
        assert await chosen(types=["real_server"]) == {"real_server.check_failed", "real_server.state_changed"}
        assert await chosen(types=["*quorum*", "daemon.ready"]) == {"virtual_server.quorum_gained", "daemon.ready"}
        assert await chosen(since_s=65) == {"check.changed", "real_server.state_changed", "notify.sent"}
        assert len((await world.operate("events", most=2))["events"]) == 2

    play(story, ARTICLE, tmp_path)


def test_a_follower_hears_what_happens_from_now_on_and_of_what_it_wants(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        answer = await follow(world, types=["real_server.state_changed"])
        assert answer.first["events"] == []
        with answer.more as follower:
            await break_and_mend(world)
            told = [await follower.next(), await follower.next()]
            assert [one["facts"]["to"] for one in told] == ["DOWN", "UP"]
            assert follower.take_dropped() == 0
            with trio.move_on_after(1) as patience:
                await follower.next()
            assert patience.cancelled_caught

    play(story, ARTICLE, tmp_path)


def test_a_follower_who_does_not_read_loses_events_is_told_how_many_and_nobody_else_notices(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        slow, quick = (await follow(world)).more, (await follow(world)).more
        with slow as stuck, quick as reader:
            for number in range(BEHIND_MAX + 50):
                world.supervisor._log.emit("drift.settled", f"event {number}", virtual_server=VS)
                assert (await reader.next())["message"] == f"event {number}"
            await break_and_mend(world)
            assert world.weights() == {21: 1, 22: 1}
            assert (await stuck.next())["message"] == "event 0"
            assert stuck.take_dropped() > 50
            assert stuck.take_dropped() == 0
            assert reader.take_dropped() == 0

    play(story, ARTICLE, tmp_path)


def test_only_so_many_may_follow_and_who_leaves_makes_room(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        followers = [(await follow(world)).more for _ in range(FOLLOWERS_MAX)]
        for one in followers:
            one.__enter__()
        with pytest.raises(RequestError, match="others follow events already") as caught:
            await follow(world)
        assert caught.value.status is Status.REFUSED
        followers[0].__exit__(None, None, None)
        await follow(world)

    play(story, ARTICLE, tmp_path)


async def follow(world: World, **args: Any) -> Following:
    answer = await world.supervisor.desk.carry_out(Request("events", {"follow": True, **args}), ROOT)
    assert isinstance(answer, Following)
    return answer


def test_the_exporter_gets_what_it_asks_for_in_one_line(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        await break_and_mend(world)
        events = decode(b"".join(world.supervisor._answer(AskEvents())))
        assert events is not None
        assert [entry.id for entry in events.entries] == sorted(entry.id for entry in events.entries)
        assert events.entries[-1].type == "notify.sent"
        pool = decode(b"".join(world.supervisor._answer(AskHistory(VS))))
        assert pool is not None
        assert [entry.message for entry in pool.entries if entry.real_server == RS22][1] == FAILS
        assert decode(b"".join(world.supervisor._answer(AskHistory("203.0.113.9:80/tcp")))) is None

    play(story, ARTICLE, tmp_path)


def test_every_answer_says_its_schema_and_is_json(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        for verb, args in (("history", {"name": RS21}), ("events", {})):
            answer = await world.operate(verb, **args)
            assert answer["schema"] == 1
            assert json.loads(json.dumps(answer)) == answer

    play(story, ARTICLE, tmp_path)
