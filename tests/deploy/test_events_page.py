"""docs/events.md says what the catalogue says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_events_is_what_the_catalogue_says() -> None:
    ended = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "man" / "events.py"), "--check"],
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
