from __future__ import annotations

import pathlib

import pytest

from supervisor.config import Severity, load, render
from supervisor.config.problems import MAX_SHOWN, Code, render_problem, suggest
from tests.supervisor.config.written import outcome_of, real_server, virtual_server


def lines_of(text: str) -> list[str]:
    outcome = outcome_of(text)
    folder = str(pathlib.Path(outcome.files[0]).parent)
    return render(outcome).replace(folder + "/", "").splitlines()


def test_a_problem_shows_its_line_a_caret_and_a_suggestion() -> None:
    assert lines_of(
        "virtual_server 10.0.0.1 80 {\n\tlb_algo wllc\n  lb_kind NAT\nprotocol TCP\nreal_server 10.0.0.2 80 { }\n}\n"
    ) == [
        'main.conf:2:10: error: unknown value "wllc" for lb_algo [E026]',
        "  \tlb_algo wllc",
        '  \t        ^^^^ did you mean "wlc"?',
        "1 error",
    ]


def test_the_way_through_includes_is_shown() -> None:
    outcome = outcome_of("\ninclude a.conf\n", a_conf="nonsense\n")
    folder = str(pathlib.Path(outcome.files[0]).parent)
    assert "  included from main.conf:2" in render(outcome).replace(folder + "/", "").splitlines()


def test_the_verdict_counts_errors_and_warnings_but_no_notes() -> None:
    warning = virtual_server("quorum 5", "persistence_granularity 255.255.255.0", real_server())
    assert lines_of(warning)[-1] == "fine: 1 virtual server, 1 real server, 1 warning"
    assert lines_of(warning + "nonsense\nmore\n")[-1] == "2 errors, 1 warning"
    assert lines_of("")[-1] == "fine: 0 virtual servers, 0 real servers"


def test_fifty_problems_are_shown_the_rest_is_counted_and_errors_go_first() -> None:
    warnings = "include nothing.conf\n" * 262
    shown = lines_of(warnings + "nonsense\n")
    assert shown[-2:] == ["and 213 more", "1 error, 262 warnings"]
    assert sum(": warning: " in line for line in shown) == MAX_SHOWN - 1
    assert sum(": error: " in line for line in shown) == 1


def test_colour_is_only_there_when_asked_for() -> None:
    outcome = outcome_of("nonsense\n")
    assert "\x1b" not in render(outcome)
    assert "\x1b[1;31merror\x1b[0m" in render(outcome, color=True)


def test_control_characters_of_a_file_never_reach_the_terminal() -> None:
    assert "\x1b" not in render(outcome_of("nonsense\x1b[2J \x9b31m\n"))


def test_a_very_long_line_is_cut_around_the_place() -> None:
    outcome = outcome_of("router_id " + "x" * 5000 + "\n" + "y" * 5000 + "\n")
    assert max(len(line) for line in render_problem(outcome.problems[0]).splitlines()) < 400


def test_problems_come_in_the_order_of_the_text() -> None:
    outcome = outcome_of("nonsense\ninclude a.conf\n" + virtual_server("delay_lop 3", real_server()), a_conf="more\n")
    assert [problem.line for problem in outcome.problems] == [1, 1, 7]


@pytest.mark.parametrize(
    ("word", "wanted"),
    [("wllc", "wlc"), ("wr", "wrr"), ("RR", "rr"), ("cl", "lc"), ("dlay_loop", "delay_loop"), ("zzzz", ""), ("x", "")],
)
def test_what_was_probably_meant_is_suggested(word: str, wanted: str) -> None:
    assert suggest(word, ["rr", "wrr", "lc", "wlc", "delay_loop"]) == wanted


def test_every_code_has_its_own_number_and_a_severity() -> None:
    assert len({code.value for code in Code}) == len(Code)
    assert {code.severity for code in Code} == set(Severity)


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (lambda path: path.with_name("other").touch(), "there is no file"),
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.symlink_to(path), "cannot be read"),
    ],
    ids=["missing", "a directory", "a link to itself"],
)
def test_a_file_that_cannot_be_read_is_an_error_that_names_it(
    tmp_path: pathlib.Path, make: object, remedy: str
) -> None:
    path = tmp_path / "main.conf"
    assert callable(make)
    make(path)
    outcome = load(path)
    assert outcome.config is None
    (problem,) = outcome.problems
    assert (problem.code, problem.line) == ("E001", 0)
    assert str(path) in problem.message
    assert remedy in problem.message
    assert problem.suggestion
    assert render(outcome).splitlines()[-1] == "1 error"


def test_a_pipe_is_refused_without_waiting_for_it() -> None:
    assert load(pathlib.Path("/dev/null")).config is None
    assert load(pathlib.Path("\0")).config is None
