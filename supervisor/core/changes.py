"""What a new configuration changes: by name, for people; and what it would do to the kernel, before it does.

    new = retain(old, new)                             # the same configuration, what did not change being the old objects
    changes = compare(old, new)                        # which virtual and real servers come, go and change
    ahead = foresee(director, new, owned, now)         # the same and every kernel operation, on a copy of the director

Pure. The copy is thrown away; nothing that happens to it is told.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import field, fields, replace
from typing import TypeAlias

from checkers.kit.frozen import frozen
from supervisor.core import detection, edits
from supervisor.core.detection import DetectionChange
from supervisor.core.diff import diff
from supervisor.core.director import Director
from supervisor.core.edits import Edit
from supervisor.core.events import DestinationId
from supervisor.core.table import Loads, Op, Reading, Table
from supervisor.model import Config, Endpoint, RealServer, ServiceKey, VirtualServer

_NOT_SETTINGS = frozenset({"virtual_servers", "source", "digest", "warnings", "files", "text"})
_BESIDE = tuple(one.name for one in fields(Config) if one.name != "virtual_servers")
"""All that a configuration consists of beside its virtual servers, whether it is a setting or not."""


@frozen
class Changes:
    """The differences between two configurations. `settings` are the parts of the model beside virtual servers that differ.

    `edits` say what changed in those that stay, and `edits_untold` in how many more it was not looked for. `detection` is what follows
    for the time that noticing takes. Neither is a difference by itself.
    """

    virtual_servers_added: tuple[ServiceKey, ...] = ()
    virtual_servers_removed: tuple[ServiceKey, ...] = ()
    virtual_servers_changed: tuple[ServiceKey, ...] = ()
    real_servers_added: tuple[DestinationId, ...] = ()
    real_servers_removed: tuple[DestinationId, ...] = ()
    real_servers_changed: tuple[DestinationId, ...] = ()
    settings: tuple[str, ...] = ()
    detection: tuple[DetectionChange, ...] = field(default=(), compare=False)
    edits: tuple[Edit, ...] = field(default=(), compare=False)
    edits_untold: int = field(default=0, compare=False)

    def __bool__(self) -> bool:
        return any(getattr(self, one.name) for one in fields(self) if one.compare)


@frozen
class Foresight:
    """What a reload would do. `loads` are the connections that each destination carries now."""

    changes: Changes
    operations: tuple[Op, ...]
    before: Table
    loads: Loads


def retain(old: Config, new: Config) -> Config:
    """Return `new` with the objects of `old` wherever they are equal: to be kept once, and to be told from the others at a glance.

    Linear in the number of real servers, and nothing that needs the loop: it may run in a thread beside it.
    """
    before = {vs.key: vs for vs in old.virtual_servers}
    servers = tuple(_retained(before.get(vs.key), vs) for vs in new.virtual_servers)
    if len(servers) == len(old.virtual_servers) and all(map(operator.is_, servers, old.virtual_servers)):
        servers = old.virtual_servers
    equal = {name: getattr(old, name) for name in _BESIDE if getattr(old, name) == getattr(new, name)}
    return replace(new, virtual_servers=servers, **equal)


def _retained(old: VirtualServer | None, new: VirtualServer) -> VirtualServer:
    if old is None:
        return new
    if old == new:
        return old
    before: dict[Endpoint, RealServer] = {server.endpoint: server for server in old.real_servers}
    known = (before.get(server.endpoint) for server in new.real_servers)
    servers = tuple(one if one == other else other for one, other in zip(known, new.real_servers, strict=True))
    return replace(new, real_servers=servers)


def compare(old: Config, new: Config) -> Changes:
    """Return what differs. Real servers of a virtual server that comes or goes are counted with the others."""
    before = {vs.key: vs for vs in old.virtual_servers}
    after = {vs.key: vs for vs in new.virtual_servers}
    changed = [key for key, vs in after.items() if key in before and before[key] != vs]
    added, removed, edited = list[DestinationId](), list[DestinationId](), list[DestinationId]()
    for key in changed:
        one, other = _servers(before[key]), _servers(after[key])
        added += [name for name in other if name not in one]
        removed += [name for name in one if name not in other]
        edited += [name for name in other if name in one and one[name] != other[name]]
    for key in after.keys() - before.keys():
        added += _servers(after[key])
    for key in before.keys() - after.keys():
        removed += _servers(before[key])
    return Changes(
        tuple(key for key in after if key not in before),
        tuple(key for key in before if key not in after),
        tuple(changed),
        _sorted(added),
        _sorted(removed),
        tuple(edited),
        tuple(
            one.name
            for one in fields(Config)
            if one.name not in _NOT_SETTINGS and getattr(old, one.name) != getattr(new, one.name)
        ),
        detection.compare(
            before,
            after,
            {*changed, *(before.keys() ^ after.keys())},
            (old.probe_rate_max, new.probe_rate_max),
        ),
        tuple(_edits(before, after, changed, edited[: edits.SERVERS_MAX])),
        max(len(edited) - edits.SERVERS_MAX, 0),
    )


def _edits(
    before: Mapping[ServiceKey, VirtualServer],
    after: Mapping[ServiceKey, VirtualServer],
    changed: Iterable[ServiceKey],
    edited: Iterable[DestinationId],
) -> Iterator[Edit]:
    servers: dict[ServiceKey, list[DestinationId]] = {}
    for name in edited:
        servers.setdefault(name[0], []).append(name)
    for key in changed:
        yield from edits.of_virtual_server(before[key], after[key])
        yield from edits.of_real_servers(before[key], after[key], servers.get(key, ()))


Amend: TypeAlias = Callable[[Table, Iterable[VirtualServer]], Table]


def _as_wanted(wanted: Table, _: Iterable[VirtualServer]) -> Table:
    return wanted


def foresee(
    director: Director, config: Config, owned: Collection[ServiceKey], now: float, amend: Amend = _as_wanted
) -> Foresight:
    """Return what taking over `config` now would do to the kernel's table as it was read last. `director` is not touched."""
    copy = director.fork()
    copy.reconfigure(config, now)
    return outlook(compare(director.config, config), copy, owned, amend).foresight()


@frozen
class Outlook:
    """What a foresight is made of, as it is at one moment: to make it takes a while, with thousands of real servers."""

    changes: Changes
    desired: Table
    reading: Reading
    owned: frozenset[ServiceKey]

    def foresight(self) -> Foresight:
        """Work the operations out."""
        table = self.reading.table
        return Foresight(self.changes, tuple(diff(self.desired, table, self.owned)), table, self.reading.loads)


def outlook(changes: Changes, director: Director, owned: Collection[ServiceKey], amend: Amend = _as_wanted) -> Outlook:
    """Return what lies between the kernel as it was read last and a director that has just taken `changes` over.

    `amend` puts what somebody else changed and stands (`core.drift`) into the table that the director wants.
    """
    desired = amend(director.desired(), director.config.virtual_servers)
    return Outlook(changes, desired, director.reading, frozenset((*owned, *desired.services)))


def _servers(virtual_server: VirtualServer) -> dict[DestinationId, object]:
    return {(virtual_server.key, server.endpoint): server for server in virtual_server.real_servers}


def _sorted(names: list[DestinationId]) -> tuple[DestinationId, ...]:
    return tuple(sorted(names, key=lambda name: (str(name[0]), name[1].address.version, name[1])))
