"""Writes down what happens: what the log says and what probes find becomes history, which is kept, asked for and followed.

    log.listener = recording.hear                     # each event of the log, as it is told
    recording.heard(event, director)                  # each result that a worker tells
    recording.history                                 # what is kept (core.history)
    with recording.following(wanted) as follower:     # each event from now on

Two sources and no third: what is worth an event is worth a line of the log, under the same name and in the same words. Nothing here
decides, and whoever tells something never waits: what is told is only noted, a few microseconds, and written down a little later, some
at a time, so that the table of a rack that fails does not wait for its history. A follower who does not read loses events and is told
how many.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, assert_never

import trio

from supervisor.core import results
from supervisor.core.causes import Chain, Fact
from supervisor.core.director import Director
from supervisor.core.entry import FACTS_MAX, RESULT, Entry, printable, printable_once
from supervisor.core.events import CheckReported, Result
from supervisor.core.history import History
from supervisor.journaling import Journaling
from supervisor.log import Log
from supervisor.model import Config
from supervisor.statefolder import Store

FOLLOWERS_MAX = 4
"""Clients that may follow events at once: a quarter of the admin socket's seats."""

BEHIND_MAX = 1000
"""Events that wait for one follower: the failure of a rack; then they are dropped, counted and told."""

NOTED_MAX = 50_000
"""What may wait to be written down, also until the history of the run before is taken up, which takes a second or two; then the oldest
are lost."""

WRITTEN_MAX = 40
"""What is written down at one stroke: two milliseconds of the decision loop."""

_OF_THE_LOG = ("burst.summary", "log.dropped")
"""Events that say what the log does not: here nothing is put together or dropped."""

_APART = ("virtual_server", "real_server", "cause_id")
"""Fields of the log that have a place of their own in an entry."""


class _Told(NamedTuple):
    """What the log was told, when, and what led to it."""

    at: datetime
    level: str
    event: str
    message: str
    fields: Mapping[str, object]
    because: Chain


class _Found(NamedTuple):
    """What a probe found, when it was heard, and whom it is about."""

    at: datetime
    event: CheckReported
    result: Result
    listeners: Sequence[results.Listener]


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
        self._history = History()
        self._unfollowed: Config | None = None  # until the history of its servers is needed
        self.explain: Callable[[int], Chain] = lambda _cause: ()
        """Returns the chain that ends in a cause; its last link is what happened itself."""
        self._wall_clock = wall_clock
        self._journaling = Journaling(store, self._history, log, wall_clock, in_thread=in_thread)
        self._followers: set[Follower] = set()
        self._noted: deque[_Told | _Found] = deque(maxlen=NOTED_MAX)
        self._something = trio.Event()  # was noted
        self._recalled = store is None
        log.listener = self.hear

    def reconfigure(self, config: Config) -> None:
        """Follow a configuration: what left it is forgotten, but for its events. Costs nothing until the history is needed."""
        self._unfollowed = config

    @property
    def history(self) -> History:
        """What is kept, of the servers of the newest configuration."""
        self._follow()
        return self._history

    def _follow(self) -> None:
        config, self._unfollowed = self._unfollowed, None
        if config is not None:
            self._history.reconfigure(
                {
                    printable(str(spec.key)): [printable_once(str(server.endpoint)) for server in spec.real_servers]
                    for spec in config.virtual_servers
                }
            )

    def now(self) -> float:
        """Return the wall clock, in Unix seconds, to the millisecond."""
        return _unix(self._wall_clock())

    # -- the two sources -------------------------------------------------------------------------------------------

    def hear(self, level: str, event: str, message: str, fields: Mapping[str, object]) -> None:
        """Write down what the log is told; what is of use for debugging alone is no history, nor is what speaks of the log's own lines."""
        if level == "debug" or event in _OF_THE_LOG:
            return
        cause = fields.get("cause_id")
        because = self.explain(cause) if isinstance(cause, int) else ()
        self._note(_Told(self._wall_clock(), level, event, message, fields, because))

    def heard(self, event: CheckReported, director: Director) -> None:
        """Write down what a worker told of a probe; a level without a result is no news."""
        if event.result is not None:
            self._note(_Found(self._wall_clock(), event, event.result, director.pools.consumers(event.job)))

    def _note(self, noted: _Told | _Found) -> None:
        if not self._noted:
            self._something.set()
        self._noted.append(noted)

    def write_down(self, most: int = NOTED_MAX) -> None:
        """Write down what was noted, as soon as the history of the run before is there."""
        noted = self._noted
        while self._recalled and noted and most > 0:
            most -= 1
            match told := noted.popleft():
                case _Told():
                    self._add(_entry(told, self.history.next_id))
                case _Found(at, event, result, listeners):
                    for entry in results.entries(listeners, event, result, self.history.next_id, _unix(at)):
                        self._add(entry)
                case _:
                    assert_never(told)

    def _add(self, entry: Entry) -> None:
        self.history.add(entry)
        self._journaling.note(entry)
        if entry.type != RESULT:
            for follower in self._followers:
                follower.offer(entry)

    # -- keeping ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Take up the history of the run before, then keep this one's, until cancelled."""
        self._follow()  # what the run before knew of a server needs its place
        await self._journaling.recall()
        self._recalled = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write_down)
            nursery.start_soon(self._journaling.run)

    async def _write_down(self) -> None:
        """Write down what is noted, some at a time, so that decisions come in between."""
        while True:
            await self._something.wait()
            self._something = trio.Event()
            while self._noted:
                self.write_down(WRITTEN_MAX)
                await trio.lowlevel.checkpoint()

    async def finish(self) -> None:
        """Have the last word written."""
        self.write_down()
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


def _unix(moment: datetime) -> float:
    """Return a moment in Unix seconds, to the millisecond."""
    return round(moment.timestamp(), 3)


def _entry(told: _Told, number: int) -> Entry:
    """Return what the log was told as an entry."""
    fields = told.fields
    return Entry(
        id=number,
        at=_unix(told.at),
        type=told.event,
        level=told.level,
        said=printable(told.message),
        virtual_server=printable(str(fields.get("virtual_server") or "")),
        real_server=printable_once(str(fields.get("real_server") or "")),
        facts=_facts(fields),
        because=tuple(printable(link.text) for link in told.because[:-1]),
    )


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
