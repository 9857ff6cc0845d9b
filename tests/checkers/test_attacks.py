"""A worker that somebody has taken over, and what it cannot do: attacks from inside a really confined process."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from checkers.kit import landlock, wire
from tests.checkers import attacks
from tests.checkers.test_process import AS_NOBODY, Process, job

FILES = {
    "read /etc/passwd",
    "read the configuration",
    "list a folder",
    "read the parent's environment",
    "open the parent's descriptors",
}
"""What Landlock alone refuses: a kernel without it lets a worker read what everybody may read, and the worker says so."""

REFUSALS = {"EPERM", "EACCES", "ENOSYS", "EAGAIN", "MemoryError", "RuntimeError"}
"""By the filter, by Landlock, by both, and by limits (RuntimeError: "can't start new thread"). Nothing else is a refusal."""


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A configuration that everybody may read and write, in folders that everybody may enter and write."""
    file = tmp_path / "keepalived.conf"
    file.write_text("secret")
    file.chmod(0o666)
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o777)
    return file


def test_everything_is_refused_that_an_attacker_in_a_worker_tries(secret: Path) -> None:
    program = (attacks.__file__, "worker", str(secret))
    with Process(*AS_NOBODY, "--max-files", "65536", program=program) as worker:
        hello = worker.receive()
        assert isinstance(hello, wire.Hello)
        assert "seccomp=filter" in hello.caged
        status, said = worker.end()
    told = json.loads(said)
    excused = set() if landlock.version() else FILES
    assert {name: became for name, became in told.items() if became not in REFUSALS and name not in excused} == {}
    assert len(told) >= 50
    assert (status, secret.read_text(), list(secret.parent.iterdir())) == (0, "secret", [secret])


def test_outside_the_walls_the_same_attacks_work(secret: Path) -> None:
    """So that a refusal above is the walls' doing and not a slip of the attack."""
    harmless = attacks.attacks(str(secret))
    for name in ("read /etc/passwd", "list a folder", "open a Unix socket", "listen", "start a thread", "fork"):
        assert attacks.result(harmless[name]) == "worked", name
    for name in ("map executable memory", "make memory executable", "make a file in memory", "allocate a gigabyte"):
        assert attacks.result(harmless[name]) == "worked", name
    assert attacks.result(harmless["signal the parent"]) == "worked"
    assert attacks.result(harmless["change the configuration"]) == "worked"


@pytest.mark.parametrize("name", ["TCP_CHECK"])
def test_a_worker_that_was_attacked_from_inside_still_checks(secret: Path, name: str) -> None:
    with Process(*AS_NOBODY, "--max-files", "256", program=(attacks.__file__, "worker", str(secret))) as worker:
        worker.receive()
        worker.assign(job(1, name))
        report = worker.until(wire.Report)
        assert isinstance(report, wire.Report)
        assert report.result is not None
        assert report.result.reason is wire.Reason.L4CON


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a child another user")
def test_the_kernel_shows_the_cage_of_a_worker() -> None:
    with Process(*AS_NOBODY, "--max-files", "65536") as worker:
        hello = worker.receive()
        assert isinstance(hello, wire.Hello)
        lines = Path(f"/proc/{hello.pid}/status").read_text().splitlines()
        facts = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
        assert facts["NoNewPrivs"] == ["1"]
        assert facts["Seccomp"] == ["2"]
        assert facts["Groups"] == []
        assert {int(facts[name][0], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        limits = Path(f"/proc/{hello.pid}/limits").read_text()
        for name in ("Max processes", "Max core file size", "Max locked memory", "Max msgqueue size"):
            assert next(line for line in limits.splitlines() if line.startswith(name)).split()[-3:-1] == ["0", "0"]
        files = next(line for line in limits.splitlines() if line.startswith("Max open files"))
        assert all(int(limit) <= 65536 for limit in files.split()[3:5])
        assert Path(f"/proc/{hello.pid}/oom_score_adj").read_text() == "300\n"
