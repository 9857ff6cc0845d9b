"""The probes of many checks stay spread over time, whatever throws them together."""

from __future__ import annotations

import functools
import heapq
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from checkers.kit import wire, worker
from checkers.kit.api import Favours, Health, Reason, Stream, Target, Verdict
from checkers.kit.favours import NO_FAVOURS
from checkers.kit.link import memory_link_pair
from checkers.kit.schedule import CheckState
from checkers.kit.spread import BUCKET_S, DRAWN, NOWHERE, Spread
from tests.checkers.kit.test_schedule import Settings
from tests.fakes.behaviours import blackhole, healthy, refuse
from tests.fakes.network import FakeDialer, FakeNetwork

RACK = 1000
PERIOD_S = 5.0
FAIR = RACK * BUCKET_S / PERIOD_S
EVEN = FAIR + 3 * math.sqrt(FAIR) + 2
"""What chance puts into a bucket hardly ever."""


def bucket_of(moment: float) -> int:
    """Return the number of a bucket; a moment at its beginning may be a little less in floating point."""
    return int((moment + 1e-6) / BUCKET_S)


@given(st.lists(st.floats(0.2, 60.0), min_size=1, max_size=200), st.integers())
def test_a_probe_never_comes_later_than_due_nor_before_half_its_pause(pauses: list[float], seed: int) -> None:
    spread, rng = Spread(), random.Random(seed)
    for pause in pauses:
        assert 100.0 + pause / 2 <= spread.book(100.0, pause, rng, movable=True)[0] <= 100.0 + pause


def test_who_is_in_a_transition_is_not_moved_however_many_there_are() -> None:
    spread, rng = Spread(), random.Random(1)
    assert {spread.book(0.0, 2.0, rng, movable=False)[0] for _ in range(RACK)} == {2.0}


def test_a_few_checks_are_never_moved() -> None:
    spread, rng = Spread(), random.Random(1)
    assert {spread.book(0.0, 2.0, rng, movable=True)[0] for _ in range(2)} == {2.0}


def test_checks_that_are_spread_already_are_hardly_ever_moved() -> None:
    spread, rng = Spread(), random.Random(1)
    dues = [(rng.uniform(0.0, PERIOD_S), number) for number in range(RACK)]
    bookings = {number: spread.book(0.0, due, rng, movable=False) for due, number in dues}
    heapq.heapify(dues)
    moved = 0
    for _ in range(20 * RACK):
        now, number = heapq.heappop(dues)
        spread.leave(bookings[number])
        bookings[number] = booking = spread.book(now, PERIOD_S, rng, movable=True)
        moved += booking[0] < now + PERIOD_S * (1 - DRAWN)
        heapq.heappush(dues, (booking[0], number))
    assert moved < 0.01 * 20 * RACK


@pytest.mark.parametrize("period_s", [0.25, 1.0, 6.0, 7.03])
@pytest.mark.parametrize("takes_s", [0.001, 0.08])
def test_probes_that_take_no_time_come_to_rest_at_the_beginning_of_a_bucket_and_no_pause_is_much_shorter(
    period_s: float, takes_s: float
) -> None:
    spread, rng = Spread(), random.Random(1)
    for start in (rng.uniform(0.0, 10.0) for _ in range(20)):
        due = start
        for _ in range(200):
            ended = due + takes_s
            booking = spread.book(ended, period_s, rng, movable=True)
            spread.leave(booking)
            assert period_s * (1 - DRAWN) <= round(booking[0] - ended, 9) <= period_s
            due = booking[0]
        if takes_s < 0.01 and period_s in {1.0, 6.0}:
            assert round(due / BUCKET_S, 6).is_integer()
            assert round(spread.book(due + takes_s, period_s, rng, movable=True)[0] - due, 6) == period_s


def test_what_was_booked_and_left_leaves_nothing_behind() -> None:
    spread, rng = Spread(), random.Random(1)
    bookings = [spread.book(0.0, rng.uniform(0.0, 50.0), rng, movable=True) for _ in range(100)]
    for booking in (*bookings, NOWHERE):
        spread.leave(booking)
    assert (spread._booked, spread._share) == ({}, 0)


