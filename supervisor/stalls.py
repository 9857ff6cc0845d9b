"""Where the event loop stands when it stands still: a stack that another thread writes down meanwhile.

The interpreter's own watchdog (`faulthandler`) needs neither the loop nor the interpreter's lock, so it also sees a loop that is stuck
in C code. It is one for each process. It writes into a file in memory: what went to standard error would break the log's lines.
"""

from __future__ import annotations

import faulthandler
import os
import threading
from typing import Protocol

STACK_MAX_BYTES = 4096
"""The innermost calls of a stack come first; so many bytes of it fit into one line of the log beside everything else."""

DUMP_MAX_BYTES = 256 * 1024
"""Of the stacks of all threads, each at most a hundred calls deep; there are a few dozen threads at most."""


class StallWatch(Protocol):
    """Who writes down where the loop stands."""

    def expect(self, within_s: float) -> None:
        """Have the stack written down unless this is called again within so many seconds."""

    def seen(self) -> str:
        """Return what was written down since the last question, innermost call first; empty where nothing was."""


class Unwatched:
    """Nobody writes anything down: where the clock is virtual, or a process has several loops."""

    def expect(self, within_s: float) -> None:
        """Do nothing."""

    def seen(self) -> str:
        """Return nothing."""
        return ""


class Stalls:
    """The interpreter's watchdog."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("stalls", os.MFD_CLOEXEC)

    def expect(self, within_s: float) -> None:
        """Have the stacks written down in so many seconds from now, in place of what was expected before."""
        faulthandler.dump_traceback_later(within_s, file=self._descriptor)

    def seen(self) -> str:
        """Return the last stack of this thread, at most `STACK_MAX_BYTES` of it, and forget all of them."""
        dump = os.pread(self._descriptor, DUMP_MAX_BYTES, 0).decode(errors="replace")
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        _, _, ours = dump.partition(f"0x{threading.get_ident():016x} ")
        _, _, calls = ours.partition("\n")
        return calls.partition("\n\n")[0][:STACK_MAX_BYTES].rstrip()

    def close(self) -> None:
        """Expect nothing any more."""
        faulthandler.cancel_dump_traceback_later()
        os.close(self._descriptor)
