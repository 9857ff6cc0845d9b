"""Definitions, built-in names, conditions, repetitions and the demands of includes, as keepalived.md, section 1, has them."""

from __future__ import annotations

import pathlib

import pytest

from supervisor.config import Outcome, load
from supervisor.config.expand import MAX_GENERATED_LINES, Reader
from supervisor.config.lexer import CLOSE, OPEN
from supervisor.config.problems import Problems
from tests.supervisor.config.written import config_of, outcome_of, real_server, said, virtual_server


@pytest.fixture
def main(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "main.conf"


class Read:
    """What the reader makes of a text, before anything is known of keywords."""

    def __init__(self, path: pathlib.Path, text: str, config_id: str = "here") -> None:
        path.write_text(text)
        self.problems = Problems()
        self.lines = [
            " ".join("{" if words is OPEN else "}" if words is CLOSE else " ".join(words) for words, _ in found)
            for _, _, found in Reader(self.problems, config_id).lines(str(path))
            if found
        ]

    @property
    def messages(self) -> list[str]:
        return [problem.message for problem in self.problems.in_order()]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$W=5\na $W\n", ["a 5"]),
        ("$W=5\na $W,b $W)\n", ["a 5,b 5)"]),
        ("$W=5\na $W.b $W}\n", ["a $W.b $W }"]),
        ("$I=1\n$J=2\n10.2.$I.$J\n10.2.${I}.$J\n", ["10.2.$I.2", "10.2.1.2"]),
        ("$A=1\n$B=10.1.0.$A\n$A=2\n$B\n", ["10.1.0.2"]),
        ("$S=0\n$BASE=10.2.$S\n${BASE}.100\n", ["10.2.$S.100"]),
        ("$E=\na${E}b\n", ["ab"]),
        ('$Q="a # b"\n$Q\n', ["a # b"]),
        ("$H=a # c\n$H d\n", ["a d"]),
        ("5${_HASH}2\n", ["5"]),
        ("${_BANG} a b\nc\n", ["c"]),
        ('"5${_HASH}2"\n', ["5#2"]),
        ("${_INSTANCE}\n", ["here"]),
        ("$_INSTANCE x\n", ["here x"]),
        ("$C=@here\n$C a\n", ["a"]),
        ("lb_algo \\\nrr\n", ["lb_algo \\", "rr"]),
    ],
)
def test_names_stand_for_their_values(main: pathlib.Path, text: str, wanted: list[str]) -> None:
    assert Read(main, text).lines == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$M=a \\\n  b { \\\n  c }\n$M\n", ["a", "b {", "c }"]),
        ("$M=a \\\n b\npre $M\n", ["pre a", "b"]),
        ("$M=a \\\n b\npre${M}\n", ["prea", "b"]),
        ("$M= \\\n a \\\n\n # comment\n b\nc\n$M\n", ["c", "a", "b"]),
        (
            "$R= \\\n rs ${N} \\\n w\n$V= \\\n vs \\\n $N=1 \\\n $R \\\n $N=2 \\\n $R \\\n end\n$V\n",
            ["vs", "rs 1", "w", "rs 2", "w", "end"],
        ),
        ("$M=a \\\n b\n~SEQ(I,2) ${I} $M\n", ["1 a", "b", "2 a", "b"]),
        ("$M=a \\\n b\n@here $M\n@there $M\n", ["a", "b"]),
        ("@here $M=a \\\n b\n$M\n", ["a", "b"]),
        ("@there $M=a \\\n b\nc\n", ["c"]),
        ("$M=a \\\n b", []),
    ],
)
def test_definitions_of_several_lines_are_put_in_line_by_line(main: pathlib.Path, text: str, wanted: list[str]) -> None:
    found = Read(main, text)
    assert (found.lines, found.messages) == (wanted, [])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("@here a\n@^here b\n@there c\n@^there d\n  @here e\n", ["a", "d", "e"]),
        ("@here @there a\n", ["@there a"]),
        ("@here $X=5\n@there $X=6\n$X\n", ["5"]),
        ("@here ~SEQ(I,2) a${I}\n~SEQ(I,2) @there b\n~SEQ(I,2) @here c${I}\n", ["a1", "a2", "c1", "c2"]),
    ],
)
def test_a_condition_keeps_its_line_or_leaves_it_out(main: pathlib.Path, text: str, wanted: list[str]) -> None:
    assert Read(main, text).lines == wanted


def test_a_condition_alone_in_its_line_is_warned_of(main: pathlib.Path) -> None:
    (message,) = Read(main, "@here\n").messages
    assert "has no effect" in message


def test_names_are_not_replaced_in_a_condition(main: pathlib.Path) -> None:
    found = Read(main, "$X=here\n@${X} a\n")
    assert (found.lines, len(found.messages)) == ([], 1)


