"""The operator's verbs about the kernel's table as a whole: sync, pause, resume.

    sync    {"dry_run": true}                      read the table now, say what is not as wanted, put it right
    pause   {"reason": TEXT, "for_s": 3600}        change nothing in the kernel until resumed, or the time is over
    resume  {}                                     go on: what changed meanwhile is written at once

While writes are paused everything else goes on: checks, decisions, logs, readings of the table. What the core wants and the kernel has
drift apart meanwhile, and everybody is told so: log (again every REMINDER_S), metric, `systemctl status`, status. A pause outlives a
restart of the program in the same boot, and not the machine's: a director that comes up with an empty table must not leave it so. A stop
while paused leaves the table as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import trio

from supervisor import selection
from supervisor.admin.access import Caller
from supervisor.admin.desk import Verb
from supervisor.admin.protocol import RequestError, Status
from supervisor.core.differences import told
from supervisor.core.pause import Pause
from supervisor.core.snapshot import PauseView
from supervisor.core.table import Op, Table
from supervisor.log import Log
from supervisor.wording import lasting

FOR_MAX_S = 7 * 86400.0
"""The longest pause with an end: a week. A director whose table is frozen longer is none any more."""

REMINDER_S = 900.0
"""How often the log says that writes are still paused."""

READ_MAX_S = 5.0
"""How long a sync waits for a reading of the whole table, and for the kernel to be as wanted afterwards."""

SHOWN_MAX = 200
"""Differences that are told one by one; the rest is a number."""


class KeepsTable(Protocol):
    """The writer, as far as these verbs go."""

    def freeze(self) -> None:
        """Write nothing from now on."""

    def thaw(self) -> None:
        """Write again."""

    async def read_now(self, timeout_s: float) -> bool:
        """Read the whole table and compare; tell whether it came to that in time."""

    def differences(self) -> list[Op]:
        """Return what would make the kernel, as last read, what is wanted."""

    def insist(self) -> None:
        """Put everything right that is not as wanted, also what was to stand."""

    @property
    def table(self) -> Table:
        """The kernel's table as last read."""


class KernelOrders:
    """Carries the verbs out, and owns the pause. `log` is told of it; `note`: there is something to remember."""

    def __init__(self, writer: KeepsTable, log: Log, note: Callable[[], None]) -> None:
        self._writer = writer
        self._log = log
        self._note = note
        self._changed = trio.Event()
        self.pause: Pause | None = None

    def verbs(self) -> dict[str, Verb]:
        """Return every verb by its name."""
        return {
            "sync": Verb(self._sync, limit_s=4 * READ_MAX_S),
            "pause": Verb(self._pause),
            "resume": Verb(self._resume),
        }

    def inherit(self, pause: Pause | None, now: float) -> None:
        """Take over the pause of the run before, if it has not ended meanwhile."""
        if pause is not None and pause.until > now:
            self._begin(pause, "It was asked for before this start.")

    async def may_write(self) -> None:
        """Wait while there is a pause."""
        while self.pause is not None:
            await self._changed.wait()

    async def run(self) -> None:
        """End the pause when its time is over, and remind of one that goes on; until cancelled."""
        while True:
            self._changed = trio.Event()
            pause, now = self.pause, trio.current_time()
            if pause is not None and pause.until <= now:
                self._end("its time is over", "")
                continue
            with trio.move_on_at(math.inf if pause is None else min(pause.until, now + REMINDER_S)):
                await self._changed.wait()
                continue
            if pause is not None and trio.current_time() < pause.until:
                self._tell(pause, "It goes on.")

    def view(self, now: float) -> PauseView | None:
        """Return what observers may know."""
        pause = self.pause
        if pause is None:
            return None
        ends_s = None if pause.until == math.inf else max(pause.until - now, 0.0)
        return PauseView(pause.by, pause.reason, now - pause.since, ends_s)

    # -- the verbs -----------------------------------------------------------------------------------------------------

    async def _sync(self, args: dict[str, Any], _caller: Caller) -> Any:
        dry_run = selection.yes(args, "dry_run")
        if self.pause is not None and not dry_run:
            raise RequestError(
                f"writes are paused by {self.pause.by}; say resume first, or sync --dry-run", Status.REFUSED
            )
        if not await self._writer.read_now(READ_MAX_S):
            raise RequestError("the kernel's table cannot be read now; the log says why", Status.TIMEOUT)
        found = self._writer.differences()
        before = self._writer.table
        left = found
        if found and not dry_run:
            self._writer.insist()
            if await self._writer.read_now(READ_MAX_S):
                left = self._writer.differences()
        return {
            "dry_run": dry_run,
            "found": len(found),
            "differences": told(found[:SHOWN_MAX], before),
            "left": len(left),
            "in_kernel": not left,
        }

    async def _pause(self, args: dict[str, Any], caller: Caller) -> Any:
        await trio.lowlevel.checkpoint()
        now, reason = trio.current_time(), selection.text(args, "reason")
        if not reason:
            raise RequestError("say why: --reason TEXT. Others will want to know it")
        pause = Pause(caller.name, reason, now, now + selection.seconds(args, "for_s", FOR_MAX_S))
        self._begin(pause, "")
        return self._answer(now)

    async def _resume(self, _args: dict[str, Any], caller: Caller) -> Any:
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        if self.pause is not None:
            self._end("resumed", caller.name)
        return self._answer(now)

    def _answer(self, now: float) -> dict[str, Any]:
        view = self.view(now)
        waiting = len(self._writer.differences())
        if view is None:
            return {"paused": None, "differences": waiting}
        shown = {"by": view.by, "reason": view.reason, "age_s": view.age_s, "ends_s": view.ends_s}
        return {"paused": shown, "differences": waiting}

    # -- the pause -----------------------------------------------------------------------------------------------------

    def _begin(self, pause: Pause, why: str) -> None:
        self.pause = pause
        self._writer.freeze()
        self._tell(pause, why)
        self._stirred()

    def _end(self, reason: str, by: str) -> None:
        assert self.pause is not None
        age_s = trio.current_time() - self.pause.since
        self.pause = None
        self._writer.thaw()
        self._log.emit(
            "writes.resumed",
            f"The kernel is written again after {lasting(age_s)}: {f'{by} said so' if by else reason}.",
            by=by,
            reason=reason,
            paused_s=age_s,
        )
        self._stirred()

    def _tell(self, pause: Pause, why: str) -> None:
        now = trio.current_time()
        ends_s = None if pause.until == math.inf else pause.until - now
        until = (
            "until somebody says resume"
            if ends_s is None
            else f"for {lasting(round(ends_s))} more, or until somebody says resume"
        )
        self._log.emit(
            "writes.paused",
            f"WRITES ARE PAUSED by {pause.by} ({pause.reason}), {until}: the kernel keeps the table that it has, whatever the checks"
            f" say. {why}".rstrip(),
            by=pause.by,
            reason=pause.reason,
            paused_s=now - pause.since,
            ends_s=ends_s,
        )

    def _stirred(self) -> None:
        self._changed.set()
        self._note()
