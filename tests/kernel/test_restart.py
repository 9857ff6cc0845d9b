"""kill -9 and a new start on a real IPVS table, under traffic: what the state file knows beyond the table.

The tests are the chapters of one story and run in the order of this file: each begins where the one before it ended.
"""

from __future__ import annotations

import json
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kernel.daemon import Daemon, kill
from tests.kernel.lab import ARTICLE, VIRTUAL, Lab, wait_until
from tests.kernel.traffic import Clients
from tests.kernel.wiretap import Wiretap

OTHER, SORRY, FIRST, SECOND = "203.0.113.101", "192.168.100.20:80", "192.168.100.21:80", "192.168.100.22:80"
ONE = (
    ARTICLE.read_text()
    .replace("delay_loop 5", "delay_loop 1")
    .replace("nb_get_retry 3", "retry 1")
    .replace("delay_before_retry 3", "delay_before_retry 0.2")
)
BOTH = (
    f"{ONE}\nvirtual_server {OTHER} 80 {{\n delay_loop 1\n lb_algo rr\n lb_kind NAT\n protocol TCP\n"
    " real_server 192.168.100.20 80 {\n TCP_CHECK {\n connect_timeout 2\n }\n }\n}\n"
)


@dataclass(frozen=True)
class World:
    """Everything there is while the story runs."""

    lab: Lab
    file: Path
    daemon: Daemon
    clients: Clients
    wiretap: Wiretap

    def part(self, address: str) -> list[str]:
        """What `ipvsadm -Sn` prints of one virtual server."""
        return [line for line in self.lab.rules() if f" {address}:80 " in f"{line} "]

    def crash(self) -> None:
        """kill -9 of the supervisor."""
        kill(self.daemon.process.pid)


@pytest.fixture(scope="module")
def world(directory: Path) -> Iterator[World]:
    file = directory / "keepalived.conf"
    file.write_text(BOTH)
    with Lab(directory) as lab:
        wiretap = Wiretap(lab.director)
        lab.start_all_web()
        daemon = Daemon(lab, file)
        daemon.wait_until_whole(30)
        lab.kill_web(22)
        wait_until("22 is out", lambda: f"-a -t {VIRTUAL}:80 -r {SECOND} -m -w 0" in lab.rules(), within=40)
        clients = Clients(lab.clients)
        yield World(lab, file, daemon, clients, wiretap)
        clients.stop()
        wiretap.close()


def test_the_state_is_on_the_disk_for_nobody_else_to_read(world: World) -> None:
    path = world.daemon.state / "state.json"
    wait_until("the state says it", lambda: b'"DOWN"' in path.read_bytes(), within=30)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_bytes())["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_a_virtual_server_that_left_the_file_between_kill_and_start_goes_and_nobody_else_notices(world: World) -> None:
    moment = time.monotonic()
    before = world.part(VIRTUAL)
    assert world.part(OTHER)
    world.crash()
    world.file.write_text(ONE)
    world.daemon.restart()
    wait_until("the other one is gone", lambda: not world.part(OTHER), within=30)
    world.daemon.wait_until_whole(30)
    time.sleep(1)
    assert world.part(VIRTUAL) == before
    assert len(world.clients.since(moment)) > 20
    assert world.clients.failed_since(moment) == []
    changes = world.wiretap.since(moment)
    if world.wiretap.exact:
        assert {change.destination for change in changes} <= {SORRY, ""}
        assert [change.command for change in changes].count("DEL_SERVICE") == 1
    assert [event["taken_out"] for event in world.daemon.events("state.abandoned")] == [True]


def test_after_a_flush_while_nobody_ran_the_dead_server_is_not_given_one_connection(world: World) -> None:
    world.crash()
    world.daemon.process.wait()
    subprocess.run(["ip", "netns", "exec", world.lab.director, "ipvsadm", "-C"], check=True)
    world.daemon.restart()
    wait_until("it serves again", lambda: f"-a -t {VIRTUAL}:80 -r {FIRST} -m -w 1" in world.lab.rules(), within=30)
    moment = time.monotonic()
    world.daemon.wait_until_whole(30)
    time.sleep(2)
    assert world.clients.failed_since(moment) == []
    assert {request.answered_by for request in world.clients.since(moment)} == {"192.168.100.21"}
    if world.wiretap.exact:
        flushed = max(change.at_s for change in world.wiretap.changes() if change.command == "FLUSH")
        assert all((change.weights or {}).get(SECOND, 0) == 0 for change in world.wiretap.since(flushed))


def test_the_dead_server_is_back_with_its_first_success(world: World) -> None:
    world.lab.start_web(22)
    wait_until("22 serves", lambda: f"-a -t {VIRTUAL}:80 -r {SECOND} -m -w 1" in world.lab.rules(), within=30)


def test_a_clean_stop_leaves_a_file_that_claims_nothing(world: World) -> None:
    assert world.daemon.stop() == 0
    assert world.lab.rules() == []
    assert json.loads((world.daemon.state / "state.json").read_bytes())["removed"] is True
