"""What is told of an idle connection, and what opens one: the shape of `kit.held`, and of the fake network in its place."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

from checkers.kit.api import Target
from checkers.kit.timer import Timer

TIMES_SILENT = 3
"""So many signs of life may fail to come: two in a row are lost once in 2,500 s at 1 % loss, and cost a probe."""


class News(enum.Enum):
    """What the network tells of one connection that is held."""

    CONNECTED = "connected"
    REFUSED = "refused"
    FAILED = "failed"  # it could not be opened: time-out, unreachable, our own trouble
    SHORT = "short"  # we have no descriptor for it
    ENDED = "ended"  # closed or reset by the server
    LOST = "lost"  # nothing comes from there any more: keep-alive, ARP, ICMP
    NOISE = "noise"  # it talks and talks


class Held(Protocol):
    """One connection."""

    def close(self) -> None:
        """Close at once; nothing is told of it any more. May be called twice."""


class Watch(Protocol):
    """Where connections come from: `kit.held`, or a fake network."""

    def hold(
        self, target: Target, limit_s: float, keepalive_s: float, told: Callable[[News], None], *, leave: bool = False
    ) -> Held | News:
        """Begin to open a connection, within `limit_s`; return it, or why that failed at once.

        `told` hears CONNECTED or what came instead, and after CONNECTED how it ended; nothing is told after an end.
        Whether the host still lives is asked every `keepalive_s` seconds while nothing comes, TIMES_SILENT times.
        With `leave` our side of it ends as soon as it stands: ENDED is then told when whoever serves it has taken note.
        """


MakeWatch = Callable[[Timer], Watch]
