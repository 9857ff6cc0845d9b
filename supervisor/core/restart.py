"""One child: exit history → wait this long before the next start.

The first restart is at once, so that a killed worker is back well within two seconds; a child that keeps dying waits longer each time,
up to `LONGEST_S`; one that ran for `STEADY_S` has proved itself and starts afresh.
"""

from __future__ import annotations

FIRST_S = 0.05
LONGEST_S = 30.0
STEADY_S = 60.0


class RestartPolicy:
    """Decides the pause before each start. Times are seconds of one clock, whichever."""

    def __init__(self) -> None:
        self._pause = 0.0
        self.restarts = 0

    def forgive(self) -> None:
        """What it died of may be gone: the next pauses are short again."""
        self._pause = 0.0

    def exited(self, ran_s: float) -> float:
        """Note that the child ended after `ran_s` seconds; return how long to wait before starting it again."""
        self.restarts += 1
        if ran_s >= STEADY_S or self._pause == 0.0:
            self._pause = FIRST_S
        else:
            self._pause = min(self._pause * 2, LONGEST_S)
        return self._pause
