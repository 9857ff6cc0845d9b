"""What one health check costs: Vipervisor, keepalived, HAProxy and a program in C that does nothing else, in one run on the same targets.

    python -m bench.cpu_per_check [--kinds HTTP TLS TCP] [--servers 200 1000] [--interval 1] [--seconds 10] [--rounds 3]
                                  [--distinct] [--peers NAME …] [--out FILE]

Every round starts each program in turn, lets it settle, and measures CPU (user + system of all its processes) and resident memory while
the targets count what they are asked. Each address is a real server; a check is an accepted connection, or with HTTP an answered request.
Printed are medians and ranges; the same goes to a JSON file, of which `python -m bench.report` makes docs/performance.md. The last
lines are the judged ratios. Compare within one run only: machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import accounting, peers, targets
from bench.peers import Kind, Peer, Work
from checkers.kit.cage import raise_file_limit

SETTLE_S = 4.0
FILES = 60_000
ENOUGH = 0.5
"""Least part of the wanted rate that counts as doing the work."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One program in one round: µs of CPU for each check, checks a second, resident KB."""

    cost_us: float
    rate_hz: float
    resident_kb: int


@dataclass(frozen=True, slots=True)
class Goal:
    """A judged ratio: the median of one line by that of another, with so many servers, plain HTTP."""

    name: str
    ours: str
    theirs: str
    target: float


_WORKERS = f"{peers.OURS}: workers"
_KEPT = f"{peers.OURS_KEPT} {peers.FRESH_EVERY}: workers"
GOAL_SERVERS = 1000
GOALS = (
    Goal("http_fresh_by_keepalived", _WORKERS, "keepalived", 0.8),
    Goal("http_fresh_by_haproxy", _WORKERS, "HAProxy", 1.2),
    Goal("http_fresh_by_c_floor", _WORKERS, "C floor", 2.0),
    Goal("http_kept_by_keepalived", _KEPT, "keepalived", 0.3),
)


def measured(peer: Peer, work: Work, served: targets.Targets, seconds: float) -> dict[str, Sample]:
    """Run one program for a while; return a sample for each of its parts. Raises RuntimeError when it does not do the work."""

    def done() -> int:
        count = served.count()
        return count.connections if work.kind is Kind.TCP else count.requests

    with tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as folder, peer.start(work, Path(folder)) as tree:
        before, until = done(), time.monotonic() + 60 + 2 * work.interval_s
        while done() - before < work.servers and tree.runs and time.monotonic() < until:
            time.sleep(0.2)  # until each was checked once
        time.sleep(SETTLE_S)
        start, first, cpu = time.monotonic(), done(), {name: tree.cpu_s(part) for name, part in peer.parts.items()}
        time.sleep(seconds)
        elapsed_s, checks = time.monotonic() - start, done() - first
        if not tree.runs or checks < ENOUGH * work.servers / (work.interval_s + 1) * elapsed_s:
            raise RuntimeError(f"{peer.name} made {checks} checks in {elapsed_s:.0f} s")
        return {
            name: Sample((tree.cpu_s(part) - cpu[name]) / checks * 1e6, checks / elapsed_s, tree.resident_kb(part))
            for name, part in peer.parts.items()
        }


def compared(
    work: Work, served: targets.Targets, some: Sequence[Peer], arguments: argparse.Namespace
) -> dict[str, list[Sample]]:
    """Measure all programs by turns; return the samples of each line."""
    rows: dict[str, list[Sample]] = {}
    for number in range(arguments.rounds):
        for peer in some if number % 2 == 0 else reversed(some):
            try:
                for name, sample in measured(peer, work, served, arguments.seconds).items():
                    rows.setdefault(name, []).append(sample)
                    print(f"  round {number + 1}: {name:<42} {sample.cost_us:7.1f} µs", flush=True)
            except RuntimeError as error:
                print(f"  round {number + 1}: {error}: left out", flush=True)
    return rows


def table(work: Work, rows: dict[str, list[Sample]]) -> list[dict[str, object]]:
    """Print and return medians and ranges."""
    found = []
    for name, samples in rows.items():
        costs = [sample.cost_us for sample in samples]
        row = {
            "kind": work.kind.value,
            "servers": work.servers,
            "interval_s": work.interval_s,
            "name": name,
            "cost_us": round(statistics.median(costs), 1),
            "low_us": round(min(costs), 1),
            "high_us": round(max(costs), 1),
            "rate_hz": round(statistics.median(sample.rate_hz for sample in samples)),
            "resident_kb": round(statistics.median(sample.resident_kb for sample in samples)),
            "rounds": len(samples),
        }
        found.append(row)
        span = f"({row['low_us']}-{row['high_us']})"
        print(f"{name:<42} {row['cost_us']:>7} µs {span:<16} {row['rate_hz']:>6} checks/s {row['resident_kb']:>8,} KB")
    return found


def ratios(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Return the judged ratios that these rows have something to say of."""
    cost = {str(row["name"]): row["cost_us"] for row in rows if (row["kind"], row["servers"]) == ("HTTP", GOAL_SERVERS)}
    found = []
    for goal in GOALS:
        ours, theirs = cost.get(goal.ours), cost.get(goal.theirs)
        if isinstance(ours, float) and isinstance(theirs, float) and theirs:
            found.append({"name": goal.name, "value": round(ours / theirs, 2), "target": goal.target})
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = [kind.value for kind in Kind]
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--servers", nargs="+", type=int, default=[200, 1000])
    parser.add_argument("--interval", type=int, default=1, metavar="SECONDS")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--distinct", action="store_true", help="each address has an ETag and a Last-Modified of its own"
    )
    parser.add_argument(
        "--peers", nargs="+", metavar="NAME", help="only these: " + ", ".join(p.name for p in peers.PEERS)
    )
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    arguments = parser.parse_args()
    raise_file_limit(FILES)
    some = [peer for peer in peers.PEERS if arguments.peers is None or peer.name in arguments.peers]
    rows: list[dict[str, object]] = []
    for kind in map(Kind, arguments.kinds):
        able = [peer for peer in some if kind in peer.kinds]
        for servers in arguments.servers:
            print(f"{kind.value}, {servers} real servers, one check each in {arguments.interval} s", flush=True)
            with tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as name:
                folder = Path(name)
                serving = targets.nginx(folder, tls=True) if kind is Kind.TLS else targets.native(folder, distinct=arguments.distinct)  # fmt: skip
                with serving as served:
                    work = Work(kind, servers, arguments.interval, served.port)
                    rows += table(work, compared(work, served, able, arguments))
    judged = ratios(rows)
    if arguments.out is not None:
        result = {
            "command": f"python -m bench.cpu_per_check {' '.join(word for word in sys.argv[1:] if not word.startswith('--out'))}".strip(),
            "machine": accounting.machine(),
            "versions": {peer.name: peer.version() for peer in some},
            "rows": rows,
            "ratios": judged,
        }
        arguments.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    for ratio in judged:
        print(f"ratio {ratio['name']} {ratio['value']} target {ratio['target']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
