"""How things stand in one word each, why, and what comes first."""

from dataclasses import replace

import pytest

from checkers.kit.api import Reason
from supervisor.core.snapshot import OverrideView, RealServerView, VirtualServerView
from supervisor.exporter.notices import Weight, notices, remarks
from supervisor.exporter.standing import REASONS, Assessment, State, real_server_state, standings
from tests.fakes import snapshots

UP = snapshots.real_server("192.0.2.1")
DOWN = snapshots.real_server("192.0.2.2", up=False)
WISH = OverrideView("enabled", 7, "warm-up", "alice", 60.0, None)


@pytest.mark.parametrize(
    ("server", "state"),
    [
        (UP, State.UP),
        (DOWN, State.DOWN),
        (replace(DOWN, held="guard", held_text="min_healthy 50%"), State.HELD),
        (replace(UP, stale=True), State.FROZEN),
        (replace(DOWN, stale=True), State.DOWN),
        (replace(UP, health="UNKNOWN"), State.UNKNOWN),
        (replace(UP, weight_kernel=3), State.DIFFERS),
        (replace(UP, weight_kernel=None), State.DIFFERS),
        (replace(UP, override=WISH), State.WEIGHED),
        (replace(DOWN, admin="draining", enabled=False), State.DRAINING),
        (replace(DOWN, admin="disabled", enabled=False), State.DISABLED),
    ],
)
def test_a_real_server_has_one_state(server: RealServerView, state: State) -> None:
    assert real_server_state(server) is state


@pytest.mark.parametrize(
    ("view", "state"),
    [
        (replace(snapshots.article(), real_servers=(UP,)), State.UP),
        (snapshots.article(), State.DEGRADED),
        (snapshots.marked(), State.SORRY),
        (replace(snapshots.marked(), sorry=None), State.DOWN),
        (replace(snapshots.marked(), suspended=True), State.SUSPENDED),
        (
            replace(snapshots.article(), quorate=False, real_servers=(replace(UP, health="UNKNOWN"),), sorry=None),
            State.UNKNOWN,
        ),
        (replace(snapshots.article(), quorate=False, real_servers=(), sorry=None), State.DOWN),
        (replace(snapshots.article(), real_servers=(UP, replace(UP, override=WISH))), State.BY_HAND),
    ],
)
def test_a_virtual_server_has_one_state(view: VirtualServerView, state: State) -> None:
    assessment = Assessment()
    assessment.add(view)
    assert assessment.virtual_servers[0].state is state
    assert assessment.virtual_states == {state: 1}


def test_what_another_program_changed_makes_a_virtual_server_degraded_and_says_so() -> None:
    assessment = Assessment()
    said = remarks(snapshots.process().writer)
    view = replace(snapshots.article(), virtual_server="192.0.2.1:80/tcp", real_servers=(UP,))
    assessment.add(view, said["192.0.2.1:80/tcp"])
    (standing,) = assessment.virtual_servers
    assert standing.state is State.DEGRADED
    assert standing.why == (
        "another program keeps changing it: left alone for 42 s more",
        "changed by somebody else: 192.168.100.21:80 has weight 7 by NAT instead of weight 1 by NAT",
    )


def test_every_reason_of_a_probe_has_words() -> None:
    assert REASONS.keys() == {reason.name for reason in Reason}


def test_the_worst_real_server_comes_first_and_the_file_decides_between_equals() -> None:
    view = replace(snapshots.article(), real_servers=(UP, replace(UP, real_server="192.0.2.9:80"), DOWN))
    assert [one.view.real_server for one in standings(view)] == ["192.0.2.2:80", "192.0.2.1:80", "192.0.2.9:80"]


def test_problems_come_before_warnings() -> None:
    found = notices(replace(snapshots.process(), workers_lost_s=12.0, ready=False))
    assert [notice.weight for notice in found] == sorted((notice.weight for notice in found), key=list(Weight).index)
    assert found[0].text == "There has been no checker worker for 12 s: every verdict is frozen."
    assert "Not ready yet: the first checks are still to come." in [notice.text for notice in found]


def test_a_table_that_was_not_read_for_long_is_a_problem() -> None:
    process = snapshots.process()
    old = replace(process, writer=replace(process.writer, sync_age_s=95.0))
    assert "The kernel's table was last read 1 min 35 s ago." in [notice.text for notice in notices(old)]
    lost = replace(process, writer=replace(process.writer, reachable=False))
    assert "The kernel's table cannot be read or written." in [notice.text for notice in notices(lost)]
