"""Trouble of our own is no news of the servers: a loop that stands still, a clock that jumps, no descriptor left.

Checks are as impatient as a file can make them (half a second, no second try), so that whatever we mistake for a failure of theirs
takes a healthy server out at once. The table is looked at all the time: not one of them may leave it, and no client may notice.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kernel import lab
from tests.kernel.daemon import Daemon
from tests.kernel.load import TIMEOUT_S, Load
from tests.kernel.storm import Watch

HEALTHY = {f"192.168.100.{number}:80": 1 for number in (20, 21, 22)}
STALL_S = 3.0
TROUBLE_S = 4.0
"""How long the others last: eight rounds of checks."""
HOUR_S = 3600.0
RATE = 200.0


def configuration() -> str:
    web = (
        "HTTP_GET {\n url {\n path /\n status_code 200\n }\n connect_timeout 0.5\n retry 0\n delay_before_retry 0.5\n }"
    )
    servers = [f" real_server {name.replace(':', ' ')} {{\n {web}\n }}" for name in HEALTHY]
    head = f"virtual_server {lab.VIRTUAL} 80 {{\n delay_loop 0.5\n lb_algo rr\n lb_kind NAT\n protocol TCP\n"
    return head + "\n".join(servers) + "\n}\n"


@dataclass(frozen=True)
class World:
    lab: lab.Lab
    daemon: Daemon
    load: Load
    watch: Watch

    def judge(self, since_s: float, trouble: str) -> None:
        """Assert that after some more rounds of checks nobody was taken out, and no request of since then failed."""
        time.sleep(2)
        states = [weights for at_s, weights in self.watch.states if at_s >= since_s]
        assert states == [], f"the table changed after {trouble}"
        assert self.lab.table.weights() == HEALTHY
        self.daemon.wait_until_whole(within=30)
        assert self.lab.table.weights() == HEALTHY

    def pids(self) -> list[int]:
        return [self.daemon.process.pid, self.daemon.child("checker-0")]


@pytest.fixture(scope="module")
def world(directory: Path) -> Iterator[World]:
    file = directory / "impatient.conf"
    file.write_text(configuration())
    with contextlib.ExitStack() as stack:
        world = stack.enter_context(lab.Lab(directory))
        world.start_all_web()
        world.hurry_web()
        daemon = Daemon(world, file)
        daemon.wait_until_whole(within=60)
        watch = Watch(world.table)
        stack.callback(watch.close)
        load = Load(world, RATE)
        stack.callback(load.close)
        time.sleep(0.5)
        assert world.table.weights() == HEALTHY
        yield World(world, daemon, load, watch)


@pytest.mark.parametrize("who", ["supervisor", "worker", "both"])
def test_a_loop_that_stands_still_for_three_seconds_takes_nobody_out(world: World, who: str) -> None:
    moment = time.monotonic()
    supervisor, worker = world.pids()
    stopped = {"supervisor": [supervisor], "worker": [worker], "both": [supervisor, worker]}[who]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(STALL_S)
    for pid in reversed(stopped):
        with contextlib.suppress(ProcessLookupError):  # a silent worker has been replaced
            os.kill(pid, signal.SIGCONT)
    world.judge(moment, f"{who} stood still")


def test_a_clock_that_is_set_by_an_hour_and_back_takes_nobody_out(world: World) -> None:
    if "User Mode Linux" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("the clock of this machine is not ours to set; it is in a User-Mode Linux guest")
    moment = time.monotonic()
    time.clock_settime(time.CLOCK_REALTIME, time.time() + HOUR_S)
    try:
        time.sleep(TROUBLE_S)
    finally:
        time.clock_settime(time.CLOCK_REALTIME, time.time() - HOUR_S)
    world.judge(moment, "the clock was set")


@pytest.mark.parametrize("who", ["supervisor", "worker", "both"])
def test_without_one_free_descriptor_nobody_is_taken_out(world: World, who: str) -> None:
    moment = time.monotonic()
    supervisor, worker = world.pids()
    starved = {"supervisor": [supervisor], "worker": [worker], "both": [supervisor, worker]}[who]
    before = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in starved}
    try:
        for pid, (_, hard) in before.items():
            resource.prlimit(
                pid, resource.RLIMIT_NOFILE, (3, hard)
            )  # whatever is open stays open, nothing can be opened
        time.sleep(TROUBLE_S)
    finally:
        for pid, limits in before.items():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    world.judge(moment, "all descriptors were used up")


def test_no_request_failed_by_any_of_this(world: World) -> None:
    time.sleep(TIMEOUT_S)
    assert world.load.failures == []
    assert sum(sum(report.answered.values()) for report in world.load.reports) > 0.9 * RATE * (
        world.load.reports[-1].at_s - world.load.reports[0].at_s
    )
