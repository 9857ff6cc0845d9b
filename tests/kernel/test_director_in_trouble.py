"""Everything that can go wrong with the director itself while all servers are well, on a real kernel: nobody is taken out.

Checks are fast and have no retry, so that one false verdict would show. Each fault lasts for many checks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.daemon import Daemon
from tests.kernel.lab import ARTICLE, Lab, ip, wait_until
from tests.kernel.traffic import Clients

FAULT_S = 4.5
ALL = {f"192.168.100.{number}:80": 1 for number in (20, 21, 22)}

HOLD_PORTS = """
import socket, sys, time
held = []
for port in (50000, 50001):
    sock = socket.socket()
    sock.bind(("0.0.0.0", port))
    sock.listen()
    held.append(sock)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with Lab(directory) as built:
        built.start_all_web()
        yield built


@pytest.fixture(scope="module")
def daemon(lab: Lab, directory: Path) -> Iterator[Daemon]:
    text = (
        ARTICLE.read_text().replace("delay_loop 5", "delay_loop 0.5").replace("connect_timeout 5", "connect_timeout 1")
    )
    text = text.replace("nb_get_retry 3", "nb_get_retry 0").replace("delay_before_retry 3", "delay_before_retry 0.2")
    udp = (
        "virtual_server 203.0.113.100 53 {\n  delay_loop 0.5\n  lvs_sched rr\n  lvs_method NAT\n  protocol UDP\n"
        "  real_server 192.168.100.20 80 {\n    PING_CHECK {\n      retry 0\n      connect_timeout 1\n    }\n  }\n}\n"
    )
    file = directory / "keepalived.conf"
    file.write_text(text + udp)
    daemon = Daemon(lab, file)
    daemon.wait_until_whole(within=60)
    yield daemon
    daemon.stop()


def downs(daemon: Daemon) -> list[str]:
    events = daemon.events("real_server.state_changed")
    return [str(event["message"]) for event in events if event["to"] == "DOWN"]


def stays_whole(lab: Lab, daemon: Daemon, seconds: float) -> None:
    """For so long, whatever happens, all servers keep their weights."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert ALL.items() <= lab.table.weights().items()
        time.sleep(0.05)
    assert downs(daemon) == []


@contextlib.contextmanager
def clients(lab: Lab) -> Iterator[None]:
    """Meanwhile fifty requests a second, each on a new connection; every one is answered."""
    asking = Clients(lab.clients)
    try:
        yield
    finally:
        asking.stop()
    assert len(asking.since(0.0)) > 50
    assert asking.failed_since(0.0) == []


def local(daemon: Daemon) -> dict[str, int]:
    workers = daemon.status()["process"]["workers"]
    faults: dict[str, int] = next(worker["faults"] for worker in workers if worker["name"] == "checker-0")
    return faults


def goes_on(lab: Lab, daemon: Daemon) -> None:
    """Afterwards it checks as before: probes succeed, and a dead server would be noticed."""
    before = sum(count["count"] for count in daemon.status()["process"]["checks"] if count["reason"] == "L7OK")

    def more() -> bool:
        counts: list[dict[str, Any]] = daemon.status()["process"]["checks"]
        return bool(sum(count["count"] for count in counts if count["reason"] == "L7OK") > before + 4)

    wait_until("checks succeed again", more, within=30)
    stays_whole(lab, daemon, 1.0)


def test_the_uplink_is_pulled_and_comes_back(lab: Lab, daemon: Daemon) -> None:
    """Taken down on our side, so that route and source address go with it."""
    ip("-n", lab.director, "link", "set", "eth1", "down")
    try:
        stays_whole(lab, daemon, FAULT_S)
        assert "ENETUNREACH" in local(daemon)
        assert daemon.events("worker.local_trouble")
    finally:
        ip("-n", lab.director, "link", "set", "eth1", "up")
    goes_on(lab, daemon)


def test_a_route_is_lost_and_comes_back(lab: Lab, daemon: Daemon) -> None:
    ip("-n", lab.director, "route", "del", "192.168.100.0/24", "dev", "eth1")
    try:
        stays_whole(lab, daemon, FAULT_S)
    finally:
        ip("-n", lab.director, "route", "add", "192.168.100.0/24", "dev", "eth1", "src", "192.168.100.1")
    goes_on(lab, daemon)


def test_a_rule_of_our_own_that_forbids_the_way(lab: Lab, daemon: Daemon) -> None:
    ip("-n", lab.director, "route", "add", "prohibit", "192.168.100.21/32")
    try:
        stays_whole(lab, daemon, FAULT_S)
        assert "EACCES" in local(daemon)
    finally:
        ip("-n", lab.director, "route", "del", "prohibit", "192.168.100.21/32")
    goes_on(lab, daemon)


def test_all_source_ports_are_used_up(lab: Lab, daemon: Daemon) -> None:
    setting = "/proc/sys/net/ipv4/ip_local_port_range"
    before = lab.output(lab.director, "cat", setting)
    lab.output(lab.director, "sh", "-c", f"echo 50000 50001 >{setting}")
    holder = lab.start(lab.director, [sys.executable, "-c", HOLD_PORTS], "holder.log")
    try:
        wait_until("the ports are held", lambda: "held" in (lab.directory / "holder.log").read_text(), within=30)
        with clients(lab):
            stays_whole(lab, daemon, FAULT_S)
        assert "EADDRNOTAVAIL" in local(daemon)
    finally:
        lab.stop(holder)
        lab.output(lab.director, "sh", "-c", f"echo {before.strip()} >{setting}")
    goes_on(lab, daemon)


@pytest.mark.parametrize("step", ["+1 hour", "-1 day", "+400 days"])
def test_the_clock_of_the_machine_is_set(lab: Lab, daemon: Daemon, step: str) -> None:
    real, steady = time.time(), time.monotonic()
    subprocess.run(["date", "-s", step], check=True, capture_output=True)
    assert abs(time.time() - real) > 3000
    try:
        with clients(lab):
            stays_whole(lab, daemon, FAULT_S)
            goes_on(lab, daemon)
        assert daemon.status()["process"]["uptime_s"] < 1000
    finally:
        now = real + time.monotonic() - steady
        time.clock_settime(time.CLOCK_REALTIME, now)


@pytest.mark.parametrize("child", ["checker-0", "exporter"])
def test_a_child_is_stopped(lab: Lab, daemon: Daemon, child: str) -> None:
    before = daemon.child(child)
    with clients(lab):
        os.kill(before, signal.SIGSTOP)
        stays_whole(lab, daemon, FAULT_S)
        wait_until(f"{child} is replaced", lambda: daemon.child(child) not in {0, before}, within=40)
        goes_on(lab, daemon)


def test_the_supervisor_is_stopped(lab: Lab, daemon: Daemon) -> None:
    before = daemon.child("checker-0")
    with clients(lab):
        daemon.process.send_signal(signal.SIGSTOP)
        stays_whole(lab, daemon, FAULT_S)
        daemon.process.send_signal(signal.SIGCONT)
        goes_on(lab, daemon)
    assert daemon.child("checker-0") == before


def test_after_all_of_this_a_dead_server_is_noticed_as_ever(lab: Lab, daemon: Daemon) -> None:
    lab.kill_web(21)
    wait_until("the dead one is out", lambda: lab.table.weights()["192.168.100.21:80"] == 0, within=30)
    lab.start_web(21)
    assert len(downs(daemon)) == 1
    wait_until("it is back", lambda: lab.table.weights()["192.168.100.21:80"] == 1, within=30)
