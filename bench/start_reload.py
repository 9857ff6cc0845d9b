"""How long a start and a reload take, beside keepalived, and how both grow with the number of real servers.

    python -m bench.start_reload [--servers 100 1000 5000 10000] [--rounds 3] [--peers vipervisor keepalived] [--out FILE]

For each size both programs start in turn with the same file (virtual servers with PER_POOL real servers, a TCP_CHECK of a port that
answers, every DELAY_S seconds), the table in memory for us and a stand-in for the kernel's side for keepalived. Measured are the
seconds until every real server is in the table, and what `check` (keepalived -t) takes. Then the file is reloaded four times: as it
is, with one weight changed, with half of them, with all. A reload is over when the program tells so (we), or when nothing is written
and next to no processor time is used for QUIET_S (keepalived, which does not tell). CPU is that of all processes of the program, from
the order to the end of the reload: the figure to compare on a machine that has other things to do.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import re
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import accounting, targets
from bench.accounting import ROOT, Tree, compiled, lab_environment, program, version
from bench.peers import Kind, Work, keepalived_conf
from bench.targets import free_port
from checkers.kit.cage import raise_file_limit

DELAY_S = 60
QUIET_S = 1.5
QUIET_SHARE = 0.25
"""A program that uses less than this part of a processor only does its checks."""

PATIENCE_S = 240.0
FILES = 60_000
OURS, THEIRS = "vipervisor", "keepalived"
EDITS = ("nothing", "one", "half", "everything")
GOAL_SERVERS = 10_000
GOALS = (("start_by_keepalived", "start", 3.0), ("unchanged_reload_by_keepalived", "reload, nothing changed", 0.2))


@dataclass(frozen=True, slots=True)
class Cost:
    """What one thing took: seconds by the clock and of CPU."""

    wall_s: float
    cpu_s: float


class Ours:
    """Vipervisor on the memory backend."""

    def __init__(self, folder: Path, servers: int) -> None:
        self.file = folder / "keepalived.conf"
        del servers
        self._socket, self._log = folder / "run/admin.sock", folder / "log"
        command = ["run", "-f", str(self.file), "--backend", "memory", "--state-dir", "off"]
        options = ["--exporter", f"127.0.0.1:{free_port()}", "--admin-socket", str(self._socket)]
        shell = ["sh", "-c", 'exec "$@" >"$0" 2>&1', str(self._log)]
        self.tree = Tree([*shell, *_vipervisor(*command, *options)], _environment())

    def is_full(self) -> bool:
        """Tell whether the table is written: the log says so."""
        return self._log.exists() and b'"event":"daemon.ready"' in self._log.read_bytes().replace(b'": "', b'":"')

    def reload(self) -> None:
        """Reload and wait until the kernel is as wanted. Raises CalledProcessError."""
        command = _vipervisor("reload", "--wait", "--admin-socket", str(self._socket))
        subprocess.run(command, capture_output=True, env=_environment(), check=True)

    @staticmethod
    def check(file: Path) -> list[str]:
        """Return the command that checks a file."""
        return _vipervisor("check", str(file))


class Theirs:
    """keepalived with a kernel that agrees to everything, and counts."""

    def __init__(self, folder: Path, servers: int) -> None:
        self.file = folder / "keepalived.conf"
        self._servers = servers
        count = folder / "changes"
        count.write_bytes(bytes(8))
        with count.open("rb") as file:
            self._changes = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
        environment = lab_environment()
        environment["LD_PRELOAD"] = str(compiled("ipvs_standin.c", "-shared", "-fPIC"))
        environment["IPVS_STANDIN_COUNT"] = str(count)
        pids = ["-p", str(folder / "keepalived.pid"), "-c", str(folder / "checkers.pid")]
        self.tree = Tree([program("keepalived"), "-n", "-l", "-C", "-f", str(self.file), *pids], environment)

    def _count(self) -> int:
        return int(struct.unpack("Q", self._changes[:8])[0])

    def is_full(self) -> bool:
        """Tell whether so many changes were made that all real servers are in."""
        return self._count() >= self._servers + self._servers // PER_POOL

    def reload(self) -> None:
        """Reload and wait until it has become quiet, or PATIENCE_S are over."""
        os.kill(next(iter(self.tree.pids())), signal.SIGHUP)
        before, since, until = (-1, 0.0), time.monotonic(), time.monotonic() + PATIENCE_S
        while time.monotonic() - since < QUIET_S and time.monotonic() < until:
            time.sleep(0.25)
            now = self._count(), self.tree.cpu_s()
            if now[0] != before[0] or now[1] - before[1] > 0.25 * QUIET_SHARE:
                since = time.monotonic()
            before = now

    @staticmethod
    def check(file: Path) -> list[str]:
        """Return the command that checks a file."""
        return [program("keepalived"), "-t", "-f", str(file)]


PER_POOL = 50
PEERS: dict[str, type[Ours | Theirs]] = {OURS: Ours, THEIRS: Theirs}


def _vipervisor(*words: str) -> list[str]:
    return [sys.executable, "-m", "supervisor", *words]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def edited(text: str, what: str) -> str:
    """Return a file in which other weights stand: of one real server, of half of them, of all."""
    match what:
        case "one":
            return text.replace("weight 1\n", "weight 2\n", 1)
        case "half":
            numbers = iter(range(sys.maxsize))
            return re.sub(r"weight \d\n", lambda _: f"weight {3 + next(numbers) % 2}\n", text)
        case "everything":
            return re.sub(r"weight \d\n", "weight 5\n", text)
        case _:
            return text


@contextmanager
def _running(name: str, folder: Path, servers: int, text: str) -> Iterator[Ours | Theirs]:
    (folder / "keepalived.conf").write_text(text)
    peer = PEERS[name](folder, servers)
    with peer.tree:
        yield peer


def _until(what: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not what():
        if time.monotonic() > until:
            raise TimeoutError(f"not within {PATIENCE_S:g} s")
        time.sleep(0.02)


def measured(name: str, servers: int, text: str) -> dict[str, Cost]:
    """Start, reload and check with one program once. Raises TimeoutError, CalledProcessError."""
    costs: dict[str, Cost] = {}
    with tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as place:
        folder = Path(place)
        began = time.monotonic()
        with _running(name, folder, servers, text) as peer:
            _until(peer.is_full)
            costs["start"] = Cost(time.monotonic() - began, peer.tree.cpu_s())
            _settle(peer.tree)
            for what in EDITS:
                text = edited(text, what)
                peer.file.write_text(text)
                began, cpu_s = time.monotonic(), peer.tree.cpu_s()
                peer.reload()
                costs[f"reload, {what} changed"] = Cost(time.monotonic() - began, peer.tree.cpu_s() - cpu_s)
                _settle(peer.tree)
            before, began = os.times(), time.monotonic()
            subprocess.run(
                peer.check(peer.file), capture_output=True, env={**lab_environment(), **_environment()}, check=False
            )
            after = os.times()
            used_s = after.children_user + after.children_system - before.children_user - before.children_system
            costs["check"] = Cost(time.monotonic() - began, used_s)
    return costs


def _settle(tree: Tree) -> None:
    """Wait until a program only does its checks."""
    since, before, until = time.monotonic(), tree.cpu_s(), time.monotonic() + PATIENCE_S
    while time.monotonic() - since < QUIET_S and time.monotonic() < until:
        time.sleep(0.25)
        now = tree.cpu_s()
        if now - before > 0.25 * QUIET_SHARE:
            since = time.monotonic()
        before = now


def compared(servers: int, port: int, peers: Sequence[str], rounds: int) -> list[dict[str, object]]:
    """Measure all programs by turns; print and return medians."""
    text = keepalived_conf(Work(Kind.TCP, servers, DELAY_S, port))
    found: dict[tuple[str, str], list[Cost]] = {}
    for number in range(rounds):
        for name in peers if number % 2 == 0 else reversed(peers):
            for what, cost in measured(name, servers, text).items():
                found.setdefault((name, what), []).append(cost)
    rows: list[dict[str, object]] = []
    for (name, what), costs in found.items():
        cpu, wall = [cost.cpu_s for cost in costs], [cost.wall_s for cost in costs]
        row = {
            "servers": servers,
            "name": name,
            "what": what,
            "cpu_s": round(statistics.median(cpu), 3),
            "low_cpu_s": round(min(cpu), 3),
            "high_cpu_s": round(max(cpu), 3),
            "wall_s": round(statistics.median(wall), 3),
            "rounds": len(costs),
        }
        rows.append(row)
        span = f"({row['low_cpu_s']}-{row['high_cpu_s']})"
        print(f"{servers:>6} {name:<11} {what:<28} {row['cpu_s']:>8} s CPU {span:<18} {row['wall_s']:>8} s", flush=True)
    return rows


def ratios(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Return the judged ratios: CPU of ours by keepalived's, and how the cost of a real server grows with their number."""
    cpu = {(row["name"], row["what"], row["servers"]): float(str(row["cpu_s"])) for row in rows}
    found: list[dict[str, object]] = []
    for label, what, target in GOALS:
        ours, theirs = (cpu.get((name, what, GOAL_SERVERS)) for name in (OURS, THEIRS))
        if ours and theirs:
            found.append({"name": label, "value": round(ours / theirs, 2), "target": target})
    sizes = sorted(
        {int(str(row["servers"])) for row in rows if row["servers"] and int(str(row["servers"])) >= GOAL_SERVERS // 10}
    )
    for label, what in (("start_growth", "start"), ("reload_growth", "reload, nothing changed")):
        if len(sizes) > 1:
            least, most = (cpu[OURS, what, size] / size for size in (sizes[0], sizes[-1]))
            found.append({"name": f"{label}_{sizes[0]}_to_{sizes[-1]}", "value": round(most / least, 2), "target": 1.3})
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", nargs="+", type=int, default=[100, 1000, 5000, 10_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    arguments = parser.parse_args()
    raise_file_limit(FILES)
    rows: list[dict[str, object]] = []
    with (
        tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as name,
        targets.native(Path(name), distinct=False) as served,
    ):
        for servers in arguments.servers:
            rows += compared(servers, served.port, arguments.peers, arguments.rounds)
    judged = ratios(rows)
    if arguments.out is not None:
        words = " ".join(word for word in sys.argv[1:] if not word.startswith("--out"))
        versions = {OURS: f"Python {sys.version.partition(' ')[0]}", THEIRS: version("keepalived", "-v")}
        result = {
            "command": f"python -m bench.start_reload {words}".strip(),
            "machine": accounting.machine(),
            "versions": versions,
            "rows": rows,
            "ratios": judged,
        }
        arguments.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    for ratio in judged:
        print(f"ratio {ratio['name']} {ratio['value']} target {ratio['target']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
