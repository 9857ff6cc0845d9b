"""How long a start takes until a kernel's own table has every real server, beside keepalived.

    python -m bench.start_kernel [--quick] [--servers 10000] [--limit SECONDS] [--out FILE]

Boots a kernel with IPVS by itself (tests/kernel/on-ipvs). Both start by turns from an empty table with the same file: virtual servers of 50
real servers, and a TCP_CHECK for each of these. bench.start_reload measures the same natively, where changes of the table cost nothing.
After --limit seconds no further round begins.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import guest
from bench.accounting import Tree, keepalived, lab_environment
from bench.peers import Kind, Work, keepalived_conf
from bench.tables import KernelTable

SERVERS, QUICK_SERVERS = 10_000, 1000
ROUNDS = 5
DELAY_S = 60
NOBODY = 9
"""A port that nobody listens at: the first checks come after the start."""
LOOK_S = 0.05
LIMIT_S = 60.0
ALL_MAX_S = 300.0
ROUNDS_PART = 0.5
"""The part of --limit in which rounds begin: the last one is to end, and the guest has to begin."""
TARGET = 3.0
OURS, THEIRS = "vipervisor", "keepalived"

TEXT = (
    "Both start by turns from an empty table with the same file (virtual servers of 50 real servers, a TCP_CHECK every minute for each of"
    f" them), until the kernel's own table has all of them; it is looked at every {LOOK_S * 1000:g} ms. CPU is that of all processes until"
    " then. Of ours, checkers and exporter start when the table is written."
)
DISTORTION = (
    "That favours who makes few system calls, which is us: keepalived makes one for each real server. Natively, with a table that costs"
    " nothing, we lose by more (Starting and reloading); with IPVS elsewhere it lies between the two."
)


def command(name: str, file: Path) -> list[str]:
    """Return what starts a program with a file."""
    if name == THEIRS:
        return keepalived(file)
    options = ["--state-dir", "off", "--exporter", "off", "--admin-socket", str(file.parent / "admin.sock")]
    return [sys.executable, "-m", "supervisor", "run", "-f", str(file), "--backend", "kernel", *options]


def started(name: str, servers: int) -> dict[str, float]:
    """Start a program from an empty table; return the seconds until it is full. Raises TimeoutError."""
    subprocess.run(["ipvsadm", "-C"], check=True)
    with tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as folder:
        file = Path(folder) / "keepalived.conf"
        file.write_text(keepalived_conf(Work(Kind.TCP, servers, DELAY_S, NOBODY)))
        with Tree(command(name, file), {**os.environ, **lab_environment()}) as tree:
            table = KernelTable()
            while table.count() < servers:
                if time.monotonic() > tree.began + LIMIT_S:
                    raise TimeoutError(f"{name}: {table.count()} of {servers} destinations after {LIMIT_S:g} s")
                time.sleep(LOOK_S)
            return {"time_s": time.monotonic() - tree.began, "cpu_s": tree.cpu_s()}


def inside(file: Path, servers: int, rounds: int, limit_s: float) -> None:
    """Measure, in the guest."""
    found: dict[str, list[dict[str, float]]] = {OURS: [], THEIRS: []}
    end = time.monotonic() + limit_s
    for number in range(rounds):
        if number and time.monotonic() > end:
            print(f"NO TIME for more than {number} rounds", file=sys.stderr)
            break
        for name in (OURS, THEIRS) if number % 2 == 0 else (THEIRS, OURS):
            found[name].append(started(name, servers))
    guest.hand_over(file, {"servers": servers, "starts": found}, guest.versions("keepalived"))


def section(servers: int, starts: Mapping[str, Sequence[Mapping[str, float]]]) -> guest.Section:
    """Make the section of what the guest found."""
    spent = {
        name: {what: [start[what] for start in some] for what in ("time_s", "cpu_s")} for name, some in starts.items()
    }
    ours, theirs = (statistics.median(spent[name]["time_s"]) for name in (OURS, THEIRS))
    rows = [[name, guest.span(one["time_s"]), guest.span(one["cpu_s"])] for name, one in spent.items()]
    return guest.Section(
        title="Starting with a kernel's table",
        order=41,
        text=[TEXT],
        distortion=DISTORTION,
        tables=[
            guest.Table(f"A start with {servers:,} real servers", ["program", "until all are in, s", "CPU, s"], rows)
        ],
        ratios=[guest.Ratio("start_time_by_keepalived_with_ipvs", round(ours / theirs, 2), TARGET)],
    )


def main(words: Sequence[str] | None = None) -> int:
    """Boot a guest and tell what it found; in it, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, and fewer real servers")
    parser.add_argument("--servers", type=int, help=f"how many (default {SERVERS:,}, --quick {QUICK_SERVERS:,})")
    parser.add_argument("--limit", type=float, default=ALL_MAX_S, metavar="SECONDS")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    parser.add_argument("--guest", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    servers = options.servers or (QUICK_SERVERS if options.quick else SERVERS)
    if options.guest:
        inside(options.guest, servers, 1 if options.quick else ROUNDS, options.limit)
        return 0
    rounds_s = options.limit * ROUNDS_PART
    passed = ["--servers", str(servers), "--limit", f"{rounds_s:g}", *(["--quick"] if options.quick else [])]
    found = guest.played("bench.start_kernel", passed, limit_s=options.limit + 2 * LIMIT_S)
    guest.tell(section(**found.results), found, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
