"""Configuration files as they lie on disk: how they are read, and what leads a word back to its column in one.

Reads regular files and nothing else; never waits for a pipe, never follows a device, never reads more than `MAX_FILE_BYTES`.
Sources: keepalived.md, sections 1.1 and 1.8.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import Protocol

from supervisor.config.lexer import BLANKS, Token, scan
from supervisor.config.problems import Place, Position

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Largest configuration file; 5 MB hold 660 virtual servers with 20 real servers each (observability.md, section 5.3)."""

MAX_TEXT_BYTES = 64 * 1024 * 1024
"""Most text of one configuration: of all its files, and as much again that definitions and repetitions make of it."""

MAX_LINE_CHARACTERS = 65_536
"""Longest line of a file. Ours: keepalived drops what is longer than 1,024 bytes (keepalived.md, section 1.1)."""

MAX_SCANNED = 8
"""Lines of a file whose columns are remembered: a message may speak of two lines in turn, each with many problems."""

MAX_PATTERN_CHARACTERS = 4_096
"""Longest pattern of an include: PATH_MAX of linux/limits.h."""

MAX_PATTERN_ALTERNATIVES = 256
"""Patterns that the braces of one `include` may stand for."""


class Origin(Protocol):
    """Where statements come from: turns a line number and a token index into a place."""

    def place(self, number: int, first: int, last: int) -> Place:
        """The columns from token `first` to token `last` (both included) of line `number`."""


class Source:
    """One file that was read, as its lines; what positions are made from."""

    __slots__ = ("_scanned", "included_from", "lines", "name", "order")

    def __init__(
        self, name: str, lines: list[str], included_from: tuple[Position, ...] = (), order: tuple[int, ...] = ()
    ) -> None:
        self.name = name
        self.lines = lines
        self.included_from = included_from
        self.order = order
        self._scanned: dict[int, list[Token]] = {}  # the last lines that were asked for: one may hold many problems

    def at(self, number: int, start: int, end: int) -> Place:
        """The columns `start` to `end` (from 0, end excluded) of line `number` (from 1)."""
        text = self.lines[number - 1]
        return Place(self.name, number, start + 1, max(1, end - start), text, self.included_from, self.order)

    def place(self, number: int, first: int, last: int) -> Place:
        """The columns from token `first` to token `last` of line `number`."""
        tokens = self._scanned.get(number)
        if tokens is None:
            if len(self._scanned) >= MAX_SCANNED:
                del self._scanned[next(iter(self._scanned))]
            tokens = self._scanned[number] = scan(self.lines[number - 1])[0]
        return self.at(number, tokens[first].start, tokens[last].end)

    def whole(self, number: int) -> Place:
        """Line `number` without the blanks around it."""
        text = self.lines[number - 1]
        start = len(text) - len(text.lstrip(BLANKS))
        return self.at(number, start, max(start, len(text.rstrip(BLANKS))))


class NotRegularError(OSError):
    """A pipe, a socket or a device where a file was expected."""


def decode(data: bytes) -> str:
    """The text; what is not UTF-8 becomes U+FFFD, which is harmless in a comment and complained of elsewhere."""
    text = data.decode("utf-8", "replace")
    return text.replace("\r\n", "\n") if "\r" in text else text


def lines_of(text: str) -> list[str]:
    """The lines of a text; equal ones are one object, for most lines of a large file are like others."""
    known: dict[str, str] = {}
    return [known.setdefault(line, line) for line in text.split("\n")]


def read(path: str) -> tuple[bytes, int]:
    """A file's bytes and mode; no bytes for what is not a regular file. Never waits for a pipe. Raises OSError, ValueError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor, not a path
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(status.st_mode):
            raise NotRegularError(errno.EINVAL, "it is not a regular file", path)
        data = file.read(MAX_FILE_BYTES + 1) or b""
    if len(data) > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, f"larger than {MAX_FILE_BYTES // 1024 // 1024} MiB", path)
    return data, status.st_mode


def why_unreadable(path: str, trouble: OSError | ValueError) -> tuple[str, str]:
    """A sentence with the path in it, and the remedy."""
    match trouble:
        case FileNotFoundError():
            return f'there is no file "{path}"', "give the path of the configuration file, for example with -f FILE"
        case IsADirectoryError():
            return f'"{path}" is a directory', "name one file in it; other files can be drawn in with include"
        case PermissionError():
            return f'no permission to read "{path}"', f"let this user read it: ls -l {path}"
        case OSError():
            return f'"{path}" cannot be read: {trouble.strerror}', "a configuration must be a readable regular file"
        case _:
            return f'"{path}" cannot be the name of a file: {trouble}', "give another path"


def alternatives(pattern: str) -> list[str] | None:
    """The patterns that the braces of `a{b,c}d` stand for, or None when it is too long or they are too many. Braces may be nested."""
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        return None
    done: list[str] = []
    waiting = [pattern]
    while waiting:
        if len(done) + len(waiting) > MAX_PATTERN_ALTERNATIVES:
            return None
        current = waiting.pop()
        match = re.search(r"\{([^{},]*,[^{}]*)\}", current)
        if match is None:
            done.append(current)
            continue
        before, after = current[: match.start()], current[match.end() :]
        waiting.extend(before + choice + after for choice in reversed(match[1].split(",")))
    return done
