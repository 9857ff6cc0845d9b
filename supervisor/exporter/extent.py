"""How much is told of each real server: what an operator chose, and where the number of series ends it. Pure.

A series costs Prometheus memory for as long as it is told, and 10,000 real servers make 140,000 of them; so beyond a limit the real servers
are left out whole, which is said by metrics, by a line in the log and by `/metrics` itself, and never only a part of them: sums over a part
would be wrong without a word. Sources: observability.md, sections 1.1 (node_exporter issue 1708) and 1.3.
"""

from __future__ import annotations

from collections.abc import Iterable

from checkers.kit.frozen import frozen
from supervisor.core.snapshot import VirtualServerView

SERIES_MAX_DEFAULT = 20_000
"""Series of real servers that are told without being asked for: those of 1,428 (observability.md, section 1.3)."""

SERIES_EACH = 14
"""Series that one real server makes without the additional ones (`serverfamilies`; a test counts them)."""


@frozen
class Extent:
    """What the operator wants to see of real servers."""

    series_max: int = SERIES_MAX_DEFAULT
    """More series than this of real servers: they are left out. 0: no limit."""
    detail: bool = False
    """Traffic counters and the last duration of each check, for each real server."""
    node_ipvs: bool = False
    """The names of node_exporter's ipvs collector as well."""

    def omits(self, real_servers: int) -> bool:
        """Tell whether so many real servers are too many."""
        return 0 < self.series_max < real_servers * SERIES_EACH


def count(virtual_servers: Iterable[VirtualServerView]) -> int:
    """Return how many real servers there are, each counted once for every virtual server that has it."""
    return sum(len(virtual_server.real_servers) for virtual_server in virtual_servers)
