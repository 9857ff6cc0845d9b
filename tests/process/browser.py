"""A real browser: Debian's chromium without a window, which may have been unpacked into .lab, and axe-core's judgement of a page."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / ".lab" / "root"
PROGRAM = "chromium-headless-shell"
MISSING = f"{PROGRAM} is missing: `deploy/demo/setup programs {PROGRAM}` gets it (Debian package {PROGRAM})"

FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir>{lab}/usr/share/fonts</dir>
  <cachedir>{folder}</cachedir>
  <alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
  <match target="pattern">
    <edit name="family" mode="append_last"><string>DejaVu Sans</string></edit>
  </match>
</fontconfig>
"""


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Run the browser for a while. Its absence is an error under CI and else skips the test."""
    program = _program()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        (folder / "fonts.conf").write_text(FONTS.format(lab=LAB, folder=folder))
        libraries = LAB / "usr/lib/x86_64-linux-gnu"
        environment: dict[str, str | float | bool] = {
            **os.environ,
            "HOME": name,
            "FONTCONFIG_FILE": str(folder / "fonts.conf"),
            "LD_LIBRARY_PATH": ":".join(
                map(str, (*libraries.parent.glob("*-linux-gnu"), *libraries.parent.glob("*-linux-gnu/pulseaudio")))
            ),
        }
        running = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-lcd-text"], env=environment
        )
        yield running
        running.close()


def _program() -> str:
    """Return the program itself: Debian's script in front of it knows only /usr."""
    for root in (LAB, Path("/")):
        program = root / "usr/lib/chromium" / PROGRAM
        if program.exists():
            return str(program)
    found = shutil.which(PROGRAM)
    if found is None:
        assert not os.environ.get("CI"), f"{MISSING}; in CI that is an error"
        pytest.skip(MISSING)
    return found
