from __future__ import annotations

import json
from dataclasses import replace

import pytest

from checkers.kit import wire
from supervisor.core import snapshot, views
from supervisor.core.events import KernelRead
from supervisor.core.snapshot import (
    DURATION_BUCKETS_S,
    STEP_SERVERS,
    ProcessView,
    Snapshot,
    WorkerView,
    WriterView,
    decode,
    decoding,
    encode,
    encoding,
)
from supervisor.core.table import Counters, Destination, Load, Loads, Reading, Service, ServiceSettings, Table
from tests.fakes import snapshots
from tests.supervisor.core.builders import KEY, config, endpoint, real_server, report, started, virtual_server


def sample() -> Snapshot:
    director = started(config(virtual_server(real_server(21), real_server(22, inhibit=True))))
    report(director, 22, up=False, now=4.0)
    destinations = {endpoint(n): Destination(endpoint(n), 1) for n in (21, 22)}
    loads: Loads = {KEY: {endpoint(21): Load(3, 1, 0, Counters(9, 8, 7, 6, 5))}}
    table = Table({KEY: Service(KEY, ServiceSettings("rr"), destinations)})
    director.handle(KernelRead(Reading(table, loads, {KEY: Counters(10)}), agrees=False), now=5.0)
    process = ProcessView(
        version="0",
        python="3",
        kernel="6",
        backend="memory",
        pid=1,
        uptime_s=10.0,
        ready=True,
        config_source="a.conf",
        config_digest="0",
        config_warnings=0,
        config_age_s=10.0,
        reload_ok=True,
        reloads_ok=0,
        reloads_rejected=0,
        schedule_lag=snapshot.Histogram(),
        checks=(snapshot.CheckCount("HTTP_GET", "L7OK", 5),),
        check_durations=(),
        writer=WriterView(),
        workers=(WorkerView("checker-0", 1, 0, None, 0.0, 0, 0, "caged"),),
        log_events={"info": 3},
        log_dropped=0,
        mail_sent=0,
        mail_failed=0,
        mail_dropped=0,
        inbox_length=0,
        addresses={"203.0.113.100": "assigned eth0"},
    )
    return Snapshot(process, views.virtual_servers(director, now=6.0))


def test_a_snapshot_survives_its_wire_form() -> None:
    assert decode(encode(sample())) == sample()


def test_a_view_shows_what_is_wanted_beside_what_the_kernel_has() -> None:
    server = sample().virtual_servers[0].real_servers[1]
    assert (server.health, server.weight_wanted, server.weight_kernel, server.since_s) == ("DOWN", 0, 1, 2.0)
    assert server.checks[0].reason == "L4CON"
    assert sample().virtual_servers[0].real_servers[0].traffic.active == 3
    assert sample().virtual_servers[0].traffic.connections == 10


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"schema":99}', b'{"schema":1}', b'{"process":{},"virtual_servers":[],"schema":1}', b"\xff"],
)
def test_what_is_no_snapshot_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"snapshot|JSON|Expecting|utf-8"):
        decode(data)


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        (b'"schema":1}', b'"schema":2}'),
        (b'"schema":1}', b'"schema":1} '),
        (b'"schema":1}', b'"schema":1'),
        (b'],"schema"', b',],"schema"'),
        (b',"virtual_servers":[{', b',"virtual_servers":{{'),
        (b'"real_servers":[', b'"real_servers":7,"":['),
        (b'"real_servers":[{', b'"real_servers":[{]'),
    ],
)
def test_a_snapshot_that_was_tampered_with_is_refused(there: bytes, instead: bytes) -> None:
    said = encode(sample())
    assert said.count(there) == 1
    with pytest.raises(ValueError, match=r"snapshot|JSON|Expecting|delimiter"):
        decode(said.replace(there, instead))


def test_worker_and_observer_count_in_the_same_buckets() -> None:
    assert wire.DURATION_BUCKETS_S == DURATION_BUCKETS_S


def test_piece_by_piece_it_is_the_same_snapshot_and_no_piece_is_long() -> None:
    pool = tuple(
        snapshots.real_server(f"10.0.{number // 250}.{number % 250}") for number in range(10 * STEP_SERVERS + 3)
    )
    whole = Snapshot(
        snapshots.process(), (snapshots.article(), replace(snapshots.marked(), real_servers=pool), snapshots.marked())
    )
    parts = ((replace(view, real_servers=()), view.real_servers) for view in whole.virtual_servers)
    pieces = list(encoding(whole.process, parts))
    assert decode(b"".join(pieces)) == decode(encode(whole)) == whole
    assert max(piece.count(b'"weight_configured"') for piece in pieces) <= STEP_SERVERS


def test_reading_gives_others_their_turn_and_ends_with_the_snapshot() -> None:
    pool = tuple(snapshots.real_server(f"10.0.{number // 250}.{number % 250}") for number in range(5 * STEP_SERVERS))
    whole = Snapshot(snapshots.process(), (replace(snapshots.article(), real_servers=pool),))
    *turns, last = decoding(encode(whole))
    assert (turns, last) == ([None] * 6, whole)


def test_nothing_of_a_snapshot_is_forgotten_piece_by_piece() -> None:
    empty = Snapshot(snapshots.process(), ())
    assert json.loads(b"".join(encoding(empty.process, ()))) == json.loads(encode(empty))
