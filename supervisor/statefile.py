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
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from supervisor.core.events import Health
from supervisor.core.kernelsettings import Held
from supervisor.core.memory import CheckMemory, Life, Memory, PauseMemory, PoolMemory, ServerMemory, WishMemory
from supervisor.core.override import AdminState
from supervisor.model import SyncDaemon, SyncRole, Timeouts
from supervisor.statepieces import (
    TEXT_MAX,
    WEIGHT_MAX,
    Damaged,
    address_at,
    boolean_at,
    choice_at,
    endpoint,
    list_of,
    moment_at,
    object_at,
    objects_at,
    seconds_at,
    service_key,
    text_at,
    unique,
    values_of,
    weight_at,
    whole_at,
)

FORMAT = 1
"""Version of the format. It grows only when a field changes its meaning or one that was needed goes."""

SIZE_MAX_BYTES = 64 * 1024 * 1024
"""A hundred thousand real servers with two checks each; a file beyond it is neither written nor read."""


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
    version = whole_at(raw, "format", 1, 2**31)
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
    kernel = object_at(raw, "kernel")
    pools = [_pool(one) for one in objects_at(raw, "virtual_servers")]
    leaving = {
        service_key(key, "leaving"): frozenset(endpoint(text, "leaving") for text in list_of(endpoints, "leaving"))
        for key, endpoints in object_at(raw, "leaving").items()
    }
    return Memory(
        text_at(raw, "version"),
        Life(text_at(raw, "boot_id"), text_at(raw, "network_namespace")),
        moment_at(raw, "saved_at"),
        text_at(raw, "config_digest"),
        boolean_at(raw, "removed"),
        Held(_timeouts(object_at(kernel, "timeouts")), _read_sync_daemons(objects_at(kernel, "sync_daemons"))),
        unique(pools, lambda pool: pool.key, "virtual server"),
        MappingProxyType(leaving),
        _read_pause(object_at(raw, "pause")) if raw.get("pause") is not None else None,
    )


def _read_pause(raw: dict[str, Any]) -> PauseMemory:
    until_at = None if raw.get("until_at") is None else moment_at(raw, "until_at")
    return PauseMemory(text_at(raw, "by"), text_at(raw, "reason"), moment_at(raw, "since_at"), until_at)


def _timeouts(raw: dict[str, Any]) -> Timeouts:
    return Timeouts(*(whole_at(raw, name, 0, 2**31 - 1) for name in ("tcp", "tcp_fin", "udp")))


def _read_sync_daemons(found: list[dict[str, Any]]) -> tuple[SyncDaemon, ...]:
    daemons = [
        SyncDaemon(
            choice_at(raw, "role", {str(role): role for role in SyncRole}),
            text_at(raw, "interface"),
            whole_at(raw, "id", 0, 255),
            whole_at(raw, "max_length_bytes", 0, 65535),
            address_at(raw, "group"),
            whole_at(raw, "port", 0, 65535),
            whole_at(raw, "ttl", 0, 255),
        )
        for raw in found
    ]
    return tuple(unique(daemons, lambda daemon: daemon.role, "sync daemon").values())


def _pool(raw: dict[str, Any]) -> PoolMemory:
    servers = [_read_server(one) for one in objects_at(raw, "real_servers")]
    sorry = raw.get("sorry_server")
    return PoolMemory(
        service_key(raw.get("virtual_server"), "virtual_server"),
        boolean_at(raw, "quorate"),
        moment_at(raw, "since_at"),
        None if sorry is None else endpoint(sorry, "sorry_server"),
        unique(servers, lambda server: server.endpoint, "real server"),
        frozenset(endpoint(text, "leaving") for text in list_of(raw.get("leaving"), "leaving")),
        seconds_at(raw, "drain_timeout_s"),
    )


def _read_server(raw: dict[str, Any]) -> ServerMemory:
    return ServerMemory(
        endpoint(raw.get("real_server"), "real_server"),
        weight_at(raw, "wanted", 0),
        moment_at(raw, "since_at"),
        tuple(_read_check(one) for one in objects_at(raw, "checks")),
        _wish(object_at(raw, "override")) if raw.get("override") is not None else None,
    )


def _read_check(raw: dict[str, Any]) -> CheckMemory:
    return CheckMemory(
        text_at(raw, "definition"),
        text_at(raw, "type"),
        choice_at(raw, "health", values_of(Health)),
        moment_at(raw, "since_at"),
        text_at(raw, "reason"),
        text_at(raw, "detail"),
        weight_at(raw, "weight", -WEIGHT_MAX),
    )


def _wish(raw: dict[str, Any]) -> WishMemory:
    return WishMemory(
        choice_at(raw, "admin", values_of(AdminState)),
        None if raw.get("weight") is None else whole_at(raw, "weight", 0, 65535),
        text_at(raw, "reason"),
        text_at(raw, "by"),
        moment_at(raw, "since_at"),
        None if raw.get("until_at") is None else moment_at(raw, "until_at"),
    )
