"""What is learned of servers that close idle connections."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from checkers.kit.idling import PAUSE_FIRST_S, PAUSE_MAX_S, RENEW_SHARE, SHORT_S, Habit


def ended(*ages: float, well: bool = True) -> Habit:
    habit = Habit()
    for age_s in ages:
        habit.ended(age_s, well=well)
    return habit


def test_one_end_proves_nothing() -> None:
    for age_s in (0.1, 5.0, 75.0, 86400.0):
        habit = ended(age_s)
        assert (habit.limit_s, habit.pause_s, habit.renew_after_s) == (0.0, 0.0, 0.0)


def test_two_ends_at_the_same_age_are_the_limit_and_the_next_is_renewed_before_it() -> None:
    habit = ended(75.2, 75.0)
    assert habit.limit_s == 75.0
    assert habit.renew_after_s == RENEW_SHARE * 75.0
    assert not habit.pause_s


def test_ends_at_any_ages_are_reloads_and_no_limit() -> None:
    assert ended(30.0, 75.0, 1000.0, 500.0).limit_s == 0.0


def test_a_server_that_died_says_nothing_of_its_limit() -> None:
    assert ended(75.0, 75.0, well=False).limit_s == 0.0


def test_a_short_limit_is_given_up_for_a_time_that_grows() -> None:
    pauses = []
    habit = ended(5.0)
    for _ in range(6):
        habit.ended(5.1, well=True)
        pauses.append(habit.pause_s)
    assert pauses == [PAUSE_FIRST_S, 60.0, 120.0, 240.0, PAUSE_MAX_S, PAUSE_MAX_S]
    assert not habit.renew_after_s


def test_one_that_lives_longer_makes_good_for_the_short_ones() -> None:
    habit = ended(5.0, 5.0)
    assert habit.pause_s
    habit.lasted()
    assert not habit.pause_s
    habit.ended(3.0, well=True)
    assert not habit.pause_s  # one is allowed again
    habit.ended(SHORT_S, well=True)
    habit.ended(3.0, well=True)
    assert not habit.pause_s


def test_what_crashes_again_and_again_is_given_up_too() -> None:
    assert ended(2.0, 3.0, well=False).pause_s == PAUSE_FIRST_S


@given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans())))
def test_whatever_happens_the_pause_is_bounded_and_a_renewal_is_never_a_pestering(
    ends: list[tuple[float, bool]],
) -> None:
    habit = Habit()
    for age_s, well in ends:
        habit.ended(age_s, well=well)
        assert habit.pause_s == 0 or PAUSE_FIRST_S <= habit.pause_s <= PAUSE_MAX_S
        assert habit.renew_after_s == 0 or habit.renew_after_s >= RENEW_SHARE * SHORT_S
