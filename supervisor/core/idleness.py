"""Which checks are of real servers that nobody uses, from the kernel's own counts. Pure; `now` in seconds of any steady clock.

    idleness.reconfigure(config, jobs)                 # only checks with an idle_interval are of interest
    idleness.look(reading, now)                        # after each reading: True when something is different
    idleness.idle                                      # jobs whose servers had no traffic for QUIET_S, in any virtual server

A destination has traffic while it has active connections or its counters move. One that is not in the table, or was not there a
moment ago, is not idle: nothing is known of it. Costs nothing where no check has an idle_interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from supervisor.core.events import DestinationId
from supervisor.core.table import Counters, Load, Reading
from supervisor.model import CheckSpec, VirtualServer

QUIET_S = 60.0
"""Without traffic for so long, a server is idle. Ours: longer than the pauses between the clients of nearly every service."""

LOOK_EVERY_S = 1.0
"""Readings that come faster are passed over: in a storm of writes there is one after each."""


class Idleness:
    """What was seen of the traffic of those who may be probed less often without it."""

    def __init__(self) -> None:
        self.idle: frozenset[int] = frozenset()
        self._jobs: dict[DestinationId, tuple[int, ...]] = {}
        self._seen: dict[DestinationId, tuple[Counters, float]] = {}  # the counts, and since when nothing moved
        self._looked_at = -LOOK_EVERY_S

    def reconfigure(self, virtual_servers: Iterable[VirtualServer], jobs: Mapping[CheckSpec, int]) -> None:
        """Take in a configuration and the numbers of its checks."""
        found: dict[DestinationId, tuple[int, ...]] = {}
        for virtual_server in virtual_servers:
            for server in virtual_server.real_servers:
                asked = [
                    jobs[spec] for spec in server.checks if spec.schedule.idle_interval is not None and spec in jobs
                ]
                if asked:
                    found[virtual_server.key, server.endpoint] = tuple(asked)
        self._jobs = found
        self._seen = {name: seen for name, seen in self._seen.items() if name in found}
        self.idle &= {job for several in found.values() for job in several}

    def look(self, reading: Reading, now: float) -> bool:
        """Take in what each destination of a reading carries; return whether `idle` changed."""
        if not self._jobs or now < self._looked_at + LOOK_EVERY_S:
            return False
        self._looked_at = now
        idle, busy = set[int](), set[int]()
        for name, jobs in self._jobs.items():
            (idle if self._is_quiet(name, reading.load(*name), now) else busy).update(jobs)
        before, self.idle = self.idle, frozenset(idle - busy)
        return self.idle != before

    def _is_quiet(self, name: DestinationId, load: Load | None, now: float) -> bool:
        if load is None:
            self._seen.pop(name, None)
            return False
        seen = self._seen.get(name)
        if seen is None or load.active or load.counters != seen[0]:
            self._seen[name] = (load.counters, now)
            return False
        return now - seen[1] >= QUIET_S
