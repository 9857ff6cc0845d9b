"""How long a scrape of a large table takes, and how long others wait meanwhile.

    python -m bench.scrape                    10,000 real servers in 500 virtual servers, checked every 20 s
    python -m bench.scrape --servers 2000
    python -m bench.scrape --alone            the exporter by itself, with a prepared snapshot: for a machine that has no core to spare

Everything is real but the kernel's table, which is in memory: the daemon, its checkers, and one listener on loopback that every check
connects to. Printed are the time of a scrape as Prometheus sees it (connection to last byte), the first one and the median, processor time
of supervisor and exporter for it, and the worst time of a small request beside it. "Strokes" are the longest that each task of the
supervisor kept all others waiting, in processor time (`bench.strokes`). What it does to probes: `bench.punctuality`.

It ends within `--limit` seconds whatever the machine does: a request that fails is counted, and what there was no time for is said.
The targets: a scrape within SCRAPE_MAX_S (median), no stroke for it beyond STROKE_MAX_MS.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Self
from urllib.request import Request, urlopen

from bench import section, strokes
from supervisor import config
from supervisor.core import views
from supervisor.core.director import Director
from supervisor.core.snapshot import encoding
from supervisor.core.table import Table
from supervisor.exporter import names

PORT = 9798
PER_POOL = 20
PERIOD_S = 20
WARMUP_HZ = 1250
"""The first checks come so many a second, so that nobody waits a whole period for them."""
SETTLE_S = 13.0
"""After everything was checked once; by then the exporter has written the metrics beforehand, if it does."""
LIMIT_S = 420.0
REQUEST_MAX_S = 12.0
"""The exporter itself ends a connection after ten."""

SCRAPE_MAX_S = 2.0
STROKE_MAX_MS = 50.0
TEXT = "text/plain;version=0.0.4"
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
TICKS = os.sysconf("SC_CLK_TCK")


def configuration(servers: int, port: int) -> str:
    """Return pools of PER_POOL real servers, each at an address of its own on loopback."""
    pools, warmup_s = [], max(2, servers // WARMUP_HZ)
    for pool in range(servers // PER_POOL):
        members = "".join(
            f"  real_server 127.{1 + number // 65536}.{number // 256 % 256}.{number % 256} {port} {{\n"
            f"    TCP_CHECK {{\n      connect_timeout 2\n      warmup {warmup_s}\n    }}\n  }}\n"
            for number in range(pool * PER_POOL + 1, pool * PER_POOL + PER_POOL + 1)
        )
        head = f"virtual_server 203.0.{pool // 250}.{pool % 250} 80 {{\n  delay_loop {PERIOD_S}\n  lb_algo rr\n  lb_kind NAT\n"
        pools.append(f"{head}  protocol TCP\n{members}}}\n")
    return "".join(pools)


@contextmanager
def listener() -> Iterator[int]:
    """Accept and close, at every address of loopback."""
    server = socket.create_server(("0.0.0.0", 0), backlog=4096)

    def accept() -> None:
        while True:
            try:
                server.accept()[0].close()
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def get(path: str, accept: str = TEXT) -> tuple[float, bytes]:
    """Return how long an answer took, and its body as it came (gzip). Raises OSError for anything that is none."""
    request = Request(f"http://127.0.0.1:{PORT}{path}", headers={"Accept": accept, "Accept-Encoding": "gzip"})
    began = time.perf_counter()
    try:
        with urlopen(request, timeout=REQUEST_MAX_S) as answer:
            body: bytes = answer.read()
    except HTTPException as error:  # cut off
        raise OSError(repr(error)) from error
    return time.perf_counter() - began, body


class OutOfTime(Exception):
    """The limit is reached; the text says at what."""


class Clock:
    """What time is left."""

    def __init__(self, limit_s: float) -> None:
        self._end = time.monotonic() + limit_s

    def check(self, at: str) -> None:
        """Raise OutOfTime when there is none."""
        if time.monotonic() > self._end:
            raise OutOfTime(at)


class Daemon:
    """The daemon with its children."""

    def __init__(self, folder: Path, servers: int, port: int) -> None:
        file = folder / "keepalived.conf"
        file.write_text(configuration(servers, port))
        self.socket = str(folder / "run" / "admin.sock")
        self.strokes = folder / "strokes"
        command = [sys.executable, "-m", "bench.strokes", str(self.strokes), "run", "-f", str(file)]
        options = ["--backend", "memory", "--metrics-series-max", "0", "--state-dir", "off"]
        places = ["--exporter", f"127.0.0.1:{PORT}", "--admin-socket", self.socket]
        self.process = subprocess.Popen([*command, *options, *places], stdout=subprocess.DEVNULL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def say(self, *words: str) -> tuple[float, subprocess.CompletedProcess[str]]:
        """Type a verb; return how long it took, and what came of it."""
        where = [] if words[0].startswith("--") else ["--admin-socket", self.socket]
        if words[0] == "complete":  # what follows is typed at another verb
            words, where = (*words[:3], *where, *words[3:]), []
        command = [sys.executable, "-m", "supervisor", *words, *where]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return time.perf_counter() - began, done

    def pids(self) -> dict[str, int]:
        """Return the processes by name."""
        _, done = self.say("status", "--json", "none*", "--down")
        return {view["name"]: view["pid"] for view in json.loads(done.stdout)["process"]["workers"]}

    def wait(self, clock: Clock) -> None:
        """Wait until everything was checked once. Raises OutOfTime."""
        while self.process.poll() is None:
            clock.check("the start: it does not become ready")
            try:
                get("/readyz")
            except OSError:
                time.sleep(0.5)
            else:
                return
        raise SystemExit("the daemon ended")

    def longest_strokes(self, since: float) -> list[strokes.Stroke]:
        """Return the longest stroke of each task since then (monotonic seconds), the longest first."""
        found: dict[str, strokes.Stroke] = {}
        for stroke in strokes.read(self.strokes):
            if stroke.at >= since and stroke.ms > (found[stroke.task].ms if stroke.task in found else 0.0):
                found[stroke.task] = stroke
        return sorted(found.values(), key=lambda stroke: -stroke.ms)


def processor_s(pid: int) -> float:
    """Return the processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def beside(path: str, accept: str) -> tuple[float, bytes, float]:
    """Scrape, and ask for the list of paths all the while; return time and body of the scrape and the worst time of the other."""
    others, done = [0.0], threading.Event()

    def ask() -> None:
        while not done.is_set():
            with contextlib.suppress(OSError):
                others.append(get("/")[0])
            time.sleep(0.05)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    try:
        took, body = get(path, accept)
    finally:
        done.set()
        asking.join()
    return took, body, max(others)


