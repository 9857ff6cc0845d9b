"""The runner of the benchmarks: what fails is said and the rest goes on, all judged figures come at the end, nothing is left behind."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench import __main__ as runner
from bench import plan, section
from bench.running import Failed
from bench.section import Section

MACHINE = {"kernel": "6.1"}
ONE, TWO, THREE = (plan.Benchmark(name, 10, 1) for name in ("one", "two", "three"))


def measured(benchmark: plan.Benchmark, quick: bool, limit_s: float) -> Section:
    if benchmark is TWO:
        raise Failed("not within 10 s")
    assert 0 < limit_s <= (3 if quick else 30)
    return {"ratios": [section.ratio(f"{benchmark.name}_by_theirs", 0.5, 0.8)], "machine": MACHINE}


def test_all_benchmarks_together_keep_to_half_an_hour_and_quick_ones_to_five_minutes() -> None:
    assert sum(benchmark.limit_s for benchmark in plan.PLAN) <= plan.WHOLE_S
    assert sum(benchmark.quick_limit_s for benchmark in plan.PLAN) <= plan.QUICK_S


def test_every_benchmark_of_the_plan_is_there() -> None:
    assert [one.name for one in plan.PLAN if importlib.util.find_spec(f"bench.{one.name}") is None] == []


def test_one_that_fails_is_said_and_the_rest_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    results = runner.Results(quick=False)
    runner.play([ONE, TWO, THREE], results, measured)
    assert list(results.sections) == ["one", "three"]
    assert results.failed == {"two": "not within 10 s"}
    assert runner.conclude(results) == 1
    assert "== bench.two FAILED: not within 10 s\n" in capsys.readouterr().out


def test_the_last_lines_are_the_judged_figures(capsys: pytest.CaptureFixture[str]) -> None:
    results = runner.Results(quick=False)
    runner.play([ONE, THREE], results, measured)
    assert runner.conclude(results) == 0
    last = capsys.readouterr().out.splitlines()[-2:]
    assert last == ["ratio one_by_theirs 0.5 target 0.8", "ratio three_by_theirs 0.5 target 0.8"]


def test_one_file_has_all_that_was_found_and_what_failed(tmp_path: Path) -> None:
    results = runner.Results(quick=True)
    runner.play([ONE, TWO], results, measured)
    results.write(tmp_path / "lab/results.json")
    told = json.loads((tmp_path / "lab/results.json").read_text())
    assert (told["quick"], list(told["sections"]), list(told["failed"])) == (True, ["one"], ["two"])
    assert [(one["name"], one["value"], one["target"]) for one in told["ratios"]] == [("one_by_theirs", 0.5, 0.8)]


def test_a_quick_run_is_not_published(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "--quick", "--publish"])
    with pytest.raises(SystemExit):
        runner.main()
    assert "a quick run is not for publishing" in capsys.readouterr().err


def test_a_distorted_figure_is_marked_and_a_least_one_is_reached_from_its_target_on() -> None:
    times = {**section.ratio("times", 55, 40), "at_least": True, "distorted": True}
    assert section.line(times) == "ratio times 55 target 40 (in User-Mode Linux, which distorts it)"
    assert section.is_reached(times)
    assert not section.is_reached({**times, "value": 39})
    assert not section.is_reached(section.ratio("costs", 0.9, 0.8))


def limits(*benchmarks: plan.Benchmark, takes_s: Mapping[str, float], patience: float = 1.0) -> list[float]:
    """Play these, each of which takes so long (its own time if nothing is said); return the limits they were given."""
    now, found = 100.0, list[float]()

    def one(benchmark: plan.Benchmark, quick: bool, limit_s: float) -> Section:
        nonlocal now
        found.append(limit_s)
        now += min(takes_s.get(benchmark.name, benchmark.own_s(quick=quick)), limit_s)
        return {"ratios": [], "machine": MACHINE}

    runner.play(benchmarks, runner.Results(quick=False, patience=patience), one, lambda: now)
    return found


def test_what_a_benchmark_leaves_of_its_time_is_for_those_after_it() -> None:
    assert limits(ONE, TWO, THREE, takes_s={"one": 4.0}) == [10, 16, 16]
    assert limits(ONE, TWO, THREE, takes_s={"one": 4.0, "two": 99.0}) == [10, 16, 10]


def test_one_that_hangs_does_not_take_all_that_others_left_but_one_that_ends_by_itself_may() -> None:
    others = [plan.Benchmark(f"quick {number}", 10, 1) for number in range(5)]
    takes_s = {other.name: 0.0 for other in others}
    ending = plan.Benchmark("ending", 10, 1, limited=True)
    assert limits(*others, ONE, ending, takes_s={**takes_s, "one": 99.0})[-2:] == [30, 40]


def test_all_limits_can_be_stretched_for_a_busy_machine() -> None:
    assert limits(ONE, TWO, takes_s={}, patience=3.0) == [30, 50]


def test_a_benchmark_that_can_do_more_is_told_what_fits_its_limit() -> None:
    more = plan.Benchmark("more", 10, 1, ("--rounds", "1"), ("--servers", "1"))
    assert more.command(10, quick=False) == ["-m", "bench.more", "--rounds", "1"]
    assert more.command(1, quick=True) == ["-m", "bench.more", "--quick", "--servers", "1"]
    ending = plan.Benchmark("ending", 10, 1, limited=True)
    assert ending.command(30, quick=False) == ["-m", "bench.ending", "--limit", "27"]


def test_figures_of_a_guest_are_marked_unless_they_say_otherwise() -> None:
    own = {**section.ratio("native", 1, 2), "distorted": False}
    found = {"machine": {"IPVS kernel": "6.1 (User-Mode Linux)"}, "ratios": [section.ratio("there", 1, 2), own]}
    assert [one["distorted"] for one in section.judged(found)] == [True, False]
    assert [one["distorted"] for one in section.judged({**found, "machine": MACHINE})] == [False, False]


def test_the_command_of_a_section_says_nothing_of_the_file_it_went_to() -> None:
    words = ["/somewhere/bench/noticing.py", "--quick", "--out", "/tmp/x.json", "--limit", "9", "--trials", "50"]
    assert section.command(words) == "python -m bench.noticing --quick --trials 50"
