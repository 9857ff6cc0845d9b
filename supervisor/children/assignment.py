"""What a worker shall check, as frames: put together a slice at a time, so that the loop goes on beside thousands of jobs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Protocol

import trio

from checkers.kit import wire
from checkers.kit.frozen import frozen
from supervisor.children.allowance import gap_s

SLICE = 100
"""Jobs that are put into frames at one stroke: three milliseconds."""


class Jobs(Protocol):
    """Who knows what a worker shall check."""

    def numbers(self, index: int) -> Collection[int]:
        """Return the jobs of worker INDEX now."""

    def job(self, number: int) -> wire.Job | None:
        """Return a job with the health that the director believes; None: nobody wants it any more."""

    def rate_max(self) -> int:
        """Return the most probes a second of one address and port; 0: no limit."""


@frozen
class Assignment:
    """The jobs, the shortest time between two probes of each (seconds), and the frames that say so, once."""

    jobs: tuple[int, ...]
    gaps_s: tuple[float, ...]
    rate_max: int
    frames: Iterator[bytes]


async def assemble(
    jobs: Jobs, index: int, epoch: int, generation: int, complain: Callable[[wire.Job, str], None]
) -> Assignment:
    """Put together what worker INDEX shall check. `complain` is told of a job that fits no frame, and why; it stays unchecked."""
    parcel, rate_max = wire.Parcel(), jobs.rate_max()
    packed: list[int] = []
    gaps_s: list[float] = []
    for count, number in enumerate(tuple(jobs.numbers(index)), 1):
        job = jobs.job(number)
        if job is not None:  # else it left meanwhile, and another assignment will follow
            try:
                parcel.add(job)
            except wire.WireError as error:
                complain(job, str(error))
            else:
                packed.append(number)
                gaps_s.append(gap_s(job))
        if count % SLICE == 0:
            await trio.lowlevel.checkpoint()
    return Assignment(tuple(packed), tuple(gaps_s), rate_max, parcel.frames(epoch, generation, rate_max))
