"""Which benchmarks `python -m bench` runs, in which order, and how long each may take: half an hour in all, quick five minutes.

A benchmark is a module of this folder that takes `--quick` and `--out FILE` (`bench.section`). Without other words it does what is
published, within `limit_s` and what those before it left of theirs; with `--quick` a fraction of it. So a machine that is slow at one
thing is not short of time while others need less, and the last, which does as much as there is time for, has all that is left. What is
not here (config_load, restart, history, …) is run by hand.
"""

from __future__ import annotations

from dataclasses import dataclass

WHOLE_S, QUICK_S = 1800, 300
"""All limits together, on an idle machine of two processors: half an hour, and five minutes."""

MOST = 3
"""Who does not end by itself has at most so many times its limit, whatever is left: one that hangs is not to take it from the others."""

END_BY = 0.9
"""The part of its limit by which a benchmark that takes `--limit` is to end; what it has begun then comes to its end."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One module, and the seconds that are kept for it; `words` and `quick_words` keep it within them, where it can do more.

    `limited`: it takes `--limit`, and ends by itself before that with what it has.
    """

    name: str
    limit_s: int
    quick_limit_s: int
    words: tuple[str, ...] = ()
    quick_words: tuple[str, ...] = ()
    limited: bool = False

    def own_s(self, *, quick: bool) -> int:
        """Return the seconds that are kept for it."""
        return self.quick_limit_s if quick else self.limit_s

    def command(self, limit_s: float, *, quick: bool) -> list[str]:
        """Return what Python is to run within a limit, without where the result goes."""
        words = ("--quick", *self.quick_words) if quick else self.words
        limit = ("--limit", f"{limit_s * END_BY:.0f}") if self.limited else ()
        return ["-m", f"bench.{self.name}", *words, *limit]


_SIZES = ("--servers", "100", "1000", "10000", "20000", "--per-pool", "50")
"""Growth is judged beyond 10,000, and pools of 5 take as long again."""

_HALF_DAYS = ("--hours", "12")
"""Two of them, side by side: 24 hours in all."""

PLAN = (
    Benchmark("noticing", 90, 21),
    Benchmark("silent_death", 95, 15),
    Benchmark("lossy_day", 100, 7, _HALF_DAYS),
    Benchmark("graceful_reload", 65, 13),
    Benchmark("sentinel_storm", 40, 8),
    Benchmark("punctuality", 115, 30),
    Benchmark("scrape", 75, 16),
    Benchmark("page", 35, 5),
    Benchmark("verbs", 40, 8),
    Benchmark("start_reload", 245, 17, _SIZES, ("--servers", "1000")),
    Benchmark(
        "memory", 68, 23, ("--rounds", "1", "--servers", "100", "10000"), ("--servers", "100", "2000", "--delay", "2")
    ),
    Benchmark("kernel_writer", 40, 15),
    Benchmark("noticing_kernel", 310, 28),
    Benchmark("traffic_under_faults", 90, 30),
    Benchmark("start_kernel", 40, 7, limited=True),
    Benchmark("convergence", 235, 24, limited=True),
    Benchmark("cpu_per_check", 115, 33, limited=True),
)
