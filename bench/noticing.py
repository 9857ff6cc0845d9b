"""From SIGKILL of nginx until weight 0 stands in the table: the article's file with and without `sentinel`, on the table in memory.

    python -m bench.noticing [--trials 50] [--plain 10] [--quick]

The article's file has ten real servers here, each an nginx of its own (master and two workers, all of them killed). They die one after
another at random moments and are started again; when all are back and their sentinels held, the next ten follow. `--plain` trials are
made without sentinels, which is what the file says to keepalived; there all die within an interval. The way back is a whole delay_loop at
worst, because a server is looked at every second only once in a minute. Prints medians, 99th percentiles, worst cases, and the judged
figures.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench import accounting, section
from bench.guest import percentile
from bench.nginx_servers import Nginx
from bench.timed_daemon import TimedDaemon, Written, until

ARTICLE = Path(__file__).resolve().parents[1] / "deploy" / "examples" / "article.conf"
SERVERS, PORT = 10, 18180
ADDRESSES = [f"127.0.0.{21 + number}" for number in range(SERVERS)]
DELAY_S, FIRST_PROBES_S, PAUSE_MAX_S = 5.0, 7.0, 0.5
TARGET_MEDIAN_S, TARGET_P99_S = 0.05, 0.25


def configuration(sentinel: str) -> str:
    """Return the article's file for SERVERS servers on loopback."""
    text = ARTICLE.read_text()
    mail, own = text.index("  notification_email {"), text.index("  router_id")
    first, second = text.index("  real_server "), text.rindex("  real_server ")
    one = text[first:second].replace("192.168.100.21 80", "{address} {port}")
    servers = [one.replace("{address} {port}", f"{address} {PORT}") for address in ADDRESSES]
    return text[:mail] + f"  sentinel {sentinel}\n" + text[own:first] + "".join(servers) + "}\n"


@dataclass(slots=True)
class Trials:
    """Seconds until weight 0, and until weight 1 once nginx listens again, of each trial."""

    gone: list[float] = field(default_factory=list)
    back: list[float] = field(default_factory=list)


class Field:
    """The daemon and its real servers."""

    def __init__(self, daemon: TimedDaemon, servers: dict[str, Nginx], *, held: int) -> None:
        """`held`: sentinels that are held when all is well."""
        self._daemon, self._servers, self._held = daemon, servers, held

    def ready(self) -> None:
        """Wait until all servers are in, and watched."""
        until(lambda: len(self._daemon.writes()) >= len(self._servers))
        until(lambda: self._daemon.sentinels()[0] == self._held, every_s=0.2)

    def wave(self, trials: Trials, pause_max_s: float, *, wait: bool) -> None:
        """Kill and start each server once; `wait`: until it is noticed, before it is started and the next one dies."""
        killed: dict[str, float] = {}
        listens: dict[str, float] = {}
        before = len(self._daemon.writes())
        order = random.sample(list(self._servers), len(self._servers))
        for address in order:
            time.sleep(random.uniform(0.0, pause_max_s))
            killed[address] = self._servers[address].kill()
            if wait:
                self._noticed([address], killed, before, trials)
                self._servers[address].start()
                listens[address] = time.monotonic()
        if not wait:
            self._noticed(order, killed, before, trials)
            for address in order:
                self._servers[address].start()
                listens[address] = time.monotonic()
        for address in order:
            until(lambda: self._written(address, 1, before) is not None)  # noqa: B023  used before the loop goes on
            write = self._written(address, 1, before)
            assert write is not None
            trials.back.append(write.at - listens[address])
        until(lambda: self._daemon.sentinels()[0] == self._held, every_s=0.2)

    def _noticed(self, addresses: list[str], killed: dict[str, float], before: int, trials: Trials) -> None:
        for address in addresses:
            until(lambda: self._written(address, 0, before) is not None)  # noqa: B023  used before the loop goes on
            write = self._written(address, 0, before)
            assert write is not None
            trials.gone.append(write.at - killed[address])

    def _written(self, address: str, weight: int, since: int) -> Written | None:
        wanted = f"{address}:{PORT}", weight
        return next((one for one in self._daemon.writes()[since:] if (one.endpoint, one.weight) == wanted), None)


def measure(sentinel: str, count: int) -> Trials:
    """Make so many trials, rounded up to whole waves."""
    trials, watched = Trials(), sentinel == "yes"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        servers = {address: Nginx(folder / address, [address], PORT) for address in ADDRESSES}
        try:
            with TimedDaemon(folder, configuration(sentinel), patient=True) as daemon:
                found = Field(daemon, servers, held=len(servers) if watched else 0)
                found.ready()
                time.sleep(FIRST_PROBES_S)
                while len(trials.gone) < count:
                    found.wave(trials, PAUSE_MAX_S if watched else DELAY_S / len(servers), wait=watched)
        finally:
            for server in servers.values():
                server.kill()
    return trials


def row(what: str, seconds: list[float]) -> list[object]:
    """Print one line of results, and return its cells."""
    values = statistics.median(seconds), percentile(seconds, 0.99), max(seconds)
    print(
        f"{what:<44} n {len(seconds):>3}   median {values[0]:.3f} s   p99 {values[1]:.3f} s   worst {values[2]:.3f} s",
        flush=True,
    )
    return [what, len(seconds), *(f"{value:.3f}" for value in values)]


TEXT = """From SIGKILL of an nginx, master and workers, until its weight 0 stands in the table, with the article's file (deploy/examples,
here with ten real servers), natively and with the table in memory. Without sentinels it takes what the file says, delay and retries, as it
does with keepalived. The way back is up to a delay_loop."""


def main() -> int:
    """Measure both, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, help="kills with sentinels (default 50, --quick 10)")
    parser.add_argument("--plain", type=int, help="kills without (default 10, --quick none)")
    arguments = section.options(parser)
    count = arguments.trials or (SERVERS if arguments.quick else 50)
    plain = (0 if arguments.quick else SERVERS) if arguments.plain is None else arguments.plain
    watched = measure("yes", count)
    rows = [
        row("SIGKILL to weight 0, with sentinel", watched.gone),
        row("listens again to weight 1, with sentinel", watched.back),
    ]
    if plain:
        unwatched = measure("no", plain)
        rows.append(row("SIGKILL to weight 0, without", unwatched.gone))
        rows.append(row("listens again to weight 1, without", unwatched.back))
    judged = [
        section.ratio("sigkill_to_weight_0_median_s", round(statistics.median(watched.gone), 3), TARGET_MEDIAN_S),
        section.ratio("sigkill_to_weight_0_p99_s", round(percentile(watched.gone, 0.99), 3), TARGET_P99_S),
    ]
    table = section.table("", ["what", "trials", "median (s)", "99 % (s)", "worst (s)"], rows)
    versions = {"nginx": accounting.version("nginx", "-v")}
    section.finish(arguments, section.of("Noticing a dead server", 30, [TEXT], [table], judged, versions=versions))
    return 0


if __name__ == "__main__":
    sys.exit(main())
