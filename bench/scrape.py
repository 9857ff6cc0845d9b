"""How long a scrape of a large table takes, how long others wait meanwhile, and whether a probe starts late because of it.

    python -m bench.scrape                    10,000 real servers in 500 virtual servers, checked every 20 s, ten scrapes of each kind
    python -m bench.scrape --servers 2000
    python -m bench.scrape --alone            the exporter by itself, with a prepared snapshot: for a machine that has no core to spare

Everything is real but the kernel's table, which is in memory: the daemon, its checkers, and one listener on loopback that every check
connects to. Printed are the time of a scrape as Prometheus sees it (connection to last byte), processor time of supervisor and exporter
for it, the worst time of a small request beside it, and how late probes began: without any scrape, and with one scrape after another.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

from supervisor import config
from supervisor.core import views
from supervisor.core.director import Director
from supervisor.core.snapshot import encoding
from supervisor.core.table import Table
from supervisor.exporter import names

PORT = 9798
PER_POOL = 20
PERIOD_S = 20
TEXT = "text/plain;version=0.0.4"
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
TICKS = os.sysconf("SC_CLK_TCK")


def configuration(servers: int, port: int) -> str:
    """Return pools of PER_POOL real servers, each at an address of its own on loopback."""
    pools = []
    for pool in range(servers // PER_POOL):
        members = "".join(
            f"  real_server 127.{1 + number // 65536}.{number // 256 % 256}.{number % 256} {port} {{\n"
            "    TCP_CHECK {\n      connect_timeout 2\n    }\n  }\n"
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
    """Return how long an answer took, and its body as it came (gzip)."""
    request = Request(f"http://127.0.0.1:{PORT}{path}", headers={"Accept": accept, "Accept-Encoding": "gzip"})
    began = time.perf_counter()
    with urlopen(request, timeout=30) as answer:
        body: bytes = answer.read()
    return time.perf_counter() - began, body


class Daemon:
    """The daemon with its children."""

    def __init__(self, folder: Path, servers: int, port: int) -> None:
        file = folder / "keepalived.conf"
        file.write_text(configuration(servers, port))
        self._socket = str(folder / "run" / "admin.sock")
        command = [
            sys.executable,
            "-m",
            "supervisor",
            "run",
            "-f",
            str(file),
            "--backend",
            "memory",
            "--metrics-series-max",
            "0",
        ]
        options = ["--exporter", f"127.0.0.1:{PORT}", "--admin-socket", self._socket, "--state-dir", "off"]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)

    def pids(self) -> dict[str, int]:
        """Return the processes by name."""
        command = [sys.executable, "-m", "supervisor", "status", "--json", "--admin-socket", self._socket]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return {view["name"]: view["pid"] for view in json.loads(done.stdout)["process"]["workers"]}

    def wait(self) -> None:
        """Wait until everything was checked once."""
        end = time.monotonic() + 300
        while time.monotonic() < end:
            try:
                get("/readyz")
            except OSError:
                time.sleep(0.5)
            else:
                return
        raise SystemExit("it does not become ready")


def processor_s(pid: int) -> float:
    """Return the processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


Lag = dict[float, float]
"""Upper bound in seconds → how many probes began at most so late."""


def lag() -> Lag:
    """Return how late probes have begun so far."""
    request = Request(f"http://127.0.0.1:{PORT}/metrics?name[]=lvs_check_schedule_lag_seconds&scope=process")
    with urlopen(request, timeout=30) as answer:
        text = answer.read().decode()
    found = re.findall(r'lag_seconds_bucket\{le="([^"]+)"\} (\S+)', text)
    return {float(bound.replace("+Inf", "inf")): float(count) for bound, count in found}


def worst(before: Lag, after: Lag) -> str:
    """Say how late the probes between two looks began."""
    came = {bound: after[bound] - before[bound] for bound in after}
    total = came[float("inf")]
    bounds = {
        share: min(bound for bound, count in came.items() if count >= share * total) for share in (0.5, 0.999, 1.0)
    }
    return f"{total:.0f} probes; median within {bounds[0.5]:g} s, 99.9 % within {bounds[0.999]:g} s, all within {bounds[1.0]:g} s"


def beside(path: str, accept: str) -> tuple[float, bytes, float]:
    """Scrape, and ask for the first page all the while; return time and body of the scrape and the worst time of the other."""
    others, done = [0.0], threading.Event()

    def ask() -> None:
        while not done.is_set():
            others.append(get("/")[0])
            time.sleep(0.05)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    took, body = get(path, accept)
    done.set()
    asking.join()
    return took, body, max(others)


def scrapes(daemon: Daemon, times: int) -> None:
    """Measure each kind of scrape."""
    pids = daemon.pids()
    for name, path, accept in (
        ("text", "/metrics", TEXT),
        ("OpenMetrics", "/metrics", OPENMETRICS),
        ("without real servers", "/metrics?scope=process,virtual_server", TEXT),
    ):
        took, other, size = [], 0.0, 0
        before = {each: processor_s(pids[each]) for each in ("supervisor", "exporter")}
        for _ in range(times):
            time.sleep(1.2)  # so that no answer of the scrape before serves
            seconds, body, waited = beside(path, accept)
            took.append(seconds)
            other, size = max(other, waited), len(body)
        used = {each: (processor_s(pids[each]) - before[each]) / times for each in before}
        print(
            f"{name}: median {statistics.median(took):.2f} s, worst {max(took):.2f} s; {size / 1e6:.2f} MB gzip;"
            f" processor: supervisor {used['supervisor']:.2f} s, exporter {used['exporter']:.2f} s; another request worst {other:.3f} s"
        )


def alone(servers: int, times: int) -> None:
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
    time.sleep(3)
    for name, accept in (("text", TEXT), ("OpenMetrics", OPENMETRICS)):
        took, other, used, body = list[float](), 0.0, list[float](), b""
        for _ in range(times):
            time.sleep(1.2)
            before = processor_s(exporter.pid)
            seconds, body, waited = beside("/metrics", accept)
            used.append(processor_s(exporter.pid) - before)
            took.append(seconds)
            other = max(other, waited)
        print(
            f"{name}: median {statistics.median(took):.2f} s; {len(body) / 1e6:.2f} MB gzip; processor of the exporter: median"
            f" {statistics.median(used):.2f} s; another request worst {other:.3f} s"
        )
    stroke_ms = max(making[1::2]) * 1000
    print(
        f"the supervisor's part: {statistics.median(making[::2]):.2f} s of processor, at most {stroke_ms:.1f} ms at one stroke"
    )
    exporter.kill()
    exporter.wait()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--alone", action="store_true", help="the exporter by itself")
    options = parser.parse_args()
    if options.alone:
        alone(options.servers, options.times)
        return
    with tempfile.TemporaryDirectory() as folder, listener() as port:
        daemon = Daemon(Path(folder), options.servers, port)
        try:
            daemon.wait()
            time.sleep(PERIOD_S)  # the first probes come all at once
            before = lag()
            time.sleep(2 * PERIOD_S)
            between = lag()
            print(f"without a scrape: {worst(before, between)}")
            scrapes(daemon, options.times)
            before, end = lag(), time.monotonic() + 2 * PERIOD_S
            while time.monotonic() < end:
                get("/metrics", OPENMETRICS)
            print(f"scraped without a pause: {worst(before, lag())}")
        finally:
            daemon.process.terminate()
            daemon.process.wait(60)


if __name__ == "__main__":
    main()
