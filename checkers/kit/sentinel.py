"""Sentinels: one idle TCP connection to each target, whose end tells at once that something may have happened there.

    sentinels = Sentinels(watch, timer, rng, max_files)
    nursery.start_soon(sentinels.run)
    sentinels.assign(runners)              # with each assignment: who is to be watched
    sentinels.judged(runner, verdict)      # after each probe
    sentinels.counts()

A sentinel judges nobody: its end or reset brings the next probe of the target's jobs forward (`kit.urgency`), and only probes
count. One target has one sentinel, however many jobs probe it. It is opened after a probe succeeded and never tried while the server is
down. It ends without harm with every graceful reload; servers that close idle connections are learned (`kit.idling`).

After an end two looks follow, because a dying kernel may take a connection before the listener is gone (performance.md: 7 in 1,000): the
sentinel is opened again after LOOKS_S, and the new one is itself the second look, for it is reset when the listener goes. A port
that refuses then is a hint again, the stronger one.

Nothing here may cost the probes anything. A sentinel is no task: what the network tells of it is queued, and at most NEWS_AT_ONCE are
worked off between two turns of the loop; at most CONNECTING_MAX are being opened; none is opened beyond the descriptors that probes
could need, and when one of these lacks a descriptor all the same, half of the sentinels go.

A target with a mark or a source port of its own has none: a worker may not make the one, and the other would take the port of the probes.
"""

from __future__ import annotations

import enum
import functools
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn, Protocol

import trio

from checkers.kit.api import Health, SentinelState, Target, Verdict
from checkers.kit.idling import PAUSE_MAX_S, SHORT_S, Habit
from checkers.kit.runner import Runner
from checkers.kit.schedule import Random
from checkers.kit.timer import Alarm, Timer
from checkers.kit.urgency import Hint, is_refusal

LOOKS_S = (0.02, 0.1)
"""When to look after an end, in seconds from it. Ours: a process that is killed has closed all it had within some milliseconds."""

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

LIMIT_MAX_S = 2.0
"""Longest wait for a sentinel to be opened; a job's `connect_timeout` if that is shorter. Ours: a place is too good for a silent host."""

RESERVE_FILES = 128
"""Descriptors that no sentinel gets, beside one for each job: the link, the loop, certificates, two probes of one job."""

RELENT_S = 300.0
"""So long sentinels do with fewer after a probe had no descriptor. Ours: five minutes, as for a server that closes idle connections."""

KEEPALIVES_PER_S = 1000
"""So many sentinels are asked for a sign of life each second. Ours: 1,000 packets a second are 1 % of a processor; with more sentinels
each is asked less often, so that ten thousand cost the same and the silent end of a host shows after 12 s instead of 3."""

TIMES_SILENT = 3
"""So many signs of life may fail to come: two in a row are lost once in 2,500 s at 1 % loss, and cost a probe."""


class News(enum.Enum):
    """What the network tells of one connection that is held."""

    CONNECTED = "connected"
    REFUSED = "refused"
    FAILED = "failed"  # it could not be opened: time-out, unreachable, our own trouble
    SHORT = "short"  # we have no descriptor for it
    ENDED = "ended"  # closed or reset by the server
    LOST = "lost"  # nothing comes from there any more: keep-alive, ARP, ICMP
    NOISE = "noise"  # it talks and talks


class Held(Protocol):
    """One connection."""

    def close(self) -> None:
        """Close at once; nothing is told of it any more. May be called twice."""


class Watch(Protocol):
    """Where connections come from: `kit.held`, or a fake network."""

    def hold(self, target: Target, limit_s: float, keepalive_s: float, told: Callable[[News], None]) -> Held | News:
        """Begin to open a connection, within `limit_s`; return it, or why that failed at once.

        `told` hears CONNECTED or what came instead, and after CONNECTED how it ended; nothing is told after an end.
        Whether the host still lives is asked every `keepalive_s` seconds while nothing comes, TIMES_SILENT times.
        """


MakeWatch = Callable[[Timer], Watch]


class Phase(enum.Enum):
    """Where a sentinel is. ABSENT: until a probe succeeds. LOOKING: it has ended, and nobody knows why."""

    ABSENT = "absent"
    PLANNED = "planned"
    OPENING = "opening"
    HELD = "held"
    LOOKING = "looking"


