"""What the state file holds, byte for byte: `core.memory.Memory` ↔ JSON, version 1. Pure.

It is read as hostile input. It may be cut, full of zeros, written by another program or by a newer one of ours: everything is checked
(kind, range, length, number), and what does not fit makes the whole file `Damaged`, for half a memory is a wrong one. Keys that we do not
know are passed over: who adds a field needs no new version, as long as its absence means what it meant before. A version that is
newer than ours is `Newer`; an older one would be brought up to date here, in `_migrated`.

The file is one object; each virtual server stands on a line of its own and is encoded by itself, so that a change of one of a
thousand costs one, and no single call holds up the other threads for long.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from enum import Enum
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, TypeVar

from supervisor.core.events import Health
from supervisor.core.kernelsettings import Held
from supervisor.core.memory import CheckMemory, Life, Memory, PauseMemory, PoolMemory, ServerMemory, WishMemory
from supervisor.core.override import AdminState
from supervisor.model import (
    AddressKey,
    Endpoint,
    FwmarkKey,
    IPAddress,
    Protocol,
    ServiceKey,
    SyncDaemon,
    SyncRole,
    Timeouts,
)

FORMAT = 1
"""Version of the format. It grows only when a field changes its meaning or one that was needed goes."""

SIZE_MAX_BYTES = 64 * 1024 * 1024
"""A hundred thousand real servers with two checks each; a file beyond it is neither written nor read."""

TEXT_MAX = 4096
"""Characters of a text; longer ones are cut when written and refused when read. A detail of a probe has 200 at most."""

AT_MAX = 32_503_680_000.0
"""Unix seconds of the year 3000: times beyond are damage."""

WEIGHT_MAX = 2**31 - 1
"""What the kernel can hold (ipvs.md, section 4)."""


class Damaged(ValueError):
    """Not a state file, or not a whole one; the text says what and where."""


class Newer(ValueError):
    """The state file of a newer program."""


# -- writing -------------------------------------------------------------------------------------------------------


def encode(memory: Memory, encoded: Callable[[PoolMemory], bytes] | None = None) -> bytes:
    """Return the whole file; `encoded` may know the line of a virtual server already."""
    held = memory.held
    head: dict[str, Any] = {
        "format": FORMAT,
        "version": _cut(memory.version),
        "boot_id": _cut(memory.life.boot_id),
        "network_namespace": _cut(memory.life.network),
        "saved_at": memory.saved_at,
        "config_digest": _cut(memory.digest),
        "removed": memory.removed,
        "kernel": {
            "timeouts": {
                "tcp": held.timeouts.tcp,
                "tcp_fin": held.timeouts.tcp_fin,
                "udp": held.timeouts.udp,
            },
            "sync_daemons": [_sync_daemon(daemon) for daemon in held.sync_daemons],
        },
        "leaving": {str(key): sorted(map(str, endpoints)) for key, endpoints in memory.leaving.items()},
    }
    if memory.pause is not None:
        head["pause"] = {
            "by": _cut(memory.pause.by),
            "reason": _cut(memory.pause.reason),
            "since_at": memory.pause.since_at,
            "until_at": memory.pause.until_at,
        }
    pools = b",\n".join(map(encoded or encode_pool, memory.pools.values()))
    return _dump(head)[:-1] + b',"virtual_servers":[\n' + pools + b"\n]}\n"


def encode_pool(pool: PoolMemory) -> bytes:
    """Return the line of one virtual server."""
    return _dump(
        {
            "virtual_server": str(pool.key),
            "quorate": pool.quorate,
            "since_at": pool.since_at,
            "sorry_server": None if pool.sorry is None else str(pool.sorry),
            "real_servers": [_server(server) for server in pool.servers.values()],
            "leaving": sorted(map(str, pool.leaving)),
            "drain_timeout_s": pool.drain_timeout_s,
        }
    )


def _server(server: ServerMemory) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "real_server": str(server.endpoint),
        "wanted": server.wanted,
        "since_at": server.since_at,
        "checks": [
            {
                "type": check.type,
                "definition": check.definition,
                "health": check.health.value,
                "since_at": check.since_at,
                "reason": _cut(check.reason),
                "detail": _cut(check.detail),
                "weight": check.weight,
            }
            for check in server.checks
        ],
    }
    wish = server.wish
    if wish is not None:
        plain["override"] = {
            "admin": wish.admin.value,
            "weight": wish.weight,
            "reason": _cut(wish.reason),
            "by": _cut(wish.by),
            "since_at": wish.since_at,
            "until_at": wish.until_at,
        }
    return plain


def _sync_daemon(daemon: SyncDaemon) -> dict[str, Any]:
    return {
        "role": str(daemon.role),
        "interface": daemon.interface,
        "id": daemon.sync_id,
        "max_length_bytes": daemon.max_length,
        "group": str(daemon.group),
        "port": daemon.port,
        "ttl": daemon.ttl,
    }


def _dump(plain: dict[str, Any]) -> bytes:
    return json.dumps(plain, separators=(",", ":"), allow_nan=False).encode("ascii")


def _cut(text: str) -> str:
    """Return a text that can be read again: not too long, and nothing in it that is no character."""
    return text[:TEXT_MAX].encode("utf-8", "replace").decode()


# -- reading -------------------------------------------------------------------------------------------------------


def decode(data: bytes) -> Memory:
    """Read the whole file. Raises Damaged, Newer."""
    if len(data) > SIZE_MAX_BYTES:
        raise Damaged(f"expected at most {SIZE_MAX_BYTES} bytes, got {len(data)}")
    try:
        raw = json.loads(data, parse_constant=_no_number, object_pairs_hook=_object_of)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"not JSON: {error}"[:200]) from error
    if not isinstance(raw, dict):
        raise Damaged(f"expected an object, got {type(raw).__name__}")
    version = _whole(raw, "format", 1, 2**31)
    if version > FORMAT:
        raise Newer(f"format {version}, and this program knows {FORMAT} at most")
    return _memory(_migrated(raw, version))


def _migrated(raw: dict[str, Any], version: int) -> dict[str, Any]:
    """Bring an older format up to date, one step after another. There is none before 1."""
    assert version == FORMAT
    return raw


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("the same key twice in one object")
    return found


def _memory(raw: dict[str, Any]) -> Memory:
    kernel = _object(raw, "kernel")
    pools = [_pool(one) for one in _objects(raw, "virtual_servers")]
    leaving = {
        _key(key, "leaving"): frozenset(_endpoint(text, "leaving") for text in _list(endpoints, "leaving"))
        for key, endpoints in _object(raw, "leaving").items()
    }
    return Memory(
        _text(raw, "version"),
        Life(_text(raw, "boot_id"), _text(raw, "network_namespace")),
        _at(raw, "saved_at"),
        _text(raw, "config_digest"),
        _boolean(raw, "removed"),
        Held(_timeouts(_object(kernel, "timeouts")), _read_sync_daemons(_objects(kernel, "sync_daemons"))),
        _unique(pools, lambda pool: pool.key, "virtual server"),
        MappingProxyType(leaving),
        _read_pause(_object(raw, "pause")) if raw.get("pause") is not None else None,
    )


def _read_pause(raw: dict[str, Any]) -> PauseMemory:
    until_at = None if raw.get("until_at") is None else _at(raw, "until_at")
    return PauseMemory(_text(raw, "by"), _text(raw, "reason"), _at(raw, "since_at"), until_at)


def _timeouts(raw: dict[str, Any]) -> Timeouts:
    return Timeouts(*(_whole(raw, name, 0, 2**31 - 1) for name in ("tcp", "tcp_fin", "udp")))


def _read_sync_daemons(found: list[dict[str, Any]]) -> tuple[SyncDaemon, ...]:
    daemons = [
        SyncDaemon(
            _choice(raw, "role", {str(role): role for role in SyncRole}),
            _text(raw, "interface"),
            _whole(raw, "id", 0, 255),
            _whole(raw, "max_length_bytes", 0, 65535),
            _address(raw, "group"),
            _whole(raw, "port", 0, 65535),
            _whole(raw, "ttl", 0, 255),
        )
        for raw in found
    ]
    return tuple(_unique(daemons, lambda daemon: daemon.role, "sync daemon").values())


def _pool(raw: dict[str, Any]) -> PoolMemory:
    servers = [_read_server(one) for one in _objects(raw, "real_servers")]
    sorry = raw.get("sorry_server")
    return PoolMemory(
        _key(raw.get("virtual_server"), "virtual_server"),
        _boolean(raw, "quorate"),
        _at(raw, "since_at"),
        None if sorry is None else _endpoint(sorry, "sorry_server"),
        _unique(servers, lambda server: server.endpoint, "real server"),
        frozenset(_endpoint(text, "leaving") for text in _list(raw.get("leaving"), "leaving")),
        _seconds(raw, "drain_timeout_s"),
    )


def _read_server(raw: dict[str, Any]) -> ServerMemory:
    return ServerMemory(
        _endpoint(raw.get("real_server"), "real_server"),
        _weight(raw, "wanted", 0),
        _at(raw, "since_at"),
        tuple(_read_check(one) for one in _objects(raw, "checks")),
        _wish(_object(raw, "override")) if raw.get("override") is not None else None,
    )


def _read_check(raw: dict[str, Any]) -> CheckMemory:
    return CheckMemory(
        _text(raw, "definition"),
        _text(raw, "type"),
        _choice(raw, "health", _values(Health)),
        _at(raw, "since_at"),
        _text(raw, "reason"),
        _text(raw, "detail"),
        _weight(raw, "weight", -WEIGHT_MAX),
    )


def _wish(raw: dict[str, Any]) -> WishMemory:
    return WishMemory(
        _choice(raw, "admin", _values(AdminState)),
        None if raw.get("weight") is None else _whole(raw, "weight", 0, 65535),
        _text(raw, "reason"),
        _text(raw, "by"),
        _at(raw, "since_at"),
        None if raw.get("until_at") is None else _at(raw, "until_at"),
    )


# -- the smallest pieces -------------------------------------------------------------------------------------------

_Value = TypeVar("_Value")
_Name = TypeVar("_Name")
_Choice = TypeVar("_Choice", bound=Enum)


def _values(kind: type[_Choice]) -> dict[str, _Choice]:
    return {choice.value: choice for choice in kind}


def _unique(values: list[_Value], name: Callable[[_Value], _Name], what: str) -> Mapping[_Name, _Value]:
    found = {name(value): value for value in values}
    if len(found) != len(values):
        raise Damaged(f"the same {what} twice")
    return MappingProxyType(found)


def _object(raw: dict[str, Any], name: str) -> dict[str, Any]:
    value = raw.get(name)
    if not isinstance(value, dict):
        raise Damaged(f"{name}: expected an object, got {type(value).__name__}")
    return value


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise Damaged(f"{name}: expected a list, got {type(value).__name__}")
    return value


def _objects(raw: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = _list(raw.get(name), name)
    for value in found:
        if not isinstance(value, dict):
            raise Damaged(f"{name}: expected objects, got {type(value).__name__}")
    return found


def _text(raw: dict[str, Any], name: str) -> str:
    value = raw.get(name)
    if not isinstance(value, str) or len(value) > TEXT_MAX:
        raise Damaged(f"{name}: expected a text of at most {TEXT_MAX} characters, got {_shown(value)}")
    if _SURROGATE.search(value):
        raise Damaged(f"{name}: there is half a character in it")
    return value


_SURROGATE = re.compile("[\ud800-\udfff]")


def _boolean(raw: dict[str, Any], name: str) -> bool:
    value = raw.get(name)
    if not isinstance(value, bool):
        raise Damaged(f"{name}: expected true or false, got {_shown(value)}")
    return value


def _whole(raw: dict[str, Any], name: str, least: int, most: int) -> int:
    value = raw.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise Damaged(f"{name}: expected a whole number of {least} to {most}, got {_shown(value)}")
    return value


def _weight(raw: dict[str, Any], name: str, least: int) -> int | None:
    return None if raw.get(name) is None else _whole(raw, name, least, WEIGHT_MAX)


def _at(raw: dict[str, Any], name: str) -> float:
    value = raw.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= AT_MAX or math.isnan(value):
        raise Damaged(f"{name}: expected Unix seconds, got {_shown(value)}")
    return float(value)


def _seconds(raw: dict[str, Any], name: str) -> float:
    value = _at(raw, name)
    if value < 0:
        raise Damaged(f"{name}: expected seconds, got {_shown(value)}")
    return value


def _choice(raw: dict[str, Any], name: str, choices: Mapping[str, _Value]) -> _Value:
    value = raw.get(name)
    if not isinstance(value, str) or value not in choices:
        raise Damaged(f"{name}: expected one of {', '.join(choices)}, got {_shown(value)}")
    return choices[value]


_ENDPOINT = re.compile(r"(?:\[([^\]/]{2,120})\]|([0-9.]{7,15})):(0|[1-9][0-9]{0,4})")
_MARK = re.compile(r"fwm:(0|[1-9][0-9]{0,9})/ipv([46])")


def _endpoint(value: object, name: str) -> Endpoint:
    """Read an endpoint as `str(Endpoint)` writes it, and in no other way."""
    found = _ENDPOINT.fullmatch(value) if isinstance(value, str) else None
    try:
        if found:
            endpoint = Endpoint(ip_address(found[1] or found[2]), int(found[3]))
            if endpoint.port <= 65535 and str(endpoint) == value:
                return endpoint
    except ValueError:
        pass
    raise Damaged(f"{name}: expected ADDRESS:PORT, got {_shown(value)}")


def _address(raw: dict[str, Any], name: str) -> IPAddress:
    try:
        return ip_address(_text(raw, name))
    except ValueError:
        raise Damaged(f"{name}: expected an address, got {_shown(raw.get(name))}") from None


def _key(value: object, name: str) -> ServiceKey:
    """Read what names a virtual server as its `str` writes it."""
    if isinstance(value, str):
        mark = _MARK.fullmatch(value)
        if mark and int(mark[1]) < 2**32:
            return FwmarkKey(int(mark[2]), int(mark[1]))
        where, _, protocol = value.rpartition("/")
        if protocol in _PROTOCOLS:
            return AddressKey(_PROTOCOLS[protocol], _endpoint(where, name))
    raise Damaged(f"{name}: expected a virtual server, got {_shown(value)}")


_PROTOCOLS = {str(protocol): protocol for protocol in Protocol}


def _shown(value: object) -> str:
    """Return what stands there, short and harmless: it goes into the log."""
    return ascii(value)[:60]
