"""What a file with a number in it says about a real server: the rules of FILE_CHECK, for the checker and for the first reading.

The value is the whole number at the beginning of the first line; a missing or empty file and any other text are 0. With a factor,
value times factor is added to the real server's weight, and a product of -2147483648 or less takes it down; with factor 0 any value
but 0 does. Source: keepalived.md, section 3.6.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass

FACTOR_MAX = 254
VALUE_MAX = 2**31 - 1
FAULT = -(2**31)
"""A product as low as this means down; a greater number in a file than keepalived can hold is taken for the greatest."""

FILE_MAX_BYTES = 4096
"""As much of a file is read; only its first line counts."""

LINE_MAX_BYTES = 64
"""As much of that line is told: the number at its beginning is all that matters."""

_NUMBER = re.compile(r"\s*([+-]?[0-9]{1,20})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a line of the file means: whether the real server may be up, what is added to its weight (None: nothing), and why."""

    up: bool
    weight: int | None
    text: str


class UnreadableFile(Exception):
    """A file is there and cannot be read; the text says why."""


def meaning(line: str, factor: int) -> Meaning:
    """Return what the first line of the file means; `factor` is -254 to 254."""
    value = value_of(line)
    if factor == 0:
        return Meaning(value == 0, None, f"value {value}")
    added = value * factor
    if added <= FAULT:
        return Meaning(up=False, weight=None, text=f"value {value} times {factor} is as low as a fault")
    return Meaning(up=True, weight=added, text=f"value {value}, weight {added:+d}")


def value_of(line: str) -> int:
    """Return the whole number at the beginning of a line, 0 when there is none."""
    found = _NUMBER.match(line)
    return max(min(int(found[1]), VALUE_MAX), FAULT) if found else 0


def first_line(path: str) -> str:
    """Return the beginning of the first line of a file, "" when there is no such file. Raises UnreadableFile."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"{path} cannot be read: {_reason(error)}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UnreadableFile(f"{path} is no ordinary file")
        line = os.read(descriptor, FILE_MAX_BYTES).partition(b"\n")[0]
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {_reason(error)}") from error
    finally:
        os.close(descriptor)
    return line[:LINE_MAX_BYTES].decode(errors="replace")


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
