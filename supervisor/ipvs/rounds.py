"""When to look at the kernel's table: the cheap way often, the full way as often as it is cheap enough. Numbers only.

A *glance* reads the services without their destinations: it sees a table that was flushed, services that came, went or have other
settings, and then the whole is read at once. A *full* reading sees everything and renews the counters of the exporter.

Measured with `bench.audit_cost` in User-Mode Linux, where a system call costs tens of times more than elsewhere, in milliseconds:

| services x destinations | full, with the comparison | glance |
| --- | --- | --- |
| 1 x 1,000 | 8 | 0.1 |
| 100 x 10 | 15 | 1.4 |
| 1 x 10,000 | 120 | 0.1 |
| 100 x 100 | 103 | 1.4 |
| 1,000 x 10 | 171 | 14 |

Both come every second, so that what somebody else changed is put right within two also where the processor is short; the kernel renews
its own counters every two. A full reading then costs about 1 % of a processor at 1,000 real servers. Where it would cost more than
`SHARE_MAX` of one, it comes so much more rarely: every 2.4 to 3.4 s at 10,000 in that slow kernel; a flushed table, which hurts most,
is seen by the glances in between. What counts is the time that we had the processor: else a machine that is short of it would look so
much less. /proc/net/ip_vs would be cheaper still (11 ms), but lacks thresholds, tunnels and counters.
"""

from __future__ import annotations

import math

SHARE_MAX = 0.05
"""Of one processor's time, for full readings."""

FULL_LAST_S = 30.0
"""Full readings come at least so often, whatever they cost (reliability.md, section 6)."""


class Rounds:
    """The times of the next looks, in trio's seconds. `interval_s` lies between two glances, and at least between two full readings."""

    def __init__(self, interval_s: float) -> None:
        self.full_at = -math.inf
        self.glance_at = -math.inf
        self._interval_s = interval_s
        self._cost_s = 0.0

    def read_whole(self, now: float, cost_s: float) -> None:
        """Note that the whole was read and compared, and what that cost; once expensive may be chance, so the cheaper of two counts."""
        pause_s = min(max(min(cost_s, self._cost_s) / SHARE_MAX, self._interval_s), FULL_LAST_S)
        self._cost_s = cost_s
        self.full_at, self.glance_at = now + pause_s, now + self._interval_s

    def glanced(self, now: float) -> None:
        """Note that the services were read."""
        self.glance_at = now + self._interval_s

    def hurry(self) -> None:
        """Have the whole read at once."""
        self.full_at = -math.inf
