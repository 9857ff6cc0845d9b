"""The log while a rack of five hundred servers fails: what is written of it, and a reader that stands still meanwhile."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from checkers.kit.timer import TICK_S
from supervisor.core.snapshot import DURATION_BUCKETS_S, Snapshot
from supervisor.log import CATALOGUE, Log, LogWriter
from supervisor.log.bursts import KIND_LINES_MAX
from supervisor.log.entry import COMMON
from supervisor.log.writer import Lost
from tests.fakes.behaviours import healthy, refuse
from tests.sim.world import World, play

POOLS, SERVERS = 20, 50
CHECK = "TCP_CHECK {\n retry 1\n delay_before_retry 1\n connect_timeout 2\n }"
RACK = range(25)
"""Of each pool, the servers in the rack that fails: half of them, so that nobody doubts the director."""


def address(pool: int, server: int) -> str:
    return f"192.168.{100 + pool}.{server + 1}"


def director() -> str:
    def body(pool: int) -> str:
        servers = (f"real_server {address(pool, server)} 80 {{\n{CHECK}\n}}" for server in range(SERVERS))
        return "\n".join(servers)

    return "".join(
        f"virtual_server 203.0.113.{pool + 1} 80 {{\n delay_loop 5\n lb_algo rr\n lb_kind NAT\n protocol TCP\n{body(pool)}\n}}\n"
        for pool in range(POOLS)
    )


async def rack_fails_and_comes_back(world: World) -> None:
    """A minute of failure, and ten seconds after it."""
    servers = [world.network.server(address(pool, server), 80) for pool in range(POOLS) for server in RACK]
    for pool in range(POOLS):
        for server in range(SERVERS):
            world.network.server(address(pool, server), 80).behaviour = healthy()
    await world.later(10)
    for one in servers:
        one.behaviour = refuse()
    await world.later(60)
    assert all(len(world.weights(pool)) == SERVERS - len(RACK) for pool in range(POOLS))
    for one in servers:
        one.behaviour = healthy()
    await world.later(10)
    assert all(len(world.weights(pool)) == SERVERS for pool in range(POOLS))


def transitions(snapshot: Snapshot) -> int:
    """How often a real server changed, as the metrics say."""
    return sum(rs.transitions_up + rs.transitions_down for vs in snapshot.virtual_servers for rs in vs.real_servers)


def punctual(snapshot: Snapshot) -> bool:
    """Whether no probe began later than a tick of the timer after its time."""
    counts = snapshot.process.schedule_lag.counts
    return sum(counts) > 10_000 and not any(counts[bisect_left(DURATION_BUCKETS_S, TICK_S) + 1 :])


@pytest.fixture
def stuck() -> Iterator[tuple[int, int]]:
    """A pipe that is full, whose reader sleeps; after two minutes of real time somebody ends it, so that a failure is no hang."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    mercy = threading.Timer(120, lambda: os.close(reader))
    mercy.daemon = True
    mercy.start()
    yield reader, writer
    mercy.cancel()
    os.close(writer)


def read_all(fd: int) -> list[dict[str, Any]]:
    data = b""
    while chunk := os.read(fd, 65536):
        data += chunk
    os.close(fd)
    return [json.loads(line) for line in data.splitlines()]


def test_a_failed_rack_is_told_by_a_hundred_lines_of_each_kind_and_a_summary_and_no_metric_misses_one(
    tmp_path: Path,
) -> None:
    seen: list[Snapshot] = []

    async def story(world: World) -> None:
        await rack_fails_and_comes_back(world)
        seen.append(world.snapshot())

    world = play(story, director(), tmp_path)
    for to, level in (("DOWN", "warning"), ("UP", "info")):
        lines = [line for line in world.events("real_server.state_changed") if line["to"] == to]
        summaries = [
            line
            for line in world.events("burst.summary")
            if (line["of"], line["of_level"]) == ("real_server.state_changed", level)
        ]
        assert len(lines) >= KIND_LINES_MAX
        assert len(lines) + sum(line["count"] for line in summaries) == POOLS * len(RACK)
        assert len(lines) < POOLS * len(RACK)
        assert all("203.0.113." in line["most_virtual_servers"] for line in summaries)
    assert transitions(seen[0]) == 2 * POOLS * len(RACK)
    failure = next(line for line in world.events("burst.summary") if line["of"] == "real_server.state_changed")
    assert failure["most_results"].startswith("L4CON (")


