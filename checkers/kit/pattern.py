r"""Regular expressions as PCRE2 has them, on bytes, that cannot hold up a worker whatever the text is. No socket, no state.

    pattern = compile_pattern("^ok", ["caseless"])     # ValueError with the place of the mistake
    pattern.found_in(body, earliest=0, latest=100)     # bool, or GaveUpError

Backtracking can take for ever, and the text comes from the network. So a short text is searched with few steps allowed; what needs
more, and every long text, is searched with a callout at each place where a match may start, and that looks at the clock. Every search
has a limit of steps at each such place, and of memory. Whoever only checks a configuration compiles and never searches.

The binding's module `pcre2` cannot switch off what it adds (\uhhhh as in JavaScript, no \C, Unicode properties), so its inner
module is asked. No code is generated at run time (JIT): it would need memory that is writable and executable.
Sources: keepalived.md, section 3.5; pcre2api(3), pcre2pattern(3), section "Special start-of-pattern items"; pcre2callout(3).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pcre2 import LibraryError, PatternError
from pcre2 import _cy as engine

OPTIONS: Mapping[str, int] = {
    "allow_empty_class": 0x1,
    "alt_bsux": 0x2,
    "auto_callout": 0,  # 0x4: calls whoever wants to be called at every item, which is nobody, as in keepalived
    "caseless": 0x8,
    "dollar_endonly": 0x10,
    "dotall": 0x20,
    "dupnames": 0x40,
    "extended": 0x80,
    "firstline": 0x100,
    "match_unset_backref": 0x200,
    "multiline": 0x400,
    "never_ucp": 0x800,
    "never_utf": 0x1000,
    "no_auto_capture": 0x2000,
    "no_auto_possess": 0x4000,
    "no_dotstar_anchor": 0x8000,
    "no_start_optimize": 0x10000,
    "ucp": 0x20000,
    "ungreedy": 0x40000,
    "utf": 0x80000,
    "never_backslash_c": 0x100000,
    "alt_circumflex": 0x200000,
    "alt_verbnames": 0x400000,
    "use_offset_limit": 0x800000,
}
"""The names that keepalived knows after regex_options, and PCRE2's bits for them (pcre2.h)."""

SHORT_MAX_BYTES = 4_096
"""A text up to here is searched without a clock first: at most SHORT_MAX_BYTES times SHORT_STEPS steps of 15 ns, 0.3 s."""

SHORT_STEPS = 5_000
"""Most steps of a match from one place of a short text. Ours: a sane pattern needs hundreds."""

STEPS = 1_000_000
"""Most steps of a match from one place: 0.02 s, or half a second when each looks far. PCRE2's own limit is ten times that."""

MEMORY_MAX_KIB = 65_536
"""Most memory of one match. PCRE2's own limit is 20 GB."""

SEARCH_MAX_S = 0.5
"""Longest search, in seconds of CPU: so long all other checks of the worker wait. Ours."""

_ADDED_BY_THE_BINDING = OPTIONS["alt_bsux"] | OPTIONS["never_backslash_c"] | OPTIONS["ucp"]
_START_ITEMS = re.compile(
    rb"(?:\(\*(?:UTF|UCP|NOTEMPTY(?:_ATSTART)?|NO_AUTO_POSSESS|NO_DOTSTAR_ANCHOR|NO_JIT|NO_START_OPT|CASELESS_RESTRICT|TURKISH_CASING"
    rb"|LIMIT_(?:HEAP|MATCH|DEPTH|RECURSION)=[0-9]+|CR|LF|CRLF|ANYCRLF|ANY|NUL|BSR_ANYCRLF|BSR_UNICODE)\))*"
)
_PASS, _ABORT = 0, -1


class GaveUpError(Exception):
    """The search was given up: too many steps, too long, too much memory, or not the UTF-8 that the pattern asks for."""


class _Watch:
    """The callout: is asked at every place where a match may start, and ends the search when its time is over."""

    __slots__ = ("over", "until_s")

    def __init__(self) -> None:
        self.over = False
        self.until_s = 0.0

    def start(self) -> None:
        self.over = False
        self.until_s = time.thread_time() + SEARCH_MAX_S

    def __call__(self, _block: object) -> int:
        if time.thread_time() < self.until_s:
            return _PASS
        self.over = True
        return _ABORT


_watch = _Watch()
_UNWATCHED = engine.create_match_context()
_WATCHED = engine.create_match_context(callout_function=_watch)


class Pattern:
    """One regular expression, good for any number of searches. Made by `compile_pattern`."""

    __slots__ = ("_long", "_short")

    def __init__(self, text: bytes, bits: int) -> None:
        items = _START_ITEMS.match(text)
        end = 0 if items is None else items.end()
        start, rest = text[:end] + b"(*LIMIT_HEAP=%d)" % MEMORY_MAX_KIB, text[end:]
        self._short = _compiled(start + b"(*LIMIT_MATCH=%d)" % SHORT_STEPS + rest, bits)
        self._long = _compiled(start + b"(*LIMIT_MATCH=%d)(?C1)" % STEPS + rest, bits)

    def found_in(self, text: bytes, earliest: int, latest: int) -> bool:
        """Whether the first match at or after byte `earliest` starts at `latest` or before. Raises GaveUpError."""
        if earliest > len(text):
            return False
        match = None
        watched = len(text) > SHORT_MAX_BYTES
        if not watched:
            try:
                match = engine.match(self._short, text, len(text), earliest, _UNWATCHED)[0]
            except LibraryError:
                watched = True
        if watched:
            _watch.start()
            try:
                match = engine.match(self._long, text, len(text), earliest, _WATCHED)[0]
            except LibraryError as error:
                raise GaveUpError(error.msg) from error
            if _watch.over:
                raise GaveUpError(f"it takes longer than {SEARCH_MAX_S:g} s")
        return match is not None and engine.match_substring_span_bynumber(match, text, 0)[0] <= latest


def _compiled(text: bytes, bits: int) -> Any:
    """Return what the engine makes of a pattern. Raises PatternError."""
    return engine.compile(text, bits, _ADDED_BY_THE_BINDING & ~bits)


@lru_cache(256)
def _pattern_of(text: bytes, bits: int) -> Pattern:
    _compiled(text, bits)  # as the operator wrote it, so that the place of a mistake is true
    return Pattern(text, bits)


def compile_pattern(text: str, options: Sequence[str] = ()) -> Pattern:
    """Return the pattern of `text` with keepalived's regex_options. Raises ValueError with a sentence for the operator."""
    bits = 0
    for name in options:
        if name not in OPTIONS:
            raise ValueError(f"regex_options: {name!r} is none of {' '.join(OPTIONS)}")
        bits |= OPTIONS[name]
    try:
        return _pattern_of(text.encode(), bits)
    except PatternError as error:
        complaint = str(error.msg).partition("; ")[2]
        raise ValueError(f"regex does not compile: {complaint} (at byte {error.pos})") from error
