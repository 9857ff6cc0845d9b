"""What happened, kept for whoever asks later: a bounded record of each virtual and real server, and a ring of events of the whole program.

    history.add(Entry(history.next_id, …))          # it takes its place; the next one has the next id
    history.server("203.0.113.100:80/tcp", "192.168.100.22:80")      → entries, the oldest first
    history.pool("203.0.113.100:80/tcp") · history.events()          → likewise

A record keeps what changed (transitions, what operators and the kernel said) and what failed much longer than what went well: of
each check it has the last two runs of successes, each as one entry that counts. The same failure in a row is one entry that counts, too.
No clock and no names of its own: an entry comes with its time and its subject. Memory is bounded: see the numbers below.

What is told again after a restart (`restore`) takes the place that it had: `dump` and `restore` make an equal history, and so does
a dump with everything that was added after it (tests/supervisor/core/test_history.py).
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from operator import attrgetter

from checkers.kit.frozen import frozen
from supervisor.core.entry import RESULT, Entry, Extract

EVENTS_KEPT = 5000
"""Events of the whole program: a day of a busy site, the minute in which a rack of 500 servers fails; some 4 MB."""

ENTRIES_MAX = 60_000
"""Entries of all records together, beside the successes and as far as KEPT_MIN allows: 75 MB at worst, when every one of 10,000 servers
has been failing in ever new ways (bench/history.py). A server that was always up costs 0.9 kB."""

KEPT_MAX = 100
"""Entries that a record keeps on a site of up to 600 servers: twice what `vipervisor history` shows when it is not told."""

KEPT_MIN = 6
"""Entries that a record keeps on the largest site, of 10,000 servers and more: three transitions and three failures."""

SUCCESSES_MAX = 32
"""Runs of successes that a record keeps, of all its checks together."""

POOL_MAX = 1000
"""Entries in one extract of a virtual server: five milliseconds of the decision loop."""

RUNS_MAX = 2
"""Runs of successes that are kept of one check: the present one, and the one before the last failure."""

_UNRECORDED = ("real_server.check_failed", "notify.")
"""Types that are events and no part of a server's record: the probe's result says the first, and the others are the sinks' business."""


class Place(enum.Enum):
    """Where an entry belongs."""

    BOTH = "both"  # it just happened
    EVENTS = "events"  # of a dump
    RECORD = "record"  # of a dump


