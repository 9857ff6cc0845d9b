"""Keeps the history over restarts: reads the journal once, appends to it what is new, and writes it anew when it has grown.

At most one write a second, in a thread; nothing waits for the disk. A disk that is full, slow or gone costs the history of the next
start, never service: the log says so once, and it is tried again, less and less often. A journal that is damaged is set aside and
said, and what could be read of it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

import trio

from supervisor import __version__, journal
from supervisor.core.entry import Entry
from supervisor.core.history import History, Place
from supervisor.journal import SIZE_MAX_BYTES, Damaged, Journal, Newer
from supervisor.log import Log
from supervisor.statefolder import Store, attempt, damaged_suffix, reason_of

PAUSE_S = 1.0
"""The least time between two writes: so much is lost with a crash at most."""

BACKOFF_MAX_S = 60.0
"""The longest pause after writes that failed; it begins at twice `PAUSE_S` and doubles."""

FINISH_MAX_S = 2.0
"""At a clean stop, the longest wait for the last write."""

GROWN_BYTES = 8 * 1024 * 1024
"""The journal is written anew when it is longer than this, and twice as long as it was when it was written last."""

UNWRITTEN_MAX = 20_000
"""Entries that may wait for the disk; then they are let go, and the next write is a whole one."""

RESTORED_MAX = 500
"""Entries that are taken up at one stroke: about a millisecond."""


class Journaling:
    """Keeps `history` in `store`; None: keeps it nowhere."""

    def __init__(
        self, store: Store | None, history: History, log: Log, wall_clock: Callable[[], datetime], *, in_thread: bool
    ) -> None:
        self._store = store
        self._history = history
        self._log = log
        self._wall_clock = wall_clock
        self._in_thread = in_thread
        self._unwritten: list[Entry] = []
        self._anew = True  # the next write is a whole one
        self._size_bytes = self._grown_bytes = 0
        self._pause_s = PAUSE_S
        self._failed = False
        self._wake = trio.Event()
        self._last = trio.Event()  # the last write is wanted
        self._over = trio.Event()

    def note(self, entry: Entry) -> None:
        """Have an entry written that is in the history now. Returns at once."""
        if self._store is None:
            return
        self._wake.set()
        if self._anew:
            return  # the whole history is written next
        self._unwritten.append(entry)
        if len(self._unwritten) > UNWRITTEN_MAX:
            self._unwritten.clear()
            self._anew = True

    # -- the start -------------------------------------------------------------------------------------------------

    async def recall(self) -> None:
        """Take up what the run before left. Nothing may have been added to the history yet."""
        store = self._store
        if store is None:
            return
        found: list[Journal] = []
        trouble: list[Damaged | Newer] = []
        names = self._history.names()

        def read() -> None:
            data = store.read(SIZE_MAX_BYTES)
            if data is None:
                return
            self._size_bytes = len(data.data)
            try:
                found.append(journal.decode(data.data, names))
            except (Damaged, Newer) as error:
                trouble.append(error)

        failure = await attempt(read, in_thread=self._in_thread)
        if failure is not None:
            self._fail(f"it cannot be read: {failure}")
        for error in trouble:
            self._set_aside(store, "newer" if isinstance(error, Newer) else self._suffix(), str(error), 0)
        for read_journal in found:
            await self._restore(read_journal)
            if read_journal.damage:
                self._set_aside(store, self._suffix(), read_journal.damage, len(read_journal.entries))
            self._anew = not read_journal.whole
            self._grown_bytes = GROWN_BYTES

    async def _restore(self, found: Journal) -> None:
        for start in range(0, len(found.entries), RESTORED_MAX):
            for place, entry in found.entries[start : start + RESTORED_MAX]:
                self._history.restore(entry, place)
            await trio.lowlevel.checkpoint()
        self._history.next_id = max(self._history.next_id, found.next_id)

    def _set_aside(self, store: Store, suffix: str, reason: str, entries: int) -> None:
        try:
            kept = str(store.set_aside(suffix))
        except OSError as error:
            kept = ""
            reason = f"{reason}; and it cannot be set aside: {reason_of(error)}"
        taken = f"{entries} entries before the damage hold" if entries else "the history begins anew"
        self._log.emit(
            "history.set_aside",
            f"The history in {store.path} cannot be used as it is ({reason}): {taken}."
            + (f" It is kept as {kept}." if kept else ""),
            path=str(store.path),
            kept_as=kept,
            reason=reason,
            entries=entries,
        )

    def _suffix(self) -> str:
        return damaged_suffix(self._wall_clock())

    # -- the task --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write what is new until the last word is written, or cancelled."""
        store = self._store
        if store is None:
            self._over.set()
            return
        while True:
            last = self._last.is_set()
            if self._wake.is_set() or self._failed or last:
                self._wake = trio.Event()
                await self._write(store)
            if last:
                self._over.set()
                return
            await self._wait()

    async def finish(self) -> None:
        """Have the last word written."""
        self._last.set()
        self._wake.set()
        with trio.move_on_after(FINISH_MAX_S):
            await self._over.wait()

    async def _wait(self) -> None:
        """Wait as long as the disk is to rest, and then for news."""
        with trio.move_on_after(self._pause_s):
            await self._last.wait()
        if not self._failed:
            await self._wake.wait()

    async def _write(self, store: Store) -> None:
        """Append what is new, or write everything anew."""
        fresh, self._unwritten = self._unwritten, []
        if self._anew or self._size_bytes > self._grown_bytes:
            dump, self._anew = self._history.dump(), False
            trouble = await attempt(lambda: self._write_whole(store, dump.next_id, dump), in_thread=self._in_thread)
        elif fresh:
            trouble = await attempt(lambda: self._append(store, fresh), in_thread=self._in_thread)
        else:
            return
        if trouble is not None:
            self._anew = True  # what was appended may end in the middle
            self._pause_s = min(2 * self._pause_s, BACKOFF_MAX_S)
            self._fail(trouble)
            return
        self._pause_s = PAUSE_S
        if self._failed:
            self._failed = False
            self._log.emit(
                "history.write_recovered", f"The history is written to {store.path} again.", path=str(store.path)
            )

    def _write_whole(self, store: Store, next_id: int, entries: Iterable[tuple[Place, Entry]]) -> None:
        """Runs in a thread; so do the sizes, for there is one write at a time."""
        data = journal.whole(__version__, next_id, entries)
        store.write(data)
        self._size_bytes = len(data)
        self._grown_bytes = max(GROWN_BYTES, 2 * len(data))

    def _append(self, store: Store, entries: list[Entry]) -> None:
        """Runs in a thread."""
        data = b"".join(map(journal.line, entries))
        store.append(data)
        self._size_bytes += len(data)

    def _fail(self, reason: str) -> None:
        """Say a failure once until it works again."""
        if self._failed or self._store is None:
            return
        self._failed = True
        self._log.emit(
            "history.write_failed",
            f"The history in {self._store.path} cannot be kept: {reason}. The next start would know an older one, or none.",
            path=str(self._store.path),
            reason=reason,
        )
