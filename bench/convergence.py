"""A thousand and five thousand real servers whose ports all close at once, and open at once: until the whole table shows it.

    python -m bench.convergence [--servers 1000 5000] [--limit SECONDS] [--out FILE]
    python -m bench.convergence --quick [--out FILE]    natively alone

On a real IPVS table (a kernel that is booted for it: tests/kernel/on-ipvs), ours with `sentinel` and keepalived, with equal timings; then
natively with our table in memory, with the file as it is, too, which is where the longest stall of a loop is measured. All real servers
are one process (bench/native/targets.c) on as many loopback addresses; it is killed, and started again. The most real servers come first:
what there is no time for within --limit seconds is left out, and said.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import guest, sentinel_storm, strokes
from bench.accounting import ROOT, Tree, keepalived, lab_environment
from bench.tables import KernelTable, WrittenTable
from bench.targets import Native, addresses
from bench.timed_daemon import WRITES
from checkers.kit import wire
from checkers.kit.cage import raise_file_limit
from supervisor.admin.client import ask
from supervisor.admin.protocol import Request, RequestError
from supervisor.core.snapshot import DURATION_BUCKETS_S

PER_POOL = 50
DELAY_LOOPS_S = {1000: 3, 5000: 10}
"""By the most servers that are checked so often: more is more than a User-Mode Linux guest can do in the time."""
RETRIES, DELAY_BEFORE_RETRY_S = 1, 1
PLAIN, SENTINEL, KEEPALIVED = "vipervisor", "vipervisor, sentinel", "keepalived"
QUICK_SERVERS = 200
START_MAX_S = 90.0
LIMIT_S = 90.0
"""Who has not shown all of it by then is told so."""
LOOK_S = 0.2
"""Each look at a table of 5,000 in a guest takes time of its one processor from the program."""
ALL_MAX_S = 900.0
GUEST_PART = 0.6
"""The part of --limit in which something begins on a real IPVS table: the rest is for what has begun, and for what is played natively."""
FILES = 60_000
NATIVE = "the table in memory, natively"
REAL = "a real IPVS table"
PROBE_TARGET, STALL_TARGET_S = 2.0, 0.05


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one closing and opening, in seconds after it; None: not within LIMIT_S, or not known.

    `probe_s`: when the slowest verdict was there. `cpu_s`: of all processes until all were gone. `stall_s`: the longest stroke of our
    loop meanwhile, both ways.
    """

    who: str
    where: str
    servers: int
    gone_s: float | None
    probe_s: float | None
    cpu_s: float
    back_s: float | None
    stall_s: float | None
    verdict_to_kernel: str


def delay_loop_s(servers: int) -> int:
    """Return how often so many servers are checked, in seconds."""
    return next((pause_s for most, pause_s in DELAY_LOOPS_S.items() if servers <= most), 60)


def worst_s(servers: int) -> int:
    """Return how long the slowest probe may have taken to know, by the file."""
    return delay_loop_s(servers) + RETRIES * DELAY_BEFORE_RETRY_S


def configuration(servers: int, port: int, *, sentinel: bool) -> str:
    """Return the file: TCP checks."""
    check = (
        f"TCP_CHECK {{\n connect_timeout 3\n retry {RETRIES}\n delay_before_retry {DELAY_BEFORE_RETRY_S}\n"
        f" {'sentinel' if sentinel else 'sentinel no'}\n }}"
    )
    every = addresses(servers)
    pools = []
    for pool, first in enumerate(range(0, servers, PER_POOL)):
        members = "".join(
            f"real_server {address} {port} {{\n weight 1\n {check}\n }}\n"
            for address in every[first : first + PER_POOL]
        )
        head = f"delay_loop {delay_loop_s(servers)}\n lb_algo rr\n lb_kind NAT\n protocol TCP\n"
        pools.append(f"virtual_server 203.0.113.{pool + 1} 80 {{\n {head} {members}}}\n")
    return "global_defs {\n virtual_server_addresses off\n}\n" + "".join(pools)


