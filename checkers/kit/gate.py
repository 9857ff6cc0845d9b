"""Bounds how many probes are busy at once, so that a burst of ours does not look like slow servers. Works on trio's clock.

Counts probes, knows nothing of sockets. It must not let servers that are merely silent keep others out.
"""

from __future__ import annotations

from collections import deque

import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from checkers.kit.timer import Timer

BURST_MAX = 128
"""Most probes that are busy at once; others wait their turn, and their time limit starts only then. Ours: on a saturated core
500 at once took the 99th percentile of a probe from 36 to 316 ms (performance.md), so naive time-outs would remove healthy servers."""

BUSY_S = 0.25
"""So long a probe counts as busy. After that it waits for its server and costs nothing: it must not keep others out."""


class Gate:
    """Lets at most BURST_MAX probes be busy at once. A place is free again when its probe ends or has lasted BUSY_S."""

    def __init__(self, timer: Timer) -> None:
        self._timer = timer
        self._busy: dict[object, float] = {}  # in the order of entering
        self._waiting: deque[Task] = deque()
        self._promised = (
            0  # places of those who were let in and have not entered yet: else each who leaves wakes for all before him
        )
        self._alarm_set = False

    @property
    def full(self) -> bool:
        """Whether one must wait."""
        return len(self._busy) + self._promised >= BURST_MAX

    async def wait(self) -> None:
        """Wait until it is not full. Whoever waited enters at once or not at all."""
        if not self.full:
            return
        self._set_alarm()
        task = current_task()
        self._waiting.append(task)

        def abort(_: object) -> Abort:
            self._waiting.remove(task)
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)
        self._promised -= 1

    def enter(self, who: object, now: float) -> None:
        """Take a place at the time `now`."""
        self._busy[who] = now

    def leave(self, who: object) -> None:
        """Give the place back; harmless without one."""
        if self._busy.pop(who, None) is not None and self._waiting:
            self._let_in()

    def _let_in(self) -> None:
        for _ in range(min(len(self._waiting), BURST_MAX - len(self._busy) - self._promised)):
            self._promised += 1
            reschedule(self._waiting.popleft())

    def _set_alarm(self) -> None:
        if self._busy and not self._alarm_set:
            self._alarm_set = True
            self._timer.call_at(next(iter(self._busy.values())) + BUSY_S, self._forget_idle)

    def _forget_idle(self) -> None:
        self._alarm_set = False
        limit = trio.current_time() - BUSY_S
        for who in [who for who, since in self._busy.items() if since <= limit]:
            del self._busy[who]
        self._let_in()
        if self._waiting and self._busy:
            self._set_alarm()
