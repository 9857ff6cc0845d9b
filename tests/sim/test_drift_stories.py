"""Somebody else changes the kernel's table while we run."""

from __future__ import annotations

from pathlib import Path

from supervisor import answers
from supervisor.admin import words
from supervisor.core.snapshot import as_json
from supervisor.core.table import (
    AddDestination,
    ChangeDestination,
    DeleteDestination,
    DeleteService,
    Destination,
)
from supervisor.model import Endpoint, RealServer
from supervisor.rivals import Rival
from tests.fakes.behaviours import healthy, refuse
from tests.sim.world import World, play

ARTICLE = (Path(__file__).parents[2] / "deploy" / "examples" / "article.conf").read_text()
ADOPT = ARTICLE.replace("  lvs_sched", "  drift_policy adopt\n  lvs_sched", 1)
REPORT = ARTICLE.replace("  lvs_sched", "  drift_policy report\n  lvs_sched", 1)
SHORT_GRACE = ARTICLE.replace("  lvs_sched", "  drift_grace 60\n  lvs_sched", 1)


async def settled(world: World, *dead: int) -> None:
    for last in (21, 22):
        world.network.server(f"192.168.100.{last}", 80).behaviour = refuse() if last in dead else healthy()
    await world.later(30)


def real_server(world: World, last: int) -> RealServer:
    return next(rs for rs in world.config().virtual_servers[0].real_servers if int(rs.endpoint.address) & 255 == last)


def by_hand(world: World, last: int, weight: int) -> None:
    spec = real_server(world, last)
    world.backend.meddle(ChangeDestination(world.service(), Destination(spec.endpoint, weight, spec.method)))


def stranger(world: World) -> Destination:
    spec = real_server(world, 21)
    return Destination(Endpoint(spec.endpoint.address + 70, 80), 1, spec.method)


