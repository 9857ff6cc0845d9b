"""Sentinels: one idle TCP connection to each target, whose end tells at once that something may have happened there.

    sentinels = Sentinels(watch, timer, rng, max_files)
    nursery.start_soon(sentinels.run)
    sentinels.assign(runners)              # with each assignment: who is to be watched
    verdict = sentinels.weigh(runner, verdict, began)   # after each probe: might a sentinel be to blame?
    sentinels.judged(runner, verdict)      # when it was counted
    sentinels.counts()

A sentinel judges nobody: its end or reset brings the next probe of the target's jobs forward (`kit.urgency`), and only probes
count. One target has one sentinel, however many jobs probe it. It is opened after a probe succeeded and never tried while the server is
down. It ends without harm with every graceful reload; servers that close idle connections are learned (`kit.idling`).

It must be in nobody's way. Whether the server has a place for it beside others is tried before it stays (`kit.trial`), again after each
death of the server. And a probe that times out beside one has it closed: if that failure would take the server out, it is not
counted once but made again without the sentinel; where that one passes, there is none for a while. One lost packet is no reason: a server
whose queue is full answers nobody who wants to connect, and not the next probe either.

After an end two looks follow, because a dying kernel may take a connection before the listener is gone (performance.md: 7 in 1,000): the
sentinel is opened again after LOOKS_S, and the new one is itself the second look, for it is reset when the listener goes. A port
that refuses then is a hint again, the stronger one. Where none stands or can be opened, the last look is a probe.

Nothing here may cost the probes anything. A sentinel is no task: what the network tells of it is queued, and at most NEWS_AT_ONCE are
worked off between two turns of the loop; at most CONNECTING_MAX are being opened; none is opened beyond the descriptors that probes
could need, and when one of these lacks a descriptor all the same, half of the sentinels go.

A target with a mark or a source port of its own has none: a worker may not make the one, and the other would take the port of the probes.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, NoReturn, TypeAlias, assert_never

import trio

from checkers.kit.api import Health, Reason, SentinelState, Target, Verdict
from checkers.kit.excerpt import clip
from checkers.kit.idling import PAUSE_FIRST_S, PAUSE_MAX_S, SHORT_S
from checkers.kit.punctuality import Punctuality
from checkers.kit.runner import Runner
from checkers.kit.schedule import Random
from checkers.kit.sentinel import LIMIT_MAX_S, NOBODY, Phase, Sentinel
from checkers.kit.timer import Timer
from checkers.kit.trial import SYN_AGAIN_S, Outcome, Trial
from checkers.kit.urgency import Hint, is_refusal
from checkers.kit.watch import News, Watch

LOOKS_S = (0.02, 0.1)
"""When to look after an end, in seconds from it. Ours: a process that is killed has closed all it had within some milliseconds."""

LAST_LOOK_S = 1.0
"""When no new one stands, the server is probed once more after so long. Ours: a process with thousands of connections takes a second to
die, and its port takes connections meanwhile."""

LOOK_JITTER_S = 0.02
"""The first look comes so much later at most: a thousand ends at once are not a thousand connections at once."""

OPEN_WITHIN_S = 0.25
"""A sentinel is opened at a random time within this after the probe that succeeded. Ours: spread, and there long before the next one."""

CONNECTING_MAX = 64
"""Most sentinels that are being opened at once: half of the probes that may be busy (kit.gate.BURST_MAX)."""

OPENED_AT_ONCE = 16
"""So many are opened between two turns of the loop. Ours: each takes 100 µs, most of them in the kernel."""

NEWS_AT_ONCE = 64
"""So many ends are worked off before other tasks have their turn. Ours: 64 probes start in 3 ms."""

RESERVE_FILES = 128
"""Descriptors that no sentinel gets, beside one for each job: the link, the loop, certificates, two probes of one job."""

RELENT_S = 300.0
"""So long sentinels do with fewer after a probe had no descriptor. Ours: five minutes, as for a server that closes idle connections."""

KEEPALIVES_PER_S = 1000
"""So many sentinels are asked for a sign of life each second. Ours: 1,000 packets a second are 1 % of a processor; with more sentinels
each is asked less often, so that ten thousand cost the same and the silent end of a host shows after 12 s instead of 3."""

TIME_OUTS = frozenset({Reason.L4TOUT, Reason.L6TOUT, Reason.L7TOUT})
"""What a server that stands still looks like."""


class _Told:
    """What the network tells of one connection of a sentinel, the `number`-th. A partial of the same takes four times the memory."""

    __slots__ = ("_number", "_sentinel", "_sentinels")

    def __init__(self, sentinels: Sentinels, sentinel: Sentinel) -> None:
        self._sentinels = sentinels
        self._sentinel = sentinel
        self._number = sentinel.number

    def __call__(self, news: News) -> None:
        """Pass it on."""
        self._sentinels.tell(self._sentinel, self._number, news)


Deed: TypeAlias = Callable[["Sentinels", Sentinel], None]


class _Due:
    """What is to be done with a sentinel when its alarm goes off. As above."""

    __slots__ = ("_deed", "_sentinel", "_sentinels")

    def __init__(self, sentinels: Sentinels, sentinel: Sentinel, deed: Deed) -> None:
        self._sentinels = sentinels
        self._sentinel = sentinel
        self._deed = deed

    def __call__(self) -> None:
        """Do it; the alarm is of no use any more."""
        self._sentinel.alarm = None
        self._deed(self._sentinels, self._sentinel)


class Counts(NamedTuple):
    """What is to be told of all: `held`, `given_up` and `unaffordable` (there is no descriptor for them) now, `ended` since the start.

    Who is on trial is not held yet: nobody knows whether it may stay.
    """

    held: int
    ended: int
    given_up: int
    unaffordable: int


class Sentinels:
    """Those of one worker. Everything happens in its trio run."""

    def __init__(
        self,
        watch: Watch,
        timer: Timer,
        rng: Random,
        max_files: int = 0,
        changed: Callable[[Runner], None] = lambda _: None,
        punctuality: Punctuality | None = None,
    ) -> None:
        """`max_files`: descriptors that the process may have; 0: nobody counts them.

        `changed` is told whose sentinel was given up, or is fine again. `punctuality` is as for `kit.worker.main`.
        """
        self._punctuality = punctuality or Punctuality()
        self._changed = changed
        self._watch = watch
        self._timer = timer
        self._rng = rng
        self._max_files = max_files
        self._affordable: float = math.inf
        self._budget: float = math.inf
        self._relents = False
        self._sentinels: dict[Target, Sentinel] = {}
        self._news: deque[tuple[Sentinel, int, News]] = deque()  # at most two for each connection
        self._stirred = trio.Event()
        self._queue: deque[Sentinel] = deque()  # to be opened, when there is a place
        self._opening = 0
        self._trials = 0
        self._on_trial: set[Sentinel] = set()  # those that stand meanwhile
        self._open = 0  # connections, standing or being opened
        self._ended = 0
        self._given_up: set[Sentinel] = set()
        self._unaffordable: set[Sentinel] = set()

    async def run(self) -> NoReturn:
        """Work off what the network tells, until cancelled; then close everything."""
        try:
            while True:
                await self._stirred.wait()
                self._stirred = trio.Event()
                while self._news or (self._queue and self._has_place()):
                    for _ in range(min(NEWS_AT_ONCE, len(self._news))):
                        self._take(*self._news.popleft())
                    self._open_some()
                    await trio.lowlevel.checkpoint()
        finally:
            for sentinel in self._sentinels.values():
                self._leave(sentinel)

    def assign(self, runners: Sequence[Runner]) -> None:
        """Watch the targets of those `runners` that want it; each of all may need a descriptor for its probe."""
        self._affordable = max(0, self._max_files - RESERVE_FILES - len(runners)) if self._max_files else math.inf
        self._budget = self._affordable
        before, self._sentinels = self._sentinels, {}
        for sentinel in before.values():
            sentinel.jobs = []
            sentinel.limit_s = LIMIT_MAX_S
        for runner in runners:
            target = runner.target
            if not runner.job.sentinel or target.mark or target.bind_port:
                runner.sentinel = None
                continue
            kept = self._sentinels.get(target)
            if kept is None:
                kept = self._sentinels[target] = before.pop(target) if target in before else Sentinel(target)
            kept.jobs.append(runner)
            kept.limit_s = min(kept.limit_s, runner.job.connect_timeout)
            runner.sentinel = kept
            if kept.state is not SentinelState.FINE:
                self._changed(runner)  # who hears of an assignment knows nothing of what was told before it
        for gone in before.values():
            self._leave(gone)
        for watched in self._sentinels.values():
            if watched.suspicious:
                watched.suspicious = watched.suspicious.intersection(watched.jobs) or NOBODY
        self._keep_within_budget()

    def weigh(self, runner: Runner, verdict: Verdict, began: float) -> Verdict:
        """Return what a verdict counts for, of a probe that began at `began`: a time-out beside a sentinel may be its fault."""
        sentinel = runner.sentinel
        if sentinel is None or not verdict.conclusive:
            return verdict
        if runner in sentinel.suspicious:
            sentinel.suspicious = sentinel.suspicious - {runner} or NOBODY
            if verdict.ok and trio.current_time() >= sentinel.paused_until:
                self._give_up(sentinel, SentinelState.CROWDS, sentinel.room.doubted(sentinel.age_s))
            return verdict
        if verdict.reason not in TIME_OUTS or runner.state.health is Health.DOWN or _may_be_lost(runner, verdict):
            return verdict
        if not sentinel.stands and began >= sentinel.stood_until:
            return verdict
        sentinel.suspicious |= {runner}
        if sentinel.stands:
            sentinel.age_s = trio.current_time() - sentinel.connected_at
            self._release(sentinel)
            self._absent(sentinel)
        if not runner.state.last_chance:
            return verdict
        detail = clip(f"not counted, for an idle connection of ours was there: {verdict.detail}")
        return replace(verdict, reason=Reason.LATE, detail=detail)

    def judged(self, runner: Runner, verdict: Verdict) -> None:
        """Take note of a probe. A success has a sentinel opened that is not there; a removal by a refusal ends the looking for one."""
        sentinel = runner.sentinel
        if sentinel is None or sentinel.phase is Phase.HELD:
            return
        if verdict.ok:
            if sentinel.phase is Phase.ABSENT:
                self._plan(sentinel)
        elif runner.state.health is Health.DOWN and is_refusal(verdict):
            self._dead(sentinel)

    def relinquish(self) -> None:
        """A probe had no descriptor: half of the sentinels go, and stay away for RELENT_S."""
        if self._open:
            self._budget = min(self._budget, self._open // 2)
            self._keep_within_budget()
        if not self._relents:
            self._relents = True
            self._timer.call_at(trio.current_time() + RELENT_S, self._relent)

    def _relent(self) -> None:
        self._relents = False
        self._budget = self._affordable

    def counts(self) -> Counts:
        """Return what is to be told of all."""
        held = self._open - self._opening - len(self._on_trial)
        return Counts(held, self._ended, len(self._given_up), len(self._unaffordable))

    # -- opening -------------------------------------------------------------------------------------------------------

    def _plan(self, sentinel: Sentinel) -> None:
        """Have a sentinel opened in a moment, if it may be."""
        now = trio.current_time()
        if now < sentinel.paused_until or sentinel.suspicious:
            return
        if self._open >= self._budget:
            self._unaffordable.add(sentinel)
            return
        sentinel.phase = Phase.PLANNED
        self._set_alarm(sentinel, now + self._rng.uniform(0.0, OPEN_WITHIN_S), Sentinels._queue_up)

    def _queue_up(self, sentinel: Sentinel) -> None:
        self._queue.append(sentinel)
        self._stirred.set()

    def _open_some(self) -> None:
        """Open those that wait for it, as many as have a place; a port that refuses at once takes none, so also not too many."""
        for _ in range(OPENED_AT_ONCE):
            if not self._queue or not self._has_place():
                return
            sentinel = self._queue.popleft()
            if sentinel.held is None and sentinel.phase in {Phase.PLANNED, Phase.LOOKING, Phase.REOPENING}:
                self._begin(sentinel)

    def _has_place(self) -> bool:
        return self._opening + self._trials < CONNECTING_MAX

    def _begin(self, sentinel: Sentinel) -> None:
        if self._open >= self._budget:
            self._unaffordable.add(sentinel)
            sentinel.phase = Phase.ABSENT
            return
        self._unaffordable.discard(sentinel)
        sentinel.number += 1
        keepalive_s = 1 + len(self._sentinels) // KEEPALIVES_PER_S
        held = self._watch.hold(sentinel.target, sentinel.limit_s, keepalive_s, _Told(self, sentinel))
        if isinstance(held, News):
            self.tell(sentinel, sentinel.number, held)
            return
        sentinel.held = held
        sentinel.begun_at, sentinel.connected_at = trio.current_time(), math.inf
        self._open += 1
        self._opening += 1
        if sentinel.phase is Phase.PLANNED:
            sentinel.phase = Phase.OPENING

    def tell(self, sentinel: Sentinel, number: int, news: News) -> None:
        """Queue what the network tells of the `number`-th connection of a sentinel: thousands may be told of at once."""
        self._news.append((sentinel, number, news))
        self._stirred.set()

    # -- what the network tells ------------------------------------------------------------------------------------------

    def _take(self, sentinel: Sentinel, number: int, news: News) -> None:
        if number != sentinel.number or sentinel.phase is Phase.ABSENT:
            return
        if news is News.CONNECTED:
            self._connected(sentinel)
            return
        age_s = trio.current_time() - sentinel.connected_at
        self._drop(sentinel)
        match news:
            case News.REFUSED:
                self._dead(sentinel)
            case News.ENDED if sentinel.phase is Phase.HELD:
                self._ended += 1
                sentinel.age_s = age_s
                sentinel.phase = Phase.LOOKING
                pause_s = LOOKS_S[0] + self._rng.uniform(0.0, LOOK_JITTER_S)
                self._set_alarm(sentinel, trio.current_time() + pause_s, Sentinels._look)
                sentinel.hint(Hint.ENDED)
            case News.ENDED | News.FAILED if sentinel.phase is Phase.LOOKING:
                sentinel.hint(Hint.ENDED)  # the second look is to come
            case News.ENDED | News.FAILED if sentinel.phase is Phase.REOPENING:
                self._absent(sentinel)
                self._plan_last_look(sentinel)
            case News.LOST if sentinel.phase is Phase.HELD:
                self._ended += 1
                sentinel.room.unknown()
                self._absent(sentinel)
                sentinel.hint(Hint.ENDED)
            case News.NOISE:
                sentinel.habit.pause_s = PAUSE_MAX_S
                self._give_up(sentinel, SentinelState.TALKS, PAUSE_MAX_S)
            case _:
                if news is News.SHORT:
                    self._unaffordable.add(sentinel)
                self._absent(sentinel)

    def _connected(self, sentinel: Sentinel) -> None:
        sentinel.connected_at = trio.current_time()
        self._opening -= 1
        if sentinel.phase in {Phase.OPENING, Phase.REOPENING}:
            self._hold(sentinel)

    def _hold(self, sentinel: Sentinel) -> None:
        """It stands. Renew it before the server's limit; and take it for a lasting one when it has lasted."""
        sentinel.phase = Phase.HELD
        habit = sentinel.habit
        if habit.renew_after_s:
            due = sentinel.connected_at + habit.renew_after_s * self._rng.uniform(0.9, 1.0)
            self._set_alarm(sentinel, due, Sentinels._renew)
        else:
            self._set_alarm(sentinel, sentinel.connected_at + SHORT_S, Sentinels._lasted)
        if not sentinel.room.proven:
            self._try(sentinel)

    def _lasted(self, sentinel: Sentinel) -> None:
        sentinel.habit.lasted()
        self._given_up.discard(sentinel)
        self._state(sentinel, SentinelState.FINE)

    def _renew(self, sentinel: Sentinel) -> None:
        self._lasted(sentinel)
        self._drop(sentinel)
        sentinel.phase = Phase.PLANNED
        self._queue_up(sentinel)

    # -- its trial -------------------------------------------------------------------------------------------------------

    def _try(self, sentinel: Sentinel) -> None:
        """Ask whether the server has a place for others beside it."""
        self._trials += 1
        self._on_trial.add(sentinel)
        hold = functools.partial(self._watch.hold, sentinel.target, sentinel.limit_s, 1.0, leave=True)
        released = functools.partial(self._release, sentinel)
        ended = functools.partial(self._tried, sentinel)
        trip_s = sentinel.connected_at - sentinel.begun_at
        sentinel.trial = Trial(hold, self._timer, self._punctuality, released, ended, trip_s)
        sentinel.trial.begin()

    def _release(self, sentinel: Sentinel) -> None:
        """It may be in the way of others: close it."""
        self._close(sentinel)
        sentinel.phase = Phase.RELEASED
        sentinel.stood_until = trio.current_time()
        self._clear_alarm(sentinel)

    def _tried(self, sentinel: Sentinel, outcome: Outcome) -> None:
        self._stop_trial(sentinel)
        match outcome:
            case Outcome.FITS:
                sentinel.room.fits()
            case Outcome.CROWDS:
                self._give_up(sentinel, SentinelState.CROWDS, sentinel.room.crowded())
            case Outcome.MUTE:
                self._give_up(sentinel, SentinelState.MUTE, sentinel.room.crowded())
            case Outcome.NOTHING:
                sentinel.paused_until = trio.current_time() + PAUSE_FIRST_S
                self._absent(sentinel)
            case _:
                assert_never(outcome)

    def _stop_trial(self, sentinel: Sentinel) -> None:
        trial, sentinel.trial = sentinel.trial, None
        if trial is not None:
            trial.stop()
            self._trials -= 1
            self._on_trial.discard(sentinel)
            self._stirred.set()

    # -- after an end ----------------------------------------------------------------------------------------------------

    def _look(self, sentinel: Sentinel) -> None:
        """The first look: open it again."""
        due = trio.current_time() + LOOKS_S[1] - LOOKS_S[0]
        self._set_alarm(sentinel, due, Sentinels._look_again)
        self._queue_up(sentinel)

    def _look_again(self, sentinel: Sentinel) -> None:
        """The second look: does the new one still stand? Else open one more, and have it for the sentinel if it stands then."""
        if sentinel.phase is not Phase.LOOKING:
            return
        standing = sentinel.stands
        sentinel.habit.ended(sentinel.age_s, well=standing)
        if sentinel.habit.pause_s:
            self._give_up(sentinel, SentinelState.CLOSED if standing else SentinelState.ENDS, sentinel.habit.pause_s)
            if not standing:
                self._plan_last_look(sentinel)
        elif standing:
            self._hold(sentinel)
        else:
            sentinel.phase = Phase.REOPENING
            if sentinel.held is None:
                self._queue_up(sentinel)

    def _plan_last_look(self, sentinel: Sentinel) -> None:
        """The server that let none stand may be dying: have it probed once more."""
        self._set_alarm(sentinel, trio.current_time() + LAST_LOOK_S, Sentinels._look_for_the_last_time)

    def _look_for_the_last_time(self, sentinel: Sentinel) -> None:
        sentinel.hint(Hint.ENDED)

    def _dead(self, sentinel: Sentinel) -> None:
        """The port refuses: all jobs hear of it, nothing is tried until a probe succeeds, and who answers it may be somebody else."""
        if sentinel.phase is not Phase.ABSENT:
            sentinel.hint(Hint.REFUSED)  # nobody is to wait for the look that ends here
        sentinel.room.unknown()
        if sentinel.phase is Phase.LOOKING:
            sentinel.habit.ended(sentinel.age_s, well=False)
            if sentinel.habit.pause_s:
                self._give_up(sentinel, SentinelState.ENDS, sentinel.habit.pause_s)
                return
        self._absent(sentinel)

    def _give_up(self, sentinel: Sentinel, why: SentinelState, pause_s: float) -> None:
        sentinel.paused_until = trio.current_time() + pause_s
        self._given_up.add(sentinel)
        self._absent(sentinel)
        self._state(sentinel, why)

    def _state(self, sentinel: Sentinel, state: SentinelState) -> None:
        if state is not sentinel.state:
            sentinel.state = state
            for runner in sentinel.jobs:
                self._changed(runner)

    def _absent(self, sentinel: Sentinel) -> None:
        """There is none, and nothing is planned."""
        self._drop(sentinel)
        sentinel.phase = Phase.ABSENT
        self._clear_alarm(sentinel)

    def _drop(self, sentinel: Sentinel) -> None:
        """It is over, and its trial with it."""
        self._stop_trial(sentinel)
        self._close(sentinel)

    def _close(self, sentinel: Sentinel) -> None:
        """Close the connection, if there is one."""
        held, sentinel.held = sentinel.held, None
        sentinel.number += 1
        if held is None:
            return
        held.close()
        self._on_trial.discard(sentinel)
        self._open -= 1
        if sentinel.connected_at == math.inf:
            self._opening -= 1
            self._stirred.set()

    def _leave(self, sentinel: Sentinel) -> None:
        """Nobody wants it any more."""
        self._absent(sentinel)
        sentinel.jobs = []
        sentinel.suspicious = NOBODY
        self._given_up.discard(sentinel)
        self._unaffordable.discard(sentinel)

    def _keep_within_budget(self) -> None:
        surplus = self._open - self._budget
        for sentinel in self._sentinels.values():
            if surplus <= 0:
                return
            if sentinel.held is not None:
                self._absent(sentinel)
                self._unaffordable.add(sentinel)
                surplus -= 1

    def _set_alarm(self, sentinel: Sentinel, due: float, deed: Deed) -> None:
        self._clear_alarm(sentinel)
        sentinel.alarm = self._timer.call_at(due, _Due(self, sentinel, deed))

    @staticmethod
    def _clear_alarm(sentinel: Sentinel) -> None:
        if sentinel.alarm is not None:
            sentinel.alarm.cancel()
            sentinel.alarm = None


def _may_be_lost(runner: Runner, verdict: Verdict) -> bool:
    """Tell whether one lost packet explains a time-out, and the next may tell: then nobody is suspected yet.

    It is the first failure in a row, of a probe whose limit ends before a lost SYN is sent again, and the next would not take the server
    out: until then a sentinel that is in the way is gone, so that this costs nobody a probe more.
    """
    state, job = runner.state, runner.job
    no_second_syn = verdict.reason is Reason.L4TOUT and job.connect_timeout <= SYN_AGAIN_S
    return no_second_syn and not state.failures and state.retry_it + 1 < job.retry
