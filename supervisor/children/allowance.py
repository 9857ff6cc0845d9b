"""How much a worker may say: a bucket that fills with time and is emptied by frames. Pure: time is an argument.

A worker with nothing to tell says a frame a second. One whose every server fails at once says a frame for each check and each retry. More
than its jobs explain, many times over, is no worker any more but somebody who wants our processor, our log and our disk.
"""

from __future__ import annotations

from collections.abc import Iterable

from checkers.kit.job import Job
from supervisor.filenews import REST_MIN_S

BASE_PER_S = 20.0
"""For beats, and for what comes with each start. Ours: a beat a second, 20 times over."""

PROBES_PER_FRAME = 4.0
"""So many frames for each probe that a job's schedule allows: its report, its favour, and the same again."""

GAP_MIN_S = 0.05
"""No schedule is quicker than this; it is what the allowance is reckoned with when the file says 0."""

HASTENED_S = 1.0
"""A sentinel brings the next probe forward, and a server that left is looked at so often for a while (checkers.kit.urgency)."""

STATE_EVERY_S = 30.0
"""A full state has an entry for each job, about so often (kit.worker)."""

BURST = 600.0
"""What may come at once without any jobs: twice what a socket pair holds while we are stopped (278 frames, reliability.md, section 6)."""

BURST_PER_JOB = 8.0
"""And for each job: its first report, two full states, a rack that fails."""


class Allowance:
    """What one incarnation of a worker may still say, in frames; an entry of a full state counts as one."""

    def __init__(self, gaps_s: Iterable[float], now: float) -> None:
        """`gaps_s`: for each of its jobs, the shortest time between two probes (`gap_s`)."""
        rates = [PROBES_PER_FRAME / gap + 2 / STATE_EVERY_S for gap in gaps_s]
        self.per_s = BASE_PER_S + sum(rates)
        self.burst = BURST + BURST_PER_JOB * len(rates)
        self._left = self.burst
        self._at = now

    def take(self, frames: int, now: float) -> bool:
        """Use up `frames`; tell whether they were within the allowance."""
        self._left = min(self.burst, self._left + (now - self._at) * self.per_s) - frames
        self._at = now
        return self._left >= 0


def gap_s(job: Job) -> float:
    """Return the shortest time between two probes of a job, by its schedule."""
    asked = (job.delay_loop, job.delay_before_retry, job.fast_interval, job.down_interval)
    gap = min(pause for pause in asked if pause is not None)
    if job.sentinel or job.fast_retry:
        gap = min(gap, HASTENED_S)
    if job.type == "FILE_CHECK":
        gap = min(gap, REST_MIN_S)  # of news of its file
    return max(gap, GAP_MIN_S)
