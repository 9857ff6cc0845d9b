"""The smallest pieces of what the state file holds: one JSON value is what it must be, or the file is `Damaged`. Pure.

Each takes an object and the name of its value (`…_at`), or a value and what it is called, and returns it in the core's own words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from enum import Enum
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, TypeVar

from supervisor.model import AddressKey, Endpoint, FwmarkKey, IPAddress, Protocol, ServiceKey

TEXT_MAX = 4096
"""Characters of a text; longer ones are cut when written and refused when read. A detail of a probe has 200 at most."""

AT_MAX = 32_503_680_000.0
"""Unix seconds of the year 3000: times beyond are damage."""

WEIGHT_MAX = 2**31 - 1
"""What the kernel can hold (ipvs.md, section 4)."""


class Damaged(ValueError):
    """Not a state file, or not a whole one; the text says what and where."""


_Value = TypeVar("_Value")
_Name = TypeVar("_Name")
_Choice = TypeVar("_Choice", bound=Enum)


def values_of(kind: type[_Choice]) -> dict[str, _Choice]:
    """Return the choices of an enum by their values."""
    return {choice.value: choice for choice in kind}


def unique(values: list[_Value], name: Callable[[_Value], _Name], what: str) -> Mapping[_Name, _Value]:
    """Return values by their names. Raises Damaged when two have the same."""
    found = {name(value): value for value in values}
    if len(found) != len(values):
        raise Damaged(f"the same {what} twice")
    return MappingProxyType(found)


def object_at(raw: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object."""
    value = raw.get(name)
    if not isinstance(value, dict):
        raise Damaged(f"{name}: expected an object, got {type(value).__name__}")
    return value


def list_of(value: object, name: str) -> list[Any]:
    """Return a list."""
    if not isinstance(value, list):
        raise Damaged(f"{name}: expected a list, got {type(value).__name__}")
    return value


def objects_at(raw: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a list of objects."""
    found = list_of(raw.get(name), name)
    for value in found:
        if not isinstance(value, dict):
            raise Damaged(f"{name}: expected objects, got {type(value).__name__}")
    return found


def text_at(raw: dict[str, Any], name: str) -> str:
    """Return a text of at most TEXT_MAX characters, of whole characters."""
    value = raw.get(name)
    if not isinstance(value, str) or len(value) > TEXT_MAX:
        raise Damaged(f"{name}: expected a text of at most {TEXT_MAX} characters, got {_shown(value)}")
    if _SURROGATE.search(value):
        raise Damaged(f"{name}: there is half a character in it")
    return value


_SURROGATE = re.compile("[\ud800-\udfff]")


def boolean_at(raw: dict[str, Any], name: str) -> bool:
    """Return true or false."""
    value = raw.get(name)
    if not isinstance(value, bool):
        raise Damaged(f"{name}: expected true or false, got {_shown(value)}")
    return value


def whole_at(raw: dict[str, Any], name: str, least: int, most: int) -> int:
    """Return a whole number within bounds."""
    value = raw.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise Damaged(f"{name}: expected a whole number of {least} to {most}, got {_shown(value)}")
    return value


def weight_at(raw: dict[str, Any], name: str, least: int) -> int | None:
    """Return a weight, None for none."""
    return None if raw.get(name) is None else whole_at(raw, name, least, WEIGHT_MAX)


def moment_at(raw: dict[str, Any], name: str) -> float:
    """Return Unix seconds."""
    value = raw.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= AT_MAX or math.isnan(value):
        raise Damaged(f"{name}: expected Unix seconds, got {_shown(value)}")
    return float(value)


def seconds_at(raw: dict[str, Any], name: str) -> float:
    """Return a number of seconds, not below 0."""
    value = moment_at(raw, name)
    if value < 0:
        raise Damaged(f"{name}: expected seconds, got {_shown(value)}")
    return value


def choice_at(raw: dict[str, Any], name: str, choices: Mapping[str, _Value]) -> _Value:
    """Return one of some choices."""
    value = raw.get(name)
    if not isinstance(value, str) or value not in choices:
        raise Damaged(f"{name}: expected one of {', '.join(choices)}, got {_shown(value)}")
    return choices[value]


_ENDPOINT = re.compile(r"(?:\[([^\]/]{2,120})\]|([0-9.]{7,15})):(0|[1-9][0-9]{0,4})")
_MARK = re.compile(r"fwm:(0|[1-9][0-9]{0,9})/ipv([46])")


def endpoint(value: object, name: str) -> Endpoint:
    """Read an endpoint as `str(Endpoint)` writes it, and in no other way."""
    found = _ENDPOINT.fullmatch(value) if isinstance(value, str) else None
    try:
        if found:
            read = Endpoint(ip_address(found[1] or found[2]), int(found[3]))
            if read.port <= 65535 and str(read) == value:
                return read
    except ValueError:
        pass
    raise Damaged(f"{name}: expected ADDRESS:PORT, got {_shown(value)}")


def address_at(raw: dict[str, Any], name: str) -> IPAddress:
    """Return an address."""
    try:
        return ip_address(text_at(raw, name))
    except ValueError:
        raise Damaged(f"{name}: expected an address, got {_shown(raw.get(name))}") from None


def service_key(value: object, name: str) -> ServiceKey:
    """Read what names a virtual server as its `str` writes it."""
    if isinstance(value, str):
        mark = _MARK.fullmatch(value)
        if mark and int(mark[1]) < 2**32:
            return FwmarkKey(int(mark[2]), int(mark[1]))
        where, _, protocol = value.rpartition("/")
        if protocol in _PROTOCOLS:
            return AddressKey(_PROTOCOLS[protocol], endpoint(where, name))
    raise Damaged(f"{name}: expected a virtual server, got {_shown(value)}")


_PROTOCOLS = {str(protocol): protocol for protocol in Protocol}


def _shown(value: object) -> str:
    """Return what stands there, short and harmless: it goes into the log."""
    return ascii(value)[:60]
