"""Runs a command within a limit, and leaves nothing behind that came of it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from bench.accounting import ROOT

PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): whose parent ends becomes our child, so that nothing gets away."""
TIDY_S = 15.0
"""So long a command that was interrupted may take to tidy up."""


class Failed(Exception):
    """A benchmark has no result; the text says why."""


def ended_within(command: Sequence[str], limit_s: float) -> int:
    """Run a command from the project's folder; return its exit status. Raises Failed when it takes longer.

    Then it is interrupted, as by Ctrl-C, so that it ends what it started; what still runs after that is killed.
    """
    _adopt(True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in a shell's background
    others = set(_descendants())
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(TIDY_S)
        raise Failed(f"not within {limit_s:g} s") from None
    finally:
        _end(process, others)
        _adopt(False)


def _adopt(orphans: bool) -> None:
    """Become the parent of all whose parent ended, or no longer."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, int(orphans), 0, 0, 0)


def _end(process: subprocess.Popen[bytes], others: set[int]) -> None:
    """Kill the process and everything that came of it."""
    if process.poll() is None:
        process.kill()
        process.wait()
    until = time.monotonic() + TIDY_S
    while (left := [pid for pid in _descendants() if pid not in others]) and time.monotonic() < until:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.05)


def _descendants() -> Iterator[int]:
    waiting = [os.getpid()]
    while waiting:
        pid = waiting.pop()
        with suppress(OSError):
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found = list(map(int, children.read_text().split()))
                yield from found
                waiting += found
