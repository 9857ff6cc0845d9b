"""nginx under sentinels, as its own processes: reloaded gracefully again and again nobody is removed, killed it is noticed at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.graceful_reload import configuration
from bench.nginx_servers import Nginx
from bench.timed_daemon import TimedDaemon, until
from tests.deploy.programs import path_of, surroundings

ADDRESSES = ["127.0.0.41", "127.0.0.42", "127.0.0.43"]
PORT = 18182
RELOADS = 50
PATIENCE_S = 120.0  # on a machine that has more to do


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    tmp_path.chmod(0o755)
    program = path_of("nginx", "nginx-light")
    running = Nginx(tmp_path / "nginx", ADDRESSES, PORT, program, surroundings(program))
    yield running
    running.kill()


@pytest.fixture
def daemon(tmp_path: Path, nginx: Nginx) -> Iterator[TimedDaemon]:
    del nginx  # it listens
    with TimedDaemon(tmp_path, configuration(ADDRESSES, PORT), patient=True) as running:
        until(lambda: running.sentinels()[0] == len(ADDRESSES), PATIENCE_S)
        yield running


def test_fifty_graceful_reloads_end_sentinels_and_remove_nobody(nginx: Nginx, daemon: TimedDaemon) -> None:
    before = daemon.writes()
    for _ in range(RELOADS):
        nginx.reload()
        time.sleep(0.3)
    until(lambda: daemon.sentinels()[0] == len(ADDRESSES), PATIENCE_S)
    assert daemon.sentinels()[1] >= RELOADS // 2  # on a busy machine some reloads are one
    assert daemon.writes() == before


def test_nginx_that_is_killed_is_out_at_once_and_back_when_it_is(nginx: Nginx, daemon: TimedDaemon) -> None:
    before = len(daemon.writes())
    killed = nginx.kill()
    until(lambda: len(daemon.writes()) == before + len(ADDRESSES), PATIENCE_S)
    changes = daemon.writes()[before:]
    assert {write.weight for write in changes} == {0}
    assert changes[-1].at - killed < 2.5  # half a delay_loop; bench/noticing.py measures
    nginx.start()
    until(lambda: len(daemon.writes()) == before + 2 * len(ADDRESSES), PATIENCE_S)
    assert {write.weight for write in daemon.writes()[-len(ADDRESSES) :]} == {1}
