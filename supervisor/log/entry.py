"""What one event of the catalogue is: its level, the kinds of its fields, what it means, what to do; and how a value fits its kind.

Declarations and a check; no rendering, no input or output. Source: observability.md, section 3.5.
"""

from __future__ import annotations

import ipaddress
import math
import pathlib
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from checkers.kit.frozen import frozen
from supervisor.model import AddressKey, Endpoint, FwmarkKey

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")
"""From the least to the greatest."""
Kind: TypeAlias = Literal["text", "integer", "number", "boolean"]

PRIORITIES: Mapping[str, int] = {"debug": 7, "info": 6, "warning": 4, "error": 3}
"""Level → syslog priority (sd-daemon(3))."""

COMMON: Mapping[str, Kind] = {
    "timestamp": "text",
    "level": "text",
    "event": "text",
    "message": "text",
    "seq": "integer",
    "service": "text",
    "host": "text",
    "pid": "integer",
    "config_hash": "text",
}
"""Fields of every line, which no event may use for its own; `uncatalogued` joins them on a line that broke the catalogue."""


@frozen
class Entry:
    """One event.

    `calm` is a field and the value of it that makes the event mere information. An `edge` is a change that somebody will look for
    afterwards: its line is given up last when the reader is too slow, whatever its level. A `crowd` comes once for every server, so
    that a failed rack brings a thousand: above a rate they are put together (`bursts`).
    """

    level: Level
    fields: Mapping[str, Kind]
    calm: tuple[str, object] | None = None
    means: str = ""
    remedy: str = ""
    edge: bool = False
    crowd: bool = False


def entry(
    level: Level,
    text: str = "",
    *,
    integer: str = "",
    number: str = "",
    boolean: str = "",
    calm: tuple[str, object] | None = None,
    means: str = "",
    remedy: str = "",
    edge: bool = False,
    crowd: bool = False,
) -> Entry:
    """Write down an event; `text`, `integer`, `number` and `boolean` name the fields of that kind, parted by blanks."""
    kinds: tuple[tuple[Kind, str], ...] = (
        ("text", text),
        ("integer", integer),
        ("number", number),
        ("boolean", boolean),
    )
    fields = {name: kind for kind, names in kinds for name in names.split()}
    return Entry(level, fields, calm, means, remedy, edge, crowd)


_IDENTITIES = (
    Endpoint,
    AddressKey,
    FwmarkKey,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    pathlib.PurePath,
)


class CatalogueError(Exception):
    """An event, a field or a type that the catalogue does not know; only a strict log raises it."""


def fit(kind: Kind, value: object) -> Any:
    """Return `value` as its kind is written, or raise TypeError. Identities become text, a whole number may be a number."""
    if value is None:
        return None
    match kind:
        case "text":
            if isinstance(value, str):
                return value
            if isinstance(value, _IDENTITIES):
                return str(value)
        case "integer":
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        case "number":
            if isinstance(value, int | float) and not isinstance(value, bool):
                return round(float(value), 6) if math.isfinite(value) else None
        case "boolean":
            if isinstance(value, bool):
                return value
    raise TypeError(f"expected {kind}, got {type(value).__name__}")
