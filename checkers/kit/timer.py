"""One timer for all tasks of a worker: it wakes at most every 50 ms and then does everything that is due.

A trio deadline for each of thousands of probes, and a wake-up for each, is what makes the obvious way expensive: with one heap and a
coarse tick the loop, epoll and the scheduler are paid once a tick (performance.md: 101 → 72 µs a check). The price is that
everything happens up to a tick late, never early. It runs on trio's clock, so stories use it on virtual time.

Must be used from the thread of the trio run that `run` runs in.
"""

from __future__ import annotations

import functools
import heapq
import itertools
from collections.abc import Callable

import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

TICK_S = 0.05
"""Least time between two ticks (performance.md: 50 ms costs 72 µs a check, 10 ms 101)."""


def _give_up(_: object) -> Abort:
    return Abort.SUCCEEDED


class Alarm:
    """One thing to do at one time. `due` is on trio's clock."""

    __slots__ = ("action", "due", "number")

    def __init__(self, due: float, number: int, action: Callable[[], object]) -> None:
        self.due = due
        self.number = number
        self.action: Callable[[], object] | None = action

    def cancel(self) -> None:
        """Never do it; harmless when it was done."""
        self.action = None

    def abort(self, _: object) -> Abort:
        """Cancel, as trio wants it of whoever waits."""
        self.action = None
        return Abort.SUCCEEDED

    def ring(self) -> None:
        """Do it now instead, without waiting for a tick; harmless when it was done."""
        action, self.action = self.action, None
        if action is not None:
            action()


class Doze:
    """The sleep of one task that somebody else may shorten."""

    __slots__ = ("_alarm", "_timer")

    def __init__(self, timer: Timer) -> None:
        self._timer = timer
        self._alarm: Alarm | None = None

    async def until(self, due: float) -> None:
        """Sleep until the first tick at or after `due` (trio's clock), or an earlier one that `shorten` names."""
        self._alarm = self._timer.call_at(due, functools.partial(reschedule, current_task()))
        try:
            await wait_task_rescheduled(self._abort)
        finally:
            self._alarm = None

    def shorten(self, due: float) -> None:
        """Have the sleeper wake at `due` if that is earlier; harmless when nobody sleeps."""
        alarm = self._alarm
        if alarm is None or alarm.action is None or due >= alarm.due:
            return
        action = alarm.action
        alarm.cancel()
        self._alarm = self._timer.call_at(due, action)

    def wake(self) -> None:
        """Have the sleeper wake now, without waiting for a tick; harmless when nobody sleeps."""
        if self._alarm is not None:
            self._alarm.ring()

    def _abort(self, _: object) -> Abort:
        if self._alarm is not None:
            self._alarm.cancel()
        return Abort.SUCCEEDED


class Timer:
    """The heap of alarms and the task that works it off. `ticks` counts how often it did so."""

    def __init__(self, tick_s: float = TICK_S) -> None:
        self._tick_s = tick_s
        self._heap: list[tuple[float, int, Alarm]] = []
        self._numbers = itertools.count()
        self._last_tick = -float("inf")
        self._sleep: trio.CancelScope | None = None
        self._lag_s = 0.0
        self.ticks = 0

    def call_at(self, due: float, action: Callable[[], object]) -> Alarm:
        """Call `action()` at the first tick at or after `due` (trio's clock). It must not raise and not wait."""
        number = next(self._numbers)
        alarm = Alarm(due, number, action)
        heapq.heappush(self._heap, (due, number, alarm))
        sleep = self._sleep
        if sleep is not None and due < sleep.deadline:
            sleep.deadline = max(due, self._last_tick + self._tick_s)
        return alarm

    async def sleep_until(self, due: float) -> None:
        """Sleep until the first tick at or after `due` (trio's clock); always gives other tasks a turn."""
        await wait_task_rescheduled(self.call_at(due, functools.partial(reschedule, current_task())).abort)

    async def run(self) -> None:
        """Work off the alarms until cancelled."""
        while True:
            now = self._last_tick = trio.current_time()
            self.ticks += 1
            self._do_due(now)
            heap = self._heap
            while heap and heap[0][2].action is None:
                heapq.heappop(heap)
            due = heap[0][0] if heap else float("inf")
            self._sleep = sleep = trio.CancelScope(deadline=max(due, now + self._tick_s))
            with sleep:
                await wait_task_rescheduled(_give_up)
            self._sleep = None
            self._lag_s = max(self._lag_s, trio.current_time() - sleep.deadline)

    def take_lag(self) -> float:
        """Return the greatest lateness of a tick since the last call, in seconds: how busy or stopped this process was."""
        lag_s, self._lag_s = self._lag_s, 0.0
        return lag_s

    def _do_due(self, now: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= now:
            alarm = heapq.heappop(heap)[2]
            action, alarm.action = alarm.action, None
            if action is not None:
                action()
