"""What a real server takes in memory: resident, in the supervisor and in the workers, apart from what they take without any.

    python -m bench.memory [--servers 100 10000] [--rounds 3] [--delay 20] [--quick] [--out FILE]

Starts the daemon (table in memory) with `--servers` real servers in virtual servers of PER_POOL, a TCP_CHECK of a port that answers every
--delay seconds, and looks when every check has spoken. The memory of one real server is the difference of two sizes, divided by the
number of real servers between them: of the supervisor, and of all workers together, each of which takes its base once. What was resident
before is told too; shared pages of each process are counted again.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench import section, targets
from bench.accounting import ROOT, Tree
from bench.peers import Kind, Work, keepalived_conf
from bench.section import Section
from bench.targets import free_port
from checkers.kit.cage import raise_file_limit
from supervisor.admin.client import ask
from supervisor.admin.protocol import Request, RequestError

DELAY_S = 20
PER_POOL = 50
WORKERS = 2
PATIENCE_S = 180.0
AFTER_S = 3.0
NOBODY = "192.0.2.254"
"""A pattern that fits nobody: who asks for all would have the answer made in the memory that is measured."""

FILES = 60_000
PARTS = {"supervisor": "-m supervisor run", "workers": "-m checkers", "exporter": "-m supervisor.exporter"}
SIZES, QUICK_SIZES = (100, 1000, 10_000), (100, 10_000)
SUPERVISOR_MAX_MIB, SERVER_MAX_KIB = 64, 6
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Resident:
    """KiB of each part: once every check has spoken, and after a reload with one weight changed."""

    spoken: dict[str, int]
    reloaded: dict[str, int]


def measured(servers: int, port: int, delay_s: int) -> Resident:
    """Run the daemon once. Raises TimeoutError, RequestError."""
    with tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as place:
        folder = Path(place)
        file, socket = folder / "keepalived.conf", folder / "run/admin.sock"
        text = keepalived_conf(Work(Kind.TCP, servers, delay_s, port), per_pool=PER_POOL)
        file.write_text(text)
        command = [sys.executable, "-m", "supervisor", "run", "-f", str(file), "--backend", "memory"]
        command += ["--state-dir", "off", "--workers", str(WORKERS), "--admin-socket", str(socket)]
        command += ["--exporter", f"127.0.0.1:{free_port()}"]
        with Tree(command, {**os.environ, "PYTHONPATH": str(ROOT)}) as tree:
            _wait_for(socket)
            spoken = _resident(tree)
            file.write_text(text.replace("weight 1\n", "weight 2\n", 1))
            ask(socket, Request("reload", {"wait_s": PATIENCE_S}), PATIENCE_S)
            time.sleep(AFTER_S)
            return Resident(spoken, _resident(tree))


def _wait_for(socket: Path) -> None:
    """Wait until every check has spoken, and a while longer."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        time.sleep(1)
        with suppress(RequestError):
            if ask(socket, Request("status", {"patterns": [NOBODY]}))["process"]["ready"]:
                time.sleep(AFTER_S)
                return
    raise TimeoutError(f"not every check had spoken within {PATIENCE_S:g} s")


def _resident(tree: Tree) -> dict[str, int]:
    return {name: tree.resident_kb(part) for name, part in PARTS.items()}


TEXT = [
    """Resident memory of the processes when every check has spoken, with the table in memory, and after a reload with one weight changed;
pages that processes share are counted for each. What a real server takes is the difference between the largest and the smallest size. The
workers share the real servers, and each has its base: the interpreter and the checkers.""",
]


def _median(found: Sequence[Resident], part: str, *, reloaded: bool = False) -> int:
    return round(statistics.median((one.reloaded if reloaded else one.spoken)[part] for one in found))


def ratios(found: dict[int, list[Resident]]) -> list[dict[str, object]]:
    """Return the judged figures: MiB of the supervisor at the largest size, KiB of a real server in supervisor and workers."""
    few, many = min(found), max(found)
    each = {
        part: (_median(found[many], part) - _median(found[few], part)) / max(many - few, 1)
        for part in ("supervisor", "workers")
    }
    whole = _median(found[many], "supervisor") / 1024
    return [
        section.ratio(f"memory_supervisor_mib_at_{many}", round(whole, 1), SUPERVISOR_MAX_MIB),
        section.ratio("memory_workers_kib_a_real_server", round(each["workers"], 2), SERVER_MAX_KIB),
        section.ratio("memory_supervisor_kib_a_real_server", round(each["supervisor"], 2), SERVER_MAX_KIB),
    ]


def result(found: dict[int, list[Resident]]) -> Section:
    """Return the section of docs/performance.md (`bench.report`)."""
    columns = ["real servers", *PARTS, "supervisor after a reload", "workers after a reload"]
    rows = [
        [
            servers,
            *(_median(some, part) for part in PARTS),
            *(_median(some, part, reloaded=True) for part in ("supervisor", "workers")),
        ]
        for servers, some in sorted(found.items())
    ]
    return section.of(
        "Memory", 45, TEXT, [section.table(f"Resident KB, {WORKERS} workers", columns, rows)], ratios(found)
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", nargs="+", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument(
        "--delay", type=int, default=DELAY_S, metavar="SECONDS", help="between two probes of a real server"
    )
    arguments = section.options(parser)
    quick: bool = arguments.quick
    raise_file_limit(FILES)
    found: dict[int, list[Resident]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as name,
        targets.native(Path(name), distinct=False) as served,
    ):
        for _ in range(arguments.rounds or (1 if quick else ROUNDS)):
            for servers in arguments.servers or (QUICK_SIZES if quick else SIZES):
                one = measured(servers, served.port, arguments.delay)
                found.setdefault(servers, []).append(one)
                for what, parts in (("every check has spoken", one.spoken), ("reloaded", one.reloaded)):
                    told = "  ".join(f"{part} {kib:>7,} KB" for part, kib in parts.items())
                    print(f"{servers:>6} {what:<24} {told}", flush=True)
    section.finish(arguments, result(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
