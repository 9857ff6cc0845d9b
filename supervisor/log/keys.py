"""The names that fields have for other people's tools: `native`, Elastic's ECS, or OpenTelemetry's; a table, not a second rendering.

What neither of the two has a name for stands under `vipervisor.`, as both ask of fields of one's own. Pure.
Sources: ecs-logging, spec (the first keys and their order); ECS 8.11, field reference; OpenTelemetry, logs data model (severity numbers)
and semantic conventions for events: the name has a namespace, the body is not used.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from supervisor.log.entry import Kind, Level


class KeySet(enum.Enum):
    """Whose names the keys of a JSON line are."""

    NATIVE = "native"
    ECS = "ecs"
    OTEL = "otel"


Renaming: TypeAlias = Mapping[str, tuple[tuple[str, Callable[[Any], Any]], ...]]
"""Our name → their names, each with what makes their value of ours. No value of ours is None here."""

SEVERITY_NUMBERS: Mapping[Level, int] = {"debug": 5, "info": 9, "warning": 13, "error": 17}
"""OpenTelemetry's numbers of our levels (logs data model, field SeverityNumber)."""

OWN = "vipervisor."
"""The namespace of what has no name there."""


def _same(value: Any) -> Any:
    return value


def _address(endpoint: str) -> str:
    """Return the address of ADDRESS:PORT, where IPv6 stands in brackets."""
    address, colon, port = endpoint.rpartition(":")
    return (address if colon and port.isdecimal() else endpoint).strip("[]")


def _port(endpoint: str) -> int | None:
    _, colon, port = endpoint.rpartition(":")
    return int(port) if colon and port.isdecimal() else None


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _namespaced(event: str) -> str:
    return OWN + event


def _severity(level: Level) -> int:
    return SEVERITY_NUMBERS[level]


_ECS: Renaming = {
    "timestamp": (("@timestamp", _same),),
    "level": (("log.level", _same),),
    "message": (("message", _same),),
    "event": (("event.action", _same),),
    "seq": (("event.sequence", _same),),
    "service": (("service.name", _same),),
    "host": (("host.hostname", _same),),
    "pid": (("process.pid", _same),),
    "real_server": (("destination.ip", _address), ("destination.port", _port), (f"{OWN}real_server", _same)),
    "duration_s": (("event.duration", _nanoseconds),),
    "reason": (("event.reason", _same),),
    "error": (("error.message", _same),),
    "exception": (("error.stack_trace", _same),),
    "path": (("file.path", _same),),
    "user": (("user.name", _same),),
    "exit_code": (("process.exit_code", _same),),
}

_OTEL: Renaming = {
    "timestamp": (("timestamp", _same),),
    "level": (("severity_text", _same), ("severity_number", _severity)),
    "event": (("event_name", _namespaced),),
    "service": (("service.name", _same),),
    "host": (("host.name", _same),),
    "pid": (("process.pid", _same),),
    "real_server": (("server.address", _address), ("server.port", _port), (f"{OWN}real_server", _same)),
    "error": (("error.message", _same),),
    "exception": (("exception.stacktrace", _same),),
    "path": (("file.path", _same),),
    "user": (("user.name", _same),),
    "exit_code": (("process.exit.code", _same),),
}

_KINDS: Mapping[Callable[[Any], Any], Kind] = {_port: "integer", _nanoseconds: "integer", _severity: "integer"}

_ECS_FIRST = ("timestamp", "level", "message")
"""The order of these is part of ecs-logging."""

_ECS_SAYS = {
    "ecs.version": "8.11.0",
    "event.kind": "event",
    "event.module": "vipervisor",
    "event.dataset": "vipervisor.log",
}


def rename(told: Mapping[str, Any], keys: KeySet) -> dict[str, Any]:
    """Return the fields `told` under the names of `keys`. A value that is null is null under each of its names."""
    match keys:
        case KeySet.NATIVE:
            return dict(told)
        case KeySet.ECS:
            first = {name: told[name] for name in _ECS_FIRST}
            rest = {name: value for name, value in told.items() if name not in first}
            return _renamed(first, _ECS) | _ECS_SAYS | _renamed(rest, _ECS)
        case KeySet.OTEL:
            return _renamed(told, _OTEL)


def _renamed(told: Mapping[str, Any], renaming: Renaming) -> dict[str, Any]:
    written = {}
    for name, value in told.items():
        for key, make in renaming.get(name, ((OWN + name, _same),)):
            written[key] = None if value is None else make(value)
    return written


def renamed(name: str, keys: KeySet) -> tuple[str, ...]:
    """Return what the field `name` is called in a key set other than the native one."""
    renaming = _ECS if keys is KeySet.ECS else _OTEL
    return tuple(key for key, _ in renaming.get(name, ((OWN + name, _same),)))


def kind_of(name: str, key: str, kind: Kind, keys: KeySet) -> Kind:
    """Return the kind of the value under `key`, which `name` of the kind `kind` was renamed to."""
    renaming = _ECS if keys is KeySet.ECS else _OTEL
    return next((_KINDS.get(make, kind) for found, make in renaming.get(name, ()) if found == key), kind)
