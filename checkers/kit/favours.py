"""What a worker may not do itself and asks of its supervisor: a socket with a mark, to run a script, to read a file.

A worker has no privilege and must get none by asking: it can only name one of its own jobs and a `Favour`; what is bound, run or read
is what the configuration says of that job, looked up by the supervisor (`supervisor.children.favours`). No job asks twice at once.

`Desk` is the worker's side: it numbers what is asked and wakes who waits when the grant comes. Answers that nobody waits for
any more are passed over, and their descriptors closed.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable

import trio

from checkers.kit.api import Answer, Ending, Favour, LocalTrouble
from checkers.kit.frames import Grant

FAVOUR = "FAVOUR"
"""The fault of a favour that was not done (kit.api.LocalTrouble)."""

SOCKET_PATIENCE_S = 5.0
"""Longest wait for a socket or a file: the supervisor opens one in a millisecond."""

SCRIPT_PATIENCE_S = 15.0
"""Longest wait for a script beyond its own time limit: it may have had to wait for its turn."""


class _Waiting:
    """One favour that was asked. `grant` is None until it came."""

    __slots__ = ("descriptor", "event", "grant")

    def __init__(self) -> None:
        self.event = trio.Event()
        self.grant: Grant | None = None
        self.descriptor: int | None = None


class Desk:
    """The favours that this worker waits for."""

    def __init__(self, stir: Callable[[], None]) -> None:
        """`stir` is called when there is something to send."""
        self.unsent: deque[tuple[int, Callable[[], int], Favour]] = deque()
        """(number, job, favour) to be asked, for the worker's one sender; the job by its number when that is said, for it may change."""
        self._stir = stir
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}

    async def ask(self, job: Callable[[], int], favour: Favour, patience_s: float) -> tuple[Answer, int | None]:
        """Ask for a job, whose present number `job` returns, and wait.

        Return the answer and the descriptor that came with it. Raises LocalTrouble.
        """
        number = next(self._numbers) & 0xFFFF_FFFF
        asked = self._waiting[number] = _Waiting()
        self.unsent.append((number, job, favour))
        self._stir()
        try:
            with trio.move_on_after(patience_s):
                await asked.event.wait()
        finally:
            del self._waiting[number]
            if asked.grant is None and (number, job, favour) in self.unsent:
                self.unsent.remove((number, job, favour))
        if asked.grant is None:
            raise LocalTrouble(f"the supervisor did not answer within {patience_s:g} s", FAVOUR)
        if asked.grant.ending is Ending.REFUSED:
            raise LocalTrouble(asked.grant.text, FAVOUR)
        return Answer(asked.grant.ending, asked.grant.status, asked.grant.text), asked.descriptor

    def granted(self, grant: Grant, descriptor: int | None) -> None:
        """Take in what the supervisor granted, with the descriptor that travelled beside it."""
        asked = self._waiting.get(grant.number)
        if asked is None or asked.grant is not None:
            if descriptor is not None:
                os.close(descriptor)
            return
        asked.grant, asked.descriptor = grant, descriptor
        asked.event.set()


class JobFavours:
    """The favours of one job (kit.api.Favours)."""

    __slots__ = ("_desk", "_job", "_script_limit_s")

    def __init__(self, desk: Desk, job: Callable[[], int], script_limit_s: float) -> None:
        """`job` returns the job's present number; `script_limit_s` is how long its script may run, if it has one."""
        self._desk = desk
        self._job = job
        self._script_limit_s = script_limit_s

    async def socket(self, favour: Favour) -> int:
        """See `kit.api.Favours.socket`."""
        _, descriptor = await self._desk.ask(self._job, favour, SOCKET_PATIENCE_S)
        if descriptor is None:
            raise LocalTrouble("the supervisor sent no socket", FAVOUR)
        return descriptor

    async def answer(self, favour: Favour) -> Answer:
        """See `kit.api.Favours.answer`."""
        patience_s = SOCKET_PATIENCE_S
        if favour is Favour.SCRIPT:
            patience_s = self._script_limit_s + SCRIPT_PATIENCE_S
        answer, descriptor = await self._desk.ask(self._job, favour, patience_s)
        if descriptor is not None:
            os.close(descriptor)
        return answer


class NoFavours:
    """Where nobody grants anything: checkers tried by hand, and tests."""

    async def socket(self, favour: Favour) -> int:
        """Raise LocalTrouble."""
        raise LocalTrouble(f"no supervisor to ask for {favour.name}", FAVOUR)

    async def answer(self, favour: Favour) -> Answer:
        """Raise LocalTrouble."""
        raise LocalTrouble(f"no supervisor to ask for {favour.name}", FAVOUR)


NO_FAVOURS = NoFavours()
