"""Client requests lost to each kind of failure, per program: a short run of what bench.traffic_under_faults plays for hours.

Called as `python -m bench.traffic_under_faults [--quick] --out FILE`. Ours, ours with `sentinel`, keepalived and ldirectord have a network,
web servers and clients of their own each, at the same time in one kernel that is booted for it (tests/kernel/on-ipvs).
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench import guest
from bench.traffic_table import FAULTS as WORDS
from tests.kernel import storm
from tests.kernel.dying import SERVER_FAULTS
from tests.kernel.load import TIMEOUT_S

RATE = 30.0
"""Requests a second, for each program: four times as many must leave something of the processor."""
SEED = 6
ROUND_MAX_S = 180
START_MAX_S = 120
DIRECTOR_FAULTS = ("reload_weight", "restart", "kill", "flush")
ENDLESS: Mapping[str, frozenset[str]] = {"ldirectord": frozenset({"flush"})}
"""What a program does not mend, and is not always in order again after, either, when it is restarted for it."""
NOT_PLAYED = "not played: it does not mend that"
LANES = tuple(
    storm.Lane(
        name,
        contender,
        tuple(fault for fault in (*SERVER_FAULTS, *DIRECTOR_FAULTS) if fault not in ENDLESS.get(name, ())),
    )
    for name, contender in (
        ("ours", "vipervisor"),
        ("sentinel", "vipervisor, sentinel"),
        ("keepalived", "keepalived"),
        ("ldirectord", "ldirectord"),
    )
)
QUICK = ("server_killed",)
QUICK_LANES = ("sentinel", "keepalived")
FAULTS = {
    "server_killed": "SIGKILL of a real server",
    "server_silent": "silent death of a real server's host",
    **{name: WORDS[name] for name in DIRECTOR_FAULTS},
}


def lanes(*, quick: bool) -> list[storm.Lane]:
    """Return who plays what."""
    if quick:
        return [dataclasses.replace(lane, faults=QUICK) for lane in LANES if lane.name in QUICK_LANES]
    return list(LANES)


def inside(file: Path, rounds: int, some: Sequence[storm.Lane]) -> None:
    """Play, in the guest."""
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(len(some)) as threads:

        def one(lane: storm.Lane) -> list[dict[str, Any]]:
            place = Path(name) / lane.name
            return [dataclasses.asdict(event) for event in storm.play(lane, place, rounds, SEED, RATE)]

        Path(name).chmod(0o755)
        played = dict(zip((lane.contender for lane in some), threads.map(one, some), strict=True))
    guest.hand_over(file, played, guest.versions("keepalived", "ldirectord"))


def cell(events: Sequence[Mapping[str, Any]], fault: str) -> str:
    """Say how many requests failed when a fault was played, each time on an average; a fault without an end says so."""
    those = [event for event in events if event["fault"] == fault]
    if not those:
        return ""
    failed = sum(sum(event["failed"].values()) for event in those)
    endless = sum(event["undone"] for event in those)
    return f"{failed / len(those):.0f}" + (f" ({endless} of {len(those)} never mended)" if endless else "")


def section(played: Mapping[str, Sequence[Mapping[str, Any]]], rounds: int) -> guest.Section:
    """Make the section."""
    rows: list[list[guest.Cell]] = [
        [
            words,
            *(NOT_PLAYED if fault in ENDLESS.get(name, ()) else cell(events, fault) for name, events in played.items()),
        ]
        for fault, words in FAULTS.items()
        if any(event["fault"] == fault for events in played.values() for event in events)
    ]
    total = ["*requests in all*", *(sum(event["requests"] for event in events) for events in played.values())]
    text = (
        f"NAT, round robin, three web servers and a fourth real server that is dead; {RATE:g} requests a second for each program, each on"
        " a connection of its own, every tenth held open for half a second before it asks. TCP checks with `delay_loop 1`,"
        " `connect_timeout 1`, `retry 1`, `delay_before_retry 1` or what comes next to it. Every fault was played"
        f" {'once' if rounds == 1 else f'{rounds} times'} at random moments; a figure is how many requests failed each time: refused,"
        f" reset, or not answered within {TIMEOUT_S:g} s. With a stop, Vipervisor leaves the table as its unit says, the others are as"
        " they come. docs/guarantees.md has more kinds of trouble, and a hundred times each."
    )
    return guest.Section(
        "Client requests lost",
        50,
        [text],
        "What is lost depends on how soon it is noticed and on nothing of that.",
        [guest.Table("Failed requests, each time", ["fault", *played], [*rows, total])],
        [],
    )


def main(words: Sequence[str] | None = None) -> int:
    """Boot a guest and tell what it found; in it, play."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a killed server once, ours and keepalived")
    parser.add_argument("--times", type=int, default=1, help="each fault so often")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    parser.add_argument("--guest", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    rounds = 1 if options.quick else options.times
    if options.guest:
        inside(options.guest, rounds, lanes(quick=options.quick))
        return 0
    limit_s = START_MAX_S + rounds * ROUND_MAX_S
    found = guest.played(
        "bench.lost_requests", ["--times", str(rounds), *(["--quick"] if options.quick else [])], limit_s
    )
    guest.tell(section(found.results, rounds), found, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
