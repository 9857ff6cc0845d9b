"""Files into lines: reads files, follows `include`, replaces `$NAME`, and never loses where a word came from.

`Reader.lines` yields the whole text in order, includes in place, each line already cut into pieces by the lexer. A line that was
written just so belongs to its `Source`; a line in which a name was replaced belongs to a `Rewritten`, which leads every column back
to the text that the operator wrote. Whatever else makes new lines out of old ones (repetition, conditions) fits in at `_rewrite`;
until it is there it is refused by name, because reading it as ordinary words would silently mean something else.
Reads regular files and nothing else: no network, no environment, no commands. Sources: keepalived.md, sections 1.1, 1.5 to 1.8.
"""

from __future__ import annotations

import glob
import hashlib
import pathlib
import re
from collections.abc import Iterator
from typing import TypeAlias

from supervisor.config.files import (
    MAX_PATTERN_ALTERNATIVES,
    NotRegularError,
    Origin,
    Rewritten,
    Segment,
    Source,
    alternatives,
    decode,
    read,
    why_unreadable,
)
from supervisor.config.lexer import BLANKS, Fault, Piece, code_of, pieces
from supervisor.config.problems import Code, Place, Position, Problems

MAX_INCLUDE_DEPTH = 16
MAX_FILES = 10_000
MAX_EXPANDED_CHARACTERS = 65_536
"""Longest line after `$NAME` was replaced: definitions that double each other stop here."""

INCLUDES = {
    "include": frozenset[str](),
    "includer": frozenset({"read"}),
    "includem": frozenset({"match"}),
    "includew": frozenset({"wildcard"}),
    "includeb": frozenset({"brace"}),
    "includea": frozenset({"read", "match", "wildcard", "brace"}),
}
"""The include keywords, and what each insists on (keepalived.md, section 1.8)."""

BUILT_IN = frozenset({"_PWD", "_INSTANCE", "_RANDOM", "_ENV", "_HASH", "_BANG"})

_SPECIAL = re.compile(r"[$~]|^[ \t\f\v]*(?:@|include)")
_DEFINITION = re.compile(r"[ \t\f\v]*\$([A-Za-z_][A-Za-z0-9_]*)=[ \t]*(.*)", re.DOTALL)
_REFERENCE = re.compile(
    r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*)(?=[ \t,)]|$)|\{(_RANDOM|_ENV)[ \t][^}]*\})"
)
_REPETITION = re.compile(r"~(?:SEQx?|LST)\b")
_INCLUDE = re.compile(r"[ \t\f\v]*(include[rmwba]?)(?:[ \t\f\v]+(.+))?$", re.DOTALL)
_WILDCARD = re.compile(r"[*?\[]")


Lines: TypeAlias = Iterator[tuple[Origin, int, tuple[Piece, ...]]]


