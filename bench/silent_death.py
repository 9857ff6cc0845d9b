"""From the silent death of a host until weight 0 is written, natively: with `fast_interval` beside keepalived, on the same real servers.

    python -m bench.silent_death [--servers 50] [--quick] [--out FILE]

Every real server (nginx in a network namespace of its own) has its cable pulled once: from there comes neither a refusal nor an ICMP
message any more. That happens at random moments, one after another, and all see it at the same moment: ours with the article's and with
aggressive timings, each with `fast_interval` as in deploy/examples/fast.conf, and keepalived with both. Our tables are in memory;
keepalived has a kernel that agrees to everything and writes down when (bench/native/ipvs_standin.c), or IPVS where there is one.
bench.noticing_kernel measures the same with IPVS, mostly in User-Mode Linux.

Needs root, and a kernel that allows namespaces: the network is in private ones, which are gone when the programs in them are.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from random import Random
from typing import Any

from bench import section
from bench.accounting import LAB, ROOT, Missing, compiled, keepalived, lab_environment, version
from bench.directors import AGGRESSIVE, ARTICLE, Timing, Who, keepalived_conf
from bench.farm import Farm, address
from bench.fault_round import FIGURES, LIMIT_S, FaultRound, Kind, Pace, Trial, Watcher, figures, p99
from bench.tables import IPVS, WrittenTable
from bench.timed_daemon import TimedDaemon

SERVERS, QUICK_SERVERS = 50, 4
GAP_S = 0.3, 1.0
"""Least and longest time from one death to the next: a detection of ours is mostly over before the next two begin."""
DWELL_S = 2.0
"""So much longer than a round all is well before the first death: every check has had its first probe, and every sentinel stands."""
SEED = 6
TARGET_S = 3.0
PRIVATE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
"""util-linux: whatever is made in there ends with the first process in there."""
SETTLE = 'mount -t tmpfs tmpfs /run && mount -t sysfs sysfs /sys && ip link set lo up && exec "$@"'


@dataclass(frozen=True, slots=True)
class Contender:
    """A program with one of the timings."""

    who: Who
    timing: Timing

    @property
    def name(self) -> str:
        """What it is called in results."""
        return f"{self.who.value}, {self.timing.name}"


CONTENDERS = tuple(Contender(who, timing) for timing in (ARTICLE, AGGRESSIVE) for who in (Who.FAST, Who.KEEPALIVED))
JUDGED = Contender(Who.FAST, AGGRESSIVE)


def contenders(*, quick: bool) -> list[Contender]:
    """Return who is measured: quick, only those who do not need half a minute."""
    return [one for one in CONTENDERS if not quick or one.timing is AGGRESSIVE]


# -- in the private network ----------------------------------------------------------------------------------------------


def by_number(table: WrittenTable) -> Mapping[int, int]:
    """Return the weight of each real server by its number; no key: no destination."""
    first = int(IPv4Address(address(0)))
    weights = table.weights().items()
    return {int(IPv4Address(endpoint.partition(":")[0])) - first: weight for endpoint, weight in weights}


def start_ours(one: Contender, farm: Farm, place: Path, ended: ExitStack) -> Callable[[], Mapping[int, int]]:
    """Start a daemon of ours on its director; return what reads its table."""
    text = keepalived_conf(one.who, one.timing, farm.count)
    ended.enter_context(farm.at(one.name, lambda: TimedDaemon(place, text, "--state-dir", "off", "--workers", "1")))
    return functools.partial(by_number, WrittenTable(place / "writes"))


def start_keepalived(one: Contender, farm: Farm, place: Path) -> Callable[[], Mapping[int, int]]:
    """Start keepalived on its director; return what reads its table."""
    file, writes = place / "keepalived.conf", place / "writes"
    file.write_text(keepalived_conf(one.who, one.timing, farm.count))
    writes.touch()
    standin = {
        "LD_PRELOAD": str(compiled("ipvs_standin.c", "-shared", "-fPIC")),
        "IPVS_STANDIN_WRITES": str(writes),
    }
    farm.run(one.name, keepalived(file), place / "log", standin)
    table = WrittenTable(writes)

    def weights() -> Mapping[int, int]:
        return by_number(table) or (farm.weights(one.name) if IPVS.exists() else {})

    return weights


def inside(file: Path, servers: int, *, quick: bool) -> None:
    """Measure, in the private network, and leave the result in a file."""
    able = contenders(quick=quick)
    with tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as name, ExitStack() as ended:
        folder = Path(name)
        folder.chmod(0o755)
        farm = ended.enter_context(Farm(folder, servers, [one.name for one in able]))
        watchers = []
        for number, one in enumerate(able):
            place = folder / f"director{number}"
            place.mkdir(mode=0o755)
            ours = one.who is not Who.KEEPALIVED
            weights = start_ours(one, farm, place, ended) if ours else start_keepalived(one, farm, place)
            watchers.append(Watcher(one.name, servers, weights))
        slowest_s = max(one.timing.delay_loop_s for one in able)
        played = FaultRound(farm, watchers, [Kind.SILENT], Pace(slowest_s + DWELL_S, slowest_s, GAP_S), Random(SEED))
        try:
            played.play()
        except TimeoutError:
            for log in folder.glob("director*/log"):
                print(log, log.read_text()[-2000:], file=sys.stderr)
            raise
    file.write_text(json.dumps(result(played.over, able, played.false_removals)))


def result(trials: Sequence[Trial], able: Sequence[Contender], false_removals: Mapping[str, int]) -> dict[str, Any]:
    """Return what was found as a JSON value: seconds of each contender's trials, LIMIT_S where it did not notice."""
    return {
        one.name: {
            "gone": [trial.gone.get(one.name, LIMIT_S) for trial in trials],
            "back": [trial.back.get(one.name, LIMIT_S) for trial in trials],
            "false_removals": false_removals[one.name],
        }
        for one in able
    }


