"""What a shell offers at a tab: verbs, options, choices, and names that live in the daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor import cli
from supervisor.commands.completion import candidates
from tests.supervisor.commands.test_orders import Daemon, daemon

__all__ = ["daemon"]

ROOT = Path(__file__).parents[3]
NAMES = {
    "virtual_servers": ["203.0.113.1:80/tcp", "[2001:db8::1]:80/tcp"],
    "real_servers": ["10.0.0.1:80", "10.0.0.2:80", "[2001:db8::21]:80"],
    "hosts": ["10.0.0.1", "10.0.0.2", "2001:db8::21"],
}


def offered(daemon: Daemon, *words: str) -> list[str]:
    daemon.answers = [NAMES]
    return candidates(cli.parser(), ["drain", "--admin-socket", str(daemon.path), *words])


def test_verbs_options_and_choices_come_from_the_parser() -> None:
    parser = cli.parser()
    assert candidates(parser, ["st"]) == ["status"]
    assert {"drain", "check-now", "explain"} <= set(candidates(parser, [""]))
    assert "complete" not in candidates(parser, [""])
    assert candidates(parser, ["status", "--wat"]) == ["--watch"]
    assert candidates(parser, ["log-level", ""]) == ["debug", "error", "info", "warning"]
    assert candidates(parser, ["host", "d"]) == ["disable", "drain"]
    assert candidates(parser, ["status", "--color", "a"]) == ["always", "auto"]
    assert candidates(parser, ["explain", "E01"]) == ["E010", "E011", "E012", "E013", "E014", "E015"]
    assert candidates(parser, ["run", "-f", ""]) == [], "a file: the shell offers it"
    assert candidates(parser, ["fly", ""]) == []


def test_names_come_from_the_daemon(daemon: Daemon) -> None:
    assert offered(daemon, "10.0.0.1") == ["10.0.0.1", "10.0.0.1:80"]
    assert offered(daemon, "10.0.0.1", "--in", "203") == ["203.0.113.1:80/tcp"]
    assert offered(daemon, "--reason", "") == []
    assert "--force" in offered(daemon, "10.0.0.1", "")
    assert daemon.asked[-1].verb == "names"


def test_without_a_daemon_nothing_is_offered_and_nothing_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["complete", "--", "drain", "--admin-socket", str(tmp_path / "none"), ""]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_verb_prints_a_word_a_line(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers = [NAMES]
    assert cli.main(["complete", "--", "status", "--admin-socket", str(daemon.path), "[2001"]) == 0
    assert capsys.readouterr().out == "[2001:db8::1]:80/tcp\n[2001:db8::21]:80\n"


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("vipervisor sta", ["status"]),
        ("vipervisor drain 10.0.0.", ["10.0.0.1", "10.0.0.1:80", "10.0.0.2", "10.0.0.2:80"]),
        ("vipervisor drain 10.0.0.1:", ["80"]),
        ("vipervisor drain 10.0.0.1 --in [2001:db8::", ["1]:80/tcp"]),
    ],
)
def test_bash_offers_them(daemon: Daemon, tmp_path: Path, typed: str, wanted: list[str]) -> None:
    daemon.answers = [NAMES]
    program = tmp_path / "vipervisor"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m supervisor "$@"\n')
    program.chmod(0o755)
    script = f"""
        source {ROOT}/deploy/completion/vipervisor.bash
        COMP_LINE='{typed}'; COMP_POINT=${{#COMP_LINE}}; COMP_WORDBREAKS=$' \\t\\n:='
        _vipervisor; printf '%s\\n' "${{COMPREPLY[@]}}" """
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environ["RUNTIME_DIRECTORY"] = str(daemon.path.parent)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environ, timeout=60, check=True)
    assert sorted(done.stdout.split()) == wanted


def test_a_completion_is_no_verb_that_anybody_sees() -> None:
    assert "complete" not in cli.parser().format_help().replace("completely", "")
