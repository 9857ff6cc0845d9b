"""How long a start and a reload take, beside keepalived, and how both grow with the number of real servers.

    python -m bench.start_reload [--servers N …] [--per-pool 50 5] [--rounds 4] [--peers vipervisor keepalived] [--quick] [--out FILE]

For each size both programs start in turn with the same file (virtual servers with `--per-pool` real servers, a TCP_CHECK of a port that
answers, every DELAY_S seconds), the table in memory for us and a stand-in for the kernel's side for keepalived. Then the file is reloaded:
as it is, with one weight changed, with half of them, with all; and checked (keepalived -t). The first of `--per-pool` is measured at all
sizes, the others at GOAL_SERVERS alone. Every round has a start and a check; the first RELOAD_ROUNDS have the reloads.

A start is over when every real server is in the table; its time and its CPU, that of all processes, count from the exec on. A reload is
over when the program tells so (we), or when it has become quiet (keepalived, which does not tell): nothing is written, and next to no
processor time is used for QUIET_S, which are not counted. Its CPU is that of all processes from the order until they have become quiet,
for both, so nothing is left out that is done afterwards; less what they use for as long when nobody reloads (measured in QUIET_S): their
checks and looks at the table go on meanwhile. keepalived's reload is quadratic; it is measured once, and not beyond 10,000.
"""

from __future__ import annotations

import argparse
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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench import section, targets
from bench.accounting import ROOT, Tree, compiled, keepalived, lab_environment, program, version
from bench.peers import Kind, Work, keepalived_conf
from bench.section import Section
from bench.targets import free_port
from checkers.kit.cage import raise_file_limit
from supervisor.admin.client import ask
from supervisor.admin.protocol import Request

DELAY_S = 60
QUIET_S = 1.5
OUR_LOOK, THEIR_LOOK = (0.25, 0.4), (0.05, 0.05)
"""How often is looked, in seconds, and what part of a processor a program may use meanwhile if it only does its checks. Ours tells when
it has reloaded, and reads a table of 10,000 destinations every second; keepalived does not tell, and reloads 1,000 within 20 ms."""

CHECK_MAX_S = 0.001
"""So much more for each check that is made: on a slow machine that is no reload. Ours: several times what one costs."""

AFTER_MAX_S = 5.0
"""So long at most is looked at what we do after the end that we told."""

PATIENCE_S = 240.0
FILES = 60_000
READY = b'"event": "daemon.ready"'
LOOK_FULL_S = 0.002
"""How often is looked whether a table is full: what is used until then is no part of a start."""

OURS, THEIRS = "vipervisor", "keepalived"
EDITS = ("nothing", "one", "half", "everything")
RELOADS = ("nothing", *EDITS)
"""Ours in one round: what is judged twice, for it differs by a third from one time to the next."""

RELOAD_ROUNDS = 2
START, CHECK = "start", "check"
GOAL_SERVERS = 10_000
SIZES, QUICK_SIZES = (100, 1000, 5000, GOAL_SERVERS, 20_000), (1000, GOAL_SERVERS)
THEIR_RELOADS_MAX = 10_000
"""keepalived reloads up to here, and in the first round alone: beyond it the measurement would take too long."""

GROWTH = 1000, GOAL_SERVERS, 20_000
GROWTH_MAX = 1.3
ROUNDS = 4
GOALS = ((START, "start", 3.0), ("nothing", "unchanged_reload", 0.2))


