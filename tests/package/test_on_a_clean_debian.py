"""The package on a clean Debian 12 with systemd: it starts, reloads, is watched over, is upgraded, and goes without a trace.

One story: each test goes on where the one before it ended. It is as an operator has it: the unit, its user, its walls, and an IPVS table
of the kernel (tests/package/run boots one that has IPVS).
"""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path

from supervisor.log.entry import PRIORITIES
from tests.manual import ROOT
from tests.manual_elsewhere import ELSEWHERE
from tests.package.machine import Machine

TYPED = "test_what_the_manual_says_of_the_service_is_typed"
ENDS_WITH = {
    "systemctl status systemd-journald rsyslog": {4},
    "install -D -m 644 deploy/systemd/vipervisor.modules-load /etc/modules-load.d/vipervisor.conf && modprobe ip_vs": {
        0,
        1,
        127,
    },
}
"""There is no rsyslog, and, where this kernel has no IPVS, nothing to load."""

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
    machine.wait_for("vipervisor", "ready", says="ready: 2 checks with a verdict")
    shown = json.loads(machine.fine("vipervisor", "status", "--json"))
    (virtual_server,) = shown["virtual_servers"]
    health = {server["real_server"]: server["health"] for server in virtual_server["real_servers"]}
    assert health == {"127.0.0.21:8080": "UP", "127.0.0.22:8080": "DOWN"}
    machine.wait_for("systemctl", "status", "--no-pager", "vipervisor", says="1 of 2 real servers live")


def test_its_status_page_and_its_metrics_answer(machine: Machine) -> None:
    """With the libraries that the package brought, and no others."""
    ask = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:9720{}').read().decode())"
    machine.wait_for("python3", "-c", ask.format("/healthz"), says="ok")
    assert "lvs_real_server_up{" in machine.fine("python3", "-c", ask.format("/metrics"))
    assert "127.0.0.22:8080" in machine.fine("python3", "-c", ask.format("/down"))
    assert not [line for line in machine.journal().splitlines() if "worker.exited" in line]


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


def test_what_the_manual_says_of_the_service_is_typed(machine: Machine) -> None:
    """Whatever the pages show of systemd and its journal, as it stands there; with a checker that was killed, for the log to have it."""
    folder = machine.root / "srv" / "tree" / "deploy"
    shutil.copytree(ROOT / "deploy" / "systemd", folder / "systemd")
    machine.fine("sh", "-c", "kill -KILL $(pgrep -f '[-]m checkers' || echo 0)")
    machine.wait_for("journalctl", "--no-pager", "--unit=vipervisor", says="worker.exited")
    typed = [command for command, where in ELSEWHERE.items() if where.endswith("::" + TYPED)]
    assert len(typed) > 10
    for command in typed:
        done = machine.run("bash", "-c", f"cd /srv/tree && {command}")
        assert done.returncode in ENDS_WITH.get(command, {0}), (command, done.returncode, done.stdout, done.stderr)
        if command.startswith(("systemctl status", "journalctl")):
            assert done.stdout, command
    assert "vipervisor.service - " in machine.fine("systemctl", "status", "vipervisor")
    assert machine.property("ActiveState") == "active"
    for left in ("systemd/system/vipervisor.service", "sysusers.d/vipervisor.conf", "modules-load.d/vipervisor.conf"):
        machine.fine("rm", f"/etc/{left}")  # of the way without a package
    machine.fine("systemctl", "daemon-reload")
    shutil.rmtree(folder.parent)


def test_the_journal_knows_the_priority_and_the_whole_text_of_every_line(machine: Machine) -> None:
    """The real journald, by whose rules `tests.fakes.journal` goes: `<N>` is taken off and kept, and every line is JSON again."""
    kept = machine.fine("journalctl", "--unit=vipervisor", "--output=json", "--no-pager", "_TRANSPORT=stdout")
    records = [json.loads(line) for line in kept.splitlines()]
    told = [
        (record["PRIORITY"], json.loads(record["MESSAGE"])) for record in records if record["MESSAGE"].startswith("{")
    ]
    assert len(told) > 20
    assert [(priority, line["level"]) for priority, line in told if int(priority) != PRIORITIES[line["level"]]] == []
    assert {line["level"] for _, line in told} >= {"info", "warning", "error"}
    assert not any(record["MESSAGE"].startswith("<") for record in records)
    warnings = machine.fine("journalctl", "-u", "vipervisor", "-p", "warning", "-o", "cat", "--no-pager").splitlines()
    levels = {json.loads(line)["level"] for line in warnings if line.startswith("{")}
    assert levels >= {"warning", "error"}
    assert "info" not in levels


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
