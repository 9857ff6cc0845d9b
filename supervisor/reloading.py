"""Taking over another configuration while the program runs: all of it or nothing, one at a time, with an answer for whoever asked.

    ticket = reloads.ask(confirm_within_s=120)     # from a signal, or the admin socket; returns at once
    await ticket.done.wait()
    ticket.answer                                  # what changed, or which problems stand in the file

Requests that wait together are one: the file is read when their turn comes, and then it is the newest. With `confirm_within_s`, the
configuration before comes back by itself unless `confirm` is said in time: a change that cuts the operator off undoes itself. A later
reload without a limit counts as said so. A reload that is refused leaves everything as it is, also a confirmation that is awaited.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

import trio

from checkers.kit.frozen import frozen
from supervisor import announce
from supervisor.config import Outcome, render
from supervisor.core.changes import Changes, Foresight, Outlook, compare
from supervisor.log import Log
from supervisor.model import Config
from supervisor.overview import Facts
from supervisor.systemd import Notifier


@frozen
class Taken:
    """The file was taken over. `confirm_within_s`: the configuration before comes back after so long without a word; None: never."""

    did: Foresight
    digest: str
    warnings: int
    confirm_within_s: float | None = None


@frozen
class Refused:
    """The file was refused; `text` has every problem with its place, as `vipervisor check` shows it."""

    text: str


Answer: TypeAlias = Taken | Refused


class Ticket:
    """One turn of the reloading task; `answer` is there when `done` is set."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.answer: Answer | None = None
        self.confirm_within_s: float | None = None


class Runs(Protocol):
    """What runs and can be given another configuration."""

    @property
    def config(self) -> Config:
        """The configuration that holds."""

    def lacks(self, config: Config) -> str | None:
        """Return what this configuration needs and is not to be had here, as a clause; None: nothing. Loads what it needs."""

    def take_over(self, config: Config, changes: Changes) -> Outlook:
        """Replace it and return what these changes do. Returns when the decisions are made; the kernel follows."""


class Reloads:
    """The task that replaces configurations, and what waits for it."""

    def __init__(
        self,
        runs: Runs,
        load: Callable[[], Awaitable[Outcome]],
        facts: Facts,
        log: Log,
        notifier: Notifier,
    ) -> None:
        """`load` reads the file."""
        self._runs = runs
        self._load = load
        self._facts = facts
        self._log = log
        self._notifier = notifier
        self._waiting: Ticket | None = None
        self._asked = trio.Event()
        self._base: Config | None = None  # what comes back unless it is confirmed in time
        self._confirm_by = math.inf

    def ask(self, confirm_within_s: float | None = None) -> Ticket:
        """Have the file read again as soon as the last reading is over. The shortest limit of those who wait together holds."""
        ticket = self._waiting or Ticket()
        limits = [limit for limit in (ticket.confirm_within_s, confirm_within_s) if limit is not None]
        ticket.confirm_within_s = min(limits, default=None)
        self._waiting = ticket
        self._asked.set()
        return ticket

    def confirm(self) -> bool:
        """Keep the configuration that runs; tell whether that was in question."""
        was_open = self._base is not None
        self._settle_on_this()
        return was_open

    async def run(self) -> None:
        """Replace configurations until cancelled."""
        while True:
            with trio.move_on_at(self._confirm_by):
                await self._asked.wait()
            if self._waiting is None:
                self._roll_back()
            else:
                await self._serve(self._waiting)  # of what came of it nothing stays here

    async def _serve(self, ticket: Ticket) -> None:
        """Read the file for those who wait, and answer them."""
        self._asked, self._waiting = trio.Event(), None
        ticket.answer = await self._reload(ticket.confirm_within_s)
        ticket.done.set()

    async def _reload(self, confirm_within_s: float | None) -> Answer:
        self._notifier.reloading()
        outcome, running = await self._load(), self._runs.config
        changes = Changes() if outcome.config is None else compare(running, outcome.config)
        await trio.lowlevel.checkpoint()  # with thousands of real servers each step is long enough for one turn
        answer = await self._judge(outcome, changes, confirm_within_s)
        self._facts.reload_ok = isinstance(answer, Taken)
        if isinstance(answer, Taken):
            self._facts.reloads_ok += 1
        else:
            self._facts.reloads_rejected += 1
        self._notifier.ready()
        return answer

    async def _judge(self, outcome: Outcome, changes: Changes, confirm_within_s: float | None) -> Answer:
        """Take a file over or refuse it. `changes` lie between what runs and what it says."""
        running, config = self._runs.config, outcome.config
        if config is None:
            announce.rejected(outcome, self._log, running=running.digest)
            return Refused(render(outcome))
        if running.virtual_servers and not config.virtual_servers:
            return Refused(announce.rejected_as_empty(config, self._log, running=running))
        if (lacking := self._runs.lacks(config)) is not None:
            return Refused(announce.rejected_for_want(config, lacking, self._log, running=running))
        base = self._base or running
        self._log.config_digest = config.digest
        announce.loaded(outcome, self._log, changes)
        ahead = self._runs.take_over(config, changes)
        self._settle_on_this()
        if confirm_within_s is not None:
            self._base, self._confirm_by = base, trio.current_time() + confirm_within_s
        await trio.lowlevel.checkpoint()
        return Taken(ahead.foresight(), config.digest, config.warnings, confirm_within_s)

    def _settle_on_this(self) -> None:
        self._base, self._confirm_by = None, math.inf

    def _roll_back(self) -> None:
        """Nobody said that the new configuration is well: the one before comes back."""
        base = self._base
        self._settle_on_this()
        if base is None:
            return
        unconfirmed = self._runs.config
        self._log.config_digest = base.digest
        announce.rolled_back(base, unconfirmed.digest, self._log)
        self._facts.reload_ok = False
        self._runs.take_over(base, compare(unconfirmed, base))