class Sentinel:
    """The one of a target. `jobs` are whom its end concerns."""

    __slots__ = (
        "age_s",
        "alarm",
        "connected_at",
        "habit",
        "held",
        "jobs",
        "limit_s",
        "number",
        "paused_until",
        "phase",
        "state",
        "target",
    )

    def __init__(self, target: Target) -> None:
        self.target = target
        self.jobs: list[Runner] = []
        self.phase = Phase.ABSENT
        self.habit = Habit()
        self.held: Held | None = None
        self.number = 0  # of the connection: what is told of an earlier one is old
        self.alarm: Alarm | None = None
        self.connected_at = math.inf
        self.age_s = 0.0  # of the one that ended
        self.limit_s = LIMIT_MAX_S
        self.paused_until = -math.inf
        self.state = SentinelState.FINE

    def hint(self, hint: Hint) -> None:
        """Tell the jobs."""
        for runner in self.jobs:
            runner.hasten(hint)


class Counts(NamedTuple):
    """What is to be told of all: `held`, `given_up` and `unaffordable` (there is no descriptor for them) now, `ended` since the start."""

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
    ) -> None:
        """`max_files`: descriptors that the process may have; 0: nobody counts them.

        `changed` is told whose sentinel was given up, or is fine again.
        """
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
                while self._news or (self._queue and self._opening < CONNECTING_MAX):
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
        self._keep_within_budget()

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
        return Counts(self._open - self._opening, self._ended, len(self._given_up), len(self._unaffordable))

    # -- opening -------------------------------------------------------------------------------------------------------

    def _plan(self, sentinel: Sentinel) -> None:
        """Have a sentinel opened in a moment, if it may be."""
        now = trio.current_time()
        if now < sentinel.paused_until:
            return
        if self._open >= self._budget:
            self._unaffordable.add(sentinel)
            return
        sentinel.phase = Phase.PLANNED
        self._set_alarm(sentinel, now + self._rng.uniform(0.0, OPEN_WITHIN_S), self._queue_up)

    def _queue_up(self, sentinel: Sentinel) -> None:
        self._queue.append(sentinel)
        self._stirred.set()

    def _open_some(self) -> None:
        """Open those that wait for it, as many as have a place; a port that refuses at once takes none, so also not too many."""
        for _ in range(OPENED_AT_ONCE):
            if not self._queue or self._opening >= CONNECTING_MAX:
                return
            sentinel = self._queue.popleft()
            if sentinel.held is None and sentinel.phase in {Phase.PLANNED, Phase.LOOKING}:
                self._begin(sentinel)

    def _begin(self, sentinel: Sentinel) -> None:
        if self._open >= self._budget:
            self._unaffordable.add(sentinel)
            sentinel.phase = Phase.ABSENT
            return
        self._unaffordable.discard(sentinel)
        sentinel.number += 1
        told = functools.partial(self._tell, sentinel, sentinel.number)
        keepalive_s = 1 + len(self._sentinels) // KEEPALIVES_PER_S
        held = self._watch.hold(sentinel.target, sentinel.limit_s, keepalive_s, told)
        if isinstance(held, News):
            self._tell(sentinel, sentinel.number, held)
            return
        sentinel.held = held
        sentinel.connected_at = math.inf
        self._open += 1
        self._opening += 1
        if sentinel.phase is Phase.PLANNED:
            sentinel.phase = Phase.OPENING

    def _tell(self, sentinel: Sentinel, number: int, news: News) -> None:
        """Queue what the network tells: thousands may be told of at once."""
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
                sentinel.hint(Hint.REFUSED)
                self._dead(sentinel)
            case News.ENDED if sentinel.phase is Phase.HELD:
                self._ended += 1
                sentinel.age_s = age_s
                sentinel.phase = Phase.LOOKING
                pause_s = LOOKS_S[0] + self._rng.uniform(0.0, LOOK_JITTER_S)
                self._set_alarm(sentinel, trio.current_time() + pause_s, self._look)
                sentinel.hint(Hint.ENDED)
            case News.ENDED if sentinel.phase is Phase.LOOKING:
                sentinel.hint(Hint.ENDED)  # the second look is to come
            case News.LOST if sentinel.phase is Phase.HELD:
                self._ended += 1
                self._absent(sentinel)
                sentinel.hint(Hint.ENDED)
            case News.NOISE:
                sentinel.habit.pause_s = PAUSE_MAX_S
                self._give_up(sentinel, SentinelState.TALKS)
            case _:
                if news is News.SHORT:
                    self._unaffordable.add(sentinel)
                self._absent(sentinel)

    def _connected(self, sentinel: Sentinel) -> None:
        sentinel.connected_at = trio.current_time()
        self._opening -= 1
        if sentinel.phase is Phase.OPENING:
            self._hold(sentinel)

    def _hold(self, sentinel: Sentinel) -> None:
        """It stands. Renew it before the server's limit; and take it for a lasting one when it has lasted."""
        sentinel.phase = Phase.HELD
        habit = sentinel.habit
        if habit.renew_after_s:
            due = sentinel.connected_at + habit.renew_after_s * self._rng.uniform(0.9, 1.0)
            self._set_alarm(sentinel, due, self._renew)
        else:
            self._set_alarm(sentinel, sentinel.connected_at + SHORT_S, self._lasted)

    def _lasted(self, sentinel: Sentinel) -> None:
        sentinel.habit.lasted()
        self._given_up.discard(sentinel)
        self._state(sentinel, SentinelState.FINE)

    def _renew(self, sentinel: Sentinel) -> None:
        self._lasted(sentinel)
        self._drop(sentinel)
        sentinel.phase = Phase.PLANNED
        self._queue_up(sentinel)

    # -- after an end ----------------------------------------------------------------------------------------------------

    def _look(self, sentinel: Sentinel) -> None:
        """The first look: open it again."""
        due = trio.current_time() + LOOKS_S[1] - LOOKS_S[0]
        self._set_alarm(sentinel, due, self._look_again)
        self._queue_up(sentinel)

    def _look_again(self, sentinel: Sentinel) -> None:
        """The second look: does the new one still stand? Else open one more, and have it for the sentinel if it stands then."""
        if sentinel.phase is not Phase.LOOKING:
            return
        standing = sentinel.held is not None and sentinel.connected_at < math.inf
        sentinel.habit.ended(sentinel.age_s, well=standing)
        if sentinel.habit.pause_s:
            self._give_up(sentinel, SentinelState.CLOSED if standing else SentinelState.ENDS)
        elif standing:
            self._hold(sentinel)
        elif sentinel.held is not None:
            sentinel.phase = Phase.OPENING
        else:
            sentinel.phase = Phase.PLANNED
            self._queue_up(sentinel)

    def _dead(self, sentinel: Sentinel) -> None:
        """The port refuses: nothing is tried until a probe succeeds."""
        if sentinel.phase is Phase.LOOKING:
            sentinel.habit.ended(sentinel.age_s, well=False)
            if sentinel.habit.pause_s:
                self._give_up(sentinel, SentinelState.ENDS)
                return
        self._absent(sentinel)

    def _give_up(self, sentinel: Sentinel, why: SentinelState) -> None:
        sentinel.paused_until = trio.current_time() + sentinel.habit.pause_s
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
        if sentinel.alarm is not None:
            sentinel.alarm.cancel()
            sentinel.alarm = None

    def _drop(self, sentinel: Sentinel) -> None:
        """Close the connection, if there is one."""
        held, sentinel.held = sentinel.held, None
        sentinel.number += 1
        if held is None:
            return
        held.close()
        self._open -= 1
        if sentinel.connected_at == math.inf:
            self._opening -= 1
            self._stirred.set()

    def _leave(self, sentinel: Sentinel) -> None:
        """Nobody wants it any more."""
        self._absent(sentinel)
        sentinel.jobs = []
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

    def _set_alarm(self, sentinel: Sentinel, due: float, deed: Callable[[Sentinel], None]) -> None:
        if sentinel.alarm is not None:
            sentinel.alarm.cancel()
        sentinel.alarm = self._timer.call_at(due, functools.partial(deed, sentinel))