def test_a_reader_that_stands_still_for_a_minute_makes_no_probe_late_and_costs_only_chatter(
    tmp_path: Path, stuck: tuple[int, int]
) -> None:
    reader, fd = stuck
    writer = LogWriter(fd, capacity_bytes=500 << 10, environ={})
    seen: list[Snapshot] = []

    async def chatter(log: Log) -> None:
        while True:
            await trio.sleep(0.05)
            log.emit("worker.started", "A part of the program that talks twenty times a second.", worker="chatter")

    async def story(world: World) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(chatter, world.log)
            await rack_fails_and_comes_back(world)
            nursery.cancel_scope.cancel()
        seen.append(world.snapshot())

    play(story, director(), tmp_path, log_writer=writer)
    (snapshot,) = seen
    assert punctual(snapshot)
    assert transitions(snapshot) == 2 * POOLS * len(RACK)
    lost = snapshot.process.log_dropped
    assert lost == writer.dropped > 0
    losses: list[Lost] = []
    writer.on_drained = losses.append
    read: list[list[dict[str, Any]]] = []
    thread = threading.Thread(target=lambda: read.append(read_all(reader)))
    thread.start()
    assert writer.close(60)
    os.dup2(os.open(os.devnull, os.O_WRONLY), fd)  # the pipe has no writer any more; the number stays the fixture's
    thread.join(60)
    (lines,) = read
    assert [(told.count, told.warnings) for told in losses] == [(lost, 0)]
    assert 60 > losses[0].since_s > 0
    written = sum(snapshot.process.log_events.values())
    assert len(set(range(1, written + 1)) - {line["seq"] for line in lines}) == lost
    told = [line for line in lines if line["event"] == "real_server.state_changed"]
    summed_up = sum(
        line["count"]
        for line in lines
        if line["event"] == "burst.summary" and line["of"] == "real_server.state_changed"
    )
    assert len(told) + summed_up == 2 * POOLS * len(RACK), "every transition has its line, or is in a summary"
    assert sum(1 for line in lines if CATALOGUE[line["event"]].edge) > 4 * KIND_LINES_MAX
    chatter_told = sum(1 for line in lines if line.get("worker") == "chatter")
    assert chatter_told + lost == 80 * 20, "what is lost is chatter, and nothing else"
    assert chatter_told > 500


def test_a_failover_is_told_step_by_step_from_the_first_failure_to_the_sorry_server(tmp_path: Path) -> None:
    text = director_of_one("sorry_server 192.168.100.9 80")

    async def story(world: World) -> None:
        server = world.network.server(address(0, 0), 80)
        await world.later(20)
        server.behaviour = refuse()
        await world.later(30)
        server.behaviour = healthy()
        await world.later(30)
        world.stop()
        await world.later(5)

    world = play(story, text, tmp_path)
    told = [line["event"] for line in world.lines]
    assert told[told.index("real_server.check_failed") :] == [
        "real_server.check_failed",
        "check.changed",
        "real_server.state_changed",
        "virtual_server.quorum_lost",
        "virtual_server.sorry_on",
        "check.changed",
        "real_server.state_changed",
        "virtual_server.quorum_gained",
        "virtual_server.sorry_off",
        "daemon.stopping",
        "address.released",
        "daemon.stopped",
    ]
    assert "address.assigned" in told
    for line in world.lines:
        entry = CATALOGUE[line["event"]]
        assert line.keys() <= {*COMMON, *entry.fields}


def director_of_one(*lines: str) -> str:
    body = "\n".join(lines)
    return (
        f"virtual_server 203.0.113.1 80 {{\n delay_loop 5\n lb_algo rr\n lb_kind NAT\n protocol TCP\n{body}\n"
        f"real_server {address(0, 0)} 80 {{\n{CHECK}\n}}\n}}\n"
    )
