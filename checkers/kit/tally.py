"""What a worker counts about its own probes, from the start of the process. Pure."""

from __future__ import annotations

from bisect import bisect_left

from checkers.kit.api import Reason, Verdict
from checkers.kit.frames import DURATION_BUCKETS_S, FAULTS_MAX, Histogram


class Buckets:
    """A histogram that grows."""

    __slots__ = ("_counts", "_sum_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(DURATION_BUCKETS_S) + 1)
        self._sum_s = 0.0

    def add(self, duration_s: float) -> None:
        """Count one duration in seconds, not negative."""
        self._counts[bisect_left(DURATION_BUCKETS_S, duration_s)] += 1
        self._sum_s += duration_s

    def histogram(self) -> Histogram:
        """Return what was counted so far."""
        return Histogram(tuple(self._counts), self._sum_s)


class Tally:
    """Verdicts by checker type and reason, durations of conclusive probes by type, our own faults, and how late probes started."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}  # checker type → how often, by the reason's number
        self._durations: dict[str, Buckets] = {}
        self._faults: dict[str, int] = {}  # fault (kit.api.LocalTrouble) → how often
        self.schedule_lag = Buckets()

    def add_fault(self, fault: str) -> None:
        """Count one probe that our own machine made impossible."""
        if fault in self._faults or len(self._faults) < FAULTS_MAX:
            self._faults[fault] = self._faults.get(fault, 0) + 1

    def faults(self) -> tuple[tuple[str, int], ...]:
        """Return (fault, how often), sorted."""
        return tuple(sorted(self._faults.items()))

    def add(self, checker: str, verdict: Verdict, duration_s: float) -> None:
        """Count one probe."""
        counts = self._counts.get(checker)
        if counts is None:
            counts = self._counts[checker] = [0] * len(Reason)
            self._durations[checker] = Buckets()
        counts[verdict.reason] += 1
        if verdict.conclusive:
            self._durations[checker].add(duration_s)

    def counts(self) -> tuple[tuple[str, Reason, int], ...]:
        """Return (checker type, reason, how often), sorted."""
        return tuple(
            (checker, reason, counts[reason])
            for checker, counts in sorted(self._counts.items())
            for reason in Reason
            if counts[reason]
        )

    def durations(self) -> tuple[tuple[str, Histogram], ...]:
        """Return (checker type, durations), sorted."""
        return tuple((checker, buckets.histogram()) for checker, buckets in sorted(self._durations.items()))
