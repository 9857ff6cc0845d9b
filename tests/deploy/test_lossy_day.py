"""The benchmark of a day of lost packets: what it expects, and what it makes of what it found."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from bench import lossy_day
from bench.lossy_day import Task
from tests.sim import lossy
from tests.sim.lossy import Lived

GOOD = Lived(
    seed=1,
    hours=24.0,
    servers=2,
    packets=1_000_000,
    lost=10_000,
    probes=200_000,
    failed=3_400,
    flaps=0,
    writes=0,
    sentinels_ended=3,
    watched=0.92,
    noticed_s=(1.5, 2.5),
)


def test_five_failures_in_a_row_are_expected_once_in_years_and_a_single_one_every_minute() -> None:
    assert lossy_day.expected_flaps(4, 2) == pytest.approx(2 * 84_300 * 0.98 * 3.12e-9, rel=0.01)
    assert lossy_day.expected_flaps(0, 2) == pytest.approx(2 * 84_300 * 0.98 * 0.0199, rel=0.01)


def test_without_retries_the_same_file_has_none() -> None:
    words = Task(1.0, 1, 0, hasty=True).text().split()
    assert {after for word, after in itertools.pairwise(words) if word == "retry"} == {"0"}
    assert Task(1.0, 1, 0).text() == lossy.EXAMPLE.read_text()


def test_every_change_in_a_day_counts_and_those_without_retries_do_not() -> None:
    tasks = [Task(24.0, 1, 2), Task(24.0, 2, 2), Task(0.5, 1, 0, hasty=True)]
    hasty = replace(GOOD, flaps=200, writes=100, noticed_s=())
    (flaps, worst) = lossy_day.of(tasks, [GOOD, replace(GOOD, seed=2), hasty])["ratios"]
    assert (flaps["value"], worst["value"]) == (0, 2.5)
    (flaps, _) = lossy_day.of(tasks, [GOOD, replace(GOOD, flaps=1, writes=2), hasty])["ratios"]
    assert flaps["value"] == 3
    assert flaps["name"] == "flaps_in_24_hours_at_1_percent_loss"
