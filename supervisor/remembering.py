"""Remembers for the next start: reads the state once, and writes it whenever something changed.

At most one write a second, in a thread; nothing waits for the disk, and nothing is written where nothing is new. A disk that is full,
slow or gone costs memory, never service: the old file stays, the log says so once, and it is tried again, less and less often. A
file that is damaged is set aside and said, and the start goes on by what the kernel's table shows.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial

import trio

from checkers.kit.frozen import frozen
from supervisor import __version__
from supervisor.core.events import Health
from supervisor.core.kernelsettings import Held
from supervisor.core.memory import Clocks, Life, Memory, PoolMemory, Recall, remembered_pause
from supervisor.core.pause import Pause
from supervisor.core.snapshot import StateView
from supervisor.log import Log
from supervisor.model import Endpoint, ServiceKey
from supervisor.statefile import SIZE_MAX_BYTES, Newer, decode, encode, encode_pool
from supervisor.statefolder import Store, attempt, damaged_suffix, reason_of
from supervisor.statepieces import Damaged
from supervisor.wording import counted, lasting

PAUSE_S = 1.0
"""The least time between two writes, and how often is looked whether something beside the director changed."""

ALIVE_S = 15.0
"""How often the file is touched while nothing changes: its age tells the next start for how long nobody looked."""

BACKOFF_MAX_S = 60.0
"""The longest pause after writes that failed; it begins at twice `PAUSE_S` and doubles."""

FINISH_MAX_S = 5.0
"""At a clean stop, the longest wait for the last write."""


@frozen
class Present:
    """What there is to remember beside the virtual servers; equal when there is nothing new."""

    digest: str
    held: Held
    leaving: Mapping[ServiceKey, frozenset[Endpoint]]
    pause: Pause | None = None


class Remembering:
    """Keeps one state in `store`; None: keeps nothing."""

    def __init__(
        self, store: Store | None, life: Life, log: Log, wall_clock: Callable[[], datetime], *, in_thread: bool
    ) -> None:
        self._store = store
        self._life = life
        self._log = log
        self._wall_clock = wall_clock
        self._in_thread = in_thread
        self._wake = trio.Event()
        self._last = trio.Event()  # the last write is wanted
        self._over = trio.Event()
        self._removed = False
        self._lines: dict[ServiceKey, tuple[PoolMemory, bytes]] = {}
        self._written: Present | None = None
        self._touched_at = -math.inf
        self._pause_s = PAUSE_S
        self._view = StateView("" if store is None else str(store.path))
        self._written_at: float | None = None

    # -- the start -------------------------------------------------------------------------------------------------

    def recall(self, now: float) -> Recall | None:
        """Return what the run before left, None when it left nothing that can be read. Blocks: call it before anything runs."""
        store = self._store
        if store is None:
            return None
        try:
            found = store.read(SIZE_MAX_BYTES)
            if found is None:
                return None
            memory = decode(found.data)
        except Newer as error:
            self._set_aside(store, "newer", str(error))
        except Damaged as error:
            self._set_aside(store, damaged_suffix(self._wall_clock()), str(error))
        except OSError as error:
            self._fail(f"it cannot be read: {reason_of(error)}")
        else:
            return Recall(memory, self._life, self._clocks(now), max(found.alive_at, memory.saved_at))
        return None

    def tell(self, recall: Recall) -> None:
        """Say in the log what is known from before."""
        memory = recall.memory
        servers = [server for pool in memory.pools.values() for server in pool.servers.values()]
        down = sum(server.health is Health.DOWN for server in servers)
        wishes = sum(server.wish is not None for server in servers)
        use = (
            "health, quorum and wishes" if recall.trusted else "wishes alone: the machine or the network is another one"
        )
        self._log.emit(
            "state.recalled",
            f"The state of {lasting(recall.age_s)} ago is taken up ({use}): {down} of {counted(len(servers), 'real server')} down,"
            f" {counted(wishes, 'wish', 'wishes')} of operators.",
            path=self._view.path,
            version=memory.version,
            use=use,
            age_s=recall.age_s,
            real_servers=len(servers),
            down=down,
            overrides=wishes,
            clean=memory.removed,
        )

    def _set_aside(self, store: Store, suffix: str, reason: str) -> None:
        try:
            kept = str(store.set_aside(suffix))
        except OSError as error:
            kept = ""
            reason = f"{reason}; and it cannot be set aside: {reason_of(error)}"
        self._log.emit(
            "state.set_aside",
            f"The state in {store.path} cannot be used ({reason}), so this start goes by the kernel's table alone."
            + (f" It is kept as {kept}." if kept else ""),
            path=str(store.path),
            kept_as=kept,
            reason=reason,
        )

    # -- the task --------------------------------------------------------------------------------------------------

    def note(self) -> None:
        """Say that the director has something new."""
        self._wake.set()

    async def run(
        self,
        pools: Callable[[Clocks], Awaitable[Mapping[ServiceKey, PoolMemory]]],
        has_news: Callable[[], bool],
        present: Callable[[], Present],
    ) -> None:
        """Write what is new until the last word is written, or cancelled."""
        store = self._store
        if store is None:
            self._over.set()
            return
        while not self._over.is_set():
            last = self._last.is_set()
            now_present = present()
            if last or has_news() or now_present != self._written:
                await self._write(store, pools, now_present)
                if last:
                    self._over.set()
            elif trio.current_time() >= self._touched_at + ALIVE_S:
                await self._touch(store)
            await self._wait()

    async def finish(self, *, removed: bool) -> None:
        """Have the last word written; `removed` tells that nothing of ours is in the kernel any more."""
        self._removed = removed
        self._last.set()
        self._wake.set()
        with trio.move_on_after(FINISH_MAX_S):
            await self._over.wait()

    async def _wait(self) -> None:
        """Wait as long as the disk is to rest, and then for news."""
        if self._over.is_set():
            return
        with trio.move_on_after(self._pause_s):
            await self._last.wait()
        if not self._last.is_set():
            with trio.move_on_after(PAUSE_S):
                await self._wake.wait()
        self._wake = trio.Event()

    async def _write(
        self, store: Store, pools: Callable[[Clocks], Awaitable[Mapping[ServiceKey, PoolMemory]]], present: Present
    ) -> None:
        clocks = self._clocks(trio.current_time())
        memory = Memory(
            __version__,
            self._life,
            clocks.wall,
            present.digest,
            removed=self._removed,
            held=present.held,
            pools=await pools(clocks),
            leaving=present.leaving,
            pause=remembered_pause(present.pause, clocks),
        )
        trouble = await attempt(partial(self._encode_and_write, store, memory), in_thread=self._in_thread)
        if trouble is not None:
            self._written = None
            self._pause_s = min(2 * self._pause_s, BACKOFF_MAX_S)
            self._fail(trouble)
            return
        self._pause_s, self._written = PAUSE_S, present
        self._written_at = self._touched_at = trio.current_time()
        if self._view.error:
            self._log.emit(
                "state.write_recovered", f"The state is written to {store.path} again.", path=str(store.path)
            )
        self._view = StateView(self._view.path, None, self._view.writes + 1, self._view.failures)

    def _encode_and_write(self, store: Store, memory: Memory) -> None:
        """Runs in a thread. `_lines` is touched here alone, and there is one write at a time."""
        for key in self._lines.keys() - memory.pools.keys():
            del self._lines[key]
        data = encode(memory, self._line)
        if len(data) > SIZE_MAX_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        store.write(data)

    def _line(self, pool: PoolMemory) -> bytes:
        known = self._lines.get(pool.key)
        if known is None or known[0] is not pool:
            known = self._lines[pool.key] = (pool, encode_pool(pool))
        return known[1]

    async def _touch(self, store: Store) -> None:
        self._touched_at = trio.current_time()
        if await attempt(store.touch, in_thread=self._in_thread) is not None:
            self._written = None  # somebody took the file away: write it anew

    # -- observing -------------------------------------------------------------------------------------------------

    def view(self, now: float) -> StateView:
        """Return how it stands."""
        age_s = None if self._written_at is None else now - self._written_at
        return StateView(self._view.path, age_s, self._view.writes, self._view.failures, self._view.error)

    def _fail(self, reason: str) -> None:
        """Note a failure, and say it once until it works again."""
        if not self._view.error:
            self._log.emit(
                "state.write_failed",
                f"The state in {self._view.path} cannot be kept: {reason}. After a crash the next start would go by an older"
                " one, or by the kernel's table alone.",
                path=self._view.path,
                reason=reason,
            )
        self._view = StateView(self._view.path, None, self._view.writes, self._view.failures + 1, reason)

    def _clocks(self, now: float) -> Clocks:
        return Clocks(now, self._wall_clock().timestamp())
