"""How real servers start: what the kernel's table, as it was found, and the memory of the run before say of each together.

A crash leaves the table; the next start must neither revive what was out nor take out what serves. What is in the table is never taken
out by memory, and what is out of it never comes in but by knowledge that is fresh and agrees. `standings` decides by this table:

| the kernel's table has it            | was UP  | was UP long ago (5) | was DOWN    | was UNKNOWN | nothing is remembered           |
| ------------------------------------ | ------- | ------------------- | ----------- | ----------- | ------------------------------- |
| with weight                          | SERVING | SERVING             | PROVISIONAL | PROVISIONAL | SERVING                         |
|                                      |         |                     | (1)         |             |                                 |
| at 0 or not, as we wanted            | KNOWN   | OUT                 | OUT         | FRESH       |                                 |
| at 0 or not, though we wanted it (2) | OUT     | OUT                 | OUT         | OUT         |                                 |
| at weight 0                          |         |                     |             |             | OUT; SERVING if the file wants 0 |
| not, beside others                   |         |                     |             |             | OUT; FRESH with inhibit, or (3) |
| not, and nothing that serves is in   | OUT (4) | OUT (4)             | OUT (4)     | OUT (4)     | FRESH                           |
| the file                             |         |                     |             |             |                                 |
| not: there is no service, or it is   | KNOWN   | FRESH               | KNOWN (4)   | FRESH       | FRESH                           |
| empty                                |         |                     |             |             |                                 |

(1) The file may be a second behind the table (it came back just before the end), or somebody else gave it weight. It keeps what it has
and the first probe decides, without a retry. Only where it stands in as its own sorry server it is OUT.
(2) Somebody took it out while nobody looked, or the file is a second behind. The kernel wins until a probe passes.
(3) Every server that is remembered stands as we wanted it, so one that is not remembered is new in the file and starts by its rules.
(4) Where nobody would serve clients then, not even a sorry server, all start FRESH: a dead server is no worse than none.

(5) More than `memory.FRESH_S` before this start: that is no proof any more.

A server without checks is always FRESH: it could never come back. An absent one with inhibit_on_failure would have stood there with
weight 0. Memory of another boot or network namespace says nothing of health and does not come here.
"""

from __future__ import annotations

import enum
from typing import assert_never

from supervisor.core.events import Health
from supervisor.core.memory import FRESH_S, PoolMemory, ServerMemory
from supervisor.core.table import Destination, Service
from supervisor.model import CheckSpec, Endpoint, RealServer, VirtualServer, Weighs


class Standing(enum.Enum):
    """What the checks of a real server start from."""

    FRESH = "fresh"  # nothing is known: the configuration's rules (alpha or not)
    SERVING = "serving"  # it has traffic: as if its checks had passed
    PROVISIONAL = "provisional"  # it has traffic, and the first probe decides whether it keeps it
    KNOWN = "known"  # each check as it is remembered
    OUT = "out"  # out of service until its checks pass


def standings(
    virtual_server: VirtualServer, found: Service | None, memory: PoolMemory | None = None, age_s: float = 0.0
) -> dict[Endpoint, Standing]:
    """Return how each real server starts, given the kernel's service as it was found (None: there was none) and what is remembered.

    `age_s` is how long ago the one who remembers was last alive, in seconds. Pure.
    """
    if found is not None and not found.destinations:
        found = None  # we died while making it
    if found is None and memory is None:
        return {spec.endpoint: Standing.FRESH for spec in virtual_server.real_servers}
    other_file = made_from_another_file(virtual_server, found)
    as_left = memory is not None and found is not None and _is_as_left(memory, found)
    decided: dict[Endpoint, Standing] = {}
    for spec in virtual_server.real_servers:
        known = memory.servers.get(spec.endpoint) if memory else None
        if not spec.checks:
            decided[spec.endpoint] = Standing.FRESH
        elif known is None:
            decided[spec.endpoint] = _by_table(spec, found, new=as_left or other_file)
        elif memory is not None and _stood_in(spec, memory):
            decided[spec.endpoint] = Standing.OUT
        else:
            decided[spec.endpoint] = _by_both(spec, found, known, stale=age_s > FRESH_S)
    if found is not None and not other_file:
        return decided
    serves = any(_serves(spec, decided[spec.endpoint], memory) for spec in virtual_server.real_servers)
    if serves or virtual_server.sorry_server is not None:
        return decided
    return dict.fromkeys(decided, Standing.FRESH)


def _by_table(spec: RealServer, found: Service | None, *, new: bool) -> Standing:
    """Decide by the table alone; `new` tells that it says nothing of a server that is not in it."""
    if found is None:
        return Standing.FRESH
    destination = found.destinations.get(spec.endpoint)
    if destination is None:
        return Standing.FRESH if spec.inhibit_on_failure or new else Standing.OUT
    return Standing.OUT if destination.weight == 0 and spec.weight > 0 else Standing.SERVING


def _by_both(spec: RealServer, found: Service | None, known: ServerMemory, *, stale: bool) -> Standing:
    """Decide by table and memory; `stale` tells that having been UP proves nothing any more."""
    if found is not None:
        destination = found.destinations.get(spec.endpoint)
        if destination is not None and destination.weight > 0:
            return Standing.SERVING if known.health is Health.UP else Standing.PROVISIONAL
        if known.wanted:
            return Standing.OUT
    match known.health:
        case Health.UP if stale:
            return Standing.FRESH if found is None else Standing.OUT
        case Health.UP:
            return Standing.KNOWN
        case Health.DOWN:
            return Standing.KNOWN if found is None else Standing.OUT
        case Health.UNKNOWN:
            return Standing.FRESH
        case _:
            assert_never(known.health)


def _stood_in(spec: RealServer, memory: PoolMemory) -> bool:
    """Tell whether a real server that is down had its weight as the sorry server of its own pool."""
    known = memory.servers[spec.endpoint]
    return spec.endpoint == memory.sorry and not memory.quorate and known.health is Health.DOWN


def _is_as_left(memory: PoolMemory, found: Service) -> bool:
    """Tell whether every server that is remembered has weight in the table just where it should have."""
    for endpoint, known in memory.servers.items():
        destination = found.destinations.get(endpoint)
        if bool(known.wanted) is not (destination is not None and destination.weight > 0):
            return False
    return True


def _serves(spec: RealServer, standing: Standing, memory: PoolMemory | None) -> bool:
    """Tell whether a real server would get clients, as far as its health goes."""
    match standing:
        case Standing.SERVING | Standing.PROVISIONAL:
            return True
        case Standing.OUT:
            return False
        case Standing.KNOWN:
            known = memory.servers.get(spec.endpoint) if memory else None
            return known is not None and known.health is Health.UP
        case Standing.FRESH:
            return not any(check.alpha or check.first_down for check in spec.checks)
        case _:
            assert_never(standing)


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
