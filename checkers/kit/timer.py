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
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

TICK_S = 0.05
"""Least time between two ticks (performance.md: 50 ms costs 72 µs a check, 10 ms 101)."""


def _give_up(_: object) -> Abort:
    return Abort.SUCCEEDED


OFF = -1
"""Number of an alarm that is not set."""


class Alarm:
    """What rings at a time for which it was set (`Timer.set`), once; then it may be set again. `due` is on trio's clock.

    There are thousands at any time, so an heir rings itself instead of keeping somebody to be called: that saves 200 bytes each.
    """

    __slots__ = ("due", "number")

    def __init__(self) -> None:
        self.due = 0.0
        self.number = OFF  # of the latest time it was set; an entry of the heap with another one is old

    @property
    def is_set(self) -> bool:
        """Whether it is going to ring."""
        return self.number != OFF

    def cancel(self) -> None:
        """Never ring; harmless when it rang."""
        self.number = OFF

    def ring(self) -> None:
        """The time has come. Must not raise and not wait."""
        raise NotImplementedError


class Call(Alarm):
    """One thing to do at one time."""

    __slots__ = ("_action",)

    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__()
        self._action: Callable[[], object] | None = action

    def ring(self) -> None:
        """Do it."""
        action, self._action = self._action, None
        if action is not None:
            action()

    def cancel(self) -> None:
        """Never do it; harmless when it was done."""
        super().cancel()
        self._action = None

    def abort(self, _: object) -> Abort:
        """Cancel, as trio wants it of whoever waits."""
        self.cancel()
        return Abort.SUCCEEDED


class Sleeper(Protocol):
    """Whose task dozes."""

    def instead(self) -> bool:
        """The time has come: do what is due without that task, and call `Doze.on` or `Doze.wake` later; False: let it wake."""


class Doze(Alarm):
    """The sleep of one task between its probes. Somebody else may shorten it, or do what it waits for and let it sleep on."""

    __slots__ = ("_sleeper", "_task", "_timer")

    def __init__(self, timer: Timer, sleeper: Sleeper) -> None:
        super().__init__()
        self._timer = timer
        self._sleeper: Sleeper | None = sleeper
        self._task: Task | None = None

    def until(self, due: float) -> Coroutine[Any, Any, object]:
        """Sleep until the first tick at or after `due` (trio's clock), or an earlier one that `shorten` names.

        Whoever is cancelled meanwhile calls `end`. (No coroutine of its own: a frame takes 200 bytes for as long as it sleeps.)
        """
        self._task = task = current_task()
        task.custom_sleep_data = self  # trio takes it away when it wakes the task, for whatever reason
        self._timer.set(self, due)
        return wait_task_rescheduled(_give_up)  # noqa: ASYNC105  it is for the caller to await

    def on(self, due: float) -> None:
        """What was due is done: sleep on until `due`. Harmless when nobody sleeps any more."""
        if self._task is not None:
            self._timer.set(self, due)

    def shorten(self, due: float) -> None:
        """Have the sleeper wake at `due` if that is earlier; harmless when nobody sleeps."""
        if self.is_set and due < self.due:
            self._timer.set(self, due)

    def hurry(self) -> None:
        """Have the sleeper wake now, without waiting for a tick; harmless when nobody sleeps, or what is due is being done."""
        if self.is_set:
            self.wake()

    def wake(self) -> None:
        """Have the sleeper wake; harmless when nobody sleeps."""
        task, self._task = self._task, None
        self.cancel()
        if task is not None and task.custom_sleep_data is self:
            reschedule(task)

    def ring(self) -> None:
        """See `Alarm.ring`."""
        if self._sleeper is None or not self._sleeper.instead():
            self.wake()

    def end(self) -> None:
        """Nobody is going to sleep any more; an old entry of the heap keeps nothing alive."""
        self.cancel()
        self._task = self._sleeper = None


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

    def call_at(self, due: float, action: Callable[[], object]) -> Call:
        """Call `action()` at the first tick at or after `due` (trio's clock). It must not raise and not wait."""
        call = Call(action)
        self.set(call, due)
        return call

    def set(self, alarm: Alarm, due: float) -> None:
        """Have `alarm` ring at the first tick at or after `due` (trio's clock), and not when it was to ring before."""
        alarm.due = due
        alarm.number = number = next(self._numbers)
        heapq.heappush(self._heap, (due, number, alarm))
        sleep = self._sleep
        if sleep is not None and due < sleep.deadline:
            sleep.deadline = max(due, self._last_tick + self._tick_s)

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
            while heap and heap[0][2].number != heap[0][1]:
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
            _, number, alarm = heapq.heappop(heap)
            if alarm.number == number:
                alarm.number = OFF
                alarm.ring()
