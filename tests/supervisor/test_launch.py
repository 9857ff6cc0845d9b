"""What starting the daemon leaves behind once it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

CODE = """
import gc, sys
from supervisor import cli, launch
from supervisor.config import Outcome
from supervisor.model import Config

def look(main, supervisor):
    gc.unfreeze()
    gc.collect()
    objects = gc.get_objects()
    print("read", sum(isinstance(it, Outcome) for it in objects))
    print("runs", [it is supervisor.config for it in objects if isinstance(it, Config) and it.source])

launch.trio.run = look
sys.exit(cli.main(["run", *sys.argv[1:]]))
"""

TEXT = "virtual_server 203.0.113.1 80 {\n  protocol TCP\n  real_server 192.0.2.1 80 {\n    weight 1\n  }\n}\n"


def start(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Start the daemon up to the moment in which it would run."""
    file = folder / "keepalived.conf"
    file.write_text(text)
    user = ["--user", "nobody"] if os.geteuid() == 0 else []
    options = [
        "-f",
        str(file),
        "--backend",
        "memory",
        "--exporter",
        "off",
        "--admin-socket",
        str(folder / "admin.sock"),
    ]
    command = [sys.executable, "-P", "-c", CODE, *options, *user]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)


def test_what_was_read_at_the_start_is_held_by_the_daemon_alone_and_goes_with_a_reload(tmp_path: Path) -> None:
    done = start(tmp_path, TEXT)
    assert done.returncode == 0, done.stderr
    assert "read 0\n" in done.stdout
    assert "runs [True]\n" in done.stdout
    assert not (tmp_path / "admin.sock").exists()


def test_a_file_with_errors_is_told_of_as_check_tells_it(tmp_path: Path) -> None:
    done = start(tmp_path, TEXT.replace("weight 1", "weight x"))
    assert done.returncode == 3
    assert "runs" not in done.stdout
    assert f"{tmp_path}/keepalived.conf:4:12: error:" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("1 error")
    assert not (tmp_path / "admin.sock").exists()
