"""What to change so that the actual table becomes the desired one, in an order that is safe to stop anywhere.

Giving comes before taking: new services and destinations, changed settings and raised weights (a sorry server that steps in is one
of these), then lowered weights, then deleted destinations, then deleted services. So a pool that has a live destination (weight
above 0) before and after the whole plan has one after each single step of it, whatever the step is at which a writer dies, is
overtaken by a newer table or only starts a new batch. tests/supervisor/core/test_diff.py stops after every one.

Only services that are desired or owned are ever touched; all others belong to somebody else. Pure: tables in, operations out.
Sources: DESIGN.md ("a pool is never empty on the way"); ipvs.md, section 7 (order inside a plan).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType

from checkers.kit.frozen import frozen
from supervisor.core.table import (
    FLAG_HASHED,
    FLAG_PERSISTENT,
    AddDestination,
    AddService,
    ChangeDestination,
    ChangeService,
    DeleteDestination,
    DeleteService,
    Destination,
    Op,
    Service,
    ServiceSettings,
    Table,
)
from supervisor.model import Endpoint, Forwarding, Method, ServiceKey


@frozen
class Plan:
    """Operations in safe order, cut where giving ends and taking begins."""

    giving: tuple[Op, ...]
    taking: tuple[Op, ...]


def diff(desired: Table, actual: Table, owned: Collection[ServiceKey] = frozenset()) -> list[Op]:
    """Return the operations that turn `actual` into `desired`, in safe order; none when they agree in all that matters.

    `owned` are services that we put there or are configured for: those of them that are not desired are deleted. Services
    that are neither desired nor owned are left alone.
    """
    steps = plan(desired, actual, owned)
    return [*steps.giving, *steps.taking]


def plan(desired: Table, actual: Table, owned: Collection[ServiceKey] = frozenset()) -> Plan:
    """Return what `diff` returns, cut in its two parts."""
    giving: list[Op] = []
    lowering: list[Op] = []
    deleting: list[Op] = []
    for key, service in desired.services.items():
        there = actual.services.get(key)
        if there is service:  # one and the same object: there is nothing to compare
            continue
        giving.extend(_service_ops(service, there))
        present = _no_destinations if there is None else there.destinations
        if present == service.destinations:  # nearly always, and quicker than to look at each
            continue
        for destination in map(normal_destination, service.destinations.values()):
            was = present.get(destination.endpoint)
            if was is None:
                giving.append(AddDestination(key, destination))
            elif destination != was:
                (lowering if destination.weight < was.weight else giving).append(ChangeDestination(key, destination))
        deleting.extend(
            DeleteDestination(key, endpoint) for endpoint in present if endpoint not in service.destinations
        )
    deleting.extend(DeleteService(key) for key in actual.services if key in owned and key not in desired.services)
    return Plan(tuple(giving), tuple(lowering + deleting))


def _service_ops(service: Service, there: Service | None) -> list[Op]:
    if there is not None and there.settings == service.settings:  # as with the destinations
        return []
    settings = normal_settings(service.key, service.settings)
    if there is None:
        return [AddService(service.key, settings)]
    if settings != normal_settings(service.key, there.settings):
        return [ChangeService(service.key, settings)]
    return []


_no_destinations: Mapping[Endpoint, Destination] = MappingProxyType({})


def normal_settings(key: ServiceKey, settings: ServiceSettings) -> ServiceSettings:
    """Return `settings` without what has no effect: the kernel's own flag, time-out and granularity where nothing persists."""
    flags = settings.flags & ~FLAG_HASHED
    if flags & FLAG_PERSISTENT:
        return replace(settings, flags=flags)
    return replace(settings, flags=flags, timeout=0, prefix=32 if key.family == 4 else 128)


def normal_destination(destination: Destination) -> Destination:
    """Return `destination` without tunnel details that have no effect: those of NAT and DR."""
    method = destination.method
    if not method.has_details or method.forwarding is Forwarding.TUN:
        return destination
    return replace(destination, method=Method(method.forwarding))


def cautious(steps: Plan, refused: Collection[Op], desired: Table, actual: Table) -> list[Op]:
    """Return the taking part of `steps` after the kernel has refused some operations of the giving part.

    Where a new destination was refused, taking the old ones as planned could leave a pool empty that shall serve. So the last
    live destination of such a pool stays until its successor is there. `actual` is the table from which `steps` was made.
    """
    hurt = {op.key for op in refused if _live(desired, op.key)}
    live = {key: _live(actual, key) for key in hurt}
    for op in steps.giving:
        if op.key in hurt and op not in refused and isinstance(op, AddDestination | ChangeDestination):
            live[op.key] |= {op.destination.endpoint} if op.destination.weight > 0 else set()
    kept: list[Op] = []
    for op in steps.taking:
        if op.key in hurt:
            left = _left(op, live[op.key])
            if live[op.key] and not left:
                continue
            live[op.key] = left
        kept.append(op)
    return kept


def _live(table: Table, key: ServiceKey) -> set[Endpoint]:
    service = table.services.get(key)
    return {d.endpoint for d in service.destinations.values() if d.weight > 0} if service else set()


def _left(op: Op, live: set[Endpoint]) -> set[Endpoint]:
    """Return the endpoints of a service that are live after `op`, which takes."""
    match op:
        case DeleteDestination(endpoint=endpoint):
            return live - {endpoint}
        case ChangeDestination(destination=destination) if destination.weight == 0:
            return live - {destination.endpoint}
        case _:
            return live
