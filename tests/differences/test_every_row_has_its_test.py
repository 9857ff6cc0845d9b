"""docs/differences.md and the tests of this folder: a row without a test may be wrong, and a test without a row is a secret."""

from __future__ import annotations

import pathlib
import re

HERE = pathlib.Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "differences.md"


def rows() -> list[str]:
    """The names of the rows, in the order of the page."""
    return re.findall(r'^\| <a id="([a-z0-9-]+)"></a>', PAGE.read_text(), re.MULTILINE)


def names_held() -> list[str]:
    """The names that tests here hold."""
    found: list[str] = []
    for path in sorted(HERE.glob("test_*.py")):
        found += re.findall(r"^(?:async )?def test_difference_(\w+)\(", path.read_text(), re.MULTILINE)
    return [name.replace("_", "-") for name in found]


def test_every_row_has_a_test_of_its_name_and_every_test_a_row() -> None:
    assert sorted(rows()) == sorted(names_held())
    assert len(rows()) > 30


def test_every_row_says_who_does_what_and_how_to_get_the_old_way() -> None:
    for line in PAGE.read_text().splitlines():
        if line.startswith("| <a "):
            assert re.fullmatch(r'\| <a id="([a-z0-9-]+)"></a>\1 (\| [^|]{7,} ){3}\|', line), line
