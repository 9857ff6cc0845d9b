"""Causality: why a real server has the weight it has, as a chain of links that an operator can read.

Every change of a wanted weight starts a chain (start, configuration, or probe → check → real server → quorum); the kernel's answer
and the read-back are added when they come. Ids are unique within one run of the supervisor and travel with transitions, so a
log line, a mail and `vipervisor why` speak of the same thing.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Mapping
from dataclasses import field
from typing import TypeAlias

from checkers.kit.frozen import frozen

Fact: TypeAlias = str | int | float | bool | None


class Kind(enum.Enum):
    """What a link of the chain is."""

    START = "start"
    ADOPTED = "adopted"
    CONFIGURATION = "configuration"
    OPERATOR = "operator"
    PROBE = "probe"
    CHECK = "check"
    REAL_SERVER = "real server"
    HOLD = "hold"
    QUORUM = "quorum"
    KERNEL_WRITE = "kernel write"
    READ_BACK = "read-back"


@frozen
class Cause:
    """One link: what happened at `at` (trio's seconds), because of `parent`."""

    id: int
    parent: int | None
    at: float
    kind: Kind
    text: str
    facts: Mapping[str, Fact] = field(default_factory=dict)  # never changed: equal ones may be one


Chain: TypeAlias = tuple[Cause, ...]
"""The links in the order in which they happened; each one's parent is the one before."""


RECENT_MAX = 4096
"""Chains that can be found by the id of their last link: those of one event, which is told at once, be it a rack that fails."""


ALIKE_MAX = 256
"""Texts and facts that are remembered to be shared: what happens to thousands at once is said in a few words."""

_Said: TypeAlias = tuple[str, Mapping[str, Fact]]


class Chronicle:
    """Numbers the links, and knows the latest chains by the id of their last one. One per director."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._recent: dict[int, Chain] = {}  # the oldest first
        self._alike: dict[tuple[Fact | type, ...], _Said] = {}
        self._last: _Said = "", {}  # most often it is the same again
        self._moment = 0.0
        self._together: dict[
            tuple[int | None, Kind, int], tuple[_Said, Chain]
        ] = {}  # of that moment; by parent, kind, what was said

    def begin(self, now: float, kind: Kind, text: str, **facts: Fact) -> Chain:
        """Start a new chain."""
        return self._noted((Cause(next(self._ids), None, now, kind, *self._shared(text, facts)),))

    def extend(self, chain: Chain, now: float, kind: Kind, text: str, **facts: Fact) -> Chain:
        """Return `chain` with one more link."""
        parent = chain[-1].id if chain else None
        return self._noted((*chain, Cause(next(self._ids), parent, now, kind, *self._shared(text, facts))))

    def extend_together(self, chain: Chain, now: float, kind: Kind, text: str, **facts: Fact) -> Chain:
        """Return `chain` with one more link, the same one for all who share the chain, and begin one if it is empty.

        For what happens to many at one stroke: a start, one write, one reading. It is one thing, so it is one link with one id, and
        10,000 real servers that are well have a handful of chains.
        """
        if now != self._moment or len(self._together) >= ALIKE_MAX:
            self._moment = now
            self._together.clear()
        said = self._shared(text, facts)
        parent = chain[-1].id if chain else None
        which = parent, kind, id(said)  # it is kept beside the chain, so nothing else gets its id
        found = self._together.get(which)
        if found is None:
            found = said, self._noted((*chain, Cause(next(self._ids), parent, now, kind, *said)))
            self._together[which] = found
        return found[1]

    def recent(self, cause: int) -> Chain:
        """Return the chain that ends in the link of this id; empty when that was too long ago."""
        return self._recent.get(cause, ())

    def _shared(self, text: str, facts: Mapping[str, Fact]) -> _Said:
        """Return the same text and facts, those of an earlier link if it said the same: they are most of what a chain takes in memory."""
        if self._last == (text, facts):
            return self._last
        said = (text, *facts, *facts.values(), *map(type, facts.values()))
        found = self._alike.get(said)
        if found is None:
            if len(self._alike) >= ALIKE_MAX:
                self._alike.clear()
            found = self._alike[said] = text, facts
        self._last = found
        return found

    def _noted(self, chain: Chain) -> Chain:
        self._recent[chain[-1].id] = chain
        if len(self._recent) > RECENT_MAX:
            del self._recent[next(iter(self._recent))]
        return chain
