"""Regular expressions: PCRE2's meaning, keepalived's options, and an end in good time whatever the text is."""

from __future__ import annotations

import contextlib
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pcre2 import _cy as engine

from checkers.kit import pattern
from checkers.kit.pattern import GaveUpError, compile_pattern

END = 1 << 30


def found(regex: str, text: bytes, *options: str, earliest: int = 0, latest: int = END) -> bool:
    return compile_pattern(regex, options).found_in(text, earliest, latest)


OPTIONS = (
    ("allow_empty_class", "^[]a]$", b"a", True, False),
    ("alt_bsux", r"\U", b"U", None, True),
    ("auto_callout", "a+b", b"aab", True, True),
    ("caseless", "OK", b"ok", False, True),
    ("dollar_endonly", "ok$", b"ok\n", True, False),
    ("dotall", "a.b", b"a\nb", False, True),
    ("dupnames", "(?<n>a)|(?<n>b)", b"b", None, True),
    ("extended", "o k # both", b"ok", False, True),
    ("firstline", "b", b"a\nb", True, False),
    ("match_unset_backref", r"(a)?\1b", b"b", False, True),
    ("multiline", "^b", b"a\nb", False, True),
    ("never_ucp", r"(*UCP)\w", b"a", True, None),
    ("never_utf", r"(*UTF)a", b"a", True, None),
    ("no_auto_capture", r"(a)\1", b"aa", True, None),
    ("no_auto_possess", "a+b", b"aab", True, True),
    ("no_dotstar_anchor", ".*b", b"aab", True, True),
    ("no_start_optimize", "ab", b"xxab", True, True),
    ("ucp", r"(*UTF)^\w$", "ß".encode(), False, True),
    ("ungreedy", r"a+\Kb|a\Kab", b"aab", True, True),
    ("utf", "^.$", "ß".encode(), False, True),
    ("never_backslash_c", r"\C", b"a", None, None),
    ("alt_circumflex", "(?m)^$", b"a\n", False, True),
    ("alt_verbnames", r"(*MARK:a\))b", b"b", None, True),
    ("use_offset_limit", "b", b"ab", True, True),
)


@pytest.mark.parametrize(("option", "regex", "text", "without", "with_it"), OPTIONS)
def test_every_option_of_keepalived_means_what_pcre2_says(
    option: str, regex: str, text: bytes, without: bool | None, with_it: bool | None
) -> None:
    """None: such a pattern is refused."""
    for options, wanted in (((), without), ((option,), with_it)):
        if wanted is None:
            with pytest.raises(ValueError, match="regex does not compile"):
                compile_pattern(regex, options)
        else:
            assert found(regex, text, *options) is wanted, options


def test_the_table_above_knows_every_option() -> None:
    assert [option for option, *_ in OPTIONS] == list(pattern.OPTIONS)


@pytest.mark.parametrize(
    ("regex", "text", "wanted"),
    [
        (r"a|b|zz", b"xxzz", True),
        (r"\Kok", b"xok", True),
        (r"(?<=x)ok", b"xok", True),
        (r"(?i)OK|up", b"ok", True),
        (r"(?x) o k # the end", b"ok", True),
        (r"\Qa.b", b"a.b", True),
        (r"(?<word>o)k\k<word>", b"oko", True),
        (r"(?C9)ok", b"ok", True),
        (r"(*ANYCRLF)(?m)^b$", b"a\rb\rc", True),
        (r"(*LIMIT_MATCH=99999999)(a+)+b", b"aab", True),
        (r"(*COMMIT)b", b"ab", True),
        (r"", b"", True),
        (r"^", b"x", True),
        (r"\d{3,}+$", b"status 200", True),
        (r"x{0}", b"", True),
        (r"\xff", b"\xff", True),
        (r"[[:alpha:]]+", b"1a", True),
    ],
)
def test_the_language_is_pcre2_on_bytes(regex: str, text: bytes, wanted: bool) -> None:
    assert found(regex, text) is wanted


