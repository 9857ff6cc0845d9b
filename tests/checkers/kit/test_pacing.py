"""One real server is asked so many times a second at most, however many checks there are of it."""

from __future__ import annotations

import heapq
import random
from collections import deque

import trio
from hypothesis import given
from hypothesis import strategies as st

from checkers.kit import wire
from checkers.kit.job import Job
from checkers.kit.pacing import WINDOW_S, Pacing
from tests.checkers.kit.test_worker import Supervisor, job, run
from tests.fakes.server import FakeServer


def jobs(count: int, address: str = "10.0.0.1") -> list[Job]:
    return [job(number, type="TCP_CHECK", options={}, address=address) for number in range(1, count + 1)]


@given(st.integers(1, 30), st.integers(2, 40), st.integers())
def test_no_second_has_more_turns_than_the_limit_and_nobody_waits_longer_than_for_everybody_else_once(
    most: int, count: int, seed: int
) -> None:
    pacing, rng = Pacing(most, jobs(count)), random.Random(seed)
    asks = [(rng.uniform(0.0, 1.0), number) for number in range(count)]
    heapq.heapify(asks)
    window: deque[float] = deque(maxlen=most)
    for _ in range(500):
        now, number = heapq.heappop(asks)
        turn = pacing.turn("10.0.0.1", 80, now)
        assert 0 <= turn - now <= -(-count // most) * WINDOW_S
        assert len(window) < most or turn - window[0] > WINDOW_S - 1e-9
        window.append(turn)
        heapq.heappush(asks, (turn + rng.uniform(0.05, 0.5), number))


def test_who_is_checked_once_waits_for_nobody_and_scripts_are_no_server() -> None:
    assert {Pacing(20, jobs(1)).turn("10.0.0.1", 80, 5.0) for _ in range(100)} == {5.0}
    scripts = [job(number, type="MISC_CHECK", address="0.0.0.0", port=0, options={}) for number in range(1, 100)]
    pacing = Pacing(1, scripts)
    assert {pacing.turn("0.0.0.0", 0, 5.0) for _ in range(100)} == {5.0}


def test_a_single_check_is_held_too_where_the_limit_is_below_what_it_may_do() -> None:
    pacing = Pacing(2, jobs(1))
    assert [round(pacing.turn("10.0.0.1", 80, 5.0), 2) for _ in range(4)] == [5.0, 5.0, 6.05, 6.05]


def test_other_ports_and_addresses_have_turns_of_their_own_and_a_new_assignment_forgets_nothing() -> None:
    some = [*jobs(2), *jobs(2, "10.0.0.2")]
    pacing = Pacing(2, some)
    assert [pacing.turn("10.0.0.1", 80, 5.0) for _ in range(2)] == [5.0, 5.0]
    assert pacing.turn("10.0.0.2", 80, 5.0) == 5.0
    assert Pacing(2, some, pacing).turn("10.0.0.1", 80, 5.5) == 5.0 + WINDOW_S
    assert Pacing(0, some, pacing).turn("10.0.0.1", 80, 5.5) == 5.5


def test_the_worker_delays_what_is_too_much_and_drops_nothing() -> None:
    starts: list[int] = []

    async def story(supervisor: Supervisor) -> None:
        server: FakeServer = supervisor.network.server("10.0.0.1", 80)
        many = [job(number, type="TCP_CHECK", options={}, address="10.0.0.1", delay_loop=1.0) for number in range(1, 9)]
        for frame in wire.assign_frames(1, 1, many, 4):
            await supervisor.link.send(frame)
        await trio.sleep(1)
        for _ in range(60):
            before = server.connections
            await trio.sleep(1)
            starts.append(server.connections - before)

    heard = run(story)
    assert max(starts) <= 4
    assert sum(starts) >= 60 * 4 / WINDOW_S - 8
    assert {frame.job for _, frame in heard.of(wire.Report)} == set(range(1, 9))
