"""A day in which one packet in a hundred is lost: who is taken out for it, and how fast a silent host is noticed all the same.

    python -m bench.lossy_day [--hours 24] [--seeds 2] [--quick] [--out FILE]

The whole program plays deploy/examples/fast.conf on a virtual clock, with servers that nothing is ever wrong with (tests.sim.lossy), on a
network that draws each packet, in both directions, and sends it again as Linux does (tests.fakes.loss). So a day takes a minute. Beside
it an hour of the same file without retries, which shows what the losses do. Every processor plays one of them at a time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from bench import section
from tests.sim import lossy
from tests.sim.lossy import LOSS, Lived

HOURS, QUICK_HOURS = 24.0, 0.5
SEEDS, QUICK_SEEDS = 2, 1
HASTY_HOURS = 0.5
DEATHS, QUICK_DEATHS = 20, 4
"""So many servers fall silent at the end, one at a time, while packets go on being lost."""

TARGET_S = 3.0
DAY_S = 86_400.0
PERIOD_S = 1.025
"""From one TCP_CHECK to the next: its delay_loop, and half a tick of the timer (checkers.kit.timer)."""


class Task(NamedTuple):
    """What one process plays. `hasty`: without retries."""

    hours: float
    seed: int
    deaths: int
    hasty: bool = False

    def text(self) -> str:
        """Return the configuration."""
        return lossy.without(lossy.example(), "retry", "retry 0") if self.hasty else lossy.example()


def played(task: Task) -> Lived:
    """Play one."""
    return lossy.live(task.text(), task.hours, task.seed, deaths=task.deaths)


def expected_flaps(retries: int, servers: int, loss: float = LOSS) -> float:
    """Return how many removals by TCP_CHECK are expected in a day: one more failure in a row than there are retries.

    A probe fails when its SYN or the answer is lost, for either is sent again after the time limit.
    """
    fails = 1 - (1 - loss) ** 2
    return servers * DAY_S / PERIOD_S * (1 - fails) * fails ** (retries + 1)


TEXT = (
    "The whole program plays [fast.conf](../deploy/examples/fast.conf) on a virtual clock: the real checkers, director and writer; kernel,"
    " processes and network in memory. Nothing is ever wrong with a server, but each packet from and to it is lost with a probability of"
    " one in a hundred, and sent again as Linux does it: a SYN and its answer after 1 s and 3 s, data after 0.2 s and 0.6 s, a reset never;"
    " the keep-alives of sentinels are lost, too. A `TCP_CHECK` has `connect_timeout 0.2`, so either packet of a handshake lost is a probe"
    " that failed. Every event that tells of a change of a server counts as a flap. At the end of each line servers fall silent, one at a"
    " time."
)


def reckoned(retries: int, servers: int) -> str:
    """Say what is expected."""
    fails, expected = 1 - (1 - LOSS) ** 2, expected_flaps(retries, servers)
    return (
        f"By the reckoning a probe fails with a probability of {fails:.4f}, and with `retry {retries}` it takes {retries + 1} in a row:"
        f" of {servers} servers {expected:.1g} are taken out in a day, one in {1 / expected / 365:.1f} years; with `retry 0`"
        f" {expected_flaps(0, servers):,.0f} in a day."
    )


def row(task: Task, lived: Lived) -> list[object]:
    """Return one row of the table."""
    worst = f"{max(lived.noticed_s):.2f}" if lived.noticed_s and not task.hasty else ""
    counts = [lived.packets, lived.lost, lived.probes, lived.failed]
    sentinels = [lived.sentinels_ended, f"{100 * lived.watched:.0f} %"]
    timings = ["retry 0" if task.hasty else "fast.conf", lived.seed, f"{lived.hours:g}"]
    return [*timings, *counts, *sentinels, lived.flaps, lived.writes, worst]


COLUMNS = (
    "timings, seed, hours, packets, lost, probes, failed, sentinels ended, of the time they stood, flaps, writes,"
    " silent host out after (worst) s"
)


def of(tasks: Sequence[Task], found: Sequence[Lived]) -> dict[str, Any]:
    """Return the section of docs/performance.md."""
    days = [lived for task, lived in zip(tasks, found, strict=True) if not task.hasty]
    worst_s = max(took_s for lived in days for took_s in lived.noticed_s)
    judged = [
        section.ratio("flaps_in_24_hours_at_1_percent_loss", sum(lived.flaps + lived.writes for lived in days), 0),
        section.ratio("silent_death_at_1_percent_loss_worst_s", round(worst_s, 2), TARGET_S),
    ]
    table = section.table("", COLUMNS.split(", "), [row(*pair) for pair in zip(tasks, found, strict=True)])
    return section.of("A day of lost packets", 26, [TEXT, reckoned(4, days[0].servers)], [table], judged)


def main() -> int:
    """Play and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, help=f"to play (default {HOURS:g}, --quick {QUICK_HOURS:g})")
    parser.add_argument("--seeds", type=int, help=f"so many times (default {SEEDS}, --quick {QUICK_SEEDS})")
    arguments = section.options(parser)
    quick = arguments.quick
    hours = arguments.hours or (QUICK_HOURS if quick else HOURS)
    deaths = QUICK_DEATHS if quick else DEATHS
    seeds = range(1, 1 + (arguments.seeds or (QUICK_SEEDS if quick else SEEDS)))
    tasks = [*(Task(hours, seed, deaths) for seed in seeds), Task(min(hours, HASTY_HOURS), 1, 0, hasty=True)]
    with multiprocessing.Pool() as pool:
        found = pool.map(played, tasks, chunksize=1)
    made = of(tasks, found)
    for cells in [made["tables"][0]["columns"], *made["tables"][0]["rows"]]:
        print("  ".join(map(str, cells)))
    section.finish(arguments, made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
