"""Taking over the kernel's table at start: what a destination that was found says about its real server.

A crash leaves the table; the next start must neither revive what was out nor take out what serves. The table itself is the memory.
"""

from __future__ import annotations

import enum
from typing import assert_never

from supervisor.core.table import Destination, Service
from supervisor.model import CheckSpec, Endpoint, RealServer, VirtualServer, Weighs


class Standing(enum.Enum):
    """What the checks of a real server start from."""

    FRESH = "fresh"  # the kernel knows nothing: the configuration's rules (alpha or not)
    SERVING = "serving"  # it has traffic: as if its checks had passed
    OUT = "out"  # weight 0 or absent beside others of ours: as if they had failed


def standing(spec: RealServer, found: Service | None, *, other_file: bool = False) -> Standing:
    """Return how a real server starts, given the kernel's service as it was found (None: there was none).

    A service without any destination says nothing (we died while making it), a server without checks could never come back,
    and a configured weight of 0 is the operator's own drain. An absent server is out, unless the table cannot mean it: with
    inhibit_on_failure it would have stood there with weight 0, and `other_file` (see `made_from_another_file`) says nothing of it.
    """
    if found is None or not found.destinations or not spec.checks:
        return Standing.FRESH
    destination = found.destinations.get(spec.endpoint)
    if destination is None:
        return Standing.FRESH if spec.inhibit_on_failure or other_file else Standing.OUT
    return Standing.OUT if destination.weight == 0 and spec.weight > 0 else Standing.SERVING


def spoken_weight(spec: RealServer, found: Destination | None) -> dict[CheckSpec, int]:
    """Return what a check must have said for the weight that the kernel's table shows, until it speaks itself.

    Else a restart would set a dynamic weight back to the configured one until the next probe. What a file says is known already.
    """
    if found is None or found.weight == spec.weight or any(check.first_weight is not None for check in spec.checks):
        return {}
    for check in spec.checks:
        match check.weighs:
            case Weighs.REPLACES:
                return {check: found.weight}
            case Weighs.ADDS:
                return {check: found.weight - spec.weight}
            case Weighs.NOTHING:
                pass
            case _:
                assert_never(check.weighs)
    return {}


def made_from_another_file(virtual_server: VirtualServer, found: Service | None) -> bool:
    """Tell whether nothing that serves in the table is named by the file any more.

    To take all the servers that the file names for dead would then empty the pool.
    """
    if found is None:
        return False
    ours: set[Endpoint] = {rs.endpoint for rs in virtual_server.real_servers}
    if virtual_server.sorry_server is not None:
        ours.add(virtual_server.sorry_server.endpoint)
    serving = {endpoint for endpoint, destination in found.destinations.items() if destination.weight > 0}
    return bool(serving) and not serving & ours