@dataclass(frozen=True, slots=True)
class Scraped:
    """One kind of scrape: seconds of the first, the median and the slowest, and a row."""

    first_s: float
    median_s: float
    cells: list[object]


def scrapes(daemon: Daemon, times: int, clock: Clock) -> dict[str, Scraped]:
    """Measure each kind of scrape. Raises OutOfTime."""
    pids, found = daemon.pids(), dict[str, Scraped]()
    for name, path, accept in (
        ("OpenMetrics", "/metrics", OPENMETRICS),  # as Prometheus asks, so the first one of all
        ("text", "/metrics", TEXT),
        ("without real servers", "/metrics?scope=process,virtual_server", TEXT),
    ):
        took, other, size, failed = list[float](), 0.0, 0, 0
        before = {each: processor_s(pids[each]) for each in ("supervisor", "exporter")}
        for _ in range(times):
            clock.check(f"scrapes ({name})")
            time.sleep(1.2)  # so that no answer of the scrape before serves
            try:
                seconds, body, waited = beside(path, accept)
            except OSError:
                failed += 1
                continue
            took.append(seconds)
            other, size = max(other, waited), len(body)
        used = {each: (processor_s(pids[each]) - before[each]) / times for each in before}
        median = statistics.median(took) if took else float("inf")
        first, longest = took[0] if took else median, max(took, default=median)
        cells = [
            name,
            f"{first:.2f}",
            f"{median:.2f}",
            f"{longest:.2f}",
            f"{used['supervisor']:.2f}",
            f"{used['exporter']:.2f}",
        ]
        found[name] = Scraped(first, median, [*cells, f"{other:.3f}", failed])
        print(
            f"{name}: first {first:.2f} s, median {median:.2f} s, worst {longest:.2f} s, {failed} failed;"
            f" {size / 1e6:.2f} MB gzip; processor: supervisor {used['supervisor']:.2f} s, exporter {used['exporter']:.2f} s;"
            f" another request worst {other:.3f} s",
            flush=True,
        )
    return found


