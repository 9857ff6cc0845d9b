"""Schedule and state rules of one check, as keepalived has them."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkers.kit.api import Health, Reason, Verdict
from checkers.kit.schedule import IDLE_AFTER, LATE_MAX, CheckState

GOOD = Verdict(Reason.L7OK)
BAD = Verdict(Reason.L4CON)
LATE = Verdict(Reason.LATE)
LOCAL = Verdict(Reason.LOCAL)


@dataclass(frozen=True)
class Settings:
    type: str = "TCP_CHECK"
    delay_loop: float = 6.0
    retry: int = 3
    delay_before_retry: float = 2.0
    warmup: float = 6.0
    rise: int = 1
    alpha: bool = False
    fast_interval: float | None = None
    down_interval: float | None = None
    idle_interval: float | None = None


def history(state: CheckState, verdicts: list[Verdict]) -> list[tuple[str, float]]:
    """Feed verdicts; return health and pause after each."""
    told = []
    for number, verdict in enumerate(verdicts):
        now = 100.0 * number
        step = state.record(verdict, now)
        told.append((state.health.name, step.due - now))
    return told


@given(st.floats(0, 1e6), st.integers())
def test_the_first_probe_comes_one_second_and_a_part_of_the_warm_up_after_the_start(warmup: float, seed: int) -> None:
    due = CheckState(Settings(warmup=warmup)).start(50.0, random.Random(seed))
    assert 51.0 <= due <= 51.0 + warmup + 1e-6


def test_without_warm_up_the_first_probe_comes_after_exactly_one_second() -> None:
    assert CheckState(Settings(warmup=0.0)).start(50.0, random.Random(1)) == 51.0


def test_the_very_first_failure_of_a_fresh_check_is_decisive() -> None:
    assert history(CheckState(Settings()), [BAD]) == [("DOWN", 6.0)]


def test_a_check_that_was_up_uses_its_retries_before_it_goes_down() -> None:
    assert history(CheckState(Settings()), [GOOD, BAD, BAD, BAD, BAD, BAD]) == [
        ("UP", 6.0),
        ("UP", 2.0),
        ("UP", 2.0),
        ("UP", 2.0),
        ("DOWN", 6.0),
        ("DOWN", 6.0),
    ]


def test_one_success_brings_a_check_up_and_gives_back_its_retries() -> None:
    state = CheckState(Settings(retry=1))
    assert history(state, [BAD, GOOD, BAD, GOOD, BAD, BAD]) == [
        ("DOWN", 6.0),
        ("UP", 6.0),
        ("UP", 2.0),
        ("UP", 6.0),
        ("UP", 2.0),
        ("DOWN", 6.0),
    ]
    assert (state.edges, state.failures) == (2, 2)


def test_without_retries_the_first_failure_while_up_is_decisive() -> None:
    assert history(CheckState(Settings(retry=0)), [GOOD, BAD]) == [("UP", 6.0), ("DOWN", 6.0)]


@pytest.mark.parametrize(("checker", "pause"), [("HTTP_GET", 9.0), ("TCP_CHECK", 6.0)])
def test_while_down_http_waits_for_the_longer_of_its_two_pauses(checker: str, pause: float) -> None:
    state = CheckState(Settings(type=checker, delay_before_retry=9.0))
    assert history(state, [BAD, BAD]) == [("DOWN", 6.0), ("DOWN", pause)]


def test_a_check_believed_up_starts_with_all_its_retries() -> None:
    state = CheckState(Settings(retry=1), Health.UP)
    assert history(state, [BAD, BAD]) == [("UP", 2.0), ("DOWN", 6.0)]
    assert state.edges == 1


def test_a_check_believed_down_needs_one_success() -> None:
    state = CheckState(Settings(), Health.DOWN)
    assert history(state, [BAD, GOOD]) == [("DOWN", 6.0), ("UP", 6.0)]


def test_local_trouble_changes_nothing_and_is_tried_again_after_the_loop_delay() -> None:
    state = CheckState(Settings())
    assert history(state, [LOCAL, LOCAL, BAD]) == [("UNKNOWN", 6.0), ("UNKNOWN", 6.0), ("DOWN", 6.0)]
    assert state.failures == 1


def test_a_late_time_out_is_repeated_at_once_and_the_fourth_in_a_row_counts() -> None:
    state = CheckState(Settings(retry=0), Health.UP)
    assert history(state, [LATE] * LATE_MAX + [LATE]) == [("UP", 0.0)] * LATE_MAX + [("DOWN", 6.0)]


@pytest.mark.parametrize(("sent", "reason"), [("", Reason.L4TOUT), ("GET / HTTP/1.0", Reason.L7TOUT)])
def test_a_late_time_out_that_counts_is_told_as_the_time_out_it_looks_like(sent: str, reason: Reason) -> None:
    state = CheckState(Settings())
    late = Verdict(Reason.LATE, sent=sent)
    steps = [state.record(late, 0.0) for _ in range(LATE_MAX + 1)]
    assert [step.verdict.reason for step in steps] == [Reason.LATE] * LATE_MAX + [reason]


def test_a_success_between_late_time_outs_starts_their_count_again() -> None:
    state = CheckState(Settings(retry=0), Health.UP)
    history(state, [LATE] * LATE_MAX + [GOOD] + [LATE] * LATE_MAX)
    assert state.health is Health.UP


def test_a_run_of_failures_has_three_doubts_however_many_retries_it_has() -> None:
    state = CheckState(Settings(retry=4), Health.UP)
    assert history(state, [LATE] * 8) == [("UP", 0.0)] * LATE_MAX + [("UP", 2.0)] * 4 + [("DOWN", 6.0)]


@pytest.mark.parametrize("between", [BAD, LOCAL])
def test_neither_a_failure_that_counts_nor_what_says_nothing_gives_a_doubt_back(between: Verdict) -> None:
    state = CheckState(Settings(retry=1), Health.UP)
    history(state, [LATE, LATE, between, LATE])
    assert (state.health, state.failures) == (Health.UP, int(between is BAD))
    history(state, [LATE] if between is BAD else [LATE, LATE])
    assert state.health is Health.DOWN


def test_a_server_that_was_taken_out_and_is_back_has_all_its_doubts_again() -> None:
    state = CheckState(Settings(retry=0), Health.UP)
    history(state, [LATE, LATE, BAD, GOOD])
    assert history(state, [LATE] * LATE_MAX) == [("UP", 0.0)] * LATE_MAX


@given(st.lists(st.sampled_from([BAD, LATE, LOCAL]), min_size=40, max_size=40), st.integers(0, 4))
def test_a_dead_server_is_out_after_its_retries_and_at_most_three_doubts(verdicts: list[Verdict], retry: int) -> None:
    state, tried = CheckState(Settings(retry=retry), Health.UP), 0
    for verdict in verdicts:
        if state.health is Health.DOWN:
            break
        state.record(verdict, 0.0)
        tried += verdict is not LOCAL
    if state.health is Health.DOWN:
        assert retry < tried <= retry + 1 + LATE_MAX
    else:
        assert tried < retry + 1 + LATE_MAX


@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from([LATE, LOCAL]), max_size=LATE_MAX), st.integers(0, 4)),
        min_size=1,
        max_size=20,
    ),
    st.integers(0, 4),
)
def test_a_server_that_answers_in_between_is_never_out_for_what_a_late_worker_missed(
    runs: list[tuple[list[Verdict], int]], retry: int
) -> None:
    state = CheckState(Settings(retry=retry), Health.UP)
    for doubts, failures in runs:
        history(state, [*doubts, *[LATE] * min(failures, retry), GOOD])
        assert (state.health, state.edges) == (Health.UP, 0)


@given(st.lists(st.sampled_from([GOOD, BAD, LOCAL]), max_size=60), st.integers(0, 4), st.sampled_from(Health))
def test_health_is_what_the_last_conclusive_verdicts_make_it(
    verdicts: list[Verdict], retry: int, believed: Health
) -> None:
    state = CheckState(Settings(retry=retry), believed)
    edges = 0
    for verdict in verdicts:
        before = state.health
        step = state.record(verdict, 0.0)
        assert step.changed is (state.health is not before)
        edges += step.changed and before is not Health.UNKNOWN
        if not verdict.conclusive:
            assert state.health is before
        elif verdict.ok:
            assert (state.health, state.failures) == (Health.UP, 0)
        else:
            decisive = before is not Health.UP or state.failures > retry
            assert state.health is (Health.DOWN if decisive else Health.UP)
    assert state.edges == edges


def test_with_rise_a_check_that_is_down_needs_so_many_successes_in_a_row() -> None:
    state = CheckState(Settings(rise=3), Health.DOWN)
    assert [health for health, _ in history(state, [GOOD, GOOD, BAD, GOOD, GOOD, GOOD])] == [
        *["DOWN"] * 5,
        "UP",
    ]


def test_with_rise_a_fresh_check_needs_one_success_unless_it_is_alpha() -> None:
    assert history(CheckState(Settings(rise=3)), [GOOD])[0][0] == "UP"
    fresh_alpha = CheckState(Settings(rise=3, alpha=True))
    assert [health for health, _ in history(fresh_alpha, [GOOD, GOOD, GOOD])] == ["UNKNOWN", "UNKNOWN", "UP"]


def test_the_period_of_a_script_is_counted_from_its_beginning() -> None:
    state = CheckState(Settings(type="MISC_CHECK", delay_loop=6.0))
    assert state.record(GOOD, now=102.0, began=100.0).due == 106.0
    assert state.record(GOOD, now=120.0, began=110.0).due == 120.0
    assert CheckState(Settings(type="TCP_CHECK")).record(GOOD, now=102.0, began=100.0).due == 108.0


def test_a_file_is_read_at_once() -> None:
    assert CheckState(Settings(type="FILE_CHECK", warmup=60.0)).start(50.0, random.Random(1)) == 50.0


def test_another_word_on_the_weight_is_a_change_and_a_failure_keeps_the_last_one() -> None:
    state = CheckState(Settings(retry=0), Health.UP)
    verdicts = (replace(GOOD, weight=10), replace(GOOD, weight=10), BAD, replace(GOOD, weight=10), GOOD)
    told = [(state.record(verdict, 0.0).changed, state.health.name, state.weight) for verdict in verdicts]
    assert told == [
        (True, "UP", 10),
        (False, "UP", 10),
        (True, "DOWN", 10),
        (True, "UP", 10),
        (True, "UP", None),
    ]


def test_a_bug_in_a_checker_changes_nothing_and_is_tried_again_after_the_loop_delay() -> None:
    crashed = Verdict(Reason.CRASHED)
    state = CheckState(Settings(retry=0), Health.UP)
    assert history(state, [crashed, crashed, BAD]) == [("UP", 6.0), ("UP", 6.0), ("DOWN", 6.0)]


@pytest.mark.parametrize("believed", [Health.UP, Health.UNKNOWN])
def test_the_first_failure_after_we_stood_still_does_not_count_whatever_it_is(believed: Health) -> None:
    state = CheckState(Settings(retry=0), believed)
    state.excuse()
    step = state.record(BAD, 100.0)
    assert (state.health, step.due, step.verdict.reason) == (believed, 105.0, Reason.LATE)
    assert state.record(BAD, 105.0).verdict.reason is Reason.L4CON
    assert state.health is Health.DOWN


def test_a_success_uses_up_the_excuse_and_what_says_nothing_does_not() -> None:
    state = CheckState(Settings(retry=0), Health.UP)
    state.excuse()
    assert [health for health, _ in history(state, [LOCAL, LATE, BAD])] == ["UP"] * 3
    state.excuse()
    assert [health for health, _ in history(state, [GOOD, BAD])] == ["UP", "DOWN"]


def test_a_machine_that_stands_still_again_and_again_notices_a_dead_server_all_the_same() -> None:
    state = CheckState(Settings(retry=0), Health.UP)
    for _ in range(LATE_MAX):
        state.excuse()
        state.record(BAD, 0.0)
        assert state.health is Health.UP
    state.excuse()
    state.record(BAD, 0.0)
    assert state.health is Health.DOWN


def test_a_late_script_that_counts_is_told_as_the_time_out_of_a_script() -> None:
    state = CheckState(Settings(type="MISC_CHECK"))
    late = Verdict(Reason.LATE, sent="/bin/test")
    assert [state.record(late, 0.0).verdict.reason for _ in range(LATE_MAX + 1)][-1] is Reason.PROCTOUT


def test_fast_interval_takes_the_place_of_delay_before_retry_and_of_delay_loop_while_rising() -> None:
    state = CheckState(Settings(retry=2, rise=3, fast_interval=0.5))
    assert history(state, [GOOD, BAD, BAD, GOOD]) == [("UP", 6.0), ("UP", 0.5), ("UP", 0.5), ("UP", 6.0)]
    assert history(state, [BAD, BAD, BAD, BAD]) == [("UP", 0.5), ("UP", 0.5), ("DOWN", 6.0), ("DOWN", 6.0)]
    assert history(state, [GOOD, GOOD, GOOD]) == [("DOWN", 0.5), ("DOWN", 0.5), ("UP", 6.0)]


def test_an_alpha_check_rises_fast_too() -> None:
    state = CheckState(Settings(rise=2, alpha=True, fast_interval=0.5))
    assert history(state, [GOOD, GOOD]) == [("UNKNOWN", 0.5), ("UP", 6.0)]


@pytest.mark.parametrize("pause", [0.5, 60.0])
@pytest.mark.parametrize("kind", ["TCP_CHECK", "HTTP_GET"])
def test_down_interval_may_be_shorter_or_longer_and_holds_from_the_failure_that_brings_it_down(
    kind: str, pause: float
) -> None:
    state = CheckState(Settings(type=kind, retry=1, delay_before_retry=9.0, down_interval=pause))
    assert history(state, [GOOD, BAD, BAD, BAD, LOCAL, GOOD])[2:] == [
        ("DOWN", pause),
        ("DOWN", pause),
        ("DOWN", pause),
        ("UP", 6.0),
    ]


def test_what_we_could_not_try_in_a_transition_is_tried_again_fast() -> None:
    state = CheckState(Settings(fast_interval=0.5))
    assert history(state, [GOOD, BAD, LOCAL]) == [("UP", 6.0), ("UP", 0.5), ("UP", 0.5)]


def test_an_idle_server_is_probed_less_often_when_it_has_earned_it_and_at_its_full_rate_after_any_failure() -> None:
    state = CheckState(Settings(idle_interval=60.0))
    state.idle = True
    assert {pause for _, pause in history(state, [GOOD] * (IDLE_AFTER - 1))} == {6.0}
    assert history(state, [GOOD, GOOD, BAD, GOOD]) == [("UP", 60.0), ("UP", 60.0), ("UP", 2.0), ("UP", 6.0)]


def test_a_hint_or_a_user_brings_the_full_rate_back_at_the_next_probe() -> None:
    state = CheckState(Settings(idle_interval=60.0), Health.UP)
    state.idle = True
    history(state, [GOOD] * IDLE_AFTER)
    state.rouse()
    assert history(state, [GOOD]) == [("UP", 6.0)]
    assert history(state, [GOOD] * IDLE_AFTER)[-1] == ("UP", 60.0)
    state.idle = False
    assert history(state, [GOOD]) == [("UP", 6.0)]


def test_idle_interval_makes_nothing_quicker_and_concerns_nobody_who_is_not_up() -> None:
    short = CheckState(Settings(idle_interval=1.0), Health.UP)
    short.idle = True
    assert history(short, [GOOD] * (IDLE_AFTER + 1))[-1] == ("UP", 6.0)
    down = CheckState(Settings(idle_interval=60.0), Health.DOWN)
    down.idle = True
    assert {pause for _, pause in history(down, [BAD] * 20)} == {6.0}


def test_steady_is_who_is_in_no_transition() -> None:
    state = CheckState(Settings(retry=1, rise=2))
    seen = [state.steady]
    for verdict in (GOOD, BAD, BAD, GOOD, GOOD):
        state.record(verdict, 0.0)
        seen.append(state.steady)
    assert seen == [False, True, False, True, False, True]


@given(
    st.lists(st.sampled_from([GOOD, BAD, LATE, LOCAL, "excuse", "idle"]), max_size=40),
    st.sampled_from(Health),
    st.sampled_from([None, 60.0]),
)
def test_to_go_on_is_to_record_the_same_success_once_more(
    told: list[Verdict | str], health: Health, idle_interval: float | None
) -> None:
    brief, whole = (CheckState(Settings(idle_interval=idle_interval), health) for _ in range(2))
    last: Verdict | None = None
    for number, what in enumerate(told):
        now = 100.0 * number
        if what == "excuse":
            brief.excuse()
            whole.excuse()
        elif what == "idle":
            brief.idle = whole.idle = not whole.idle
        elif isinstance(what, Verdict):
            if brief.well and what is last is GOOD:
                assert (False, now + brief.go_on(), what) == whole.record(what, now)
            else:
                assert brief.record(what, now) == whole.record(what, now)
            last = what
        assert _all_of(brief) == _all_of(whole)


def _all_of(state: CheckState) -> list[object]:
    return [getattr(state, name) for name in CheckState.__slots__]
