"""Plants the bugs of `mutants` one at a time in a copy of the program, and lets the simulation look for each.

    python -m tests.sim.mutate              all of them; the last line is `caught=C planted=P`
    python -m tests.sim.mutate --only 7     one of them, with what was found

Exit status 1 when one was not caught.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from tests.sim.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]

SEEDS_MAX = 80
"""So many seeds are tried before a bug counts as missed."""

PATIENCE_S = 1800
"""Longest search for one bug, in seconds of real time, on a machine that has other things to do."""


@dataclass(frozen=True)
class Verdict:
    """What the simulation said of one bug."""

    mutant: Mutant
    caught: bool
    said: str
    lasted_s: float


@contextmanager
def copies(number: int) -> Iterator[SimpleQueue[Path]]:
    """So many copies of everything that a life needs."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        free: SimpleQueue[Path] = SimpleQueue()
        for index in range(number):
            copy = Path(folder) / str(index)
            for part in ("supervisor", "checkers", "tests/fakes", "tests/sim"):
                shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
            free.put(copy)
        yield free


CONTROL = Mutant("supervisor/core/quorum.py", "import annotations", "import annotations", "no bug at all")
"""What must not be caught: else the simulation itself is broken, and catches everything."""


def try_one(mutant: Mutant, free: SimpleQueue[Path], seeds: int = SEEDS_MAX) -> Verdict:
    """Plant one bug, look for it, and take it out again."""
    copy = free.get()
    began = time.monotonic()
    path = copy / mutant.file
    text = path.read_text()
    try:
        assert text.count(mutant.old) == 1, f"{mutant.file}: {mutant.old!r} occurs {text.count(mutant.old)} times"
        path.write_text(text.replace(mutant.old, mutant.new))
        command = [sys.executable, "-B", "-m", "tests.sim", "--hunt", str(seeds)]
        try:
            ended = subprocess.run(
                command,
                cwd=copy,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
                env=_environment(copy),
            )
            said, caught = (ended.stdout.strip() or ended.stderr.strip()[-600:]), ended.returncode == 1
        except subprocess.TimeoutExpired:
            said, caught = f"nothing after {PATIENCE_S} s", False
    finally:
        path.write_text(text)
        free.put(copy)
    return Verdict(mutant, caught, said, time.monotonic() - began)


def _environment(copy: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}


def try_all(mutants: Sequence[Mutant], jobs: int) -> Iterator[Verdict]:
    """Try them, several at once, and yield what came of each in their order."""
    with copies(jobs) as free, ThreadPoolExecutor(jobs) as pool:
        control = try_one(CONTROL, free, seeds=5)
        if control.caught:
            raise SystemExit(f"the simulation finds fault with the program as it is: {control.said}")
        yield from pool.map(lambda mutant: try_one(mutant, free), mutants)


def main() -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.mutate")
    parser.add_argument("--only", type=int, help="number of one mutant")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    chosen = MUTANTS[asked.first :] if asked.only is None else (MUTANTS[asked.only],)
    caught = 0
    for index, verdict in enumerate(try_all(chosen, min(asked.jobs, len(chosen)))):
        caught += verdict.caught
        word = "caught" if verdict.caught else "MISSED"
        where, number = Path(verdict.mutant.file).name, (asked.only or asked.first) + index
        print(f"{number:3} {word} {verdict.lasted_s:6.1f} s  {where}: {verdict.mutant.why}", flush=True)
        print(f"        {verdict.said[:300]}", flush=True)
    print(f"caught={caught} planted={len(chosen)}")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