class Ours:
    """Our daemon; natively with a stopwatch. On a User-Mode Linux kernel, to ask for the processor time twice a step slows it down."""

    def __init__(self, file: Path, *, in_memory: bool) -> None:
        folder = file.parent
        self._socket, self._strokes, self._writes = folder / "run/admin.sock", folder / "strokes", folder / "writes"
        self._writes.touch()
        program = ["bench.strokes", str(self._strokes)] if in_memory else ["supervisor"]
        command = [sys.executable, "-m", *program, "run", "-f", str(file)]
        options = ["--backend", "memory" if in_memory else "kernel", "--exporter", "off", "--state-dir", "off"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), WRITES: str(self._writes) if in_memory else ""}
        self.tree = Tree([*command, *options, "--admin-socket", str(self._socket)], environment)
        self.table: KernelTable | WrittenTable = WrittenTable(self._writes) if in_memory else KernelTable()

    def status(self) -> dict[str, Any]:
        """Return its snapshot; {} while it does not answer."""
        try:
            answer: dict[str, Any] = ask(self._socket, Request("status", {}))
        except RequestError:
            return {}
        return answer

    def holds(self) -> int:
        """Return how many sentinels it holds."""
        return sum(int(worker["sentinels"]) for worker in self.status().get("process", {}).get("workers", []))

    def slowest_probe_at(self) -> float:
        """Return when, on CLOCK_MONOTONIC, the last verdict was there."""
        now, status = time.monotonic(), self.status()
        servers = [server for virtual in status["virtual_servers"] for server in virtual["real_servers"]]
        return now - min(float(check["since_s"]) for server in servers for check in server["checks"])

    def verdict_to_kernel(self) -> str:
        """Return how long verdicts took to the kernel so far: below which bound nine in ten and all were."""
        return bounds(self.status()["process"]["writer"]["verdict_to_kernel"]["counts"])

    def longest_stroke_s(self, since_s: float, until_s: float) -> float:
        """Return the longest stroke of its loop that ended between two moments."""
        within = (stroke.ms for stroke in strokes.read(self._strokes) if since_s <= stroke.at <= until_s)
        return max(within, default=0.0) / 1000


class Keepalived:
    """Debian's."""

    def __init__(self, file: Path) -> None:
        self.tree = Tree(keepalived(file), lab_environment())
        self.table = KernelTable()


def bounds(counts: Sequence[int]) -> str:
    """Say below which bounds of a snapshot's histogram nine in ten and all are."""
    edges = [*(f"≤ {bound * 1000:g} ms" for bound in DURATION_BUCKETS_S), "> 10 s"]
    total, seen, tenth = sum(counts), 0, ""
    for edge, count in zip(edges, counts, strict=True):
        seen += count
        if not tenth and total and seen >= 0.9 * total:
            tenth = edge
        if total and seen == total:
            return f"90 %: {tenth}; all: {edge}"
    return ""


def waited_for(happened: Callable[[], bool], limit_s: float, began_s: float) -> float | None:
    """Return the seconds since `began_s` when something is true; None when it is not within `limit_s` of it."""
    while not happened():
        if time.monotonic() - began_s > limit_s:
            return None
        time.sleep(LOOK_S)
    return time.monotonic() - began_s


def until_ready(peer: Ours | Keepalived, who: str, servers: int) -> None:
    """Wait until all servers stand in the table, each was looked at, and sentinels are held. Raises TimeoutError."""
    began = time.monotonic()
    if waited_for(lambda: peer.table.count() == servers, START_MAX_S, began) is None:
        raise TimeoutError(f"{who} has {peer.table.count()} of {servers} servers after {START_MAX_S:g} s")
    if who != SENTINEL:
        time.sleep(delay_loop_s(servers))
    else:
        assert isinstance(peer, Ours)
        while (held := peer.holds()) < servers:
            if time.monotonic() - began > START_MAX_S:
                raise TimeoutError(f"{who} holds {held} of {servers} sentinels after {START_MAX_S:g} s")
            time.sleep(2)
    time.sleep(1)


