"""The daemon with a stopwatch: `vipervisor run …` with each long stroke of its loop written down.

    python -m bench.strokes FILE run -f keepalived.conf …

A stroke is what a task does between two waits; nobody else has a turn meanwhile, so the longest is how late any decision can be. It is
measured in processor time, so a busy machine makes it no longer. FILE gets one line a stroke of at least LEAST_S: monotonic seconds of its
end, how long it was in milliseconds, and the task; `read` gives them back. What is written into a table in memory can be written down,
too (`bench.timed_daemon`).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import trio

from bench import timed_daemon
from supervisor import cli, launch
from supervisor.ipvs.memory import MemoryBackend
from supervisor.wiring import Supervisor

LEAST_S = 0.002
"""Shorter strokes are not written down."""


@dataclass(frozen=True, slots=True)
class Stroke:
    """When one ended (monotonic seconds), how long it was, and whose it was."""

    at: float
    ms: float
    task: str


class Stopwatch(trio.abc.Instrument):
    """Measures every step of every task."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._began_s = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Begin."""
        del task
        self._began_s = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Write it down if it was long."""
        took_s = time.thread_time() - self._began_s
        if took_s >= LEAST_S:
            self._out.write(f"{time.monotonic():.3f} {took_s * 1000:.2f} {task.name.replace(' ', '_')}\n")


def read(file: Path) -> Iterator[Stroke]:
    """Yield what was written down so far."""
    for line in file.read_text().splitlines():
        at, ms, task = line.split()
        yield Stroke(float(at), float(ms), task)


def main() -> int:
    """Run the daemon."""
    if writes := os.environ.get(timed_daemon.WRITES):
        timed_daemon.write_down(MemoryBackend.apply, writes)
    inner = launch._main  # noqa: SLF001  the one place where an instrument can come into the run
    with Path(sys.argv[1]).open("w", buffering=1) as out:

        async def timed(supervisor: Supervisor) -> None:
            trio.lowlevel.add_instrument(Stopwatch(out))
            await inner(supervisor)

        launch._main = timed  # noqa: SLF001
        return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
