"""The state file's format: golden, whole or refused, and safe against whatever stands there."""

from __future__ import annotations

import json
import time
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.core.events import Health
from supervisor.core.kernelsettings import Held
from supervisor.core.memory import CheckMemory, Life, Memory, PauseMemory, PoolMemory, ServerMemory, WishMemory
from supervisor.core.override import AdminState
from supervisor.model import AddressKey, Endpoint, FwmarkKey, Protocol, SyncDaemon, SyncRole, Timeouts
from supervisor.statefile import Newer, decode, encode
from supervisor.statepieces import TEXT_MAX, Damaged

GOLDEN = Path(__file__).parents[1] / "golden" / "state.json"
WEB = AddressKey(Protocol.TCP, Endpoint(ip_address("203.0.113.100"), 80))


def example() -> Memory:
    """One of everything."""
    first = ServerMemory(
        Endpoint(ip_address("192.168.100.21"), 80),
        3,
        1_799_999_000.25,
        (CheckMemory("0123456789abcdef", "MISC_CHECK", Health.UP, 1_799_999_000.25, "SUCCESS", "exit status 2", 3),),
    )
    second = ServerMemory(
        Endpoint(ip_address("192.168.100.22"), 80),
        0,
        1_799_990_000.0,
        (
            CheckMemory("fedcba9876543210", "HTTP_GET", Health.DOWN, 1_799_990_000.0, "L4CON", "connection refused"),
            CheckMemory("00000000ffffffff", "TCP_CHECK", Health.UNKNOWN, 1_799_980_000.0),
        ),
        WishMemory(AdminState.DRAINING, None, "CHG-1: neuer Kühler", "uid 1000", 1_799_995_000.0, 1_800_003_600.0),
    )
    third = ServerMemory(
        Endpoint(ip_address("2001:db8::23"), 0),
        None,
        1_799_990_000.0,
        (),
        WishMemory(AdminState.ENABLED, 7, "", "alice", 1_799_995_000.0, None),
    )
    web = PoolMemory(
        WEB,
        True,
        1_799_980_000.0,
        Endpoint(ip_address("192.168.100.20"), 80),
        MappingProxyType({first.endpoint: first, second.endpoint: second}),
    )
    left = frozenset({Endpoint(ip_address("2001:db8::24"), 0)})
    marked = PoolMemory(
        FwmarkKey(6, 7), False, 1_799_980_000.0, None, MappingProxyType({third.endpoint: third}), left, 60.0
    )
    daemon = SyncDaemon(SyncRole.MASTER, "eth0", 7, 1460, ip_address("224.0.0.81"), 8848, 1)
    return Memory(
        "0.1.0",
        Life("2b1e4a3c-9a3f-4f3e-8d7b-000000000001", "net:[4026531840] 1"),
        1_800_000_000.125,
        "0123456789ab",
        removed=False,
        held=Held(Timeouts(tcp=900, udp=300), (daemon,)),
        pools=MappingProxyType({web.key: web, marked.key: marked}),
        leaving=MappingProxyType(
            {
                AddressKey(Protocol.UDP, Endpoint(ip_address("2001:db8::1"), 53)): frozenset(
                    {first.endpoint, second.endpoint}
                )
            }
        ),
    )


def plain() -> dict[str, Any]:
    raw: dict[str, Any] = json.loads(encode(example()))
    return raw


def test_the_format_is_an_interface_to_later_versions() -> None:
    assert encode(example()) == GOLDEN.read_bytes(), (
        "a file of this version must be readable for ever: changed on purpose?"
    )
    assert decode(GOLDEN.read_bytes()) == example()


def test_a_file_that_ends_anywhere_but_at_its_end_is_damaged() -> None:
    data = encode(example())
    for end in range(len(data.rstrip())):
        with pytest.raises(Damaged):
            decode(data[:end])


def test_a_file_with_a_byte_turned_over_is_read_or_damaged_and_nothing_else() -> None:
    data = encode(example())
    for place in range(len(data)):
        for byte in (0, 0xFF, data[place] ^ 1, data[place] ^ 0x20):
            hurt = data[:place] + bytes([byte]) + data[place + 1 :]
            try:
                decode(hurt)
            except (Damaged, Newer):
                continue


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 4096,
        b"null",
        b"[]",
        b"{}",
        b'{"format":true}',
        b'{"format":0}',
        b'{"format":1}',
        b'{"format":1e0}',
        b'{"format":NaN}',
        b"[" * 100_000,
        b'{"format":' + b"9" * 5000 + b"}",
        b'{"format":1,"format":1}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_state_at_all_is_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        decode(data)


def test_the_file_of_a_newer_program_is_told_apart() -> None:
    with pytest.raises(Newer, match="format 2"):
        decode(json.dumps({**plain(), "format": 2}).encode())


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of everything in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in leaves(one, (*path, key)))]


