"""The operator's pause: nothing is written to the kernel until somebody says resume, or its time is over. A value."""

from __future__ import annotations

import math

from checkers.kit.frozen import frozen


@frozen
class Pause:
    """Who wants it, why, since when and until when (trio's seconds; `until` may be infinite)."""

    by: str
    reason: str
    since: float
    until: float = math.inf
