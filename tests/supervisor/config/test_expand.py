from __future__ import annotations

import os
import pathlib

import pytest

from supervisor.config import load, render
from supervisor.config.problems import Position
from tests.supervisor.config.written import config_of, outcome_of, real_server, said, virtual_server


def test_names_are_replaced_where_they_are_used_with_the_value_of_that_moment() -> None:
    config = config_of(
        "$A=1\n$B=10.1.0.${A}\n$A=2   # later\n"
        + virtual_server(real_server(head="$B 80"), real_server(head="10.1.0.9 80"))
    )
    assert [str(server.endpoint) for server in config.virtual_servers[0].real_servers] == ["10.1.0.2:80", "10.1.0.9:80"]


def test_a_value_may_hold_a_whole_block() -> None:
    config = config_of("$RS=real_server 10.1.0.7 80 { weight 3 }\n" + virtual_server("$RS"))
    assert config.virtual_servers[0].real_servers[0].weight == 3


def test_a_name_glued_to_other_characters_needs_braces() -> None:
    config = config_of(
        "$N=7\n" + virtual_server(real_server(head="10.1.0.${N} 80"), "quorum $N", real_server("weight 9"))
    )
    assert str(config.virtual_servers[0].real_servers[0].endpoint) == "10.1.0.7:80"
    assert config.virtual_servers[0].quorum == 7


def test_a_mistake_in_a_value_points_there_and_at_its_use() -> None:
    outcome = outcome_of("$SLOW=5s\n" + virtual_server("  delay_loop ${SLOW} # why", real_server()))
    (problem,) = outcome.problems
    assert (problem.line, problem.column, problem.length) == (1, 7, 2)
    assert problem.source_line == "$SLOW=5s"
    assert [use.line for use in problem.expanded_from] == [6]
    assert "main.conf:6" in render(outcome).splitlines()[3]


def test_a_mistake_that_only_a_name_and_its_surroundings_make_points_at_the_use() -> None:
    outcome = outcome_of("$S=s\n" + virtual_server("  delay_loop 5${S} # why", real_server()))
    (problem,) = outcome.problems
    assert (problem.line, problem.column, problem.length) == (6, 14, 5)


def test_values_inside_values_are_led_back_step_by_step() -> None:
    outcome = outcome_of("$A=5s\n$B=delay_loop ${A}\n" + virtual_server("$B", real_server()))
    (problem,) = outcome.problems
    assert (problem.line, [use.line for use in problem.expanded_from]) == (1, [2, 7])


def test_a_mistake_behind_a_name_keeps_its_own_column() -> None:
    outcome = outcome_of("$NET=10.1.0\n" + virtual_server("  real_server ${NET}.1 80800 { }"))
    (problem,) = outcome.problems
    assert (problem.line, problem.column, problem.length) == (6, 24, 5)


def test_an_undefined_name_is_left_as_typed_and_told_of() -> None:
    outcome = outcome_of("$NAME=a\nglobal_defs {\n  router_id $NAMES\n}\n")
    assert said(outcome) == ['3:13: warning: "$NAMES" is not defined and stays as typed']
    assert outcome.problems[0].suggestion == 'did you mean "$NAME"?'
    assert outcome.config is not None
    assert outcome.config.router_id == "$NAMES"


def test_definitions_that_double_each_other_stop_at_a_limit() -> None:
    lines = ["$A0=xxxxxxxxxx"] + [f"$A{n}=${{A{n - 1}}}${{A{n - 1}}}" for n in range(1, 40)]
    outcome = outcome_of("\n".join([*lines, "global_defs {", "router_id ${A39}", "}"]))
    assert [problem.code for problem in outcome.problems] == ["E041"]
    assert "grows beyond 65536 characters" in outcome.problems[0].message


