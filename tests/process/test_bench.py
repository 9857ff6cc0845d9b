"""A benchmark that is over its limit is ended with all that came of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bench.running import Failed, ended_within

STUBBORN = """
import pathlib, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
child.wait()
"""


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_command_over_its_limit_leaves_nobody_behind(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(Failed, match="not within 4 s"):
        ended_within([sys.executable, "-c", STUBBORN, str(pid)], 4)
    assert not is_there(int(pid.read_text()))


def test_a_command_in_time_gives_its_exit_status_and_what_it_forgot_is_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    forgetful = STUBBORN.replace("child.wait()", "sys.exit(3)")
    assert ended_within([sys.executable, "-c", forgetful, str(pid)], 30) == 3
    assert not is_there(int(pid.read_text()))
