"""The benchmarks of noticing: when faults come, what is read of tables that are written down, and what is judged."""

from __future__ import annotations

import itertools
from pathlib import Path
from random import Random

import pytest

from bench import silent_death
from bench.fault_round import LIMIT_S, Agenda, Kind, Pace, Trial
from bench.silent_death import CONTENDERS, JUDGED, by_number
from bench.tables import WrittenTable

PACE = Pace(dwell_s=2.0, spread_s=1.0, gap_s=(0.3, 1.0))


def begun(servers: int, seed: int) -> dict[int, float]:
    """Play an agenda of servers that are all well at 100 s, looked at every 10 ms; return when each has its fault."""
    agenda, found = Agenda(PACE, Random(seed)), dict[int, float]()
    for server in range(servers):
        agenda.plan(server, 100.0)
    now = 100.0
    while agenda:
        if (number := agenda.take(now)) is not None:
            found[number] = now
        now += 0.01
    return found


@pytest.mark.parametrize("seed", range(5))
def test_faults_come_one_after_another_however_many_servers_are_due_at_once(seed: int) -> None:
    found = begun(50, seed)
    times = list(found.values())
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert len(found) == 50
    assert min(gaps) >= 0.3 - 1e-9
    assert max(gaps) <= 1.0 + 0.02
    assert times[0] >= 102.0


def test_faults_come_in_an_order_and_at_moments_that_the_seed_decides() -> None:
    assert begun(20, 1) == begun(20, 1)
    assert list(begun(20, 1)) != list(begun(20, 2))


def test_a_table_that_is_written_down_has_the_last_weight_of_each_and_forgets_who_was_deleted(tmp_path: Path) -> None:
    file = tmp_path / "writes"
    file.write_text("1.5 10.9.1.1:80 1\n1.6 10.9.1.3:80 1\n")
    table = WrittenTable(file)
    assert by_number(table) == {0: 1, 2: 1}
    with file.open("a") as more:
        more.write("2.0 10.9.1.1:80 0\n2.1 10.9.1.3:80 -1\n")
    assert by_number(table) == {0: 0}


def test_the_hasty_timings_of_ours_are_judged_and_who_never_noticed_counts_with_the_limit() -> None:
    names = [one.name for one in CONTENDERS]
    trials = [Trial(number, Kind.SILENT, 0.0, frozenset(names)) for number in range(3)]
    for number, trial in enumerate(trials[:2]):
        for name in names:
            trial.look(name, 0, 1.0 + number)
    found = silent_death.result(trials, CONTENDERS, dict.fromkeys(names, 0))
    assert found[JUDGED.name]["gone"] == [1.0, 2.0, LIMIT_S]
    assert [value for _, value, _ in silent_death.judged(found)] == [2.0, LIMIT_S]


def test_a_wrong_removal_is_told_with_the_name_of_who_did_it() -> None:
    names = [one.name for one in CONTENDERS]
    found = silent_death.result([], CONTENDERS, {**dict.fromkeys(names, 0), JUDGED.name: 2})
    assert silent_death.removals(found).endswith(f"{JUDGED.name} 2.")
    assert silent_death.removals(silent_death.result([], CONTENDERS, dict.fromkeys(names, 0))).endswith("by nobody.")


def test_a_quick_run_is_without_those_who_need_half_a_minute() -> None:
    assert {one.timing.name for one in silent_death.contenders(quick=True)} == {"aggressive timings"}
    assert JUDGED in silent_death.contenders(quick=True)
