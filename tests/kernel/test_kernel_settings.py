"""Time-outs, sync daemons and flushes of a running daemon, as ipvsadm sees them; and what keepalived makes of the same file."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest

from supervisor.core.kernelsettings import SetTimeouts, StartSync, StopSync
from supervisor.ipvs.backend import AnswerLost
from supervisor.ipvs.kernel import KernelBackend
from supervisor.model import SyncDaemon, SyncRole, Timeouts
from tests.kernel.daemon import Daemon, kill
from tests.kernel.lab import Lab, wait_until
from tests.kernel.test_backend_kernel import ipvsadm, new_namespace

SERVICE = """
virtual_server 203.0.113.1 80 {
  lb_algo rr
  lb_kind NAT
  protocol TCP
  real_server 192.168.100.21 80 {
  }
}
"""
OURS = ["-A -t 203.0.113.1:80 -s rr", "-a -t 203.0.113.1:80 -r 192.168.100.21:80 -m -w 1"]
STRANGER = "-A -t 10.7.7.7:7 -s wlc"
KERNELS = "900 120 300"
DAEMON = "syncid={id}, maxlen={length}, group={group}, port={port}, ttl={ttl})"


def sync(role: str, number: int, length: int = 1472, group: str = "224.0.0.81", port: int = 8848, ttl: int = 1) -> str:
    """Return the line of `ipvsadm -L --daemon` for a sync daemon on eth0."""
    values = DAEMON.format(id=number, length=length, group=group, port=port, ttl=ttl)
    return f"{role} sync daemon (mcast=eth0, {values}"


BOTH = [sync("master", 7), sync("backup", 7)]


def file(*lines: str) -> str:
    return "\n".join(["global_defs {", *lines, "}", SERVICE])


@dataclass
class Bench:
    """A lab, the file of its director, and what ipvsadm says there."""

    lab: Lab
    path: Path

    def write(self, *lines: str) -> None:
        self.path.write_text(file(*lines))

    def timeouts(self) -> str:
        return self._ask("-L", "--timeout").removeprefix("Timeout (tcp tcpfin udp): ").strip()

    def daemons(self) -> list[str]:
        return sorted(self._ask("-L", "--daemon").splitlines(), reverse=True)

    def _ask(self, *words: str) -> str:
        return self.lab.output(self.lab.director, "ipvsadm", *words)

    def add_stranger(self) -> None:
        self._ask(*STRANGER.split())

    def is_settled(self, timeouts: str, daemons: Sequence[str]) -> bool:
        return (self.timeouts(), self.daemons()) == (timeouts, list(daemons))

    def settle(self, timeouts: str, *daemons: str) -> None:
        def seen() -> bool:
            return self.is_settled(timeouts, daemons)

        try:
            wait_until(f"time-outs {timeouts} and {len(daemons)} sync daemons", seen, within=40)
        except TimeoutError as error:
            error.add_note(f"ipvsadm says: {self.timeouts()} {self.daemons()}")
            raise


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with Lab(directory, "settings-") as lab:
        lab.start_all_web()
        yield lab


@pytest.fixture
def bench(lab: Lab, directory: Path) -> Iterator[Bench]:
    yield Bench(lab, directory / "keepalived.conf")
    lab.output(lab.director, "ipvsadm", "-C")


@dataclass
class Running:
    """One of the two programs at work."""

    stop: Callable[[], object]


@contextmanager
def vipervisor(bench: Bench) -> Iterator[Running]:
    daemon = Daemon(bench.lab, bench.path, "settings")
    daemon.wait_until_whole()
    yield Running(daemon.stop)


@contextmanager
def keepalived(bench: Bench) -> Iterator[Running]:
    pids = ["-p", str(bench.path.with_name("k.pid")), "-c", str(bench.path.with_name("c.pid"))]
    command = ["keepalived", "--dont-fork", "--log-console", "--check", "-f", str(bench.path), *pids]
    process = bench.lab.start(bench.lab.director, command, "keepalived.log")
    yield Running(partial(bench.lab.stop, process))


Program: TypeAlias = Callable[[Bench], AbstractContextManager[Running]]


@pytest.mark.parametrize("program", [vipervisor, keepalived])
def test_both_programs_set_the_same_and_leave_it_as_they_found_it(bench: Bench, program: Program) -> None:
    options = "id 7 maxlen 1400 port 9000 ttl 3 group 224.0.0.99"
    bench.write("lvs_timeouts tcp 1000 udp 77", f"lvs_sync_daemon eth0 {options}")
    with program(bench) as running:
        both = [sync(role, 7, 1400, "224.0.0.99", 9000, 3) for role in ("master", "backup")]
        bench.settle("1000 120 77", *both)
        running.stop()
    assert bench.timeouts() == KERNELS
    assert bench.daemons() == []


def test_keepalived_starts_the_two_sync_daemons_that_we_start(bench: Bench) -> None:
    bench.write("lvs_sync_daemon eth0 id 7")
    with keepalived(bench) as running:
        bench.settle(KERNELS, *BOTH)
        running.stop()
    assert bench.daemons() == []


def test_a_reload_changes_what_changed_and_gives_back_what_left(bench: Bench) -> None:
    bench.write("lvs_timeouts tcp 1000 udp 77", "lvs_sync_daemon eth0 id 7")
    daemon = Daemon(bench.lab, bench.path, "reload")
    daemon.wait_until_whole()
    bench.settle("1000 120 77", *BOTH)
    bench.write("lvs_timeouts tcp 1001", "lvs_sync_daemon eth0 id 8 maxlen 1000")
    daemon.reload()
    bench.settle("1001 120 300", sync("master", 8, 1000), sync("backup", 8, 1024))
    bench.write("lvs_timeouts tcpfin 5", "lvs_sync_daemon eth0 id 8 maxlen 1000")
    daemon.reload()
    bench.settle("900 5 300", sync("master", 8, 1000), sync("backup", 8, 1024))
    bench.write()
    daemon.reload()
    bench.settle(KERNELS)
    daemon.stop()
    changed = [event["setting"] for event in daemon.events("kernel.setting_changed")]
    assert changed.count("start of the backup sync daemon on eth0, id 8") == 1, "the kernel made 1024 of 1000"
    assert daemon.events("kernel.setting_refused") == []


def test_an_interface_that_is_missing_is_told_of_and_stops_nothing(bench: Bench) -> None:
    bench.write("lvs_sync_daemon nosuch id 7")
    daemon = Daemon(bench.lab, bench.path, "missing")
    daemon.wait_until_whole()
    assert [event["errno"] for event in daemon.events("kernel.setting_refused")] == ["ENODEV", "ENODEV"]
    assert bench.lab.rules() == OURS
    assert daemon.stop() == 0


def test_a_killed_daemon_leaves_the_settings_and_the_next_one_takes_them_over(bench: Bench) -> None:
    bench.write("lvs_timeouts udp 77", "lvs_sync_daemon eth0 id 7")
    daemon = Daemon(bench.lab, bench.path, "killed")
    daemon.wait_until_whole()
    bench.settle("900 120 77", *BOTH)
    told = len(daemon.events("kernel.setting_changed"))
    kill(daemon.process.pid)
    daemon.restart()
    daemon.wait_until_whole()
    assert bench.is_settled("900 120 77", BOTH)
    assert len(daemon.events("kernel.setting_changed")) == told
    daemon.stop()
    assert bench.daemons() == []
    bench.lab.output(bench.lab.director, "ipvsadm", "--set", "0", "0", "300")


def test_a_flush_at_the_start_takes_strangers_and_never_touches_our_own(bench: Bench) -> None:
    bench.write("lvs_flush")
    daemon = Daemon(bench.lab, bench.path, "flush")
    daemon.wait_until_whole()
    assert bench.lab.rules() == OURS
    bench.add_stranger()
    kill(daemon.process.pid)
    daemon.restart()
    daemon.wait_until_whole()
    wait_until("the stranger is gone", lambda: bench.lab.rules() == OURS, within=30)
    daemon.stop()
    assert bench.lab.rules() == []


@pytest.mark.parametrize("program", [vipervisor, keepalived])
@pytest.mark.parametrize(("line", "left"), [("lvs_flush_on_stop", []), ("lvs_flush_on_stop VS", [STRANGER])])
def test_both_programs_leave_the_same_table_at_the_stop(
    bench: Bench, program: Program, line: str, left: list[str]
) -> None:
    bench.write(line)
    bench.add_stranger()
    with program(bench) as running:
        wait_until("the service is there", lambda: sorted(bench.lab.rules()) == sorted([*OURS, STRANGER]), within=30)
        running.stop()
    assert bench.lab.rules() == left


# --- the wire, without a daemon of ours -----------------------------------------------------------------------------


@pytest.fixture
def backend() -> Iterator[KernelBackend]:
    with new_namespace():
        subprocess.run(["ip", "link", "add", "eth0", "type", "dummy"], check=True)
        subprocess.run(["ip", "address", "add", "10.9.9.1/24", "dev", "eth0"], check=True)
        subprocess.run(["ip", "link", "set", "eth0", "up"], check=True)
        with closing(KernelBackend()) as backend:
            yield backend


def test_ipvsadm_reads_the_settings_that_we_wrote(backend: KernelBackend) -> None:
    assert backend.adjust(SetTimeouts(Timeouts(1000, 0, 77))) == ""
    for role in SyncRole:
        assert backend.adjust(StartSync(SyncDaemon(role, "eth0", 7, 1400, port=9000, ttl=3))) == ""
    assert ipvsadm("-L", "--timeout") == ["Timeout (tcp tcpfin udp): 1000 120 77"]
    wanted = [sync(role, 7, 1400, port=9000, ttl=3) for role in ("backup", "master")]
    assert ipvsadm("-L", "--daemon") == wanted
    subprocess.run(["ipvsadm", "--stop-daemon", "master"], check=True)
    subprocess.run(["ipvsadm", "--stop-daemon", "backup"], check=True)


def test_we_read_the_settings_that_ipvsadm_wrote(backend: KernelBackend) -> None:
    subprocess.run(["ipvsadm", "--set", "1000", "5", "77"], check=True)
    start = ["--start-daemon", "backup", "--mcast-interface", "eth0", "--syncid", "42"]
    subprocess.run(["ipvsadm", *start], check=True)
    found = backend.settings()
    assert found.timeouts == Timeouts(1000, 5, 77)
    assert found.sync_daemons == (SyncDaemon(SyncRole.BACKUP, "eth0", 42, 1472),)
    subprocess.run(["ipvsadm", "--stop-daemon", "backup"], check=True)


def test_a_sync_daemon_that_is_stopped_at_once_is_gone_whatever_the_kernel_answers(backend: KernelBackend) -> None:
    for _ in range(10):
        assert backend.adjust(StartSync(SyncDaemon(SyncRole.MASTER, "eth0", 7))) == ""
        with suppress(AnswerLost):
            assert backend.adjust(StopSync(SyncRole.MASTER)) == ""
        assert backend.settings().sync_daemons == ()


def test_what_the_kernel_refuses_has_its_name(backend: KernelBackend) -> None:
    assert backend.adjust(StartSync(SyncDaemon(SyncRole.MASTER, "nosuch", 7))) == "ENODEV"
    assert backend.adjust(StopSync(SyncRole.MASTER)) == "ESRCH"
    assert backend.adjust(SetTimeouts(Timeouts(tcp=1 << 31))) == "EINVAL"