@given(st.text("ab.*|(^$)?+", max_size=8), st.binary(max_size=30), st.integers(0, 10))
def test_a_long_text_is_searched_as_a_short_one(regex: str, text: bytes, earliest: int) -> None:
    """What the callout at the front must not do is change the meaning."""
    try:
        made = compile_pattern(regex)
    except ValueError:
        return
    pattern._watch.start()
    spans = []
    for code, context in ((made._short, pattern._UNWATCHED), (made._long, pattern._WATCHED)):
        match = engine.match(code, text, len(text), min(earliest, len(text)), context)[0]
        spans.append(match and engine.match_substring_span_bynumber(match, text, 0))
    assert spans[0] == spans[1]


@given(st.text("ab.*|$?+", max_size=8), st.text("ab\n", max_size=20))
def test_where_python_and_pcre2_agree_so_do_we(regex: str, text: str) -> None:
    try:
        wanted = re.search(regex, text) is not None
        made = compile_pattern(regex)
    except (ValueError, re.error):
        return
    assert made.found_in(text.encode(), 0, END) is wanted


@pytest.mark.parametrize(
    ("earliest", "latest", "wanted"),
    [
        (0, 0, False),
        (0, 1, False),
        (0, 2, True),
        (2, 2, True),
        (3, END, True),
        (3, 3, False),
        (5, END, True),
        (6, END, False),
        (99, END, False),
    ],
)
def test_a_match_must_start_within_its_offsets(earliest: int, latest: int, wanted: bool) -> None:
    assert found("o", b"xxoxxo", earliest=earliest, latest=latest) is wanted


@pytest.mark.parametrize(
    "regex", ["(x+x+)+y", "(x*)*[yz]", "x*x*x*[yz]", "x*x[yz]", "x*[yz]", "(?:x|x)*[yz]", "(x+)*$(?!)"]
)
@pytest.mark.parametrize("size", [4_096, 1_000_000])
def test_a_search_that_would_never_end_ends(regex: str, size: int) -> None:
    made = compile_pattern(regex)
    began = time.thread_time()
    with contextlib.suppress(GaveUpError):
        assert made.found_in(b"x" * size, 0, END) is False
    assert time.thread_time() - began < 5.0  # less than a second on a machine of its own


def test_a_search_that_is_given_up_says_why() -> None:
    with pytest.raises(GaveUpError, match=r"it takes longer than 0\.5 s"):
        found("x*[yz]", b"x" * 1_000_000)
    with pytest.raises(GaveUpError, match=r"heap limit exceeded|match limit exceeded"):
        found("(?:x|x)*[yz]", b"x" * 1_000_000)


def test_a_text_that_is_no_utf_8_is_told_when_the_pattern_wants_it() -> None:
    assert found(".", b"\xff")
    for size in (1, 10_000):
        with pytest.raises(GaveUpError, match="UTF-8 error"):
            found("a$", b"\xff" * size, "utf")


@pytest.mark.parametrize(
    ("regex", "complaint"),
    [
        ("(", r"missing closing parenthesis \(at byte 1\)"),
        ("a**+(", "at byte"),
        ("*a", r"quantifier does not follow a repeatable item \(at byte 1\)"),
        ("(*UTF)*a", r"quantifier does not follow a repeatable item \(at byte 7\)"),
        ("[z-a]", "range out of order"),
    ],
)
def test_a_mistake_is_named_with_its_place(regex: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"regex does not compile: .*{complaint}"):
        compile_pattern(regex)


def test_an_option_that_nobody_knows_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"regex_options: 'case_less' is none of allow_empty_class .* use_offset_limit"
    ):
        compile_pattern("a", ["case_less"])


@settings(deadline=None)
@given(st.text(max_size=30), st.binary(max_size=200))
def test_no_pattern_and_no_text_does_harm(regex: str, text: bytes) -> None:
    with contextlib.suppress(ValueError, GaveUpError):
        assert compile_pattern(regex).found_in(text, 0, END) in {True, False}
