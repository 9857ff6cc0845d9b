"""Several urls one by one: which is asked when, and what the answers make of the check (keepalived.md, section 3.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkers.kit.api import Health, Reason, Verdict
from checkers.kit.schedule import CheckState
from checkers.kit.turns import OneByOne, Turns

GOOD, BAD, LATE = Verdict(Reason.L7OK, "HTTP 200"), Verdict(Reason.L7STS, "HTTP 503"), Verdict(Reason.LATE)
LOOP_S, RETRY_S = 10.0, 3.0


@dataclass(frozen=True)
class Settings:
    type: str = "HTTP_GET"
    delay_loop: float = LOOP_S
    retry: int = 1
    delay_before_retry: float = RETRY_S
    warmup: float = 0.0
    rise: int = 1
    alpha: bool = False
    fast_interval: float | None = None
    down_interval: float | None = None
    idle_interval: float | None = None


@dataclass(frozen=True)
class Probe:
    at: float
    part: str
    health: Health

    def __str__(self) -> str:
        return f"{self.at:g} {self.part} {self.health.name}"


def history(
    probes: int,
    answer: Callable[[str, float], Verdict],
    parts: str = "abc",
    *,
    hurry: bool = False,
    health: Health = Health.UNKNOWN,
) -> list[Probe]:
    """What a worker does of it: the time of each probe, its part, and the health after it."""
    state = CheckState(Settings(), health)
    turns = Turns(OneByOne(tuple(parts), hurry))
    now, told = 0.0, []
    for _ in range(probes):
        at, part = now, turns.take()
        verdict = turns.weigh(answer(part, now), state.health)
        changed, due, verdict = state.record(verdict, now)
        now = turns.due(verdict, due, now, went_down=changed and state.health is Health.DOWN)
        told.append(Probe(at, part, state.health))
    return told


def broken(part: str, since: float, until: float) -> Callable[[str, float], Verdict]:
    return lambda asked, now: BAD if asked == part and since <= now < until else GOOD


def shown(probes: list[Probe]) -> list[str]:
    return [str(probe) for probe in probes]


def test_each_loop_asks_one_part_and_a_fresh_check_is_up_after_the_last() -> None:
    assert shown(history(5, broken("a", 0, 0))) == ["0 a UNKNOWN", "10 b UNKNOWN", "20 c UP", "30 a UP", "40 b UP"]


def test_a_fresh_check_is_down_by_the_first_part_that_fails() -> None:
    assert shown(history(3, broken("b", 0, 99))) == ["0 a UNKNOWN", "10 b DOWN", "20 b DOWN"]


def test_a_part_that_fails_is_asked_again_after_the_retry_delay_and_going_on_is_as_good_as_before() -> None:
    told = history(7, broken("b", 35, 42), health=Health.UP)
    assert shown(told) == ["0 a UP", "10 b UP", "20 c UP", "30 a UP", "40 b UP", "43 b UP", "53 c UP"]


def test_a_part_that_brought_the_check_down_is_polled_and_then_all_are_asked_from_the_first() -> None:
    told = history(10, broken("b", 5, 40), health=Health.UP)
    assert shown(told) == [
        "0 a UP",
        "10 b UP",  # a retry is used
        "13 b DOWN",
        "23 b DOWN",
        "33 b DOWN",
        "43 b DOWN",  # it answers: now all of them
        "53 a DOWN",
        "63 b DOWN",
        "73 c UP",
        "83 a UP",
    ]


def test_recovery_takes_four_loops_for_three_urls_wherever_the_bad_one_is() -> None:
    for part in "abc":
        told = history(20, broken(part, 5, 100), health=Health.UP)
        answered = next(index for index, probe in enumerate(told) if probe.at >= 100)
        assert [probe.part for probe in told[answered : answered + 4]] == [part, "a", "b", "c"]
        assert [probe.health for probe in told[answered : answered + 4]] == [Health.DOWN] * 3 + [Health.UP]


def test_in_a_hurry_a_check_that_is_not_up_does_not_wait_between_answers() -> None:
    told = shown(history(5, broken("a", 0, 0), hurry=True))
    assert told == ["0 a UNKNOWN", "0 b UNKNOWN", "0 c UP", "10 a UP", "20 b UP"]
    told = shown(history(9, broken("b", 5, 40), hurry=True, health=Health.UP))
    assert told[5:] == ["43 b DOWN", "43 a DOWN", "43 b DOWN", "43 c UP"]


def test_in_a_hurry_a_part_that_fails_is_waited_for_all_the_same() -> None:
    told = history(50, lambda part, _: BAD if part == "c" else GOOD, hurry=True)
    assert told[-1].at == pytest.approx(LOOP_S * 47)


def test_a_failure_in_the_round_of_recovery_is_asked_again_and_the_round_goes_on_from_there() -> None:
    answers = iter([BAD, GOOD, GOOD, BAD, GOOD, GOOD, GOOD])
    told = history(7, lambda _part, _now: next(answers))
    assert [probe.part for probe in told] == ["a", "a", "a", "b", "b", "c", "a"]
    assert [probe.health.name for probe in told] == ["DOWN"] * 5 + ["UP", "UP"]


def test_a_probe_that_says_nothing_is_repeated_and_moves_nothing() -> None:
    answers = iter([GOOD, LATE, GOOD, GOOD])
    told = history(4, lambda _part, _now: next(answers))
    assert shown(told) == ["0 a UNKNOWN", "10 b UNKNOWN", "10 b UNKNOWN", "20 c UP"]


def test_what_is_not_the_whole_says_so() -> None:
    turns = Turns(OneByOne(("a", "b")))
    verdict = turns.weigh(GOOD, Health.DOWN)
    assert (verdict.reason, verdict.detail) == (Reason.NONE, "HTTP 200 (1 of 2; not yet all)")
    assert turns.weigh(GOOD, Health.DOWN) is GOOD


@given(st.lists(st.sampled_from([GOOD, BAD, LATE]), max_size=60), st.integers(2, 4), st.booleans())
def test_a_check_comes_up_only_after_every_part_has_answered_since_its_last_failure(
    verdicts: list[Verdict], count: int, hurry: bool
) -> None:
    parts = "abcd"[:count]
    answers = iter(verdicts)
    given_: list[Verdict] = []

    def answer(_part: str, _now: float) -> Verdict:
        given_.append(next(answers))
        return given_[-1]

    told = history(len(verdicts), answer, parts, hurry=hurry)
    health, answered = Health.UNKNOWN, set[str]()
    for probe, verdict in zip(told, given_, strict=True):
        if verdict is BAD and health is not Health.UP:
            answered.discard(probe.part)
        if verdict is GOOD:
            answered.add(probe.part)
        if probe.health is Health.UP and health is not Health.UP:
            assert answered == set(parts)
        if probe.health is Health.DOWN and health is not Health.DOWN:
            answered.clear()
        health = probe.health
