"""The shared timer, on virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from checkers.kit.timer import TICK_S, Doze, Timer


def run(story: Callable[[Timer], Awaitable[None]]) -> None:
    async def main() -> None:
        timer = Timer()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timer.run)
            await story(timer)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_sleeper_wakes_at_its_time_and_at_most_a_tick_later() -> None:
    async def story(timer: Timer) -> None:
        for wait_s in (0.0, 0.001, 0.049, 0.05, 1.0, 3600.0):
            due = trio.current_time() + wait_s
            await timer.sleep_until(due)
            assert due <= trio.current_time() <= due + TICK_S

    run(story)


def test_a_sooner_alarm_is_not_kept_waiting_by_a_later_one() -> None:
    async def story(timer: Timer) -> None:
        start = trio.current_time()
        rung: list[tuple[str, float]] = []
        timer.call_at(start + 100, lambda: rung.append(("late", trio.current_time())))
        await wait_all_tasks_blocked()
        timer.call_at(start + 1, lambda: rung.append(("soon", trio.current_time())))
        await trio.sleep_until(start + 50)
        assert [(name, round(at - start, 1)) for name, at in rung] == [("soon", 1.0)]

    run(story)


def test_what_is_due_in_one_tick_happens_in_the_order_of_time() -> None:
    async def story(timer: Timer) -> None:
        start = trio.current_time()
        rung: list[int] = []
        for number in (3, 1, 2):
            timer.call_at(start + number / 1000, lambda number=number: rung.append(number))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        await trio.sleep(1)
        assert rung == [1, 2, 3]

    run(story)


def test_a_cancelled_alarm_does_not_ring_and_does_not_wake_the_timer() -> None:
    async def story(timer: Timer) -> None:
        rung: list[str] = []
        timer.call_at(trio.current_time() + 1, lambda: rung.append("rung")).cancel()
        await trio.sleep(10)
        assert rung == []

    run(story)


def test_an_alarm_that_is_set_again_rings_at_its_last_time_alone() -> None:
    async def story(timer: Timer) -> None:
        start = trio.current_time()
        rung: list[float] = []
        call = timer.call_at(start + 5, lambda: rung.append(round(trio.current_time() - start, 1)))
        timer.set(call, start + 9)
        timer.set(call, start + 2)
        await trio.sleep(10)
        assert rung == [2.0]
        assert not call.is_set

    run(story)


class Dozer(Doze):
    """Sleeps, and writes down when it rang and when it woke."""

    def __init__(self, timer: Timer) -> None:
        super().__init__(timer)
        self.rung = 0
        self.woken_after: list[float] = []

    def ring(self, now: float) -> None:
        self.rung += 1
        super().ring(now)

    async def sleep(self, seconds: float) -> None:
        start = trio.current_time()
        try:
            await self.until(start + seconds)
            self.woken_after.append(round(trio.current_time() - start, 1))
        finally:
            self.end()


def test_a_doze_may_be_shortened_and_is_not_lengthened() -> None:
    async def story(timer: Timer) -> None:
        dozer = Dozer(timer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dozer.sleep, 100.0)
            await wait_all_tasks_blocked()
            dozer.shorten(trio.current_time() + 7)
            dozer.shorten(trio.current_time() + 50)
        assert (dozer.woken_after, dozer.rung) == ([7.0], 1)

    run(story)


def test_who_is_cancelled_in_a_doze_may_be_woken_in_the_same_moment_and_never_rings() -> None:
    async def story(timer: Timer) -> None:
        dozer = Dozer(timer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dozer.sleep, 100.0)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            dozer.wake()
        dozer.shorten(trio.current_time() + 1)
        await trio.sleep(200)
        assert (dozer.woken_after, dozer.rung) == ([], 0)

    run(story)


def test_a_cancelled_sleeper_is_gone_and_the_others_sleep_on() -> None:
    async def story(timer: Timer) -> None:
        start = trio.current_time()
        with trio.move_on_after(1) as scope:
            await timer.sleep_until(start + 5)
        assert scope.cancelled_caught
        await timer.sleep_until(start + 5)
        assert trio.current_time() == pytest.approx(start + 5, abs=TICK_S)

    run(story)


def test_thousands_of_alarms_cost_no_more_than_one_tick_each_fifty_milliseconds() -> None:
    async def story(timer: Timer) -> None:
        start = trio.current_time()
        times: set[float] = set()
        for number in range(2000):
            timer.call_at(start + number / 1000, lambda: times.add(trio.current_time()))
        await trio.sleep(3)
        assert len(times) <= 2 / TICK_S + 2

    run(story)
