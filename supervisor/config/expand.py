"""Files into lines: follows `include`, replaces `$NAME`, repeats, leaves out, and never loses where a word came from.

`Reader.lines` yields the whole text in order, each line already cut into pieces by the lexer. A line that was written just so belongs
to its `Source`; one that was made out of others belongs to a `Line` of `lines`, which leads every column back to the text that the
operator wrote. The order in which a line is worked on is keepalived's: condition, repetition, names, and then again what those
made, include, words. Runs no commands. Sources: keepalived.md, sections 1.1 and 1.5 to 1.8.
"""

from __future__ import annotations

import hashlib
import pathlib
import re
from collections.abc import Iterator
from typing import TypeAlias

from supervisor.config import repetition
from supervisor.config.definitions import Definitions
from supervisor.config.files import MAX_TEXT_BYTES, Origin, Source
from supervisor.config.includes import STATEMENT, Files
from supervisor.config.lexer import BLANKS, Fault, Piece, code_of, pieces
from supervisor.config.lines import Line, Part, Repeated, Written
from supervisor.config.problems import Code, Problems

MAX_GENERATED_LINES = 250_000
"""Lines of one configuration that repetitions and definitions of several lines may make; a file of 200,000 lines is a large one."""

MAX_NESTED = 64
"""Repetitions and definitions of several lines inside each other."""

_SPECIAL = re.compile(r"[ \t\f\v]*(?:@|include|random_seed)|[^{}]*[{}].*(?:include_check|random_seed)", re.DOTALL)
_DEFINITION = re.compile(r"[ \t\f\v]*\$([A-Za-z_][A-Za-z0-9_]*)=[ \t]*(.*)", re.DOTALL)
_CONDITION = re.compile(r"[ \t\f\v]*@(\^?)([^ \t\f\v\r]*)[ \t\f\v]*(.*)", re.DOTALL)

Lines: TypeAlias = Iterator[tuple[Origin, int, tuple[Piece, ...]]]


class _Unfinished:
    """A definition of several lines whose end is still to come; one that a condition leaves out has no name."""

    def __init__(self, name: str, lines: list[Line]) -> None:
        self.name = name
        self.lines = lines


