"""The gate, on virtual time."""

from __future__ import annotations

import functools

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from checkers.kit.gate import BURST_MAX, BUSY_S, Gate
from checkers.kit.timer import MEETING_S, TICK_S, Timer


class Visitor:
    """Writes down when it was told that it lasts."""

    def __init__(self) -> None:
        self.lasts_since: list[float] = []

    def lasts(self) -> None:
        self.lasts_since.append(trio.current_time())


def visitors(count: int) -> list[Visitor]:
    return [Visitor() for _ in range(count)]


def test_the_gate_lets_only_so_many_in_and_those_who_leave_make_room() -> None:
    async def main() -> None:
        timer = Timer()
        gate = Gate(timer)
        inside: list[Visitor] = []

        async def visit() -> None:
            await gate.wait()
            inside.append(Visitor())
            gate.enter(inside[-1], trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(timer.run)
            for _ in range(BURST_MAX + 10):
                nursery.start_soon(visit)
            await trio.testing.wait_all_tasks_blocked()
            assert len(inside) == BURST_MAX
            for visitor in inside[:3]:
                assert gate.leave(visitor)
                assert not gate.leave(visitor)
            await trio.testing.wait_all_tasks_blocked()
            assert len(inside) == BURST_MAX + 3
            await trio.sleep(BUSY_S * 2)
            assert len(inside) == BURST_MAX + 10
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_one_who_gives_up_waiting_at_the_gate_takes_no_place() -> None:
    async def main() -> None:
        timer = Timer()
        gate = Gate(timer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timer.run)
            first, *others = visitors(BURST_MAX)
            for visitor in (first, *others):
                gate.enter(visitor, trio.current_time())
            with trio.move_on_after(0.01) as scope:
                await gate.wait()
            assert scope.cancelled_caught
            gate.leave(first)
            with trio.fail_after(0.01):
                await gate.wait()
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_each_who_leaves_wakes_one_and_nobody_is_woken_in_vain() -> None:
    async def main() -> None:
        timer = Timer()
        gate = Gate(timer)
        woken = 0

        class Counting(trio.abc.Instrument):
            def task_scheduled(self, task: trio.lowlevel.Task) -> None:
                nonlocal woken
                woken += "visit" in task.name

        async def visit() -> None:
            await gate.wait()
            gate.enter(Visitor(), trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(timer.run)
            inside = visitors(BURST_MAX)
            for visitor in inside:
                gate.enter(visitor, trio.current_time())
            for _ in range(3 * BURST_MAX):
                nursery.start_soon(visit)
            await trio.testing.wait_all_tasks_blocked()
            trio.lowlevel.add_instrument(Counting())
            for visitor in inside:
                gate.leave(visitor)
            await trio.testing.wait_all_tasks_blocked()
            assert woken == BURST_MAX
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_who_lines_up_without_a_task_is_let_in_in_turn_and_may_leave_at_once() -> None:
    async def main() -> None:
        timer = Timer()
        gate = Gate(timer)
        let_in: list[int] = []

        def enter(number: int) -> None:
            visitor = Visitor()
            let_in.append(number)
            gate.enter(visitor, trio.current_time())
            gate.leave(visitor)

        first, *others = visitors(BURST_MAX)
        for visitor in (first, *others):
            gate.enter(visitor, trio.current_time())
        for number in range(1, 5001):
            gate.line_up(functools.partial(enter, number))
        assert let_in == []
        gate.leave(first)
        assert let_in == [*range(1, 5001)]
        assert [*gate.busy] == others

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_who_lines_up_is_let_in_when_nobody_leaves_but_all_only_wait() -> None:
    async def main() -> None:
        timer = Timer()
        gate = Gate(timer)
        let_in: list[float] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timer.run)
            start = trio.current_time()
            for visitor in visitors(BURST_MAX):
                gate.enter(visitor, start)
            gate.line_up(lambda: let_in.append(trio.current_time() - start))
            await trio.sleep(BUSY_S * 2)
            nursery.cancel_scope.cancel()
        assert len(let_in) == 1
        assert BUSY_S - MEETING_S <= let_in[0] <= BUSY_S + TICK_S

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_who_lasts_loses_the_place_and_hears_of_it_and_who_is_over_before_never_does() -> None:
    async def main() -> None:
        timer = Timer()
        gate = Gate(timer)
        brief, lasting = visitors(20), visitors(20)
        begun: dict[Visitor, float] = {}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timer.run)
            for one, other in zip(brief, lasting, strict=True):
                for visitor in (one, other):
                    begun[visitor] = trio.current_time()
                    gate.enter(visitor, begun[visitor])
                await trio.sleep(BUSY_S / 3)  # less than anybody may be busy
                gate.leave(one)
            await trio.sleep(BUSY_S * 2)
            assert gate.busy == {}
            assert not any(gate.leave(visitor) for visitor in lasting)
            nursery.cancel_scope.cancel()
        assert not any(visitor.lasts_since for visitor in brief)
        for visitor in lasting:
            (since,) = visitor.lasts_since
            assert BUSY_S - MEETING_S <= since - begun[visitor] <= BUSY_S + TICK_S

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@given(st.lists(st.floats(0.0, 5.0), max_size=30), st.floats(0.001, BUSY_S))
def test_whatever_the_moments_everybody_is_told_once_and_the_timer_comes_to_rest(
    starts: list[float], busy_s: float
) -> None:
    async def main() -> None:
        timer = Timer()
        gate = Gate(timer)
        gate.busy_s = busy_s
        inside = visitors(len(starts))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timer.run)
            began = trio.current_time()
            for visitor, start in zip(inside, sorted(starts), strict=True):
                await trio.sleep_until(began + start)
                gate.enter(visitor, trio.current_time())
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        assert all(len(visitor.lasts_since) == 1 for visitor in inside)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
