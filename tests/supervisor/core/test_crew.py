"""Who checks what: workers that come and go, and what kills them."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest

from supervisor.core.crew import (
    ALL_LOST_AFTER_S,
    CONDEMNED_MAX,
    FIRST_MAX_S,
    INNOCENT_S,
    REASSIGN_AFTER_S,
    RELEASE_S,
    START_MAX_S,
    Acquitted,
    AllLost,
    Back,
    Condemned,
    Crew,
    Suspected,
)
from supervisor.model import CheckSpec
from tests.supervisor.core.builders import check, endpoint


def distinct_checks(number: int) -> list[CheckSpec]:
    return [check(endpoint(20 + n % 200), path=f"/{n}") for n in range(number)]


def jobs_of(number: int) -> dict[CheckSpec, int]:
    return {spec: index + 1 for index, spec in enumerate(distinct_checks(number))}


def crew_of(workers: int) -> Crew:
    crew = Crew(workers, 0.0)
    for index in range(workers):
        assert crew.spoke(index, 1.0) == []
    return crew


def owned(crew: Crew, jobs: dict[CheckSpec, int], index: int, now: float) -> set[int]:
    return {job for job, owner in crew.owners(jobs, now).items() if owner == index}


def test_every_job_has_exactly_one_worker_and_all_have_some() -> None:
    jobs = jobs_of(200)
    owners = crew_of(4).owners(jobs, 2.0)
    assert owners.keys() == set(jobs.values())
    assert set(owners.values()) == {0, 1, 2, 3}


def test_what_a_worker_says_is_news_until_it_has_spoken_and_again_after_its_end_and_from_the_ward_always() -> None:
    crew = Crew(1, 0.0)
    assert crew.awaits(0)
    crew.spoke(0, 1.0)
    assert not crew.awaits(0)
    crew.ended(0, (), 2.0, blame=False)
    assert crew.awaits(0)
    assert crew.awaits(crew.ward)


def test_the_jobs_of_a_worker_that_is_away_go_to_the_living_and_no_others_move_and_all_come_back() -> None:
    jobs, crew = jobs_of(200), crew_of(4)
    before = crew.owners(jobs, 2.0)
    gone = owned(crew, jobs, 2, 2.0)
    crew.ended(2, gone, 100.0, blame=True)
    assert crew.owners(jobs, 100.5) == before, "back in a moment"
    assert crew.next_change(100.0) == 100.0 + REASSIGN_AFTER_S
    meanwhile = crew.owners(jobs, 101.0)
    assert {job for job in before if meanwhile[job] != before[job]} == gone
    assert {meanwhile[job] for job in gone} == {0, 1, 3}
    crew.spoke(2, 102.0)
    assert crew.owners(jobs, 102.0) == before


def test_a_worker_that_never_came_is_replaced_by_the_others() -> None:
    jobs, crew = jobs_of(50), Crew(2, 0.0)
    crew.spoke(0, 1.0)
    assert set(crew.owners(jobs, START_MAX_S - 0.1).values()) == {0, 1}
    assert set(crew.owners(jobs, START_MAX_S).values()) == {0}


def test_who_dies_again_at_once_keeps_its_jobs_so_that_what_killed_it_kills_nobody_else() -> None:
    jobs, crew = jobs_of(50), crew_of(2)
    crew.ended(0, owned(crew, jobs, 0, 2.0), 100.0, blame=True)
    crew.spoke(0, 101.0)
    crew.ended(0, owned(crew, jobs, 0, 2.0), 103.0, blame=True)
    assert set(crew.owners(jobs, 110.0).values()) == {0, 1}


def test_who_never_could_start_is_not_blamed_on_its_jobs() -> None:
    jobs, crew = jobs_of(50), crew_of(2)
    for number in range(10):
        assert crew.ended(0, (), 100.0 + number, blame=False) == []
    assert set(crew.owners(jobs, 110.0).values()) == {1}


def test_without_any_worker_it_is_shouted_once_and_its_end_is_told() -> None:
    crew = crew_of(2)
    for index in (0, 1):
        crew.ended(index, (), 100.0, blame=False)
    assert crew.look(101.0) == []
    assert crew.lost_for_s(101.0) == 0.0
    assert crew.next_change(101.5) == 100.0 + ALL_LOST_AFTER_S
    assert crew.look(103.0) == [AllLost(3.0)]
    assert crew.look(200.0) == []
    assert crew.lost_for_s(200.0) == 100.0
    assert crew.spoke(1, 210.0) == [Back(110.0)]
    assert crew.lost_for_s(211.0) == 0.0


def test_workers_that_never_come_at_all_are_shouted_about_too() -> None:
    crew = Crew(1, 0.0)
    assert crew.look(FIRST_MAX_S - 0.1) == []
    assert crew.look(FIRST_MAX_S) == [AllLost(ALL_LOST_AFTER_S)]


class Play:
    """Workers that die a second after they were given a poisonous job, and are back half a second later."""

    def __init__(self, workers: int, jobs: dict[CheckSpec, int], poison: set[int]) -> None:
        self.crew = crew_of(workers)
        self.jobs = jobs
        self.poison = poison
        self.now = 100.0
        self.told: list[object] = []
        self.deaths = [0] * (workers + 1)

    def run(self, until: float) -> None:
        crew = self.crew
        dying: dict[int, float] = {}
        starting: dict[int, float] = {}
        while self.now < until:
            self.told += crew.look(self.now)
            owners = crew.owners(self.jobs, self.now)
            for index in range(crew.ward + (1 if crew.ward_wanted else 0)):
                ill = any(owner == index and job in self.poison for job, owner in owners.items())
                if index in starting:
                    if self.now >= starting[index]:
                        del starting[index]
                        self.told += crew.spoke(index, self.now)
                elif not ill:
                    dying.pop(index, None)
                    self.told += crew.spoke(index, self.now)
                elif self.now >= dying.setdefault(index, self.now + 1.0):
                    del dying[index]
                    self.deaths[index] += 1
                    had = [job for job, owner in owners.items() if owner == index]
                    self.told += crew.ended(index, had, self.now, blame=True)
                    starting[index] = self.now + 0.5
            self.now += 0.25

    def of(self, kind: type) -> list[object]:
        return [edge for edge in self.told if isinstance(edge, kind)]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("seed", range(6))
def test_a_job_that_kills_its_worker_is_found_kept_apart_and_kills_no_other_worker(workers: int, seed: int) -> None:
    jobs = jobs_of(120)
    poison = random.Random(seed).choice(list(jobs.values()))
    play = Play(workers, jobs, {poison})
    home = play.crew.owners(jobs, 2.0)[poison]
    play.run(until=250.0)
    assert play.of(Condemned) == [Condemned(poison)]
    assert [edge.worker for edge in play.of(Suspected) if isinstance(edge, Suspected)] == [home]
    assert [deaths for index, deaths in enumerate(play.deaths) if index not in {home, play.crew.ward}] == [0] * (
        workers - 1
    )
    assert play.deaths[home] <= 3 + math.ceil(math.log2(120))
    owners = play.crew.owners(jobs, play.now)
    assert {job for job, owner in owners.items() if owner == play.crew.ward} == {poison}
    before = play.deaths[home]
    play.run(until=350.0)
    assert play.deaths[home] == before, "the others are checked in peace"


def test_two_jobs_that_kill_are_both_found() -> None:
    jobs = jobs_of(40)
    play = Play(1, jobs, {7, 31})
    play.run(until=400.0)
    assert play.crew.condemned == {7, 31}
    assert not play.crew.look(play.now + 1)


def test_jobs_that_nobody_dies_of_any_more_are_acquitted() -> None:
    jobs, crew = jobs_of(40), crew_of(1)
    (suspected,) = [crew.ended(0, jobs.values(), 100.0 + n, blame=True) for n in range(3)][-1]
    assert isinstance(suspected, Suspected)
    assert crew.ward_wanted
    assert len(owned(crew, jobs, crew.ward, 103.0)) == 20
    crew.spoke(0, 104.0)
    crew.spoke(crew.ward, 105.0)
    assert crew.look(105.0 + INNOCENT_S - 1) == []
    (acquitted,) = crew.look(105.0 + INNOCENT_S + 60)
    assert isinstance(acquitted, Acquitted)
    assert len(acquitted.jobs) == 40
    assert set(crew.owners(jobs, 200.0).values()) == {0}


def test_slow_checks_have_more_time_to_prove_themselves() -> None:
    (spec,) = distinct_checks(1)
    slow = dataclasses.replace(spec, schedule=dataclasses.replace(spec.schedule, warmup=300.0))
    jobs, crew = {slow: 1}, crew_of(1)
    crew.owners(jobs, 2.0)
    for number in range(3):
        crew.ended(0, [1], 100.0 + number, blame=True)
    crew.spoke(0, 110.0)
    crew.spoke(crew.ward, 110.0)
    assert crew.look(110.0 + 200.0) == []
    assert crew.look(110.0 + 400.0) == [Acquitted((1,))]


def test_the_condemned_are_released_when_the_ward_has_lived_for_long() -> None:
    jobs = jobs_of(8)
    play = Play(1, jobs, {5})
    play.run(until=160.0)
    assert play.crew.condemned == {5}
    play.poison = set()
    play.run(until=160.0 + RELEASE_S + 30.0)
    assert play.crew.condemned == frozenset()
    assert play.of(Acquitted)[-1] == Acquitted((5,))
    assert set(play.crew.owners(jobs, play.now).values()) == {0}


def test_a_worker_that_dies_of_something_else_condemns_nobody() -> None:
    """One job alone, which is tried in the ward: when the worker dies without it, it was not that."""
    jobs, crew = jobs_of(1), crew_of(1)
    crew.owners(jobs, 2.0)
    for number in range(3):
        crew.ended(0, [1], 100.0 + number, blame=True)
    assert owned(crew, jobs, crew.ward, 103.0) == {1}
    crew.spoke(0, 104.0)
    assert crew.ended(0, (), 105.0, blame=True) == [Acquitted((1,))]
    assert crew.condemned == frozenset()


def test_a_new_configuration_forgets_suspects_and_condemned_that_left_it() -> None:
    jobs = jobs_of(8)
    play = Play(1, jobs, {5})
    play.run(until=160.0)
    without = {spec: job for spec, job in jobs.items() if job != 5}
    play.crew.owners(without, play.now)
    assert not play.crew.ward_wanted


def test_code_that_dies_of_everything_does_not_fill_the_ward() -> None:
    jobs = jobs_of(400)
    play = Play(1, jobs, set(jobs.values()))
    play.run(until=4000.0)
    assert len(play.crew.condemned) <= CONDEMNED_MAX