class Record:
    """What is kept of one server: three rings, each in the order of its ids. Tuples, for most of them are empty, or one entry long."""

    __slots__ = ("failures", "successes", "turns")

    def __init__(self) -> None:
        self.turns: tuple[Entry, ...] = ()
        self.failures: tuple[Entry, ...] = ()
        self.successes: tuple[Entry, ...] = ()

    def add(self, entry: Entry, most: int) -> None:
        """Take an entry in, together with the one before where it is the same again."""
        if entry.type != RESULT:
            before = self.turns[-1] if self.turns else None
            again = before is not None and _is_same(before, entry)
            self.turns = _joined(self.turns, before, entry) if before and again else (*self.turns, entry)
        else:
            self._add_result(entry)
        self.trim(most)

    def restore(self, entry: Entry, most: int) -> None:
        """Put an entry of a dump where it was."""
        if entry.type != RESULT:
            self.turns = (*self.turns, entry)
        elif _passed(entry):
            self.successes = (*self.successes, entry)
        else:
            self.failures = (*self.failures, entry)
        self.trim(most)

    def trim(self, most: int) -> None:
        """Forget the oldest entries beyond `most`."""
        self.turns = self.turns[-(most - most // 2) :]
        self.failures = self.failures[-(most // 2) :]
        self.successes = self.successes[-SUCCESSES_MAX:]

    def entries(self) -> list[Entry]:
        """Return everything, the oldest first."""
        return sorted(self, key=_BY_ID)

    def results(self, most: int) -> list[Entry]:
        """Return the last results, the oldest first."""
        return sorted((*self.failures[-most:], *self.successes), key=_BY_ID)[-most:]

    def __iter__(self) -> Iterator[Entry]:
        """Yield everything, each kind in its order."""
        return chain(self.turns, self.failures, self.successes)

    def __len__(self) -> int:
        return len(self.turns) + len(self.failures) + len(self.successes)

    def _add_result(self, entry: Entry) -> None:
        check = _check(entry)
        before = self._counted(self._last_result(check), entry)
        again = before is not None and _passed(before) == _passed(entry)
        if not _passed(entry):
            again = again and before is not None and _is_same(before, entry)
            self.failures = _joined(self.failures, before, entry) if before and again else (*self.failures, entry)
        elif before and again:
            self.successes = _joined(self.successes, before, entry)
        else:
            runs = [run for run in self.successes if _check(run) == check]
            over = runs[0] if len(runs) >= RUNS_MAX else None
            self.successes = (*(run for run in self.successes if run is not over), entry)

    def _last_result(self, check: str) -> Entry | None:
        failed = next((entry for entry in reversed(self.failures) if _check(entry) == check), None)
        passed = next((entry for entry in reversed(self.successes) if _check(entry) == check), None)
        if failed is None or passed is None:
            return failed or passed
        return max(failed, passed, key=_BY_ID)

    def _counted(self, before: Entry | None, entry: Entry) -> Entry | None:
        """Count the probes between two results that were not told because they said the same as the first."""
        unsaid = 0 if before is None else _between(before, entry)
        if before is None or not unsaid:
            return before
        counted = replace(before, count=before.count + unsaid, last_at=entry.at)
        self.successes = tuple(counted if run is before else run for run in self.successes)
        self.failures = tuple(counted if run is before else run for run in self.failures)
        return counted


@frozen
class Dump:
    """A whole history at one moment: the entries of each record, and the events."""

    next_id: int
    records: tuple[tuple[Entry, ...], ...]
    events: tuple[Entry, ...]

    def __iter__(self) -> Iterator[tuple[Place, Entry]]:
        """Yield everything in an order of which `History.restore` makes an equal history."""
        for record in self.records:
            for entry in record:
                yield Place.RECORD, entry
        for entry in self.events:
            yield Place.EVENTS, entry


class History:
    """Everything that is kept. One owner."""

    def __init__(self) -> None:
        self.next_id = 1
        self._events: deque[Entry] = deque(maxlen=EVENTS_KEPT)
        self._records: dict[
            str, dict[str, Record]
        ] = {}  # by virtual server, by real server ("" for itself): all there are
        self._kept = KEPT_MAX

    @property
    def kept(self) -> int:
        """How many entries a record may have, beside the successes."""
        return self._kept

    def reconfigure(self, pools: Mapping[str, Collection[str]]) -> None:
        """Say which virtual servers there are, with their real servers: what is known of the others is forgotten, but for their events."""
        known = self._records
        self._records = {name: _records(("", *servers), known.get(name, {})) for name, servers in pools.items()}
        subjects = sum(map(len, self._records.values()))
        kept = min(max(ENTRIES_MAX // max(subjects, 1), KEPT_MIN), KEPT_MAX)
        if kept < self._kept:
            for record in self._all():
                record.trim(kept)
        self._kept = kept

    def names(self) -> dict[str, str]:
        """Return the names of all servers there are, each by itself: for those who read entries, so that each is there once."""
        return {name: name for pool, records in self._records.items() for name in (pool, *records)}

    def add(self, entry: Entry) -> None:
        """Take in what just happened. Its id is `next_id`."""
        self.restore(entry, Place.BOTH)

    def restore(self, entry: Entry, place: Place) -> None:
        """Take in what happened once; ids come in growing order within each place."""
        self.next_id = max(self.next_id, entry.id + 1)
        if place is not Place.RECORD and entry.type != RESULT:
            self._events.append(entry)
        record = self._records.get(entry.virtual_server, {}).get(entry.real_server)
        if record is None or place is Place.EVENTS or not _is_recorded(entry):
            return
        if place is Place.BOTH:
            record.add(entry, self._kept)
        else:
            record.restore(entry, self._kept)

    def dump(self) -> Dump:
        """Return everything as it is now. It can be gone through in another thread."""
        return Dump(self.next_id, tuple(map(tuple, filter(len, self._all()))), tuple(self._events))

    def __len__(self) -> int:
        return len(self._events) + sum(map(len, self._all()))

    def _all(self) -> Iterator[Record]:
        return chain.from_iterable(records.values() for records in self._records.values())

    # -- asking ----------------------------------------------------------------------------------------------------

    def record(self, virtual_server: str, real_server: str = "") -> Record:
        """Return what is kept of one server."""
        return self._records.get(virtual_server, {}).get(real_server) or Record()

    def server(self, virtual_server: str, real_server: str = "") -> list[Entry]:
        """Return what is known of one real server, or of a virtual server itself; the oldest first."""
        return self.record(virtual_server, real_server).entries()

    def pool(self, virtual_server: str, at: float, most: int = POOL_MAX) -> Extract | None:
        """Return what is known of a virtual server and all its real servers, the last entries of each; None: there is no such one."""
        records = self._records.get(virtual_server)
        if records is None:
            return None
        share = max(most // len(records), 1)
        found: list[Entry] = []
        known = 0
        for record in records.values():
            known += len(record)
            found += record.entries()[-share:]
        found.sort(key=_BY_ID)
        chosen = tuple(found[-most:])
        return Extract(at, chosen, known - len(chosen))

    def events(self, after: int = 0) -> Iterator[Entry]:
        """Yield the events whose id is greater than `after`, the newest first."""
        for entry in reversed(self._events):
            if entry.id <= after:
                return
            yield entry

    def last_events(self, at: float, most: int) -> Extract:
        """Return the last events, the oldest first."""
        chosen = [entry for entry, _ in zip(self.events(), range(most), strict=False)]
        return Extract(at, tuple(reversed(chosen)), len(self._events) - len(chosen))


def _records(servers: Iterable[str], known: Mapping[str, Record]) -> dict[str, Record]:
    """Return a record for each of these: what is known of it, or an empty one."""
    return {server: known.get(server) or Record() for server in servers}


def _is_recorded(entry: Entry) -> bool:
    """Tell whether an entry has a place in its server's record: a check that took its server along is told by the server's transition."""
    if entry.type == "check.changed":
        return entry.facts.get("up") != entry.facts.get("real_server_up")
    return not entry.type.startswith(_UNRECORDED)


_BY_ID = attrgetter("id")


def _check(entry: Entry) -> str:
    return f"{entry.facts.get('check')} {entry.facts.get('target')}"


def _passed(entry: Entry) -> bool:
    return entry.facts.get("passed") is True


def _between(before: Entry, after: Entry) -> int:
    """Return how many probes came between two results; a worker numbers them from 1, and tells its first in any case."""
    first, second = before.facts.get("probe"), after.facts.get("probe")
    if not isinstance(first, int) or not isinstance(second, int):
        return 0
    return max(second - first - 1, 0)


def _is_same(before: Entry, after: Entry) -> bool:
    """Tell whether something happened again. The sentence says everything but when, and how long it took."""
    return (before.type, before.message) == (after.type, after.message)


def _joined(ring: tuple[Entry, ...], before: Entry, after: Entry) -> tuple[Entry, ...]:
    """Return a ring in which two of the same are one entry: when and how often, and the facts of the last."""
    count = before.count + after.count
    joined = replace(after, id=before.id, at=before.at, count=count, last_at=after.ended_at)
    return tuple(joined if entry is before else entry for entry in ring)