def close_and_open(peer: Ours | Keepalived, who: str, targets: Native, servers: int, *, in_memory: bool) -> Outcome:
    """Close all ports and open them again."""
    cpu_s = peer.tree.cpu_s()
    closed = time.monotonic()
    targets.process.kill()
    gone_s = waited_for(lambda: peer.table.count() == 0, LIMIT_S, closed)
    gone, cpu_s = time.monotonic(), peer.tree.cpu_s() - cpu_s
    probe_s, words = None, ""
    if isinstance(peer, Ours) and gone_s is not None:
        probe_s, words = peer.slowest_probe_at() - closed, peer.verdict_to_kernel()
    targets.process.wait()
    targets.start()
    opened = time.monotonic()
    back_s = waited_for(lambda: peer.table.count() == servers, LIMIT_S, opened)
    stall_s = None
    if isinstance(peer, Ours) and in_memory:  # what it was asked meanwhile for this page is not counted
        stall_s = max(peer.longest_stroke_s(closed, gone), peer.longest_stroke_s(opened, time.monotonic()))
    where = NATIVE if in_memory else REAL
    return Outcome(who, where, servers, gone_s, probe_s, cpu_s, back_s, stall_s, words)


def played(who: str, servers: int, *, in_memory: bool) -> Outcome:
    """Start a contender, close all ports, and open them again. Who does not come up has shown nothing."""
    with tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        targets = Native(folder, distinct=False)
        try:
            file = folder / "keepalived.conf"
            file.write_text(configuration(servers, targets.port, sentinel=who == SENTINEL))
            peer = Keepalived(file) if who == KEEPALIVED else Ours(file, in_memory=in_memory)
            with peer.tree:
                try:
                    until_ready(peer, who, servers)
                    outcome = close_and_open(peer, who, targets, servers, in_memory=in_memory)
                except TimeoutError as error:
                    print(error, file=sys.stderr, flush=True)
                    where = NATIVE if in_memory else REAL
                    outcome = Outcome(who, where, servers, None, None, peer.tree.cpu_s(), None, None, "")
        finally:
            targets.process.kill()
            targets.process.wait()
    print(outcome, file=sys.stderr, flush=True)
    return outcome


def worker_stall_s(servers: int) -> float:
    """Return how late the timer of one worker was at most, natively, while all servers under its sentinels closed at once."""
    with tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as name:
        targets = Native(Path(name), distinct=False)
        worker = sentinel_storm.Worker(servers)
        try:
            worker.receive()
            for frame in wire.assign_frames(1, 1, sentinel_storm.jobs(servers, targets.port)):
                worker.link.send(frame)
            worker.until_held(servers)
            worker.receive()
            worker.stall_s = 0.0
            targets.process.kill()
            worker.until_all_are(servers, "DOWN")
            worker.until_held(0)
        finally:
            targets.process.kill()
            targets.process.wait()
            worker.link.close()
            worker.process.kill()
            worker.process.wait()
    return worker.stall_s


def inside(file: Path, sizes: Sequence[int], limit_s: float) -> None:
    """Measure, in the guest, the most real servers first."""
    raise_file_limit(FILES)
    found: list[dict[str, Any]] = []
    end = time.monotonic() + limit_s
    for servers in sorted(sizes, reverse=True):
        if found and time.monotonic() > end:
            print(f"NO TIME for {servers} real servers", file=sys.stderr)
            break
        found += [dataclasses.asdict(played(who, servers, in_memory=False)) for who in (SENTINEL, KEEPALIVED)]
    guest.hand_over(file, found, guest.versions("keepalived"))


def ratios(outcomes: Sequence[Outcome], stalls_s: Sequence[float]) -> list[guest.Ratio]:
    """Return the judged figures, of the largest size: who never got there has waited LIMIT_S at least.

    The slowest probe is the file's: with sentinels, too, and however busy the machine is.
    """
    size = max(outcome.servers for outcome in outcomes)
    found = []
    for outcome in outcomes:
        if outcome.servers != size or outcome.who == KEEPALIVED:
            continue
        name = f"{'sentinel' if outcome.who == SENTINEL else 'plain'}_{size}_down_by_slowest_probe"
        name += "_natively" if outcome.where == NATIVE else ""
        gone_s = LIMIT_S if outcome.gone_s is None else outcome.gone_s
        found.append(guest.Ratio(name, round(gone_s / worst_s(size), 2), PROBE_TARGET, distorted=outcome.where == REAL))
    strokes_s = [outcome.stall_s for outcome in outcomes if outcome.where == NATIVE and outcome.stall_s is not None]
    for whose, longest_s in (("supervisor", max(strokes_s, default=LIMIT_S)), ("worker", max(stalls_s))):
        name = f"longest_stall_{whose}_{size}_down_s"
        found.append(guest.Ratio(name, round(longest_s, 3), STALL_TARGET_S, distorted=False))
    return found


