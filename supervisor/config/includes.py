"""`include` and the files that it names: finds them, reads them, and says why one is left out.

Reads regular files and nothing else. Source: keepalived.md, section 1.8.
"""

from __future__ import annotations

import glob
import os
import pathlib
import re

from supervisor.config.files import (
    MAX_LINE_CHARACTERS,
    MAX_PATTERN_ALTERNATIVES,
    MAX_PATTERN_CHARACTERS,
    MAX_TEXT_BYTES,
    NotRegularError,
    Source,
    alternatives,
    decode,
    lines_of,
    read,
    why_unreadable,
)
from supervisor.config.problems import Code, Place, Position, Problems

MAX_INCLUDE_DEPTH = 16
MAX_FILES = 10_000
MAX_INCLUDES = 10_000
"""Include statements of one configuration: each looks through a directory."""

DEMANDS = ("read", "match", "wildcard_match", "brace_match")
"""What one may insist on: that files can be read, that a plain name, a pattern, each word between braces names one."""

INCLUDES = {
    "include": frozenset[str](),
    "includer": frozenset({"read"}),
    "includem": frozenset({"read", "match"}),
    "includew": frozenset({"read", "wildcard_match"}),
    "includeb": frozenset({"read", "brace_match"}),
    "includea": frozenset(DEMANDS),
}
"""The include keywords, and what each insists on beside `include_check`."""

STATEMENT = re.compile(r"[ \t\f\v]*(include[rmwba]?)(?:[ \t\f\v]+(.+))?$", re.DOTALL)
_WILDCARD = re.compile(r"[*?\[]")


class Files:
    """The files of one configuration, in the order in which they were opened."""

    def __init__(self, problems: Problems) -> None:
        self.names: list[str] = []
        self.demands: frozenset[str] = frozenset()  # include_check, as it holds for the file that is being read
        self._problems = problems
        self._opened = 0
        self._asked = 0
        self._bytes = 0
        self._real_paths: dict[str, str] = {}

    def check(self, words: tuple[str, ...], place: Place) -> None:
        """`include_check [+|-]NAME…`: what all includes of this file insist on from here. Without names, on everything."""
        demands = set(self.demands) if words and words[0][:1] in {"+", "-"} else set[str]()
        add = True
        for word in words:
            if word[:1] in {"+", "-"}:
                add = word[0] == "+"
            name = word.lstrip("+-").replace("readable", "read")
            if name not in DEMANDS:
                near = self._problems.suggest(name, DEMANDS)
                hint = f'did you mean "{near}"?' if near else f"one or more of: {' '.join(DEMANDS)}"
                self._problems.add(Code.NOT_A_CHOICE, place, f'unknown word "{word[:60]}" for include_check', hint)
            elif add:
                demands |= {name, "read"}
            else:
                demands.discard(name)
        self.demands = frozenset(demands) if words else frozenset(DEMANDS)

    def main(self, path: str) -> Source | None:
        """The file that the operator named; None, with a problem, when it cannot be read."""
        return self._open(path, None, (), ())

    def included(self, reading: Source, keyword: str, pattern: str, place: Place) -> list[Source]:
        """The files that an include in `reading` names; what is missing is a problem at `place`. Raises GivenUp."""
        self._asked += 1
        if self._asked > MAX_INCLUDES:
            self._problems.give_up(Code.TOO_MUCH_TEXT, place, f"more than {MAX_INCLUDES} includes")
        demands = self.demands | INCLUDES[keyword]
        chain = (Position(place.file, place.line), *place.included_from)
        found: list[Source] = []
        for path in self._matching(reading, place, pattern, demands):
            self._opened += 1
            source = self._open(path, place, chain, (*place.order, place.line, self._opened))
            if source is not None:
                found.append(source)
        return found

    def _matching(self, reading: Source, place: Place, pattern: str, demands: frozenset[str]) -> list[str]:
        """The paths that a pattern names, relative to the including file, in the order of the alphabet."""
        directory = pathlib.PurePath(glob.escape(str(pathlib.PurePath(reading.name).parent)))
        patterns = alternatives(pattern)
        if patterns is None:
            message = f"this pattern is longer than {MAX_PATTERN_CHARACTERS} characters"
            if len(pattern) <= MAX_PATTERN_CHARACTERS:
                message = f"the braces of this pattern stand for more than {MAX_PATTERN_ALTERNATIVES} names"
            self._problems.add(Code.INCLUDE, place, message)
            return []
        found: dict[str, None] = {}
        missing: list[str] = []
        for alternative in patterns:
            matching = glob.glob(str(directory / alternative))  # noqa: PTH207  Path.glob takes no absolute pattern
            found.update(dict.fromkeys(sorted(matching)))
            if not matching:
                missing.append(alternative)
        wildcard = _WILDCARD.search(pattern) is not None
        if not found:
            strict = ("wildcard_match" in demands) if wildcard else ("match" in demands)
            strict = strict or ("brace_match" in demands and len(patterns) > 1)
            code = Code.INCLUDE if strict else Code.NOTHING_INCLUDED
            parent = pathlib.PurePath(reading.name).parent
            hint = "quote marks are part of the name here" if '"' in pattern else f"looked for it in {parent}"
            self._problems.add(code, place, f'no file matches "{pattern}"', hint)
        elif missing and "brace_match" in demands:
            self._problems.add(Code.INCLUDE, place, f'no file matches "{missing[0]}", which "{pattern}" stands for')
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
        if len(self.names) >= MAX_FILES:
            self._problems.add_once(Code.INCLUDE, "files", where, f"more than {MAX_FILES} files are included")
            return None
        if place is not None and self._real(path) in {self._real(position.file) for position in chain}:
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
        self.names.append(path)
        self._bytes += len(data)
        if self._bytes > MAX_TEXT_BYTES:
            message = f"the files of this configuration are larger than {MAX_TEXT_BYTES // 1024 // 1024} MiB together"
            self._problems.give_up(Code.TOO_MUCH_TEXT, where, message)
        source = Source(path, lines_of(decode(data)), chain, order)
        self._check_characters(source, data)
        return source

    def _real(self, path: str) -> str:
        """The path without links; files that include each other are asked about again and again."""
        found = self._real_paths.get(path)
        if found is None:
            found = self._real_paths[path] = os.path.realpath(path)
        return found

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
        if max(map(len, lines)) > MAX_LINE_CHARACTERS:
            for number, text in enumerate(lines, 1):
                if len(text) > MAX_LINE_CHARACTERS:
                    message = f"this line is longer than {MAX_LINE_CHARACTERS} characters"
                    self._problems.add(Code.TOO_MUCH_TEXT, source.at(number, 0, 1), message)
                    lines[number - 1] = ""
