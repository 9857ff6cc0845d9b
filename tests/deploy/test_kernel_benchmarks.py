"""The figures of the benchmarks that run in a guest: what they add up, and what they say where somebody never got there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import convergence, guest, kernel_writer, lost_requests, noticing_kernel, start_kernel
from bench import section as sections
from bench.convergence import Outcome
from bench.directors import (
    AGGRESSIVE,
    ARTICLE,
    LDIRECTORD_SERVERS,
    Timing,
    Who,
    keepalived_conf,
    ldirectord_cf,
    watched,
)
from bench.fault_round import LIMIT_S, Kind, Trial
from supervisor import config


def test_the_99th_percentile_of_few_is_the_worst_and_of_many_is_not() -> None:
    assert guest.percentile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert guest.percentile([float(value) for value in range(200)], 0.99) == 197.0
    assert guest.percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0


def test_the_page_says_how_a_benchmark_was_called_but_not_where_its_result_went() -> None:
    argv = ["/somewhere/bench/kernel_writer.py", "--quick", "--out", "/tmp/one.json"]
    assert sections.command(argv) == "python -m bench.kernel_writer --quick"


def test_a_section_has_what_the_report_reads_and_marks_what_user_mode_linux_distorts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ratios = [guest.Ratio("r", 1.5, 2.0), guest.Ratio("native", 1.0, 2.0, distorted=False)]
    section = guest.Section("Title", 1, ["Words."], "It hurts.", [guest.Table("C", ["a", "b"], [[1, "x"]])], ratios)
    found = guest.Found(results=None, versions={"ipvsadm": "1.31"}, kernel="6.1", is_uml=True)
    guest.tell(section, found, tmp_path / "one.json")
    assert capsys.readouterr().out.endswith("\nratio r 1.5 target 2.0\nratio native 1.0 target 2.0\n")
    told = json.loads((tmp_path / "one.json").read_text())
    assert told["title"] == "Title"
    assert [("User-Mode Linux" in line, "It hurts." in line) for line in told["text"]] == [(False, False), (True, True)]
    assert told["machine"]["IPVS kernel"] == "6.1 (User-Mode Linux)"
    assert told["versions"] == {"ipvsadm": "1.31"}
    assert told["tables"] == [{"caption": "C", "columns": ["a", "b"], "rows": [[1, "x"]]}]
    assert [ratio["distorted"] for ratio in told["ratios"]] == [True, False]
    guest.tell(section, None, tmp_path / "one.json")
    assert not any(ratio["distorted"] for ratio in json.loads((tmp_path / "one.json").read_text())["ratios"])


def test_a_trial_is_noticed_when_all_who_watch_have_seen_it_and_over_when_all_know_of_its_end() -> None:
    trial = Trial(3, Kind.KILLED, 100.0, frozenset({"OURS", "KEEPALIVED"}))
    trial.look("OURS", 0, 100.5)
    trial.look("OURS", 0, 107.0)
    assert trial.gone == {"OURS": 0.5}, "only the first time counts"
    assert not trial.is_noticed(110.0)
    trial.look("KEEPALIVED", 0, 112.0)
    assert trial.is_noticed(112.0)
    assert not trial.is_over(112.0)
    trial.mended_at = 113.0
    for who in ("OURS", "KEEPALIVED"):
        trial.look(who, 1, 115.0)
    assert trial.is_over(115.0)
    assert trial.back == {"OURS": 2.0, "KEEPALIVED": 2.0}


def test_nobody_is_waited_for_for_ever_and_who_missed_a_fault_is_told_so() -> None:
    trial = Trial(3, Kind.SICK, 0.0, frozenset({"OURS"}))
    assert trial.is_noticed(LIMIT_S + 1)
    trials = [{"kind": "SICK", "watchers": ["OURS"], "gone": {}}, {"kind": "SICK", "watchers": [], "gone": {}}]
    seconds = noticing_kernel.noticed(trials, Who.OURS, Kind.SICK, "gone")
    assert seconds == [LIMIT_S], "it watched one of the two"
    assert noticing_kernel.row(Who.OURS, Kind.SICK, seconds)[2:] == [1, "> 60", "> 60", "> 60", 1]


@pytest.mark.parametrize("who", [Who.OURS, Who.SENTINEL, Who.FAST])
@pytest.mark.parametrize("timing", [ARTICLE, AGGRESSIVE])
def test_the_files_of_the_contenders_have_no_problems(tmp_path: Path, who: Who, timing: Timing) -> None:
    file = tmp_path / "keepalived.conf"
    file.write_text(keepalived_conf(who, timing, 3))
    outcome = config.load(file)
    assert outcome.config is not None
    assert not outcome.problems
    [virtual] = outcome.config.virtual_servers
    assert {check.sentinel for server in virtual.real_servers for check in server.checks} == {who is not Who.OURS}


def test_ldirectord_has_a_virtual_server_for_each_of_its_few_servers() -> None:
    assert watched(Who.LDIRECTORD, 50) == LDIRECTORD_SERVERS
    assert watched(Who.KEEPALIVED, 50) == 50
    text = ldirectord_cf(ARTICLE, 3)
    assert text.count("virtual = ") == 3
    assert "failurecount = 4\n" in text


def test_the_file_of_a_storm_has_as_many_servers_as_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "keepalived.conf"
    file.write_text(convergence.configuration(120, 8080, sentinel=True))
    outcome = config.load(file)
    assert outcome.config is not None
    assert not outcome.problems
    assert [len(virtual.real_servers) for virtual in outcome.config.virtual_servers] == [50, 50, 20]


def test_who_never_converged_is_judged_by_the_limit() -> None:
    def outcome(who: str, gone_s: float | None, where: str = convergence.REAL) -> Outcome:
        return Outcome(who, where, 1000, gone_s, 6.9, 1.0, 6.0, 0.02, "")

    outcomes = [
        outcome(convergence.PLAIN, 7.0),
        outcome(convergence.SENTINEL, None),
        outcome(convergence.KEEPALIVED, 7.0),
        outcome(convergence.SENTINEL, 1.4, convergence.NATIVE),
    ]
    found = {ratio.name: ratio.value for ratio in convergence.ratios(outcomes, [0.01])}
    assert found == {
        "plain_1000_down_by_slowest_probe": 1.75,
        "sentinel_1000_down_by_slowest_probe": round(convergence.LIMIT_S / 4, 2),
        "sentinel_1000_down_by_slowest_probe_natively": 0.35,
        "longest_stall_supervisor_1000_down_s": 0.02,
        "longest_stall_worker_1000_down_s": 0.01,
    }


def test_a_histogram_is_told_by_its_bounds() -> None:
    assert convergence.bounds([0] * 14) == ""
    assert convergence.bounds([90, 0, 9, 1, *[0] * 10]) == "90 %: ≤ 1 ms; all: ≤ 10 ms"
    assert convergence.bounds([0] * 13 + [1]) == "90 %: > 10 s; all: > 10 s"


def test_the_writer_is_judged_by_what_both_cost_in_the_same_round() -> None:
    costs = {
        kernel_writer.APPLY: [4.0, 8.0, 4.0],
        kernel_writer.RESTORE: [400.0, 400.0, 200.0],
        kernel_writer.FLOOR: [2.0, 4.0, 2.0],
    }
    by_restore, by_floor = kernel_writer.ratios(costs)
    assert (by_restore.value, by_floor.value) == (0.02, 2.0)


def test_a_start_is_judged_by_the_median_times_of_both() -> None:
    starts = {
        start_kernel.OURS: [{"time_s": time_s, "cpu_s": 9.0} for time_s in (2.0, 3.0, 90.0)],
        start_kernel.THEIRS: [{"time_s": time_s, "cpu_s": 0.1} for time_s in (0.5, 1.0, 2.0)],
    }
    made = start_kernel.section(10_000, starts)
    assert [(ratio.value, ratio.distorted) for ratio in made.ratios] == [(3.0, True)]
    assert [row[0] for row in made.tables[0].rows] == ["vipervisor", "keepalived"]


def test_a_start_of_both_has_the_same_file_and_ours_writes_a_kernels_table(tmp_path: Path) -> None:
    file = tmp_path / "keepalived.conf"
    ours = start_kernel.command(start_kernel.OURS, file)
    assert ours[ours.index("-f") + 1] == str(file)
    assert ours[ours.index("--backend") + 1] == "kernel"


def test_lost_requests_are_those_of_each_time_and_a_fault_without_an_end_says_so() -> None:
    events = [
        {"fault": "kill", "failed": {"refused": 3, "reset": 1}, "undone": False},
        {"fault": "kill", "failed": {}, "undone": True},
        {"fault": "restart", "failed": {"reset": 9}, "undone": False},
    ]
    assert lost_requests.cell(events, "kill") == "2 (1 of 2 never mended)"
    assert lost_requests.cell(events, "restart") == "9"
    assert lost_requests.cell(events, "flush") == ""
