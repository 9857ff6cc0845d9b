"""Keeps what lives as long as the configuration out of the garbage collector's way, and gives back what making it took.

A look through everything that a configuration of 10,000 real servers consists of takes 143 ms in which nothing is decided
(reliability.md, 2.24), and finds nothing: it goes by reference counts. So all that is there is frozen, at the start and after each reload.
What is frozen is never looked at again, though, and a few objects that will be garbage may be among it; so that they can never be
many, everything is looked through once more when what is frozen has grown by half.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable

GROWTH_MAX = 1.5
"""By so much may grow what is frozen until it is looked through: a larger configuration has it looked through, too."""

M_ARENA_MAX = -8
"""malloc.h; the same as MALLOC_ARENA_MAX in the environment. Threads of Python take turns, so they need no heaps of their own."""

OBJECTS_MIN = 100_000
"""So many objects are looked through within 10 ms."""


class Keepsakes:
    """What is kept out of the way. One for the process."""

    def __init__(self) -> None:
        self._looked_through = 0  # how many were frozen after the last look through everything; 0: there was none yet
        library = ctypes.CDLL(None)
        self._trim: Callable[[int], int] = getattr(library, "malloc_trim", lambda _pad: 0)  # glibc's
        limit: Callable[[int, int], int] = getattr(library, "mallopt", lambda _what, _value: 0)
        # one heap for all threads: of one that read or wrote a large file much would stay in its own
        limit(M_ARENA_MAX, 1)

    def keep(self) -> None:
        """Freeze everything that is there, but for garbage among what is young.

        What is frozen at the first time is what the start has made, and next to nothing of that is garbage: it counts as looked through.
        """
        frozen = gc.get_freeze_count()
        self._looked_through = self._looked_through or frozen
        if frozen > max(self._looked_through * GROWTH_MAX, OBJECTS_MIN):
            self.keep_all()
            return
        gc.collect(1)
        self.freeze()

    def keep_all(self) -> None:
        """Look through everything and freeze what is no garbage."""
        gc.unfreeze()
        gc.collect()
        self.freeze()
        self._looked_through = gc.get_freeze_count()

    def freeze(self) -> None:
        """Freeze everything that is there, and give the kernel back what was needed to read a file: 5 MB of 77 at 10,000 real servers."""
        gc.freeze()
        gc.collect()  # looks through nothing now, but empties the lists of old tuples, each of which can hold 16 KB back
        self.give_back()

    def give_back(self) -> None:
        """Give the kernel back what is not in use now: a third of a millisecond at 10,000 real servers."""
        self._trim(0)
