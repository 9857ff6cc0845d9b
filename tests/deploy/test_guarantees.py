"""docs/guarantees.md names the test behind each promise: every one of them is there."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "guarantees.md"
FAULTS_MIN = 60
ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \| (.+) \|$", re.MULTILINE)


@functools.cache
def names_in(file: Path) -> frozenset[str]:
    tree = ast.parse(file.read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_fault_of_the_page_has_a_test_that_is_there() -> None:
    text = PAGE.read_text()
    rows = ROW.findall(text)
    assert len(rows) == len(re.findall(r"^\| \d+ \|", text, re.MULTILINE)), "a row without a test"
    assert [int(number) for number, *_ in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= FAULTS_MIN
    missing = []
    for _, fault, _, shown in rows:
        named = re.findall(r"`([^`]+)`", shown)
        assert named, fault
        for name in named:
            file, _, test = name.partition("::")
            path = TESTS / file
            if not path.is_file() or (test and test not in names_in(path)):
                missing.append(name)
    assert missing == []
