"""The rules by which journald takes a stream apart, as a pure function, and how it hands a line on to syslog.

Source: systemd 252, src/journal/journald-stream.c (lines, white space, LineMax) and src/basic/syslog-util.c (`<N>`); sd-daemon(3);
journald.conf(5), LineMax and ForwardToSyslog.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

LINE_MAX_BYTES = 48 << 10
"""A longer line is broken here."""

RATE_LIMIT_LINES, RATE_LIMIT_S = 10_000, 30
"""More lines of one service in that time are thrown away, on a disk that is nearly full; on others somewhat later."""

UNIT_PRIORITY = 6
"""Of a line that names none: SyslogLevel= of the unit, info."""

DAEMON = 3 << 3
"""SyslogFacility= of the unit."""

_PREFIX = re.compile(rb"<([0-7])>")
_BLANKS = b" \t\n\r"


@dataclass(frozen=True, slots=True)
class Record:
    """What journald stores of one line."""

    priority: int
    message: bytes


def records(stream: bytes) -> Iterator[Record]:
    """Yield what journald would store of a service's output."""
    for whole in re.split(rb"[\n\0]", stream):
        for start in range(0, max(len(whole), 1), LINE_MAX_BYTES):
            line = whole[start : start + LINE_MAX_BYTES]
            found = _PREFIX.match(line)
            priority = int(found[1]) if found else UNIT_PRIORITY
            message = line[found.end() if found else 0 :].strip(_BLANKS)
            if message:
                yield Record(priority, message)


def to_syslog(record: Record, identifier: str, pid: int) -> bytes:
    """Return the datagram that a syslog daemon gets."""
    return b"<%d>Nov 22 12:00:00 %b[%d]: %b" % (DAEMON | record.priority, identifier.encode(), pid, record.message)