class Reader:
    """Reads one configuration with everything that it includes. Used once."""

    def __init__(self, problems: Problems) -> None:
        self.files: list[str] = []
        self._problems = problems
        self._definitions: dict[str, str] = {}
        self._known: dict[str, tuple[Piece, ...]] = {}  # what a line without anything special means, by its text
        self._text: list[str] = []

    def digest(self) -> str:
        """The first 12 hex digits of the SHA-256 of the text, includes and names expanded."""
        return hashlib.sha256("\n".join(self._text).encode("utf-8", "replace")).hexdigest()[:12]

    def lines(self, path: str) -> Lines:
        """Every line of the file and of what it includes, as (origin, line number, pieces); nothing when it cannot be read."""
        source = self._open(path, None, (), ())
        if source is not None:
            yield from self._lines(source)

    def _lines(self, source: Source) -> Lines:
        known, keep = self._known, self._text.append
        continues = False
        for number, text in enumerate(source.lines, 1):
            found = known.get(text)
            if found is not None and not continues:
                keep(text)
                yield source, number, found
            elif continues:
                continues = text.rstrip(BLANKS).endswith("\\")
            elif _SPECIAL.search(text) is None:
                keep(text)
                found, fault = pieces(text)
                if fault is None and "\ufffd" not in text:
                    known[text] = found
                else:
                    self._complain_of_characters(source, number, text, fault)
                yield source, number, found
            elif (definition := _DEFINITION.match(code_of(text))) is not None:
                continues = self._define(source, number, definition)
            else:
                yield from self._rewrite(source, number, text)

    def _rewrite(self, source: Source, number: int, text: str) -> Lines:
        """A line with `$`, `~`, `@` or `include` in it: the lines that it stands for."""
        code = code_of(text)
        origin: Source | Rewritten = source
        if _REPETITION.search(code) is None:
            new, segments = self._replace(source, number, code)
            if new != code:
                origin, text = Rewritten(source, new, segments), new
                code = code_of(new)
        if (repetition := _REPETITION.search(code)) is not None:
            self._not_handled(origin.at(number, *repetition.span()), f'"{repetition[0]}"')
            return
        if code.lstrip(BLANKS).startswith("@"):
            column = code.index("@")
            self._not_handled(origin.at(number, column, column + 1), 'a conditional line ("@")')
            return
        include = _INCLUDE.match(code)
        if include is not None:
            yield from self._include(source, origin, number, include)
            return
        self._text.append(code)
        found, fault = pieces(text)
        if fault is not None or "\ufffd" in text:
            place = None if fault is None else origin.at(number, fault.start, fault.start + 1)
            self._complain_of_characters(source, number, text, fault, place)
        yield origin, number, found

    def _not_handled(self, place: Place, what: str, hint: str = "write the lines out one by one") -> None:
        self._problems.add(Code.LANGUAGE_NOT_HANDLED, place, f"{what} is not handled by this version", hint)

    # Names

    def _define(self, source: Source, number: int, definition: re.Match[str]) -> bool:
        """Remember a definition; True when it goes on in the next line (which is refused)."""
        name, value = definition[1], definition[2].rstrip(BLANKS)
        if value.endswith("\\"):
            place = source.at(number, definition.start(1) - 1, definition.end(1))
            self._not_handled(place, f'a definition of several lines ("${name}")', "write it in one line")
            value = ""
            self._definitions[name] = value
            return True
        self._text.append(f"${name}={value}")
        self._definitions[name] = value
        return False

    def _replace(self, source: Source, number: int, code: str) -> tuple[str, list[Segment]]:
        """The line with every name replaced by its value, and where each part of it came from."""
        parts: list[str] = []
        segments: list[Segment] = []
        length = taken = 0
        for match in _REFERENCE.finditer(code):
            value = self._value(source, number, match)
            if taken < match.start():
                between = match.start() - taken
                segments.append((length, length + between, taken, match.start(), False))
                parts.append(code[taken : match.start()])
                length += between
            segments.append((length, length + len(value), match.start(), match.end(), True))
            parts.append(value)
            length += len(value)
            taken = match.end()
        segments.append((length, length + len(code) - taken + 1, taken, len(code), False))
        parts.append(code[taken:])
        return "".join(parts), segments

    def _value(self, source: Source, number: int, match: re.Match[str]) -> str:
        """What a reference in a file's text stands for; a name that nobody defined stays as typed, but without braces."""
        name = match[1] or match[2] or match[3]
        place = source.at(number, *match.span())
        value = self._definitions.get(name)
        if value is None:
            self._undefined(name, place, match)
            return f"${name}"
        budget = [MAX_EXPANDED_CHARACTERS]
        try:
            return self._expanded(value, (name,), budget)
        except RecursionError as trouble:
            self._problems.add(Code.DEFINITION, place, str(trouble))
            return f"${name}"

    def _undefined(self, name: str, place: Place, match: re.Match[str]) -> None:
        if name in BUILT_IN:
            self._not_handled(place, f'the built-in definition "{name}"', "write the value itself")
            return
        near = self._problems.suggest(name, self._definitions)
        hint = f'did you mean "${near}"?' if near else "a name must be defined above the line that uses it"
        if match[1]:
            self._problems.add(Code.DEFINITION, place, f'"{match[0]}" is not defined', hint)
        else:
            self._problems.add(Code.UNDEFINED, place, f'"{match[0]}" is not defined and stays as typed', hint)

    def _expanded(self, value: str, names: tuple[str, ...], budget: list[int]) -> str:
        """`value` with the names in it replaced, as they are defined now. Raises RecursionError with a sentence."""

        def inner(match: re.Match[str]) -> str:
            name = match[1] or match[2] or match[3]
            if name in names:
                chain = " → ".join(f"${name}" for name in (*names, name))
                raise RecursionError(f'"${names[0]}" refers to itself: {chain}')
            nested = self._definitions.get(name)
            return match[0] if nested is None else self._expanded(nested, (*names, name), budget)

        if len(names) > 64:
            raise RecursionError(f'"${names[0]}" is nested more than 64 names deep')
        text = _REFERENCE.sub(inner, value)
        budget[0] -= len(text) + 1
        if budget[0] < 0:
            raise RecursionError(f'"${names[0]}" grows beyond {MAX_EXPANDED_CHARACTERS} characters')
        return text

    # Files

    def _include(self, source: Source, origin: Source | Rewritten, number: int, include: re.Match[str]) -> Lines:
        """The lines of every file that an include names."""
        keyword, pattern = include[1], include[2]
        if not pattern:
            place = origin.at(number, *include.span(1))
            self._problems.add(Code.MISSING_VALUE, place, f'"{keyword}" needs the name of a file or a pattern')
            return
        place = origin.at(number, *include.span(2))
        paths = self._matching(source, place, pattern)
        if not paths:
            demands = INCLUDES[keyword]
            strict = "match" in demands
            strict = strict or ("wildcard" in demands and _WILDCARD.search(pattern) is not None)
            strict = strict or ("brace" in demands and "{" in pattern)
            code = Code.INCLUDE if strict else Code.NOTHING_INCLUDED
            directory = pathlib.PurePath(source.name).parent
            hint = "quote marks are part of the name here" if '"' in pattern else f"looked for it in {directory}"
            self._problems.add(code, place, f'no file matches "{pattern}"', hint)
        chain = (Position(source.name, number), *source.included_from)
        for index, path in enumerate(paths):
            included = self._open(path, place, chain, (*source.order, number, index))
            if included is not None:
                yield from self._lines(included)

    def _matching(self, source: Source, place: Place, pattern: str) -> list[str]:
        """The paths that a pattern names, relative to the including file, in the order of the alphabet."""
        directory = pathlib.PurePath(glob.escape(str(pathlib.PurePath(source.name).parent)))
        patterns = alternatives(pattern)
        if patterns is None:
            limit = MAX_PATTERN_ALTERNATIVES
            self._problems.add(Code.INCLUDE, place, f"the braces of this pattern stand for more than {limit} names")
            return []
        found: dict[str, None] = {}
        for alternative in patterns:
            matching = glob.glob(str(directory / alternative))  # noqa: PTH207  Path.glob takes no absolute pattern
            found.update(dict.fromkeys(sorted(matching)))
        return list(found)

    def _open(
        self, path: str, place: Place | None, chain: tuple[Position, ...], order: tuple[int, ...]
    ) -> Source | None:
        """Read one file; what hinders it is a problem at `place` (an include line), or of the file itself."""
        where = Place(path, 0, 0, 0, "", (), order) if place is None else place
        if len(chain) > MAX_INCLUDE_DEPTH:
            hint = "does a file include itself?"
            self._problems.add(Code.INCLUDE, where, f"includes are nested more than {MAX_INCLUDE_DEPTH} deep", hint)
            return None
        if len(self.files) >= MAX_FILES:
            self._problems.add_once(Code.INCLUDE, "files", where, f"more than {MAX_FILES} files are included")
            return None
        if any(position.file == path for position in chain):
            self._problems.add(Code.INCLUDE, where, f'"{path}" includes itself')
            return None
        try:
            data, mode = read(path)
        except (IsADirectoryError, NotRegularError) as trouble:
            if place is not None:
                message = f'"{path}" is not a regular file and is not included'
                self._problems.add(Code.NOTHING_INCLUDED, place, message)
                return None
            self._problems.add(Code.UNREADABLE, where, *why_unreadable(path, trouble))
            return None
        except (OSError, ValueError) as trouble:
            self._problems.add(Code.UNREADABLE, where, *why_unreadable(path, trouble))
            return None
        if place is not None and mode & 0o111:
            message = f'"{path}" is executable and is not included'
            self._problems.add(Code.NOTHING_INCLUDED, place, message, f"chmod -x {path}")
            return None
        self.files.append(path)
        source = Source(path, decode(data).split("\n"), chain, order)
        self._check_characters(source, data)
        return source

    def _check_characters(self, source: Source, data: bytes) -> None:
        """Complain of what no text file should have, and take it out."""
        lines = source.lines
        if data.startswith(b"\xef\xbb\xbf"):
            message = "the file starts with a byte-order mark"
            self._problems.add(Code.BYTE_ORDER_MARK, source.at(1, 0, 1), message, "save it as UTF-8 without one")
            lines[0] = lines[0][1:]
        if b"\0" in data:
            for number, text in enumerate(lines, 1):
                if "\0" in text:
                    start = text.index("\0")
                    self._problems.add(Code.NUL, source.at(number, start, start + 1), "a NUL character stands here")
                    lines[number - 1] = text.replace("\0", " ")

    def _complain_of_characters(
        self, source: Source, number: int, text: str, fault: Fault | None, place: Place | None = None
    ) -> None:
        if fault is not None:
            place = place or source.at(number, fault.start, fault.start + 1)
            hint = "braces and comments end single quotes; use double quotes" if fault.quote == "'" else ""
            self._problems.add(Code.UNTERMINATED_QUOTE, place, f"this quote ({fault.quote}) is not closed", hint)
        column = code_of(text).find("\ufffd")
        if column >= 0:
            place = source.whole(number) if text != source.lines[number - 1] else source.at(number, column, column + 1)
            self._problems.add(Code.NOT_UTF8, place, "this character is not UTF-8", "save the file as UTF-8")
