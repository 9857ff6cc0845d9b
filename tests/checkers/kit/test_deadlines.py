"""Time limits of many connections at once, on virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from trio.testing import MockClock

from checkers.kit.deadlines import Deadlines
from checkers.kit.timer import TICK_S, Timer

LIMIT_S = 3.0


class Waiting:
    """Writes down when it expired, and drops others then."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._began = trio.current_time()
        self.drops: list[Waiting] = []
        self.expired_after: list[float] = []
        deadlines.add(self, self._began)

    def expire(self) -> None:
        self.expired_after.append(trio.current_time() - self._began)
        for other in self.drops:
            self._deadlines.drop(other)


def run(story: Callable[[Deadlines], Awaitable[None]]) -> None:
    async def main() -> None:
        timer = Timer()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timer.run)
            await story(Deadlines(timer, LIMIT_S))
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_each_expires_once_at_its_own_end_or_a_tick_later() -> None:
    async def story(deadlines: Deadlines) -> None:
        waiting = []
        for _ in range(20):
            waiting.append(Waiting(deadlines))
            await trio.sleep(0.33)
        await trio.sleep(2 * LIMIT_S)
        for one in waiting:
            (after,) = one.expired_after
            assert LIMIT_S <= round(after, 9) <= LIMIT_S + TICK_S

    run(story)


def test_who_is_dropped_does_not_expire_and_may_come_again() -> None:
    async def story(deadlines: Deadlines) -> None:
        one, other = Waiting(deadlines), Waiting(deadlines)
        await trio.sleep(1)
        deadlines.drop(one)
        deadlines.drop(one)
        deadlines.add(one, trio.current_time())
        await trio.sleep(LIMIT_S - 0.5)
        assert (len(one.expired_after), len(other.expired_after)) == (0, 1)
        await trio.sleep(1)
        assert len(one.expired_after) == 1

    run(story)


def test_who_is_dropped_by_one_that_expires_in_the_same_moment_does_not_expire() -> None:
    async def story(deadlines: Deadlines) -> None:
        one, other = Waiting(deadlines), Waiting(deadlines)
        one.drops.append(other)
        await trio.sleep(2 * LIMIT_S)
        assert (len(one.expired_after), len(other.expired_after)) == (1, 0)

    run(story)
