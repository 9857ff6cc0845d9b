"""How long the command line takes to answer with 10,000 real servers, what it costs, and how long it keeps the daemon's loop.

    python -m bench.verbs [--servers N] [--times N] [--limit SECONDS] [--quick]

The daemon is a real one with its table in memory (`bench.scrape`). Of each verb are printed the time from start to end as the shell sees
it, the processor time of the command (both medians), and the longest stroke that answering took of the daemon's loop (`bench.strokes`).
The targets: processor time below ANSWER_MAX_MS for what tells of a few servers, no stroke beyond STROKE_MAX_MS.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench import section, strokes
from bench.scrape import LIMIT_S, STROKE_MAX_MS, Clock, Daemon, OutOfTime, listener

ANSWER_MAX_MS = 100.0

FEW = (
    ("--version",),
    ("version",),
    ("status", "127.1.0.7"),
    ("status", "--down"),
    ("why", "127.1.0.7"),
    ("history", "127.1.0.7"),
    ("events",),
    ("ready",),
    ("alerts",),
    ("complete", "--", "why", "127.1.0"),
)
ALL = (("status",), ("status", "--json"))


def spent_s() -> float:
    """Return the processor time of all commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(daemon: Daemon, words: tuple[str, ...], times: int) -> tuple[float, float, list[object]]:
    """Type a verb so often, print what it took; return processor time and longest stroke in milliseconds, and a row."""
    took, used, began = list[float](), list[float](), time.monotonic()
    size = 0
    for _ in range(times):
        before = spent_s()
        seconds, done = daemon.say(*words)
        took.append(seconds * 1000)
        used.append((spent_s() - before) * 1000)
        size = len(done.stdout)
    longest = max(
        (stroke.ms for stroke in strokes.read(daemon.strokes) if stroke.at >= began and "_run_handler" in stroke.task),
        default=0.0,
    )
    print(
        f"{' '.join(words):<28}{statistics.median(took):7.0f} ms, {statistics.median(used):5.0f} ms of processor, {size:>10,} bytes;"
        f" longest stroke {f'{longest:.0f}' if longest else f'below {strokes.LEAST_S * 1000:g}'} ms",
        flush=True,
    )
    stroke = f"{longest:.0f}" if longest else f"below {strokes.LEAST_S * 1000:g}"
    cells = [f"`{' '.join(words)}`", f"{statistics.median(took):.0f}", f"{statistics.median(used):.0f}", stroke, size]
    return statistics.median(used), longest, cells


TEXT = """The command line with {servers:,} real servers, from start to end as the shell sees it, its processor time (medians), and
the longest stroke that answering took of the daemon's loop, during which nobody else has a turn."""


def main() -> int:
    """Measure; return 1 when a target is missed or the time was too short."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, help="default 10,000, --quick 1,000")
    parser.add_argument("--times", type=int, help="default 5, --quick 1")
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="SECONDS")
    options = section.options(parser)
    servers, times = (
        options.servers or (1000 if options.quick else 10_000),
        options.times or (1 if options.quick else 5),
    )
    clock, rows = Clock(options.limit), list[list[object]]()
    slowest_ms = longest_ms = 0.0
    with (
        tempfile.TemporaryDirectory() as folder,
        listener() as port,
        Daemon(Path(folder), servers, port) as daemon,
    ):
        try:
            daemon.wait(clock)
            for words in (*FEW, *ALL):
                clock.check(" ".join(words))
                used_ms, stroke_ms, row = measured(daemon, words, times)
                rows.append(row)
                longest_ms = max(longest_ms, stroke_ms)
                slowest_ms = slowest_ms if words in ALL else max(slowest_ms, used_ms)
        except OutOfTime as over:
            print(f"OUT OF TIME at {over}")
            return 1
    fits = longest_ms <= STROKE_MAX_MS and slowest_ms <= ANSWER_MAX_MS
    print("within the targets" if fits else "TARGET MISSED")
    columns = ["verb", "ms", "ms of processor", "longest stroke of the daemon (ms)", "bytes"]
    judged = [
        section.ratio("verb_of_a_few_servers_processor_ms", round(slowest_ms), ANSWER_MAX_MS),
        section.ratio("verb_longest_stroke_of_the_daemon_ms", round(longest_ms), STROKE_MAX_MS),
    ]
    text, table = TEXT.format(servers=servers), section.table("", columns, rows)
    section.finish(options, section.of("The command line", 44, [text], [table], judged))
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
