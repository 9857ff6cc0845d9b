"""Faults at random moments under continuous client traffic: failed requests with Vipervisor, with keepalived, and with nobody at the table.

    python -m bench.traffic_under_faults --times 100          play every fault so often, then write the figures and the page
    python -m bench.traffic_under_faults --render             only write them again from what was played
    python -m bench.traffic_under_faults [--quick] --out FILE    a minute of it, with ldirectord, for docs/performance.md

Needs an IPVS kernel to throw away (tests/kernel/on-ipvs finds one) and an otherwise idle processor; 100 times take an hour or two. Each
guest plays a few rounds; what it played stays in .lab/traffic-under-faults, so an interrupted run goes on where it was. Remove that
folder when the code has changed. Who plays what is in tests/kernel/storm.py.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bench import lost_requests, traffic_table
from tests.kernel import lab, storm

Groups = Sequence[Sequence[str]]
RAW = lab.ROOT / ".lab" / "traffic-under-faults"
GROUPS = (("children", "k-restarts"), ("restarts", "k-keeps"), ("stops", "k-reloads"), ("nobody",))
"""Lanes that are played at the same time in one guest: two use the waits of each other, more would compete for the processor.

With --alone each has a guest to itself: where others want the processor too, 600 requests a second leave nothing of it."""
ROUND_MAX_S = 300
COMMAND = "python -m bench.traffic_under_faults --times {times}"


def played(lane: str) -> int:
    """Return how many rounds of a lane were played."""
    return sum(json.loads(path.read_text())["rounds"] for path in RAW.glob(f"{lane}.*.json"))


def in_guest(lanes: list[str], rounds: int, seed: int) -> None:
    """Play lanes at the same time, here, and keep what happened."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(lanes)) as threads:

        def one(name: str) -> None:
            place = Path(folder) / name
            try:
                events = storm.play(storm.LANES[name], place, rounds, seed)
            except BaseException:
                for log in place.glob("*.log"):
                    shutil.copy(log, RAW / f"{name}.{seed}.{log.name}")
                raise
            record = {"rounds": rounds, "seed": seed, "kernel": platform.release(), "events": list(map(asdict, events))}
            (RAW / f"{name}.{seed}.json").write_text(json.dumps(record))

        for outcome in [threads.submit(one, name) for name in lanes]:
            outcome.result()


def play(times: int, rounds: int, first_seed: int, groups: Groups) -> int:
    """Start guests until everything was played so often; return how many of them failed."""
    RAW.mkdir(parents=True, exist_ok=True)
    seed = max([first_seed, *(int(path.suffixes[-2][1:]) + 1 for path in RAW.glob("*.json"))])
    lost = 0
    while due := [group for group in groups if min(map(played, group)) < times]:
        for group in due:
            now = min(rounds, times - min(map(played, group)))
            guest = ["tests/kernel/on-ipvs", "-q", "-t", str(60 + now * ROUND_MAX_S), "-w", str(RAW), "--"]
            words = ["--guest", ",".join(group), "--rounds", str(now), "--seed", str(seed), "--raw", str(RAW)]
            done = subprocess.run(
                [*guest, sys.executable, "-m", "bench.traffic_under_faults", *words], cwd=lab.ROOT, check=False
            )
            lost += done.returncode != 0
            seed += 1
            print(
                f"{datetime.now(UTC):%H:%M:%S}",
                {name: played(name) for name in storm.LANES},
                f"guests lost: {lost}",
                flush=True,
            )
            if lost > LOST_MAX:
                return lost
    return lost


LOST_MAX = 10
"""A guest that fails is played again with another seed, and told; with so many there is something to look into."""


def main() -> int:
    """Play and write, or what else was asked for."""
    global RAW  # noqa: PLW0603  the guest sees the folder under another name
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=100, help="how often each fault (default: 100)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds in one guest (default: 5)")
    parser.add_argument("--seed", type=int, default=1, help="of the first guest; the next has the next (default: 1)")
    parser.add_argument("--raw", type=Path, default=RAW, help="where what was played is kept")
    parser.add_argument("--alone", action="store_true", help="one lane at a time, on a busy machine")
    parser.add_argument("--lanes", default=",".join(storm.LANES), help="only these (default: %(default)s)")
    parser.add_argument("--render", action="store_true", help="only write figures and page")
    parser.add_argument("--quick", action="store_true", help="with --out: each fault once")
    parser.add_argument(
        "--out", type=Path, help="play bench.lost_requests instead, and write this section of docs/performance.md"
    )
    parser.add_argument("--guest", help=argparse.SUPPRESS)
    options = parser.parse_args()
    RAW = options.raw
    if options.out or options.quick:
        words = ["--quick"] if options.quick else []
        return lost_requests.main([*words, *(["--out", str(options.out)] if options.out else [])])
    if options.guest:
        in_guest(options.guest.split(","), options.rounds, options.seed)
        return 0
    groups = [[name] for name in storm.LANES] if options.alone else GROUPS
    groups = [chosen for group in groups if (chosen := [name for name in group if name in options.lanes.split(",")])]
    lost = 0 if options.render else play(options.times, options.rounds, options.seed, groups)
    traffic_table.write(RAW, COMMAND.format(times=options.times))
    return int(lost > LOST_MAX)


if __name__ == "__main__":
    sys.exit(main())
