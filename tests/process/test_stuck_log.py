"""A log whose reader is stuck, with a real pipe: the checks go on, servers go out and come back, and what is lost is counted."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

from tests.process.test_daemon import Daemon, free_port, until

SERVERS = 20
PROGRAM = str(Path(__file__).parent / "with_small_log_queue.py")
LATE_S = "2.5"
"""No probe may begin later than this: machines that run tests are busy. A loop that waits for its log's reader would wait for ever."""


class Rack:
    """Listeners on many addresses of loopback, which fail and come back as one."""

    def __init__(self) -> None:
        self.port = free_port()
        self.addresses = [f"127.0.3.{number + 1}" for number in range(SERVERS)]
        self.open()

    def open(self) -> None:
        self._socks = [
            socket.create_server((address, self.port), backlog=1024, reuse_port=True) for address in self.addresses
        ]

    def close(self) -> None:
        for sock in self._socks:
            sock.close()

    def configuration(self) -> str:
        """Five words too many for each server: as many warnings."""
        servers = "".join(
            f"  real_server {address} {self.port} {{\n    inhibit_on_failure on x\n    weight 1 x\n"
            "    TCP_CHECK {\n      connect_timeout 1 x\n      retry 1 x\n      delay_before_retry 0.1 x\n    }\n  }\n"
            for address in self.addresses
        )
        return f"virtual_server 203.0.113.100 80 {{\n  delay_loop 0.5\n  lb_algo rr\n  lb_kind NAT\n  protocol TCP\n{servers}}}\n"


def metric(daemon: Daemon, name: str) -> float:
    (line,) = (line for line in daemon.metrics().splitlines() if line.startswith(f"{name} "))
    return float(line.split()[1])


def test_nobody_reads_the_log_while_a_rack_fails_and_every_transition_is_read_afterwards(tmp_path: Path) -> None:
    reader, pipe = os.pipe()
    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)
    rack = Rack()
    daemon = Daemon(tmp_path, rack.configuration(), "--lenient", program=PROGRAM, stdout=pipe)
    os.close(pipe)
    seen: list[bytes] = []
    thread = threading.Thread(target=lambda: seen.append(read_all(reader)))
    try:
        until(lambda: daemon.status()["process"]["ready"])
        until(lambda: lost_while_reloading(daemon) > 10)
        rack.close()
        until(lambda: set(daemon.weights()) == {0})
        rack.open()
        until(lambda: set(daemon.weights()) == {1})
        probes = 'lvs_check_schedule_lag_seconds_bucket{le="%s"}'
        assert metric(daemon, probes % LATE_S) == metric(daemon, probes % "+Inf") > SERVERS
        lost = metric(daemon, "lvs_log_events_dropped_total")
        thread.start()
        assert daemon.stop() == 0
    finally:
        daemon.close()
        rack.close()
        with contextlib.suppress(RuntimeError):  # it was not started
            thread.join(20)
        os.close(reader)
    lines = [json.loads(line) for line in seen[0].splitlines()]
    changed = [line for line in lines if line["event"] == "real_server.state_changed"]
    assert sorted(line["real_server"] for line in changed if line["to"] == "DOWN") == sorted(
        f"{address}:{rack.port}" for address in rack.addresses
    )
    assert len([line for line in changed if line["to"] == "UP"]) == SERVERS
    assert [line["event"] for line in lines if line["event"].startswith("virtual_server.quorum")].count(
        "virtual_server.quorum_lost"
    ) == 1
    assert lost <= numbers_missing(lines) == sum(line["count"] for line in lines if line["event"] == "log.dropped")
    assert any(line["warnings"] > 0 for line in lines if line["event"] == "log.dropped")
    assert "daemon.stopped" in {line["event"] for line in lines}


def lost_while_reloading(daemon: Daemon) -> float:
    """Have the daemon load its file, which it has a hundred warnings about; return how many lines were lost so far."""
    daemon.process.send_signal(signal.SIGHUP)
    return metric(daemon, "lvs_log_events_dropped_total")


def numbers_missing(lines: list[dict[str, Any]]) -> int:
    numbers: set[int] = {line["seq"] for line in lines}
    return max(numbers) - len(numbers)


def read_all(fd: int) -> bytes:
    data = b""
    while chunk := os.read(fd, 65536):
        data += chunk
    return data
