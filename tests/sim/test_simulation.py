"""Some lives of the whole program, and what makes them worth something: the same seed is the same life, and found cases stay found.

`make sim` plays many more, `make mutants` sees whether they would notice a bug.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.actions import ACTIONS
from tests.sim.scenario import GUARD_MIX, MIX, Scenario, draw
from tests.sim.stage import Result, live

SEEDS = range(1, 5)
FOUND = sorted((Path(__file__).parent / "seeds").glob("*.json"))
ROOT = Path(__file__).parents[2]


@functools.cache
def life(seed: int, *, nets: bool) -> Result:
    """Return one life, which several tests look at."""
    return live(draw(seed, nets=nets))


@pytest.mark.parametrize("nets", [True, False], ids=["nets on", "nets off"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_life_full_of_faults_breaks_no_promise(seed: int, *, nets: bool) -> None:
    result = life(seed, nets=nets)
    assert result.violations == []
    assert result.calms > 1
    assert result.probes > 10


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_was_found_once_stays_mended(path: Path) -> None:
    assert live(Scenario.from_json(path.read_text())).violations == []


def test_the_same_seed_is_the_same_life_whatever_the_hashes_of_the_day() -> None:
    program = "from tests.sim.scenario import draw; from tests.sim.stage import live; print(live(draw(3)).digest)"
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert told == {life(3, nets=True).digest}, "the hashes of this process are random ones"
    assert life(3, nets=True).digest != life(1, nets=True).digest


def test_a_life_survives_being_written_down() -> None:
    scenario = draw(4)
    assert Scenario.from_json(scenario.to_json()).actions == scenario.actions
    assert live(Scenario.from_json(scenario.to_json())).digest == life(4, nets=True).digest


def test_every_action_has_a_rate_and_every_rate_an_action() -> None:
    assert set(ACTIONS) == {*MIX, *GUARD_MIX}
