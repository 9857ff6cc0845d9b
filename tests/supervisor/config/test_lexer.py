from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.config import lexer
from supervisor.config.lexer import CLOSE, OPEN


def words(line: str) -> list[tuple[str, ...]]:
    found, fault = lexer.pieces(line)
    assert fault is None
    return [piece for piece, _ in found]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("", []),
        ("   \t ", []),
        ("! a comment", []),
        ("  delay_loop\t5  ", [("delay_loop", "5")]),
        ("lb_algo rr#x", [("lb_algo", "rr")]),
        ("retry 3!x", [("retry", "3")]),
        ('router_id "a # b ! c { d }"', [("router_id", "a # b ! c { d }")]),
        (r"router_id a\#b\!c # d", [("router_id", "a#b!c")]),
        ('router_id a"b c"', [("router_id", "a", "b c")]),
        ("path '/a b'", [("path", "'/a", "b'")]),
        ('router_id ""', [("router_id", "")]),
        (r"path \d\\", [("path", r"\d\\")]),
        ("url{path /}", [("url",), OPEN, ("path", "/"), CLOSE]),
        ("TCP_CHECK {}", [("TCP_CHECK",), OPEN, CLOSE]),
        ("} } x", [CLOSE, CLOSE, ("x",)]),
        ("delay\u00a0loop 5", [("delay\u00a0loop", "5")]),
    ],
)
def test_plain_lines_are_cut_into_words_and_braces(line: str, wanted: list[tuple[str, ...]]) -> None:
    assert words(line) == wanted


def test_a_quoted_brace_is_a_word_and_no_brace() -> None:
    assert all(piece is not OPEN for piece in words('path "{"'))
    assert all(piece is not CLOSE for piece in words('"}"'))


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (r"""misc_path "/x 'a b' \"c d\"" """, [("misc_path", """/x 'a b' "c d\"""")]),
        ("misc_path '/x y' nobody", [("misc_path", "/x y", "nobody")]),
        (r"regex a\ b\x41\101\cA\n", [("regex", "a bAA\x01\n")]),
        ("""regex a"b c"'d e'f""", [("regex", "ab cd ef")]),
        ("notify_up /bin/a#b", [("notify_up", "/bin/a")]),
        ('HTTP_GET { url { regex "a{3}" } }', [("HTTP_GET",), OPEN, ("url",), OPEN, ("regex", "a{3}"), CLOSE, CLOSE]),
    ],
)
def test_scripts_and_patterns_are_read_as_a_shell_would(line: str, wanted: list[tuple[str, ...]]) -> None:
    assert words(line) == wanted


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        ("""/x 'a b' "c d\"""", ("/x", "a b", "c d")),
        ("  /x\ta\n b ", ("/x", "a", "b")),
        (r"/x a\ b \x41\101 \q", ("/x", "a b", "AA", "q")),
        ("""/x a"b c"'d e'f ''""", ("/x", "ab cd ef", "")),
        ("/x {#!}$HOME*", ("/x", "{#!}$HOME*")),
        ("/x \\", ("/x", "\\")),
        ("", ()),
    ],
)
def test_a_command_line_is_cut_once_more(line: str, arguments: tuple[str, ...]) -> None:
    assert lexer.command_words(line) == (arguments, "")


@pytest.mark.parametrize(("line", "quote"), [("/x 'a", "'"), ('/x "a\\"', '"')])
def test_an_open_quote_in_a_command_is_told_of(line: str, quote: str) -> None:
    assert lexer.command_words(line)[1] == quote


def test_a_fifo_is_plain_but_its_script_is_shell_like() -> None:
    assert not lexer.is_shell_like("lvs_notify_fifo")
    assert not lexer.is_shell_like("notify_fifo")
    assert lexer.is_shell_like("lvs_notify_fifo_script")


@pytest.mark.parametrize("line", ['router_id "open', "regex 'open", 'regex "open\\"'])
def test_an_open_quote_is_told_of_where_it_opens(line: str) -> None:
    _, fault = lexer.pieces(line)
    assert fault is not None
    assert fault.start == line.index(fault.quote)


@settings(deadline=None, derandomize=True)
@given(st.text(alphabet=" \t\r\u00a0{}!#ab01\"'\\", max_size=40))
def test_the_fast_way_and_the_careful_way_agree(line: str) -> None:
    pieces, _ = lexer.pieces(line)
    tokens, _ = lexer.scan(line)
    flat = [word for words, _ in pieces for word in words]
    assert flat == [token.text for token in tokens]
    assert [first for words, first in pieces if words is OPEN or words is CLOSE] == [
        index for index, token in enumerate(tokens) if token.brace
    ]


@settings(deadline=None, derandomize=True)
@given(st.text(alphabet=" \t{}!#ab01\"'\\", max_size=40))
def test_columns_are_those_of_the_words(line: str) -> None:
    tokens, _ = lexer.scan(line)
    for token in tokens:
        if token.text and line[token.start : token.end].isalnum():
            assert line[token.start : token.end] == token.text
    ends = [0, *[token.end for token in tokens]]
    assert all(end <= token.start for end, token in zip(ends, tokens, strict=False))
