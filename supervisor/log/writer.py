"""The production sink: a bounded queue and one thread that alone may wait for the reader.

A stuck reader must never stall the caller: a wedged log shipper would otherwise stop health checking.
Sources: observability.md, section 3.2; sd-daemon(3) for the priority prefix; systemd.exec(5) for JOURNAL_STREAM.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from checkers.kit.frozen import frozen
from supervisor.log.entry import PRIORITIES

CAPACITY_BYTES = 8 << 20
"""What may wait for the reader: some 15,000 lines of 550 bytes."""

SHARES: Mapping[str, float] = {"debug": 1 / 2, "info": 3 / 4, "warning": 7 / 8}
"""How full the queue may be for a line of that level to be let in; edges and errors may fill it."""


def _under_journald(fd: int, environ: Mapping[str, str]) -> bool:
    """Whether `fd` is the stream that journald gave us (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


@frozen
class Lost:
    """What was not written since the last time that was told."""

    count: int
    warnings: int  # of them, warnings and errors
    since_s: float  # how long ago the first was lost


@dataclass(slots=True)
class _Tally:
    """Bytes in and out of the queue: one side of each is written by one thread only, so that no lock is needed."""

    put_bytes: int = 0
    taken_bytes: int = 0
    refused_lines: Counter[str] = field(default_factory=Counter)  # by level
    failed_lines: int = 0
    reported_lines: int = 0
    reported_warnings: int = 0
    first_lost_at: float | None = None


class LogWriter:
    """The production sink: a bounded queue and one daemon thread that alone may wait for the reader of `fd`.

    When the queue fills, debug lines are refused first, then info, then warnings (SHARES); what comes through `keep` (edges) and errors
    may fill all of `capacity_bytes`. When it has emptied again, `on_drained` is called once, in the thread, with what was lost since the
    last time.
    """

    def __init__(
        self,
        fd: int = 1,
        *,
        capacity_bytes: int | None = None,
        environ: Mapping[str, str] = os.environ,
        on_drained: Callable[[Lost], None] | None = None,
    ) -> None:
        self.on_drained = on_drained
        self._fd = fd
        self._capacity_bytes = CAPACITY_BYTES if capacity_bytes is None else capacity_bytes
        self._limits = {level: int(share * self._capacity_bytes) for level, share in SHARES.items()}
        self._prefixed = _under_journald(fd, environ)
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._tally = _Tally()
        self._thread = threading.Thread(target=self._write_all, name="log-writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines lost so far, because the queue was full or the reader is gone."""
        return self._tally.refused_lines.total() + self._tally.failed_lines

    def __call__(self, line: bytes, level: str) -> None:
        """Queue one line, or count it as lost. Never blocks, never raises."""
        self._put(line, level, self._limits.get(level, self._capacity_bytes))

    def keep(self, line: bytes, level: str) -> None:
        """Queue one line that is to be given up last, or count it as lost. Never blocks, never raises."""
        self._put(line, level, self._capacity_bytes)

    def _put(self, line: bytes, level: str, limit_bytes: int) -> None:
        tally = self._tally
        if tally.put_bytes - tally.taken_bytes + len(line) > limit_bytes:
            tally.refused_lines[level] += 1
            if tally.first_lost_at is None:
                tally.first_lost_at = time.monotonic()
            return
        if self._prefixed:
            line = b"<%d>%b" % (PRIORITIES[level], line)
        tally.put_bytes += len(line)
        self._queue.put(line)

    def close(self, timeout_s: float) -> bool:
        """Write what is queued, for at most `timeout_s` seconds. Returns whether all of it was written."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and self._tally.failed_lines == 0

    def _write_all(self) -> None:
        written = True
        while (line := self._queue.get()) is not None:
            written = self._take(line)
            if written and self._tally.put_bytes - self._tally.taken_bytes < self._capacity_bytes // 4:
                self._report()
        if written:
            self._report()  # the last word, if lines were lost, is how many
        with contextlib.suppress(queue.Empty):
            while (line := self._queue.get_nowait()) is not None:
                self._take(line)

    def _take(self, line: bytes) -> bool:
        """Write a line that was queued, or count it as lost."""
        written = self._write(line)
        if not written:
            self._tally.failed_lines += 1
        self._tally.taken_bytes += len(line)
        return written

    def _report(self) -> None:
        tally = self._tally
        lost = self.dropped - tally.reported_lines
        if not lost or self.on_drained is None:
            return
        warnings = tally.refused_lines["warning"] + tally.refused_lines["error"]
        since_s = 0.0 if tally.first_lost_at is None else time.monotonic() - tally.first_lost_at
        told = Lost(lost, warnings - tally.reported_warnings, since_s)
        tally.reported_lines += lost
        tally.reported_warnings, tally.first_lost_at = warnings, None
        self.on_drained(told)

    def _write(self, line: bytes) -> bool:
        """Write one whole line, however long it takes; False when nobody can ever read it."""
        rest = memoryview(line)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # somebody else made the shared stream non-blocking
                waiter = select.poll()
                waiter.register(self._fd, select.POLLOUT)
                waiter.poll()
            except OSError:
                return False
        return True
