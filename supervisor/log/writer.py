"""The production sink: a bounded queue and one thread that alone may wait for the reader.

A stuck reader must never stall the caller: a wedged log shipper would otherwise stop health checking.
Sources: observability.md, section 3.2; sd-daemon(3) for the priority prefix; systemd.exec(5) for JOURNAL_STREAM.
"""

from __future__ import annotations

import os
import queue
import select
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from supervisor.log.catalogue import PRIORITIES


def _under_journald(fd: int, environ: Mapping[str, str]) -> bool:
    """Whether `fd` is the stream that journald gave us (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


@dataclass(slots=True)
class _Tally:
    """Bytes in and out of the queue: one side of each is written by one thread only, so that no lock is needed."""

    put_bytes: int = 0
    taken_bytes: int = 0
    refused_lines: int = 0
    failed_lines: int = 0
    reported_lines: int = 0


class LogWriter:
    """The production sink: a bounded queue and one daemon thread that alone may wait for the reader of `fd`.

    When the queue fills, debug lines are refused from half of `capacity_bytes` on, info lines from three quarters; the last
    quarter is kept for warnings and errors. When it has emptied again, `on_drained(count)` is called once, in the thread,
    with the number of lines lost since the last time.
    """

    def __init__(
        self,
        fd: int = 1,
        *,
        capacity_bytes: int = 8 << 20,
        environ: Mapping[str, str] = os.environ,
        on_drained: Callable[[int], None] | None = None,
    ) -> None:
        self.on_drained = on_drained
        self._fd = fd
        self._capacity_bytes = capacity_bytes
        self._limits = {"debug": capacity_bytes // 2, "info": capacity_bytes * 3 // 4}
        self._prefixed = _under_journald(fd, environ)
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._tally = _Tally()
        self._thread = threading.Thread(target=self._write_all, name="log-writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines lost so far, because the queue was full or the reader is gone."""
        return self._tally.refused_lines + self._tally.failed_lines

    def __call__(self, line: bytes, level: str) -> None:
        """Queue one line, or count it as lost. Never blocks, never raises."""
        tally = self._tally
        if tally.put_bytes - tally.taken_bytes + len(line) > self._limits.get(level, self._capacity_bytes):
            tally.refused_lines += 1
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
        while (line := self._queue.get()) is not None:
            written = self._write(line)
            self._tally.taken_bytes += len(line)
            if not written:
                self._tally.failed_lines += 1
            elif self._tally.put_bytes - self._tally.taken_bytes < self._capacity_bytes // 4:
                self._report()

    def _report(self) -> None:
        lost = self.dropped - self._tally.reported_lines
        if lost and self.on_drained is not None:
            self._tally.reported_lines += lost
            self.on_drained(lost)

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
