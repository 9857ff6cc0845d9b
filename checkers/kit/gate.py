"""Bounds how many probes are busy at once, so that a burst of ours does not look like slow servers. Works on trio's clock.

Counts probes, knows nothing of sockets. It must not let servers that are merely silent keep others out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

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
        self._waiting: deque[Callable[[], object]] = deque()
        # places of those who were let in and have not entered yet: else each who leaves wakes for all before him
        self._promised = 0
        self._letting_in = False
        self._alarm_set = False

    @property
    def busy(self) -> int:
        """How many probes are busy, as far as anybody looked."""
        return len(self._busy)

    @property
    def full(self) -> bool:
        """Whether one must wait."""
        return len(self._busy) + self._promised >= BURST_MAX

    async def wait(self) -> None:
        """Wait until it is not full. Whoever waited enters at once or not at all."""
        if not self.full:
            return
        task = current_task()

        def begin() -> None:
            self._promised += 1
            reschedule(task)

        def abort(_: object) -> Abort:
            self._waiting.remove(begin)
            return Abort.SUCCEEDED

        self.line_up(begin)
        await wait_task_rescheduled(abort)
        self._promised -= 1

    def line_up(self, begin: Callable[[], object]) -> None:
        """Have `begin` called when it is not full any more: for who has no task that could wait. It enters at once or not at all."""
        self._waiting.append(begin)
        self._set_alarm()

    def enter(self, who: object, now: float) -> None:
        """Take a place at the time `now`."""
        self._busy[who] = now

    def leave(self, who: object) -> None:
        """Give the place back; harmless without one."""
        if self._busy.pop(who, None) is not None and self._waiting:
            self._let_in()

    def _let_in(self) -> None:
        if self._letting_in:
            return  # one who was let in left at once, and whoever lets in goes on
        self._letting_in = True
        try:
            while self._waiting and not self.full:
                self._waiting.popleft()()
        finally:
            self._letting_in = False

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
