"""Config → unique check jobs → worker index.

Two checks with equal specifications are one job: one probe, many consumers. A job keeps its number for as long as its specification
stands in the configuration, and a number is never given twice in one run, so that a late report can never be taken for another's.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable

from supervisor.model import NOWHERE, CheckSpec, Config


def definition(spec: CheckSpec) -> str:
    """Return 16 hex digits that name what a check does: equal specifications, equal digits."""
    return hashlib.sha256(f"{spec!r} {spec.options_json}".encode()).hexdigest()[:16]


def specs(config: Config) -> Iterable[CheckSpec]:
    """Yield every check of the configuration in the order of the file, repetitions included."""
    for virtual_server in config.virtual_servers:
        for real_server in virtual_server.real_servers:
            yield from real_server.checks


class JobBook:
    """Numbers the jobs. `jobs` maps each specification of the present configuration to its number."""

    def __init__(self) -> None:
        self._next = 1
        self.jobs: dict[CheckSpec, int] = {}

    def update(self, config: Config) -> None:
        """Take in a configuration: what stays keeps its number, what is new gets the next one, what left is forgotten."""
        jobs: dict[CheckSpec, int] = {}
        before = self.jobs
        # Asked as seldom as can be: to find a check takes a hash of its address, and there are thousands.
        for spec in specs(config):
            number = before.get(spec) if before else None
            if jobs.setdefault(spec, self._next if number is None else number) == self._next:
                self._next += 1
        self.jobs = jobs

    def fork(self) -> JobBook:
        """Return a copy that goes its own way."""
        copy = JobBook()
        copy._next, copy.jobs = self._next, dict(self.jobs)
        return copy


ORDERS_MAX = 1024
"""Orders of workers that are shared: all that there are of six."""


def ranking(spec: CheckSpec, workers: int) -> tuple[int, ...]:
    """Return the indices of all workers (0 to workers - 1) in the order in which they are to run a job.

    Rendezvous hashing: the first that is there runs it, so when one comes or goes, only the jobs that must move do. All checks of one
    address and port have the same ranking, so that one worker can hold their probes to a number a second (checkers.kit.pacing).
    """
    if workers == 1:
        return _ONLY
    name = definition(spec) if spec.target == NOWHERE else str(spec.target)
    scores = (int.from_bytes(hashlib.blake2b(f"{name}/{i}".encode(), digest_size=8).digest()) for i in range(workers))
    order = tuple(index for _, index in sorted(((score, index) for index, score in enumerate(scores)), reverse=True))
    return _shared(order)


_ONLY = (0,)


@functools.lru_cache(ORDERS_MAX)
def _shared(order: tuple[int, ...]) -> tuple[int, ...]:
    """Return the same order for all who have it: there are few."""
    return order
