"""What the status page costs with 10,000 real servers: reading a snapshot, drawing the picture, each page, and the longest step.

    python -m bench.page [--virtual-servers N] [--real-servers N]

Prints milliseconds of processor time, the best of five rounds. While one step runs, the exporter serves nobody else, so the longest
step is how late a scrape can be. The targets: no step and no page beyond 50 ms, no page beyond 200 kB.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from supervisor.core.snapshot import Snapshot, decode, encode
from supervisor.exporter import pages, twins
from supervisor.exporter.live import event
from supervisor.exporter.picture import Choice, Picture, drawing
from tests.fakes import snapshots

ROUNDS = 5
STEP_MAX_MS = 50.0
PAGE_MAX_BYTES = 200_000


def table(virtual_servers: int, real_servers: int) -> Snapshot:
    """A snapshot of so many virtual servers with so many real servers each, of which one in twenty is down."""
    pools = tuple(
        replace(
            snapshots.article(),
            virtual_server=f"10.{number // 250}.{number % 250}.1:80/tcp",
            real_servers=tuple(
                snapshots.real_server(
                    f"172.{16 + number // 250}.{number % 250}.{server % 250 + 1}", up=server % 20 != 3
                )
                for server in range(real_servers)
            ),
        )
        for number in range(virtual_servers)
    )
    return Snapshot(snapshots.process(), pools)


def best_ms(what: Callable[[], Any]) -> tuple[float, Any]:
    """Return the least processor time of some rounds, and what came of the last."""
    best, found = float("inf"), None
    for _ in range(ROUNDS):
        begin = time.process_time()
        found = what()
        best = min(best, time.process_time() - begin)
    return best * 1000, found


def steps(snapshot: Snapshot) -> tuple[float, Picture]:
    """Draw; return the milliseconds of the longest step, and the picture."""
    longest, picture = 0.0, None
    begin = time.process_time()
    for picture in drawing(snapshot, time.time()):  # noqa: B007  the last one is wanted
        now = time.process_time()
        longest, begin = max(longest, now - begin), now
    assert picture is not None
    return longest * 1000, picture


def main() -> int:
    """Measure; return 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--virtual-servers", type=int, default=500)
    parser.add_argument("--real-servers", type=int, default=20)
    options = parser.parse_args()
    snapshot = table(options.virtual_servers, options.real_servers)
    print(f"{options.virtual_servers} virtual servers with {options.real_servers} real servers each")

    encoded_ms, wire = best_ms(lambda: encode(snapshot))
    decoded_ms, _ = best_ms(lambda: decode(wire))
    print(
        f"snapshot            {encoded_ms:8.1f} ms to write, {decoded_ms:.1f} ms to read, {len(wire):,} bytes; /metrics needs it too"
    )
    drawn_ms, _ = best_ms(lambda: [None for _ in drawing(snapshot, 0.0)])
    step_ms, picture = min((steps(snapshot) for _ in range(ROUNDS)), key=lambda found: found[0])
    print(f"picture             {drawn_ms:8.1f} ms, longest step {step_ms:.1f} ms")
    fits = step_ms <= STEP_MAX_MS
    standing = picture.assessment.virtual_servers[0]
    whole: dict[str, Callable[[], str]] = {
        "/": lambda: pages.overview(picture, Choice(), "lvs1"),
        "/?find=": lambda: pages.overview(picture, Choice("172.16.7.9"), "lvs1"),
        "/?page=3": lambda: pages.overview(picture, Choice(page=3), "lvs1"),
        "/down": lambda: pages.down(picture, Choice(), "lvs1"),
        "/vs/…": lambda: pages.virtual_server(picture, standing, None, Choice(), "lvs1"),
        "/index.json": lambda: str(twins.overview(picture, Choice())),
        "an event": lambda: event(picture).decode(),
    }
    for name, make in whole.items():
        took_ms, text = best_ms(make)
        print(f"{name:<20}{took_ms:8.1f} ms, {len(text):,} bytes")
        fits = fits and took_ms <= STEP_MAX_MS and len(text) <= PAGE_MAX_BYTES
    print("within the targets" if fits else "TARGET MISSED")
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
