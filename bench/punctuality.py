"""How many probes begin late with 10,000 real servers and 2,000 checks a second: left alone, scraped all the time, and reloaded.

    python -m bench.punctuality [--servers 10000] [--interval 5] [--window 12] [--rounds 2]

The daemon is real but for its table, which is in memory; the real servers are bench/native/targets.c on loopback, and every check is an
HTTP request on a fresh connection. Lateness is what the workers say of themselves (lvs_check_schedule_lag_seconds): from when a probe
was due until it began. Beside it stands how long the workers waited for a processor meanwhile (the kernel's run queues,
/proc/PID/schedstat), which is the machine's part. The phases take turns: nothing else happens; /metrics is asked for, one
scrape after another; the file is reloaded again and again as it is; reloaded with one weight changed. Judged are the probes that began
more than 100 ms late, in per cent.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import Request, urlopen

from bench import lag, section, targets
from bench.accounting import ROOT, Tree
from bench.lag import Lag
from bench.peers import Kind, Work, keepalived_conf
from bench.section import Section
from bench.targets import free_port
from checkers.kit.cage import raise_file_limit

LATE_S = 0.1
LATE_PERCENT = 0.1
START_MAX_S = 60.0
PAUSE_S = 1.0
"""Between two reloads."""
TELL_S = 1.1
"""Workers tell of themselves once a second."""
FILES = 60_000
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@dataclass(slots=True)
class Seen:
    """What was seen in all windows of one phase: how late probes began, what was done how often; seconds a worker waited, and in all."""

    lag: Lag = field(default_factory=dict)
    times: int = 0
    waited_s: float = 0.0
    seconds: float = 0.0

    @property
    def late_percent(self) -> float:
        """Probes that began too late."""
        return lag.late(self.lag, LATE_S) * 100

    @property
    def waited_ms(self) -> float:
        """Milliseconds of each second for which a worker wanted a processor and had none."""
        return self.waited_s / max(self.seconds, 0.001) * 1000


class Daemon:
    """The daemon with these real servers."""

    def __init__(self, folder: Path, work: Work) -> None:
        self._file, self._socket = folder / "keepalived.conf", folder / "run/admin.sock"
        self._text, self._weight = keepalived_conf(work), 1
        self._file.write_text(self._text)
        self.port = free_port()
        command = [sys.executable, "-m", "supervisor", "run", "-f", str(self._file), "--backend", "memory"]
        options = ["--state-dir", "off", "--metrics-series-max", "0", "--exporter", f"127.0.0.1:{self.port}"]
        self.tree = Tree([*command, *options, "--admin-socket", str(self._socket)], ENVIRONMENT)

    def wait(self) -> None:
        """Wait until everything was checked once. Raises TimeoutError."""
        until = time.monotonic() + START_MAX_S
        while time.monotonic() < until and self.tree.runs:
            with suppress(OSError):
                self.get("/readyz")
                return
            time.sleep(0.5)
        raise TimeoutError(f"not ready within {START_MAX_S:g} s")

    def get(self, path: str) -> None:
        """Ask the exporter. Raises OSError."""
        asked = Request(f"http://127.0.0.1:{self.port}{path}", headers={"Accept-Encoding": "gzip"})
        with urlopen(asked, timeout=lag.ANSWER_MAX_S) as answer:
            answer.read()

    def waited_s(self) -> float:
        """Return how long the workers have waited for a processor so far, on the average of them."""
        waits = [wait for pid in self.tree.pids("-m checkers") if (wait := _waited_s(pid)) is not None]
        return sum(waits) / max(len(waits), 1)

    def nothing(self) -> None:
        """Leave it alone for a moment."""
        time.sleep(0.5)

    def scrape(self) -> None:
        """Ask for everything, as OpenMetrics."""
        with suppress(OSError):
            self.get("/metrics")
        time.sleep(0.05)

    def reload(self) -> None:
        """Reload the file as it is, and wait a moment. Raises CalledProcessError."""
        command = [sys.executable, "-m", "supervisor", "reload", "--wait", "--admin-socket", str(self._socket)]
        subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=True)
        time.sleep(PAUSE_S)

    def reload_one(self) -> None:
        """Reload it with the weight of one real server changed."""
        self._weight = 3 - self._weight
        self._file.write_text(self._text.replace("weight 1\n", f"weight {self._weight}\n", 1))
        self.reload()


def _waited_s(pid: int) -> float | None:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    return None


PHASES: dict[str, Callable[[Daemon], None]] = {
    "left alone": Daemon.nothing,
    "scrapes": Daemon.scrape,
    "reloads, nothing changed": Daemon.reload,
    "reloads, one changed": Daemon.reload_one,
}


def measured(daemon: Daemon, rounds: int, window_s: float) -> dict[str, Seen]:
    """Play all phases by turns; return what was seen in each."""
    seen = {name: Seen() for name in PHASES}
    for number in range(rounds):
        for name, act in PHASES.items():
            one = seen[name]
            before, waited_s, began = lag.read(daemon.port), daemon.waited_s(), time.monotonic()
            end = began + window_s
            while time.monotonic() < end:
                act(daemon)
                one.times += 1
            time.sleep(TELL_S)
            one.lag = lag.since(before, lag.read(daemon.port), one.lag)
            one.waited_s += max(daemon.waited_s() - waited_s, 0.0)  # less: a worker was replaced
            one.seconds += time.monotonic() - began
            told = f"{one.late_percent:6.3f} % late so far; waited for a processor {one.waited_ms:3.0f} ms/s"
            print(f"  round {number + 1}: {name:<26} {told}", flush=True)
    return seen


TEXT = """{servers:,} real servers, each checked every {interval_s} s by HTTP on fresh connections (bench/native/targets.c answers, on the
same machine): how many probes begin more than 100 ms after they were due, as the workers themselves say
(`lvs_check_schedule_lag_seconds`), while nothing else happens, while /metrics is asked for one scrape after another, and while the
file is reloaded again and again; {rounds} times {window_s:g} s of each, by turns. The last column says for how much of each second a worker
wanted a processor and had none: where it is much, the machine had more to do than it could."""


def result(seen: dict[str, Seen], work: Work, rounds: int, window_s: float) -> Section:
    """Print and return the section."""
    rows = [
        [
            name,
            "" if name == "left alone" else one.times,
            round(one.lag[lag.ALL]),
            f"{one.late_percent:.3f} %",
            *(f"{lag.within_s(one.lag, share) * 1000:g}" for share in (0.5, 0.99, 0.999, 1.0)),
            round(one.waited_ms),
        ]
        for name, one in seen.items()
    ]
    for row in rows:
        print(" | ".join(map(str, row)), flush=True)
    text = TEXT.format(servers=work.servers, interval_s=work.interval_s, rounds=rounds, window_s=window_s)
    columns = ["meanwhile", "times", "probes", "late", "half within (ms)", "99 %", "99.9 %", "all", "waiting (ms/s)"]
    judged = [
        section.ratio(
            f"late_probes_percent_{name.replace(', ', '_').replace(' ', '_')}", round(one.late_percent, 3), LATE_PERCENT
        )
        for name, one in seen.items()
    ]
    return section.of("Punctuality", 20, [text], [section.table("", columns, rows)], judged)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int)
    parser.add_argument("--interval", type=int, default=5, metavar="SECONDS")
    parser.add_argument("--window", type=float, metavar="SECONDS", help="of each phase in each round")
    parser.add_argument("--rounds", type=int)
    arguments = section.options(parser)
    quick = arguments.quick
    servers, rounds = arguments.servers or (2000 if quick else 10_000), arguments.rounds or (1 if quick else 2)
    window_s = arguments.window or (3.0 if quick else 9.0)
    raise_file_limit(FILES)
    with (
        tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as place,
        tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as folder,
        targets.native(Path(place), distinct=False) as served,
    ):
        work = Work(Kind.HTTP, servers, arguments.interval, served.port)
        daemon = Daemon(Path(folder), work)
        with daemon.tree:
            daemon.wait()
            time.sleep(2 if quick else 2 * work.interval_s)  # the first probes come all at once
            seen = measured(daemon, rounds, window_s)
    section.finish(arguments, result(seen, work, rounds, window_s))
    return 0


if __name__ == "__main__":
    sys.exit(main())
