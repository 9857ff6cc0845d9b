"""track_file blocks and the FILE_CHECKs that watch them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from supervisor.model import NOWHERE, CheckSpec, Schedule, TrackFile, Weighs
from tests.supervisor.config.written import config_of, outcome_of, real_server, said, virtual_server


def text(path: Path, *check: str, block: tuple[str, ...] = ()) -> str:
    """A configuration with one track_file named load and one FILE_CHECK of it."""
    lines = "\n".join(("track_file load {", f"file {path}", *block, "}\n"))
    return lines + virtual_server(real_server("FILE_CHECK {", "track_file load", *check, "}"))


def check_of(path: Path, *check: str, block: tuple[str, ...] = ()) -> CheckSpec:
    (found,) = config_of(text(path, *check, block=block)).virtual_servers[0].real_servers[0].checks
    return found


@pytest.mark.parametrize(
    ("block", "check", "factor"),
    [
        ((), (), 1),
        (("weight 3",), (), 3),
        (("weight 3 reverse",), (), -3),
        (("weight 3 reverse",), ("weight 2",), 2),
        (("weight 3",), ("weight -5 reverse",), 5),
        (("weight 0",), (), 0),
        (("weight 4",), ("weight 2 noreverse",), 2),
    ],
)
def test_the_weight_of_the_check_goes_before_that_of_the_file(
    tmp_path: Path, block: tuple[str, ...], check: tuple[str, ...], factor: int
) -> None:
    path = tmp_path / "load"
    path.write_text("7\n")
    spec = check_of(path, *check, block=block)
    assert json.loads(spec.options_json)["factor"] == factor
    assert (spec.target, spec.schedule, spec.weighs) == (
        NOWHERE,
        Schedule(1.0, 0, 1.0, 5.0, 0.0),
        Weighs.ADDS if factor else Weighs.NOTHING,
    )
    assert spec.first_weight == (7 * factor if factor else None)
    assert spec.first_down is (factor == 0)


def test_a_file_that_does_not_exist_counts_as_0(tmp_path: Path) -> None:
    spec = check_of(tmp_path / "nowhere")
    assert (spec.first_weight, spec.first_down) == (0, False)


def test_a_file_that_cannot_be_read_counts_as_0_and_is_warned_of(tmp_path: Path) -> None:
    outcome = outcome_of(text(tmp_path))
    assert outcome.config is not None
    assert said(outcome) == [f"9:1: warning: {tmp_path} is no ordinary file; its value counts as 0"]


def test_a_number_that_is_too_great_counts_as_0_and_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "load"
    path.write_text("99999999999\n")
    (warning,) = said(outcome_of(text(path)))
    assert f"{path}: 99999999999 is no number from -2147483648 to 2147483647; its value counts as 0" in warning


@pytest.mark.parametrize(
    ("init", "existing", "wanted"),
    [
        ("init_file", None, (0, False, 0)),
        ("init_file 5", None, (5, False, 5)),
        ("init_file 5", "9", (5, False, 9)),
        ("init_file 5 overwrite", "9", (5, True, 5)),
        ("init_file overwrite", "9", (0, True, 0)),
    ],
)
def test_a_value_to_begin_with_is_read_before_it_is_written(
    tmp_path: Path, init: str, existing: str | None, wanted: tuple[int, bool, int]
) -> None:
    path = tmp_path / "load"
    if existing:
        path.write_text(existing)
    config = config_of(text(path, block=(init,)))
    initial, overwrite, first = wanted
    assert config.track_files == (TrackFile("load", str(path), 1, initial, overwrite=overwrite),)
    assert config.virtual_servers[0].real_servers[0].checks[0].first_weight == first


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("weight 300",), 'weight "300" is outside -254 to 254'),
        (("weight 3 upside",), 'expected reverse or noreverse, not "upside"'),
        (("weight 3 reverse now",), 'extra words "now" after "weight 3 reverse"'),
        (("init_file x",), 'init_file "x" is not a whole number'),
        (("init_file 3 often",), 'expected overwrite, not "often"'),
        (("init_file 3 overwrite twice",), 'extra words "twice" after "init_file 3 overwrite"'),
    ],
)
def test_mistakes_in_a_track_file_are_errors_with_their_place(
    tmp_path: Path, lines: tuple[str, ...], message: str
) -> None:
    outcome = outcome_of(text(tmp_path / "load", block=lines))
    assert outcome.config is None
    assert message in said(outcome)[0]


def test_a_check_of_a_file_that_nobody_defined_is_an_error_with_a_suggestion(tmp_path: Path) -> None:
    wrong = text(tmp_path / "load").replace("track_file load\n}", "track_file lod\n}")
    outcome = outcome_of(wrong)
    assert outcome.config is None
    assert outcome.problems[0].message == 'no track_file "lod" stands above'
    assert outcome.problems[0].suggestion == 'did you mean "load"?'


def test_two_servers_that_watch_the_same_file_are_one_check(tmp_path: Path) -> None:
    servers = [real_server("FILE_CHECK {", "track_file load", "}", head=f"10.1.0.{n} 80") for n in (1, 2)]
    config = config_of(f"track_file load {{\nfile {tmp_path}/load\n}}\n" + virtual_server(*servers))
    assert len({spec for server in config.virtual_servers[0].real_servers for spec in server.checks}) == 1
