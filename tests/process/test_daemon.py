"""The real daemon as real processes, with the table in memory and real servers on loopback: start, notice, reload, stop.

The same with a real kernel is in tests/kernel; this runs anywhere, without privileges.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 20.0


class Web:
    """A web server on a free port of loopback that can be closed and opened again."""

    def __init__(self) -> None:
        self.port = free_port()
        self.open()

    def open(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Answer)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
        """Say nothing."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def configuration(*ports: int) -> str:
    servers = "".join(
        f"  real_server 127.0.0.1 {port} {{\n    inhibit_on_failure\n    HTTP_GET {{\n      url {{\n        path /\n      }}\n"
        "      connect_timeout 1\n      retry 1\n      delay_before_retry 0.1\n    }\n  }\n"
        for port in ports
    )
    return (
        "virtual_server 203.0.113.100 80 {\n  delay_loop 0.2\n  lb_algo rr\n  lb_kind NAT\n  protocol TCP\n"
        + servers
        + "}\n"
    )


class Daemon:
    """A running daemon."""

    def __init__(self, folder: Path, text: str, *options: str, program: str = "", stdout: int | None = None) -> None:
        """`program` is a file that is run in the daemon's place, `stdout` takes the log in place of a file."""
        self.file = folder / "keepalived.conf"
        self.file.write_text(text)
        self.socket = folder / "run" / "admin.sock"
        self.port = free_port()
        self._log = (folder / "log.json").open("w+")
        self.process = subprocess.Popen(
            [
                *(sys.executable, *([program] if program else ["-m", "supervisor"])),
                *("run", "-f", str(self.file), "--backend", "memory"),
                *("--admin-socket", str(self.socket), "--exporter", f"127.0.0.1:{self.port}", *options),
            ],
            stdout=self._log if stdout is None else stdout,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in Path(self._log.name).read_text().splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] == name]

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("status", "--json").stdout)
        return found

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "supervisor", *arguments, "--admin-socket", str(self.socket)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def weights(self) -> list[int | None]:
        servers = self.status()["virtual_servers"][0]["real_servers"]
        return [server["weight_kernel"] for server in servers]

    def metrics(self, path: str = "/metrics") -> str:
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    def pid_of(self, worker: str) -> int:
        pids = {view["name"]: view["pid"] for view in self.status()["process"]["workers"]}
        pid: int = pids[worker]
        return pid

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()
        self._log.close()


