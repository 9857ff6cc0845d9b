"""Where the event loop stands when it stands still: a stack that another thread takes down meanwhile.

The thread takes turns with the loop, as all Python code does, so what it reads is whole; it sees nothing of a loop that stands in C code
and does not let others run. `faulthandler` would see that, too, but reads stacks while they change: it ended a loaded supervisor by a
segmentation fault. A process that was stopped as a whole leaves no stack: nobody was there to look.
"""

from __future__ import annotations

import math
import sys
import threading
import time
import traceback
from types import FrameType
from typing import Protocol

CALLS_MAX = 24
"""Of the innermost calls; so many fit into one line of the log beside everything else."""


class StallWatch(Protocol):
    """Who takes down where the loop stands."""

    def expect(self, within_s: float) -> None:
        """Have the stack taken down unless this is called again within so many seconds."""

    def seen(self) -> str:
        """Return what was taken down since the last question, innermost call first; empty where nothing was."""


class Unwatched:
    """Nobody looks: where the clock is virtual, or a process has several loops."""

    def expect(self, within_s: float) -> None:
        """Do nothing."""

    def seen(self) -> str:
        """Return nothing."""
        return ""


class Stalls:
    """A thread that looks at the one that made it. Of what both use each attribute has one writer, so there is no lock.

    It sleeps until the deadline that it knew when it went to sleep, and looks then whether there is a later one: to wake
    is all that it costs, and a loop that comes round in time need not wake it at all.
    """

    def __init__(self) -> None:
        self._watched = threading.get_ident()
        self._deadline = math.inf
        self._wakes_at = math.inf
        self._sooner = threading.Event()  # there is a deadline before `_wakes_at`, or nothing to be watched any more
        self._closed = False
        self._stack = ""
        self._thread = threading.Thread(target=self._watch, name="stalls", daemon=True)
        self._thread.start()

    def expect(self, within_s: float) -> None:
        """Have the stack taken down in so many seconds from now, in place of what was expected before."""
        self._deadline = deadline = time.monotonic() + within_s
        if deadline < self._wakes_at:
            self._sooner.set()

    def seen(self) -> str:
        """Return the last stack, at most `CALLS_MAX` calls of it, as FILE:LINE in FUNCTION; and forget it."""
        stack, self._stack = self._stack, ""
        return stack

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        self._sooner.set()
        self._thread.join()

    def _watch(self) -> None:
        over = math.inf  # the deadline of the last stack
        while True:
            self._sooner.clear()
            if self._closed:
                return
            self._wakes_at = math.inf  # whoever sets a deadline between here and the sleep ends that at once
            deadline = self._deadline
            if deadline == over:
                self._sooner.wait()
                continue
            self._wakes_at = deadline
            left_s = deadline - time.monotonic()
            if left_s > 0:
                self._sooner.wait(left_s)
            else:
                over = deadline
                self._stack = _told(sys._current_frames().get(self._watched))  # noqa: SLF001  the documented way


def _told(frame: FrameType | None) -> str:
    calls = reversed(traceback.extract_stack(frame)[-CALLS_MAX:]) if frame else ()
    return " < ".join(f"{call.filename}:{call.lineno} in {call.name}" for call in calls)
