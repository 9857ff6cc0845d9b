"""All benchmarks, one after another, each within its limit, and all judged figures at the end.

    python -m bench                      half an hour on an idle machine of two processors (make bench)
    python -m bench --quick              five minutes: whether all of it works (make bench QUICK=1)
    python -m bench NAME …               only these
    python -m bench --publish            and put what was measured into docs/data/performance, and make docs/performance.md of it

Each has a time that is kept for it (`bench.plan`), and what those before it left of theirs. What was measured goes to one file, --out,
with what failed and why; the page that comes of it is beside it. A benchmark that fails or takes too long is said, the others go on, and
the exit status is 1. The last lines are `ratio NAME VALUE target TARGET`, one a figure.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import accounting, plan, report, section
from bench.running import Failed, ended_within
from bench.section import Section

RESULTS = accounting.ROOT / ".lab/bench/results.json"


@dataclass(slots=True)
class Results:
    """What a run found: sections by the names of their benchmarks, and why others have none. `patience`: limits times so much."""

    quick: bool
    patience: float = 1.0
    sections: dict[str, Section] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    took_s: dict[str, int] = field(default_factory=dict)

    def own_s(self, benchmarks: Iterable[plan.Benchmark]) -> float:
        """Return the seconds that are kept for these."""
        return self.patience * sum(benchmark.own_s(quick=self.quick) for benchmark in benchmarks)

    def limit_s(self, benchmark: plan.Benchmark, left_s: float) -> float:
        """Return how long one may take when so many seconds are not kept for others."""
        return left_s if benchmark.limited else min(left_s, plan.MOST * self.own_s([benchmark]))

    def ratios(self) -> list[Section]:
        """Return all judged figures in the order of the plan."""
        return [figure for found in self.sections.values() for figure in section.judged(found)]

    def write(self, file: Path) -> None:
        """Write all of it to one file."""
        file.parent.mkdir(parents=True, exist_ok=True)
        told = {
            "quick": self.quick,
            "date": time.strftime("%Y-%m-%d"),
            "machine": {**accounting.machine(), "load average": accounting.load()},
            "took_s": self.took_s,
            "failed": self.failed,
            "ratios": self.ratios(),
            "sections": self.sections,
        }
        file.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def measure(benchmark: plan.Benchmark, quick: bool, limit_s: float) -> Section:
    """Run one benchmark and return its section. Raises Failed."""
    with tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as folder:
        out = Path(folder) / "section.json"
        status = ended_within([sys.executable, *benchmark.command(limit_s, quick=quick), "--out", str(out)], limit_s)
        if not out.exists():
            raise Failed(f"exit status {status}" if status else "it wrote no section")
        found: Section = json.loads(out.read_text())
        if missing := section.PARTS - found.keys():
            raise Failed(f"its section has no {', '.join(sorted(missing))}")
        return found


def play(
    benchmarks: Sequence[plan.Benchmark],
    results: Results,
    one: Callable[[plan.Benchmark, bool, float], Section] = measure,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run these and note what came of each. What one leaves of its time is for those after it."""
    end = clock() + results.own_s(benchmarks)
    for number, benchmark in enumerate(benchmarks, 1):
        began = clock()
        limit_s = results.limit_s(benchmark, end - began - results.own_s(benchmarks[number:]))
        print(f"\n== bench.{benchmark.name} (at most {limit_s:.0f} s)", flush=True)
        try:
            results.sections[benchmark.name] = one(benchmark, results.quick, limit_s)
        except Failed as failed:
            results.failed[benchmark.name] = str(failed)
            print(f"== bench.{benchmark.name} FAILED: {failed}", flush=True)
        results.took_s[benchmark.name] = round(clock() - began)


def conclude(results: Results) -> int:
    """Print how long it took, what failed, and all judged figures; return the exit status."""
    print(f"\n{len(results.sections)} benchmarks in {sum(results.took_s.values())} s, load average {accounting.load()}")
    for name, why in results.failed.items():
        print(f"FAILED bench.{name}: {why}")
    for figure in results.ratios():
        print(section.line(figure))
    return 1 if results.failed else 0


def main() -> int:
    """Run what the command line says."""
    names = {benchmark.name: benchmark for benchmark in plan.PLAN}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="a fraction of it")
    parser.add_argument("--publish", action="store_true", help="into docs; not with --quick")
    parser.add_argument("--patience", type=float, default=1.0, help="all limits times so much, for a busy machine")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the one file (default .lab/bench/results.json)")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in names]:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(names)}")
    if options.quick and options.publish:
        parser.error("a quick run is not for publishing")
    machine = "; ".join(f"{name} {value}" for name, value in accounting.machine().items())
    print(f"{machine}; load average {accounting.load()}", flush=True)
    results = Results(options.quick, options.patience)
    try:
        play([names[name] for name in options.names or names], results)
    finally:
        results.write(options.out)
    if options.publish:
        report.publish(results.sections)
    report.write(results.sections.values(), options.out.parent / "performance.md")
    return conclude(results)


if __name__ == "__main__":
    sys.exit(main())
