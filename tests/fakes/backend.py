"""A table in memory that goes wrong on request: refusals, lost answers, foreign hands, slowness, a dump that lies once.

It wraps the embedded backend and keeps a history: every operation that was carried out, with the table after it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from types import MappingProxyType

import trio
from trio.testing import MockClock

from supervisor.core.kernelsettings import Change, KernelState
from supervisor.core.table import Load, Op, Reading, ServiceSettings, Table, apply
from supervisor.ipvs.backend import AnswerLost, BackendUnavailable
from supervisor.ipvs.memory import MemoryBackend
from supervisor.model import Endpoint, ServiceKey


class FaultyBackend:
    """MemoryBackend with faults. All attributes may be changed while a writer runs."""

    name = "memory"

    def __init__(self, table: Table | None = None, clock: MockClock | None = None) -> None:
        self._memory = MemoryBackend(table)
        self._clock = clock
        self.refuse: Callable[[Op], str] = lambda _op: ""
        """Returns the errno's name for an operation that shall fail, "" for one that may pass."""
        self.lose_applies = 0
        """So many batches are carried out, but their answers are lost."""
        self.lose_batches = 0
        """So many batches are lost whole, and with them their answers: nothing of them is carried out."""
        self.lose_reads = 0
        self.ghosts: list[tuple[ServiceKey, Endpoint]] = []
        """Destinations that the next whole reading does not show, though they are there."""
        self.carried: dict[Endpoint, Load] = {}
        """The connections of destinations, in every service that has them."""
        self.unavailable = ""
        self.apply_duration_s = 0.0
        self.batches: list[tuple[Op, ...]] = []
        self.apply_times_s: list[float] = []
        self.history: list[tuple[Op, Table]] = []
        self.reads: list[Collection[ServiceKey] | None] = []
        self.glances = 0
        """How often the services alone were read."""
        self.read_duration_s = 0.0
        """What a reading of the whole table costs."""
        self.refuse_change: Callable[[Change], str] = lambda _change: ""
        """The same as `refuse` for settings of the kernel."""
        self.lose_changes = 0
        """So many changes of settings are carried out, but their answers are lost."""
        self.lose_settings = 0
        """So often the settings cannot be read."""
        self.changes: list[Change] = []
        """Changes of settings that were carried out, in order."""
        self.watch: Callable[[Op, Table, Table], None] = lambda _op, _before, _after: None
        """Called after each operation that was carried out, with the table before and after it."""
        self.watch_refusal: Callable[[Op, str], None] = lambda _op, _word: None
        """Called with each operation that the table itself cannot take, and with the errno's name."""
        self.watch_reading: Callable[[Reading], None] = lambda _reading: None
        """Called with each reading of the whole table."""

    @property
    def table(self) -> Table:
        """What is really there."""
        return self._memory.table

    @property
    def ops(self) -> list[Op]:
        """All operations that were carried out, in order."""
        return [op for op, _ in self.history]

    def meddle(self, *ops: Op) -> None:
        """Change the table behind the writer's back."""
        for op in ops:
            self._memory.table = apply(self._memory.table, op)

    def close(self) -> None:
        """Nothing to give back."""

    def read(self, keys: Collection[ServiceKey] | None = None) -> Reading:
        """Read, unless the reading is to be lost."""
        if self.unavailable:
            raise BackendUnavailable(self.unavailable)
        self.reads.append(keys)
        if self.lose_reads:
            self.lose_reads -= 1
            raise AnswerLost("made up")
        if keys is None and self._clock is not None and self.read_duration_s:
            self._clock.jump(self.read_duration_s)
        reading = self._memory.read(keys)
        if self.carried:
            loads = {
                key: {endpoint: self.carried.get(endpoint, load) for endpoint, load in found.items()}
                for key, found in reading.loads.items()
            }
            reading = replace(reading, loads=MappingProxyType(loads))
        if keys is None and self.ghosts:
            reading = replace(reading, table=_without(reading.table, self.ghosts))
            self.ghosts = []
        if keys is None:
            self.watch_reading(reading)
        return reading

    def services(self) -> dict[ServiceKey, ServiceSettings]:
        """Read the services alone, unless the reading is to be lost."""
        if self.unavailable:
            raise BackendUnavailable(self.unavailable)
        self.glances += 1
        if self.lose_reads:
            self.lose_reads -= 1
            raise AnswerLost("made up")
        return self._memory.services()

    def apply(self, ops: Sequence[Op]) -> list[str]:
        """Carry out what is not to be refused."""
        if self.unavailable:
            raise BackendUnavailable(self.unavailable)
        self.batches.append(tuple(ops))
        if trio.lowlevel.in_trio_run():
            self.apply_times_s.append(trio.current_time())
        if self._clock is not None and self.apply_duration_s:
            self._clock.jump(self.apply_duration_s)
        if self.lose_batches:
            self.lose_batches -= 1
            raise AnswerLost("made up")
        words = []
        for op in ops:
            before = self._memory.table
            word = self.refuse(op)
            if not word:
                word = self._memory.apply([op])[0]
                if word:
                    self.watch_refusal(op, word)
                else:
                    self.history.append((op, self._memory.table))
                    self.watch(op, before, self._memory.table)
            words.append(word)
        if self.lose_applies:
            self.lose_applies -= 1
            raise AnswerLost("made up")
        return words

    def settings(self) -> KernelState:
        """Return the settings, unless the answer is to be lost."""
        if self.unavailable:
            raise BackendUnavailable(self.unavailable)
        if self.lose_settings:
            self.lose_settings -= 1
            raise AnswerLost("made up")
        return self._memory.settings()

    def adjust(self, change: Change) -> str:
        """Carry out a change that is not to be refused."""
        if self.unavailable:
            raise BackendUnavailable(self.unavailable)
        word = self.refuse_change(change) or self._memory.adjust(change)
        if not word:
            self.changes.append(change)
        if self.lose_changes:
            self.lose_changes -= 1
            raise AnswerLost("made up")
        return word


def _without(table: Table, ghosts: Collection[tuple[ServiceKey, Endpoint]]) -> Table:
    services = {
        key: replace(
            service,
            destinations=MappingProxyType(
                {endpoint: d for endpoint, d in service.destinations.items() if (key, endpoint) not in ghosts}
            ),
        )
        for key, service in table.services.items()
    }
    return Table(MappingProxyType(services))
