"""nginx with a master and two workers on addresses of loopback, for `noticing` and `graceful_reload`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from bench import accounting

_CONFIGURATION = """
daemon off;
worker_processes 2;
worker_shutdown_timeout 100ms;
pid {place}/pid;
error_log {place}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
{temporary}
{servers}
}}
"""


def program() -> str:
    """Return the path of nginx; ends the benchmark with a sentence where there is none."""
    try:
        return accounting.program("nginx")
    except accounting.Missing as missing:
        sys.exit(str(missing))


class Nginx:
    """One nginx that answers 200 on `addresses` at `port`."""

    def __init__(
        self,
        place: Path,
        addresses: list[str],
        port: int,
        nginx: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`nginx`: the program; empty: wherever it is found. `environment`: what it needs; None: ours."""
        self._environment = environment
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o755)
        self._where = addresses[0], port
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "\n".join(f"  {kind}_temp_path {place}/{kind};" for kind in kinds)
        servers = "\n".join(
            f"  server {{ listen {address}:{port}; location / {{ return 200 ok; }} }}" for address in addresses
        )
        self._file = place / "nginx.conf"
        self._file.write_text(_CONFIGURATION.format(place=place, temporary=temporary, servers=servers))
        self._command = [nginx or program(), "-p", str(place), "-c", str(self._file), "-e", str(place / "error.log")]
        self.start()

    def start(self) -> None:
        """Start it and wait until it listens."""
        self.process = subprocess.Popen(
            self._command, start_new_session=True, stderr=subprocess.DEVNULL, env=self._environment
        )
        limit = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(self._where, 1).close()
            except OSError:
                if time.monotonic() > limit:
                    raise
                time.sleep(0.02)
            else:
                return

    def reload(self) -> None:
        """Reload gracefully: new workers take over, old ones close all they have and end.

        Without worker_shutdown_timeout a connection that never asked anything would keep an old worker for client_header_timeout, a minute.
        """
        self.process.send_signal(signal.SIGHUP)

    def kill(self) -> float:
        """Kill master and workers; return when, on CLOCK_MONOTONIC."""
        os.killpg(self.process.pid, signal.SIGKILL)
        at = time.monotonic()
        self.process.wait()
        return at
