"""Writes down what happens: what the log says and what probes find becomes history, which is kept, asked for and followed.

    log.listener = recording.hear                     # each event of the log, as it is told
    recording.heard(event, director)                  # each result that a worker tells
    recording.history                                 # what is kept (core.history)
    with recording.following(wanted) as follower:     # each event from now on

Two sources and no third: what is worth an event is worth a line of the log, under the same name and in the same words. Nothing here
decides, and whoever tells something never waits: a follower who does not read loses events and is told how many.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime

import trio

from supervisor.core import results
from supervisor.core.causes import Fact
from supervisor.core.director import Director
from supervisor.core.entry import FACTS_MAX, RESULT, Entry, printable
from supervisor.core.events import CheckReported
from supervisor.core.history import History
from supervisor.journaling import Journaling
from supervisor.log import Log
from supervisor.model import Config
from supervisor.statefolder import Store

FOLLOWERS_MAX = 4
"""Clients that may follow events at once: a quarter of the admin socket's seats."""

BEHIND_MAX = 1000
"""Events that wait for one follower: the failure of a rack; then they are dropped, counted and told."""

EARLY_MAX = 20_000
"""Entries that may wait until the history of the run before is taken up; that takes a second at most."""

_APART = ("virtual_server", "real_server", "cause_id")
"""Fields of the log that have a place of their own in an entry."""


class Follower:
    """One who follows: `next` returns what comes, `dropped` counts what was lost since it was taken last."""

    def __init__(self, wanted: Callable[[Entry], bool]) -> None:
        self.wanted = wanted
        self._dropped = 0
        self._send, self._receive = trio.open_memory_channel[Entry](BEHIND_MAX)

    async def next(self) -> Entry:
        """Return the next event, waiting for it."""
        return await self._receive.receive()

    def take_dropped(self) -> int:
        """Return how many events were lost since this was asked last."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def offer(self, entry: Entry) -> None:
        """Give an event to whoever follows, if it is wanted and there is room."""
        if not self.wanted(entry):
            return
        try:
            self._send.send_nowait(entry)
        except trio.WouldBlock:
            self._dropped += 1


class Recording:
    """Keeps the history of the program, over restarts where there is a `store`."""

    def __init__(self, store: Store | None, log: Log, wall_clock: Callable[[], datetime], *, in_thread: bool) -> None:
        self.history = History()
        self.explain: Callable[[int], tuple[str, ...]] = lambda _cause: ()
        """Returns the chain that ends in a cause, in words; the last of them is what happened itself."""
        self._wall_clock = wall_clock
        self._journaling = Journaling(store, self.history, log, wall_clock, in_thread=in_thread)
        self._followers: set[Follower] = set()
        self._early: list[Entry] | None = None if store is None else []
        log.listener = self.hear

    def reconfigure(self, config: Config) -> None:
        """Follow a configuration: what left it is forgotten, but for its events."""
        self.history.reconfigure(
            {str(spec.key): [str(rs.endpoint) for rs in spec.real_servers] for spec in config.virtual_servers}
        )

    def now(self) -> float:
        """Return the wall clock, in Unix seconds, to the millisecond."""
        return round(self._wall_clock().timestamp(), 3)

    # -- the two sources -------------------------------------------------------------------------------------------

    def hear(self, level: str, event: str, message: str, fields: Mapping[str, object]) -> None:
        """Write down what the log is told; what is of use for debugging alone is no history."""
        if level == "debug":
            return
        cause = fields.get("cause_id")
        self._add(
            Entry(
                id=self.history.next_id,
                at=self.now(),
                type=event,
                level=level,
                message=printable(message),
                virtual_server=printable(str(fields.get("virtual_server") or "")),
                real_server=printable(str(fields.get("real_server") or "")),
                facts=_facts(fields),
                because=self.explain(cause)[:-1] if isinstance(cause, int) else (),
            )
        )

    def heard(self, event: CheckReported, director: Director) -> None:
        """Write down what a worker told of a probe."""
        for entry in results.entries(director, event, self.history.next_id, self.now()):
            self._add(entry)

    def _add(self, entry: Entry) -> None:
        if self._early is not None:
            self._early.append(entry)
            del self._early[:-EARLY_MAX]
            return
        self.history.add(entry)
        self._journaling.note(entry)
        if entry.type != RESULT:
            for follower in self._followers:
                follower.offer(entry)

    # -- keeping ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Take up the history of the run before, then keep this one's, until the last word is written, or cancelled."""
        await self._journaling.recall()
        early, self._early = self._early or [], None
        for entry in early:
            self._add(replace(entry, id=self.history.next_id))
        await self._journaling.run()

    async def finish(self) -> None:
        """Have the last word written."""
        await self._journaling.finish()

    # -- following -------------------------------------------------------------------------------------------------

    @property
    def followers(self) -> int:
        """How many follow now."""
        return len(self._followers)

    @contextlib.contextmanager
    def following(self, wanted: Callable[[Entry], bool]) -> Iterator[Follower]:
        """Follow the events that are wanted for as long as this lasts; whoever asks for it sees to FOLLOWERS_MAX."""
        follower = Follower(wanted)
        self._followers.add(follower)
        try:
            yield follower
        finally:
            self._followers.discard(follower)


def _facts(fields: Mapping[str, object]) -> dict[str, Fact]:
    """Return the fields of an event that say something."""
    facts: dict[str, Fact] = {}
    for name, value in fields.items():
        if value is None or value == "" or name in _APART or len(facts) == FACTS_MAX:
            continue
        if isinstance(value, bool | int | float):
            facts[name] = value
        else:
            facts[name] = printable(str(value))
    return facts
