from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from checkers import file
from checkers.kit.api import Answer, Ending, LocalTrouble, Reason, Target, Verdict
from checkers.kit.trackfile import UnreadableFile, first_line, meaning, value_of
from tests.fakes.favours import ScriptedFavours
from tests.fakes.network import FakeNetwork


def verdict_of(line: str, factor: int) -> Verdict:
    """Check once a file with this first line."""

    async def main() -> Verdict:
        dial = FakeNetwork().dialer(3.0, ScriptedFavours(Answer(Ending.DONE, text=line)))
        return await file.check(Target("0.0.0.0", 0), file.prepare({"path": "/run/load", "factor": factor}), dial)

    return trio.run(main)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("5", 5),
        ("5 junk", 5),
        ("-3", -3),
        ("+7", 7),
        (" 12", 12),
        ("", 0),
        ("junk 5", 0),
        ("1.9", 1),
        ("0x10", 16),
        ("-0XfF", -255),
        ("0x", 0),
        ("010", 8),
        ("08", 0),
        ("- 5", 0),
        ("5\0", 5),
        ("2147483647", 2147483647),
        ("-2147483648", -2147483648),
    ],
)
def test_the_value_is_the_whole_number_of_c_at_the_beginning_of_the_line(line: str, value: int) -> None:
    assert value_of(line) == value


@given(st.text() | st.from_regex(r"\A\s*[+-]?[0-9]{1,30}", fullmatch=False))
def test_any_line_has_a_value_of_32_bits_or_none(line: str) -> None:
    with contextlib.suppress(UnreadableFile):
        assert -(2**31) <= value_of(line) < 2**31


@pytest.mark.parametrize("line", ["2147483648", "-2147483649", "99999999999", "0xfffffffff"])
def test_a_number_of_more_than_32_bits_says_nothing_of_the_server(line: str) -> None:
    verdict = verdict_of(line, 1)
    assert verdict.reason is Reason.LOCAL
    assert f"{line} is no number from -2147483648 to 2147483647" in verdict.detail


@pytest.mark.parametrize(
    ("line", "factor", "reason", "weight"),
    [
        ("5", 2, Reason.FILEOK, 10),
        ("5", -2, Reason.FILEOK, -10),
        ("", 2, Reason.FILEOK, 0),
        ("-2147483648", 1, Reason.FILEERR, None),
        ("2147483647", 254, Reason.FILEOK, 2147483647),
        ("2147483647", -2, Reason.FILEERR, None),
        ("0", 0, Reason.FILEOK, None),
        ("1", 0, Reason.FILEERR, None),
        ("-1", 0, Reason.FILEERR, None),
    ],
)
def test_value_times_factor_is_added_to_the_weight_and_factor_0_makes_it_a_switch(
    line: str, factor: int, reason: Reason, weight: int | None
) -> None:
    verdict = verdict_of(line, factor)
    assert (verdict.reason, verdict.weight) == (reason, weight)


def test_a_file_that_cannot_be_read_says_nothing_of_the_server() -> None:
    async def main() -> None:
        dial = FakeNetwork().dialer(3.0, ScriptedFavours(Answer(Ending.REFUSED, text="no right to read it")))
        with pytest.raises(LocalTrouble, match="no right to read it"):
            await file.check(Target("0.0.0.0", 0), file.prepare({"path": "/run/load", "factor": 1}), dial)

    trio.run(main)


def test_only_the_first_line_is_read_and_a_missing_file_is_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "load"
    assert first_line(str(path)) == ""
    path.write_bytes(b"12\n99\n")
    assert first_line(str(path)) == "12"
    path.write_bytes(b" \n\t7\n99\n")
    assert first_line(str(path)) == "7"
    path.write_bytes(b"\xff" * 10_000)
    assert len(first_line(str(path))) == 64


def test_what_is_no_ordinary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="no ordinary file"):
        first_line(str(tmp_path))
    with pytest.raises(UnreadableFile, match="cannot be read"):
        first_line("/dev/null\0")


def test_the_first_reading_and_every_later_one_mean_the_same() -> None:
    assert meaning("5", 3).weight == verdict_of("5", 3).weight == 15
