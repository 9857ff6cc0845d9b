"""The manual pages say what the program does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy import programs

ROOT = Path(__file__).parents[2]
MAN = ROOT / "deploy" / "man"


def test_the_manual_pages_are_what_the_program_says_of_itself() -> None:
    ended = subprocess.run(
        [sys.executable, str(MAN / "pages.py"), "--check"],
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_the_exit_statuses_are_in_the_manual_of_the_command() -> None:
    page = (MAN / "vipervisor.8").read_text()
    statuses = page.partition(".SH EXIT STATUS\n")[2]
    for number, words in ((0, "fine"), (3, "invalid configuration"), (4, "only warnings (check \\-\\-strict)")):
        assert f".B {number}\n{words}\n" in statuses


def test_our_own_keywords_are_marked_as_ours() -> None:
    page = (MAN / "vipervisor.conf.5").read_text()
    for keyword in ("rise NUMBER", "check_before_add"):
        assert "(ours)" in page.partition(f".B {keyword}")[2].partition(".TP")[0]


@pytest.mark.parametrize("page", sorted(path.name for path in MAN.glob("*.[1-9]")))
def test_mandoc_has_nothing_to_say_about_a_page(page: str) -> None:
    done = programs.run("mandoc", "mandoc", ["-Tlint", "-Wall", str(MAN / page)])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
