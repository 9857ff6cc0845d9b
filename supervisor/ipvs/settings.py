"""The writer's other duty: makes the kernel's time-outs and sync daemons what is wanted, once for every wish.

They are no level: what somebody else changes meanwhile stays changed until the next wish (a start, a reload, the stop). A change
that the kernel refuses is told once and tried again with the next wish only, so that nothing here ever keeps the table waiting
for long. A change whose answer was lost is looked up. Only the writer's task calls `carry_out`.

Starting and stopping a sync daemon may sleep in the kernel: it is done in a thread, while the writer waits (one owner: nobody else
uses the socket meanwhile) and the rest of the program goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import trio

from supervisor.core.kernelsettings import Change, Held, SetTimeouts, changes, happened, held_after
from supervisor.ipvs.backend import AnswerLost, Backend, BackendUnavailable
from supervisor.ipvs.notices import Adjusted, NotAdjusted, Notice
from supervisor.model import KernelSettings

UNKNOWN = "LOST"
"""Stands in the place of an errno when the answer was lost and the change cannot be seen."""
OUT_OF_REACH = "UNAVAILABLE"
"""Stands in the place of an errno when there is no table any more."""


class Settings:
    """What is wanted of the kernel's settings, and what of them is ours to give back."""

    def __init__(self, backend: Backend, notice: Callable[[Notice], None], *, in_thread: bool) -> None:
        self._backend = backend
        self._notice = notice
        self._in_thread = in_thread
        self._wanted = KernelSettings()
        self._held = Held()
        self._done = trio.Event()
        self._done.set()

    @property
    def pending(self) -> bool:
        """Whether there is a wish that was not carried out yet."""
        return not self._done.is_set()

    @property
    def held(self) -> Held:
        """What of the kernel's settings is ours to give back."""
        return self._held

    def hold(self, held: Held) -> None:
        """Take over what a crashed predecessor owed to the kernel; before the first `carry_out`."""
        self._held = held

    def want(self, wanted: KernelSettings) -> None:
        """Make `wanted` the newest wish; an empty one gives back everything that is ours."""
        self._wanted = wanted
        if self._done.is_set():
            self._done = trio.Event()

    async def done(self) -> None:
        """Wait until every wish was carried out, or refused."""
        while self.pending:
            await self._done.wait()

    async def carry_out(self) -> bool:
        """Do what the newest wish asks for. False: the settings cannot be read just now, try again later."""
        wanted = self._wanted
        try:
            found = self._backend.settings()
        except (AnswerLost, BackendUnavailable):
            return False
        failed = [change for change in changes(wanted, self._held, found) if not await self._change(change)]
        self._held = held_after(wanted, self._held, found, failed)
        if self._wanted is wanted:
            self._done.set()
        return True

    async def _change(self, change: Change) -> bool:
        """Carry out one change, say so, and tell whether it happened."""
        word = ""
        try:
            word = await self._adjust(change)
        except AnswerLost:
            word = "" if self._can_see(change) else UNKNOWN
        except BackendUnavailable:
            word = OUT_OF_REACH
        self._notice(NotAdjusted(change, word) if word else Adjusted(change))
        return not word

    async def _adjust(self, change: Change) -> str:
        if self._in_thread and not isinstance(change, SetTimeouts):
            return await trio.to_thread.run_sync(partial(self._backend.adjust, change))
        return self._backend.adjust(change)

    def _can_see(self, change: Change) -> bool:
        try:
            return happened(change, self._backend.settings())
        except (AnswerLost, BackendUnavailable):
            return False