def replaced(raw: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(raw) if isinstance(raw, dict) else list(raw)
    copy[path[0]] = replaced(raw[path[0]], path[1:], value)
    return copy


WRONG: list[Any] = [None, True, -1, 2**40, 1e300, "", "x" * (TEXT_MAX + 1), "\ud800", [], {}, [[]], {"x": {}}]


def test_a_wrong_value_anywhere_is_refused_or_one_that_may_stand_there() -> None:
    """What is read can be written and read again: nothing half believed."""
    raw = plain()
    refused = 0
    for path in leaves(raw):
        for value in WRONG:
            try:
                memory = decode(json.dumps(replaced(raw, path, value)).encode())
            except Damaged:
                refused += 1
            else:
                assert decode(encode(memory)) == memory
    assert refused > len(leaves(raw)) * 6


def test_keys_that_nobody_knows_are_passed_over() -> None:
    def with_more(value: Any) -> Any:
        if isinstance(value, dict):
            named = {key: with_more(one) for key, one in value.items()}
            keyed_by_name = "203" in str(list(value))[:6] or any(":" in key for key in value)
            return named if keyed_by_name else {**named, "of tomorrow": [1]}
        return [with_more(one) for one in value] if isinstance(value, list) else value

    assert decode(json.dumps(with_more(plain())).encode()) == example()


def test_the_same_server_twice_is_damage() -> None:
    raw = plain()
    raw["virtual_servers"][0]["real_servers"] *= 2
    with pytest.raises(Damaged, match="same real server twice"):
        decode(json.dumps(raw).encode())


def test_texts_of_any_length_and_kind_can_be_written() -> None:
    check = CheckMemory(
        "d", "HTTP_GET", Health.DOWN, 0.0, "L7", "\ud800 half a character, and long " + "x" * 2 * TEXT_MAX
    )
    server = ServerMemory(Endpoint(ip_address("192.0.2.1"), 1), 1, 0.0, (check,))
    pool = PoolMemory(WEB, True, 0.0, None, {server.endpoint: server})
    memory = decode(encode(Memory("0.1.0", Life(), 0.0, pools={WEB: pool})))
    assert memory.pools[WEB].servers[server.endpoint].checks[0].detail.startswith("? half a character")


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
TIMES = st.floats(0, 4e9).map(lambda value: round(value, 3))
WEIGHTS = st.none() | st.integers(0, 65535)
ENDPOINTS = st.builds(Endpoint, st.ip_addresses(), st.integers(0, 65535))
KEYS = st.builds(AddressKey, st.sampled_from(Protocol), ENDPOINTS) | st.builds(
    FwmarkKey, st.sampled_from([4, 6]), st.integers(0, 2**32 - 1)
)
CHECKS = st.builds(CheckMemory, TEXTS, TEXTS, st.sampled_from(Health), TIMES, TEXTS, TEXTS, WEIGHTS)
WISHES = st.builds(WishMemory, st.sampled_from(AdminState), WEIGHTS, TEXTS, TEXTS, TIMES, st.none() | TIMES)
SERVERS = st.builds(
    ServerMemory, ENDPOINTS, WEIGHTS, TIMES, st.lists(CHECKS, max_size=3).map(tuple), st.none() | WISHES
)
POOLS = st.builds(
    PoolMemory,
    KEYS,
    st.booleans(),
    TIMES,
    st.none() | ENDPOINTS,
    st.lists(SERVERS, max_size=3, unique_by=lambda server: server.endpoint).map(
        lambda servers: {server.endpoint: server for server in servers}
    ),
    st.frozensets(ENDPOINTS, max_size=2),
    st.floats(0, 1e6).map(lambda value: round(value, 3)),
)
MEMORIES = st.builds(
    Memory,
    TEXTS,
    st.builds(Life, TEXTS, TEXTS),
    TIMES,
    TEXTS,
    st.booleans(),
    st.builds(Held, st.builds(Timeouts, *[st.integers(0, 2**31 - 1)] * 3)),
    st.lists(POOLS, max_size=3, unique_by=lambda pool: pool.key).map(lambda pools: {pool.key: pool for pool in pools}),
    st.dictionaries(KEYS, st.frozensets(ENDPOINTS, max_size=3), max_size=2),
    st.none() | st.builds(PauseMemory, TEXTS, TEXTS, TIMES, st.none() | TIMES),
)


@settings(max_examples=100, deadline=None)
@given(MEMORIES)
def test_what_is_written_is_read_again(memory: Memory) -> None:
    assert decode(encode(memory)) == memory


def test_ten_thousand_servers_are_encoded_and_read_in_no_time() -> None:
    servers = {
        (where := Endpoint(ip_address(0x0A000000 + n), 80)): ServerMemory(
            where,
            1,
            1.8e9,
            (CheckMemory("0123456789abcdef", "HTTP_GET", Health.UP, 1.8e9, "L7OK", "HTTP 200 in 3 ms"),),
        )
        for n in range(10_000)
    }
    memory = Memory("0.1.0", Life("a", "b"), 1.8e9, pools={WEB: PoolMemory(WEB, True, 1.8e9, None, servers)})
    began = time.process_time()
    data = encode(memory)
    took_s = time.process_time() - began
    assert decode(data) == memory
    assert took_s < 0.5, "measured 0.05 s on a quiet machine"
    assert len(data) < 4_000_000
