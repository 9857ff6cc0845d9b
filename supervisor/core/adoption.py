"""Taking over the kernel's table at start: what a destination that was found says about its real server.

A crash leaves the table; the next start must neither revive what was out nor take out what serves. The table itself is the memory.
"""

from __future__ import annotations

import enum

from supervisor.core.table import Service
from supervisor.model import RealServer


class Standing(enum.Enum):
    """What the checks of a real server start from."""

    FRESH = "fresh"  # the kernel knows nothing: the configuration's rules (alpha or not)
    SERVING = "serving"  # it has traffic: as if its checks had passed
    OUT = "out"  # weight 0 or absent beside others: as if they had failed


def standing(spec: RealServer, found: Service | None) -> Standing:
    """Return how a real server starts, given the kernel's service as it was found (None: there was none).

    A service without any destination says nothing (we died while making it), a server without checks could never come back,
    and a configured weight of 0 is the operator's own drain.
    """
    if found is None or not found.destinations or not spec.checks:
        return Standing.FRESH
    destination = found.destinations.get(spec.endpoint)
    if destination is None or (destination.weight == 0 and spec.weight > 0):
        return Standing.OUT
    return Standing.SERVING
