"""Differences that nobody here made: believed only when two readings show the very same.

A dump of the kernel's table is not atomic and never says so: while others wrote, 17 of 499 lacked a destination that was there all along
(reliability.md, section 0, fact 3). Somebody who writes faster than we look never shows the same twice: after `LOOKS_MAX` readings that
were all wrong the last of them is believed, which also bounds what looking again may cost. Pure: `now` is trio's time in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import replace

from checkers.kit.frozen import frozen
from supervisor.core.table import Op
from supervisor.model import ServiceKey

LOOKS_MAX = 10
"""Half a second at 50 ms each; one dump in thirty lied under the heaviest churn that was tried, so ten in a row do not."""


@frozen
class _Suspicion:
    """Differences of one service that nobody here made, and from when on a reading that shows just them confirms it."""

    ops: frozenset[Op]
    confirm_at: float
    looks: int = 1


class Suspicions:
    """Differences that one reading has shown. One owner: the writer."""

    def __init__(self, confirm_delay_s: float) -> None:
        self._confirm_delay_s = confirm_delay_s
        self._open: dict[ServiceKey, _Suspicion] = {}

    @property
    def keys(self) -> Collection[ServiceKey]:
        """The services to look at again."""
        return self._open.keys()

    def next_look(self) -> float:
        """Return when to look at them again; infinite when there are none."""
        return min((suspicion.confirm_at for suspicion in self._open.values()), default=math.inf)

    def look(self, ops: Iterable[Op], read: Collection[ServiceKey] | None, now: float) -> set[ServiceKey]:
        """Take what one reading showed of the services `read` (None: of all) and return those where it is the same as before."""
        found: dict[ServiceKey, list[Op]] = {}
        for op in ops:
            found.setdefault(op.key, []).append(op)
        still = {} if read is None else {key: old for key, old in self._open.items() if key not in read}
        confirmed: set[ServiceKey] = set()
        for key, differences in found.items():
            suspicion = _Suspicion(frozenset(differences), now + self._confirm_delay_s)
            before = self._open.get(key, suspicion)
            if before.ops != suspicion.ops:
                before = replace(suspicion, looks=before.looks + 1)
            if now >= before.confirm_at or before.looks >= LOOKS_MAX:
                confirmed.add(key)
            else:
                still[key] = before
        self._open = still
        return confirmed

    def clear(self) -> None:
        """Forget all: everything is as it should be."""
        self._open = {}