def until(what: Callable[[], object]) -> None:
    """Wait until something is true, bounded."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            if what():
                return
        except (OSError, ValueError, KeyError, URLError):
            pass
        time.sleep(0.02)
    raise AssertionError(f"did not come true within {PATIENCE_S} s")


@pytest.fixture
def webs() -> Iterator[tuple[Web, Web]]:
    pair = (Web(), Web())
    yield pair
    for web in pair:
        web.close()


@pytest.fixture
def daemon(tmp_path: Path, webs: tuple[Web, Web]) -> Iterator[Daemon]:
    running = Daemon(tmp_path, configuration(webs[0].port, webs[1].port))
    until(lambda: running.status()["process"]["ready"])
    yield running
    running.close()


def test_a_closed_server_goes_to_weight_zero_is_explained_and_comes_back(daemon: Daemon, webs: tuple[Web, Web]) -> None:
    assert daemon.weights() == [1, 1]
    webs[1].close()
    until(lambda: daemon.weights() == [1, 0])
    why = daemon.ask("why", f"127.0.0.1:{webs[1].port}")
    assert why.returncode == 0
    for word in ("probe", "connection refused", "check", "real server", "kernel write", "read-back", "weight 0"):
        assert word in why.stdout
    webs[1].open()
    until(lambda: daemon.weights() == [1, 1])
    until(lambda: 'lvs_real_server_transitions_total{real_server="127.0.0.1' in daemon.metrics())
    assert daemon.metrics("/readyz") == "ready\n"
    assert daemon.ask("why", "192.0.2.77").returncode == 6


def test_children_are_caged_and_replaced_when_they_are_killed(daemon: Daemon) -> None:
    for worker in ("checker-0", "exporter"):
        until(lambda worker=worker: daemon.pid_of(worker))  # type: ignore[misc]  # a default binds the loop's value
        pid = daemon.pid_of(worker)
        status = Path(f"/proc/{pid}/status").read_text()
        assert "CapEff:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status
        os.kill(pid, signal.SIGKILL)
        until(lambda worker=worker, pid=pid: daemon.pid_of(worker) not in {0, pid})  # type: ignore[misc]  # see above
    assert daemon.weights() == [1, 1]


def test_sighup_takes_a_valid_file_and_refuses_an_invalid_one_whole(daemon: Daemon, webs: tuple[Web, Web]) -> None:
    daemon.file.write_text("virtual_server {")
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: daemon.events("config.rejected"))
    assert daemon.weights() == [1, 1]
    until(lambda: "lvs_config_last_reload_successful 0.0" in daemon.metrics())
    daemon.file.write_text(configuration(webs[0].port))
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: daemon.weights() == [1])
    until(lambda: "lvs_config_last_reload_successful 1.0" in daemon.metrics())


def test_reload_as_an_operator_types_it_is_seen_ahead_answered_and_refused_with_status_3(
    daemon: Daemon, webs: tuple[Web, Web], tmp_path: Path
) -> None:
    other = tmp_path / "other.conf"
    other.write_text(configuration(webs[0].port))
    plan = daemon.ask("plan", str(other))
    assert plan.returncode == 0, plan.stderr
    assert f"- 127.0.0.1:{webs[1].port}  weight 1 → 0; it leaves\n" in plan.stdout
    assert daemon.weights() == [1, 1]
    daemon.file.write_text(configuration(webs[0].port))
    reload = daemon.ask("reload", "--wait", "--confirm-within", "60")
    assert reload.returncode == 0, reload.stderr
    assert "The kernel is as wanted.\nON TRIAL" in reload.stdout
    assert daemon.weights() == [1]
    assert daemon.ask("confirm").returncode == 0
    assert daemon.ask("confirm").returncode == 7
    daemon.file.write_text("virtual_server {")
    refused = daemon.ask("reload")
    assert refused.returncode == 3
    assert f"{daemon.file}:1:16: error: " in refused.stderr, refused.stderr
    assert daemon.ask("reload", "--wait", "0").returncode == 2


def test_a_second_daemon_on_the_same_socket_is_refused(daemon: Daemon) -> None:
    again = subprocess.run(
        [
            *(sys.executable, "-m", "supervisor", "run", "-f", str(daemon.file), "--backend", "memory"),
            *("--admin-socket", str(daemon.socket)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 1
    assert "a running vipervisor answers there" in again.stderr
    assert daemon.weights() == [1, 1]


def test_sigterm_ends_everything_with_status_0_and_leaves_no_socket_and_no_child(daemon: Daemon) -> None:
    until(lambda: daemon.pid_of("exporter"))
    pids = [daemon.pid_of("checker-0"), daemon.pid_of("exporter")]
    assert daemon.stop() == 0
    assert not daemon.socket.exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert daemon.events("daemon.stopped")[0]["kernel_table"] == "removed"


def test_children_end_when_the_supervisor_is_killed(daemon: Daemon) -> None:
    until(lambda: daemon.pid_of("exporter"))
    pids = [daemon.pid_of("checker-0"), daemon.pid_of("exporter")]
    daemon.process.kill()
    daemon.process.wait()
    until(lambda: not any(_runs(pid) for pid in pids))


def _runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_an_invalid_file_stops_the_start_with_status_3(tmp_path: Path) -> None:
    path = tmp_path / "wrong.conf"
    path.write_text("virtual_server {")
    command = [sys.executable, "-m", "supervisor", "run", "-f", str(path), "--backend", "memory"]
    done = subprocess.run(
        [*command, "--admin-socket", str(tmp_path / "a.sock")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert f"{path}:1:" in done.stderr
    assert json.loads(done.stdout)["event"] == "config.rejected"


def test_a_machine_without_ipvs_is_told_the_remedy_and_the_status_is_1(tmp_path: Path) -> None:
    if Path("/proc/net/ip_vs").exists():
        pytest.skip("this kernel has IPVS: tests/kernel covers it")
    path = tmp_path / "a.conf"
    path.write_text(configuration(1))
    command = [sys.executable, "-m", "supervisor", "run", "-f", str(path)]
    done = subprocess.run(
        [*command, "--admin-socket", str(tmp_path / "a.sock")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "modprobe ip_vs" in done.stderr or "CAP_NET_ADMIN" in done.stderr
    assert "--backend memory" in done.stderr
    assert not (tmp_path / "a.sock").exists()
