"""Real ipvsadm, and a real keepalived, at the table that Vipervisor keeps."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from supervisor.core.table import AddService, DeleteService, ServiceSettings
from supervisor.ipvs.kernel import KernelBackend
from supervisor.model import AddressKey, Endpoint, Protocol
from tests.kernel.daemon import Daemon
from tests.kernel.lab import ARTICLE, VIRTUAL, Lab, inside, wait_until

FIRST, SECOND, STRANGER = "192.168.100.21:80", "192.168.100.22:80", "192.168.100.91:80"
SERVICE, FOREIGN = f"{VIRTUAL}:80", "10.7.7.7:80"
BOTH = {FIRST: 1, SECOND: 1}
REPAIRED_WITHIN_S = 3.0
"""Two seconds between two readings, 50 ms to the second look, and a guest that may be slow."""

GRACE_S = 8

FICKLE = """\
global_defs {
  script_user root
}
virtual_server 203.0.113.100 80 {
  delay_loop 1
  lb_algo rr
  lb_kind NAT
  protocol TCP
  real_server 192.168.100.21 80 {
    weight 1
    MISC_CHECK {
      misc_path "SCRIPT"
      misc_dynamic
    }
  }
}
"""
"""A keepalived whose script gives its server another weight each second."""


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with Lab(directory, "drift-") as lab:
        lab.start_all_web()
        yield lab


@pytest.fixture(scope="module")
def daemon(lab: Lab) -> Iterator[Daemon]:
    path = lab.directory / "vipervisor.conf"
    path.write_text(ARTICLE.read_text().replace("  lvs_sched", f"  drift_grace {GRACE_S}\n  lvs_sched", 1))
    daemon = Daemon(lab, path)
    daemon.wait_until_whole(within=40)
    repaired(lab)
    yield daemon
    daemon.stop()


def ipvsadm(lab: Lab, *words: str) -> str:
    return lab.output(lab.director, "ipvsadm", *words)


def repaired(lab: Lab, within: float = REPAIRED_WITHIN_S) -> float:
    return wait_until(f"the table is {BOTH}", lambda: lab.table.weights() == BOTH, within)


def test_a_flushed_table_is_back_within_seconds_each_time(lab: Lab, daemon: Daemon) -> None:
    for _ in range(3):
        ipvsadm(lab, "-C")
        repaired(lab)
    assert daemon.events("drift.adopted") == []


def test_another_weight_is_repaired(lab: Lab, daemon: Daemon) -> None:
    ipvsadm(lab, "-e", "-t", SERVICE, "-r", FIRST, "-m", "-w", "5")
    repaired(lab)
    wait_until("it is told of", lambda: daemon.events("kernel.drift_found")[-1]["weight"], within=30)
    last = daemon.events("kernel.drift_found")[-1]
    assert (last["action"], last["weight"], last["entries"]) == ("repaired", 1, 1)


def test_a_destination_that_is_not_ours_goes_and_one_of_ours_comes_back(lab: Lab, daemon: Daemon) -> None:
    assert daemon.process.poll() is None
    ipvsadm(lab, "-a", "-t", SERVICE, "-r", STRANGER, "-m", "-w", "1")
    ipvsadm(lab, "-d", "-t", SERVICE, "-r", SECOND)
    repaired(lab)


def test_a_service_of_somebody_else_is_left_alone(lab: Lab, daemon: Daemon) -> None:
    ipvsadm(lab, "-A", "-t", FOREIGN, "-s", "wlc")
    time.sleep(REPAIRED_WITHIN_S + 1)
    assert f"-A -t {FOREIGN} -s wlc" in ipvsadm(lab, "-Sn")
    ipvsadm(lab, "-D", "-t", FOREIGN)
    assert daemon.process.poll() is None


def churn(seconds: float) -> int:
    """Make and remove services of somebody else's as fast as it goes; return how many."""
    count, end = 0, time.monotonic() + seconds
    keys = [AddressKey(Protocol.TCP, Endpoint(IPv4Address("10.8.0.0") + number, 80)) for number in range(60)]
    with closing(KernelBackend()) as backend:
        while time.monotonic() < end:
            backend.apply([AddService(key, ServiceSettings("rr")) for key in keys])
            backend.apply([DeleteService(key) for key in keys])
            count += len(keys)
            time.sleep(0.001)  # the daemon wants the one processor, too
    return count


def test_services_of_others_that_come_and_go_all_the_time_lead_to_no_write(lab: Lab, daemon: Daemon) -> None:
    def written() -> dict[str, int]:
        operations = daemon.status()["process"]["writer"]["operations"]
        return {f"{o['operation']} {o['result']}": o["count"] for o in operations if o["operation"] != "dump"}

    before, found = written(), len(daemon.events("kernel.drift_found"))
    assert inside(lab.director, lambda: churn(8)) > 1000
    assert written() == before
    assert len(daemon.events("kernel.drift_found")) == found
    assert lab.table.weights() == BOTH


def test_an_emergency_by_hand_stands_for_its_grace_and_is_seen_as_a_drain(lab: Lab, daemon: Daemon) -> None:
    begun = time.monotonic()
    ipvsadm(lab, "-e", "-t", SERVICE, "-r", FIRST, "-w", "0")  # in a hurry without -m, which makes it DR
    wait_until("it is adopted", lambda: daemon.events("drift.adopted"), REPAIRED_WITHIN_S)
    while time.monotonic() - begun < GRACE_S - 1:
        assert lab.table.weights() == {FIRST: 0, SECOND: 1}
        time.sleep(0.05)
    repaired(lab, within=6)
    assert f"-a -t {SERVICE} -r {FIRST} -m -w 1" in ipvsadm(lab, "-Sn")
    assert [event["by"] for event in daemon.events("real_server.admin_changed")] == ["another writer of the table"] * 2


