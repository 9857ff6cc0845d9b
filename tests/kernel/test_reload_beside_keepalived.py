"""Reloads of every kind, both programs: one file after another, one SIGHUP to each.

The table of keepalived.md, section 3.7, row by row, and what lies between the rows. Where keepalived 2.2.7 leaves something wrong
behind or says too much, ours must not: those stages are marked in the scenarios, and each has a test of the difference's name here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel import judging, reloads, reloads_of_health
from tests.kernel.duel import Record, Scenario, Settled, play

SCENARIOS = (*reloads.SCENARIOS, *reloads_of_health.SCENARIOS)
every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=str)


@pytest.fixture(scope="module")
def record(directory: Path) -> Record:
    return play(SCENARIOS, directory)


@every_scenario
def test_the_tables_are_equal_at_each_settled_stage(record: Record, scenario: Scenario) -> None:
    judging.same_tables(scenario, record[scenario.name])


@every_scenario
def test_our_pools_are_never_empty_on_the_way(record: Record, scenario: Scenario) -> None:
    judging.no_empty_pool(record[scenario.name])


@every_scenario
def test_the_last_change_comes_within_a_probe_period(record: Record, scenario: Scenario) -> None:
    judging.same_time(scenario, record[scenario.name])


@every_scenario
def test_the_named_pipe_has_the_same_lines(record: Record, scenario: Scenario) -> None:
    judging.same_lines(scenario, record[scenario.name])


@every_scenario
def test_the_mails_are_the_same(record: Record, scenario: Scenario) -> None:
    judging.same_mails(record[scenario.name])


def lines(settled: Settled) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What ours told, and what keepalived told."""
    return settled.ours.told.lines, settled.theirs.told.lines


def test_difference_thresholds_are_sent_by_a_reload(record: Record) -> None:
    """keepalived sends nothing, so the kernel keeps the old limits."""
    settled = record["thresholds_only"][1]
    ours, theirs = (
        [rule.partition(": ")[2] for rule in seen.rules if rule.startswith("thresholds")]
        for seen in (settled.ours, settled.theirs)
    )
    assert (ours, theirs) == (["200 80", "0 0"], ["100 50", "0 0"])


def test_difference_sorry_server_removed_while_it_serves(record: Record) -> None:
    """keepalived 2.2.7 leaves an empty virtual server, though a real server is alive."""
    settled = record["sorry_server_removed_while_it_serves"][1]
    assert (settled.ours.weights, settled.theirs.weights) == ({2: 1}, {})


def test_difference_sorry_server_inhibit_turned_off(record: Record) -> None:
    """keepalived leaves the sorry server in the table at weight 0."""
    settled = record["sorry_server_inhibit_turned_on_and_off"][2]
    assert (settled.ours.weights, settled.theirs.weights) == ({1: 1, 2: 1}, {1: 1, 2: 1, 9: 0})


def test_difference_server_added_behind_the_sorry_server(record: Record) -> None:
    """keepalived lets it serve beside the sorry server, though the quorum is lost."""
    settled = record["nothing_changed_while_the_sorry_server_serves"][2]
    assert (settled.ours.weights, settled.theirs.weights) == ({9: 1}, {3: 1, 9: 1})


def test_difference_last_live_server_swapped(record: Record) -> None:
    """keepalived says that the quorum is lost and never that it is back; for ours it never was."""
    swapped = record["last_live_server_swapped"][1]
    assert lines(swapped) == (("RS 1 DOWN",), ("RS 1 DOWN", "VS DOWN"))
    assert swapped.ours.weights == swapped.theirs.weights == {2: 1}
    every_port = record["method_with_another_port"][1]
    assert lines(every_port) == (("RS 1 DOWN", "RS 2 DOWN"), ("RS 1 DOWN", "RS 2 DOWN", "VS DOWN"))


def test_difference_lost_quorum_is_told_once(record: Record) -> None:
    """keepalived tells it again when a reload brings another sorry server, or takes away a server that it needs."""
    removed = record["server_removed_that_the_quorum_needs"][1]
    assert lines(removed) == (("RS 1 DOWN", "VS DOWN"), ("RS 1 DOWN", "VS DOWN", "VS DOWN"))
    assert lines(record["sorry_server_added_while_all_are_dead"][1]) == ((), ("VS DOWN",))
    assert lines(record["sorry_server_replaced"][3]) == ((), ("VS DOWN",))


def test_difference_changed_check_keeps_what_is_known(record: Record) -> None:
    """keepalived takes a dead server with an edited check for alive until the next probe, and clients with it."""
    edited = record["check_changed"][1]
    assert lines(edited) == ((), ("RS 1 UP", "RS 1 DOWN"))
    assert not any(1 in weights for weights in edited.ours.way)
    assert any(1 in weights for weights in edited.theirs.way)
    assert lines(record["timing_of_a_check"][1]) == ((), ("RS 1 UP", "RS 1 DOWN"))


def test_difference_weight_of_a_script_outlives_a_reload(record: Record) -> None:
    """keepalived takes the weight of a script that says 0 (no wish) for 0 from the reload on, until the script says something else."""
    reloaded = record["misc_dynamic_that_said_0_before_a_reload"][1]
    assert reloaded.ours.way == ()
    assert (reloaded.ours.weights, reloaded.theirs.weights) == ({1: 10}, {9: 1})
    assert lines(reloaded) == ((), ("VS DOWN",))


def test_difference_inhibited_server_without_checks_serves(record: Record) -> None:
    """keepalived adds a destination that stands there already, is refused, and leaves it at weight 0."""
    settled = record["all_checks_and_inhibit_removed_at_once"][1]
    assert (settled.ours.weights, settled.theirs.weights) == ({1: 1, 2: 1}, {1: 0, 2: 1})


def test_difference_address_that_leaves_a_group_leaves_the_table(record: Record) -> None:
    """keepalived leaves its service behind, without destinations; at the stop also one that is still in the file."""
    gone = record["group_has_another_address"][1]
    assert lines(gone) == ((), ())
    for settled in (gone, record["group_has_another_address"][-1], record["group_gains_and_loses_an_address"][-1]):
        assert settled.ours.rules == ()
        assert len(settled.theirs.rules) == 1


def test_difference_renamed_virtual_server_knows_its_dead_servers(record: Record) -> None:
    """keepalived believes all real servers of a virtual server with another port until the next probe."""
    renamed = record["port_of_the_virtual_server"][3]
    ours, theirs = lines(renamed)
    assert ours == ("RS 1 DOWN", "VS DOWN", "VS UP")
    assert theirs == (*ours, "RS 2 DOWN")
    assert not any(2 in weights for weights in renamed.ours.way)
    assert any(2 in weights for weights in renamed.theirs.way)
