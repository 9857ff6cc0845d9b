"""docs/differences.md and the tests of its rows: a row without a test may be wrong, and a test without a row is a secret."""

from __future__ import annotations

import pathlib
import re

HERE = pathlib.Path(__file__).parent
TESTS = HERE.parent
PAGE = TESTS.parent / "docs" / "differences.md"


def rows() -> list[str]:
    """The names of the rows, in the order of the page."""
    return re.findall(r'^\| <a id="([a-z0-9-]+)"></a>', PAGE.read_text(), re.MULTILINE)


def names_held(*paths: pathlib.Path) -> list[str]:
    """The names that tests in these files hold."""
    found: list[str] = []
    for path in paths:
        found += re.findall(r"^(?:async )?def test_difference_(\w+)\(", path.read_text(), re.MULTILINE)
    return [name.replace("_", "-") for name in found]


def test_every_row_has_a_test_of_its_name() -> None:
    assert set(rows()) - set(names_held(*TESTS.rglob("test_*.py"))) == set()
    assert len(rows()) > 30


def test_no_row_stands_there_twice() -> None:
    assert len(set(rows())) == len(rows())


def test_every_test_of_a_difference_has_a_row() -> None:
    assert set(names_held(*TESTS.rglob("test_*.py"))) - set(rows()) == set()


def test_every_row_says_who_does_what_and_how_to_get_the_old_way() -> None:
    for line in PAGE.read_text().splitlines():
        if line.startswith("| <a "):
            assert re.fullmatch(r'\| <a id="([a-z0-9-]+)"></a>\1 (\| [^|]{7,} ){3}\|', line), line
