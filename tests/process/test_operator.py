"""An operator at the real daemon: orders over its socket, by the accounts that give them."""

from __future__ import annotations

import grp
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from tests.process.test_daemon import Daemon, Web, configuration, until

GROUP = "adm"
STRANGER = 65533
ROOT_FOLDER = Path(__file__).parents[2]


@pytest.fixture
def webs() -> Iterator[tuple[Web, Web]]:
    pair = (Web(), Web())
    yield pair
    for web in pair:
        web.close()


@pytest.fixture
def daemon(tmp_path: Path, webs: tuple[Web, Web]) -> Iterator[Daemon]:
    running = Daemon(tmp_path, configuration(*(web.port for web in webs)))
    until(lambda: running.status()["process"]["ready"])
    yield running
    running.close()


def test_a_server_is_drained_for_a_while_and_everything_that_can_be_asked_says_so(
    daemon: Daemon, webs: tuple[Web, Web]
) -> None:
    name = f"127.0.0.1:{webs[0].port}"
    done = daemon.ask("drain", name, "--for", "2s", "--reason", "CHG-17", "--wait")
    assert done.returncode == 0, done.stderr
    assert f"{name} in 203.0.113.100:80/tcp: draining for 2 s (CHG-17), weight 1 → 0" in done.stdout
    assert "drained: no active connections are left" in done.stderr
    assert daemon.weights() == [0, 1]
    assert "◐ draining, by " in daemon.ask("status").stdout
    until(lambda: 'lvs_admin_overrides{kind="draining"} 1.0' in daemon.metrics())
    (request,) = daemon.events("admin.request")
    assert (request["uid"], request["verb"], request["outcome"]) == (os.geteuid(), "drain", "done")
    assert request["peer_pid"] > 0
    until(lambda: daemon.weights() == [1, 1])
    assert [line["expired"] for line in daemon.events("real_server.admin_changed")] == [False, True]


