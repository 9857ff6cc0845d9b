"""nginx under sentinels, as its own processes: reloaded gracefully again and again nobody is removed, killed it is noticed at once."""

from __future__ import annotations

import http.client
import http.server
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.graceful_reload import configuration
from bench.nginx_servers import Nginx
from bench.timed_daemon import TimedDaemon, until
from checkers.kit.trial import TRIAL_S
from tests.deploy.programs import path_of, surroundings
from tests.fakes.tls import context_of

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


class Page(http.server.BaseHTTPRequestHandler):
    """Answers every question with 200."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
        """Say nothing."""


@pytest.fixture
def small_server(check: str) -> Iterator[http.server.HTTPServer]:
    """A web server that serves one connection after another; over TLS it makes the handshake before it accepts the next."""
    server = http.server.HTTPServer(("127.0.0.44", PORT), Page)
    if check == "SSL_GET":
        server.socket = context_of("good").wrap_socket(server.socket, server_side=True)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield server
    server.shutdown()
    serving.join()
    server.server_close()


def asked(seconds: float, *, tls: bool) -> float:
    """Ask the small server for pages for so long, and return how long the slowest took."""
    slowest_s, until_s = 0.0, time.monotonic() + seconds
    while time.monotonic() < until_s:
        began = time.monotonic()
        asking = http.client.HTTPConnection("127.0.0.44", PORT, timeout=PATIENCE_S)
        if tls:
            trusting = ssl._create_unverified_context()
            asking = http.client.HTTPSConnection("127.0.0.44", PORT, timeout=PATIENCE_S, context=trusting)
        asking.request("GET", "/")
        assert asking.getresponse().status == 200
        asking.close()
        slowest_s = max(slowest_s, time.monotonic() - began)
        time.sleep(0.05)
    return slowest_s


@pytest.mark.parametrize("check", ["HTTP_GET", "TCP_CHECK", "SSL_GET"])
def test_a_server_with_one_place_serves_its_clients_and_stays_in(
    tmp_path: Path, small_server: http.server.HTTPServer, check: str
) -> None:
    """By itself a sentinel is tried there, closed within half a second, and not held; a busy machine may be three times as slow."""
    del small_server  # it serves
    text = configuration(["127.0.0.44"], PORT).replace("  sentinel\n", "").replace("connect_timeout 5", "warmup 0")
    if check == "TCP_CHECK":
        text = text.replace(
            "    HTTP_GET {\n      url {\n        path /\n        status_code 200\n      }\n", "    TCP_CHECK {\n"
        )
    text = text.replace("HTTP_GET", check)
    tmp_path.chmod(0o755)
    with TimedDaemon(tmp_path, text) as running:
        until(lambda: len(running.writes()) == 1, PATIENCE_S)
        assert asked(12.0, tls=check == "SSL_GET") < 3 * TRIAL_S
        assert running.sentinels() == (0, 0)
        until(lambda: running.sentinels_given_up() == 1, PATIENCE_S)
        assert [write.weight for write in running.writes()] == [1]
