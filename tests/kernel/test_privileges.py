"""What each process may do, as the kernel sees it in /proc/PID/status."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.daemon import Daemon
from tests.kernel.lab import ARTICLE, Lab, wait_until

CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW = 5, 6, 7, 8, 10, 12, 13
SUPERVISOR_MAY_HAVE = {
    CAP_NET_ADMIN,
    CAP_NET_RAW,
    CAP_NET_BIND_SERVICE,
    CAP_SETUID,
    CAP_SETGID,
    CAP_SETPCAP,
    CAP_KILL,
}
SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")
FACTS = "^(Uid|Gid|Groups|NoNewPrivs|CapInh|CapPrm|CapEff|CapAmb):"
"""What the script of the virtual server says of itself; it goes into the log."""


@pytest.fixture(scope="module")
def daemon(directory: Path) -> Iterator[Daemon]:
    with Lab(directory) as lab:
        lab.start_all_web()
        file = directory / "keepalived.conf"
        script = f"quorum_up \"/bin/grep -E '{FACTS}' /proc/self/status\""
        file.write_text(ARTICLE.read_text().replace("  delay_loop 5\n", f"  delay_loop 5\n  {script}\n", 1))
        daemon = Daemon(lab, file)
        daemon.wait_until_whole(within=45)  # with the runner three children start at once
        yield daemon
        daemon.stop()


def threads(pid: int) -> list[dict[str, str]]:
    """Return /proc/PID/task/TID/status of every thread: a capability belongs to a thread, not to the process."""
    texts = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it ended meanwhile: one that had nothing to do
            texts.append((task / "status").read_text())
    return [dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line) for text in texts]


def capabilities(facts: dict[str, str], name: str) -> set[int]:
    bits = int(facts[name], 16)
    return {number for number in range(64) if bits >> number & 1}


@pytest.mark.parametrize("child", ["checker-0", "exporter"])
def test_a_child_has_no_privilege_and_can_get_none(daemon: Daemon, child: str) -> None:
    for facts in threads(daemon.child(child)):
        assert facts["NoNewPrivs"] == "1"
        assert "0" not in facts["Uid"].split()
        assert "0" not in facts["Gid"].split()
        assert "0" not in facts["Groups"].split()
        assert {name: capabilities(facts, name) for name in SETS} == {name: set() for name in SETS}


@pytest.mark.parametrize("process", ["supervisor", "runner", "checker-0", "exporter"])
def test_every_process_stands_within_walls_and_says_which_this_kernel_lacks(daemon: Daemon, process: str) -> None:
    pid = daemon.process.pid if process == "supervisor" else daemon.child(process)
    started = daemon.events("daemon.starting" if process == "supervisor" else "worker.started")
    caged = next(line["caged"] for line in reversed(started) if line.get("worker", "supervisor") == process)
    complaints = [line["lacks"] for line in daemon.events("cage.incomplete") if line["worker"] == process]
    for facts in threads(pid):
        assert facts["NoNewPrivs"] == "1"
        if "Seccomp" in facts and facts["Seccomp"] != "0":
            assert facts["Seccomp"] == "2"
            assert "seccomp=filter" in caged
        else:
            assert "lacks=" in caged
            assert any("seccomp" in lacks for lacks in complaints)
    if process in {"checker-0", "exporter"}:
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert next(line for line in limits.splitlines() if line.startswith("Max processes")).split()[2:4] == ["0", "0"]
        assert ("landlock" in caged.partition(" lacks=")[2]) == ("landlock=no" in caged)


def test_the_runner_can_change_users_and_kill_and_nothing_else(daemon: Daemon) -> None:
    (facts,) = threads(daemon.child("runner"))
    assert capabilities(facts, "CapPrm") == capabilities(facts, "CapEff") == {CAP_SETUID, CAP_SETGID, CAP_KILL}
    assert capabilities(facts, "CapInh") == capabilities(facts, "CapAmb") == set()


def test_a_script_has_no_privilege_and_can_get_none(daemon: Daemon) -> None:
    wait_until("the script has run", lambda: daemon.events("notify.script_done"), within=30)
    said = daemon.events("notify.script_done")[0]["output"].split(" | ")
    facts = dict(line.replace("?", " ").split(":", 1) for line in said)
    assert facts["NoNewPrivs"].strip() == "1"
    assert "0" not in [*facts["Uid"].split(), *facts["Gid"].split(), *facts["Groups"].split()]
    assert {name: capabilities(facts, name) for name in SETS} == {name: set() for name in SETS}


def test_the_supervisor_has_only_the_capabilities_it_needs(daemon: Daemon) -> None:
    for facts in threads(daemon.process.pid):
        for name in ("CapPrm", "CapEff"):
            held = capabilities(facts, name)
            assert CAP_NET_ADMIN in held
            assert held <= SUPERVISOR_MAY_HAVE, f"thread {facts['Name']}"
        assert capabilities(facts, "CapAmb") == set()


def test_only_the_exporter_listens_on_the_network(daemon: Daemon) -> None:
    def listening(pid: int) -> int:
        sockets = {entry.readlink().name for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()}
        rows = [
            row.split() for file in ("tcp", "tcp6") for row in Path(f"/proc/{pid}/net/{file}").read_text().splitlines()
        ]
        return sum(row[3] == "0A" and f"socket:[{row[9]}]" in sockets for row in rows)

    assert listening(daemon.process.pid) == 0
    assert listening(daemon.child("checker-0")) == 0
    assert listening(daemon.child("runner")) == 0
    assert listening(daemon.child("exporter")) == 1
