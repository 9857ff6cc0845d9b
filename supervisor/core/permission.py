"""May an operator's wish be granted? Says which virtual servers it would leave below their quorum. Decides nothing else, changes nothing.

What counts is the live weight as it would be: real servers that are down, drained or disabled already bring nothing, whatever the file
says of them (a peer counted them, and let its last live servers be taken out one after another: PyBal's T184715).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from checkers.kit.frozen import frozen
from supervisor.core.events import DestinationId
from supervisor.core.override import Override
from supervisor.core.quorum import quorate
from supervisor.core.virtualserver import VirtualServerState
from supervisor.model import Endpoint, ServiceKey


@frozen
class Shortfall:
    """A virtual server that would be left with `weight_left`, which does not hold its quorum."""

    virtual_server: ServiceKey
    weight_left: int
    quorum: int
    hysteresis: int

    def __str__(self) -> str:
        margin = f" (hysteresis {self.hysteresis})" if self.hysteresis else ""
        return f"{self.virtual_server} with live weight {self.weight_left} of the quorum {self.quorum}{margin}"


def shortfalls(
    virtual_servers: Mapping[ServiceKey, VirtualServerState], targets: Iterable[DestinationId], wish: Override | None
) -> tuple[Shortfall, ...]:
    """Return where `wish` for all of `targets` at once would take weight away and not leave the quorum. Unknown targets are passed over.

    A wish that takes nothing away is never in the way of anything, even where the quorum is lost already: so a server that is down can
    always be drained.
    """
    chosen: dict[ServiceKey, list[Endpoint]] = {}
    for key, endpoint in dict.fromkeys(targets):
        chosen.setdefault(key, []).append(endpoint)
    found: list[Shortfall] = []
    for key, endpoints in chosen.items():
        virtual_server = virtual_servers.get(key)
        if virtual_server is None:
            continue
        spec = virtual_server.spec
        servers = [server for where in endpoints if (server := virtual_server.real_servers.get(where)) is not None]
        change = sum(server.weight_under(wish) - server.effective_weight for server in servers)
        left = virtual_server.weight_up + change
        if change < 0 and not quorate(virtual_server.quorate, left, spec.quorum, spec.hysteresis):
            found.append(Shortfall(key, left, spec.quorum, spec.hysteresis))
    return tuple(found)
