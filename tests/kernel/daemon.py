"""Vipervisor on a lab's director: start it, watch it through its own windows (log, admin socket, metrics), harm it, stop it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from supervisor.admin import client
from supervisor.admin.protocol import Request, RequestError
from tests.kernel.lab import ROOT, Lab, wait_until

EXPORTER_PORT = 9720


class Daemon:
    """One Vipervisor. `process.pid` is the supervisor's own; after `restart()` it is another process with the same windows."""

    options: tuple[str, ...] = ("--backend", "kernel")
    tree: Path = ROOT
    """Where its code is: whoever plays an upgrade sets another folder before the next start."""
    exporter_address: str = "127.0.0.1"

    def __init__(self, lab: Lab, config: Path, name: str = "vipervisor") -> None:
        self._lab = lab
        self._config = config
        self.log_path = lab.directory / f"{name}.log"
        self.admin_socket = lab.directory / f"{name}.sock"
        self.state = lab.directory / f"{name}.state"
        shutil.rmtree(self.state, ignore_errors=True)  # of another story
        self.process = self._start("wb")

    def _start(self, mode: str) -> subprocess.Popen[bytes]:
        options = [*self.options, "--exporter", f"{self.exporter_address}:{EXPORTER_PORT}", "--log-format", "json"]
        command = [sys.executable, "-m", "supervisor", "run", "-f", str(self._config), *options]
        command += ["--admin-socket", str(self.admin_socket), "--state-dir", str(self.state)]
        return self._lab.start(self._lab.director, command, self.log_path.name, mode, self.tree)

    def restart(self) -> None:
        """Start it again after it was killed, as systemd would; its log goes on in the same file."""
        self.process.wait()
        self.process = self._start("ab")

    def stop(self) -> int:
        """Ask it to end and return its exit status."""
        return self._lab.stop(self.process)

    def reload(self) -> None:
        """Ask it to read its configuration again."""
        self.process.send_signal(signal.SIGHUP)

    def status(self) -> dict[str, Any]:
        """Return its snapshot; {} while it does not answer."""
        try:
            answer: dict[str, Any] = client.ask(self.admin_socket, Request("status"))
        except RequestError:
            return {}
        return answer

    def command(self, *words: str) -> str:
        """Return what `vipervisor WORDS` prints to its operator."""
        argv = [sys.executable, "-m", "supervisor", *words, "--admin-socket", str(self.admin_socket)]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def metrics(self) -> str:
        """Return the exporter's page. Raises OSError while it does not answer."""
        return self._lab.get(self._lab.director, self.exporter_address, EXPORTER_PORT, "/metrics")

    def scrapes(self) -> bool:
        """Tell whether the exporter answers with this daemon's numbers."""
        try:
            return "lvs_real_server_weight{" in self.metrics()
        except OSError:
            return False

    def child(self, name: str) -> int:
        """Return the process id of a child ("checker-0", "exporter"); 0 while there is none."""
        workers = self.status().get("process", {}).get("workers", [])
        return int(next((worker["pid"] for worker in workers if worker["name"] == name), 0))

    def is_staffed(self) -> bool:
        """Tell whether it answers, each child of it has reported for duty, and the exporter gives its numbers.

        It must not have ended.
        """
        assert self.process.poll() is None, f"it ended with {self.process.poll()}:\n{self.log_path.read_text()[-4000:]}"
        on_duty = {event["worker_pid"] for event in self.events("worker.started")}
        return {self.child("checker-0"), self.child("exporter")} <= on_duty and self.scrapes()

    def is_whole(self) -> bool:
        """Tell whether, more than that, every check has a result."""
        if not self.is_staffed():
            return False
        servers = [server for virtual in self.status()["virtual_servers"] for server in virtual["real_servers"]]
        return all(check["age_s"] is not None for server in servers for check in server["checks"])

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """Return the log's events, or those of one name. A line that is not JSON is an event "" (a traceback, a complaint)."""
        found = []
        for line in self.log_path.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"event": "", "message": line})
        return [event for event in found if not name or event["event"] == name]

    def wait_until_whole(self, within: float = 15) -> float:
        """Return the seconds until it was whole; see `is_whole`. Raises TimeoutError with the end of its log."""
        try:
            return wait_until("vipervisor is whole", self.is_whole, within, every=0.1)
        except TimeoutError as error:
            error.add_note(self.log_path.read_text()[-4000:])
            raise


def is_alive(pid: int) -> bool:
    """Tell whether a process exists and is not a zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def kill(pid: int) -> None:
    """kill -9."""
    assert pid > 1, f"no such child: {pid}"
    os.kill(pid, signal.SIGKILL)
