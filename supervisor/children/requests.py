"""Probes on request that one worker was asked for, and what they allow it meanwhile.

A worker answers for what it was asked and for nothing else. A job that is probed beside its schedule may ask a second favour at once,
and its script may run once more than the schedule wants: that probe must not hold up the schedule's own. Whoever asked may have
gone; what was asked is remembered until it is answered or the worker is gone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import trio

from checkers.kit import wire
from supervisor.children.keeper import ProtocolBroken

UNANSWERED_MAX = 16
"""Requests of one worker without an answer; whoever wants more at once has to come again."""


class TooMany(Exception):
    """As many probes are under way on request as may be."""


class Request:
    """One request. `answer` None once it is `over`: nobody can tell."""

    __slots__ = ("answer", "job", "over")

    def __init__(self, job: int) -> None:
        self.job = job
        self.over = trio.Event()
        self.answer: wire.Probed | None = None


class Requests:
    """The requests to one worker."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._open: dict[int, Request] = {}
        self._unsent: list[int] = []
        self._probed: set[int] = set()  # jobs that this incarnation has probed on request
        self._scripts: set[int] = set()  # jobs whose script may run once beside its schedule

    def add(self, job: int) -> Request:
        """Take one more. Raises TooMany."""
        if len(self._open) >= UNANSWERED_MAX:
            raise TooMany(f"{UNANSWERED_MAX} probes are under way on request already")
        number = next(self._numbers) & 0xFFFF_FFFF
        request = self._open[number] = Request(job)
        self._unsent.append(number)
        return request

    def unsent(self) -> Iterator[tuple[int, int]]:
        """Yield number and job of each that the worker does not know of, to be sent at once."""
        while self._unsent:
            number = self._unsent.pop(0)
            job = self._open[number].job
            self._probed.add(job)
            self._scripts.add(job)
            yield number, job

    def answered(self, frame: wire.Probed) -> None:
        """Take an answer in. Raises ProtocolBroken for one that nobody asked for."""
        request = self._open.get(frame.number)
        if request is None or request.job != frame.job or frame.number in self._unsent:
            raise ProtocolBroken(f"answered request {frame.number} for job {frame.job}, which was not made")
        del self._open[frame.number]
        request.answer = frame
        request.over.set()

    def beside(self, job: int) -> int:
        """Return how many favours a job may have under way beside its schedule's."""
        return int(job in self._probed)

    def takes_script(self, job: int) -> bool:
        """Tell whether a job's script may run now whatever its schedule says. True once for each request."""
        if job not in self._scripts:
            return False
        self._scripts.remove(job)
        return True

    def clear(self) -> None:
        """The incarnation is over: nobody answers any more."""
        for request in self._open.values():
            request.over.set()
        self._open.clear()
        self._unsent.clear()
        self._probed.clear()
        self._scripts.clear()
