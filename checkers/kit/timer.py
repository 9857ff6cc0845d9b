"""One timer for all tasks of a worker: it wakes at most every 50 ms and then does everything that is due.

A trio deadline for each of thousands of probes, and a wake-up for each, is what makes the obvious way expensive: with one timer and a
coarse tick the loop, epoll and the scheduler are paid once a tick (performance.md: 101 → 72 µs a check). The price is that
everything happens up to a tick late, never early. Alarms lie in slots of a tick each, and only the slot that is due is put in order,
which costs less than a heap of all. It runs on trio's clock, so stories use it on virtual time.

Must be used from the thread of the trio run that `run` runs in.
"""

from __future__ import annotations

import functools
import heapq
import itertools
from bisect import bisect_right
from collections.abc import Callable, Coroutine
from operator import itemgetter
from typing import Any

import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

TICK_S = 0.05
"""Least time between two ticks (performance.md: 50 ms costs 72 µs a check, 10 ms 101)."""

MEETING_S = 0.1
"""Whoever need not be exact comes at a multiple of this, where others come, too: a tick costs as much as many probes, and serves all."""


def meeting_before(due: float) -> float:
    """Return the last multiple of MEETING_S up to `due`."""
    return (due + 1e-6) // MEETING_S * MEETING_S


def _give_up(_: object) -> Abort:
    return Abort.SUCCEEDED


_due = itemgetter(0)


def _nothing() -> None:
    pass


OFF = -1
"""Number of an alarm that is not set."""


class Alarm:
    """What rings at a time for which it was set (`Timer.set`), once; then it may be set again. `due` is on trio's clock.

    There are thousands at any time, so an heir rings itself instead of keeping somebody to be called: that saves 200 bytes each.
    """

    __slots__ = ("due", "number")

    def __init__(self) -> None:
        self.due = 0.0
        self.number = OFF  # of the latest time it was set; an entry of a slot with another one is old

    @property
    def is_set(self) -> bool:
        """Whether it is going to ring."""
        return self.number != OFF

    def cancel(self) -> None:
        """Never ring; harmless when it rang."""
        self.number = OFF

    def ring(self, now: float) -> None:
        """The time has come, it is `now`. Must not raise and not wait."""
        raise NotImplementedError


class Call(Alarm):
    """One thing to do at one time."""

    __slots__ = ("_action",)

    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__()
        self._action: Callable[[], object] | None = action

    def ring(self, now: float) -> None:
        """Do it."""
        del now
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


class Doze(Alarm):
    """The sleep of one task between its probes. Somebody else may shorten it.

    An heir may do what the task would do (`ring`), and let it sleep on: with another time for the same alarm (`Timer.set`).
    """

    __slots__ = ("_task", "_timer")

    def __init__(self, timer: Timer) -> None:
        super().__init__()
        self._timer = timer
        self._task: Task | None = None

    def until(self, due: float) -> Coroutine[Any, Any, object]:
        """Sleep until the first tick at or after `due` (trio's clock), or an earlier one that `shorten` names.

        Whoever is cancelled meanwhile calls `end`. (No coroutine of its own: a frame takes 200 bytes for as long as it sleeps.)
        """
        self._task = task = current_task()
        task.custom_sleep_data = self  # trio takes it away when it wakes the task, for whatever reason
        self._timer.set(self, due)
        return wait_task_rescheduled(_give_up)  # noqa: ASYNC105  it is for the caller to await

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

    def ring(self, now: float) -> None:
        """See `Alarm.ring`."""
        del now
        self.wake()

    def end(self) -> None:
        """Nobody is going to sleep any more."""
        self.cancel()
        self._task = None


class Timer:
    """The alarms and the task that works them off. `ticks` counts how often it did so."""

    def __init__(self, tick_s: float = TICK_S) -> None:
        self._tick_s = tick_s
        self._slots: dict[
            float, list[tuple[float, int, Alarm]]
        ] = {}  # entries (due, number, alarm) by due in whole ticks
        self._order: list[float] = []  # a heap of the keys of `_slots`
        self._numbers = itertools.count()
        self._last_tick = -float("inf")
        self._sleep: trio.CancelScope | None = None
        self._wakes_at = -float("inf")  # the deadline of `_sleep`
        self._lag_s = 0.0
        self.ticks = 0
        self.afterwards: Callable[[], object] = _nothing
        """Called after each tick; must not raise, and not wait longer than whoever is due can bear."""

    def call_at(self, due: float, action: Callable[[], object]) -> Call:
        """Call `action()` at the first tick at or after `due` (trio's clock). It must not raise and not wait."""
        call = Call(action)
        self.set(call, due)
        return call

    def set(self, alarm: Alarm, due: float) -> None:
        """Have `alarm` ring at the first tick at or after `due` (trio's clock), and not when it was to ring before."""
        alarm.due = due
        alarm.number = number = next(self._numbers)
        key = due // self._tick_s
        slot = self._slots.get(key)
        if slot is None:
            self._slots[key] = [(due, number, alarm)]
            heapq.heappush(self._order, key)
        else:
            slot.append((due, number, alarm))
        if due < self._wakes_at and self._sleep is not None:
            self._sleep.deadline = self._wakes_at = max(due, self._last_tick + self._tick_s)

    async def sleep_until(self, due: float) -> None:
        """Sleep until the first tick at or after `due` (trio's clock); always gives other tasks a turn."""
        await wait_task_rescheduled(self.call_at(due, functools.partial(reschedule, current_task())).abort)

    async def run(self) -> None:
        """Work off the alarms until cancelled."""
        task = current_task()

        def wake(_: object) -> Abort:
            reschedule(task)  # and no exception, whose way through the scope is a good part of such a wake-up
            return Abort.FAILED

        while True:
            now = self._last_tick = trio.current_time()
            self.ticks += 1
            while self._do_due(now):
                pass
            self.afterwards()
            self._wakes_at = max(self._next_due(), now + self._tick_s)
            self._sleep = trio.CancelScope(deadline=self._wakes_at)
            with self._sleep:
                await wait_task_rescheduled(wake)
            self._sleep = None
            await trio.lowlevel.checkpoint_if_cancelled()
            self._lag_s = max(self._lag_s, trio.current_time() - self._wakes_at)

    def take_lag(self) -> float:
        """Return the greatest lateness of a tick since the last call, in seconds: how busy or stopped this process was."""
        lag_s, self._lag_s = self._lag_s, 0.0
        return lag_s

    def _do_due(self, now: float) -> bool:
        """Ring what is due of the first slot, in order; whether there may be more, of it or of the next."""
        if not self._order or self._order[0] > now // self._tick_s:
            return False
        key = heapq.heappop(self._order)
        slot = self._slots.pop(key)
        slot.sort()
        later = bisect_right(slot, now, key=_due)
        if later < len(slot):
            self._slots[key] = slot[later:]
            heapq.heappush(self._order, key)
        for _, number, alarm in slot[:later]:
            if alarm.number == number:
                alarm.number = OFF
                alarm.ring(now)
        return later > 0

    def _next_due(self) -> float:
        """Return when the next alarm is due, and throw out those before it that are old."""
        while self._order:
            key = self._order[0]
            slot = [entry for entry in self._slots[key] if entry[2].number == entry[1]]
            if slot:
                self._slots[key] = slot
                return min(slot)[0]
            del self._slots[heapq.heappop(self._order)]
        return float("inf")