def seconds(value: float | None, digits: int = 2) -> str:
    """Return a cell."""
    return "" if value is None else f"{value:.{digits}f}"


def section(outcomes: Sequence[Outcome], stalls_s: Sequence[float]) -> guest.Section:
    """Make the section."""

    def table(where: str) -> guest.Table:
        rows: list[list[guest.Cell]] = [
            [
                outcome.servers,
                outcome.who,
                seconds(outcome.gone_s) or f"not within {LIMIT_S:g}",
                seconds(outcome.probe_s),
                outcome.verdict_to_kernel,
                seconds(outcome.cpu_s),
                seconds(outcome.back_s) or f"not within {LIMIT_S:g}",
                "" if outcome.stall_s is None else f"{outcome.stall_s * 1000:.0f}",
            ]
            for outcome in outcomes
            if outcome.where == where
        ]
        return guest.Table(f"On {where}" if where == REAL else "With " + where, COLUMNS, rows)

    size = max(outcome.servers for outcome in outcomes)
    worker = f"Natively, one worker alone under {size:,} sentinels that end at once was late by {max(stalls_s) * 1000:.0f} ms at most."
    return guest.Section(
        "Many servers at once",
        30,
        [TEXT, worker],
        DISTORTION,
        [made for made in (table(REAL), table(NATIVE)) if made.rows],
        ratios(outcomes, stalls_s),
    )


COLUMNS = (
    "real servers",
    "program",
    "all gone, s",
    "slowest verdict, s",
    "verdict to kernel",
    "CPU meanwhile, s",
    "all back, s",
    "longest stroke, ms",
)
TEXT = (
    f"Real servers, {PER_POOL} to a virtual server, whose ports all close at once and later open at once; TCP checks with `retry"
    f" {RETRIES}`, `delay_before_retry {DELAY_BEFORE_RETRY_S}` and a `delay_loop` of"
    f" {' and '.join(f'{pause} s for {most:,}' for most, pause in DELAY_LOOPS_S.items())}. Times are from the closing, and from the"
    " opening, until the table shows it of all; the slowest verdict is when the supervisor had the last one, by its own status; *verdict"
    " to kernel* is its own histogram. CPU is that of all processes of a program. The longest stroke is the longest time that our"
    " supervisor's loop gave nobody else a turn, in processor time, while they went and while they came back; it is measured natively."
)
DISTORTION = (
    "That the program, its workers and all real servers share that one processor makes everything slower, who makes more system calls for a"
    " check more than others; stalls are judged natively."
)


def main(words: Sequence[str] | None = None) -> int:
    """Play all and tell what was found; in a guest, its part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only 200, only ours with sentinel, and only natively")
    parser.add_argument("--servers", nargs="+", type=int, default=[1000, 5000])
    parser.add_argument("--limit", type=float, default=ALL_MAX_S, metavar="SECONDS")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    parser.add_argument("--guest", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    sizes = [QUICK_SERVERS] if options.quick else options.servers
    if options.guest:
        inside(options.guest, sizes, options.limit)
        return 0
    found, outcomes = None, list[Outcome]()
    if not options.quick:
        part = ["--servers", *map(str, sizes), "--limit", f"{options.limit * GUEST_PART - guest.BOOT_S:g}"]
        found = guest.played("bench.convergence", part, limit_s=3 * len(sizes) * (START_MAX_S + 2 * LIMIT_S))
        outcomes += sorted((Outcome(**outcome) for outcome in found.results), key=lambda outcome: outcome.servers)
    raise_file_limit(FILES)
    outcomes += [played(who, max(sizes), in_memory=True) for who in (PLAIN, SENTINEL)[options.quick :]]
    guest.tell(section(outcomes, [worker_stall_s(max(sizes))]), found, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
