"""Real processes that are stopped, starved of descriptors, killed or hung, with real servers on loopback: nobody healthy is taken out.

The same with a real kernel's table under client traffic is in tests/kernel.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.process.test_daemon import Daemon, Web, configuration, until

STOP_S = 5.0
"""Longer than a child may be silent."""


@pytest.fixture
def webs() -> Iterator[tuple[Web, Web]]:
    pair = (Web(), Web())
    yield pair
    for web in pair:
        with contextlib.suppress(OSError, RuntimeError):
            web.close()


@pytest.fixture
def daemon(tmp_path: Path, webs: tuple[Web, Web]) -> Iterator[Daemon]:
    started = Daemon(tmp_path, configuration(*(web.port for web in webs)), "--workers", "2")
    until(lambda: started.weights() == [1, 1] and started.events("daemon.ready"))
    until(lambda: len(started.events("worker.started")) == 3)  # who has not greeted yet is given longer to do so
    yield started
    started.close()


class Watch:
    """Looks at the table again and again in a thread; `seen` are all different weights that there were."""

    def __init__(self, daemon: Daemon) -> None:
        self.seen: set[tuple[int | None, ...]] = set()
        self._daemon = daemon
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            with contextlib.suppress(OSError, ValueError, KeyError):
                self.seen.add(tuple(self._daemon.weights()))


def nobody_was_taken_out(daemon: Daemon) -> bool:
    return not [line for line in daemon.events("real_server.state_changed") if line["to"] == "DOWN"]


def restarts(daemon: Daemon) -> dict[str, int]:
    return {view["name"]: view["restarts"] for view in daemon.status()["process"]["workers"]}


@pytest.mark.parametrize("name", ["checker-0", "checker-1", "exporter"])
def test_a_child_that_is_stopped_is_noticed_killed_and_replaced_within_seconds(daemon: Daemon, name: str) -> None:
    before = daemon.pid_of(name)
    os.kill(before, signal.SIGSTOP)
    begun = time.monotonic()
    with Watch(daemon) as watch:
        until(lambda: daemon.pid_of(name) not in {0, before})
        until(lambda: not any(rs["stale"] for rs in daemon.status()["virtual_servers"][0]["real_servers"]))
    assert time.monotonic() - begun < 30.0  # a few seconds on a machine with nothing else to do
    assert watch.seen == {(1, 1)}
    assert nobody_was_taken_out(daemon)
    until(lambda: daemon.metrics().startswith("# HELP"))


SHORT_STOP_S = 1.5
"""A child may be silent for so long."""


def test_a_checker_that_was_stopped_for_a_moment_is_said_to_be_slow_and_no_longer_ten_beats_later(
    daemon: Daemon,
) -> None:
    pid = daemon.pid_of("checker-0")
    os.kill(pid, signal.SIGSTOP)
    time.sleep(SHORT_STOP_S)
    os.kill(pid, signal.SIGCONT)

    def told() -> list[dict[str, Any]]:
        return [line for line in daemon.events("worker.slow") if line["worker"] == "checker-0"]

    until(told)
    for _ in range(6):  # ten punctual beats in a row take as long as a busy machine makes them
        with contextlib.suppress(AssertionError):
            until(lambda: told()[-1]["over"])
    first, *_, last = told()
    assert (first["level"], first["over"]) == ("warning", False)
    assert "its loop is late by " in first["reason"]
    assert (last["level"], last["over"]) == ("info", True)
    assert last["reason"] == "its loop is punctual again"
    assert daemon.pid_of("checker-0") == pid
    assert nobody_was_taken_out(daemon)


def test_a_supervisor_that_is_stopped_blames_neither_its_children_nor_the_servers(daemon: Daemon) -> None:
    before = restarts(daemon)
    daemon.process.send_signal(signal.SIGSTOP)
    time.sleep(STOP_S)
    daemon.process.send_signal(signal.SIGCONT)
    until(lambda: daemon.weights() == [1, 1])
    time.sleep(1.0)
    assert restarts(daemon) == before
    assert nobody_was_taken_out(daemon)
    assert max(line["lag_s"] for line in daemon.events("loop.lagging")) > STOP_S - 1


def test_the_whole_program_that_is_stopped_takes_nobody_out_when_it_wakes_up(daemon: Daemon) -> None:
    """As in a virtual machine that is paused: all processes at once."""
    pids = [view["pid"] for view in daemon.status()["process"]["workers"] if view["pid"]]
    for _ in range(2):
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(3.0)
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)
        until(lambda: daemon.weights() == [1, 1])
        time.sleep(1.0)
    assert nobody_was_taken_out(daemon)
    checkers = ("checker-0", "checker-1")
    until(lambda: sum(v["naps"] for v in daemon.status()["process"]["workers"] if v["name"] in checkers) >= 2)


@contextlib.contextmanager
def without_descriptors(pid: int) -> Iterator[None]:
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def test_a_supervisor_without_a_descriptor_lives_and_goes_on_when_there_are_some(
    daemon: Daemon, webs: tuple[Web, Web]
) -> None:
    """It cannot answer, nor start a worker that died meanwhile; the other worker goes on, and so does the table."""
    first = daemon.pid_of("checker-0")
    with without_descriptors(daemon.process.pid):
        os.kill(first, signal.SIGKILL)
        asking = [threading.Thread(target=daemon.ask, args=["status"]) for _ in range(3)]
        for thread in asking:
            thread.start()
        daemon.process.send_signal(signal.SIGHUP)  # a file that cannot be opened is a file that is refused
        time.sleep(4.0)
        assert daemon.process.poll() is None
    for thread in asking:
        thread.join()
    until(lambda: daemon.pid_of("checker-0") not in {0, first})
    until(lambda: daemon.weights() == [1, 1])
    assert nobody_was_taken_out(daemon)
    assert [line for line in daemon.events("worker.exited") if "could not be started" in line["reason"]]
    webs[1].close()
    until(lambda: daemon.weights() == [1, 0])
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: daemon.status()["process"]["reload_ok"])
    assert len(daemon.lines()) < 300, "the log was not filled"


def test_killed_again_and_again_at_random_moments_nobody_is_taken_out(daemon: Daemon) -> None:
    with Watch(daemon) as watch:
        for number in range(12):
            with contextlib.suppress(ProcessLookupError):
                pid = daemon.pid_of(f"checker-{number % 2}")
                if pid:
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.37)
    until(lambda: not any(rs["stale"] for rs in daemon.status()["virtual_servers"][0]["real_servers"]))
    assert watch.seen == {(1, 1)}
    assert nobody_was_taken_out(daemon)