def test_the_last_one_is_not_taken_out_without_force(daemon: Daemon, webs: tuple[Web, Web]) -> None:
    webs[1].close()
    until(lambda: daemon.weights() == [1, 0])
    name = f"127.0.0.1:{webs[0].port}"
    refused = daemon.ask("disable", name)
    assert (refused.returncode, refused.stdout) == (7, "")
    assert "would leave 203.0.113.100:80/tcp with live weight 0 of the quorum 1" in refused.stderr
    assert daemon.weights() == [1, 0]
    assert daemon.ask("disable", name, "--force").returncode == 0
    assert daemon.weights() == [0, 0]
    assert daemon.ask("enable", "127.0.0.1").returncode == 0
    assert daemon.weights() == [1, 0]
    webs[1].open()
    assert daemon.ask("drain", "127.0.0.2").returncode == 6


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which needs root")
def test_a_member_of_the_admin_group_may_look_and_not_touch(webs: tuple[Web, Web]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        daemon = Daemon(folder, configuration(*(web.port for web in webs)), "--admin-group", GROUP)
        try:
            until(lambda: daemon.status()["process"]["ready"])
            found = daemon.socket.stat()
            assert (found.st_mode & 0o777, found.st_gid) == (0o660, grp.getgrnam(GROUP).gr_gid)
            member, stranger = [STRANGER, grp.getgrnam(GROUP).gr_gid], [STRANGER]
            server = f"127.0.0.1:{webs[0].port}"
            assert ask_as(daemon, member, "status").returncode == 0
            assert ask_as(daemon, member, "why", server).returncode == 0
            refused = ask_as(daemon, member, "drain", server)
            assert refused.returncode == 7
            assert f"uid {STRANGER} may ask and not change anything" in refused.stderr
            assert ask_as(daemon, stranger, "status").returncode == 5
            assert daemon.weights() == [1, 1]
            (request,) = daemon.events("admin.request")
            assert (request["uid"], request["verb"], request["outcome"]) == (STRANGER, "drain", "refused")
        finally:
            daemon.close()


def ask_as(daemon: Daemon, groups: list[int], *words: str) -> subprocess.CompletedProcess[str]:
    """Ask as STRANGER with these groups. The program is loaded as root, for its folder may be closed to others."""
    code = (
        "import locale, os, sys\nfrom supervisor import cli\ncli.parser()\n"
        f"os.setgroups({groups[1:]})\nos.setgid({groups[0]})\nos.setuid({STRANGER})\nsys.exit(cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, *words, "--admin-socket", str(daemon.socket)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT_FOLDER)


def test_an_unknown_admin_group_stops_the_start_before_anything_is_changed(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, configuration(1), "--admin-group", "no-such-group")
    try:
        assert daemon.process.wait(20) == 1
        assert daemon.process.stderr is not None
        assert "--admin-group no-such-group: there is no such group" in daemon.process.stderr.read()
        assert not daemon.socket.exists()
    finally:
        daemon.close()


def test_an_answer_comes_in_a_moment(daemon: Daemon) -> None:
    """Five tries: the machine may be busy, the program may not."""
    took = []
    for _ in range(5):
        since = time.monotonic()
        assert daemon.ask("status").returncode == 0
        took.append(time.monotonic() - since)
    assert min(took) < 1.0


def test_a_real_server_is_probed_now_and_everything_that_passed_is_shown(daemon: Daemon, webs: tuple[Web, Web]) -> None:
    name = f"127.0.0.1:{webs[0].port}"
    traced = daemon.ask("check-now", name, "--trace")
    assert traced.returncode == 0, traced.stderr
    for words in (f"connecting:  TCP connection to {name}", "> GET / HTTP/1.0", "< HTTP/1.", "● passes: L7OK"):
        assert words in traced.stdout
    webs[0].close()
    failed = daemon.ask("check-now", name)
    if failed.returncode == 7:  # within a second of the first
        time.sleep(1.2)
        failed = daemon.ask("check-now", name)
    assert failed.returncode == 1
    assert "✖ FAILS: L4CON" in failed.stdout
    webs[0].open()


def test_writes_are_paused_and_everybody_is_told_until_they_are_resumed(tmp_path: Path, webs: tuple[Web, Web]) -> None:
    text = configuration(*(web.port for web in webs))
    daemon = Daemon(tmp_path, text, "--state-dir", str(tmp_path / "state"))
    try:
        until(lambda: daemon.status()["process"]["ready"])
        paused = daemon.ask("pause", "writes", "--reason", "INC-7", "--for", "1h")
        assert paused.returncode == 0, paused.stderr
        assert "(INC-7), for 1h00m more" in paused.stdout
        until(lambda: "lvs_writes_paused 1.0" in daemon.metrics())
        assert "! WRITES PAUSED by " in daemon.ask("status").stdout
        assert daemon.ask("sync").returncode == 7
        webs[1].close()
        until(lambda: daemon.status()["virtual_servers"][0]["real_servers"][1]["health"] == "DOWN")
        assert daemon.weights() == [1, 1]
        down = daemon.ask("status", "--down", "--json")
        assert down.returncode == 1
        assert f"127.0.0.1:{webs[1].port}" in down.stdout
        alert = daemon.ask("alerts")
        assert (alert.returncode, alert.stdout.split(" - ")[0]) == (1, "VIPERVISOR WARNING")
        assert daemon.ask("resume").returncode == 0
        until(lambda: daemon.weights() == [1, 0])
        webs[1].open()
    finally:
        daemon.close()


def test_the_program_says_how_it_is(daemon: Daemon) -> None:
    ready = daemon.ask("ready")
    assert (ready.returncode, ready.stdout.split(":")[0]) == (0, "ready")
    assert daemon.ask("sync").stdout == "the kernel is as wanted; nothing was changed\n"
    version = json.loads(daemon.ask("version", "--json").stdout)
    schema = json.loads((ROOT_FOLDER / "docs" / "schemas" / "version.json").read_text())
    jsonschema.validate(version, schema)
    assert version["client"] == version["daemon"]["version"]
    assert daemon.ask("log-level", "error").returncode == 0
    count = len(daemon.events("admin.request"))
    assert daemon.ask("log-level", "info").returncode == 0
    until(lambda: len(daemon.events("admin.request")) > count)


def test_one_machine_is_taken_out_and_in_again(daemon: Daemon) -> None:
    assert daemon.ask("drain", "127.0.0.*", "--force").returncode == 7
    assert daemon.weights() == [1, 1]
    assert daemon.ask("host", "disable", "127.0.0.1").returncode == 7, "the quorum would go"
    done = daemon.ask("host", "drain", "127.0.0.1", "--force", "--reason", "new disk")
    assert done.returncode == 0, done.stderr
    assert daemon.weights() == [0, 0]
    assert daemon.ask("host", "enable", "127.0.0.1").returncode == 0
    assert daemon.weights() == [1, 1]
