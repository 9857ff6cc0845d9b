"""The configurations that we ship as examples: each is valid to the letter, and leads to the table that it promises.

The golden tables are `vipervisor table`: PYTHONPATH=. python tests/deploy/test_examples.py writes them again, on purpose.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from supervisor.cli import main

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "deploy" / "examples"
TABLES = ROOT / "tests" / "golden" / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.conf"))
ARTICLE = "article"
"""Somebody else's file, as it was printed: it has no comments, and an old spelling."""


def printed(*arguments: str) -> tuple[int, str]:
    """Return the exit status of a command line and what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        status = main(arguments)
    return status, output.getvalue()


def test_there_is_one_for_each_common_setup() -> None:
    assert set(NAMES) >= {"nat", "dr", "tun", "dns", "mail", "tls", "fwmark"}
    assert {path.stem for path in TABLES.glob("*.txt")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_valid_without_a_warning(name: str) -> None:
    status, output = printed("check", "--strict", str(EXAMPLES / f"{name}.conf"))
    assert status == 0, output
    assert name == ARTICLE or output.startswith("fine: "), output


@pytest.mark.parametrize("name", NAMES)
def test_an_example_leads_to_the_table_that_it_promises(name: str) -> None:
    assert printed("table", str(EXAMPLES / f"{name}.conf")) == (0, (TABLES / f"{name}.txt").read_text())


@pytest.mark.parametrize("name", [name for name in NAMES if name != ARTICLE])
def test_an_example_names_nobody_elses_address(name: str) -> None:
    """Only addresses and names that are kept for documentation, or private (RFC 5737, 3849, 2606, 1918)."""
    text = (EXAMPLES / f"{name}.conf").read_text()
    found = set(re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text))
    assert found
    assert {
        address for address in found if not re.match(r"(10|192\.0\.2|198\.51\.100|203\.0\.113)\.", address)
    } == set()
    assert re.findall(r"\b[\w-]+\.(?:com|net|de)\b", text) == []
    assert set(re.findall(r"[0-9a-f]*:[0-9a-f]*::\w+", text)) <= {"2001:db8::80", "2001:db8::21", "2001:db8::22"}


@pytest.mark.parametrize("name", [name for name in NAMES if name != ARTICLE])
def test_an_example_begins_with_what_it_is_for(name: str) -> None:
    lines = (EXAMPLES / f"{name}.conf").read_text().splitlines()
    assert all(line.startswith("#") for line in lines[:2])
    assert max(map(len, lines)) <= 140


if __name__ == "__main__":
    TABLES.mkdir(exist_ok=True)
    for each in NAMES:
        (TABLES / f"{each}.txt").write_text(printed("table", str(EXAMPLES / f"{each}.conf"))[1])
