"""What one health check costs: Vipervisor, keepalived, HAProxy, ldirectord and a program in C that does nothing else, on the same targets.

    python -m bench.cpu_per_check                    all that docs/performance.md shows, within twelve minutes
    python -m bench.cpu_per_check --quick            HTTP with 1,000 real servers, one short round
    python -m bench.cpu_per_check --kinds HTTP --servers 1000 --interval 1 --rounds 5 --peers vipervisor HAProxy

Every round starts each program in turn, lets it settle, and measures CPU (user + system of all its processes) and resident memory while
the targets count what they are asked. Each address is a real server; a check is an accepted connection, or with HTTP an answered request.
Printed are medians and ranges; the same goes to a JSON file, of which `python -m bench.report` makes docs/performance.md. The last
lines are the judged ratios. Compare within one run only: machines are noisy. It ends within --limit seconds: what there was no time for
is left out, and said.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import cpu_section, ldirectord, peers, section, targets
from bench.accounting import Tree
from bench.cpu_rows import FRUGAL, Case, Found, Purpose, Sample, row
from bench.peers import Kind, Peer, Work
from checkers.kit.cage import raise_file_limit

SETTLE_S, SETTLE_TCP_S = 1.5, 0.0015
"""So long after each was checked once, and for a TCP check so much longer for each real server: our sentinels are connections, too, and
would be counted as checks while they are opened."""
IDLE_SETTLE_S = 8.0
"""Whose checks are spread over an hour is up by then, and has made the first checks if it makes them all at once."""
FILES = 60_000
ENOUGH = 0.5
"""Least part of the wanted rate that counts as doing the work."""
FIRST_S = 60.0
"""So long a program may take to check everything once, beside two intervals."""
LIMIT_S, QUICK_LIMIT_S = 700.0, 50.0
PEERS = (*peers.PEERS, *ldirectord.PEERS)

WHOLE = (
    Case(Kind.HTTP, 1000, 1, 4.0, 3),
    Case(Kind.TLS, 1000, 1, 4.0, 2),
    Case(Kind.TCP, 1000, 1, 4.0, 2),
    Case(Kind.HTTP, 10_000, 5, 5.0, 1),
    Case(Kind.HTTP, 200, 1, 4.0, 1),
    Case(Kind.HTTP, 1000, 3600, 8.0, 1, Purpose.IDLE, FRUGAL),
    Case(Kind.HTTP, 10_000, 1, 5.0, 1, Purpose.SATURATED, FRUGAL),
    Case(Kind.HTTP, 500, 1, 10.0, 1, Purpose.SERIAL, (ldirectord.NAME,)),
    Case(Kind.TLS, 200, 1, 4.0, 1),
    Case(Kind.TCP, 200, 1, 4.0, 1),
    Case(Kind.TCP, 10_000, 5, 5.0, 1),
    Case(Kind.TLS, 10_000, 10, 10.0, 1),
)
"""What is published, what matters most first."""
QUICK = (Case(Kind.HTTP, 1000, 1, 3.0, 1),)


def measured(peer: Peer, case: Case, served: targets.Targets) -> dict[str, Sample]:
    """Run one program for a while; return a sample for each of its parts. Raises RuntimeError when it does not do the work."""
    work = Work(case.kind, case.servers, case.interval_s, served.port, case.purpose is Purpose.SATURATED)

    def done() -> int:
        count = served.count()
        return count.connections if work.kind is Kind.TCP else count.requests

    with tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as folder, peer.start(work, Path(folder)) as tree:
        before, until = done(), time.monotonic() + FIRST_S + 2 * work.interval_s
        while done() - before < work.servers and tree.runs and time.monotonic() < until:
            time.sleep(0.2)  # until each was checked once
        if done() - before < work.servers:
            raise RuntimeError(f"{peer.name} made {done() - before} checks at its start")
        time.sleep(SETTLE_S + (SETTLE_TCP_S * work.servers if work.kind is Kind.TCP else 0.0))
        start, first, cpu = time.monotonic(), done(), _cpu_s(peer, tree)
        time.sleep(case.seconds_of(peer))
        elapsed_s, checks = time.monotonic() - start, done() - first
        wanted = ENOUGH * work.servers / (work.interval_s + 1) * elapsed_s if case.purpose is Purpose.RATE else 1
        if not tree.runs or checks < wanted:
            raise RuntimeError(f"{peer.name} made {checks} checks in {elapsed_s:.0f} s")
        return _samples(peer, tree, cpu, checks, elapsed_s)


def idling(case: Case, served: targets.Targets, some: Sequence[Peer]) -> Found:
    """Measure what programs use that have next to nothing to do, all beside each other; return a sample for each part."""
    work, found = Work(case.kind, case.servers, case.interval_s, served.port), Found()
    with ExitStack() as stack:
        folders = [stack.enter_context(tempfile.TemporaryDirectory(prefix="vipervisor-bench-")) for _ in some]
        trees = [
            stack.enter_context(peer.start(work, Path(folder))) for peer, folder in zip(some, folders, strict=True)
        ]
        time.sleep(IDLE_SETTLE_S)
        began, before = time.monotonic(), [_cpu_s(peer, tree) for peer, tree in zip(some, trees, strict=True)]
        time.sleep(case.seconds)
        for peer, tree, cpu in zip(some, trees, before, strict=True):
            for name, sample in _samples(peer, tree, cpu, 0, time.monotonic() - began).items():
                found[name] = [sample]
    return found


def _cpu_s(peer: Peer, tree: Tree) -> dict[str, float]:
    return {name: tree.cpu_s(part) for name, part in peer.parts.items()}


def _samples(peer: Peer, tree: Tree, before: dict[str, float], checks: int, seconds: float) -> dict[str, Sample]:
    used = {name: cpu_s - before[name] for name, cpu_s in _cpu_s(peer, tree).items()}
    if min(used.values()) < 0:
        raise RuntimeError(f"{peer.name} replaced one of its processes")
    return {name: Sample(used[name], checks, seconds, tree.resident_kb(part)) for name, part in peer.parts.items()}


def compared(case: Case, served: targets.Targets, some: Sequence[Peer], end: float) -> Found:
    """Measure all programs by turns until it is time to end (monotonic); return the samples of each line."""
    found: Found = {}
    for number in range(case.rounds):
        for peer in some if number % 2 == 0 else reversed(some):
            if time.monotonic() > end:
                return found
            try:
                for name, sample in measured(peer, case, served).items():
                    found.setdefault(name, []).append(sample)
                    print(f"  round {number + 1}: {name:<42} {sample.cost_us:7.1f} µs", flush=True)
            except RuntimeError as error:
                print(f"  round {number + 1}: {error}: left out", flush=True)
    return found


def played(cases: Iterable[Case], some: Sequence[Peer], limit_s: float, *, distinct: bool) -> dict[Case, Found]:
    """Measure each case while there is time; say what there is none for."""
    end, all_found = time.monotonic() + limit_s, dict[Case, Found]()
    for case in cases:
        able = [peer for peer in some if case.has(peer)]
        if not able:
            continue
        if time.monotonic() > end - case.about_s:
            print(f"NO TIME for {case.caption}", flush=True)
            continue
        print(case.caption, flush=True)
        with tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as name:
            plain = functools.partial(targets.native, distinct=distinct)
            with (targets.nginx if case.kind is Kind.TLS else plain)(Path(name)) as served:
                idle = case.purpose is Purpose.IDLE
                all_found[case] = idling(case, served, able) if idle else compared(case, served, able, end)
        for line, samples in all_found[case].items():
            print(f"{line:<42} {' | '.join(map(str, row(case.purpose, samples)))}", flush=True)
    return all_found


def cases(arguments: argparse.Namespace) -> tuple[Case, ...]:
    """Return what the command line wants to have measured."""
    if arguments.quick:
        return QUICK
    if not (arguments.kinds or arguments.servers):
        return WHOLE
    kinds, sizes = arguments.kinds or [kind.value for kind in Kind], arguments.servers or [1000]
    own = arguments.interval, arguments.seconds, arguments.rounds
    return tuple(Case(Kind(kind), servers, *own) for kind in kinds for servers in sizes)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=[kind.value for kind in Kind])
    parser.add_argument("--servers", nargs="+", type=int)
    parser.add_argument("--interval", type=int, default=1, metavar="SECONDS")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="of all (default 700, --quick 50)")
    parser.add_argument(
        "--distinct", action="store_true", help="each address has an ETag and a Last-Modified of its own"
    )
    names = [peer.name for peer in PEERS]
    listed = "; ".join(f'"{name}"' for name in names)
    parser.add_argument("--peers", nargs="+", choices=names, metavar="NAME", help=f"only these: {listed}")
    arguments = section.options(parser)
    raise_file_limit(FILES)
    able = PEERS if ldirectord.is_there() else peers.PEERS
    if able is not PEERS:
        print(f"ldirectord is not measured: {ldirectord.ABSENT}")
    some = [peer for peer in able if arguments.peers is None or peer.name in arguments.peers]
    limit_s = arguments.limit or (QUICK_LIMIT_S if arguments.quick else LIMIT_S)
    found = played(cases(arguments), some, limit_s, distinct=arguments.distinct)
    section.finish(arguments, cpu_section.of(found, some))
    return 0


if __name__ == "__main__":
    sys.exit(main())
