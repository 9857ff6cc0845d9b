"""Keeps one child alive: start, converse, wait for the end, pause, again.

    keeper = Keeper(name, start, converse, log)
    await keeper.run()          # until cancelled; then the child is killed

`start` makes a child and its conversation; `converse` speaks with it until it is gone or has broken the wire (`ProtocolBroken`).
A child that is killed, dies, falls silent or talks garbage is replaced with back-off (`core.restart`). A failing child never takes
the supervisor with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

import trio

from supervisor.children.spawn import Child
from supervisor.core.restart import RestartPolicy
from supervisor.log import Log


class ProtocolBroken(Exception):
    """A child said something that it must not say, or nothing for too long. It is killed and replaced."""


class Closable(Protocol):
    """Our end of a conversation."""

    def close(self) -> None:
        """Close at once; may be called twice."""


LinkT = TypeVar("LinkT", bound=Closable)


class Keeper(Generic[LinkT]):
    """The task that keeps one child alive. `pid` is 0 while none runs."""

    def __init__(
        self,
        name: str,
        start: Callable[[int], Awaitable[tuple[Child, LinkT]]],
        converse: Callable[[LinkT, int], Awaitable[None]],
        log: Log,
        ended: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`start` and `converse` are given the epoch: 1 for the first incarnation, 2 for the next.

        `ended` is called after each incarnation, however it ended, unless the keeper itself was cancelled.
        """
        self.name = name
        self.pid = 0
        self.restarts = 0
        self._start = start
        self._converse = converse
        self._log = log
        self._ended = ended
        self._policy = RestartPolicy()
        self._hastened = trio.Event()

    async def run(self) -> None:
        """Keep the child alive until cancelled."""
        epoch = 0
        while True:
            epoch += 1
            started = trio.current_time()
            reason = await self._live(epoch)
            pid, self.pid = self.pid, 0
            if self._ended is not None:
                await self._ended()
            ran = trio.current_time() - started
            pause = self._policy.exited(ran)
            self.restarts = self._policy.restarts
            self._log.emit(
                "worker.exited",
                f"{self.name} ended ({reason}); starting it again in {pause:g} s",
                worker=self.name,
                worker_pid=pid or None,  # None: it could not be started
                reason=reason,
                uptime_s=ran,
                next_start_s=pause,
            )
            self._hastened = trio.Event()
            with trio.move_on_after(pause):
                await self._hastened.wait()

    def hasten(self) -> None:
        """What the child died of may be gone: start it at once, if it is waiting, and forget how often it died."""
        self._policy.forgive()
        self._hastened.set()

    async def _live(self, epoch: int) -> str:
        """Run one incarnation to its end and return how it ended."""
        try:
            child, link = await self._start(epoch)
        except OSError as error:
            return f"could not be started: {error}"
        self.pid = child.pid
        reason = ""
        try:
            reason = await self._attend(child, link, epoch)
        finally:
            link.close()
            child.kill()
            with trio.CancelScope(shield=True):
                ended = await child.wait()
        return f"{reason}, {ended}" if reason else ended

    async def _attend(self, child: Child, link: LinkT, epoch: int) -> str:
        """Converse until the conversation or the child ends."""
        broken = ""

        async def watch(scope: trio.CancelScope) -> None:
            await child.wait()
            await trio.sleep(LAST_WORDS_S)
            scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, nursery.cancel_scope)
            try:
                await self._converse(link, epoch)
            except ProtocolBroken as error:
                broken = str(error)
                self._log.emit(
                    "worker.protocol_error",
                    f"{self.name}: {broken}",
                    worker=self.name,
                    worker_pid=child.pid,
                    reason=broken,
                )
            nursery.cancel_scope.cancel()
        return broken


LAST_WORDS_S = 0.05
"""How long frames of a child that is gone are still read, in seconds: a verdict sent just before death is a verdict."""
