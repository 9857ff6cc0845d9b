"""One virtual server: its real servers, quorum and sorry server make one `Service` of the table.

The rules (keepalived.md, section 3.3):

* quorate: real servers in service (live ones, and those that are held: `guard`, `blame`) stand with their weight; the others are
  absent, or at weight 0 with inhibit_on_failure;
* not quorate, with a sorry server: it stands with weight 1 and all real servers are absent or at weight 0;
* not quorate, without one: as if quorate, the servers that are left keep serving;
* a real server that an operator drains stands at weight 0 while it is live, whatever else holds; a disabled one is as one that failed;
* sorry_server_inhibit: while not needed the sorry server stands at weight 0 instead of being absent.

The order of the way from one table to the next (a pool is never empty on it) is `diff`'s business, not this module's.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from types import MappingProxyType

from supervisor.core.hold import HeldBy, Hold
from supervisor.core.override import AdminState
from supervisor.core.quorum import quorate
from supervisor.core.realserver import RealServerState
from supervisor.core.table import FLAG_ONE_PACKET, FLAG_PERSISTENT, Destination, Service, ServiceSettings
from supervisor.model import Endpoint, RealServer, VirtualServer

SORRY_WEIGHT = 1


class VirtualServerState:
    """What is known of one virtual server.

    `weight_up` is the sum of the effective weights of the real servers in service, `servers_up` how many are live, `held` how many serve
    though they are not, `guarded` how many of these for min_healthy. They are kept, not summed at each question: a rack that fails asks
    thousands of times. `refused` counts how often a real server began to be held. `suspended` tells that its checks rest (ha_suspend).
    """

    __slots__ = (
        "downs",
        "guarded",
        "held",
        "quorate",
        "real_servers",
        "refused",
        "servers_up",
        "since",
        "spec",
        "suspended",
        "ups",
        "weight_up",
    )

    def __init__(self, spec: VirtualServer, real_servers: dict[Endpoint, RealServerState], now: float) -> None:
        self.spec = spec
        self.real_servers = real_servers
        self.quorate = False
        self.suspended = False
        self.since = now
        self.ups = 0
        self.downs = 0
        self.refused = 0
        self.recount()

    def fork(self) -> VirtualServerState:
        """Return a copy with real servers and checks of its own."""
        state = copy.copy(self)
        state.real_servers = {endpoint: server.fork() for endpoint, server in self.real_servers.items()}
        return state

    def recount(self) -> None:
        """Sum up anew, after the real servers or their weights were changed."""
        self.weight_up = self.servers_up = self.held = self.guarded = 0
        for server in self.real_servers.values():
            self.weight_up += server.effective_weight
            self.servers_up += server.live
            self.held += server.hold is not None
            self.guarded += _by_guard(server.hold)

    def count(self, server: RealServerState, *, was_live: bool, old_weight: int) -> None:
        """Follow one real server that went live or ceased to be, or whose weight changed; `old_weight` was its effective one."""
        self.weight_up += server.effective_weight - old_weight
        self.servers_up += server.live - was_live

    def hold(self, server: RealServerState, hold: Hold | None) -> None:
        """Hold a real server, or let go of it (None)."""
        old_weight = server.effective_weight
        self.held += (hold is not None) - (server.hold is not None)
        self.guarded += _by_guard(hold) - _by_guard(server.hold)
        server.hold = hold
        self.weight_up += server.effective_weight - old_weight

    @property
    def sorry_active(self) -> bool:
        """Whether the sorry server serves the clients."""
        return self.spec.sorry_server is not None and not self.quorate

    @property
    def sorry_in_service(self) -> Endpoint | None:
        """The sorry server that serves the clients now, if any."""
        return self.spec.sorry_server.endpoint if self.spec.sorry_server and self.sorry_active else None

    def weight_of(self, server: RealServerState) -> int | None:
        """Return the weight wanted for a real server, None when it should not be in the table at all."""
        return self._weight_beside(self.sorry_in_service, server)

    @staticmethod
    def _weight_beside(sorry: Endpoint | None, server: RealServerState) -> int | None:
        """The same, where it is known which sorry server is in service."""
        if sorry is None:
            if server.in_service:
                return server.effective_weight
        elif server.spec.endpoint == sorry:
            return SORRY_WEIGHT
        if server.live and server.admin is AdminState.DRAINING:
            return 0
        return 0 if server.spec.inhibit_on_failure else None

    def judge(self, now: float) -> bool:
        """Bring `quorate` up to date; return whether it changed."""
        holds = quorate(self.quorate, self.weight_up, self.spec.quorum, self.spec.hysteresis)
        if holds is self.quorate:
            return False
        self.quorate = holds
        self.since = now
        if holds:
            self.ups += 1
        else:
            self.downs += 1
        return True

    def holds_with(self, endpoints: Collection[Endpoint]) -> bool:
        """Tell whether these of the real servers alone would hold the quorum as it stands."""
        weight = sum(server.effective_weight for where, server in self.real_servers.items() if where in endpoints)
        return quorate(self.quorate, weight, self.spec.quorum, self.spec.hysteresis)

    def service(self) -> Service:
        """Return what the kernel should have for this virtual server now."""
        destinations: dict[Endpoint, Destination] = {}
        sorry_in_service = self.sorry_in_service
        for endpoint, server in self.real_servers.items():
            weight = self._weight_beside(sorry_in_service, server)
            if weight is not None:
                destinations[endpoint] = _destination(server.spec, weight)
        sorry = self.spec.sorry_server
        if sorry is not None and (self.sorry_active or sorry.inhibit) and sorry.endpoint not in destinations:
            weight = SORRY_WEIGHT if self.sorry_active else 0
            destinations[sorry.endpoint] = Destination(sorry.endpoint, weight, sorry.method)
        return Service(self.spec.key, settings(self.spec), MappingProxyType(destinations))


def _by_guard(hold: Hold | None) -> bool:
    return hold is not None and hold.by is HeldBy.GUARD


def _destination(spec: RealServer, weight: int) -> Destination:
    return Destination(spec.endpoint, weight, spec.method, spec.upper_threshold, spec.lower_threshold)


def settings(spec: VirtualServer) -> ServiceSettings:
    """Return the kernel's settings of a virtual server."""
    flags = spec.scheduler_flags
    if spec.persistence_timeout:
        flags |= FLAG_PERSISTENT
    if spec.one_packet:
        flags |= FLAG_ONE_PACKET
    whole = 32 if spec.key.family == 4 else 128
    return ServiceSettings(
        scheduler=spec.scheduler,
        flags=flags,
        timeout=spec.persistence_timeout,
        prefix=spec.persistence_prefix or whole,
        engine=spec.persistence_engine,
    )
