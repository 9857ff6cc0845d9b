"""From SIGKILL of nginx until weight 0 stands in the table: the article's file with and without `sentinel`, on the table in memory.

    python -m bench.noticing [--trials 50] [--plain 4]

One of two nginx (master and two workers, all of them killed) dies at a random moment, comes back, and is killed again when its
sentinel is held. `--plain` trials are made without sentinels, which is what the file says to keepalived; they take up to 15 s each.
The way back is a whole delay_loop at worst here, because a server is looked at every second only once in a minute. Prints medians, 99th
percentiles and worst cases, and the judged figure.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import tempfile
import time
from pathlib import Path

from bench.nginx_servers import Nginx
from bench.timed_daemon import TimedDaemon, until

ARTICLE = Path(__file__).resolve().parents[1] / "deploy" / "examples" / "article.conf"
FIRST, SECOND, PORT = "127.0.0.21", "127.0.0.22", 18180
TARGET_MEDIAN_S, TARGET_P99_S = 0.05, 0.25


def configuration(sentinel: str) -> str:
    """Return the article's file for servers on loopback."""
    text = (
        ARTICLE.read_text().replace("192.168.100.", "127.0.0.").replace(" 80 {\n    weight", f" {PORT} {{\n    weight")
    )
    mail = text.index("  notification_email {"), text.index("  router_id")
    return text[: mail[0]] + f"  sentinel {sentinel}\n" + text[mail[1] :]


def percentile(seconds: list[float], share: float) -> float:
    """Return the smallest value that `share` of all do not exceed."""
    return sorted(seconds)[math.ceil(share * len(seconds)) - 1]


def measure(folder: Path, sentinel: str, trials: int) -> tuple[list[float], list[float]]:
    """Return how long it took until weight 0, and until weight 1 once nginx listens again, of each trial, in seconds."""
    gone: list[float] = []
    back: list[float] = []
    servers = [Nginx(folder / name, [name], PORT) for name in (FIRST, SECOND)]
    victim = servers[1]
    try:
        with TimedDaemon(folder, configuration(sentinel), patient=True) as daemon:
            held = 2 if sentinel == "yes" else 0
            until(lambda: len(daemon.writes()) >= 2)
            time.sleep(7)  # the first probes
            for _ in range(trials):
                until(lambda: daemon.sentinels()[0] == held, every_s=0.2)
                time.sleep(random.uniform(0.0, 1.0 if held else 5.0))
                before = len(daemon.writes())
                killed = victim.kill()
                until(lambda: len(daemon.writes()) > before)  # noqa: B023  used before the loop goes on
                write = daemon.writes()[before]
                assert (write.endpoint, write.weight) == (f"{SECOND}:{PORT}", 0), write
                gone.append(write.at - killed)
                victim.start()
                listens = time.monotonic()
                until(lambda: len(daemon.writes()) > before + 1)  # noqa: B023  as above
                back.append(daemon.writes()[before + 1].at - listens)
    finally:
        for server in servers:
            server.kill()
    return gone, back


def show(what: str, seconds: list[float]) -> None:
    """Print one line of results."""
    values = statistics.median(seconds), percentile(seconds, 0.99), max(seconds)
    print(
        f"{what:<44} n {len(seconds):>3}   median {values[0]:.3f} s   p99 {values[1]:.3f} s   worst {values[2]:.3f} s"
    )


def main() -> None:
    """Measure both, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50, help="kills with sentinels")
    parser.add_argument("--plain", type=int, default=4, help="kills without")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        gone, back = measure(Path(name), "yes", arguments.trials)
    show("SIGKILL to weight 0, with sentinel", gone)
    show("listens again to weight 1, with sentinel", back)
    if arguments.plain:
        with tempfile.TemporaryDirectory() as name:
            Path(name).chmod(0o755)
            plain_gone, plain_back = measure(Path(name), "no", arguments.plain)
        show("SIGKILL to weight 0, without", plain_gone)
        show("listens again to weight 1, without", plain_back)
    print(f"ratio sigkill_to_weight_0_median_s {statistics.median(gone):.3f} target {TARGET_MEDIAN_S}")
    print(f"ratio sigkill_to_weight_0_p99_s {percentile(gone, 0.99):.3f} target {TARGET_P99_S}")


if __name__ == "__main__":
    main()
