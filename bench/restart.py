"""How long the daemon and its children are away after `kill -9`: until every child has greeted again.

    python -m bench.restart            five rounds, the table in memory, one check of a closed port on loopback

The time of each `vipervisor status` that looks is in the figures, some 50 ms a look. Prints medians and worst cases in seconds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROUNDS = 5
PATIENCE_S = 30.0
CONFIGURATION = """\
virtual_server 203.0.113.100 80 {
  delay_loop 1
  lb_algo rr
  lb_kind NAT
  protocol TCP
  real_server 127.0.0.1 9 {
    TCP_CHECK {
      connect_timeout 1
    }
  }
}
"""


class Daemon:
    """A daemon that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "keepalived.conf"
        self._file.write_text(CONFIGURATION)
        self._socket = str(folder / "run" / "admin.sock")
        self.start()

    def start(self) -> None:
        """Start it, as at boot or after a crash."""
        command = [sys.executable, "-m", "supervisor", "run", "-f", str(self._file), "--backend", "memory"]
        options = ["--exporter", "127.0.0.1:9799", "--admin-socket", self._socket]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)

    def children(self) -> dict[str, dict[str, Any]]:
        """Return what status says of each child; nothing while nobody answers."""
        command = [sys.executable, "-m", "supervisor", "status", "--json", "--admin-socket", self._socket]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return {}
        return {view["name"]: view for view in json.loads(done.stdout)["process"]["workers"]}

    def is_staffed(self) -> bool:
        """Tell whether both children have greeted."""
        found = self.children()
        return all(found.get(name, {}).get("caged") for name in ("checker-0", "exporter"))


def until(what: Callable[[], bool]) -> float:
    """Return the seconds until something is true."""
    begun = time.monotonic()
    while not what():
        if time.monotonic() - begun > PATIENCE_S:
            raise TimeoutError(f"not within {PATIENCE_S:g} s")
        time.sleep(0.02)
    return time.monotonic() - begun


def main() -> None:
    """Kill and measure."""
    away: dict[str, list[float]] = {"checker-0": [], "exporter": [], "supervisor": []}
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(Path(folder))
        try:
            until(daemon.is_staffed)
            for _ in range(ROUNDS):
                for name in ("checker-0", "exporter"):
                    pid = daemon.children()[name]["pid"]
                    os.kill(pid, 9)
                    away[name].append(until(lambda name=name, pid=pid: _is_new(daemon, name, pid)))  # type: ignore[misc]
                begun = time.monotonic()
                daemon.process.kill()
                daemon.process.wait()
                daemon.start()
                until(daemon.is_staffed)
                away["supervisor"].append(time.monotonic() - begun)
        finally:
            daemon.process.terminate()
            daemon.process.wait()
    for name, seconds in away.items():
        print(f"{name:<12} median {statistics.median(seconds):.2f} s   worst {max(seconds):.2f} s")


def _is_new(daemon: Daemon, name: str, pid: int) -> bool:
    view = daemon.children().get(name, {})
    return bool(view.get("caged")) and view["pid"] not in {0, pid}


if __name__ == "__main__":
    main()