@dataclass
class Rack:
    """A thousand checks and their schedules, without a program around them."""

    rng: random.Random
    retry: int = 2

    def __post_init__(self) -> None:
        settings = Settings(
            delay_loop=PERIOD_S, retry=self.retry, delay_before_retry=1.0, warmup=PERIOD_S, down_interval=2.0
        )
        self.spread = Spread()
        self.states = [CheckState(settings, Health.UP) for _ in range(RACK)]
        self.begun: Counter[int] = Counter()
        self.answers: Callable[[float], float] = lambda now: now + 0.001
        """When a probe that begins now ends."""
        self.well = True
        starts = [state.start(0.0, self.rng) for state in self.states]
        self.bookings = [self.spread.book(0.0, due, self.rng, movable=False) for due in starts]
        self.events = [(booking[0], number, True) for number, booking in enumerate(self.bookings)]
        heapq.heapify(self.events)

    def play(self, until: float) -> None:
        """Let time pass."""
        while self.events[0][0] < until:
            now, number, begins = heapq.heappop(self.events)
            if begins:
                self.spread.leave(self.bookings[number])
                self.begun[bucket_of(now)] += 1
                heapq.heappush(self.events, (max(now, self.answers(now)), number, False))
                continue
            state = self.states[number]
            step = state.record(Verdict(Reason.L4OK if self.well else Reason.L4CON), now)
            self.bookings[number] = booking = self.spread.book(now, step.due - now, self.rng, movable=state.steady)
            heapq.heappush(self.events, (booking[0], number, True))

    def hasten(self, now: float) -> None:
        """Have everybody probed now, as when all sentinels end in one moment."""
        for place, (_, number, begins) in enumerate(self.events):
            if begins:
                self.spread.leave(self.bookings[number])
                self.bookings[number] = self.spread.book(now, 0.0, self.rng, movable=False)
                self.events[place] = (now, number, True)
        heapq.heapify(self.events)

    def fullest(self, since: float, until: float) -> int:
        """Most probes that began in one bucket."""
        return max(self.begun[bucket] for bucket in range(bucket_of(since), bucket_of(until)))


@pytest.mark.parametrize("seed", range(2))
def test_a_rack_that_dies_and_returns_in_one_moment_is_probed_evenly_again_after_three_rounds(seed: int) -> None:
    rack = Rack(random.Random(seed))
    rack.play(60.0)
    assert rack.fullest(10.0, 60.0) <= EVEN * 1.3
    rack.well = False
    rack.hasten(60.0)
    rack.play(180.0)
    assert rack.fullest(60.0, 62.0) == RACK  # nobody's suspicion waits
    fair = RACK * BUCKET_S / 2.0
    assert rack.fullest(70.0, 180.0) <= (fair + 3 * math.sqrt(fair) + 2) * 1.3
    rack.well = True
    rack.hasten(180.0)
    rack.play(260.0)
    assert rack.fullest(195.0, 260.0) <= EVEN * 1.3


def test_a_switch_that_answers_for_everybody_at_once_leaves_no_lump() -> None:
    rack = Rack(random.Random(1), retry=0)
    rack.well = False
    rack.answers = lambda now: now + 3.0 if now < 27.0 else max(now, 30.0)  # silence, and all ends at second 30
    rack.play(31.0)
    rack.well, rack.answers = True, lambda now: now + 0.001
    rack.play(120.0)
    assert rack.fullest(45.0, 120.0) <= EVEN * 1.3


class CountingDialer(FakeDialer):
    """A dialer that writes down when a connection was tried."""

    def __init__(
        self, begun: Counter[int], network: FakeNetwork, limit_s: float, favours: Favours = NO_FAVOURS
    ) -> None:
        super().__init__(network, limit_s, favours)
        self._moments = begun

    async def _connect(self, target: Target) -> Stream:
        self._moments[bucket_of(trio.current_time())] += 1
        return await super()._connect(target)


def test_a_worker_probes_a_rack_evenly_without_a_warm_up_after_a_failure_a_recovery_and_a_reload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # else chance has a say in what is a bound of chance
    monkeypatch.setattr("trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING", True)
    trio._core._run._r.seed(1)
    begun: Counter[int] = Counter()
    fair = 200 * BUCKET_S / 2.0
    even = (fair + 3 * math.sqrt(fair) + 2) * 1.3

    async def main() -> None:
        ours, theirs = memory_link_pair()
        network = FakeNetwork()
        jobs = [wire.Job(n, "TCP_CHECK", f"10.0.0.{n}", 80, 2.0, 1, 0.5, 1.0, 0.0) for n in range(1, 201)]
        servers = [network.server(job.address, 80) for job in jobs]

        async def listen() -> None:
            while await ours.receive():
                pass

        async def assign(generation: int, some: list[wire.Job]) -> None:
            for frame in wire.assign_frames(1, generation, some, 20):
                await ours.send(frame)

        async def even_after(wait_s: float) -> None:
            await trio.sleep(wait_s)
            since = trio.current_time()
            await trio.sleep(10)
            assert max(begun[bucket] for bucket in range(bucket_of(since), bucket_of(since + 10.0))) <= even

        async with trio.open_nursery() as nursery:
            dialer = functools.partial(CountingDialer, begun, network)
            nursery.start_soon(listen)
            nursery.start_soon(functools.partial(worker.main, theirs, dialer, random.Random(1)))
            await assign(1, jobs)
            await even_after(8)
            for behaviour in (refuse(), healthy(), blackhole(), healthy()):
                for server in servers:
                    server.behaviour = behaviour
                await even_after(14)
            await assign(
                2,
                jobs[:100]
                + [wire.Job(n, "TCP_CHECK", f"10.1.0.{n}", 80, 2.0, 1, 0.5, 1.0, 0.0) for n in range(1, 101)],
            )
            await even_after(8)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
