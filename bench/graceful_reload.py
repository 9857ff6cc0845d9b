"""nginx is reloaded gracefully again and again under sentinels: not one removal may come of it.

    python -m bench.graceful_reload [--reloads 1000] [--servers 20] [--quick]

Each real server is an nginx of its own; all are reloaded in the same moment, until there were so many reloads. Each reload comes when all
sentinels are held again, so that it ends every one of them. The worker is patient: it gives no sentinel up, however short it lived
(otherwise, with a reload every second, there would be none after the second). Prints how many sentinels ended, and how often a weight
changed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bench import accounting, section
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


TEXT = """nginx is reloaded gracefully: new workers take over, the old ones close every connection they have, so every sentinel ends, at a
moment when the server is well. No retry is configured, so that a single probe that failed would be a removal."""


def main() -> int:
    """Reload and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reloads", type=int, help="of all together (default 1000, --quick 40)")
    parser.add_argument("--servers", type=int, default=20, help="nginx, each a real server")
    arguments = section.options(parser)
    rounds = -(-(arguments.reloads or (40 if arguments.quick else 1000)) // arguments.servers)
    addresses = [f"127.0.0.{number + 31}" for number in range(arguments.servers)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        servers = [Nginx(folder / address, [address], PORT) for address in addresses]
        begun = time.monotonic()
        try:
            with TimedDaemon(folder, configuration(addresses, PORT), patient=True) as daemon:
                count = len(addresses)
                until(lambda: daemon.sentinels()[0] == count, every_s=0.1)
                before = len(daemon.writes())
                for _ in range(rounds):
                    ended = daemon.sentinels()[1]
                    for nginx in servers:
                        nginx.reload()
                    until(lambda: daemon.sentinels()[1] >= ended + count, every_s=0.05)  # noqa: B023  used at once
                    until(lambda: daemon.sentinels()[0] == count, every_s=0.05)
                ended = daemon.sentinels()[1]
                changes = daemon.writes()[before:]
        finally:
            for nginx in servers:
                nginx.kill()
    removals, reloads = sum(write.weight <= 0 for write in changes), rounds * count
    print(f"{reloads} reloads in {time.monotonic() - begun:.0f} s: {ended} sentinels ended, {len(changes)} writes")
    table = section.table("", ["reloads", "sentinels ended", "removals"], [[reloads, ended, removals]])
    judged = [section.ratio("removals_of_graceful_reloads", removals, 0)]
    versions = {"nginx": accounting.version("nginx", "-v")}
    section.finish(arguments, section.of("Graceful reloads", 32, [TEXT], [table], judged, versions=versions))
    return 0


if __name__ == "__main__":
    sys.exit(main())
