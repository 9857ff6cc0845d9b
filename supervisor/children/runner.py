"""The conversation with the runner: programs of the operator go out, how they ended comes back.

    ended = await runner.run(script, {"VIPERVISOR_EVENT": "…"}, timeout_s=60)      # never raises for what a program does
    running = runner.begin(script, environment, timeout_s)                        # the same in two steps, begun at once and in order

Starts with the first call to `require`; until then there is no process. At most `RUNNING_MAX` programs are with the runner at once, the
others wait here, in order; so what it is given always begins at once. One that says nothing of a program long after its limit is broken,
and so is one that says nothing at all for `SILENCE_MAX_S`, unless it waits for a processor all the time. Programs that were with a runner
that died are answered with RUNNER_LOST: whether they ran is not known.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias, assert_never

import trio

from checkers.kit.link import Link, LinkError
from supervisor.children.keeper import Keeper, ProtocolBroken
from supervisor.children.patience import SILENCE_MAX_S, HelloPatience, first_word, patiently
from supervisor.children.spawn import Child, complain_of_cage
from supervisor.core.snapshot import WorkerView
from supervisor.log import Log
from supervisor.model import Script
from supervisor.runner.protocol import (
    LIMITS_MAX,
    RUNNING_MAX,
    Alive,
    Cancel,
    Ended,
    Hello,
    Outcome,
    ProtocolError,
    Run,
    decode_report,
    encode,
)

WAIT_MAX_S = 30.0
"""A program that no runner has taken for so long is given up: one is started again within seconds, or there is something wrong."""

KILL_AFTER_S = 2.0
"""Between SIGTERM and SIGKILL (the issue, "Notifications")."""

OVERDUE_S = 10.0
"""A runner that says nothing of a program for so long after it must be dead hangs itself."""

StartRunner: TypeAlias = Callable[[int], Awaitable[tuple[Child, Link]]]
"""Starts the runner in incarnation EPOCH."""


class Running:
    """A program that was begun. `ended` waits for its end, `cancel` asks for it."""

    def __init__(self, run: Run, runner: ScriptRunner) -> None:
        self.run = run
        self.begun_at = math.inf  # when it was given to the runner
        self._runner = runner
        self._over = trio.Event()
        self._ended: Ended | None = None

    async def ended(self) -> Ended:
        """Return how it ended. Cancelled, it cancels the program."""
        try:
            with trio.move_on_after(WAIT_MAX_S):
                await self._runner.taken(self)
            if self.begun_at == math.inf and self._ended is None:
                self._runner.give_up(self, Outcome.RUNNER_LOST, f"no runner took it within {WAIT_MAX_S:g} s")
            await self._over.wait()
        finally:
            if self._ended is None:
                self.cancel()
        assert self._ended is not None  # `_over` is set after it
        return self._ended

    def cancel(self) -> None:
        """End it early; returns at once."""
        self._runner.cancel(self)

    def finish(self, ended: Ended) -> None:
        """Its end is known."""
        if self._ended is None:
            self._ended = ended
            self._over.set()

    @property
    def due_at(self) -> float:
        """When the runner must have spoken of it."""
        limit = self.run.timeout_s
        return math.inf if limit is None else self.begun_at + LIMITS_MAX * limit + self.run.kill_after_s + OVERDUE_S


class ScriptRunner:
    """The runner: its conversation and what is known of it. One task runs `serve`; anybody calls `run`."""

    def __init__(
        self, start: StartRunner, log: Log, waited_s: Callable[[int], float | None] = lambda _pid: None
    ) -> None:
        """`waited_s` returns how long a process has waited for a processor so far, None when it cannot be known."""
        self.caged = ""
        self._log = log
        self._waited_s = waited_s
        self._ids = itertools.count(1)
        self._waiting: deque[Running] = deque()
        self._orders: deque[Cancel] = deque()
        self._with_runner: dict[int, Running] = {}
        self._stirred = trio.Event()
        self._moved = trio.Event()
        self._required = trio.Event()
        self._heard_at: float | None = None
        self._patience = HelloPatience()
        self._lag_s = 0.0
        self.keeper: Keeper[Link] = Keeper("runner", start, self._converse, log, self._lost)

    @property
    def required(self) -> bool:
        """Whether there is, or ought to be, a process."""
        return self._required.is_set()

    def require(self) -> None:
        """From now on a runner is needed."""
        self._required.set()

    async def serve(self) -> None:
        """Keep a runner alive, once it is required, until cancelled."""
        await self._required.wait()
        await self.keeper.run()

    async def run(
        self,
        script: Script,
        environment: Mapping[str, str],
        timeout_s: float | None,
        extra_arguments: Sequence[str] = (),
    ) -> Ended:
        """Run a program and return how it ended. `timeout_s` is its limit (None: none); cancelled, it is ended."""
        return await self.begin(script, environment, timeout_s, extra_arguments).ended()

    def begin(
        self,
        script: Script,
        environment: Mapping[str, str],
        timeout_s: float | None,
        extra_arguments: Sequence[str] = (),
    ) -> Running:
        """Begin a program at once, or as soon as there is room; programs begin in the order of these calls."""
        self.require()
        run = Run(
            id=next(self._ids),
            argv=(*script.argv, *extra_arguments),
            environment=tuple(environment.items()),
            user=script.user,
            group=script.group,
            timeout_s=timeout_s,
            kill_after_s=KILL_AFTER_S,
            secure=script.secure,
        )
        running = Running(run, self)
        try:
            encode(run)
        except ProtocolError as error:
            running.finish(Ended(run.id, Outcome.COULD_NOT_START, reason=f"it cannot be passed on: {error}"))
            return running
        self._waiting.append(running)
        self._stirred.set()
        return running

    async def taken(self, running: Running) -> None:
        """Wait until a program is with the runner."""
        while running in self._waiting:
            await self._moved.wait()

    def give_up(self, running: Running, outcome: Outcome, reason: str) -> None:
        """Let a program go that is not with the runner yet."""
        if running in self._waiting:
            self._waiting.remove(running)
            self._move()
        running.finish(Ended(running.run.id, outcome, reason=reason))

    def cancel(self, running: Running) -> None:
        """See `Running.cancel`."""
        number = running.run.id
        if number in self._with_runner:
            self._orders.append(Cancel(number))
            self._stirred.set()
        elif running in self._waiting:
            self.give_up(running, Outcome.CANCELLED, "it had not begun")

    async def drain(self, patience_s: float) -> None:
        """End every program and wait for that, at most `patience_s`."""
        for running in [*self._waiting, *self._with_runner.values()]:
            self.cancel(running)
        with trio.move_on_after(patience_s):
            while self._with_runner:
                await self._moved.wait()

    def view(self, now: float) -> WorkerView:
        """Return what observers may know of the runner."""
        return WorkerView(
            name="runner",
            pid=self.keeper.pid,
            restarts=self.keeper.restarts,
            age_s=None if self._heard_at is None else now - self._heard_at,
            loop_lag_s=self._lag_s,
            in_flight=len(self._with_runner),
            overdue=0,
            caged=self.caged,
        )

    # -- the conversation ----------------------------------------------------------------------------------------------

    async def _converse(self, link: Link, _epoch: int) -> None:
        """Speak with one incarnation until it is gone. Raises ProtocolBroken."""
        await self._greet(link)
        broken: ProtocolBroken | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._give, link)
            try:
                await self._listen(link)
            except ProtocolBroken as error:  # carried out of the nursery as itself, not in a group
                broken = error
            nursery.cancel_scope.cancel()
        if broken is not None:
            raise broken

    async def _greet(self, link: Link) -> None:
        report = _read(await first_word(lambda: _received(link), self._patience))
        if not isinstance(report, Hello):
            raise ProtocolBroken("expected a greeting")
        self.caged = report.caged
        self._log.emit(
            "worker.started",
            f"runner runs with {report.caged}",
            worker="runner",
            worker_pid=self.keeper.pid,
            caged=report.caged,
        )
        complain_of_cage("runner", report.caged, self._log)

    async def _give(self, link: Link) -> None:
        """Pass programs on while there is room, and the wishes to end them at once."""
        while True:
            self._stirred = trio.Event()
            try:
                while self._orders:
                    order = self._orders.popleft()
                    if order.id in self._with_runner:
                        await link.send(encode(order))
                while self._waiting and len(self._with_runner) < RUNNING_MAX:
                    running = self._waiting.popleft()
                    running.begun_at = trio.current_time()
                    self._with_runner[running.run.id] = running
                    self._move()
                    await link.send(encode(running.run))
            except LinkError:
                return  # it is gone; `_listen` sees that too
            if not self._orders and (not self._waiting or len(self._with_runner) >= RUNNING_MAX):
                await self._stirred.wait()

    async def _listen(self, link: Link) -> None:
        while True:
            data = await patiently(lambda: _received(link), SILENCE_MAX_S, lambda: self._waited_s(self.keeper.pid))
            if not data:
                return
            self._heard(_read(data))
            due_at = min((running.due_at for running in self._with_runner.values()), default=math.inf)
            if trio.current_time() >= due_at:
                raise ProtocolBroken("it says nothing of a program that must have ended")

    def _heard(self, report: Hello | Alive | Ended) -> None:
        self._heard_at = trio.current_time()
        match report:
            case Hello():
                raise ProtocolBroken("a second greeting")
            case Alive(lag_s):
                self._lag_s = lag_s
                return
            case Ended():
                pass
            case _:
                assert_never(report)
        running = self._with_runner.pop(report.id, None)
        if running is None:
            raise ProtocolBroken(f"it speaks of program {report.id}, which it was not given")
        running.finish(report)
        self._stirred.set()
        self._move()

    async def _lost(self) -> None:
        """The incarnation is over, and what was with it with it."""
        self.caged = ""
        self._lag_s = 0.0
        lost, self._with_runner = self._with_runner, {}
        self._orders.clear()
        for running in lost.values():
            running.finish(Ended(running.run.id, Outcome.RUNNER_LOST, reason="the runner was restarted"))

    def _move(self) -> None:
        moved, self._moved = self._moved, trio.Event()
        moved.set()


async def _received(link: Link) -> bytes:
    """Return the next message, b"" at the end. Raises ProtocolBroken for one that is too long."""
    try:
        return await link.receive()
    except LinkError as error:
        raise ProtocolBroken(str(error)) from error


def _read(data: bytes) -> Hello | Alive | Ended:
    """Raises ProtocolBroken."""
    if not data:
        raise ProtocolBroken("it ended before its greeting")
    try:
        return decode_report(data)
    except ProtocolError as error:
        raise ProtocolBroken(str(error)) from error
