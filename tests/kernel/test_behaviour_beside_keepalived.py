"""Faults one after another, weights that files and scripts set, stops: equal tables whenever both programs stand still, the same words.

What differs on purpose has a test of its name; its row is in docs/differences.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel import faults, judging, programs
from tests.kernel.duel import Record, Scenario, play

SCENARIOS = (*faults.SCENARIOS, *programs.SCENARIOS)
every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=str)


@pytest.fixture(scope="module")
def record(directory: Path) -> Record:
    """What was seen of all. Those with scripts have a duel of their own: a guest that starts scripts all the time has no time to judge."""
    parts = {"faults": faults.SCENARIOS, "programs": programs.SCENARIOS}
    return {name: stages for lane, part in parts.items() for name, stages in play(part, directory, lane=lane).items()}


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


@pytest.mark.parametrize("scenario", programs.SCRIPTS, ids=str)
def test_the_same_scripts_run(record: Record, scenario: Scenario) -> None:
    judging.same_scripts(scenario, record[scenario.name])


def test_difference_alpha_server_that_was_never_up_is_not_told_down(record: Record) -> None:
    """keepalived tells it of a TCP_CHECK, though not of an HTTP_GET; nothing has changed for anybody."""
    start = record["alpha_with_inhibit"][0]
    assert (start.ours.told.lines, start.theirs.told.lines) == ((), ("RS 1 DOWN", "RS 2 DOWN"))
    start = record["alpha_waits_for_the_first_success"][0]
    assert sorted(start.theirs.told.lines) == sorted((*start.ours.told.lines, "RS 2 DOWN"))


def test_difference_first_success_of_a_script_is_no_news(record: Record) -> None:
    """keepalived 2.2.7 mails that a server is UP which was never down, and only for MISC_CHECK."""
    start = record["misc_without_dynamic"][0]
    only_theirs = set(start.theirs.told.mails) - set(start.ours.told.mails)
    assert [body for _, body in only_theirs] == ["=> MISC CHECK succeeded on service <="]
    assert set(start.ours.told.mails) < set(start.theirs.told.mails)
