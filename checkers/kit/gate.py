"""Bounds how many probes are busy at once, so that a burst of ours does not look like slow servers. Works on trio's clock.

Counts probes, knows nothing of sockets. It must not let servers that are merely silent keep others out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import takewhile
from typing import Protocol

import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

from checkers.kit.timer import MEETING_S, Timer, meeting_before

BURST_MAX = 128
"""Most probes that are busy at once; others wait their turn, and their time limit starts only then. Ours: on a saturated core
500 at once took the 99th percentile of a probe from 36 to 316 ms (performance.md), so naive time-outs would remove healthy servers."""

BUSY_S = 0.25
"""So long a probe counts as busy, or up to MEETING_S less. After that it waits for its server and costs nothing: it must not keep others
out."""


class Busy(Protocol):
    """What takes a place."""

    def lasts(self) -> None:
        """The place was taken away, for it was busy for `busy_s`. Must not raise and not wait."""


class Gate:
    """Lets at most BURST_MAX probes be busy at once. A place is free again when its probe ends or has lasted `busy_s`.

    Nearly every probe is over by then, and nobody else needs to keep account of it (`kit.deadlines`).
    """

    def __init__(self, timer: Timer) -> None:
        self._timer = timer
        self.busy: dict[Busy, float] = {}
        """Who has a place, as far as anybody looked, and since when; in the order of entering."""
        # places that are not promised to those who were let in and have not entered yet: else each who leaves wakes for all before him
        self.places = BURST_MAX
        self.busy_s = BUSY_S
        self._waiting: deque[Callable[[], object]] = deque()
        self._letting_in = False
        self._alarm_set = False

    @property
    def full(self) -> bool:
        """Whether one must wait."""
        return len(self.busy) >= self.places

    async def wait(self) -> None:
        """Wait until it is not full. Whoever waited enters at once or not at all."""
        if not self.full:
            return
        task = current_task()

        def begin() -> None:
            self.places -= 1
            reschedule(task)

        def abort(_: object) -> Abort:
            self._waiting.remove(begin)
            return Abort.SUCCEEDED

        self.line_up(begin)
        await wait_task_rescheduled(abort)
        self.places += 1

    def line_up(self, begin: Callable[[], object]) -> None:
        """Have `begin` called when it is not full any more: for who has no task that could wait. It enters at once or not at all."""
        self._waiting.append(begin)

    def enter(self, who: Busy, now: float) -> None:
        """Take a place at the time `now`."""
        self.busy[who] = now
        if not self._alarm_set:
            self._alarm_set = True
            self._timer.call_at(meeting_before(now + self.busy_s), self._forget_idle)

    def leave(self, who: Busy) -> bool:
        """Give the place back; whether there was one."""
        if self.busy.pop(who, None) is None:
            return False
        if self._waiting:
            self._let_in()
        return True

    def _let_in(self) -> None:
        if self._letting_in:
            return  # one who was let in left at once, and whoever lets in goes on
        self._letting_in = True
        try:
            while self._waiting and not self.full:
                self._waiting.popleft()()
        finally:
            self._letting_in = False

    def _forget_idle(self) -> None:
        # a meeting before it would be
        latest = trio.current_time() + MEETING_S - self.busy_s
        for who, _ in [*takewhile(lambda entry: entry[1] < latest, self.busy.items())]:
            if self.busy.pop(who, None) is not None:  # nobody ended it meanwhile
                who.lasts()
        self._let_in()
        since = next(iter(self.busy.values()), None)
        self._alarm_set = since is not None
        if since is not None:
            self._timer.call_at(meeting_before(since + self.busy_s), self._forget_idle)