def test_the_configuration_id_is_the_hosts_name_unless_given(
    main: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main.write_text("global_defs {\n@one router_id first\n@^one router_id other\n}\n")

    def router_id(outcome: Outcome) -> str:
        assert outcome.config is not None
        return outcome.config.router_id

    assert router_id(load(main, config_id="one")) == "first"
    assert router_id(load(main, config_id="two")) == "other"
    monkeypatch.setattr("supervisor.config.default_config_id", lambda: "one")
    assert router_id(load(main)) == "first"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("~SEQ(I,3) a${I}", "a1 a2 a3"),
        ("~SEQ(I,-3) a${I}", "a-1 a-2 a-3"),
        ("~SEQ(I,0) a${I}", "a1 a0"),
        ("~SEQ(I,5,3) a${I}", "a5 a4 a3"),
        ("~SEQ(I, 1, 2, 6) a${I}", "a1 a3 a5"),
        ("~SEQ(I,5,-2,1) a${I}", "a5 a3 a1"),
        ("~SEQ(I,4,4) a${I}", "a4"),
        ("~SEQx(I,8,12) a${I}", "a8 a9 aa ab ac"),
        ("~SEQx(I, 0x90, 0x10, 0xb0) a${I}", "a90 aa0 ab0"),
        ("~SEQ(I,0x0a,0x0c) a${I}", "a10 a11 a12"),
        ("~SEQ(I,07,010) a${I}", "a7 a8"),
        ("~SEQ (I,2)glued${I}", "glued1 glued2"),
        ("~SEQ(I,2) ~SEQ(J,2) a${I}${J}", "a11 a12 a21 a22"),
        ("~SEQ(I,3) ~SEQ(J,${I}) a${I}${J}", "a11 a21 a22 a31 a32 a33"),
        ("$N=2\n~SEQ(I, $N) a${I}", "a1 a2"),
        ("$I=9\n~SEQ(I,2) a${I}\nb${I}", "a1 a2 b2"),
        ("$S=~SEQ(I,2)\n$S a${I}", "a1 a2"),
        ("~SEQ(I,2) $X${I}=y${I}\n${X1}${X2}", "y1y2"),
        ("~LST(V, a, b) x${V}", "xa xb"),
        ("~LST(V, a , b) x${V}y", "xay xby"),
        ("~LST({A,B}, {a1, b1}, {a2,b2}) ${A}${B}", "a1b1 a2b2"),
        ("~LST({A,B},{a1}) ${A}-${B}", "a1-"),
        ("~LST(V,) x${V}", "x"),
        ("~LST(A, 1, 2) ~SEQ(B, 2) ${A}${B}", "11 12 21 22"),
    ],
)
def test_repetitions_go_through_their_rounds(main: pathlib.Path, text: str, wanted: str) -> None:
    found = Read(main, text + "\n")
    assert (" ".join(found.lines), found.messages) == (wanted, [])


@pytest.mark.parametrize(
    "text",
    [
        "~SEQ() a",
        "~SEQ(1,3) a",
        "~SEQ(I,a) a",
        "~SEQ(I,08) a",
        "~SEQ(I,1,0,3) a",
        "~SEQ(I,5,2,1) a",
        "~SEQ(I,1,2,3,4) a",
        "~SEQ(I,3 a",
        "~SEQ(I,99999999999999999999999) a",
        "~SEQ(I,1,9223372036854775807) a",
        "~LST() a",
        "~LST(V) a",
        "~LST(V, a b) a",
        "~LST(V, {a,b}) a",
        "~LST({A, {a}) a",
        "~LST({A,B}, {a,b} {c,d}) a",
        '~LST(V, "a b") a',
        "~SEQ(I,3)",
    ],
)
def test_a_repetition_that_is_none_is_one_problem_and_no_line(main: pathlib.Path, text: str) -> None:
    found = Read(main, text + "\n")
    assert (found.lines, len(found.messages)) == ([], 1)


def test_repetitions_stop_at_a_limit_also_when_they_make_nothing(main: pathlib.Path) -> None:
    found = Read(main, "~SEQ(I,1000) ~SEQ(J,1000) @there a\n")
    assert found.messages[-1] == f"~SEQ asks for 1000 lines; all repetitions together may make {MAX_GENERATED_LINES}"


def test_definitions_that_double_each_other_line_by_line_stop(main: pathlib.Path) -> None:
    found = Read(main, "$A=a \\\n $A \\\n $A\n$A\n")
    assert "nested more than 64 deep" in found.messages[0]
    assert len(found.lines) <= 66


def test_a_block_in_a_repetition_stands_in_one_line() -> None:
    config = config_of(virtual_server("~SEQ(I,3) real_server 10.1.0.${I} 80 { weight $I }"))
    servers = config.virtual_servers[0].real_servers
    assert [(str(server.endpoint), server.weight) for server in servers] == [
        ("10.1.0.1:80", 1),
        ("10.1.0.2:80", 2),
        ("10.1.0.3:80", 3),
    ]


def test_a_mistake_in_one_round_tells_which_one() -> None:
    outcome = outcome_of(virtual_server("~SEQ(I,254,257) real_server 10.1.0.${I} 80 { }"))
    assert said(outcome) == ['5:29: error: "10.1.0.256" is not a numeric address']
    assert [(use.line, use.values) for use in outcome.problems[0].expanded_from] == [(5, "I=256")]


