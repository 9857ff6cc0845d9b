"""The key sets: the same facts under other people's names."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from ipaddress import IPv6Address
from typing import Any

import pytest

from supervisor.log import CATALOGUE, KeySet, Log
from supervisor.log.entry import COMMON, Kind
from supervisor.log.keys import SEVERITY_NUMBERS, kind_of, renamed
from supervisor.model import Endpoint

NOON = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
SAMPLES: dict[Kind, Any] = {"text": "word", "integer": 3, "number": 1.5, "boolean": True}
PYTHON_KINDS: dict[Kind, type] = {"text": str, "integer": int, "number": float, "boolean": bool}
FOREIGN = (KeySet.ECS, KeySet.OTEL)


def line_of(keys: KeySet, event: str, **fields: Any) -> dict[str, Any]:
    lines: list[bytes] = []
    log = Log(
        lambda line, _level: lines.append(line),
        strict=True,
        keys=keys,
        wall_clock=lambda: NOON,
        host="lvs1",
        pid=7,
    )
    log.emit(event, "A sentence.", **fields)
    loaded: dict[str, Any] = json.loads(lines[0])
    return loaded


def falling() -> dict[str, Any]:
    return {
        "virtual_server": "203.0.113.1:80/tcp",
        "real_server": Endpoint(IPv6Address("2001:db8::1"), 8080),
        "to": "DOWN",
        "duration_s": 1.5,
        "weight_new": None,
    }


def test_ecs_begins_as_ecs_logging_demands() -> None:
    told = line_of(KeySet.ECS, "real_server.state_changed", **falling())
    assert list(told)[:4] == ["@timestamp", "log.level", "message", "ecs.version"]
    assert told == {
        "@timestamp": "2026-11-22T12:00:00.123456Z",
        "log.level": "warning",
        "message": "A sentence.",
        "ecs.version": "8.11.0",
        "event.kind": "event",
        "event.module": "vipervisor",
        "event.dataset": "vipervisor.log",
        "event.action": "real_server.state_changed",
        "vipervisor.virtual_server": "203.0.113.1:80/tcp",
        "destination.ip": "2001:db8::1",
        "destination.port": 8080,
        "vipervisor.real_server": "[2001:db8::1]:8080",
        "vipervisor.to": "DOWN",
        "event.duration": 1_500_000_000,
        "vipervisor.weight_new": None,
        "event.sequence": 1,
        "service.name": "vipervisor",
        "host.hostname": "lvs1",
        "process.pid": 7,
        "vipervisor.config_hash": "",
    }


def test_otel_has_a_namespaced_event_name_a_severity_number_and_no_body() -> None:
    told = line_of(KeySet.OTEL, "real_server.state_changed", **falling())
    assert told == {
        "timestamp": "2026-11-22T12:00:00.123456Z",
        "severity_text": "warning",
        "severity_number": 13,
        "event_name": "vipervisor.real_server.state_changed",
        "vipervisor.message": "A sentence.",
        "vipervisor.virtual_server": "203.0.113.1:80/tcp",
        "server.address": "2001:db8::1",
        "server.port": 8080,
        "vipervisor.real_server": "[2001:db8::1]:8080",
        "vipervisor.to": "DOWN",
        "vipervisor.duration_s": 1.5,
        "vipervisor.weight_new": None,
        "vipervisor.seq": 1,
        "service.name": "vipervisor",
        "host.name": "lvs1",
        "process.pid": 7,
        "vipervisor.config_hash": "",
    }


@pytest.mark.parametrize("keys", FOREIGN)
@pytest.mark.parametrize("event", CATALOGUE)
def test_every_event_keeps_every_field_and_its_kind_in_every_key_set(event: str, keys: KeySet) -> None:
    fields = CATALOGUE[event].fields
    told = line_of(keys, event, **{name: SAMPLES[kind] for name, kind in fields.items()})
    for name, kind in {**COMMON, **fields}.items():
        for key in renamed(name, keys):
            assert key in told
            if told[key] is not None:
                assert type(told[key]) is PYTHON_KINDS[kind_of(name, key, kind, keys)], key
    assert not any(isinstance(value, dict | list) for value in told.values()), "lines are flat"


@pytest.mark.parametrize("keys", FOREIGN)
def test_no_two_fields_get_the_same_name(keys: KeySet) -> None:
    names = {*COMMON, *(name for entry in CATALOGUE.values() for name in entry.fields)}
    keyed = [key for name in names for key in renamed(name, keys)]
    assert len(keyed) == len(set(keyed))


def test_no_name_is_also_the_beginning_of_another() -> None:
    """Elasticsearch takes a dot for a level: a key cannot be a value and an object at once."""
    names = {*COMMON, *(name for entry in CATALOGUE.values() for name in entry.fields)}
    for keys in FOREIGN:
        keyed = {key for name in names for key in renamed(name, keys)}
        assert not [(one, two) for one in keyed for two in keyed if two.startswith(f"{one}.")]


@pytest.mark.parametrize(
    ("endpoint", "address", "port"),
    [("10.0.0.1:80", "10.0.0.1", 80), ("[2001:db8::1]:80", "2001:db8::1", 80), ("10.0.0.1", "10.0.0.1", None)],
)
def test_a_real_server_is_an_address_and_a_port_to_others(endpoint: str, address: str, port: int | None) -> None:
    told = line_of(KeySet.ECS, "real_server.held", real_server=endpoint)
    assert (told["destination.ip"], told["destination.port"]) == (address, port)


def test_severities_are_in_the_order_of_the_levels() -> None:
    assert list(SEVERITY_NUMBERS.values()) == sorted(SEVERITY_NUMBERS.values())
