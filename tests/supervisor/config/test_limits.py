"""What bounds the time and the memory that any text can take: each limit says so, with its place, and nothing is quadratic."""

from __future__ import annotations

import pathlib

import pytest

from supervisor.config import Severity, definitions, expand, files, groups, includes, load, problems, tree
from supervisor.config.files import MAX_LINE_CHARACTERS, MAX_PATTERN_CHARACTERS, alternatives
from supervisor.config.repetition import NUMBER_MAX
from tests.supervisor.config.written import config_of, outcome_of, real_server, said, virtual_server

LONG = MAX_LINE_CHARACTERS - 100


def test_leading_zeros_change_no_number_however_many_they_are() -> None:
    zeros = "0" * 5000
    config = config_of(virtual_server(f"quorum {zeros}2", real_server(f"weight {zeros}7")))
    assert config.virtual_servers[0].quorum == 2
    assert config.virtual_servers[0].real_servers[0].weight == 7


def test_a_line_that_is_too_long_is_one_error_and_the_rest_is_read() -> None:
    outcome = outcome_of("a" * (MAX_LINE_CHARACTERS + 1) + "\noops\n")
    assert said(outcome) == [
        f"1:1: error: this line is longer than {MAX_LINE_CHARACTERS} characters",
        '2:1: error: unknown keyword "oops"',
    ]
    assert said(outcome_of("#" * MAX_LINE_CHARACTERS)) == []


def test_the_files_of_a_configuration_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(includes, "MAX_TEXT_BYTES", 2 * 1024 * 1024)
    comment = "# one\n" * 200_000
    assert said(outcome_of("include a.conf\n", a_conf=comment)) == []
    (problem,) = outcome_of("include a.conf\ninclude a.conf\n", a_conf=comment).problems
    assert (problem.line, problem.message) == (2, "the files of this configuration are larger than 2 MiB together")


def test_reading_ends_after_so_many_errors_and_says_so() -> None:
    outcome = outcome_of("oops\n" * (problems.MAX_KEPT_ERRORS + 1000))
    assert outcome.count(Severity.ERROR) == problems.MAX_KEPT_ERRORS + 2
    assert outcome.problems[-1].message == f"more than {problems.MAX_KEPT_ERRORS} errors; the rest is not looked at"


def test_reading_ends_when_one_mistake_is_repeated_too_often() -> None:
    outcome = outcome_of(f"~SEQ(I, {problems.MAX_MET_ERRORS + 10}) virtual_server\n")
    assert outcome.config is None
    assert outcome.problems[-1].message.endswith("the rest is not looked at")


def test_warnings_beyond_the_limit_are_left_out_and_refuse_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "MAX_KEPT_REMARKS", 3)
    config = config_of(virtual_server(*["lb_algo rr"] * 9, real_server()), warnings=3)
    assert len(config.virtual_servers) == 1


def test_statements_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_STATEMENTS", 100)
    (problem,) = outcome_of("vrrp_instance V {\n" + "a\n" * 101 + "}\n").problems
    assert (problem.line, problem.message) == (100, "more than 100 statements")


