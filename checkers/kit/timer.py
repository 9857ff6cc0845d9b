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
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

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


class Doze:
    """The sleep of one task between its probes. Somebody else may shorten it, or do what it waits for and let it sleep on."""

    __slots__ = ("_alarm", "_instead", "_sleeper", "_timer")

    def __init__(self, timer: Timer, instead: Callable[[], bool]) -> None:
        """`instead` is asked when the time has come: whether it does what is due itself, and will call `on` or `wake`."""
        self._timer = timer
        self._instead = instead
        self._alarm: Alarm | None = None
        self._sleeper: Task | None = None

    async def until(self, due: float) -> None:
        """Sleep until the first tick at or after `due` (trio's clock), or an earlier one that `shorten` names."""
        self._sleeper = current_task()
        self._alarm = self._timer.call_at(due, self._ring)
        await wait_task_rescheduled(self._abort)

    def on(self, due: float) -> None:
        """What was due is done: sleep on until `due`. Harmless when nobody sleeps any more."""
        if self._sleeper is not None:
            self._alarm = self._timer.call_at(due, self._ring)

    def shorten(self, due: float) -> None:
        """Have the sleeper wake at `due` if that is earlier; harmless when nobody sleeps."""
        alarm = self._alarm
        if alarm is None or alarm.action is None or due >= alarm.due:
            return
        alarm.cancel()
        self._alarm = self._timer.call_at(due, self._ring)

    def hurry(self) -> None:
        """Have the sleeper wake now, without waiting for a tick; harmless when nobody sleeps, or what is due is being done."""
        if self._alarm is not None and self._alarm.action is not None:
            self.wake()

    def wake(self) -> None:
        """Have the sleeper wake; harmless when nobody sleeps."""
        sleeper = self._sleeper
        if sleeper is not None:
            self._forget()
            reschedule(sleeper)

    def _ring(self) -> None:
        if not self._instead():
            self.wake()

    def _abort(self, _: object) -> Abort:
        self._forget()
        return Abort.SUCCEEDED

    def _forget(self) -> None:
        self._sleeper = None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


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
