"""Every file in tests/config/invalid has one mistake, and its first line is the message that it must produce."""

from __future__ import annotations

import pathlib

import pytest

from supervisor.config import load
from tests.supervisor.config.written import said

FILES = sorted(pathlib.Path(__file__).parents[2].joinpath("config", "invalid").glob("*.conf"))


def test_there_are_files_to_try() -> None:
    assert len(FILES) >= 70


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_the_one_mistake_of_the_file_is_named_with_its_place(path: pathlib.Path) -> None:
    wanted = path.read_text().splitlines()[0].removeprefix("# ")
    outcome = load(path)
    assert said(outcome) == [wanted]
    assert outcome.config is None
    assert outcome.problems[0].file == str(path)
