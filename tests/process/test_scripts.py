"""Scripts and named pipes of the real daemon: started, replaced and ended with it. What they say stands in its log."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.test_daemon import Daemon, Web, configuration, until


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def child_of(pid: int) -> int:
    """The child of a process; 0 while there is none."""
    words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(words[0]) if words else 0


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


def file(web: Web, fifo: Path, more: str = "") -> str:
    settings = (
        f"global_defs {{\n  notify_fifo {fifo}\n  notify_fifo_script \"/bin/sh -c 'sleep 600' reader\"\n"
        "  startup_script \"/bin/echo starting\"\n  shutdown_script '/bin/echo stopping'\n}\n"
    )
    scripts = "  quorum_up \"/bin/sh -c 'echo $VIPERVISOR_EVENT of $VIPERVISOR_VIRTUAL_SERVER'\"\n  omega\n" + more
    return settings + configuration(web.port).replace("  delay_loop", scripts + "  delay_loop", 1)


def said(daemon: Daemon) -> list[str]:
    """What the scripts that succeeded wrote, in order."""
    return [event["output"] for event in daemon.events("notify.script_done")]


@pytest.fixture
def daemon(tmp_path: Path, web: Web) -> Iterator[Daemon]:
    running = Daemon(tmp_path, file(web, tmp_path / "fifo"))
    yield running
    running.close()


def test_scripts_run_from_the_first_to_the_last(daemon: Daemon, tmp_path: Path) -> None:
    until(lambda: len(said(daemon)) >= 2 and daemon.events("daemon.ready"))
    assert said(daemon) == ["starting", "quorum_gained of 203.0.113.100:80/tcp"]
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    assert os.read(reader, 4096) == b"VS [203.0.113.100]:tcp:80 UP\n"
    runner = daemon.pid_of("runner")
    script = child_of(runner)
    assert is_alive(script)
    assert daemon.stop() == 0
    assert os.read(reader, 4096).endswith(b"VS [203.0.113.100]:tcp:80 DOWN\n")
    os.close(reader)
    assert said(daemon)[-1] == "stopping"
    assert not is_alive(script)
    assert not is_alive(runner)
    assert not (tmp_path / "fifo").exists()


def test_a_killed_runner_is_back_at_once_and_takes_the_reader_with_it(daemon: Daemon) -> None:
    until(lambda: daemon.events("daemon.ready"))
    runner = daemon.pid_of("runner")
    until(lambda: child_of(runner))
    script = child_of(runner)
    os.kill(runner, 9)
    until(lambda: daemon.pid_of("runner") not in {0, runner})
    until(lambda: not is_alive(script))
    until(lambda: child_of(daemon.pid_of("runner")))


def test_a_killed_supervisor_leaves_no_script_behind(daemon: Daemon) -> None:
    until(lambda: daemon.events("daemon.ready"))
    runner = daemon.pid_of("runner")
    until(lambda: child_of(runner))
    script = child_of(runner)
    daemon.process.kill()
    daemon.process.wait()
    until(lambda: not is_alive(script) and not is_alive(runner))


def test_without_scripts_there_is_no_runner(tmp_path: Path, web: Web) -> None:
    running = Daemon(tmp_path, configuration(web.port))
    try:
        until(lambda: running.events("daemon.ready"))
        names = [view["name"] for view in running.status()["process"]["workers"]]
        assert names == ["supervisor", "checker-0", "exporter"]
    finally:
        running.close()