def reload_with(lab: Lab, daemon: Daemon, policy: str) -> None:
    """Have the daemon read its file again, with another `drift_policy`."""
    path = lab.directory / "vipervisor.conf"
    path.write_text(ARTICLE.read_text().replace("  lvs_sched", f"  drift_policy {policy}\n  lvs_sched", 1))
    daemon.command("reload", "--wait")


def test_by_drift_policy_adopt_a_weight_by_hand_stands_until_somebody_enables_the_server(
    lab: Lab, daemon: Daemon
) -> None:
    reload_with(lab, daemon, "adopt")
    adopted = len(daemon.events("drift.adopted"))
    ipvsadm(lab, "-e", "-t", SERVICE, "-r", FIRST, "-m", "-w", "7")
    wait_until("it is adopted", lambda: len(daemon.events("drift.adopted")) > adopted, REPAIRED_WITHIN_S)
    lab.kill_web(22)  # health goes on beside it
    wait_until("the dead server is out", lambda: lab.table.weights() == {FIRST: 7, SECOND: 0}, within=30)
    lab.start_web(22)
    wait_until("it is back", lambda: lab.table.weights() == {FIRST: 7, SECOND: 1}, within=30)
    daemon.command("enable", FIRST)
    repaired(lab)


def test_by_drift_policy_report_what_somebody_else_does_stands_and_verdicts_are_written_all_the_same(
    lab: Lab, daemon: Daemon
) -> None:
    reload_with(lab, daemon, "report")
    ipvsadm(lab, "-e", "-t", SERVICE, "-r", FIRST, "-m", "-w", "9")
    wait_until("it is told", lambda: daemon.events("kernel.drift_found")[-1]["action"] == "reported", REPAIRED_WITHIN_S)
    lab.kill_web(22)
    wait_until("the dead server is out", lambda: lab.table.weights() == {FIRST: 9, SECOND: 0}, within=30)
    lab.start_web(22)
    wait_until("it is back", lambda: lab.table.weights() == {FIRST: 9, SECOND: 1}, within=30)
    reload_with(lab, daemon, "repair")
    repaired(lab)


def test_a_second_instance_ends_with_75_before_it_changed_anything(lab: Lab, daemon: Daemon) -> None:
    before = ipvsadm(lab, "-Sn")
    second = Daemon(lab, lab.directory / "vipervisor.conf", "second")
    assert second.process.wait(timeout=20) == 75
    assert f"another vipervisor (process {daemon.process.pid}) writes the IPVS table" in second.log_path.read_text()
    assert not second.admin_socket.exists()
    assert ipvsadm(lab, "-Sn") == before


def test_another_network_namespace_has_a_table_and_an_instance_of_its_own(lab: Lab, daemon: Daemon) -> None:
    path = lab.directory / "elsewhere.conf"
    path.write_text(ARTICLE.read_text().replace("global_defs {", "global_defs {\n  virtual_server_addresses no", 1))
    command = [sys.executable, "-m", "supervisor", "run", "-f", str(path), "--exporter", "off", "--log-format", "json"]
    command += ["--admin-socket", str(lab.directory / "elsewhere.sock")]
    other = lab.start(lab.clients, command, "elsewhere.log", "wb")
    log = lab.directory / "elsewhere.log"
    wait_until("it is ready", lambda: '"daemon.ready"' in log.read_text(), within=40)
    assert lab.stop(other) == 0
    assert daemon.events("rival.found") == []


def test_a_keepalived_that_fights_for_the_table_is_found_left_alone_and_told(lab: Lab, daemon: Daemon) -> None:
    script = lab.directory / "fickle"
    script.write_text("#!/bin/sh\nexit $((4 + $(date +%s) % 5))\n")
    script.chmod(0o755)
    path = lab.directory / "fickle.conf"
    path.write_text(FICKLE.replace("SCRIPT", str(script)))
    pids = ["-p", str(lab.directory / "keepalived.pid"), "-c", str(lab.directory / "checkers.pid")]
    command = ["keepalived", "--dont-fork", "--log-console", "--check", "-f", str(path), *pids]
    keepalived = lab.start(lab.director, command, "keepalived.log", "wb")

    wait_until("it is contested", lambda: daemon.events("drift.contested"), within=40)
    (contested,) = daemon.events("drift.contested")
    assert (contested["level"], contested["virtual_server"]) == ("error", f"{SERVICE}/tcp")
    wait_until("it is found", lambda: daemon.events("rival.found"), within=30)
    assert daemon.events("rival.found")[0]["program"] == "keepalived"
    assert daemon.events("rival.found")[0]["rival_pid"] == keepalived.pid
    repairs = len(daemon.events("kernel.drift_found"))
    text = daemon.command("status")
    assert "CONTESTED by another writer" in text
    assert f"! keepalived (process {keepalived.pid})" in text
    assert "another writer keeps changing" in daemon.command("why", FIRST)

    lab.kill_web(22)  # a verdict is written all the same
    wait_until("the dead server is out", lambda: lab.table.weights().get(SECOND) == 0, within=30)
    lab.start_web(22)
    wait_until("it is back", lambda: lab.table.weights().get(SECOND) == 1, within=30)
    assert len(daemon.events("kernel.drift_found")) == repairs

    lab.stop(keepalived)  # which takes the whole service along
    repaired(lab, within=REPAIRED_WITHIN_S + 2)
