"""Vipervisor and keepalived, each with its exporters, under the same faults and one Prometheus: what one sees, and how soon.

    python -m bench.observed --rounds 7       play every fault so often, ask the questions, then write data and page
    python -m bench.observed --render         only write them again from what was played

Needs an IPVS kernel to throw away (tests/kernel/on-ipvs finds one). What was played stays in .lab/observed, so that an interrupted run goes
on where it was; remove that folder when the code has changed. Faults are in `faults`, the questions in `questions`, the page is `page`.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from bench.observed import faults, page, questions
from bench.observed.lanes import street
from tests.kernel import lab

RAW = lab.ROOT / ".lab" / "observed"
GUEST_ROUNDS = 3
ROUND_MAX_S, START_MAX_S = 900, 240
LOST_MAX = 6
"""A guest that fails is started again; with so many there is something to look into."""


def in_guest(raw: Path, due: list[str], rounds: int, seed: int) -> None:
    """Play faults here, so often, and keep what was seen; without a fault: ask the questions."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        try:
            with street(folder) as (ours, theirs, prometheus):
                if not due:
                    record = {"versions": versions(), "answers": questions.answers((ours, theirs))}
                    (raw / "questions.json").write_text(json.dumps(record))
                    return
                random = Random(seed)
                seen = []
                for fault in [fault for _ in range(rounds) for fault in random.sample(due, len(due))]:
                    seen.append(asdict(faults.play((ours, theirs), prometheus, fault, random)))
                    print(f"{datetime.now(UTC):%H:%M:%S}", seen[-1], flush=True)
                    record = {"kernel": platform.release(), "scrape_s": faults.scrape_s(prometheus), "seen": seen}
                    (raw / f"trials.{seed}.json").write_text(json.dumps(record))
        finally:
            for log in folder.rglob("*.log"):
                shutil.copy(log, raw / f"{seed}.{log.name}")


def versions() -> list[str]:
    """Return the versions of what Debian brings."""
    found = []
    for program in ("keepalived", "prometheus", "prometheus-node-exporter"):
        done = subprocess.run([program, "--version"], check=False, capture_output=True, text=True)
        version = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
        found.append(f"{program} {version[0] if version else '?'}")
    return found


def missing(times: int) -> dict[str, int]:
    """Return how often each fault has still to be played, if it has."""
    seen = [trial for path in RAW.glob("trials.*.json") for trial in json.loads(path.read_text())["seen"]]
    done = Counter(trial["fault"] for trial in seen)
    return {fault: times - done[fault] for fault in sorted(faults.FAULTS) if done[fault] < times}


def guest(due: Collection[str], rounds: int, seed: int) -> bool:
    """Start a guest that plays; tell whether it went well."""
    kernel = ["tests/kernel/on-ipvs", "-q", "-t", str(START_MAX_S + rounds * ROUND_MAX_S), "-w", str(RAW), "--"]
    command = [sys.executable, "-m", "bench.observed", "--guest", ",".join(due), "--rounds", str(rounds)]
    command += ["--seed", str(seed), "--raw", str(RAW)]
    return subprocess.run([*kernel, *command], cwd=lab.ROOT, check=False).returncode == 0


def play(times: int) -> bool:
    """Start guests until every fault was played so often and the questions are answered; tell whether that is so."""
    RAW.mkdir(parents=True, exist_ok=True)
    seed = 1 + max([0, *(int(path.suffixes[-2][1:]) for path in RAW.glob("trials.*.json"))])
    lost = 0
    while lost <= LOST_MAX and (due := missing(times)):
        lost += not guest(due, min(GUEST_ROUNDS, *due.values()), seed)
        seed += 1
    while lost <= LOST_MAX and not (RAW / "questions.json").exists():
        lost += not guest((), 1, 0)
    return lost <= LOST_MAX


def main() -> int:
    """Play and write, or what else was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how often each fault (default: 7)")
    parser.add_argument("--render", action="store_true", help="only write data and page")
    parser.add_argument("--guest", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--raw", type=Path, default=RAW, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.guest is not None:
        in_guest(options.raw, [fault for fault in options.guest.split(",") if fault], options.rounds, options.seed)
        return 0
    if not options.render and not play(options.rounds):
        return 1
    page.write(RAW, f"python -m bench.observed --rounds {options.rounds}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