def test_a_mistake_in_a_list_points_at_the_value() -> None:
    outcome = outcome_of(virtual_server("~LST({A, W}, {1,5}, {2,x}) real_server 10.1.0.${A} 80 { weight $W }"))
    assert said(outcome) == ['5:24: error: weight "x" is not a whole number']


def test_a_mistake_in_a_definition_of_several_lines_points_there_from_each_file() -> None:
    outcome = outcome_of(
        "include defs.conf\n" + virtual_server("  $RS"), defs_conf="$RS=real_server 10.1.0.1 80 { \\\n  wait 5 }\n"
    )
    (problem,) = outcome.problems
    assert (pathlib.Path(problem.file).name, problem.line, problem.column) == ("defs.conf", 2, 3)
    assert [(pathlib.Path(use.file).name, use.line) for use in problem.expanded_from] == [("main.conf", 6)]
    assert [(pathlib.Path(place.file).name, place.line) for place in problem.included_from] == [("main.conf", 1)]


def test_random_numbers_are_in_their_range_and_the_same_each_time(main: pathlib.Path) -> None:
    text = "~SEQ(I,50) ${_RANDOM 3 5}\n~SEQ(I,50) ${_RANDOM}\n~SEQ(I,9) ${_RANDOM 32000}\n"
    first, again, other = Read(main, text), Read(main, text), Read(main, text, config_id="elsewhere")
    assert set(first.lines[:50]) == {"3", "4", "5"}
    assert all(0 <= int(line) <= 32767 for line in first.lines[50:100])
    assert all(32000 <= int(line) <= 32767 for line in first.lines[100:])
    assert first.lines == again.lines != other.lines


def test_a_seed_decides_the_random_numbers(main: pathlib.Path) -> None:
    def numbers(seed: int, config_id: str) -> list[str]:
        return Read(main, f"random_seed {seed}\n~SEQ(I,9) ${{_RANDOM}}\n", config_id).lines[1:]

    assert numbers(1, "a") == numbers(1, "b") != numbers(2, "a")


def test_the_directory_of_the_file_and_the_environment_can_be_used(
    main: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = main.parent / "inner"
    inner.mkdir()
    inner.joinpath("a.conf").write_text("${_PWD}\n")
    monkeypatch.setenv("DIRECTOR", "one")
    found = Read(main, "${_PWD}\ninclude inner/a.conf\n${_PWD}\n${_ENV DIRECTOR}\n${_ENV NOT_SET_AT_ALL}\n")
    assert found.lines == [str(main.parent), str(inner), str(main.parent), "one"]
    assert found.messages == ['the environment variable "NOT_SET_AT_ALL" is not set']


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("include no.conf", "W107"),
        ("includem no.conf", "E040"),
        ("includem no-*.conf", "W107"),
        ("includew no-*.conf", "E040"),
        ("includew no.conf", "W107"),
        ("includeb {yes,no}.conf", "E040"),
        ("include {yes,no}.conf", ""),
        ("includea {yes,no}.conf", "E040"),
        ("global_defs {\ninclude_check\n}\ninclude no.conf", "E040"),
        ("global_defs {\ninclude_check match\n}\ninclude no.conf", "E040"),
        ("global_defs {\ninclude_check match\n}\ninclude no-*.conf", "W107"),
        ("global_defs {\ninclude_check readable\n}\ninclude no.conf", "W107"),
        ("global_defs {\ninclude_check\ninclude_check -match\n}\ninclude no.conf", "W107"),
        ("global_defs {\ninclude_check match\ninclude_check +wildcard_match -match\n}\ninclude no-*.conf", "E040"),
        ("include sets.conf\ninclude no.conf", "W107"),
    ],
)
def test_an_include_insists_on_what_it_and_include_check_demand(text: str, code: str) -> None:
    sets = "global_defs {\ninclude_check\n}\n"
    outcome = outcome_of(text + "\n", yes_conf="", sets_conf=sets)
    assert [problem.code for problem in outcome.problems if problem.code in {"W107", "E040"}] == [code][: len(code)]


def test_includes_stand_under_conditions_and_in_repetitions_and_are_read_once_each() -> None:
    a, b = real_server(head="10.1.0.1 80"), real_server(head="10.1.0.2 80")
    outcome = outcome_of(
        virtual_server("~LST(F, a, b) include ${F}.conf", "@nobody include c.conf"), a_conf=a, b_conf=b, c_conf="x"
    )
    assert outcome.config is not None, said(outcome)
    assert [pathlib.Path(name).name for name in outcome.files] == ["main.conf", "a.conf", "b.conf"]
    assert len(outcome.config.virtual_servers[0].real_servers) == 2


def test_a_file_that_includes_itself_by_another_name_is_refused(main: pathlib.Path) -> None:
    main.with_name("other.conf").symlink_to(main)
    (message,) = Read(main, "include other.conf\n").messages
    assert "includes itself" in message
