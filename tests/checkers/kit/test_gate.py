"""The gate, on virtual time."""

from __future__ import annotations

import functools

import trio
import trio.testing

from checkers.kit.gate import BURST_MAX, BUSY_S, Gate
from checkers.kit.timer import Timer


def test_the_gate_lets_only_so_many_in_and_those_who_leave_make_room() -> None:
    async def main() -> None:
        timer = Timer()
        gate = Gate(timer)
        inside: list[int] = []

        async def visit(number: int) -> None:
            await gate.wait()
            gate.enter(number, trio.current_time())
            inside.append(number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(timer.run)
            for number in range(BURST_MAX + 10):
                nursery.start_soon(visit, number)
            await trio.testing.wait_all_tasks_blocked()
            assert len(inside) == BURST_MAX
            for number in inside[:3]:
                gate.leave(number)
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
            for number in range(BURST_MAX):
                gate.enter(number, trio.current_time())
            with trio.move_on_after(0.01) as scope:
                await gate.wait()
            assert scope.cancelled_caught
            gate.leave(0)
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

        async def visit(number: int) -> None:
            await gate.wait()
            gate.enter(number, trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(timer.run)
            for number in range(BURST_MAX):
                gate.enter(-number, trio.current_time())
            for number in range(1, 1 + 3 * BURST_MAX):
                nursery.start_soon(visit, number)
            await trio.testing.wait_all_tasks_blocked()
            trio.lowlevel.add_instrument(Counting())
            for number in range(BURST_MAX):
                gate.leave(-number)
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
            let_in.append(number)
            gate.enter(-number, trio.current_time())
            gate.leave(-number)

        for number in range(BURST_MAX):
            gate.enter(number, trio.current_time())
        for number in range(1, 5001):
            gate.line_up(functools.partial(enter, number))
        assert let_in == []
        gate.leave(0)
        assert let_in == [*range(1, 5001)]
        assert gate.busy == BURST_MAX - 1

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_who_lines_up_is_let_in_when_nobody_leaves_but_all_only_wait() -> None:
    async def main() -> None:
        timer = Timer()
        gate = Gate(timer)
        let_in: list[float] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timer.run)
            start = trio.current_time()
            for number in range(BURST_MAX):
                gate.enter(number, start)
            gate.line_up(lambda: let_in.append(trio.current_time() - start))
            await trio.sleep(BUSY_S * 2)
            nursery.cancel_scope.cancel()
        assert [round(seconds, 2) for seconds in let_in] == [BUSY_S]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
