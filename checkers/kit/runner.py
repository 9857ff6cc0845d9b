"""One job of a worker: its place in time, its state, and what was told of it. Made and run by `kit.worker`."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from types import MethodType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import trio

from checkers.kit.api import Answer, Favour, Glance, MakeDialer, Reason, Verdict
from checkers.kit.favours import Desk, JobFavours
from checkers.kit.frames import StateEntry
from checkers.kit.job import Job
from checkers.kit.schedule import CheckState
from checkers.kit.spread import NOWHERE, Booking
from checkers.kit.timer import Doze, Timer
from checkers.kit.turns import Turns
from checkers.kit.urgency import Hint, Urgency

if TYPE_CHECKING:
    from checkers.kit.sentinel import Sentinel

Probe: TypeAlias = Coroutine[Any, Any, Verdict]

COUNTED: Callable[[float], None] = lambda _: None  # noqa: E731  nothing is usual yet
NOT_PREPARED = object()
"""Stands where a checker has not seen the options yet."""


class Probing(NamedTuple):
    """What is done with a runner: begin a probe; begin one at a glance, if it can; take in how that went. `desk` is where it asks."""

    begin: Callable[[Runner], Probe]
    glance: Callable[[Runner, float], bool]
    glanced: Callable[[Runner, Verdict | None, float], None]
    desk: Desk


class Runner(Doze):
    """One job with its task and its state.

    It is the alarm of its next probe (`due`), and what its dialer asks for favours (kit.api.Favours).
    """

    __slots__ = (
        "_probing",
        "_scope",
        "began",
        "booking",
        "count_usual",
        "dial",
        "due_by",
        "glances",
        "gone",
        "hint",
        "job",
        "last_connect_error",
        "last_expires_at",
        "last_reason",
        "longest_s",
        "looking",
        "naps",
        "paced",
        "prepared",
        "probes",
        "sentinel",
        "state",
        "target",
        "turns",
        "urgency",
        "usual",
    )

    def __init__(
        self,
        job: Job,
        make_dialer: MakeDialer,
        probing: Probing,
        naps: int,
        timer: Timer,
    ) -> None:
        super().__init__(timer)
        self.job = job
        self._probing = probing
        self.naps = naps  # of this process that were taken into account
        self.target = job.target
        self.dial = make_dialer(job.connect_timeout, self)
        self.state = CheckState(job, job.health, job.weight)
        self.gone = False  # nobody wants it any more
        self._scope: trio.CancelScope | None = None  # of its task while that is awake
        self.longest_s = longest(job)
        self.probes = 0  # that are done
        self.booking: Booking = NOWHERE  # of the next probe, while it is waited for
        self.due_by = 0.0  # after this its next start or end is overdue
        # the last verdict, of a check that is up and well, and may be looked at a glance: once more, and it says nothing new
        self.usual: Verdict | None = None
        self.count_usual = COUNTED  # counts one of those, given its duration
        self.last_reason = Reason.NONE  # of the last report
        self.last_connect_error = ""  # in it: what a connection failed of
        self.last_expires_at = 0.0  # in it: the end of the certificate
        self.looking = False  # a probe is under way
        self.began = math.nan  # of the latest probe
        self.prepared: object = NOT_PREPARED
        self.glances = False  # its checker knows how a probe goes if nothing happens
        self.paced = False  # others probe its target, too, or it has a limit: a probe needs a turn (kit.pacing)
        self.turns: Turns | None = None  # of a check whose requests are made one by one
        self.urgency = Urgency(job.health, fast_retry=job.fast_retry)
        self.sentinel: Sentinel | None = None  # what watches its target; others may be watched by it, too
        self.hint = Hint.NONE  # that nobody has acted on yet

    def stay(self, job: Job) -> None:
        """A new assignment has the same job, perhaps under another number. (An equal one is not kept beside that of the state.)"""
        self.job = job if job.id != self.job.id else self.job
        self.state.idle = False

    def _number(self) -> int:
        """Return the job's present number."""
        return self.job.id

    async def socket(self, favour: Favour) -> int:
        """See `kit.api.Favours.socket`."""
        return await self._favours().socket(favour)

    async def answer(self, favour: Favour) -> Answer:
        """See `kit.api.Favours.answer`."""
        return await self._favours().answer(favour)

    def _favours(self) -> JobFavours:
        return JobFavours(self._probing.desk, self._number, self.job.connect_timeout)

    def probe(self) -> Probe:
        """Begin a probe."""
        return self._probing.begin(self)

    def look_out(self, glance: Glance) -> None:
        """From now on nothing happens as long as probes go like that."""
        self.glances = True
        # bound to this one as methods are: a partial takes more memory, and a method that hands on takes a call each time
        self.dial.acquaint(self.target, glance, MethodType(self._probing.glanced, self))

    def ring(self, now: float) -> None:
        """See `kit.timer.Alarm.ring`: the next probe is due."""
        if not self._probing.glance(self, now):
            self.wake()

    def rest(self) -> Coroutine[Any, Any, object]:
        """Sleep until the next probe is due, or a sentinel brings it forward. Gives others a turn."""
        self._scope = None
        if self._is_hastened() or self.urgency.at_once:
            return trio.lowlevel.checkpoint()  # and no tick  # noqa: ASYNC105  it is for the caller to await
        self.hint = Hint.NONE
        return self.until(self.due)

    def heed(self) -> bool:
        """Return whether somebody waits for the next probe; if a sentinel saw something, it is due now. For after a rest."""
        hastened, self.hint = self._is_hastened(), Hint.NONE
        if hastened:
            self.due = min(self.due, trio.current_time())
        return hastened or self.urgency.at_once

    def awake(self) -> trio.CancelScope:
        """Return the scope of what its task does now. (None has one while it sleeps: that would take 700 bytes.)"""
        self._scope = scope = trio.CancelScope()
        return scope

    def leave(self) -> None:
        """Nobody wants it any more: have its task end, whatever it does now."""
        self.gone = True
        if self._scope is not None:
            self._scope.cancel()
        self.wake()

    def hasten(self, hint: Hint) -> None:
        """A sentinel saw something: bring the next probe forward, unless that would shorten a pause between retries."""
        self.hint = max(self.hint, hint)
        if self.urgency.hastens(hint, self.state.health, self.state.failures):
            self.hurry()

    def _is_hastened(self) -> bool:
        """Tell whether a sentinel saw something that brings the next probe forward."""
        return self.hint is not Hint.NONE and self.urgency.hastens(self.hint, self.state.health, self.state.failures)

    def was_told(self, verdict: Verdict) -> bool:
        """Tell whether the last report said the same.

        What a connection failed of is news by itself: a host that refuses is another matter than one that nobody reaches
        (supervisor.core.badness), and both have one reason. Other details may be different each time.
        """
        return (
            verdict.reason is self.last_reason
            and verdict.expires_at == self.last_expires_at
            and (verdict.reason is not Reason.L4CON or verdict.detail == self.last_connect_error)
        )

    def tell(self, verdict: Verdict) -> None:
        """Note that this is what is reported."""
        self.last_reason, self.last_expires_at = verdict.reason, verdict.expires_at
        self.last_connect_error = verdict.detail if verdict.reason is Reason.L4CON else ""

    def entry(self) -> StateEntry:
        """Return the present level."""
        state = self.state
        return StateEntry(self.job.id, state.health, state.edges, state.failures, state.weight, self.probes)


def longest(job: Job) -> float:
    """Return how long a probe of `job` may take, in seconds: each of its connections has its own limit, a kept one before a fresh one."""
    several = not job.options.get("urls_one_by_one") and job.options.get("url")
    each = 2 if job.options.get("http_keepalive") else 1
    return job.connect_timeout * each * (len(several) if isinstance(several, list) else 1)
