"""The simulator's own teeth: a list of bugs that cannot rot, and some of them planted and found. `make mutants` plants them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sim.mutants import MUTANTS, Mutant
from tests.sim.mutate import CONTROL, copies, try_one

ROOT = Path(__file__).parents[2]
QUICK = [mutant for mutant in MUTANTS if mutant.quick]


def test_there_are_enough_bugs_and_each_can_still_be_planted() -> None:
    assert len(MUTANTS) >= 40
    assert len(QUICK) == 6
    assert len(set(MUTANTS)) == len(MUTANTS)
    odd = [m for m in MUTANTS if m.old == m.new or (ROOT / m.file).read_text().count(m.old) != 1]
    assert odd == []


@pytest.mark.parametrize("mutant", QUICK, ids=lambda mutant: mutant.why)
def test_a_planted_bug_is_noticed(mutant: Mutant) -> None:
    with copies(1) as free:
        verdict = try_one(mutant, free, seeds=4)
    assert verdict.caught, verdict.said


def test_where_no_bug_is_planted_none_is_found() -> None:
    with copies(1) as free:
        verdict = try_one(CONTROL, free, seeds=2)
    assert not verdict.caught, verdict.said