class Reader:
    """Reads one configuration with everything that it includes. Used once."""

    def __init__(self, problems: Problems, config_id: str = "") -> None:
        self._problems = problems
        self._config_id = config_id
        self._files = Files(problems)
        self._definitions = Definitions(problems, config_id, "")
        self._known: dict[str, tuple[Piece, ...]] = {}  # what a line without anything special means, by its text
        self._text: list[str] = []
        self._unfinished: _Unfinished | None = None
        self._generated = 0
        self._generated_characters = 0
        self._nested = 0

    @property
    def files(self) -> list[str]:
        """The names of all files that were read, in the order in which they were opened."""
        return self._files.names

    @property
    def expanded(self) -> list[str]:
        """The lines that were read, includes and names expanded."""
        return self._text

    def digest(self) -> str:
        """The first 12 hex digits of the SHA-256 of the text, includes and names expanded."""
        return hashlib.sha256("\n".join(self._text).encode("utf-8", "replace")).hexdigest()[:12]

    def lines(self, path: str) -> Lines:
        """Every line of the file and of what it includes, as (origin, line number, pieces); nothing when it cannot be read.

        Raises GivenUp.
        """
        self._definitions = Definitions(self._problems, self._config_id, path)
        source = self._files.main(path)
        return iter(()) if source is None else self._lines(source)

    def _lines(self, source: Source) -> Lines:
        known, keep = self._known, self._text.append
        outside = self._definitions.directory
        self._definitions.directory = str(pathlib.Path(source.name).absolute().parent)
        for number, text in enumerate(source.lines, 1):
            found = known.get(text)
            if self._unfinished is not None:
                self._continue(Written(source, number, code_of(text)), self._unfinished)
            elif found is not None:
                keep(text)
                yield source, number, found
            elif not _is_special(text):
                keep(text)
                found, fault = pieces(text)
                if fault is None and "\ufffd" not in text:
                    known[text] = found
                else:
                    self._complain_of_characters(Written(source, number, text), fault)
                yield source, number, found
            else:
                yield from self._read(source, number, Written(source, number, text), in_file=True)
        if self._unfinished is not None:
            self._finish(self._unfinished)
        self._definitions.directory = outside

    def _read(
        self, source: Source, number: int, line: Line, *, in_file: bool = False, conditional: bool = True
    ) -> Lines:
        """What a line with something special in it stands for. `in_file`: the next line of the file may continue it."""
        code = code_of(line.text)
        if conditional and (condition := _CONDITION.match(code)) is not None:
            kept = self._condition(line, condition, in_file=in_file)
            if kept is not None:
                yield from self._read(source, number, kept, in_file=in_file, conditional=False)
            return
        if (definition := _DEFINITION.match(code)) is not None:
            self._define(line, definition, in_file=in_file)
            return
        if (beginning := repetition.BEGINNING.match(code)) is not None:
            yield from self._repeat(source, number, line, beginning)
            return
        cut = line if code == line.text else Part(line, 0, code)
        if code.lstrip(BLANKS).startswith(
            "$"
        ):  # a name may stand for "@main" or "~SEQ(I, 3)", which comes before all others
            begun, following = self._definitions.expand(cut, only_first=True)
            if begun is not cut and _begins_anew(code_of(begun.text), conditional=conditional):
                for each in (begun, *following):
                    yield from self._generate(source, number, each, conditional=conditional)
                return
        expanded, following = self._definitions.expand(cut)
        if expanded is not cut:
            code = code_of(expanded.text)
            if _DEFINITION.match(code) is not None:
                yield from self._generate(source, number, expanded, conditional=conditional)
                code = ""
        if (include := STATEMENT.match(code)) is not None:
            yield from self._include(source, expanded, include)
        elif code:
            yield self._words(number, expanded if expanded.text != line.text else line, code)
        for each in following:
            yield from self._generate(source, number, each)

    def _words(self, number: int, line: Line, code: str) -> tuple[Origin, int, tuple[Piece, ...]]:
        """An ordinary line, after everything else was done to it. Raises GivenUp."""
        self._weigh(line)
        self._text.append(code)
        found, fault = pieces(line.text)
        if fault is not None or "\ufffd" in line.text:
            self._complain_of_characters(line, fault)
        elif not _is_special(line.text):
            self._known[line.text] = found
        for words, first in found:
            if words[0] == "include_check" and len(words[0]) > 1:
                place = line.place(number, first, first + len(words) - 1)
                self._files.check(words[1:], place)
            elif words[0] == "random_seed" and len(words) > 1:
                self._definitions.seed(words[1])
        return line, number, found

    def _generate(self, source: Source, number: int, line: Line, *, conditional: bool = True) -> Lines:
        """A line that was made out of another one, unless there are too many of them."""
        if self._generated >= MAX_GENERATED_LINES:
            return
        self._generated += 1
        self._weigh(line)
        if self._generated == MAX_GENERATED_LINES:
            message = f"repetitions and definitions make more than {MAX_GENERATED_LINES} lines"
            self._problems.add(Code.TOO_MUCH_TEXT, line.at(0, max(1, len(line.text))), message)
            return
        if self._nested >= MAX_NESTED:
            message = f"repetitions and definitions are nested more than {MAX_NESTED} deep"
            hint = "does a definition of several lines refer to itself?"
            self._problems.add(Code.TOO_MUCH_TEXT, line.at(0, max(1, len(line.text))), message, hint)
            self._generated = MAX_GENERATED_LINES  # what refers to itself twice would never come to an end
            return
        found = self._known.get(line.text)
        if found is not None:
            self._text.append(line.text)
            yield line, number, found
            return
        self._nested += 1
        yield from self._read(source, number, line, conditional=conditional)
        self._nested -= 1

    def _weigh(self, line: Line) -> None:
        """Count the characters of a line that was made. Raises GivenUp when they are too many."""
        self._generated_characters += len(line.text)
        if self._generated_characters > MAX_TEXT_BYTES:
            message = f"definitions and repetitions make more than {MAX_TEXT_BYTES // 1024 // 1024} Mi characters"
            self._problems.give_up(Code.TOO_MUCH_TEXT, line.at(0, max(1, len(line.text))), message)

    # Conditions

    def _condition(self, line: Line, condition: re.Match[str], *, in_file: bool) -> Line | None:
        """The rest of an `@id` line when it is for this configuration id, else None."""
        start = condition.start(2) - len(condition[1]) - 1
        if "$" in condition[2]:
            message = "names are not replaced in a condition; write the configuration id itself"
            self._problems.add(Code.CONDITION, line.at(start, condition.end(2)), message)
            return None
        if not condition[2]:
            message = "a condition needs the configuration id right after its @"
            self._problems.add(Code.CONDITION, line.at(start, condition.end(2)), message, "such as @main or @^main")
            return None
        rest = condition[3]
        if not rest:
            message = "this condition has no effect: it holds for the rest of its own line, and there is none"
            self._problems.add(Code.NO_EFFECT, line.at(start, condition.end(2)), message)
            return None
        if (condition[2] == self._config_id) is not bool(condition[1]):
            return Part(line, condition.start(3), rest)
        if in_file and rest.endswith("\\") and _DEFINITION.match(rest) is not None:
            self._unfinished = _Unfinished("", [])
        return None

    # Names

    def _define(self, line: Line, definition: re.Match[str], *, in_file: bool) -> None:
        name, value = definition[1], definition[2].rstrip(BLANKS)
        start = definition.start(2)
        self._text.append(f"${name}={value}")
        if not value.endswith("\\"):
            self._definitions.define(name, [Part(line, start, value)])
            return
        first = Part(line, start, value[:-1].rstrip(BLANKS))
        if in_file:
            self._unfinished = _Unfinished(name, [first])
            return
        message = f'a definition of several lines ("${name}") cannot come out of a definition or repetition'
        self._problems.add(Code.DEFINITION, line.at(definition.start(1) - 1, definition.end(1)), message)

    def _continue(self, line: Line, unfinished: _Unfinished) -> None:
        """One more line of a definition; blank lines and comments do not count, and the last one ends without a backslash."""
        code = line.text
        if not code:
            return
        goes_on = code.endswith("\\")
        text = code[:-1].rstrip(BLANKS) if goes_on else code
        if text.strip(BLANKS):
            unfinished.lines.append(Part(line, 0, text))
        if not goes_on:
            self._finish(unfinished)

    def _finish(self, unfinished: _Unfinished) -> None:
        if unfinished.name:
            self._definitions.define(unfinished.name, unfinished.lines)
        self._unfinished = None

    # Repetitions

    def _repeat(self, source: Source, number: int, line: Line, beginning: re.Match[str]) -> Lines:
        """The rest of a line, once for each round of its `~SEQ` or `~LST`."""
        text = code_of(line.text)
        kind, start = beginning[1], beginning.end()
        sign = beginning.start(1) - 1
        close = text.find(")", start)
        if close < 0:
            message = f"~{kind} needs a closing parenthesis in its line"
            self._problems.add(Code.REPETITION, line.at(sign, start), message)
            return
        inner, _ = self._definitions.expand(Part(line, start, text[start:close]))
        try:
            wanted = repetition.read(kind, inner)
        except repetition.BadRepetition as bad:
            self._problems.add(Code.REPETITION, inner.at(bad.start, bad.end), bad.message, bad.suggestion)
            return
        if wanted.length > MAX_GENERATED_LINES - self._generated:
            message = f"~{kind} asks for {wanted.length} lines; all repetitions together may make {MAX_GENERATED_LINES}"
            self._problems.add(Code.TOO_MUCH_TEXT, line.at(sign, close + 1), message)
            return
        values_number = wanted.length * len(wanted.names)
        if values_number > MAX_GENERATED_LINES:
            message = f"~{kind} gives {values_number} values to its names; at most {MAX_GENERATED_LINES} are possible"
            self._problems.add(Code.TOO_MUCH_TEXT, line.at(sign, close + 1), message)
            return
        body = Part(line, close + 1, text[close + 1 :])
        if not body.text.strip(BLANKS):
            message = f"~{kind} has no effect: it repeats the rest of its own line, and there is none"
            self._problems.add(Code.NO_EFFECT, line.at(sign, close + 1), message)
            return
        for values in wanted.rounds():
            told: list[str] = []
            for name, value in zip(wanted.names, values, strict=True):
                self._definitions.define(name, [value])
                told.append(f"{name}={value if isinstance(value, str) else value.text}")
            yield from self._generate(source, number, Repeated(body, ", ".join(told)))

    # Files

    def _include(self, source: Source, line: Line, include: re.Match[str]) -> Lines:
        """The lines of every file that an include names."""
        keyword, pattern = include[1], include[2]
        if not pattern:
            message = f'"{keyword}" needs the name of a file or a pattern'
            self._problems.add(Code.MISSING_VALUE, line.at(*include.span(1)), message)
            return
        for included in self._files.included(source, keyword, pattern, line.at(*include.span(2))):
            demands = self._files.demands
            yield from self._lines(included)
            self._files.demands = demands  # as it was before that file

    def _complain_of_characters(self, line: Line, fault: Fault | None) -> None:
        if fault is not None:
            hint = "braces and comments end single quotes; use double quotes" if fault.quote == "'" else ""
            place = line.at(fault.start, fault.start + 1)
            self._problems.add(Code.UNTERMINATED_QUOTE, place, f"this quote ({fault.quote}) is not closed", hint)
        column = code_of(line.text).find("\ufffd")
        if column >= 0:
            place = line.at(column, column + 1)
            self._problems.add(Code.NOT_UTF8, place, "this character is not UTF-8", "save the file as UTF-8")


def _is_special(text: str) -> bool:
    """Whether more has to be done to a line than to cut it into words."""
    return "$" in text or "~" in text or _SPECIAL.match(text) is not None


def _begins_anew(code: str, *, conditional: bool) -> bool:
    """Whether the value that a line begins with is a condition or a repetition."""
    return (conditional and _CONDITION.match(code) is not None) or repetition.BEGINNING.match(code) is not None
