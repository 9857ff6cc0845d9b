"""Cumulative counts of one worker, over all its incarnations: a counter that observers see never goes back."""

from __future__ import annotations

from dataclasses import dataclass, field

from checkers.kit import wire
from checkers.kit.api import INCONCLUSIVE, Reason
from supervisor.core.snapshot import Histogram


@dataclass
class Totals:
    """What former incarnations reached, and what the present one says."""

    ended: dict[tuple[str, Reason], int] = field(default_factory=dict)
    ended_durations: dict[str, Histogram] = field(default_factory=dict)
    ended_lag: Histogram = field(default_factory=Histogram)
    ended_faults: dict[str, int] = field(default_factory=dict)
    ended_run_delay_s: float = 0.0
    ended_naps: int = 0
    ended_sentinels: int = 0
    beat: wire.Beat | None = None

    def close(self) -> None:
        """The incarnation is over: keep what it reached."""
        self.ended, self.ended_durations, self.ended_lag = self.counts(), self.durations(), self.lag()
        self.ended_faults, self.ended_run_delay_s, self.ended_naps = self.faults(), self.run_delay_s(), self.naps()
        self.ended_sentinels = self.sentinels_ended()
        self.beat = None

    def counts(self) -> dict[tuple[str, Reason], int]:
        """Return (checker type, reason) → how often."""
        total = dict(self.ended)
        for kind, reason, count in self.beat.counts if self.beat else ():
            total[kind, reason] = total.get((kind, reason), 0) + count
        return total

    def durations(self) -> dict[str, Histogram]:
        """Return checker type → durations of its probes."""
        total = dict(self.ended_durations)
        for kind, histogram in self.beat.durations if self.beat else ():
            total[kind] = added(total.get(kind, Histogram()), histogram)
        return total

    def lag(self) -> Histogram:
        """Return how late probes started."""
        return added(self.ended_lag, self.beat.schedule_lag) if self.beat else self.ended_lag

    def faults(self) -> dict[str, int]:
        """Return fault of our own machine → how often."""
        total = dict(self.ended_faults)
        for fault, count in self.beat.faults if self.beat else ():
            total[fault] = total.get(fault, 0) + count
        return total

    def inconclusive(self) -> int:
        """Return how many probes said nothing about their server."""
        return sum(count for (_, reason), count in self.counts().items() if reason in INCONCLUSIVE)

    def run_delay_s(self) -> float:
        """Return how long it waited for a processor."""
        return self.ended_run_delay_s + (self.beat.run_delay_s if self.beat else 0.0)

    def naps(self) -> int:
        """Return how often it stood still."""
        return self.ended_naps + (self.beat.naps if self.beat else 0)

    def sentinels_ended(self) -> int:
        """Return how many idle connections servers have ended."""
        return self.ended_sentinels + (self.beat.sentinels_ended if self.beat else 0)


def added(one: Histogram, other: Histogram | wire.Histogram) -> Histogram:
    """Return the sum of two histograms."""
    counts = tuple(a + b for a, b in zip(one.counts, other.counts, strict=True))
    return Histogram(counts, one.sum_s + other.sum_s)