def alone(servers: int, times: int, clock: Clock) -> None:
    """Measure what a scrape costs, with nothing else running: making and writing the snapshot here, the rest in the real exporter."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "keepalived.conf"
        file.write_text(configuration(servers, 80))
        loaded = config.load(file).config
        assert loaded is not None
    director = Director(loaded, 0.0, Table(), None)
    director.start(0.0)
    gc.collect()
    gc.freeze()
    process = names.nothing().process
    ours, theirs = socket.socketpair()
    command = [
        "supervisor.exporter",
        "--link-fd",
        str(theirs.fileno()),
        "--listen",
        f"127.0.0.1:{PORT}",
        "--series-max",
        "0",
    ]
    exporter = subprocess.Popen([sys.executable, "-m", *command], pass_fds=[theirs.fileno()])
    theirs.close()
    making: list[float] = []

    def answer() -> None:
        for line in ours.makefile("rb"):
            if line == b"ready\n":
                ours.sendall(b"true\n")
            if line == b"snapshot\n":
                began = time.thread_time()
                longest = 0.0
                before = began
                for piece in encoding(process, views.one_by_one(director, 1.0)):
                    longest = max(longest, time.thread_time() - before)
                    ours.sendall(piece)
                    before = time.thread_time()
                making.extend((time.thread_time() - began, longest))
                ours.sendall(b"\n")

    threading.Thread(target=answer, daemon=True).start()
    try:
        for name, accept in (("text", TEXT), ("OpenMetrics", OPENMETRICS)):
            clock.check(f"scrapes ({name})")
            print(f"{name}: {alone_scrapes(exporter.pid, accept, times)}", flush=True)
        stroke_ms = max(making[1::2]) * 1000
        making_s = statistics.median(making[::2])
        print(f"the supervisor's part: {making_s:.2f} s of processor, at most {stroke_ms:.1f} ms at one stroke")
    finally:
        exporter.kill()
        exporter.wait()


def alone_scrapes(exporter: int, accept: str, times: int) -> str:
    """Scrape so often; say what it took."""
    took, other, used, body, failed = list[float](), 0.0, list[float](), b"", 0
    for _ in range(times + 1):
        time.sleep(1.2)
        before = processor_s(exporter)
        try:
            seconds, body, waited = beside("/metrics", accept)
        except OSError:  # not there yet, or the machine gave it no processor for ten seconds
            failed += 1
            continue
        used.append(processor_s(exporter) - before)
        took.append(seconds)
        other = max(other, waited)
    if not took:
        return "no scrape came to its end"
    again = used[1:] or used
    return (
        f"median {statistics.median(took):.2f} s, {failed} failed; {len(body) / 1e6:.2f} MB gzip; processor of the exporter: first"
        f" {used[0]:.2f} s, then median {statistics.median(again):.2f} s; another request worst {other:.3f} s"
    )


ABOUT = """A scrape of {servers:,} real servers in {pools:,} virtual servers as Prometheus sees it, from the connection to the
last byte of gzip, while the daemon checks them all: the first ones of a daemon's life, and medians. Meanwhile another reader asks for a
small page again and again; its worst time is there, too."""
COLUMNS = ("scrape", "first (s)", "median (s)", "worst (s)", "supervisor (s of processor)", "exporter (s of processor)")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, help="default 10,000, --quick 1,000")
    parser.add_argument("--times", type=int, help="default 6, --quick 2")
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="SECONDS")
    parser.add_argument("--alone", action="store_true", help="the exporter by itself")
    options = section.options(parser)
    servers, times = (
        options.servers or (1000 if options.quick else 10_000),
        options.times or (2 if options.quick else 6),
    )
    if options.alone:
        alone(servers, times, Clock(options.limit))
        return 0
    settle_s = 1.0 if options.quick else SETTLE_S
    with tempfile.TemporaryDirectory() as folder, listener() as port, Daemon(Path(folder), servers, port) as daemon:
        clock = Clock(options.limit)
        try:
            daemon.wait(clock)
            time.sleep(settle_s)  # what comes at a start is over
            began = time.monotonic()
            found = scrapes(daemon, times, clock)
            long = daemon.longest_strokes(began)
        except OutOfTime as over:
            print(f"OUT OF TIME at {over}")
            return 1
    told = ", ".join(f"{stroke.ms:.0f} ms {stroke.task.removeprefix('supervisor.')}" for stroke in long)
    print(f"strokes of the supervisor meanwhile: {told or f'none of {strokes.LEAST_S * 1000:g} ms'}", flush=True)
    about = ABOUT.format(servers=servers, pools=servers // PER_POOL)
    table = section.table("", (*COLUMNS, "another reader (s)", "failed"), [one.cells for one in found.values()])
    section.finish(options, section.of("A scrape", 40, [about], [table], judged(found, long)))
    return 0


def judged(found: Mapping[str, Scraped], long: Sequence[strokes.Stroke]) -> list[dict[str, object]]:
    """Return the judged figures."""
    return [
        section.ratio("scrape_median_s", round(max(one.median_s for one in found.values()), 2), SCRAPE_MAX_S),
        section.ratio("scrape_first_s", round(max(one.first_s for one in found.values()), 2), SCRAPE_MAX_S),
        section.ratio("scrape_longest_stroke_ms", round(max((one.ms for one in long), default=0.0), 1), STROKE_MAX_MS),
    ]


if __name__ == "__main__":
    sys.exit(main())
