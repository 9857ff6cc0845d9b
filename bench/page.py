"""What the exporter does with 10,000 real servers: reading a snapshot, /metrics, drawing the picture, each page, and the longest steps.

    python -m bench.page [--virtual-servers N] [--real-servers N] [--quick]

Prints milliseconds of processor time, the best of three rounds. While one step runs, the exporter serves nobody else, so the longest
step is how late a scrape can be. The targets: no step and no page beyond 50 ms, no page beyond 200 kB.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeAlias

from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from bench import section
from supervisor.core.snapshot import Snapshot, decode, decoding, encode
from supervisor.exporter import pages, twins
from supervisor.exporter.__main__ import COLLECT
from supervisor.exporter.extent import Extent
from supervisor.exporter.families import families
from supervisor.exporter.live import event
from supervisor.exporter.picture import Choice, Picture, drawing
from supervisor.exporter.rendering import Written, slices
from tests.fakes import snapshots

ROUNDS = 3
STEP_MAX_MS = 50.0
PAGE_MAX_BYTES = 200_000

Row: TypeAlias = list[object]


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


def longest_ms(steps: Iterable[object]) -> float:
    """Return the milliseconds of the longest step."""
    longest, begin = 0.0, time.process_time()
    for _ in steps:
        now = time.process_time()
        longest, begin = max(longest, now - begin), now
    return longest * 1000


def metrics(snapshot: Snapshot, openmetrics: bool) -> tuple[float, list[Row]]:
    """Print what the text of all families costs, at first and when next to nothing has changed; return the longest step, and rows."""
    encode, _ = choose_encoder("application/openmetrics-text; version=1.0.0" if openmetrics else "")
    written: Written = {}

    def everything() -> Iterable[Metric]:
        return families(snapshot, 1_800_000_000.0, extent=Extent(series_max=0))

    def scrape(written: Written) -> int:
        return sum(len(piece) for piece in slices(everything(), encode, written))

    first_ms, size = best_ms(lambda: scrape({}))
    scrape(written)
    again_ms, _ = best_ms(lambda: scrape(written))
    step_ms = min(longest_ms(slices(everything(), encode)) for _ in range(ROUNDS))
    name = "/metrics OpenMetrics" if openmetrics else "/metrics text"
    told = f"{first_ms:8.1f} ms at first, {again_ms:.1f} ms again, longest step {step_ms:.1f} ms, {size:,} bytes"
    print(f"{name:<20}{told}")
    return step_ms, [
        [f"{name}, at first", f"{first_ms:.1f}", f"{step_ms:.1f}", size],
        [f"{name}, again", f"{again_ms:.1f}", "", size],
    ]


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


TEXT = """Processor time of the exporter, the best of some rounds, for a snapshot of 500 virtual servers with 20 real servers each, and the
longest step: while one step runs it serves nobody else."""


def main() -> int:
    """Measure; return 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--virtual-servers", type=int)
    parser.add_argument("--real-servers", type=int, default=20)
    options = section.options(parser)
    pools = options.virtual_servers or (50 if options.quick else 500)
    gc.set_threshold(*COLLECT)
    snapshot = table(pools, options.real_servers)
    print(f"{pools} virtual servers with {options.real_servers} real servers each")

    encoded_ms, wire = best_ms(lambda: encode(snapshot))
    decoded_ms, _ = best_ms(lambda: decode(wire))
    print(
        f"snapshot            {encoded_ms:8.1f} ms to write, {decoded_ms:.1f} ms to read, {len(wire):,} bytes; /metrics needs it too"
    )
    read_ms = min(longest_ms(decoding(wire)) for _ in range(ROUNDS))
    print(f"reading it in steps, longest {read_ms:.1f} ms")
    rows: list[Row] = [["reading a snapshot", f"{decoded_ms:.1f}", f"{read_ms:.1f}", len(wire)]]
    scraped_ms = 0.0
    for openmetrics in (False, True):
        longest, more = metrics(snapshot, openmetrics)
        scraped_ms, rows = max(scraped_ms, longest), rows + more
    drawn_ms, _ = best_ms(lambda: [None for _ in drawing(snapshot, 0.0)])
    step_ms, picture = min((steps(snapshot) for _ in range(ROUNDS)), key=lambda found: found[0])
    print(f"picture             {drawn_ms:8.1f} ms, longest step {step_ms:.1f} ms")
    rows.append(["the picture of a snapshot", f"{drawn_ms:.1f}", f"{step_ms:.1f}", ""])
    fits, slowest_ms = max(step_ms, read_ms, scraped_ms) <= STEP_MAX_MS, 0.0
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
        rows.append([f"page {name}", f"{took_ms:.1f}", f"{took_ms:.1f}", len(text)])
        slowest_ms = max(slowest_ms, took_ms)
        fits = fits and took_ms <= STEP_MAX_MS and len(text) <= PAGE_MAX_BYTES
    print("within the targets" if fits else "TARGET MISSED")
    shown = section.table("", ["what", "ms of processor", "longest step (ms)", "bytes"], rows)
    judged = [
        section.ratio("exporter_longest_step_ms", round(max(step_ms, read_ms, scraped_ms), 1), STEP_MAX_MS),
        section.ratio("status_page_slowest_ms", round(slowest_ms, 1), STEP_MAX_MS),
    ]
    section.finish(options, section.of("The exporter and its status page", 42, [TEXT], [shown], judged))
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
