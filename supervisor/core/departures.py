"""Real servers that left the configuration and still carry connections: they stay at weight 0 until these are gone.

The kernel drops the packets of a connection whose destination was deleted (ip_vs_in: a destination that is not available), so deleting
it at once cuts off every client who is in the middle of something. A departing destination takes nobody new, and goes when it is empty,
or when its time is over. The same for all destinations of a virtual server that left: its service stays with them.

"Empty" means no active connection (ip_vs_conn: TCP and SCTP that are established) and none that is ending; of those that only end, or of
protocols without connections, the rest is let go LAST_PACKETS_S after the last active one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from checkers.kit.frozen import frozen
from supervisor.core.events import DestinationId
from supervisor.core.table import Destination, Load, Reading, Service, ServiceSettings
from supervisor.core.transitions import Drained
from supervisor.model import Endpoint, ServiceKey

LAST_PACKETS_S = 10.0
"""How long a destination without active connections waits for those that are ending. Ours: the last retransmissions of a farewell."""


@frozen
class Departing:
    """One destination on its way out. Times are trio's seconds; `quiet_since` is when it had no active connection any more."""

    destination: Destination
    since: float
    until: float
    quiet_since: float = math.inf


class Departures:
    """All destinations on their way out, of virtual servers that stay and of those that left (`services`: their settings)."""

    def __init__(self) -> None:
        self.services: dict[ServiceKey, ServiceSettings] = {}
        self._departing: dict[ServiceKey, dict[Endpoint, Departing]] = {}

    def __bool__(self) -> bool:
        return bool(self._departing)

    @property
    def touched(self) -> Collection[ServiceKey]:
        """The virtual servers of which something is on its way out."""
        return self._departing.keys()

    def fork(self) -> Departures:
        """Return a copy that goes its own way."""
        copy = Departures()
        copy.services = dict(self.services)
        copy._departing = {key: dict(leaving) for key, leaving in self._departing.items()}
        return copy

    def begin(self, key: ServiceKey, destinations: Iterable[Destination], now: float, timeout_s: float) -> None:
        """Have destinations leave that stand in the table of a virtual server; with a time-out of 0 they are simply forgotten."""
        leaving = self._departing.get(key, {})
        for destination in destinations if timeout_s > 0 else ():
            leaving[destination.endpoint] = Departing(replace(destination, weight=0), now, now + timeout_s)
        if leaving:
            self._departing[key] = leaving

    def begin_service(self, service: Service, now: float, timeout_s: float) -> None:
        """Have a whole service leave: it stays with its destinations at weight 0 until they are empty."""
        self.begin(service.key, service.destinations.values(), now, timeout_s)
        if service.key in self._departing:
            self.services[service.key] = service.settings

    def come_back(self, key: ServiceKey, endpoints: Iterable[Endpoint]) -> None:
        """Forget departures of what the configuration has (again): the virtual server `key` with these endpoints."""
        self.services.pop(key, None)
        leaving = self._departing.get(key)
        if leaving is not None:
            for endpoint in endpoints:
                leaving.pop(endpoint, None)
            if not leaving:
                del self._departing[key]

    def of(self, key: ServiceKey) -> Mapping[Endpoint, Departing]:
        """Return the destinations of a virtual server that are on their way out."""
        return self._departing.get(key, _NOBODY)

    def join(self, service: Service) -> Service:
        """Return a service with those on their way out beside its own destinations."""
        leaving = self._departing.get(service.key)
        if not leaving:
            return service
        there = {endpoint: departing.destination for endpoint, departing in leaving.items()}
        return replace(service, destinations=MappingProxyType({**there, **service.destinations}))

    def left(self, key: ServiceKey) -> Service | None:
        """Return what is left of a virtual server that is not in the configuration any more; None: nothing."""
        settings = self.services.get(key)
        return None if settings is None else self.join(Service(key, settings, MappingProxyType({})))

    def next_deadline(self) -> float:
        """Return when the first one's time is over."""
        return min((d.until for leaving in self._departing.values() for d in leaving.values()), default=math.inf)

    def look(self, reading: Reading | None, now: float) -> list[Drained]:
        """Let go who is empty by a new reading (None: there is none), or whose time is over; return them."""
        return [
            drained
            for name, departing in self._all()
            if (drained := self._judge(name, departing, reading, now)) is not None
        ]

    def _all(self) -> list[tuple[DestinationId, Departing]]:
        return [
            ((key, endpoint), departing)
            for key, leaving in self._departing.items()
            for endpoint, departing in leaving.items()
        ]

    def _judge(self, name: DestinationId, departing: Departing, reading: Reading | None, now: float) -> Drained | None:
        key, endpoint = name
        load = Load()
        empty = False
        if reading is not None:
            service = reading.table.services.get(key)
            found = service.destinations.get(endpoint) if service else None
            load = reading.load(key, endpoint) or Load()
            empty = found is None or (found.weight == 0 and self._is_empty(name, departing, load, now))
        if not empty and now < departing.until:
            return None
        leaving = self._departing[key]
        del leaving[endpoint]
        if not leaving:
            del self._departing[key]
            self.services.pop(key, None)
        return Drained(key, endpoint, took_s=now - departing.since, cut_off=0 if empty else load.active, in_time=empty)

    def _is_empty(self, name: DestinationId, departing: Departing, load: Load, now: float) -> bool:
        key, endpoint = name
        if load.active:
            if departing.quiet_since < math.inf:
                self._departing[key][endpoint] = replace(departing, quiet_since=math.inf)
            return False
        if departing.quiet_since == math.inf:
            self._departing[key][endpoint] = replace(departing, quiet_since=now)
        return load.inactive == 0 or now >= departing.quiet_since + LAST_PACKETS_S


_NOBODY: Mapping[Endpoint, Departing] = MappingProxyType({})
