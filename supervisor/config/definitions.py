"""Names and their values: what `$NAME` and `${NAME}` stand for at the moment they are used.

A value is kept as it was written and expanded where it is used, so a name in it may be defined, or change, later. `$NAME` counts only
before a blank, a comma, a closing parenthesis or the end of the line; `${NAME}` counts everywhere. Nothing here reads a file.
Sources: keepalived.md, section 1.5.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Sequence

from supervisor.config.lines import Expanded, Line, Segment, Settled, Used
from supervisor.config.problems import Code, Place, Problems

MAX_EXPANDED_CHARACTERS = 65_536
"""Longest line after its names were replaced: definitions that double each other stop here."""

MAX_REPLACED_NAMES = 2_000_000
"""Names that are replaced in one configuration; 200,000 lines with five names each have half of that."""

MAX_REPLACED_CHARACTERS = 256 * 1024 * 1024
"""Characters of all values that are put in, each value once more for each value that it is part of."""

MAX_STEPS = 64
"""Steps from a value back to the file that are kept; of a longer way only its end is remembered."""

MAX_NESTED_NAMES = 64
RANDOM_MAX = 32767
"""Largest value of `${_RANDOM}` without a maximum of its own."""

BUILT_IN = ("_PWD", "_INSTANCE", "_RANDOM", "_ENV", "_HASH", "_BANG")

_REFERENCE = re.compile(
    r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*)|\{(_RANDOM|_ENV)[ \t]+((?:[^{} \t][^{}]*)?)\})", re.ASCII
)


class _Endless(Exception):
    """A value that never ends; the text is a sentence."""


def _settled(line: Line | str) -> Line | str:
    """A value, without the way that it came when that is long: a definition may be made out of the one before it, again and again."""
    if isinstance(line, str) or line.steps <= MAX_STEPS:
        return line
    place = line.at(0, max(1, len(line.text)))
    return Settled(line.text, place._replace(expanded_from=place.expanded_from[:MAX_STEPS]))


class Definitions:
    """The names of one configuration. One owner: the reader of its files."""

    def __init__(self, problems: Problems, config_id: str, seed: str) -> None:
        self.directory = ""  # of the file that is being read
        self._problems = problems
        self._config_id = config_id
        self._values: dict[str, tuple[Line | str, ...]] = {}
        # The same file gives the same numbers on the same host, so that a reload changes nothing and `check` shows what `run` will do.
        self._random = random.Random(f"{config_id} {seed}")  # noqa: S311 - spreads load, guards nothing
        self._replaced = 0
        self._replaced_characters = 0

    def define(self, name: str, lines: Sequence[Line | str]) -> None:
        """Give a name its value: one line, or several. A value that stands nowhere in a file is a plain text."""
        self._values[name] = tuple(_settled(line) for line in lines)

    def seed(self, text: str) -> None:
        """`random_seed`: from here on `${_RANDOM}` gives the numbers of this seed."""
        self._random.seed(text)

    def expand(self, line: Line, *, only_first: bool = False) -> tuple[Line, tuple[Line, ...]]:
        """The line with its names, or the first of them, replaced, and the lines that follow when one stands for several.

        Raises GivenUp.
        """
        if "$" not in line.text:
            return line, ()
        return self._expand(line, "", (), [MAX_EXPANDED_CHARACTERS], only_first=only_first)

    def _expand(
        self, line: Line, rest: str, names: tuple[str, ...], budget: list[int], *, only_first: bool = False
    ) -> tuple[Line, tuple[Line, ...]]:
        """`rest` tells what follows where the line is put in: its first character, and one more unless the others are blank.

        Raises _Endless when called with `names`, and GivenUp.
        """
        text = line.text
        last = len(text.rstrip())
        segments: list[Segment] = []
        parts: list[str] = []
        following: tuple[Line, ...] = ()
        length = taken = 0
        for match in _REFERENCE.finditer(text):
            after = text[match.end() : match.end() + 1] or rest[:1]
            if match[2] and after not in {"", " ", "\t", ",", ")"}:
                continue
            behind = after + ("x" if match.end() < last or rest.strip() else "")
            try:
                value, following = self._value(line, match, behind, names, budget)
            except _Endless as trouble:
                if names:
                    raise
                self._problems.add(Code.DEFINITION, line.at(*match.span()), str(trouble))
                value = f"${match[1] or match[2] or match[3]}"
            new = value if isinstance(value, str) else value.text
            if match.start() > taken:
                segments.append(Segment(length, length + match.start() - taken, taken, match.start(), None, True))
                parts.append(text[taken : match.start()])
                length += match.start() - taken
            inner = None if isinstance(value, str) else value
            segments.append(Segment(length, length + len(new), match.start(), match.end(), inner, False))
            parts.append(new)
            length += len(new)
            taken = match.end()
            budget[0] -= len(new) + 1
            self._weigh(len(new), line, match)
            if budget[0] < 0 and names:
                raise _Endless(f'"${names[0]}" grows beyond {MAX_EXPANDED_CHARACTERS} characters')
            if budget[0] < 0:
                message = f"this line grows beyond {MAX_EXPANDED_CHARACTERS} characters"
                self._problems.add(Code.DEFINITION, line.at(*match.span()), message)
                break
            if only_first:
                break
        if not segments:
            return line, ()
        segments.append(Segment(length, length + len(text) - taken, taken, len(text), None, True))
        parts.append(text[taken:])
        return Expanded(line, "".join(parts), segments), following

    def _weigh(self, characters: int, line: Line, match: re.Match[str]) -> None:
        """Count a name that was replaced. Raises GivenUp when they are too many."""
        self._replaced += 1
        self._replaced_characters += characters
        if self._replaced > MAX_REPLACED_NAMES or self._replaced_characters > MAX_REPLACED_CHARACTERS:
            message = f"more than {MAX_REPLACED_NAMES} names, or {MAX_REPLACED_CHARACTERS} characters, are put in"
            self._problems.give_up(Code.TOO_MUCH_TEXT, line.at(*match.span()), message)

    def _value(
        self, line: Line, match: re.Match[str], behind: str, names: tuple[str, ...], budget: list[int]
    ) -> tuple[Line | str, tuple[Line, ...]]:
        """What a reference stands for; a name that nobody defined stays as typed, but without braces. Raises _Endless, GivenUp."""
        name = match[1] or match[2] or match[3]
        start, end = match.span()
        value = None if match[3] else self._values.get(name)
        if value is None:
            return self._built_in(name, match[4] or "", line.at(start, end), match), ()
        if name in names:
            chain = " → ".join(f"${name}" for name in (*names, name))
            raise _Endless(f'"${names[0]}" refers to itself: {chain}')
        if len(names) >= MAX_NESTED_NAMES:
            raise _Endless(f'"${names[0]}" is nested more than {MAX_NESTED_NAMES} names deep')
        if len(value) > 1 and behind.strip():
            message = f'"${name}" has several lines, so nothing may follow it in its line'
            self._problems.add(Code.DEFINITION, line.at(start, end), message)
            return f"${name}", ()
        first = value[0]
        if isinstance(first, str):
            return first, ()
        inner, following = self._expand(first, behind, (*names, name), budget)
        if len(value) > 1:
            following = tuple(Used(each, line, start, end) for each in value[1:] if isinstance(each, Line))
        else:
            following = tuple(Used(each, line, start, end) for each in following)
        return Used(inner, line, start, end), following

    def _built_in(self, name: str, arguments: str, place: Place, match: re.Match[str]) -> str:
        """What a name stands for that keepalived defines itself."""
        if name == "_PWD":
            return self.directory
        if name == "_INSTANCE":
            return self._config_id
        if name == "_HASH":
            return "#"
        if name == "_BANG":
            return "!"
        if name == "_RANDOM":
            return self._random_number(arguments.split(), place)
        if name == "_ENV":
            return self._environment(arguments.strip(), place)
        near = self._problems.suggest(name, (*self._values, *BUILT_IN))
        hint = f'did you mean "${near}"?' if near else "a name must be defined above the line that uses it"
        if match[1]:
            self._problems.add(Code.DEFINITION, place, f'"{match[0]}" is not defined', hint)
        else:
            self._problems.add(Code.UNDEFINED, place, f'"{match[0]}" is not defined and stays as typed', hint)
        return f"${name}"

    def _random_number(self, words: list[str], place: Place) -> str:
        """`${_RANDOM [MIN [MAX]]}`: both ends included."""
        fits = len(words) <= 2 and all(re.fullmatch(r"[0-9]{1,9}", word, re.ASCII) for word in words)
        low, high = [*(int(word) for word in words if fits), *(0, RANDOM_MAX)[len(words) if fits else 0 :]]
        if not fits or low > high:
            message = "_RANDOM takes the least and the greatest number, such as ${_RANDOM 1 5}"
            self._problems.add(Code.DEFINITION, place, message, f"without them: 0 to {RANDOM_MAX}")
            return str(RANDOM_MAX)
        return str(self._random.randint(low, high))

    def _environment(self, name: str, place: Place) -> str:
        value = os.environ.get(name)
        if value is None or not value.isprintable():
            what = f'the environment variable "{name}" is not set' if name else "_ENV needs the name of a variable"
            self._problems.add(Code.DEFINITION, place, what, "such as ${_ENV HOME}" if not name else "")
            return ""
        return value