@dataclass(frozen=True, slots=True)
class Cost:
    """What one thing took: seconds by the clock, and of CPU."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Quiet:
    """When a program became quiet (time.monotonic), the CPU seconds that it had used until then, and those it used a second from then."""

    at: float
    cpu_s: float
    each_second_s: float


@dataclass(frozen=True, slots=True)
class Case:
    """So many real servers, so many of them in one virtual server."""

    servers: int
    per_pool: int


class Ours:
    """Vipervisor on the memory backend."""

    def __init__(self, folder: Path, case: Case) -> None:
        self.look = _look(OUR_LOOK, case)
        self.file = folder / "keepalived.conf"
        self._socket, self._log = folder / "run/admin.sock", folder / "log"
        command = ["run", "-f", str(self.file), "--backend", "memory", "--state-dir", "off"]
        options = ["--exporter", f"127.0.0.1:{free_port()}", "--admin-socket", str(self._socket)]
        self.tree = Tree(_vipervisor(*command, *options), _environment(), self._log)
        self._read = 0  # bytes of the log

    def is_full(self) -> bool:
        """Tell whether the table is written: the log says so."""
        with self._log.open("rb") as file:
            file.seek(max(self._read - len(READY), 0))
            new = file.read()
            self._read = file.tell()
        return READY in new

    def changes(self) -> int:
        """Return how often the kernel's side was written to: it tells when it is done, so nobody has to count."""
        return 0

    def reload(self) -> float | None:
        """Reload, wait until the kernel is as wanted, and return when that was. Raises RequestError."""
        ask(self._socket, Request("reload", {"wait_s": PATIENCE_S}), PATIENCE_S)
        return time.monotonic()

    @staticmethod
    def check(file: Path) -> list[str]:
        """Return the command that checks a file."""
        return _vipervisor("check", str(file))


