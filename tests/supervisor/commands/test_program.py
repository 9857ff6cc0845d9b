"""Verbs about the program itself, as they are typed: what is asked of the daemon, what is printed, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from supervisor import __version__
from supervisor.cli import main
from tests.supervisor.commands.test_orders import Daemon, daemon, said

__all__ = ["daemon"]

PAUSE = {"by": "alice", "reason": "INC-7", "age_s": 1.0, "ends_s": 599.5}


def test_a_pause_is_asked_for_with_its_reason_and_end(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers[:] = [{"paused": PAUSE, "differences": 2}]
    assert said(daemon, "pause", "writes", "--reason", "INC-7", "--for", "10m") == 0
    assert daemon.asked[-1].args == {"reason": "INC-7", "for_s": 600.0}
    assert capsys.readouterr().out == "WRITES PAUSED by alice 1.0s ago (INC-7), for 10m00s more; 2 changes waiting\n"
    daemon.answers[:] = [{"paused": None, "differences": 0}]
    assert said(daemon, "resume") == 0
    assert capsys.readouterr().out == "The kernel is written.\n"


@pytest.mark.parametrize("words", [["pause"], ["pause", "writes"], ["pause", "checks", "--reason", "x"], ["log-level"]])
def test_what_is_missing_is_wrong_usage(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2


@pytest.mark.parametrize(("left", "status"), [(0, 0), (1, 1)])
def test_the_exit_status_of_sync_tells_whether_the_kernel_is_as_wanted(daemon: Daemon, left: int, status: int) -> None:
    difference = {"virtual_server": "fwm:1/ipv4", "real_server": "", "kind": "missing", "words": "is not in the table"}
    daemon.answers[:] = [
        {"dry_run": False, "found": 1, "differences": [difference], "left": left, "in_kernel": not left}
    ]
    assert said(daemon, "sync") == status


@pytest.mark.parametrize(("ready", "status"), [(True, 0), (False, 1)])
def test_the_exit_status_of_ready_is_its_answer(daemon: Daemon, ready: bool, status: int) -> None:
    daemon.answers[:] = [
        {
            "ready": ready,
            "kernel_synced": ready,
            "kernel_reachable": True,
            "checks": 1,
            "waiting": 0,
            "waiting_for": [],
        }
    ]
    assert said(daemon, "ready") == status


@pytest.mark.parametrize("status", range(4))
def test_the_exit_status_of_alerts_is_a_monitoring_plugins(
    daemon: Daemon, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answers[:] = [{"status": status, "word": "WORD", "text": "a|b\nc", "figures": {"real_servers": 2, "up": 1}}]
    assert said(daemon, "alerts") == status
    assert capsys.readouterr().out == "VIPERVISOR WORD - a/b c | real_servers=2 up=1\n"


def test_alerts_without_a_daemon_is_unknown_and_a_line_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["alerts", "--admin-socket", str(tmp_path / "none")]) == 3
    assert capsys.readouterr().out.startswith("VIPERVISOR UNKNOWN - ")


def test_version_shows_both_ends_and_says_when_they_differ(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: dict[str, Any] = {"version": "0.0.1", "protocol": 1, "python": "3", "kernel": "6", "log_level": "info"}
    daemon.answers[:] = [told]
    assert said(daemon, "version") == 0
    assert "They differ" in capsys.readouterr().out
    assert main(["version", "--json", "--admin-socket", str(tmp_path / "none")]) == 5
    shown = json.loads(capsys.readouterr().out)
    assert (shown["schema"], shown["client"], shown["daemon"]) == (1, __version__, None)


def test_what_is_json_says_which_schema_it_follows(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers[:] = [{"level": "debug", "before": "info"}]
    assert said(daemon, "log-level", "debug", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "level": "debug", "before": "info"}
    daemon.answers[:] = [[]]
    assert said(daemon, "why", "192.0.2.1", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "answers": []}
