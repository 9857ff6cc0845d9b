"""Was this process there when it should have been? What a time-out needs to know before it blames a server.

Three things can keep us away, and each has its own sign (reliability.md, section 7):

* we were stopped, or held up by ourselves: a pulse every PULSE_S comes late, and the lateness is *lost* time;
* others had the processor: the time that we waited in the run queue (`/proc/self/schedstat`, second number, opened before any wall
  goes up and read with pread);
* the whole machine was suspended: CLOCK_BOOTTIME ran on while CLOCK_MONOTONIC stood still.

A gap of NAP_S or more is a *nap*: whatever was under way in it says nothing, because the world may have moved on meanwhile.
Knows nothing of probes, and reads no clock but by what it is given.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NamedTuple, NoReturn

import trio

PULSE_S = 0.1
"""How often punctuality is measured."""

SLACK_S = 0.1
"""Lateness that the timer's ticks explain (kit.timer.TICK_S, twice)."""

LOST_SHARE_MAX = 0.1
"""Greatest part of a time limit that we may have been away for a time-out to count (reliability.md, section 7, point 3)."""

WAITED_SHARE_MAX = 0.5
"""Greatest part of a time limit that we may have waited for a processor. Ours, and larger: what the server said meanwhile is found at
the second look, so only our own steps were late; at a tenth, a busy director would call every time-out late."""

NAP_S = 1.0
"""A gap of this length is a nap: half of the shortest stop that made false failures (reliability.md, section 7: 2 s)."""

SUSPENDED_S = 0.5
"""So much suspension is a nap. The two clocks are read one after another, so their difference wavers by microseconds only."""


class RunQueue:
    """How long this process waited for a processor, in seconds since its start. Where the kernel does not count that: 0."""

    def __init__(self) -> None:
        """Open the kernel's file: before the walls go up."""
        try:
            self._fd = os.open("/proc/self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1

    def waited_s(self) -> float:
        """Return the time waited so far; never raises."""
        if self._fd < 0:
            return 0.0
        try:
            return int(os.pread(self._fd, 128, 0).split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0


def suspended_s() -> float:
    """Return how long this machine was suspended since its boot, in seconds, to some microseconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


class Mark(NamedTuple):
    """The counts at one moment; see `Punctuality.mark`."""

    lost_s: float
    waited_s: float
    naps: int


NO_MARK = Mark(0.0, 0.0, 0)
"""Of what has not begun."""


class Punctuality:
    """Adds up how long this process was away. `look` at least every PULSE_S: `run` does, or a timer's alarm.

    `lost_s` is the lateness so far, `naps` how many gaps were naps, `last_nap_s` how long the latest one was, `waited_s()` the time in
    the run queue so far.
    """

    def __init__(self, waited_s: Callable[[], float] = lambda: 0.0, slept_s: Callable[[], float] = lambda: 0.0) -> None:
        """`waited_s` returns the time in the run queue so far, `slept_s` the time that the machine was suspended."""
        self.lost_s = 0.0
        self.naps = 0
        self.last_nap_s = 0.0
        self.waited_s = waited_s
        self._slept_s = slept_s
        self._slept_before_s = slept_s()
        self._due = float("inf")

    def begin(self, now: float) -> float:
        """Begin to measure at `now` (seconds, any steady clock); return when the next look is due."""
        self._due = now + PULSE_S
        return self._due

    def look(self, now: float) -> float:
        """Take note of what was missed up to `now`; return when the next look is due."""
        late_s = now - self._due - SLACK_S
        slept_s = self._slept_s()
        asleep_s, self._slept_before_s = slept_s - self._slept_before_s, slept_s
        if late_s > 0:
            self.lost_s += late_s
        if late_s >= NAP_S or asleep_s >= SUSPENDED_S:
            self.naps += 1
            self.last_nap_s = max(late_s, asleep_s)
        if self._due != float("inf"):  # else nobody measures
            self._due = now + PULSE_S
        return self._due

    def naps_at(self, now: float) -> int:
        """Return how many naps there were up to `now`, the one that nobody has looked at yet included."""
        if now > self._due + SLACK_S:
            self.look(now)
        return self.naps

    def mark(self, now: float) -> Mark:
        """Return the counts at `now`, to be given to `away_s` and `too_late` later."""
        naps = self.naps_at(now)
        return Mark(self.lost_s, self.waited_s(), naps)

    def away_s(self, since: Mark, now: float) -> float:
        """Return how long this process did not run, though it should have, since a mark."""
        mark = self.mark(now)
        return max(mark.lost_s - since.lost_s, mark.waited_s - since.waited_s)

    def too_late(self, since: Mark, now: float, deadline: float, limit_s: float) -> bool:
        """Tell whether the passing of a deadline proves nothing: we were away for too much of its limit, which began at a mark."""
        mark = self.mark(now)
        lost_s = mark.lost_s - since.lost_s + max(0.0, now - deadline - SLACK_S)
        waited_s = mark.waited_s - since.waited_s
        return lost_s > LOST_SHARE_MAX * limit_s or waited_s > WAITED_SHARE_MAX * limit_s or mark.naps != since.naps

    async def run(self) -> NoReturn:
        """Look every PULSE_S on trio's clock, until cancelled."""
        due = self.begin(trio.current_time())
        while True:
            await trio.sleep_until(due)
            due = self.look(trio.current_time())
