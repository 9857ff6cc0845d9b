"""A hold: a real server that its checks say is DOWN stays in service all the same, because to take it out would be worse.

Two have the right to say so: the guard of a virtual server (`guard`: too few others are left) and the suspicion that this director is
the one that fails (`blame`). A hold changes what the kernel gets, never what the checks say: the server is told as DOWN. An
operator's word goes before a hold, and a server that comes UP needs none any more.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass


class HeldBy(enum.Enum):
    """Who holds."""

    GUARD = "guard"  # min_healthy
    BLAME = "blame"  # the director is suspected

    @property
    def text(self) -> str:
        """What people are shown."""
        return "held by guard" if self is HeldBy.GUARD else "held: the director is suspected"


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold. `since` and `until` are trio's seconds; `until` is infinite for as long as it is needed. `text` is the evidence."""

    by: HeldBy
    since: float
    until: float = math.inf
    text: str = ""