@pytest.mark.parametrize("text", ["{" * LONG, "}" * LONG, "a {" * (LONG // 3), "{ include_chec" * (LONG // 14)])
def test_a_line_full_of_braces_takes_no_time(text: str) -> None:
    outcome = outcome_of(f"{text}\n" * 3)
    assert outcome.count(Severity.ERROR) <= problems.MAX_KEPT_ERRORS + 2


def test_blocks_that_are_far_too_deep_are_not_looked_through_for_each_block_in_them() -> None:
    outcome = outcome_of("a {\n" * 50_000 + "real_server {\n" * 50_000)
    assert "blocks are nested more than 32 deep" in {problem.message for problem in outcome.problems}


def test_a_list_of_many_tuples_takes_no_time() -> None:
    (problem,) = outcome_of("~LST({A}, " + "{}," * (LONG // 3 - 10) + "{}) oops\n").problems
    assert problem.message == 'unknown keyword "oops"'


def test_a_list_with_many_names_and_many_values_is_refused() -> None:
    (problem,) = outcome_of("~LST({" + "A," * 2000 + "A}, " + "a," * 2000 + "a) oops\n").problems
    assert problem.message == "~LST gives 4004001 values to its names; at most 250000 are possible"


@pytest.mark.parametrize("number", [10**9, NUMBER_MAX])
def test_a_sequence_of_any_length_takes_no_time(number: int) -> None:
    (problem,) = outcome_of(f"~SEQ(I, {number}) a\n").problems
    assert "asks for" in problem.message


def test_what_repetitions_make_is_bounded_in_characters_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expand, "MAX_TEXT_BYTES", 1024 * 1024)
    outcome = outcome_of("~SEQ(I, 2000) " + "#" + "a" * 10 + "\n~SEQ(I, 200) vrrp_version " + "a" * 10_000 + "\n")
    assert outcome.problems[-1].message == "definitions and repetitions make more than 1 Mi characters"


def test_names_that_are_put_in_are_counted_also_when_they_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definitions, "MAX_REPLACED_NAMES", 1000)
    (problem,) = outcome_of("$A=\n$B=" + "${A}" * 99 + "\n" + "${B}\n" * 11).problems
    assert problem.message.startswith("more than 1000 names")
    assert said(outcome_of("$A=\n$B=" + "${A}" * 99 + "\n" + "${B}\n" * 4)) == []


@pytest.mark.parametrize("again", ["${Z}A=${A}", "~LST(A, ${A}) ${Z}B=${A}", "~LST(A, ${A}) @other x"])
def test_a_name_that_is_made_of_itself_over_and_over_keeps_a_place(again: str) -> None:
    text = "$Z=$\n$A=x\n" + f"{again}\n" * 5_000 + "virtual_server ${A} 80 {\n}\n"
    found = [problem for problem in outcome_of(text).problems if "is not a numeric address" in problem.message]
    assert [problem.line for problem in found] != []
    assert all(len(problem.expanded_from) <= 2 * definitions.MAX_STEPS + 2 for problem in found)


def test_a_line_of_names_of_nothing_takes_no_time() -> None:
    outcome = outcome_of("oops " + "${A} " * (LONG // 5) + "\n")
    assert outcome.problems[-1].message == f"more than {problems.MAX_KEPT_ERRORS} errors; the rest is not looked at"


def test_nobody_looks_for_a_similar_name_among_very_many() -> None:
    text = "".join(f"$NAME{number}=x\n" for number in range(problems.MAX_CANDIDATES + 1)) + "${NAM1}\n"
    assert outcome_of(text).problems[0].suggestion == "a name must be defined above the line that uses it"


def test_a_reference_that_is_never_closed_takes_no_time() -> None:
    (problem, *_) = outcome_of("oops ${_RANDOM" + " " * LONG + "\n").problems
    assert problem.message == 'unknown keyword "oops"; its block is skipped'


def test_patterns_with_many_commas_or_braces_take_no_time() -> None:
    assert alternatives("{" + "," * (MAX_PATTERN_CHARACTERS - 1)) == ["{" + "," * (MAX_PATTERN_CHARACTERS - 1)]
    assert alternatives("{" * MAX_PATTERN_CHARACTERS) == ["{" * MAX_PATTERN_CHARACTERS]
    assert alternatives("{a,b}" * 9) is None
    (problem,) = outcome_of("include {" + "," * MAX_PATTERN_CHARACTERS + "\n").problems
    assert problem.message == f"this pattern is longer than {MAX_PATTERN_CHARACTERS} characters"


def test_includes_are_counted_whether_they_find_anything_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(includes, "MAX_INCLUDES", 5)
    problem = outcome_of("include no.conf\n" * 7).problems[-1]
    assert (problem.line, problem.message) == (6, "more than 5 includes")


def test_files_that_include_each_other_come_to_an_end(tmp_path: pathlib.Path) -> None:
    for name in "abcdefgh":
        (tmp_path / f"{name}.conf").write_text("include *.conf\n")
    outcome = load(tmp_path / "a.conf")
    assert outcome.config is None
    assert len(outcome.files) <= includes.MAX_FILES


def test_groups_are_bounded_one_by_one_and_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MAX_ALL_GROUP_ADDRESSES", 100)
    lines = "10.2.0.0/26 80\n"
    fine = outcome_of("virtual_server_group a {\n" + lines + "}\n")
    assert fine.config is not None
    for text in (f"{lines}}}\nvirtual_server_group b {{\n{lines}", lines * 2):
        problem = outcome_of("virtual_server_group a {\n" + text + "}\n").problems[-1]
        assert problem.message == "the groups of this configuration have more than 100 addresses"
    problem = outcome_of("virtual_server_group a {\n0.0.0.0/1 80\n}\n").problems[-1]
    assert problem.message.startswith('"0.0.0.0/1"') or "0.0.0.0" in problem.message


def test_virtual_servers_of_groups_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MAX_GROUP_DESTINATIONS", 100)
    group = "virtual_server_group a {\n10.2.0.0/26 80\n}\n"
    assert outcome_of(group + virtual_server(real_server(), head="group a")).config is not None
    twice = virtual_server(real_server(), head="group a") * 2
    assert outcome_of(group + twice).problems[-1].message.endswith("their real servers are more than 100")


def test_lines_of_a_file_are_cut_a_second_time_only_a_few_at_a_time() -> None:
    source = files.Source("main.conf", [f"a b{number}" for number in range(50)])
    assert [source.place(number, 1, 1).column for number in (1, 2, 1, 2, *range(1, 50))] == [3] * 53
    assert len(source._scanned) == files.MAX_SCANNED


def test_a_pattern_that_python_may_read_otherwise_one_day_is_no_news() -> None:
    config_of(virtual_server(real_server('HTTP_GET {\nurl {\npath /\nregex "[[a]"\n}\n}')))


def test_a_check_whose_values_no_worker_could_be_told_is_refused() -> None:
    url = "url {\npath /" + "a" * 40_000 + "\n}\n"
    assert outcome_of(virtual_server(real_server(f"HTTP_GET {{\n{url}}}"))).config is not None
    (problem,) = (
        found
        for found in outcome_of(virtual_server(real_server(f"HTTP_GET {{\n{url * 2}}}"))).problems
        if found.code[0] == "E"
    )
    assert problem.message == "the values of this check take 80035 bytes; at most 64000 are possible"
