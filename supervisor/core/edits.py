"""What a new configuration edits of what stays: quorum 3 → 2, delay_loop 6 → 2, in the words of the file. Pure.

`core.changes` says who comes, goes and changes, and the operations on the kernel say which weights; a quorum, a retry or a url is in
neither. Values of a check's own options are not shown, for there may be secrets among them: that they changed is.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

from checkers.kit.frozen import frozen
from supervisor.core.events import DestinationId
from supervisor.model import CheckSpec, Endpoint, Method, RealServer, ServiceKey, SorryServer, VirtualServer

SERVERS_MAX = 1000
"""Real servers of all that changed whose edits are looked for: some 20 ms; the rest is counted."""

_WORDS = {
    "scheduler": "lvs_sched",
    "scheduler_flags": "flags of the scheduler",
    "one_packet": "ops",
    "persistence_prefix": "persistence_granularity",
    "method": "lvs_method",
    "mail": "smtp_alert",
    "upper_threshold": "uthreshold",
    "lower_threshold": "lthreshold",
    "mark": "fwmark",
    "bind_address": "bindto",
    "bind_interface": "bind_if",
}
"""Field of the model → keyword of the file, where they differ."""

_UNSAID = frozenset({"key", "endpoint", "real_servers", "checks", "follower", "group_use", "type", "target", "weighs"})
"""Fields that name a thing, or are told of elsewhere."""


@frozen
class Edit:
    """One setting of a virtual server (no `real_servers`), or the same one of some of its real servers: "quorum 3 → 2"."""

    virtual_server: ServiceKey
    real_servers: tuple[Endpoint, ...]
    text: str


def of_virtual_server(before: VirtualServer, after: VirtualServer) -> Iterator[Edit]:
    """Yield what is another in a virtual server itself."""
    for text in _differences(before, after):
        yield Edit(after.key, (), text)


def of_real_servers(before: VirtualServer, after: VirtualServer, edited: Iterable[DestinationId]) -> Iterator[Edit]:
    """Yield what is another in those of its real servers that were edited, what several have alike once."""
    old = {server.endpoint: server for server in before.real_servers}
    new = {server.endpoint: server for server in after.real_servers}
    alike: dict[str, list[Endpoint]] = {}
    for _, endpoint in edited:
        for text in _of_real_server(old[endpoint], new[endpoint]):
            alike.setdefault(text, []).append(endpoint)
    for text, servers in alike.items():
        yield Edit(after.key, tuple(servers), text)


def _of_real_server(before: RealServer, after: RealServer) -> Iterator[str]:
    yield from _differences(before, after)
    old, new = _by_name(before), _by_name(after)
    yield from (f"{name} is new" for name in new if name not in old)
    yield from (f"{name} goes" for name in old if name not in new)
    for name, check in new.items():
        if name in old and old[name] != check:
            yield f"{name}: {', '.join(_of_check(old[name], check))}"


def _by_name(server: RealServer) -> dict[str, CheckSpec]:
    """Return the checks by what they are called: their type, where they go if elsewhere, and a number where that is not enough."""
    found: dict[str, CheckSpec] = {}
    for check in server.checks:
        name = check.type if not check.where or check.target == server.endpoint else f"{check.type} of {check.where}"
        number = 1 + sum(one == name or one.startswith(f"{name} #") for one in found)
        found[name if number == 1 else f"{name} #{number}"] = check
    return found


def _of_check(before: CheckSpec, after: CheckSpec) -> Iterator[str]:
    yield from _differences(before.schedule, after.schedule)
    yield from _differences(before, after)
    old, new = json.loads(before.options_json), json.loads(after.options_json)
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{name} {'is new' if name not in old else 'goes' if name not in new else 'is another'}"


def _differences(before: Any, after: Any) -> Iterator[str]:
    """Yield "name old → new" for each field of a value of the model that differs and says something by itself."""
    for one in fields(after):
        if one.name in _UNSAID or not one.compare or one.name in {"schedule", "options_json"}:
            continue
        old, new = getattr(before, one.name), getattr(after, one.name)
        if old != new:
            yield f"{_WORDS.get(one.name, one.name)} {_said(old)} → {_said(new)}"


def _said(value: object) -> str:
    match value:
        case None | "":
            return "none"
        case bool():
            return "on" if value else "off"
        case float():
            return f"{value:g}"
        case Method():
            return value.forwarding.name
        case SorryServer():
            return str(value.endpoint)
        case enum.Enum():
            return str(value.value)
        case _:
            return str(value)
