"""When a check must not wait."""

from __future__ import annotations

import errno
import itertools

import pytest

from checkers.kit.api import Health, Reason, Verdict
from checkers.kit.sockets import REFUSED, connect_error
from checkers.kit.urgency import (
    AT_ONCE_MAX,
    RETURN_AGAIN_S,
    RETURN_EVERY_S,
    RETURN_WITHIN_S,
    RETURNS_PER_S,
    Hint,
    Returns,
    Urgency,
    is_refusal,
)

REFUSAL = Verdict(Reason.L4CON, REFUSED)
SOFTER = [
    Verdict(Reason.L4CON, "connection reset"),
    Verdict(Reason.L4CON, "no route to host"),
    Verdict(Reason.L4TOUT, "no connection within 1 s"),
    Verdict(Reason.L7STS, "HTTP 500, wanted 200"),
    Verdict(Reason.L7RSP, "connection reset"),
    Verdict(Reason.LATE, f"not counted, for we stood still before: {REFUSED}"),
    Verdict(Reason.LOCAL, "cannot open a socket: too many open files"),
]


def urgency(*, fast_retry: bool = True) -> Urgency:
    return Urgency(Health.UP, fast_retry=fast_retry)


def test_what_the_kernel_calls_a_refusal_is_one() -> None:
    error = connect_error(errno.ECONNREFUSED)
    assert is_refusal(Verdict(error.reason, str(error)))
    assert not is_refusal(Verdict(error.reason, str(connect_error(errno.EHOSTUNREACH))))


def test_a_refused_port_is_asked_again_at_once() -> None:
    hurry = urgency()
    assert hurry.due(REFUSAL, Health.UP, 103.0, 100.0, Returns()) == 100.0
    assert hurry.at_once


@pytest.mark.parametrize("verdict", SOFTER, ids=lambda verdict: f"{verdict.reason.name} {verdict.detail}")
def test_anything_softer_keeps_the_pause_of_the_file(verdict: Verdict) -> None:
    hurry = urgency()
    assert hurry.due(verdict, Health.UP, 103.0, 100.0, Returns()) == 103.0
    assert not hurry.at_once


def test_without_fast_retry_a_refusal_keeps_it_too() -> None:
    hurry = urgency(fast_retry=False)
    assert hurry.due(REFUSAL, Health.UP, 103.0, 100.0, Returns()) == 103.0
    assert hurry.due(REFUSAL, Health.DOWN, 160.0, 103.0, Returns()) == 160.0
    assert not hurry.at_once


def test_not_more_than_so_many_retries_are_made_at_once() -> None:
    hurry = urgency()
    dues = [hurry.due(REFUSAL, Health.UP, 103.0, 100.0, Returns()) for _ in range(AT_ONCE_MAX + 5)]
    assert dues == [100.0] * AT_ONCE_MAX + [103.0] * 5
    hurry.due(Verdict(Reason.L4OK), Health.UP, 160.0, 100.0, Returns())
    assert hurry.due(REFUSAL, Health.UP, 103.0, 100.0, Returns()) == 100.0


def test_a_port_that_refuses_since_a_moment_ago_is_looked_at_every_second() -> None:
    hurry = urgency()
    now, looks = 100.0, 0
    due = hurry.due(REFUSAL, Health.DOWN, now + 60, now, Returns())
    while due - now == RETURN_EVERY_S:
        now, looks = due, looks + 1
        due = hurry.due(REFUSAL, Health.DOWN, now + 60, now, Returns())
    assert looks == RETURN_WITHIN_S / RETURN_EVERY_S
    assert due == now + 60
    assert not hurry.at_once


def test_a_file_that_looks_more_often_than_that_is_not_slowed() -> None:
    assert urgency().due(REFUSAL, Health.DOWN, 100.5, 100.0, Returns()) == 100.5


def test_once_the_port_is_open_the_file_has_its_pace_again() -> None:
    hurry = urgency()
    hurry.due(REFUSAL, Health.DOWN, 160.0, 100.0, Returns())
    assert (
        hurry.due(Verdict(Reason.L4OK), Health.DOWN, 161.0, 101.0, Returns()) == 161.0
    )  # rise 2: the second success at its time
    assert hurry.due(Verdict(Reason.L7STS, "HTTP 502"), Health.DOWN, 162.0, 102.0, Returns()) == 162.0


def test_what_crashes_again_and_again_is_not_taken_in_again_and_again() -> None:
    hurry = urgency()
    hurry.due(REFUSAL, Health.DOWN, 160.0, 100.0, Returns())
    hurry.due(Verdict(Reason.L4OK), Health.UP, 161.0, 101.0, Returns())
    assert hurry.due(REFUSAL, Health.DOWN, 162.0 + 60, 112.0, Returns()) == 162.0 + 60
    hurry.due(Verdict(Reason.L4OK), Health.UP, 230.0, 100.0 + RETURN_AGAIN_S, Returns())
    assert (
        hurry.due(REFUSAL, Health.DOWN, 290.0, 100.0 + RETURN_AGAIN_S, Returns())
        == 100.0 + RETURN_AGAIN_S + RETURN_EVERY_S
    )


def test_when_thousands_are_gone_their_looks_take_turns_and_nobody_is_looked_at_later_than_the_file_says() -> None:
    returns = Returns()
    dues = [urgency().due(REFUSAL, Health.DOWN, 106.0, 100.0, returns) for _ in range(5000)]
    assert dues[0] == 100.0 + RETURN_EVERY_S
    assert max(dues) == 106.0
    early = sorted(due for due in dues if due < 106.0)
    assert len(early) == pytest.approx((6.0 - RETURN_EVERY_S) * RETURNS_PER_S, abs=1)
    assert all(later - one > 0.9 / RETURNS_PER_S for one, later in itertools.pairwise(early))


def test_a_check_that_was_never_up_has_nothing_to_return_to() -> None:
    assert Urgency(Health.UNKNOWN, fast_retry=True).due(REFUSAL, Health.DOWN, 160.0, 100.0, Returns()) == 160.0


@pytest.mark.parametrize(
    ("hint", "health", "failures", "wanted"),
    [
        (Hint.ENDED, Health.UP, 0, True),
        (Hint.ENDED, Health.UP, 1, False),  # the file's pause between retries stands
        (Hint.REFUSED, Health.UP, 1, True),
        (Hint.REFUSED, Health.DOWN, 3, False),
        (Hint.ENDED, Health.DOWN, 0, False),
        (Hint.ENDED, Health.UNKNOWN, 0, False),
        (Hint.NONE, Health.UP, 0, False),
    ],
)
def test_a_hint_hastens_who_is_up_and_not_in_the_middle_of_its_retries(
    hint: Hint, health: Health, failures: int, *, wanted: bool
) -> None:
    assert urgency().hastens(hint, health, failures) is wanted


def test_after_a_verdict_that_says_nothing_no_hint_hastens() -> None:
    hurry = urgency()
    hurry.due(Verdict(Reason.LATE), Health.UP, 100.0, 100.0, Returns())
    assert not hurry.hastens(Hint.REFUSED, Health.UP, 0)
    hurry.due(Verdict(Reason.L4OK), Health.UP, 100.0, 100.0, Returns())
    assert hurry.hastens(Hint.REFUSED, Health.UP, 0)
