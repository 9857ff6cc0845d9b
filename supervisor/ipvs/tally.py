"""What the writer counts: operations by result, how long batches took, and how long a verdict took to reach the kernel.

Numbers only; it decides nothing and knows no clock.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from supervisor.core.snapshot import DURATION_BUCKETS_S, Histogram, OperationCount
from supervisor.core.table import (
    AddDestination,
    AddService,
    ChangeDestination,
    ChangeService,
    DeleteDestination,
    DeleteService,
    Op,
)

_NAMES = {
    AddService: "new_service",
    ChangeService: "set_service",
    DeleteService: "del_service",
    AddDestination: "new_dest",
    ChangeDestination: "set_dest",
    DeleteDestination: "del_dest",
}


@dataclass(slots=True)
class Durations:
    """A histogram that grows."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BUCKETS_S) + 1))
    sum_s: float = 0.0

    def observe(self, duration_s: float) -> None:
        """Count one duration, in seconds; a bucket's bound belongs to it."""
        self.counts[bisect_left(DURATION_BUCKETS_S, duration_s)] += 1
        self.sum_s += duration_s

    def view(self) -> Histogram:
        """Return what an observer sees."""
        return Histogram(tuple(self.counts), self.sum_s)


@dataclass(slots=True)
class Tally:
    """All that the writer counted since it was made."""

    batches: Durations = field(default_factory=Durations)
    dumps: Durations = field(default_factory=Durations)
    verdicts: Durations = field(default_factory=Durations)
    _operations: Counter[tuple[str, str]] = field(default_factory=Counter)

    def batch(self, ops: Sequence[Op], words: Sequence[str], duration_s: float) -> None:
        """Count one batch and each operation in it; `words` are errno names, "" for done."""
        self.batches.observe(duration_s)
        for op, word in zip(ops, words, strict=True):
            self._operations[_NAMES[type(op)], word or "ok"] += 1

    def dump(self, word: str = "") -> None:
        """Count one reading of the table."""
        self._operations["dump", word or "ok"] += 1

    def operations(self) -> tuple[OperationCount, ...]:
        """Return the operations by name and result."""
        return tuple(OperationCount(name, result, count) for (name, result), count in sorted(self._operations.items()))
