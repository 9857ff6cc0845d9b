"""Numbers and durations as a person says them."""

from __future__ import annotations

import pytest

from supervisor.wording import counted, lasting


def test_one_is_not_plural_and_everything_else_is() -> None:
    assert [counted(number, "active server") for number in (0, 1, 2)] == [
        "0 active servers",
        "1 active server",
        "2 active servers",
    ]
    assert [counted(number, "entry", "entries") for number in (1, 2)] == ["1 entry", "2 entries"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1.0, "0 s"),
        (0.9, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (190, "3 min 10 s"),
        (7200, "2 h"),
        (5 * 3600 + 150, "5 h 2 min"),
        (86400, "1 day"),
        (51 * 3600, "2 days 3 h"),
        (86400 + 59, "1 day"),
    ],
)
def test_a_duration_is_said_in_at_most_two_units(seconds: float, said: str) -> None:
    assert lasting(seconds) == said
