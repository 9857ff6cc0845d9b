"""A hold: a real server that its checks say is DOWN stays in service all the same, because to take it out would be worse.

Two have the right to say so: the guard of a virtual server (`guard`: too few others are left) and the suspicion that this director is
the one that fails (`blame`). A hold changes what the kernel gets, never what the checks say: the server is told as DOWN. An
operator's word goes before a hold, and a server that comes UP needs none any more.
"""

from __future__ import annotations

import enum
import math

from checkers.kit.frozen import frozen
from supervisor.core.events import DestinationId


class HeldBy(enum.Enum):
    """Who holds."""

    GUARD = "guard"  # min_healthy
    BLAME = "blame"  # the director is suspected

    @property
    def text(self) -> str:
        """What people are shown."""
        return "held by guard" if self is HeldBy.GUARD else "held: the director is suspected"


@frozen
class Hold:
    """One hold. Times are trio's seconds; `until` is infinite for as long as it is needed. `text` is the evidence.

    `look_at` is when it is to be looked at again, because time alone may be evidence against it.
    """

    by: HeldBy
    since: float
    until: float = math.inf
    text: str = ""
    look_at: float = math.inf

    @property
    def next_at(self) -> float:
        """When something about it is due."""
        return min(self.until, self.look_at)


class Ends:
    """When holds are due: to end, or to be looked at again. Asked after each event, so the first is kept: it may be early, never late."""

    def __init__(self) -> None:
        self._ends: dict[DestinationId, float] = {}
        self.first = math.inf

    def fork(self) -> Ends:
        """Return a copy that goes its own way."""
        copy = Ends()
        copy._ends, copy.first = dict(self._ends), self.first
        return copy

    def note(self, name: DestinationId, until: float) -> None:
        """A hold ends at `until` (trio's seconds)."""
        self._ends[name] = until
        self.first = min(self.first, until)

    def drop(self, name: DestinationId) -> None:
        """A hold is over, or ends no more by itself."""
        self._ends.pop(name, None)

    def due(self, now: float) -> list[DestinationId]:
        """Return and forget those that end now."""
        if now < self.first:
            return []
        over = [name for name, until in self._ends.items() if until <= now]
        for name in over:
            del self._ends[name]
        self.first = min(self._ends.values(), default=math.inf)
        return over