def test_an_include_stands_where_it_is_written_also_inside_a_block() -> None:
    outcome = outcome_of(virtual_server("include *.inc"), b_inc=real_server(head="10.1.0.2 80"), a_inc=real_server())
    assert outcome.config is not None
    servers = outcome.config.virtual_servers[0].real_servers
    assert [str(server.endpoint) for server in servers] == ["10.1.0.1:80", "10.1.0.2:80"]
    assert [pathlib.Path(name).name for name in outcome.files] == ["main.conf", "a.inc", "b.inc"]


def test_a_mistake_in_an_included_file_names_that_file_and_the_way_to_it() -> None:
    outcome = outcome_of(
        "\ninclude a.conf\n", a_conf="\n\ninclude b.conf\n", b_conf="global_defs {\n  rooter_id x\n}\n"
    )
    (problem,) = outcome.problems
    assert pathlib.Path(problem.file).name == "b.conf"
    assert (problem.line, problem.column) == (2, 3)
    chain = [Position(pathlib.Path(file).name, line) for file, line in problem.included_from]
    assert chain == [Position("a.conf", 3), Position("main.conf", 2)]


def test_braces_of_a_pattern_stand_for_several_names() -> None:
    outcome = outcome_of(
        "include {a,b}.conf\n",
        a_conf="global_defs {\nrouter_id a\n}\n",
        b_conf="global_defs {\ndefault_interface b0\n}\n",
    )
    assert outcome.config is not None
    assert (outcome.config.router_id, outcome.config.default_interface) == ("a", "b0")


def test_an_include_without_any_file_is_a_warning() -> None:
    outcome = outcome_of("include nothing-*.conf\n")
    assert said(outcome) == ['1:9: warning: no file matches "nothing-*.conf"']


def test_a_file_that_includes_itself_is_refused() -> None:
    outcome = outcome_of("include main.conf\n")
    assert [problem.code for problem in outcome.problems] == ["E040"]
    assert "includes itself" in outcome.problems[0].message


def test_executable_files_and_folders_are_left_out_with_a_warning(tmp_path: pathlib.Path) -> None:
    tmp_path.joinpath("a.inc").write_text("nonsense\n")
    tmp_path.joinpath("a.inc").chmod(0o755)
    tmp_path.joinpath("b.inc").mkdir()
    os.mkfifo(tmp_path / "c.inc")
    tmp_path.joinpath("main.conf").write_text("include *.inc\n")
    outcome = load(tmp_path / "main.conf")
    assert outcome.config is not None
    assert [problem.code for problem in outcome.problems] == ["W107"] * 3


def test_lines_end_as_they_like() -> None:
    text = virtual_server(real_server("weight 4"))
    unix, windows = config_of(text), config_of(text.replace("\n", "\r\n"))
    assert config_of(text.rstrip("\n")).virtual_servers == unix.virtual_servers == windows.virtual_servers


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"\xef\xbb\xbfglobal_defs {\n}\n", "1:1: error: the file starts with a byte-order mark"),
        (b"global_defs {\n  router_id a\0b\n}\n", "2:14: error: a NUL character stands here"),
        (b"global_defs {\n  router_id K\xf6ln\n}\n", "2:14: error: this character is not UTF-8"),
    ],
)
def test_characters_that_no_text_file_has_are_named(data: bytes, wanted: str) -> None:
    assert wanted in said(outcome_of(data))


def test_a_comment_may_be_in_any_encoding() -> None:
    assert said(outcome_of(b"# K\xf6ln\n! K\xf6ln $A\n")) == []


def test_a_definition_with_a_blank_before_its_sign_is_explained() -> None:
    (problem,) = outcome_of("$A = 5\n").problems[-1:]
    assert problem.suggestion == "no blank may stand before the = of a definition: $A=…"


def test_a_definition_inside_a_block_holds_from_there_on() -> None:
    config = config_of(virtual_server("$LOOP=7\ndelay_loop $LOOP", real_server("TCP_CHECK {", "retry $LOOP", "}")))
    schedule = config.virtual_servers[0].real_servers[0].checks[0].schedule
    assert (schedule.delay_loop, schedule.retry) == (7.0, 7)