class Theirs:
    """keepalived with a kernel that agrees to everything, and counts."""

    def __init__(self, folder: Path, case: Case) -> None:
        self.file = folder / "keepalived.conf"
        self._wanted = case.servers + -(-case.servers // case.per_pool)
        self.look = _look(THEIR_LOOK, case)
        count = folder / "changes"
        count.write_bytes(bytes(8))
        with count.open("rb") as file:
            self._changes = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
        environment = lab_environment()
        environment["LD_PRELOAD"] = str(compiled("ipvs_standin.c", "-shared", "-fPIC"))
        environment["IPVS_STANDIN_COUNT"] = str(count)
        self.tree = Tree(keepalived(self.file), environment)

    def is_full(self) -> bool:
        """Tell whether so many changes were made that all real servers are in."""
        return self.changes() >= self._wanted

    def changes(self) -> int:
        """Return how often the kernel's side was written to."""
        return int(struct.unpack("Q", self._changes[:8])[0])

    def reload(self) -> float | None:
        """Have it reload; it does not tell when that is over."""
        os.kill(next(iter(self.tree.pids())), signal.SIGHUP)
        return None

    @staticmethod
    def check(file: Path) -> list[str]:
        """Return the command that checks a file."""
        return [program("keepalived"), "-t", "-f", str(file)]


PEERS: dict[str, type[Ours | Theirs]] = {OURS: Ours, THEIRS: Theirs}


def _look(usual: tuple[float, float], case: Case) -> tuple[float, float]:
    look_s, share = usual
    return look_s, share + case.servers / DELAY_S * CHECK_MAX_S


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
def _running(name: str, folder: Path, case: Case, text: str) -> Iterator[Ours | Theirs]:
    (folder / "keepalived.conf").write_text(text)
    peer = PEERS[name](folder, case)
    with peer.tree:
        yield peer


def _until(what: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not what():
        if time.monotonic() > until:
            raise TimeoutError(f"not within {PATIENCE_S:g} s")
        time.sleep(LOOK_FULL_S)


def _quiet(peer: Ours | Theirs) -> Quiet:
    """Wait until a program only does its checks."""
    most_s = AFTER_MAX_S if isinstance(peer, Ours) else PATIENCE_S
    look_s, share = peer.look
    began = time.monotonic()
    if isinstance(peer, Ours):
        # what its checkers do when it has told counts as well, though it may be so little that they seem to be at rest
        time.sleep(look_s)
    now, cpu_s, waited_s, changes = time.monotonic(), peer.tree.cpu_s(), _waited_s(peer.tree), peer.changes()
    busy = now, cpu_s
    while now - busy[0] < QUIET_S and now - began < most_s:
        time.sleep(look_s)
        before = cpu_s + waited_s, changes
        now, cpu_s, waited_s, changes = time.monotonic(), peer.tree.cpu_s(), _waited_s(peer.tree), peer.changes()
        if cpu_s + waited_s - before[0] > look_s * share or changes != before[1]:
            busy = now, cpu_s
    rested_s = now - busy[0]
    return Quiet(*busy, (cpu_s - busy[1]) / rested_s if rested_s >= QUIET_S else 0.0)


def _waited_s(tree: Tree) -> float:
    """Return how long the processes that there are would have run and had no processor: on a busy machine one may not get far."""
    waited_ns = 0
    for pid in tree.pids():
        with suppress(OSError):
            waited_ns += int(Path(f"/proc/{pid}/schedstat").read_text().split()[1])
    return waited_ns / 1e9


def measured(name: str, case: Case, text: str, edits: Sequence[str]) -> list[tuple[str, Cost]]:
    """Start, reload and check with one program once. Raises TimeoutError, RequestError."""
    costs: list[tuple[str, Cost]] = []
    with (
        tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as place,
        _running(name, Path(place), case, text) as peer,
    ):
        _until(peer.is_full)
        full, cpu_s = time.monotonic(), peer.tree.cpu_s()
        costs.append((START, Cost(full - peer.tree.began, cpu_s)))
        if edits:
            _quiet(peer)  # what keepalived does now are its first checks, and no part of a start
        for what in edits:
            text = edited(text, what)
            peer.file.write_text(text)
            began, cpu_s = time.monotonic(), peer.tree.cpu_s()
            told = peer.reload()
            quiet = _quiet(peer)
            used_s = quiet.cpu_s - cpu_s - quiet.each_second_s * (quiet.at - began)
            costs.append((what, Cost((told or quiet.at) - began, max(used_s, 0.0))))
        before, began = os.times(), time.monotonic()
        environment = {**lab_environment(), **_environment()}
        subprocess.run(peer.check(peer.file), capture_output=True, env=environment, check=False)
        after = os.times()
        used_s = after.children_user + after.children_system - before.children_user - before.children_system
        costs.append((CHECK, Cost(time.monotonic() - began, used_s)))
    return costs


def edits_of(name: str, case: Case, number: int, *, quick: bool) -> Sequence[str]:
    """Return what is reloaded in one round: for us everything, for keepalived what does not take too long."""
    if name == OURS:
        reloads = EDITS if quick else RELOADS
        return reloads if number < RELOAD_ROUNDS else ()
    if case.servers > THEIR_RELOADS_MAX or number > 0:
        return ()
    return EDITS[:1] if quick else EDITS


def compared(case: Case, port: int, peers: Sequence[str], rounds: int, *, quick: bool) -> list[dict[str, object]]:
    """Measure all programs by turns; print and return medians."""
    text = keepalived_conf(Work(Kind.TCP, case.servers, DELAY_S, port), per_pool=case.per_pool)
    found: dict[tuple[str, str], list[Cost]] = {}
    for number in range(rounds):
        for name in peers if number % 2 == 0 else reversed(peers):
            for what, cost in measured(name, case, text, edits_of(name, case, number, quick=quick)):
                found.setdefault((name, what), []).append(cost)
    rows: list[dict[str, object]] = []
    for (name, what), costs in sorted(found.items()):
        cpu, wall = [cost.cpu_s for cost in costs], [cost.wall_s for cost in costs]
        row = {
            "servers": case.servers,
            "per_pool": case.per_pool,
            "name": name,
            "what": what,
            "cpu_s": round(statistics.median(cpu), 3),
            "low_cpu_s": round(min(cpu), 3),
            "high_cpu_s": round(max(cpu), 3),
            "wall_s": round(statistics.median(wall), 3),
            "rounds": len(costs),
        }
        rows.append(row)
        span, shown = (
            f"({row['low_cpu_s']}-{row['high_cpu_s']})",
            what if what in {START, CHECK} else f"reload, {what} changed",
        )
        size = f"{case.servers:>6} in pools of {case.per_pool:<3}"
        print(f"{size} {name:<11} {shown:<27} {row['cpu_s']:>8} s CPU {span:<18} {row['wall_s']:>8} s", flush=True)
    return rows


def ratios(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Return the judged ratios: time and CPU of ours by keepalived's, and how the cost of one more real server grows with their number."""
    cost = {
        (row["name"], row["what"], row["servers"], row["per_pool"]): (
            float(str(row["wall_s"])),
            float(str(row["cpu_s"])),
        )
        for row in rows
    }
    pools = list(dict.fromkeys(int(str(row["per_pool"])) for row in rows))
    found: list[dict[str, object]] = []
    for what, label, target in GOALS:
        for pool in pools:
            ours, theirs = (cost.get((name, what, GOAL_SERVERS, pool)) for name in (OURS, THEIRS))
            if ours and theirs:
                for kind, one, other in zip(("time", "cpu"), ours, theirs, strict=True):
                    name = f"{label}_{kind}_by_keepalived_in_pools_of_{pool}"
                    found.append({"name": name, "value": round(one / max(other, 0.01), 3), "target": target})
    low, middle, high = GROWTH
    for what, label, _ in GOALS:
        spent = [cost.get((OURS, what, size, pools[0])) for size in GROWTH]
        below, here, above = (found_cost[1] if found_cost else 0.0 for found_cost in spent)
        if below and here and above:
            growth = (above - here) / (high - middle) / ((here - below) / (middle - low))
            found.append({"name": f"{label}_growth_{low}_to_{high}", "value": round(growth, 2), "target": GROWTH_MAX})
    return found


TEXT = [
    """Both programs start with the same file (a TCP_CHECK every minute for each real server, all of which answer), reload it, and
check it; our table is in memory, and keepalived has a kernel that agrees to everything. Time is from the order until the table is full,
or the reload told as done; keepalived does not tell, so its reload ends when it has become quiet. CPU is that of all processes; of a
reload until they have become quiet, less what they use for as long when nobody reloads. A start of ours brings up one Python
interpreter until then, which is most of it at few real servers; those of the checkers and of the exporter follow when the table is
written, and are not counted, as what keepalived does later.""",
    """Three times what keepalived needs for a start is hardly more than Python needs to load itself and the libraries that this program
is built on: with a table that costs nothing that target is out of reach. bench.start_kernel has the table of a kernel.""",
    f"""keepalived looks for each old server among all new ones, so its reload is quadratic; it is measured once, and up to
{THEIR_RELOADS_MAX:,} real servers. Growth is what one more real server costs beyond {GOAL_SERVERS:,}, by what one costs below.""",
]

COLUMNS = (START, *EDITS, CHECK)


def result(rows: Sequence[dict[str, object]]) -> Section:
    """Return the section of docs/performance.md (`bench.report`)."""
    cases = list(dict.fromkeys((row["servers"], row["per_pool"], row["name"]) for row in rows))
    found = {(row["servers"], row["per_pool"], row["name"], row["what"]): row for row in rows}

    def cell(case: tuple[object, object, object], what: str, name: str) -> object:
        row = found.get((*case, what))
        if row is None:
            return ""
        return f"{row['cpu_s']} ({row['low_cpu_s']}-{row['high_cpu_s']})" if name == "cpu_s" else str(row[name])

    columns = ["real servers", "in pools of", "program", "start", *(f"reload, {edit}" for edit in EDITS), "check"]
    tables = [
        section.table(caption, columns, [[*case, *(cell(case, what, name) for what in COLUMNS)] for case in cases])
        for caption, name in (("CPU in seconds", "cpu_s"), ("Time in seconds", "wall_s"))
    ]
    versions = {THEIRS: version("keepalived", "-v")}
    return section.of("Starting and reloading", 40, TEXT, tables, ratios(rows), versions=versions)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", nargs="+", type=int)
    parser.add_argument("--per-pool", nargs="+", type=int, help="real servers in a virtual server (50 5)")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    arguments = section.options(parser)
    quick: bool = arguments.quick
    sizes = arguments.servers or (QUICK_SIZES if quick else SIZES)
    first, *others = arguments.per_pool or ([50] if quick else [50, 5])
    cases = [Case(size, first) for size in sizes]
    cases += [Case(GOAL_SERVERS, pool) for pool in others if GOAL_SERVERS in sizes]
    raise_file_limit(FILES)
    rows: list[dict[str, object]] = []
    with (
        tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as name,
        targets.native(Path(name), distinct=False) as served,
    ):
        for case in cases:
            rounds = arguments.rounds or (1 if quick else ROUNDS)
            rows += compared(case, served.port, arguments.peers, rounds, quick=quick)
    section.finish(arguments, result(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
