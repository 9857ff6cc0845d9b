"""Who else writes the table, as /proc shows it."""

from __future__ import annotations

import os
from pathlib import Path

from supervisor import rivals
from supervisor.rivals import Rival

ME = 100


def process(proc: Path, pid: int, *arguments: str, parent: int = 1, namespace: str | None = "net:[1]") -> None:
    folder = proc / str(pid)
    (folder / "ns").mkdir(parents=True)
    (folder / "cmdline").write_bytes("".join(f"{word}\0" for word in arguments).encode())
    (folder / "stat").write_text(f"{pid} (a ) name) S {parent} 1 1 0")
    if namespace is not None:
        (folder / "ns" / "net").symlink_to(namespace)


def found(proc: Path, *arguments: str, namespace: str | None = "net:[1]") -> list[Rival]:
    process(proc, ME, "/opt/vipervisor/bin/vipervisor", "run", "x.conf")
    process(proc, 7, *arguments, namespace=namespace)
    return list(rivals.find(proc, ME))


def test_a_keepalived_is_told_once_and_not_its_children(tmp_path: Path) -> None:
    process(tmp_path, 8, "keepalived", parent=7)
    process(tmp_path, 9, "keepalived_healthcheckers", parent=7)
    assert found(tmp_path, "/usr/sbin/keepalived", "-f", "/etc/keepalived.conf") == [Rival("keepalived", 7, sure=True)]


def test_a_keepalived_that_runs_vrrp_only_is_none(tmp_path: Path) -> None:
    for number, option in enumerate(("-P", "-nP", "--vrrp")):
        assert found(tmp_path / str(number), "/usr/sbin/keepalived", option) == []


def test_an_ldirectord_is_known_by_its_script(tmp_path: Path) -> None:
    assert found(tmp_path, "/usr/bin/perl", "-w", "/usr/sbin/ldirectord", "start") == [
        Rival("ldirectord", 7, sure=True)
    ]


def test_another_vipervisor_is_one_unless_it_only_looks_on(tmp_path: Path) -> None:
    python, run = "/usr/bin/python3", "run"
    assert found(tmp_path / "a", python, "/usr/bin/vipervisor", run, "x") == [Rival("vipervisor", 7, sure=True)]
    assert found(tmp_path / "b", python, "-m", "supervisor", run, "x") == [Rival("vipervisor", 7, sure=True)]
    assert found(tmp_path / "c", python, "/usr/bin/vipervisor", run, "--dry-run", "x") == []
    assert found(tmp_path / "d", python, "/usr/bin/vipervisor", run, "--backend", "memory") == []
    assert found(tmp_path / "e", python, "/usr/bin/vipervisor", "status") == []


def test_a_kube_proxy_counts_where_it_says_ipvs(tmp_path: Path) -> None:
    assert found(tmp_path / "a", "/bin/kube-proxy", "--proxy-mode=ipvs") == [Rival("kube-proxy", 7, sure=True)]
    assert found(tmp_path / "b", "/bin/kube-proxy", "--proxy-mode=iptables") == []


def test_who_lives_in_another_network_namespace_is_no_rival(tmp_path: Path) -> None:
    assert found(tmp_path, "/usr/sbin/keepalived", namespace="net:[2]") == []


def test_where_the_namespace_is_not_to_be_seen_it_is_told_as_unsure(tmp_path: Path) -> None:
    assert found(tmp_path, "/usr/sbin/keepalived", namespace=None) == [Rival("keepalived", 7, sure=False)]


def test_nothing_that_cannot_be_read_stops_the_look(tmp_path: Path) -> None:
    (tmp_path / "5").mkdir(parents=True)  # a process that is just ending
    (tmp_path / "self").mkdir()
    process(tmp_path, 6)  # a kernel thread
    (tmp_path / "6" / "stat").unlink()
    assert found(tmp_path, "/usr/sbin/keepalived") == [Rival("keepalived", 7, sure=True)]
    assert rivals.find(tmp_path / "nowhere", ME) == ()


def test_no_more_are_told_than_fit(tmp_path: Path) -> None:
    for pid in range(200, 260):
        process(tmp_path, pid, "keepalived")
    assert len(rivals.find(tmp_path, ME)) == rivals.RIVALS_MAX


def test_each_has_an_advice() -> None:
    assert "-P" in Rival("keepalived", 1, sure=True).advice
    assert Rival("kube-router", 1, sure=True).advice


def test_the_real_proc_can_be_looked_through() -> None:
    assert all(rival.pid != os.getpid() for rival in rivals.find())
