"""Where the connections of a worker are watched, TCP and UDP, with an absolute deadline and cheap enough for thousands of probes a second.

Each trick is measured in performance.md: one nested epoll that trio watches as a single descriptor, edge-triggered, one registration
for each socket; one alarm of a shared timer for time-outs instead of a cancel scope for each probe; a reset instead of a farewell when
the verdict is known, so that no TIME_WAIT is left (a server that counts resets as errors will see them).

**Am I slow, or is the server?** A time-out is evidence only when this process was there to hear the answer. When a
deadline passes, the dialer first takes a second look at the socket, because CPython's epoll may return nothing though data
is ready when the process was stopped meanwhile; what is there then still counts. Then it adds up how long the process did not
run during the probe (`kit.punctuality`); more than a tenth of the limit, and the time-out is *late*: inconclusive, to be repeated
(reliability.md, section 7). Must never decide about a server otherwise, and must never resolve a name.
"""

from __future__ import annotations

import itertools
import select
from math import inf
from typing import NoReturn, Protocol

import trio
from trio.lowlevel import Task, current_statistics, reschedule, wait_readable

from checkers.kit.api import Favours
from checkers.kit.deadlines import Deadlines
from checkers.kit.dialer import SocketDialer
from checkers.kit.favours import NO_FAVOURS
from checkers.kit.gate import Gate
from checkers.kit.punctuality import NO_MARK, Punctuality, RunQueue, suspended_s
from checkers.kit.spares import Spares
from checkers.kit.timer import Timer, meeting_before

KEPT_MAX = 256
"""So many connections are kept between probes when nobody says otherwise. Ours: a quarter of the usual 1,024 descriptors."""

EVENTS_AT_ONCE = 128
"""Of so many sockets is told between two turns of the loop. Ours: to close a sentinel takes 40 µs, and a thousand may end at once."""


STAY_S = 0.001
"""So long a tick waits for the next answer to the glances that it began. Ours: in a data centre most come within that."""

STAY_MAX_S = 0.005
"""So long it waits for all of them: nothing else is done meanwhile, and a tenth of its pause is no delay that anybody sees."""

TICKS_AWAY = 20
"""So many ticks do not wait after one that waited in vain: the servers are further away."""


class Watched(Protocol):
    """What has a socket in the epoll."""

    def wake(self, events: int) -> None:
        """Take note of what the kernel told of the socket."""


class Network:
    """The nested epoll, its task, and the gate. `dialer` is what `kit.worker.main` wants as `make_dialer`."""

    def __init__(self, timer: Timer, punctuality: Punctuality | None = None, kept_max: int = KEPT_MAX) -> None:
        """`punctuality` is what `run` keeps looking; None: one that knows this process.

        At most `kept_max` connections are kept between probes; `kept` is how many there are. The timer calls us after each tick.
        """
        self.timer = timer
        self.kept = 0
        self.kept_max = kept_max
        self.called = False  # a task, which waits for its turn now
        self._next_stay = 0  # the tick that may wait again
        timer.afterwards = self._stay
        self.punctuality = Punctuality(RunQueue().waited_s, suspended_s) if punctuality is None else punctuality
        self.epoll = select.epoll()
        self.connections: dict[int, Watched] = {}
        self.spares = Spares()
        self.gate = Gate(timer)
        self._deadlines: dict[float, Deadlines] = {}  # by their limit
        self._dialers = itertools.count()
        # what `punctuality` had counted when a probe began last: those of a tick begin together, and to ask takes a system call
        self.marked_at = -inf
        self.marked = NO_MARK
        self.heard_at = -inf  # what the kernel told last

    def dialer(self, limit_s: float, favours: Favours = NO_FAVOURS) -> SocketDialer:
        """Return the dialer of one job, or of one probe, whose connections may last `limit_s` seconds each."""
        deadlines = self._deadlines.get(limit_s)
        if deadlines is None:
            deadlines = self._deadlines[limit_s] = Deadlines(self.timer, limit_s)
            self.gate.busy_s = min(self.gate.busy_s, limit_s)
        return SocketDialer(self, deadlines, favours, next(self._dialers))

    def mark(self, now: float) -> None:
        """A probe begins at `now`."""
        self.marked_at, self.marked = now, self.punctuality.mark(now)

    async def run(self) -> NoReturn:
        """Watch the sockets until cancelled. The timer must run too."""
        self._pulse(self.punctuality.begin(trio.current_time()))
        fd = self.epoll.fileno()
        try:
            while True:
                await wait_readable(fd)
                self.look(EVENTS_AT_ONCE)  # what is left keeps the epoll readable
        finally:
            self.epoll.close()
            self.spares.close()

    def _pulse(self, due: float) -> None:
        """Have the timer look before `due` and ever after whether it is punctual."""
        self.timer.call_at(meeting_before(due), lambda: self._pulse(self.punctuality.look(trio.current_time())))

    def _stay(self) -> None:
        """Wait a moment for the answers to the glances of this tick, as long as there is nothing else that a task would have to do.

        Each handful of them would be a turn of trio's loop, which costs more than to hear them out.
        """
        ticks, busy = self.timer.ticks, self.gate.busy
        if ticks < self._next_stay or not busy or current_statistics().tasks_runnable:
            return
        end = trio.current_time() + STAY_MAX_S
        self._next_stay = ticks + TICKS_AWAY
        self.called = False
        while self.look(EVENTS_AT_ONCE, STAY_S):
            self._next_stay = ticks + 1
            if not busy or self.called or self.heard_at >= end:
                break

    def call(self, task: Task) -> None:
        """Have a task go on."""
        self.called = True
        reschedule(task)

    def look(self, most: int = 0, patience_s: float = 0.0) -> int:
        """Hand out what the kernel has to tell now, or within `patience_s`, of at most so many sockets (0: of all); return of how many."""
        connections = self.connections
        told = self.epoll.poll(patience_s, most or len(connections) + 1)
        self.heard_at = trio.current_time()
        for fd, events in told:
            connection = connections.get(fd)
            if connection is not None:
                connection.wake(events)
        return len(told)
