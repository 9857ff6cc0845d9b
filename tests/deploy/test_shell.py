"""Every shell script of the tree: shellcheck finds nothing in it, and what it must overlook says why."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.deploy import programs

SCRIPTS_MIN = 10
"""So many there were when this was written: a search that finds fewer has lost its way."""
ELSEWHERE = {".git", ".venv", ".lab", ".fuzz", "build", "dist"}


def is_shell_script(path: Path) -> bool:
    with path.open("rb") as file:
        return re.match(rb"#!.*\b(sh|bash)\b", file.readline(200)) is not None


def scripts() -> list[str]:
    return sorted(
        str(path.relative_to(programs.ROOT))
        for top in programs.ROOT.iterdir()
        if top.name not in ELSEWHERE
        for path in ([top] if top.is_file() else top.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and is_shell_script(path)
    )


def test_shellcheck_has_nothing_to_say_about_any_shell_script() -> None:
    found = scripts()
    assert len(found) >= SCRIPTS_MIN
    assert {".ci/run", "deploy/deb/build", "deploy/deb/postinst", "deploy/demo/setup"} <= set(found)
    done = programs.run("shellcheck", "shellcheck", ["--format=gcc", "--norc", *found])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_mistake_would_be_noticed(tmp_path: Path) -> None:
    script = tmp_path / "wrong"
    script.write_text("#!/bin/sh\nrm -rf $1/*\n")
    done = programs.run("shellcheck", "shellcheck", ["--format=gcc", str(script)])
    assert done.returncode == 1
    assert "SC2086" in done.stdout


def test_every_excuse_of_a_script_has_its_reason() -> None:
    excuses = [
        line.strip()
        for script in scripts()
        for line in (programs.ROOT / script).read_text().splitlines()
        if "shellcheck disable=" in line
    ]
    assert excuses
    assert [excuse for excuse in excuses if not re.search(r"disable=[\w,]+\s+# \w+", excuse)] == []


def test_every_script_is_read_by_its_own_shell_without_a_complaint() -> None:
    for script in scripts():
        shell = "bash" if b"bash" in (programs.ROOT / script).read_bytes().partition(b"\n")[0] else "sh"
        subprocess.run([shell, "-n", script], cwd=programs.ROOT, check=True)
