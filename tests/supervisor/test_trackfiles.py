from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from supervisor.log import Log
from supervisor.model import TrackFile
from supervisor.trackfiles import begin


def unwritten(*files: TrackFile, starting: bool = True) -> list[dict[str, Any]]:
    """Write the first values; return the complaints."""
    told: list[dict[str, Any]] = []
    begin(files, Log(lambda line, _: told.append(json.loads(line)), strict=True), starting=starting)
    return told


@pytest.mark.parametrize(
    ("existing", "initial", "overwrite", "starting", "wanted"),
    [
        (None, 5, False, True, "5\n"),
        (None, -7, True, True, "-7\n"),
        (None, None, False, True, None),
        ("9", 5, False, True, "9"),
        ("9", 5, True, True, "5\n"),
        ("", 5, False, True, ""),
        ("9", 5, True, False, "9"),
        (None, 5, True, False, "5\n"),
    ],
)
def test_a_first_value_is_written_where_there_is_none_and_over_another_at_the_start_alone(
    tmp_path: Path, existing: str | None, initial: int | None, overwrite: bool, starting: bool, wanted: str | None
) -> None:
    path = tmp_path / "load"
    if existing is not None:
        path.write_text(existing)
    assert unwritten(TrackFile("load", str(path), 1, initial, overwrite=overwrite), starting=starting) == []
    assert (path.read_text() if path.exists() else None) == wanted
    assert [entry.name for entry in tmp_path.iterdir()] == ([] if wanted is None else ["load"])


def test_only_its_owner_may_read_the_new_file_and_a_link_is_not_written_through(tmp_path: Path) -> None:
    other, path = tmp_path / "other", tmp_path / "load"
    other.write_text("precious")
    path.symlink_to(other)
    assert unwritten(TrackFile("load", str(path), 1, 5, overwrite=True)) == []
    assert (path.is_symlink(), path.read_text(), path.stat().st_mode & 0o777) == (False, "5\n", 0o600)
    assert other.read_text() == "precious"


def test_a_value_that_cannot_be_written_is_told_and_the_others_are_written(tmp_path: Path) -> None:
    nowhere, here = tmp_path / "nowhere" / "load", tmp_path / "load"
    (told,) = unwritten(TrackFile("lost", str(nowhere), 1, 5), TrackFile("load", str(here), 1, 6))
    assert told["event"] == "track_file.unwritten"
    assert (
        told["message"]
        == f"The first value of track_file lost could not be written to {nowhere}: No such file or directory."
    )
    assert here.read_text() == "6\n"


def test_a_folder_in_the_place_of_the_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "load"
    path.mkdir()
    (told,) = unwritten(TrackFile("load", str(path), 1, 5, overwrite=True))
    assert told["reason"] == "Is a directory"
    assert [entry.name for entry in tmp_path.iterdir()] == ["load"]
