"""What a worker counts about its own probes, from the start of the process. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from math import inf

from checkers.kit.api import Reason, Verdict
from checkers.kit.frames import DURATION_BUCKETS_S, FAULTS_MAX, Histogram


class Buckets:
    """A histogram that grows. What is added is put in its place when somebody asks, all at once: a thousand a second are cheaper so."""

    __slots__ = ("_counts", "_fresh", "_sum_s", "add", "extend")

    def __init__(self) -> None:
        self._counts = [0] * (len(DURATION_BUCKETS_S) + 1)
        self._sum_s = 0.0
        self._fresh: list[float] = []
        self.add: Callable[[float], None] = self._fresh.append
        """Count one duration in seconds, not negative."""
        self.extend: Callable[[Iterable[float]], None] = self._fresh.extend
        """Count several."""

    def settle(self) -> None:
        """Put everything in its place."""
        fresh = self._fresh
        fresh.sort()
        below = 0
        for number, bound_s in enumerate((*DURATION_BUCKETS_S, inf)):
            upto = bisect_right(fresh, bound_s, below)
            self._counts[number] += upto - below
            below = upto
        self._sum_s += sum(fresh)
        fresh.clear()

    def histogram(self) -> Histogram:
        """Return what was counted so far."""
        self.settle()
        return Histogram(tuple(self._counts), self._sum_s)


class Tally:
    """Verdicts by checker type and reason, durations of conclusive probes by type, our own faults, and how late probes started."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}  # checker type → how often, by the reason's number
        self._durations: dict[str, Buckets] = {}
        self._usual: dict[tuple[str, Reason], list[float]] = {}  # durations that nobody looked at yet
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
        self._counts_of(checker)[verdict.reason] += 1
        if verdict.conclusive:
            self._durations[checker].add(duration_s)

    def usual(self, checker: str, reason: Reason) -> Callable[[float], None]:
        """Return what counts a conclusive probe with that reason, given its duration: the same as `add`, for who knows both in advance."""
        self._counts_of(checker)
        key = checker, reason
        if key not in self._usual:
            self._usual[key] = []
        return self._usual[key].append

    def _counts_of(self, checker: str) -> list[int]:
        counts = self._counts.get(checker)
        if counts is None:
            counts = self._counts[checker] = [0] * len(Reason)
            self._durations[checker] = Buckets()
        return counts

    def settle(self) -> None:
        """Put everything in its place (`Buckets.settle`): until then it takes memory. To be called now and then."""
        for (checker, reason), durations in self._usual.items():
            self._counts[checker][reason] += len(durations)
            self._durations[checker].extend(durations)
            durations.clear()
        for buckets in (self.schedule_lag, *self._durations.values()):
            buckets.settle()

    def counts(self) -> tuple[tuple[str, Reason, int], ...]:
        """Return (checker type, reason, how often), sorted."""
        self.settle()
        return tuple(
            (checker, reason, counts[reason])
            for checker, counts in sorted(self._counts.items())
            for reason in Reason
            if counts[reason]
        )

    def durations(self) -> tuple[tuple[str, Histogram], ...]:
        """Return (checker type, durations), sorted."""
        self.settle()
        return tuple((checker, buckets.histogram()) for checker, buckets in sorted(self._durations.items()))
