"""One line that did not come from a file as it stands: its text, and what leads each column of it back to what the operator wrote.

A line is *written* (it stands in a file), a *part* of another one, *expanded* (names in it were replaced), *used* (it is the value of a
name that stands somewhere else) or *repeated* (by `~SEQ` or `~LST`). They wrap each other; `at` goes down through all of them to a
place in a file and gathers on the way how the text got from there to here. Nothing is worked out before somebody asks.
Sources: keepalived.md, sections 1.5 and 1.6.
"""

from __future__ import annotations

import abc
import bisect
from typing import NamedTuple

from supervisor.config.files import Source
from supervisor.config.lexer import Token, scan
from supervisor.config.problems import Place, Use


class Line(abc.ABC):
    """A line of text whose columns count from 0. An `Origin` of statements, too."""

    __slots__ = ("_tokens", "steps", "text")

    def __init__(self, text: str, steps: int = 1) -> None:
        """`steps`: how many lines `at` may have to go through."""
        self.text = text
        self.steps = steps
        self._tokens: list[Token] | None = None

    @abc.abstractmethod
    def at(self, start: int, end: int) -> Place:
        """What the operator wrote that made the columns `start` to `end` (end excluded)."""

    def place(self, number: int, first: int, last: int) -> Place:
        """The tokens `first` to `last`; a line knows its number itself."""
        del number
        tokens = self._tokens
        if tokens is None:
            tokens = self._tokens = scan(self.text)[0]
        return self.at(tokens[first].start, tokens[last].end)


class Written(Line):
    """A line of a file, as it stands there."""

    __slots__ = ("_number", "_source")

    def __init__(self, source: Source, number: int, text: str) -> None:
        super().__init__(text)
        self._source = source
        self._number = number

    def at(self, start: int, end: int) -> Place:
        """The very columns."""
        return self._source.at(self._number, start, end)


class Settled(Line):
    """A line whose way back is known already: all its columns came from one place."""

    __slots__ = ("_place",)

    def __init__(self, text: str, place: Place) -> None:
        super().__init__(text)
        self._place = place

    def at(self, start: int, end: int) -> Place:
        """That place."""
        del start, end
        return self._place


class Part(Line):
    """The columns of another line from `start` on, as far as `text` goes."""

    __slots__ = ("_line", "_start")

    def __init__(self, line: Line, start: int, text: str) -> None:
        super().__init__(text, line.steps + 1)
        self._line = line
        self._start = start

    def at(self, start: int, end: int) -> Place:
        """The same columns of the whole line."""
        return self._line.at(self._start + start, self._start + end)


class Segment(NamedTuple):
    """Some columns of an expanded line, and the columns of the line before that they stand for.

    `value` is the line that was put in, where it has a place of its own; `as_written` tells that the columns are the same text.
    """

    start: int
    end: int
    before_start: int
    before_end: int
    value: Line | None
    as_written: bool


class Expanded(Line):
    """A line in which names were replaced by their values."""

    __slots__ = ("_line", "_segments")

    def __init__(self, line: Line, text: str, segments: list[Segment]) -> None:
        values = [segment.value.steps for segment in segments if segment.value is not None]
        super().__init__(text, max(line.steps, *values, 0) + 1)
        self._line = line
        self._segments = segments

    def at(self, start: int, end: int) -> Place:
        """Into the value, when all of it came out of one; else what was written instead of it."""
        last = max(start, end - 1)
        segment = self._segment(start)
        if segment.value is not None and last < segment.end:
            return segment.value.at(start - segment.start, end - segment.start)
        return self._line.at(self._before(start)[0], self._before(last)[1])

    def _segment(self, column: int) -> Segment:
        index = bisect.bisect_right(self._segments, column, key=lambda segment: segment.start) - 1
        return self._segments[index]

    def _before(self, column: int) -> tuple[int, int]:
        segment = self._segment(column)
        if column >= segment.end:  # behind the end of the line
            return segment.before_end, segment.before_end
        if not segment.as_written:
            return segment.before_start, segment.before_end
        start = segment.before_start + column - segment.start
        return start, start + 1


class Used(Line):
    """A line of a name's value, where the name stands in the columns `start` to `end` of `referrer`."""

    __slots__ = ("_end", "_line", "_referrer", "_start")

    def __init__(self, line: Line, referrer: Line, start: int, end: int) -> None:
        super().__init__(line.text, line.steps + referrer.steps + 1)
        self._line = line
        self._referrer = referrer
        self._start = start
        self._end = end

    def at(self, start: int, end: int) -> Place:
        """Where the value is written, expanded from where the name is."""
        place = self._line.at(start, end)
        there = self._referrer.at(self._start, self._end)
        use = Use(there.file, there.line)
        return place._replace(expanded_from=(*place.expanded_from, use, *there.expanded_from))


class Repeated(Line):
    """The rest of a line behind `~SEQ` or `~LST`, in the round that `values` tells of ("I=3")."""

    __slots__ = ("_line", "_values")

    def __init__(self, line: Line, values: str) -> None:
        super().__init__(line.text, line.steps + 1)
        self._line = line
        self._values = values

    def at(self, start: int, end: int) -> Place:
        """The same columns, with the values of this round."""
        place = self._line.at(start, end)
        return place._replace(expanded_from=(Use(place.file, place.line, self._values), *place.expanded_from))