# -- outside of it -------------------------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """Return the environment in which there is an `ip`: the machine's own before that of the lab. Raises Missing."""
    places = [
        os.environ.get("PATH", ""),
        "/usr/sbin",
        "/sbin",
        str(LAB / "usr/sbin"),
        str(LAB / "usr/bin"),
        str(LAB / "sbin"),
    ]
    path = ":".join(places)
    found = shutil.which("ip", path=path)
    if found is None:
        raise Missing("there is no ip: deploy/demo/setup programs ip")
    own = lab_environment() if found.startswith(str(LAB)) else os.environ
    return {**own, "PATH": path, "PYTHONPATH": str(ROOT)}


def in_private(command: Sequence[str]) -> None:
    """Run a command in network, mount and process namespaces of its own. Raises Missing without them, and CalledProcessError."""
    around, settled = environment(), [*PRIVATE, "sh", "-c", SETTLE, "sh"]
    try:
        tried = subprocess.run(
            [*settled, "ip", "link", "add", "tried", "type", "bridge"],
            env=around,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise Missing("there is no unshare: it is in util-linux") from error
    if tried.returncode:
        said = tried.stderr.strip() or f"exit status {tried.returncode}"
        raise Missing(f"this needs root, and network namespaces with a bridge, which are not to be had here: {said}")
    subprocess.run([*settled, *command], env=around, cwd=ROOT, check=True)


def measured(servers: int, *, quick: bool) -> dict[str, Any]:
    """Measure in a private network. Raises as `in_private`."""
    with tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as folder:
        file = Path(folder) / "found.json"
        words = ["--servers", str(servers), *(["--quick"] if quick else []), "--inside", str(file)]
        in_private([sys.executable, "-m", "bench.silent_death", *words])
        found: dict[str, Any] = json.loads(file.read_text())
    return found


TEXT = (
    "A host that dies without a word: its cable is pulled out of a switch, so neither refusals nor ICMP messages come any more."
    " Natively, each real server an nginx in a network namespace of its own, the deaths at random moments, one after another, and seen"
    " by all programs at the same moment. HTTP checks with `inhibit_on_failure`; ours with `sentinel` and `fast_interval 0.05`, and with"
    " a `TCP_CHECK` beside (`delay_loop 1`, `connect_timeout 0.2`, `retry 4`), as in deploy/examples/fast.conf: that is what notices"
    " first, whatever the timings of the HTTP check. Our tables are in memory, and where there is no IPVS keepalived is given a kernel"
    " that agrees to everything (`bench/native/ipvs_standin.c`). They are read every 20 ms. With fewer than 100 trials the 99th"
    " percentile is the worst of them."
)


def removals(found: Mapping[str, Any]) -> str:
    """Say who took out whom nothing was wrong with."""
    counts = [f"{name} {one['false_removals']}" for name, one in found.items() if one["false_removals"]]
    return f"Removals of a server that nothing was wrong with: {'; '.join(counts) or 'none, by nobody'}."


def judged(found: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Return the judged figures: name, seconds, target."""
    gone = found[JUDGED.name]["gone"]
    return [
        ("silent_death_fast_interval_native_median_s", round(statistics.median(gone), 3), TARGET_S),
        ("silent_death_fast_interval_native_p99_s", round(p99(gone), 3), TARGET_S),
    ]


def of(found: Mapping[str, Any]) -> section.Section:
    """Return the section of docs/performance.md."""
    tables = [
        section.table(words, ["program", *FIGURES], [[name, *figures(one[what])] for name, one in found.items()])
        for what, words in (("gone", "From the death until weight 0"), ("back", "From its end until its own weight"))
    ]
    ratios = [section.ratio(*figure) for figure in judged(found)]
    versions = {"keepalived": version("keepalived", "-v"), "nginx": version("nginx", "-v")}
    timings = "; ".join(f"{timing.name}: {timing}" for timing in (ARTICLE, AGGRESSIVE))
    texts = [TEXT, f"{timings[0].upper()}{timings[1:]}.", removals(found)]
    return section.of("Noticing a silent host", 25, texts, tables, ratios, versions=versions)


def main() -> int:
    """Measure in a private network and tell; in there, do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--servers",
        type=int,
        help=f"real servers, each of which dies once (default {SERVERS}, --quick {QUICK_SERVERS})",
    )
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    arguments = section.options(parser)
    servers = arguments.servers or (QUICK_SERVERS if arguments.quick else SERVERS)
    if arguments.inside:
        inside(arguments.inside, servers, quick=arguments.quick)
        return 0
    try:
        found = measured(servers, quick=arguments.quick)
    except (Missing, subprocess.CalledProcessError) as error:
        sys.exit(f"bench.silent_death: {error}")
    made = of(found)
    for table in made["tables"]:
        print(f"\n{table['caption']}: {', '.join(table['columns'])}")
        for row in table["rows"]:
            print("  ".join(map(str, row)))
    section.finish(arguments, made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
