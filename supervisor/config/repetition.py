"""`~SEQ` and `~LST`: the rounds that a repetition asks for. Reads what stands between the parentheses; repeats nothing itself.

Sources: keepalived.md, section 1.6.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from supervisor.config.lines import Line, Part

BEGINNING = re.compile(r"[ \t\f\v]*~(SEQx?|LST)[ \t]*\(", re.ASCII)
"""How a line begins that is repeated."""

NUMBER_MAX = 2**63 - 1
"""What keepalived's counters hold."""

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_NUMBER = re.compile(r"(-?)(0[xX][0-9A-Fa-f]+|[0-9]+)", re.ASCII)
_BRACE = re.compile(r"[ \t]*\{")
_BLANKS = re.compile(r"[ \t]*")
_EXAMPLES = {
    "SEQ": "for example ~SEQ(I, 3) or ~SEQ(I, 10, 5, 30): name, start, step, end",
    "SEQx": "for example ~SEQx(I, 0x0a, 0x0f): name, start, end",
    "LST": "for example ~LST(V, a, b) or ~LST({A, B}, {a1, b1}, {a2, b2})",
}


class BadRepetition(Exception):
    """The columns `start` to `end` between the parentheses are wrong; the text is a sentence."""

    def __init__(self, start: int, end: int, message: str, suggestion: str) -> None:
        super().__init__(message)
        self.start = start
        self.end = end
        self.message = message
        self.suggestion = suggestion


class Repetition(NamedTuple):
    """The names of the variables, how many rounds there are, and the values of each round in the order of the names."""

    names: tuple[str, ...]
    length: int
    rounds: Callable[[], Iterator[tuple[Line | str, ...]]]


class _Field(NamedTuple):
    text: str
    start: int


def read(kind: str, inner: Line) -> Repetition:
    """What "SEQ", "SEQx" or "LST" with `inner` between its parentheses asks for. Raises BadRepetition."""
    return _list(inner) if kind == "LST" else _sequence(kind, inner)


def _fields(text: str, start: int = 0) -> list[_Field]:
    """What stands between the commas, without the blanks around it."""
    found: list[_Field] = []
    for part in text.split(","):
        found.append(_Field(part.strip(), start + len(part) - len(part.lstrip())))
        start += len(part) + 1
    return found


def _bad(field: _Field, message: str, kind: str) -> BadRepetition:
    return BadRepetition(field.start, field.start + max(1, len(field.text)), message, _EXAMPLES[kind])


def _name(field: _Field, kind: str) -> str:
    if _NAME.fullmatch(field.text) is None:
        raise _bad(field, f'"{field.text[:60]}" is no name for the variable of ~{kind}', kind)
    return field.text


def _number(field: _Field, kind: str) -> int:
    """A decimal number, 0x… or, as C has it, octal after a zero."""
    match = _NUMBER.fullmatch(field.text)
    digits = match[2].lower() if match else ""
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10
    if match is None or len(digits) > 24 or (base == 8 and not set("89").isdisjoint(digits)):
        raise _bad(field, f'"{field.text[:60]}" is no number for ~{kind}', kind)
    value = int(digits, base)
    if value > NUMBER_MAX:
        raise _bad(field, f"{field.text} is larger than {NUMBER_MAX}", kind)
    return -value if match[1] else value


def _sequence(kind: str, inner: Line) -> Repetition:
    fields = _fields(inner.text)
    if not 2 <= len(fields) <= 4:
        raise BadRepetition(
            0, max(1, len(inner.text)), f"~{kind} takes a name and one to three numbers", _EXAMPLES[kind]
        )
    name = _name(fields[0], kind)
    numbers = [_number(field, kind) for field in fields[1:]]
    end = numbers[-1]
    start = numbers[0] if len(numbers) > 1 else (-1 if end < 0 else 1)
    step = numbers[1] if len(numbers) > 2 else (1 if end >= start else -1)
    if step == 0 or (end > start and step < 0) or (end < start and step > 0):
        raise _bad(fields[2], f"from {start} in steps of {step} one never comes to {end}", kind)
    count = (end - start) // step + 1

    def rounds() -> Iterator[tuple[Line | str, ...]]:
        for value in range(start, start + count * step, step):
            yield (format(value % 2**64, "x") if kind == "SEQx" else str(value),)

    return Repetition((name,), count, rounds)


def _list(inner: Line) -> Repetition:
    fields = _tuples(inner.text)
    heads, *values = fields
    names = tuple(_name(field, "LST") for field in heads)
    if not values:
        raise BadRepetition(0, max(1, len(inner.text)), "~LST has a name and no value for it", _EXAMPLES["LST"])
    for each in values:
        if len(each) > len(names):
            message = f"{len(each)} values stand here for {len(names)} {'name' if len(names) == 1 else 'names'}"
            raise _bad(each[len(names)], message, "LST")
        for field in each:
            if re.search(r"[ \t\"'{}]", field.text):
                raise _bad(field, f'"{field.text[:60]}" is more than one word', "LST")

    def rounds() -> Iterator[tuple[Line | str, ...]]:
        for each in values:
            parts: list[Line | str] = [Part(inner, field.start, field.text) for field in each]
            yield (*parts, *[""] * (len(names) - len(each)))  # a value that is left out is empty

    return Repetition(names, len(values), rounds)


def _tuples(text: str) -> list[list[_Field]]:
    """The words between the commas; those in one pair of braces belong together."""
    found: list[list[_Field]] = []
    position = 0
    while True:
        brace = _BRACE.match(text, position)
        if brace is None:
            comma = text.find(",", position)
            end = len(text) if comma < 0 else comma
            found.append(_fields(text[position:end], position))
        else:
            close = text.find("}", brace.end())
            if close < 0:
                raise BadRepetition(brace.end() - 1, brace.end(), "this brace is not closed", _EXAMPLES["LST"])
            found.append(_fields(text[brace.end() : close], brace.end()))
            blanks = _BLANKS.match(text, close + 1)
            assert blanks is not None  # none will do
            end = blanks.end()
            if end < len(text) and text[end] != ",":
                raise BadRepetition(end, end + 1, "a comma must stand between two values", _EXAMPLES["LST"])
        if end >= len(text):
            return found
        position = end + 1
