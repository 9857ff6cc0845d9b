"""nginx is reloaded gracefully again and again under sentinels: not one removal may come of it.

    python -m bench.graceful_reload [--reloads 1000] [--servers 4]

Each reload comes when all sentinels are held again, so that it ends every one of them. The worker is patient: it gives no sentinel up,
however short it lived (otherwise, with a reload every second, there would be none after the second). Prints how many sentinels
ended, how many connections they were, and how often a weight changed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from bench.nginx_servers import Nginx
from bench.timed_daemon import TimedDaemon, until

PORT = 18181


def configuration(addresses: list[str], port: int) -> str:
    """Return a file with these real servers, in the manner of the article, and with the least patience: no retry."""
    servers = "".join(
        f"  real_server {address} {port} {{\n    HTTP_GET {{\n      url {{\n        path /\n        status_code 200\n"
        "      }\n      connect_timeout 5\n      retry 0\n    }\n  }\n"
        for address in addresses
    )
    head = "virtual_server 203.0.113.100 80 {\n  delay_loop 5\n  lb_algo rr\n  lb_kind NAT\n  protocol TCP\n"
    return f"{head}  inhibit_on_failure\n  sentinel\n{servers}}}\n"


def main() -> None:
    """Reload and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reloads", type=int, default=1000)
    parser.add_argument("--servers", type=int, default=4, help="real servers, all of them the same nginx")
    arguments = parser.parse_args()
    addresses = [f"127.0.0.{number + 31}" for number in range(arguments.servers)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        nginx = Nginx(folder / "nginx", addresses, PORT)
        begun = time.monotonic()
        try:
            with TimedDaemon(folder, configuration(addresses, PORT), patient=True) as daemon:
                count = len(addresses)
                until(lambda: daemon.sentinels()[0] == count, every_s=0.1)
                before = len(daemon.writes())
                for _ in range(arguments.reloads):
                    ended = daemon.sentinels()[1]
                    nginx.reload()
                    until(lambda: daemon.sentinels()[1] >= ended + count, every_s=0.05)  # noqa: B023  used at once
                    until(lambda: daemon.sentinels()[0] == count, every_s=0.05)
                held, ended = daemon.sentinels()
                changes = daemon.writes()[before:]
        finally:
            nginx.kill()
    removals = sum(write.weight <= 0 for write in changes)
    took_s = time.monotonic() - begun
    print(
        f"{arguments.reloads} reloads in {took_s:.0f} s: {ended} sentinels ended, {held} are held, {len(changes)} writes"
    )
    print(f"ratio removals_of_graceful_reloads {removals} target 0")


if __name__ == "__main__":
    main()
