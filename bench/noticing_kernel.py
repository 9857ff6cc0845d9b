"""From a fault until weight 0 stands in the kernel's table: ours, keepalived and ldirectord, at the same time on the same real servers.

    python -m bench.noticing_kernel [--quick] [--servers 50] [--cycles 1] [--out FILE]

Boots a kernel with IPVS by itself (tests/kernel/on-ipvs). Every real server is killed (SIGKILL of nginx), silenced (its cable) and made
sick (503) in a random order at random moments, one after another: between one fault and the next, of whatever server, are GAPS_S, so that
no trial is delayed by a crowd of others. A server's own next fault comes when everybody has it back. All directors see the same fault at
the same moment and each has a table of its own, which is read every 20 ms. Once with the article's timings, once with aggressive ones.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from bench import directors, guest
from bench.directors import AGGRESSIVE, ARTICLE, CONTENDERS, Timing, Who
from bench.farm import Farm
from bench.fault_round import FIGURES, LIMIT_S, START_MAX_S, FaultRound, Kind, Pace, Watcher, figures, p99

DWELL_S = 16.0
"""So long a server is well before its next fault, and a random part of a round longer, if it has each fault more than once: a sentinel that
ends sooner than after 15 s twice in a row is given up for a while (checkers/kit/idling.py)."""
DWELL_ONCE_S = 2.0
"""So much longer than a round it is otherwise: only the third such end would find no sentinel."""
GAPS_S: Mapping[Timing, tuple[float, float]] = {ARTICLE: (0.1, 0.3), AGGRESSIVE: (0.3, 0.6)}
"""Least and longest time from one fault to the next, in seconds. One processor serves everybody here: many faults within a second are a
burst, each of whose probes waits for those of the others, which says nothing of a server that dies alone (bench.convergence has bursts).
With the article's timings everybody mostly waits, so faults may be closer; all of them together take four minutes."""
SEED = 6


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is played."""

    servers: int
    cycles: int
    timings: Mapping[Timing, Sequence[Kind]]


FULL: Mapping[Timing, Sequence[Kind]] = {ARTICLE: tuple(Kind), AGGRESSIVE: tuple(Kind)}
QUICK: Mapping[Timing, Sequence[Kind]] = {AGGRESSIVE: (Kind.KILLED,)}
QUICK_SERVERS = 4


def pace(timing: Timing, cycles: int) -> Pace:
    """Return when faults come."""
    dwell_s = DWELL_S if cycles > 1 else timing.delay_loop_s + DWELL_ONCE_S
    return Pace(dwell_s, timing.delay_loop_s, GAPS_S[timing])


def inside(file: Path, plan: Plan) -> None:
    """Measure, in the guest."""
    random = Random(SEED)
    results = []
    for timing, kinds in plan.timings.items():
        with tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as name:
            folder = Path(name)
            folder.chmod(0o755)
            with Farm(folder, plan.servers, [who.name for who in CONTENDERS[timing]]) as farm:
                for who in CONTENDERS[timing]:
                    directors.start(who, farm, folder, timing)
                watchers = [
                    Watcher(who.name, directors.watched(who, farm.count), functools.partial(farm.weights, who.name))
                    for who in CONTENDERS[timing]
                ]
                played = FaultRound(farm, watchers, [*kinds] * plan.cycles, pace(timing, plan.cycles), random)
                try:
                    played.play()
                except TimeoutError:
                    for output in folder.glob("*/output"):
                        print(output, output.read_text()[-2000:], file=sys.stderr)
                    raise
        results.append(
            {
                "timing": timing.name,
                "trials": [
                    {"kind": one.kind.name, "watchers": sorted(one.watchers), "gone": one.gone, "back": one.back}
                    for one in played.over
                ],
                "false_removals": played.false_removals,
            }
        )
        print(f"{timing.name}: {len(played.over)} faults", file=sys.stderr, flush=True)
    guest.hand_over(file, results, guest.versions("keepalived", "ldirectord"))


# -- on the host ---------------------------------------------------------------------------------------------------------


def noticed(trials: Sequence[Mapping[str, Any]], who: Who, kind: Kind, what: str) -> list[float]:
    """Return the seconds of each trial of one kind that a contender saw, LIMIT_S for one that it did not notice within that."""
    return [
        float(trial[what].get(who.name, LIMIT_S))
        for trial in trials
        if trial["kind"] == kind.name and who.name in trial["watchers"]
    ]


def row(who: Who, kind: Kind, seconds: Sequence[float]) -> list[guest.Cell]:
    """Return a line of a table."""
    return [kind.value, who.value, *figures(seconds)]


def tables(results: Sequence[Mapping[str, Any]]) -> Iterator[guest.Table]:
    """Yield for each timing what it took to notice, and what it took to notice that the server is back."""
    for result in results:
        timing = next(timing for timing in CONTENDERS if timing.name == result["timing"])
        for what, words in (("gone", "From the fault until weight 0"), ("back", "From its end until its own weight")):
            rows = [
                row(who, kind, seconds)
                for kind in Kind
                for who in CONTENDERS[timing]
                if (seconds := noticed(result["trials"], who, kind, what))
            ]
            columns = ["fault", "program", *FIGURES]
            yield guest.Table(f"{words}, {timing.name} ({timing})", columns, rows)


@dataclass(frozen=True, slots=True)
class Goal:
    """A judged figure, in seconds."""

    name: str
    timing: Timing
    who: Who
    kind: Kind
    of_all: Callable[[Sequence[float]], float]
    target_s: float


GOALS = (
    Goal("sigkill_in_uml_median_s", ARTICLE, Who.SENTINEL, Kind.KILLED, statistics.median, 1.0),
    Goal("sigkill_in_uml_p99_s", ARTICLE, Who.SENTINEL, Kind.KILLED, p99, 1.0),
    Goal("silent_death_fast_interval_median_s", AGGRESSIVE, Who.FAST, Kind.SILENT, statistics.median, 3.0),
    Goal("silent_death_fast_interval_p99_s", AGGRESSIVE, Who.FAST, Kind.SILENT, p99, 3.0),
)


def ratios(results: Sequence[Mapping[str, Any]]) -> list[guest.Ratio]:
    """Return the judged figures."""
    trials = {result["timing"]: result["trials"] for result in results}
    return [
        guest.Ratio(goal.name, round(goal.of_all(seconds), 3), goal.target_s, distorted=False)
        for goal in GOALS
        if (seconds := noticed(trials.get(goal.timing.name, ()), goal.who, goal.kind, "gone"))
    ]


def removals(results: Sequence[Mapping[str, Any]]) -> str:
    """Say who took out whom nothing was wrong with."""
    counts = [
        f"{Who[name].value} {count} ({result['timing']})"
        for result in results
        for name, count in result["false_removals"].items()
        if count
    ]
    return f"Removals of a server that nothing was wrong with: {', '.join(counts) or 'none, by nobody'}."


def section(results: Sequence[Mapping[str, Any]]) -> guest.Section:
    """Make the section."""
    return guest.Section("Noticing", 20, [TEXT, removals(results)], DISTORTION, list(tables(results)), ratios(results))


TEXT = (
    "Real servers with nginx, each in a network namespace of its own, on a switch with a director for each program: all watch the same"
    " servers at the same time, and every fault is the same for all. HTTP checks with `inhibit_on_failure` (ldirectord: `quiescent`) and"
    " equal timings. `sentinel` and `fast_interval` are ours; with the latter there is a `TCP_CHECK` with a `connect_timeout` of 0.2 s"
    " beside, as in deploy/examples/fast.conf. ldirectord has no pause of its own before a retry, so it retries at its next round; each of"
    f" its servers has a process of its own (`fork=yes`), and it watches {directors.LDIRECTORD_SERVERS} of them, so its trials are fewer."
    " With fewer than 100 trials the 99th percentile is the worst of them."
)
DISTORTION = (
    "Here that hardly matters: what is measured is mostly waiting; but everything shares that processor, so the fastest figures are"
    " slower than elsewhere."
)


def main(words: Sequence[str] | None = None) -> int:
    """Boot a guest and tell what it found; in it, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few servers, only killed, with aggressive timings")
    parser.add_argument("--servers", type=int, default=50)
    parser.add_argument("--cycles", type=int, default=1, help="how often each server has every fault")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    parser.add_argument("--guest", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    servers = QUICK_SERVERS if options.quick else options.servers
    if options.guest:
        inside(options.guest, Plan(servers, options.cycles, QUICK if options.quick else FULL))
        return 0
    sized = ["--servers", str(servers), "--cycles", str(options.cycles), *(["--quick"] if options.quick else [])]
    found = guest.played("bench.noticing_kernel", sized, limit_s=2 * START_MAX_S + options.cycles * 600)
    guest.tell(section(found.results), found, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
