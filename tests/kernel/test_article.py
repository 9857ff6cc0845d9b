"""The article, replayed on a real IPVS table with its own file and its own timings, under traffic all the while.

The tests are the chapters of one story and run in the order of this file: each begins where the one before it ended.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kernel.daemon import Daemon, is_alive, kill
from tests.kernel.lab import ARTICLE, VIRTUAL, Lab, cost_of_starting, wait_until
from tests.kernel.postbox import Postbox
from tests.kernel.traffic import Clients
from tests.kernel.wiretap import Wiretap

SORRY, FIRST, SECOND = "192.168.100.20:80", "192.168.100.21:80", "192.168.100.22:80"
BOTH_UP = {FIRST: 1, SECOND: 1}
DELAY_LOOP_S, RETRIES, DELAY_BEFORE_RETRY_S = 5, 3, 3
DETECTION_S = DELAY_LOOP_S + RETRIES * DELAY_BEFORE_RETRY_S + 2
RECOVERY_S = DELAY_LOOP_S + 2
BACK_S = 2
"""Within so many seconds after a kill -9 everything is as it was, beside what starting the programs anew costs in this kernel:
nothing to speak of on a machine, a second each on the one slow processor of a User-Mode Linux guest, and twice that when clients and
the other group of tests want processors too."""
SUPERVISOR, WORKER, EXPORTER = "supervisor.launch", "checkers.__main__", "supervisor.exporter.__main__"
VIRTUAL_ADDRESS = f"inet {VIRTUAL}/32 scope global eth0"


@dataclass(frozen=True)
class World:
    """Everything there is while the story runs."""

    lab: Lab
    daemon: Daemon
    clients: Clients
    postbox: Postbox
    wiretap: Wiretap
    cost_s: dict[str, float]
    """What starting each program costs here with nothing else to do: 0.1 s on a machine, 1 s in a User-Mode Linux guest."""

    def weights(self) -> dict[str, int]:
        return self.lab.table.weights()

    def pool_was_ever_empty(self, since_s: float) -> bool:
        """Tell whether a change left the service without a destination of weight above 0."""
        states = [change.weights for change in self.wiretap.since(since_s)]
        return any(weights is None or max(weights.values(), default=0) < 1 for weights in states)

    def kill_and_restart_the_supervisor(self) -> None:
        """kill -9, and start it at once as systemd would; assert that it and its two children are back in time."""
        kill(self.daemon.process.pid)
        self.daemon.restart()
        limit_s = BACK_S + 2 * sum(self.cost_s.values())
        print(f"back after {wait_until('all three processes', self.daemon.is_staffed, limit_s, every=0.1):.2f} s")

    def requests_go_on(self, for_s: float, since_s: float) -> None:
        """Let traffic run and assert that no request failed since a moment."""
        time.sleep(for_s)
        assert len(self.clients.since(since_s)) > 10 * for_s, "hardly any request was made"
        assert self.clients.failed_since(since_s) == []


@pytest.fixture(scope="module")
def world(directory: Path) -> Iterator[World]:
    with Lab(directory) as lab:
        postbox = Postbox(lab.clients)
        wiretap = Wiretap(lab.director)
        lab.start_all_web()
        cost_s = {program: cost_of_starting(program) for program in (SUPERVISOR, WORKER, EXPORTER)}
        print("seconds that starting costs here:", {program: round(seconds, 2) for program, seconds in cost_s.items()})
        daemon = Daemon(lab, ARTICLE)
        wait_until("the virtual address answers", lambda: VIRTUAL_ADDRESS in lab.addresses(), within=30)
        clients = Clients(lab.clients)
        yield World(lab, daemon, clients, postbox, wiretap, cost_s)
        clients.stop()
        wiretap.close()
        postbox.close()


def test_at_the_start_both_servers_have_weight_one_and_both_serve(world: World) -> None:
    wait_until("both servers in the table", lambda: world.weights() == BOTH_UP, within=3)
    moment = time.monotonic()
    assert world.daemon.wait_until_whole() < DELAY_LOOP_S + 6  # the first checks come 1 to 6 s after the start
    assert VIRTUAL_ADDRESS in world.lab.addresses()
    assert world.weights() == BOTH_UP
    world.requests_go_on(1, since_s=moment)
    assert {request.answered_by for request in world.clients.since(moment)} == {"192.168.100.21", "192.168.100.22"}


def test_killing_the_checker_worker_harms_no_request_and_it_is_back_in_two_seconds(world: World) -> None:
    moment = time.monotonic()
    killed = world.daemon.child("checker-0")
    kill(killed)
    back = lambda: world.daemon.child("checker-0") not in {0, killed} and world.daemon.is_whole()  # noqa: E731
    took = wait_until("another worker that knows every check", back, BACK_S + 2 * world.cost_s[WORKER], every=0.1)
    print(f"back after {took:.2f} s")
    world.requests_go_on(1, since_s=moment)
    assert world.wiretap.since(moment) == []


def test_killing_the_exporter_harms_no_request_and_it_is_back_in_two_seconds(world: World) -> None:
    moment = time.monotonic()
    killed = world.daemon.child("exporter")
    kill(killed)
    back = lambda: world.daemon.child("exporter") not in {0, killed} and world.daemon.is_staffed()  # noqa: E731
    took = wait_until("another exporter that answers", back, BACK_S + 2 * world.cost_s[EXPORTER], every=0.1)
    print(f"back after {took:.2f} s")
    world.requests_go_on(1, since_s=moment)
    assert world.wiretap.since(moment) == []


def test_killing_the_supervisor_harms_no_request_and_its_successor_adopts_the_table(world: World) -> None:
    moment = time.monotonic()
    orphans = [world.daemon.child("checker-0"), world.daemon.child("exporter")]
    world.kill_and_restart_the_supervisor()
    wait_until("the old children are gone", lambda: not any(map(is_alive, orphans)), within=1)
    world.daemon.wait_until_whole()
    world.requests_go_on(1, since_s=moment)
    assert world.wiretap.since(moment) == []
    assert VIRTUAL_ADDRESS in world.lab.addresses()


def test_a_killed_server_gets_weight_zero_and_no_request_after_that_fails(world: World) -> None:
    killed = time.monotonic()
    world.lab.kill_web(22)
    took = wait_until("weight 0", lambda: world.weights().get(SECOND) == 0, DETECTION_S)
    moment = time.monotonic()
    print(f"weight 0 after {took:.1f} s; {len(world.clients.failed_since(killed, moment))} requests failed before")
    assert world.weights() == {FIRST: 1, SECOND: 0}
    shape = (
        r"TCP  203\.0\.113\.100:80 rr\n"
        r"  -> 192\.168\.100\.21:80 +Masq +1 +\d+ +\d+ *\n"
        r"  -> 192\.168\.100\.22:80 +Masq +0 +0 +\d+ *\n$"
    )
    time.sleep(0.5)  # what .22 was still handed to has ended
    assert re.search(shape, world.lab.listing())
    world.requests_go_on(2, since_s=moment)
    assert {request.answered_by for request in world.clients.since(moment)} == {"192.168.100.21"}
    assert not world.pool_was_ever_empty(killed)


def test_a_supervisor_killed_meanwhile_comes_back_and_the_dead_server_stays_at_weight_zero(world: World) -> None:
    moment = time.monotonic()
    world.kill_and_restart_the_supervisor()
    world.daemon.wait_until_whole()
    world.requests_go_on(1, since_s=moment)
    assert world.wiretap.since(moment) == []
    assert world.weights() == {FIRST: 1, SECOND: 0}


def test_when_both_are_dead_the_sorry_server_serves_and_the_pool_was_never_empty(world: World) -> None:
    killed = time.monotonic()
    world.lab.kill_web(21)
    wait_until("the sorry server", lambda: world.weights() == {SORRY: 1, FIRST: 0, SECOND: 0}, DETECTION_S)
    moment = time.monotonic()
    world.requests_go_on(2, since_s=moment)
    assert {request.answered_by for request in world.clients.since(moment)} == {"192.168.100.20"}
    assert not world.pool_was_ever_empty(killed)


def test_when_both_are_back_everything_is_as_at_the_start(world: World) -> None:
    returned = time.monotonic()
    world.lab.start_web(21)
    world.lab.start_web(22)
    wait_until("both serve", lambda: world.weights() == BOTH_UP, RECOVERY_S)
    moment = time.monotonic()
    world.requests_go_on(2, since_s=moment)
    assert {request.answered_by for request in world.clients.since(moment)} == {"192.168.100.21", "192.168.100.22"}
    assert not world.pool_was_ever_empty(returned)


def test_each_change_was_told_by_a_mail_shaped_as_keepalived_does(world: World) -> None:
    def subject(server: int, state: str) -> str:
        return (
            f"[LVS_DEVEL] Realserver [192.168.100.{server}]:tcp:80 of virtual server [203.0.113.100]:tcp:80 - {state}"
        )

    expected = [subject(22, "DOWN"), subject(21, "DOWN"), subject(21, "UP"), subject(22, "UP")]
    wait_until("four mails", lambda: len(world.postbox.mails) >= len(expected), within=30)
    assert world.postbox.subjects()[:2] == expected[:2]
    assert sorted(world.postbox.subjects()) == sorted(expected)
    for mail in world.postbox.mails:
        assert (mail.sender, mail.recipients) == ("admin@example.org", ("admin@example.org",))
        assert (mail.message["From"], mail.message["To"]) == ("admin@example.org", "admin@example.org")
        assert mail.message["Date"]
    failed = "=> CHECK failed on service : HTTP request failed <="
    assert [mail.body for mail in world.postbox.mails[:2]] == [failed, failed]
    assert {mail.body for mail in world.postbox.mails[2:]} == {"=> CHECK succeed on service <="}


def test_a_clean_stop_leaves_an_empty_table_and_takes_the_virtual_address_away(world: World) -> None:
    assert world.daemon.stop() == 0
    assert world.lab.rules() == []
    assert VIRTUAL not in world.lab.addresses()
    assert [event for event in world.daemon.events() if event["event"] == ""] == [], (
        "something other than JSON in the log"
    )
