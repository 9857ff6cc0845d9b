"""What was seen of one probe, step by step: bounded, printable, and without secrets. Pure: who records it brings the time.

A probe on request (`kit.beside`) writes it down, through a dialer that tells what passes (`kit.tap`), so no checker knows of it.
Data of one direction that follows on itself is one step, of which the beginning is shown. Every text is freed of what `kit.masking`
takes for a secret before it is cut, so that no half of one stays.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from checkers.kit.frozen import frozen
from checkers.kit.masking import SECRET_MAX_BYTES, Mask

STEPS_MAX = 64
"""Most steps of a transcript: a check of ten urls makes fifty."""

SHOWN_MAX_BYTES = 2_048
"""Most bytes of what was sent or received that a step shows: a head and the beginning of a body."""

STEP_MAX_BYTES = 12_288
"""Longest text of a step: SHOWN_MAX_BYTES as a hexadecimal dump takes less than six times as much."""

TRANSCRIPT_MAX_BYTES = 65_536
"""Most bytes that all steps take on the wire together; half of the longest message of a link."""

_STEP_OVERHEAD_BYTES = 16
_TEXT_BYTES = frozenset(b"\t\n\r" + bytes(range(0x20, 0x7F)))
_BINARY_SHARE = 0.1
_DUMP_WIDTH = 16


class StepKind(enum.IntEnum):
    """What a step is. The number is the wire form."""

    CONNECTING = 1  # where to, from where
    CONNECTED = 2
    SECURED = 3  # TLS stands
    SENT = 4
    RECEIVED = 5
    ENDED = 6  # the server ended the connection in an orderly way
    FAILED = 7
    ASKED = 8  # the supervisor was asked to run a script or to read a file
    ANSWERED = 9  # what came of that
    CLOSED = 10  # we closed the connection
    CUT = 11  # what followed was too much to be told


@frozen
class Step:
    """One step. `at_s` counts from the beginning of the probe; `size_bytes` is how much was sent or received, 0 where nothing was.

    `text` may have several lines, each of them printable.
    """

    kind: StepKind
    at_s: float
    text: str
    size_bytes: int = 0


@dataclass(slots=True)
class _Data:
    """Data of one direction, as it adds up."""

    kind: StepKind
    at_s: float
    head: bytearray
    size_bytes: int = 0

    def add(self, data: bytes) -> None:
        """Count all of it, keep as much as can be shown and as one secret at the edge may take."""
        self.head += data[: max(0, SHOWN_MAX_BYTES + SECRET_MAX_BYTES - len(self.head))]
        self.size_bytes += len(data)


class Transcript:
    """One probe's. `began` is the time of its beginning, in seconds on whatever clock the other methods are told of."""

    def __init__(self, began: float, mask: Mask) -> None:
        self._began = began
        self._mask = mask
        self._seen: list[Step | _Data] = []
        self._lost = 0

    def note(self, kind: StepKind, now: float, text: str) -> None:
        """Write down something that happened."""
        self._add(Step(kind, max(now - self._began, 0.0), text))

    def data(self, kind: StepKind, now: float, data: bytes, *, apart: bool = False) -> None:
        """Write down what was SENT or RECEIVED; `apart`: a message of its own, even where it follows one of the same direction."""
        last = self._seen[-1] if self._seen else None
        if apart or not isinstance(last, _Data) or last.kind is not kind:
            last = _Data(kind, max(now - self._began, 0.0), bytearray())
            if not self._add(last):
                return
        last.add(data)

    def steps(self) -> tuple[Step, ...]:
        """Return everything, as far as it may be told."""
        told: list[Step] = []
        room = TRANSCRIPT_MAX_BYTES - 2 * _STEP_OVERHEAD_BYTES - 100  # for the last word
        lost = self._lost
        for seen in self._seen:
            step = self._shown(seen)
            room -= _STEP_OVERHEAD_BYTES + len(step.text.encode())
            if room < 0 or lost > self._lost:
                lost += 1
            else:
                told.append(step)
        if lost:
            told.append(Step(StepKind.CUT, told[-1].at_s if told else 0.0, f"{lost} more steps are not shown"))
        return tuple(told)

    def _add(self, step: Step | _Data) -> bool:
        if len(self._seen) >= STEPS_MAX - 1:
            self._lost += 1
            return False
        self._seen.append(step)
        return True

    def _shown(self, seen: Step | _Data) -> Step:
        if isinstance(seen, Step):
            text = self._mask.text(seen.text)
            return Step(seen.kind, seen.at_s, printable(text.encode(errors="backslashreplace")[:SHOWN_MAX_BYTES]))
        data = self._mask.data(bytes(seen.head))
        shown = data[:SHOWN_MAX_BYTES]
        text = printable(shown) if _is_text(shown) else dump(shown)
        if seen.size_bytes > len(shown) and seen.size_bytes > SHOWN_MAX_BYTES:
            text += f"\n… of {seen.size_bytes} bytes"
        return Step(seen.kind, seen.at_s, text, min(seen.size_bytes, 0xFFFF_FFFF))


def _is_text(data: bytes) -> bool:
    """Tell whether people read it as text."""
    return sum(octet not in _TEXT_BYTES for octet in data) <= _BINARY_SHARE * len(data)


def printable(data: bytes) -> str:
    """Return text as printable lines: an end of line is one, other odd characters are escaped as Python does."""
    lines = data.decode(errors="backslashreplace").replace("\r\n", "\n").removesuffix("\n").split("\n")
    return "\n".join("".join(_shown_letters(line)) for line in lines)


def _shown_letters(line: str) -> Iterator[str]:
    for letter in line:
        yield letter if letter.isprintable() else "    " if letter == "\t" else ascii(letter)[1:-1]


def dump(data: bytes) -> str:
    """Return data that is no text as people read it: offset, hexadecimal, and what of it is ASCII."""
    lines = []
    for start in range(0, len(data), _DUMP_WIDTH):
        row = data[start : start + _DUMP_WIDTH]
        letters = "".join(chr(octet) if 0x20 <= octet < 0x7F else "." for octet in row)
        lines.append(f"{start:04x}  {row.hex(' '):<{3 * _DUMP_WIDTH - 1}}  |{letters}|")
    return "\n".join(lines)
