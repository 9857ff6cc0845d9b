"""`python -m tests.sim`: many lives of the whole program, each with and without the safety nets.

python -m tests.sim --seeds 100         play seeds 1 to 100, several processes at once
python -m tests.sim --seed 123          play one and print what happened
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable

from tests.sim.scenario import draw
from tests.sim.shrink import Shrinker, story
from tests.sim.stage import Result, live


def play_seed(seed: int) -> list[Result]:
    """Play a seed with and without the nets."""
    return [live(draw(seed, nets=nets)) for nets in (True, False)]


def main() -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--hunt", type=int, help="play so many seeds until the first violation, and say only that")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    if asked.hunt is not None:
        return hunt(asked.hunt)
    if asked.seed is not None:
        return report((result for result in play_seed(asked.seed)), shrinks=1)
    seeds = range(asked.first, asked.first + asked.seeds)
    with multiprocessing.Pool(asked.jobs) as pool:
        return report(result for results in pool.imap_unordered(play_seed, seeds) for result in results)


def hunt(seeds: int) -> int:
    """Play seeds until an oracle speaks."""
    for seed in range(1, seeds + 1):
        for nets in (False, True):
            result = live(draw(seed, nets=nets), limit_s=30)
            if result.violations:
                first = result.violations[0]
                print(
                    f"{first.oracle} (seed {seed}, nets {'on' if nets else 'off'}): {' '.join(first.text.split())[-200:]}"
                )
                return 1
    print("nothing was found")
    return 0


def report(results: Iterable[Result], shrinks: int = 2) -> int:
    """Print what came of it, failures first; make so many of them smaller."""
    began, hours, violations = time.monotonic(), 0.0, 0
    faults: Counter[str] = Counter()
    for result in results:
        hours += result.hours
        faults.update(result.faults)
        if result.violations:
            violations += 1
            first = result.violations[0]
            nets = "on" if result.scenario.nets else "off"
            print(
                f"seed {result.scenario.seed} (nets {nets}): {first.oracle} at {first.at} s: {first.text}", flush=True
            )
            print(f"  again: make sim SEED={result.scenario.seed}", flush=True)
            if violations <= shrinks:
                print(story(Shrinker(result).run()), flush=True)
    for name, count in sorted(faults.items()):
        print(f"{count:7} {name}")
    print(f"real time: {time.monotonic() - began:.0f} s")
    print(f"simulated_hours={hours:.1f} faults={faults.total()} violations={violations}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
