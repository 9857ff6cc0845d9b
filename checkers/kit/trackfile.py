"""What a file with a number in it says about a real server: the rules of FILE_CHECK, for the checker and for the first reading.

The value is the whole number that the file begins with, after any white space, written as in C: 0x10 is 16, 010 is 8. A missing or
empty file and any other text are 0; a number of more than 32 bits says nothing. With a factor, value times factor is added to the
real server's weight, and a product of -2147483648 or less takes it down; with factor 0 any value but 0 does.
Sources: keepalived.md, section 3.6, and keepalived 2.2.7 itself.
"""

from __future__ import annotations

import os
import re
import stat

from checkers.kit.frozen import frozen

FACTOR_MAX = 254
VALUE_MAX = 2**31 - 1
FAULT = -(2**31)
"""The least value, and a product as low as this means down."""

FILE_MAX_BYTES = 4096
"""As much of a file is read; only the line that its first word stands in counts."""

LINE_MAX_BYTES = 64
"""As much of that line is told: the number at its beginning is all that matters."""

_NUMBER = re.compile(r"\s*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)", re.ASCII)


@frozen
class Meaning:
    """What a line of the file means: whether the real server may be up, what is added to its weight (None: nothing), and why."""

    up: bool
    weight: int | None
    text: str


class UnreadableFile(Exception):
    """A file is there and cannot be read, or not be understood; the text says why."""


def meaning(line: str, factor: int) -> Meaning:
    """Return what the first line of the file means; `factor` is -254 to 254. Raises UnreadableFile."""
    value = value_of(line)
    if factor == 0:
        return Meaning(value == 0, None, f"value {value}")
    added = value * factor
    if added <= FAULT:
        return Meaning(up=False, weight=None, text=f"value {value} times {factor} is as low as a fault")
    return Meaning(up=True, weight=min(added, VALUE_MAX), text=f"value {value}, weight {added:+d}")


def value_of(line: str) -> int:
    """Return the whole number at the beginning of a line, 0 when there is none. Raises UnreadableFile when it does not fit 32 bits."""
    found = _NUMBER.match(line)
    if found is None:
        return 0
    digits = found[2].lower()
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10
    value = int(found[1] + digits, base)
    if not FAULT <= value <= VALUE_MAX:
        raise UnreadableFile(f"{found[0].strip()} is no number from {FAULT} to {VALUE_MAX}")
    return value


def first_line(path: str) -> str:
    """Return the beginning of the first line of a file that is not blank, "" when there is no such file. Raises UnreadableFile."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"{path} cannot be read: {_reason(error)}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UnreadableFile(f"{path} is no ordinary file")
        line = os.read(descriptor, FILE_MAX_BYTES).lstrip().partition(b"\n")[0]
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {_reason(error)}") from error
    finally:
        os.close(descriptor)
    return line[:LINE_MAX_BYTES].decode(errors="replace")


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
