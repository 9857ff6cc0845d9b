"""What the beats of a worker say about the worker."""

from __future__ import annotations

from collections.abc import Iterable

from supervisor.core.fitness import (
    LAG_UNFIT_BEATS,
    MEMORY_BASE_BYTES,
    MEMORY_EACH_BYTES,
    RECYCLE_EVERY_S,
    SHORT_UNFIT_BEATS,
    TROUBLE_OVER_S,
    Finding,
    Fitness,
    Kind,
    Symptoms,
)

WELL = Symptoms(0.0, 0.0, {}, 30 << 20, 10)


def beats(fitness: Fitness, symptoms: Iterable[Symptoms], since: float = 0.0) -> list[tuple[Kind, bool]]:
    """Beat once a second; return what was found."""
    found = [finding for number, each in enumerate(symptoms) for finding in fitness.beat(since + number, each)]
    return [(finding.kind, finding.over) for finding in found]


def short(count: int) -> Symptoms:
    return Symptoms(0.0, 0.0, {"EMFILE": count}, 0, 10)


def late(lag_s: float, run_delay_s: float = 0.0) -> Symptoms:
    return Symptoms(lag_s, run_delay_s, {}, 0, 10)


def test_a_worker_that_is_well_is_not_spoken_of() -> None:
    assert beats(Fitness(), [WELL] * 1000) == []


def test_trouble_is_told_once_and_so_is_its_end() -> None:
    fitness = Fitness()
    assert beats(fitness, [short(1), short(2), short(2), short(3)]) == [(Kind.TROUBLE, False)]
    assert beats(fitness, [short(3)] * int(TROUBLE_OVER_S + 5), since=4.0) == [(Kind.TROUBLE, True)]


def test_a_worker_without_descriptors_is_unfit_after_ten_beats_and_not_replaced_again_at_once() -> None:
    fitness = Fitness()
    found = beats(fitness, [short(count) for count in range(1, 200)])
    assert found == [(Kind.TROUBLE, False), (Kind.UNFIT, False)]
    fitness.ended()
    again = beats(fitness, [short(count) for count in range(1, 30)], since=RECYCLE_EVERY_S + SHORT_UNFIT_BEATS)
    assert (Kind.UNFIT, False) in again


def test_a_worker_that_grows_and_grows_is_unfit_and_more_checks_may_take_more() -> None:
    limit = MEMORY_BASE_BYTES + 10 * MEMORY_EACH_BYTES
    assert beats(Fitness(), [Symptoms(0.0, 0.0, {}, limit, 10)] * 100) == []
    assert beats(Fitness(), [Symptoms(0.0, 0.0, {}, limit + 1, 10)]) == [(Kind.UNFIT, False)]
    assert beats(Fitness(), [Symptoms(0.0, 0.0, {}, limit + 1, 11)]) == []


def test_a_worker_that_is_slow_though_it_has_a_processor_is_told_of_and_replaced() -> None:
    assert beats(Fitness(), [late(0.8)] * LAG_UNFIT_BEATS) == [(Kind.SLOW, False), (Kind.UNFIT, False)]


def test_a_worker_that_is_starved_is_told_of_and_kept() -> None:
    starved = [late(0.8, run_delay_s=0.9 * number) for number in range(1, 200)]
    fitness = Fitness()
    assert beats(fitness, starved) == [(Kind.SLOW, False)]
    assert beats(fitness, [late(0.0, 180.0)] * 20, since=200.0) == [(Kind.SLOW, True)]


def test_with_its_end_all_that_was_wrong_with_it_is_over() -> None:
    fitness = Fitness()
    beats(fitness, [Symptoms(0.9, 0.0, {"ENOBUFS": 1}, 0, 1)])
    assert fitness.ended() == [
        Finding(Kind.SLOW, "it ended", over=True),
        Finding(Kind.TROUBLE, "it ended", over=True),
    ]
    assert fitness.ended() == []