def test_an_emergency_by_hand_stands_for_ten_minutes_and_is_known_everywhere(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        before = len(world.backend.history)
        by_hand(world, 21, 0)
        await world.later(590)
        assert world.weights() == {21: 0, 22: 1}
        assert len(world.backend.history) == before
        assert world.snapshot().virtual_servers[0].weight_up == 1
        await world.later(20)
        assert world.weights() == {21: 1, 22: 1}

    world = play(story, ARTICLE, tmp_path)
    (adopted,) = world.events("drift.adopted")
    assert (adopted["weight_old"], adopted["weight_new"], adopted["grace_s"]) == (1, 0, 600)
    assert [line["by"] for line in world.events("real_server.admin_changed")] == ["another writer of the table"] * 2
    assert world.events("kernel.drift_found") == []


def test_an_emergency_survives_verdicts_about_others_and_does_not_hide_its_own_server_dying(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        by_hand(world, 21, 0)
        await world.later(5)
        await settled(world, 22)
        assert world.weights() == {20: 1, 21: 0, 22: 0}  # nobody is left: the sorry server steps in
        await settled(world, 21, 22)
        assert world.weights() == {20: 1, 21: 0, 22: 0}
        await settled(world)
        assert world.weights() == {21: 0, 22: 1}

    play(story, ARTICLE, tmp_path)


def test_an_emergency_can_be_taken_back_by_hand(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        by_hand(world, 21, 0)
        await world.later(10)
        by_hand(world, 21, 1)
        await world.later(10)
        assert world.weights() == {21: 1, 22: 1}
        await world.later(700)
        assert world.weights() == {21: 1, 22: 1}

    play(story, ARTICLE, tmp_path)


def test_an_emergency_can_be_taken_back_by_hand_after_a_restart_as_well(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        by_hand(world, 21, 0)
        await world.later(10)
        world.crash()
        await world.later(1)
        await world.start()
        await world.later(20)
        assert world.weights() == {21: 0, 22: 1}
        by_hand(world, 21, 1)
        await world.later(10)
        assert world.weights() == {21: 1, 22: 1}
        await world.later(700)
        assert world.weights() == {21: 1, 22: 1}

    play(story, ARTICLE, tmp_path)


def test_another_weight_by_hand_is_repaired_within_two_seconds_by_default(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        by_hand(world, 21, 5)
        world.backend.meddle(AddDestination(world.service(), stranger(world)))
        world.backend.meddle(DeleteDestination(world.service(), real_server(world, 22).endpoint))
        await world.later(2.1)
        assert world.weights() == {21: 1, 22: 1}

    (found,) = play(story, ARTICLE, tmp_path).events("kernel.drift_found")
    assert (found["action"], found["weight"], found["missing"], found["extra"]) == ("repaired", 1, 1, 1)


def test_a_flushed_table_is_no_emergency(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        world.backend.meddle(DeleteService(world.service()))
        await world.later(2.1)
        assert world.weights() == {21: 1, 22: 1}

    assert play(story, ARTICLE, tmp_path).events("drift.adopted") == []


def test_with_adopt_a_weight_by_hand_stands_until_its_server_is_written_otherwise(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        by_hand(world, 21, 5)
        await world.later(3600)
        assert world.weights() == {21: 5, 22: 1}
        await settled(world, 21)
        assert world.weights() == {21: 0, 22: 1}
        await settled(world)
        assert world.weights() == {21: 5, 22: 1}
        by_hand(world, 21, 0)
        await world.later(10)
        by_hand(world, 21, 8)
        await world.later(10)
        assert world.weights() == {21: 8, 22: 1}
        world.reload(ADOPT.replace("weight 1", "weight 3", 1))
        await world.later(5)
        assert world.weights() == {21: 3, 22: 1}

    play(story, ADOPT, tmp_path)


def test_with_adopt_nobody_sends_clients_to_a_dead_server_by_hand(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world, 21)
        by_hand(world, 21, 5)
        await world.later(2.1)
        assert world.weights() == {21: 0, 22: 1}

    play(story, ADOPT, tmp_path)


def test_with_report_what_somebody_changed_stands_and_verdicts_are_written_beside_it(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        by_hand(world, 21, 5)
        world.backend.meddle(AddDestination(world.service(), stranger(world)))
        await settled(world, 22)
        assert world.weights() == {21: 5, 22: 0, 91: 1}
        await settled(world, 21, 22)
        assert world.weights() == {20: 1, 21: 0, 22: 0, 91: 1}
        assert world.snapshot().process.writer.drift_standing == 1

    world = play(story, REPORT, tmp_path)
    (found,) = world.events("kernel.drift_found")
    assert (found["action"], found["entries"]) == ("reported", 2)


def test_a_policy_that_a_reload_changes_acts_at_once(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        by_hand(world, 21, 5)
        await world.later(60)
        world.reload(ARTICLE)
        await world.later(3)
        assert world.weights() == {21: 1, 22: 1}

    play(story, REPORT, tmp_path)


def test_another_writer_is_left_alone_after_a_few_repairs_and_a_dead_server_still_goes_out(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        for _ in range(30):
            by_hand(world, 21, 7)
            await world.later(1)
        assert world.weights() == {21: 7, 22: 1}
        contest = world.snapshot().process.writer.contests[0]
        assert 0 < contest.left_alone_s <= 60
        await settled(world, 21)
        assert world.weights() == {21: 0, 22: 1}
        await world.later(200)

    world = play(story, ARTICLE, tmp_path)
    (contested,) = world.events("drift.contested")
    assert (contested["level"], contested["backoff_s"]) == ("error", 60)
    assert len(world.events("drift.settled")) == 1
    assert len(world.events("kernel.drift_found")) == 4


def test_a_rival_is_told_once_and_looked_for_again_at_a_reload_and_in_a_contest(tmp_path: Path) -> None:
    keepalived, ldirectord = Rival("keepalived", 77, sure=True), Rival("ldirectord", 78, sure=False)

    async def story(world: World) -> None:
        await settled(world)
        assert world.events("rival.found") == []
        world.rivals = (keepalived,)
        for _ in range(2):
            world.reload()
            await world.later(5)
        assert [line["program"] for line in world.events("rival.found")] == ["keepalived"]
        assert [rival.program for rival in world.snapshot().process.rivals] == ["keepalived"]
        world.rivals = (keepalived, ldirectord)
        for _ in range(20):
            by_hand(world, 21, 7)
            await world.later(1)
        assert [rival.program for rival in world.snapshot().process.rivals] == ["keepalived", "ldirectord"]

    world = play(story, ARTICLE, tmp_path)
    assert [(line["program"], line["sure"]) for line in world.events("rival.found")] == [
        ("keepalived", True),
        ("ldirectord", False),
    ]


def test_status_and_why_say_what_stands(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        by_hand(world, 21, 7)
        await world.later(5)
        told = words.status(as_json(world.snapshot()))
        assert "  ! changed by somebody else: 192.168.100.21:80 has weight 7 by NAT instead of weight 1 by NAT" in told
        (answer,) = answers.why(
            world.supervisor._director, world.supervisor._writer.view(), {"real_server": "192.168.100.21"}, world.now()
        )
        assert answer["drift"] == ["weight 7 by NAT instead of weight 1 by NAT"]
        assert "  changed by somebody else: weight 7" in words.why([answer])
        (other,) = answers.why(
            world.supervisor._director, world.supervisor._writer.view(), {"real_server": "192.168.100.22"}, world.now()
        )
        assert other["drift"] == []

    play(story, REPORT, tmp_path)


def test_a_plan_does_not_promise_to_repair_what_stands_and_does_where_the_policy_changes(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        by_hand(world, 21, 7)
        await world.later(5)
        assert (await world.operate("plan"))["operations"] == []
        world.path.write_text(ARTICLE)
        (operation,) = (await world.operate("plan"))["operations"]
        assert "192.168.100.21:80" in str(operation)
        before = len(world.backend.history)
        world.reload()
        await world.later(5)
        assert len(world.backend.history) == before + 1

    play(story, REPORT, tmp_path)


def test_a_lost_answer_in_the_middle_of_a_repair_changes_nothing_about_it(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        by_hand(world, 21, 5)
        world.backend.lose_applies = world.backend.lose_reads = 1
        await world.later(3)
        assert world.weights() == {21: 1, 22: 1}

    play(story, ARTICLE, tmp_path)


def test_ghosts_in_a_dump_lead_to_nothing_under_any_policy(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        before = len(world.backend.history)
        for _ in range(20):
            world.backend.ghosts = [(world.service(), real_server(world, 21).endpoint)]
            await world.later(3)
        assert len(world.backend.history) == before

    for number, text in enumerate((ARTICLE, ADOPT, REPORT)):
        folder = tmp_path / str(number)
        folder.mkdir()
        world = play(story, text, folder)
        assert world.events("kernel.drift_found") == world.events("drift.adopted") == []


def test_a_short_grace_is_kept_to(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await settled(world)
        by_hand(world, 21, 0)
        await world.later(58)
        assert world.weights() == {21: 0, 22: 1}
        await world.later(6)
        assert world.weights() == {21: 1, 22: 1}

    play(story, SHORT_GRACE, tmp_path)
