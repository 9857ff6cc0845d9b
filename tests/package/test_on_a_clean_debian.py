"""The package on a clean Debian 12 with systemd: it starts, reloads, is watched over, is upgraded, and goes without a trace.

One story: each test goes on where the one before it ended. It is as an operator has it: the unit, its user, its walls, and an IPVS table
of the kernel (tests/package/run boots one that has IPVS).
"""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

from tests.package.machine import Machine

CONFIGURATION = """\
virtual_server 127.0.0.10 80 {
  delay_loop 1
  lvs_sched rr
  lvs_method NAT
  protocol TCP
  real_server 127.0.0.21 8080 {
    weight 1
    TCP_CHECK {
      connect_timeout 1
    }
  }
  real_server 127.0.0.22 8080 {
    weight 1
    TCP_CHECK {
      connect_timeout 1
    }
  }
}
"""
FILE = "/etc/keepalived/keepalived.conf"


def test_its_installation_started_nothing(machine: Machine) -> None:
    assert machine.run("systemctl", "is-enabled", "vipervisor").stdout == "disabled\n"
    assert machine.property("ActiveState") == "inactive"
    assert "vipervisor" in machine.fine("getent", "passwd", "vipervisor")


def test_systemd_has_nothing_to_say_about_the_unit(machine: Machine) -> None:
    done = machine.run("systemd-analyze", "verify", "--man=no", "vipervisor.service")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_whoever_may_read_a_file_may_check_it(machine: Machine) -> None:
    machine.write("/etc/keepalived/keepalived.conf", CONFIGURATION)
    checked = machine.fine(
        "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "vipervisor", "check", FILE
    )
    assert checked == "fine: 1 virtual server, 2 real servers\n"
    examples = machine.fine("sh", "-c", "ls /usr/share/doc/vipervisor/examples/*.conf").split()
    assert len(examples) >= 8
    for example in examples:
        machine.fine("vipervisor", "check", "--strict", example)


def test_it_starts_as_the_unit_says_and_keeps_the_table_of_the_kernel(machine: Machine) -> None:
    machine.fine("systemd-run", "--unit=web", "python3", "-m", "http.server", "--bind", "127.0.0.21", "8080")
    machine.fine("systemctl", "enable", "--now", "vipervisor")
    assert machine.property("ActiveState") == "active"
    assert machine.property("User") == "vipervisor"
    machine.wait_for("vipervisor", "ready", says="ready: 2 checks with a verdict")
    table = machine.fine("ipvsadm", "--save", "--numeric")
    assert "-A -t 127.0.0.10:80 -s rr" in table
    assert "-a -t 127.0.0.10:80 -r 127.0.0.21:8080 -m -w 1" in table
    assert "127.0.0.22" not in table


def test_its_status_answers_and_says_who_is_out(machine: Machine) -> None:
    machine.wait_for("vipervisor", "status", says="DOWN")
    shown = json.loads(machine.fine("vipervisor", "status", "--json"))
    (virtual_server,) = shown["virtual_servers"]
    health = {server["real_server"]: server["health"] for server in virtual_server["real_servers"]}
    assert health == {"127.0.0.21:8080": "UP", "127.0.0.22:8080": "DOWN"}
    machine.wait_for("systemctl", "status", "--no-pager", "vipervisor", says="1 of 2 real servers live")


def test_it_runs_as_its_own_user_and_its_children_have_no_capability(machine: Machine) -> None:
    table = machine.fine("sh", "-c", "cd /proc; for pid in [0-9]*; do echo $pid $(tr '\\0' ' ' <$pid/cmdline); done")
    ours = [
        line.split()[0]
        for line in table.splitlines()
        if "/usr/lib/vipervisor/bin/python3" in line and " sh " not in line
    ]
    assert len(ours) >= 3  # the supervisor, a checker, the exporter
    capable = 0
    for pid in ours:
        status = machine.fine("cat", f"/proc/{pid}/status")
        owner = machine.fine("stat", "--format=%U", f"/proc/{pid}/status").strip()
        effective = int(re.findall(r"^CapEff:\s*(\w+)", status, re.MULTILINE)[0], 16)
        assert re.search(r"^NoNewPrivs:\s*1$", status, re.MULTILINE)
        assert re.search(r"^Uid:\s+0\b", status, re.MULTILINE) is None
        assert owner in {"vipervisor", "root"}  # root: a process that nobody may look into
        capable += effective != 0
    assert capable == 1


def test_a_reload_with_a_mistake_in_the_file_fails_visibly_and_changes_nothing(machine: Machine) -> None:
    pid = machine.property("MainPID")
    machine.write(FILE, CONFIGURATION.replace("lvs_sched rr", "lvs_shed rr"))
    failed = machine.run("systemctl", "reload", "vipervisor")
    assert failed.returncode != 0
    assert f"{FILE}:3:3: error: unknown keyword" in machine.journal()
    assert (machine.property("ActiveState"), machine.property("MainPID")) == ("active", pid)
    assert "DOWN" in machine.fine("vipervisor", "status")
    machine.write(FILE, CONFIGURATION.replace("weight 1", "weight 7"))
    machine.fine("systemctl", "reload", "vipervisor")
    assert "7" in machine.fine("vipervisor", "status")
    assert machine.property("MainPID") == pid


def test_one_that_hangs_is_noticed_by_systemd_and_started_again(machine: Machine) -> None:
    pid = machine.property("MainPID")
    machine.fine("systemctl", "kill", "--kill-whom=main", f"--signal={int(signal.SIGSTOP)}", "vipervisor")
    machine.wait_for("journalctl", "--no-pager", "--unit=vipervisor", says="Watchdog timeout")
    machine.wait_for("vipervisor", "status", says="DOWN")
    assert machine.property("MainPID") != pid
    assert machine.property("NRestarts") == "1"


def test_an_upgrade_starts_the_new_one_in_the_place_of_the_old(machine: Machine, package: Path) -> None:
    pid = machine.property("MainPID")
    machine.fine("dpkg", "--install", f"/srv/{package.name}")
    assert machine.property("ActiveState") == "active"
    assert machine.property("MainPID") != pid
    machine.wait_for("vipervisor", "status", says="DOWN")


def test_its_removal_stops_it_and_keeps_what_it_learned(machine: Machine) -> None:
    machine.fine("dpkg", "--remove", "vipervisor")
    assert machine.run("systemctl", "is-active", "vipervisor").stdout != "active\n"
    assert (machine.root / "var/lib/vipervisor/state.json").exists()
    assert not (machine.root / "usr/lib/vipervisor").exists()
    assert "-a -t 127.0.0.10:80 -r 127.0.0.21:8080" in machine.fine("ipvsadm", "--save", "--numeric")


def test_a_purge_leaves_nothing_but_the_user_and_what_is_the_operators(machine: Machine, package: Path) -> None:
    machine.fine("dpkg", "--purge", "vipervisor")
    left = machine.fine(
        "find", "/", "-xdev", "-name", "*vipervisor*", "-not", "-path", "/proc/*", "-not", "-path", "/sys/*"
    )
    ours = {f"/srv/{package.name}"}
    assert set(left.split()) - ours == set()
    assert machine.run("systemctl", "is-enabled", "vipervisor").returncode != 0
    assert machine.fine("cat", FILE)
    assert "vipervisor" in machine.fine("getent", "passwd", "vipervisor")
