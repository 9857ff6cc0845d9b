"""docs/operations.md, typed at a daemon in the trouble that the page describes: what it shows is what comes."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.manual import DOCS, Desk, sessions
from tests.process.serving import running
from tests.process.test_daemon import Daemon, until

PORT = 8017
PATIENCE_S = 30.0


class Healthy(BaseHTTPRequestHandler):
    """Answers 200."""

    status, text = 200, b"fine\n"

    def do_GET(self) -> None:
        self.send_response_only(self.status)
        self.send_header("Content-Length", str(len(self.text)))
        self.end_headers()
        self.wfile.write(self.text)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
        """Say nothing."""


class Sick(Healthy):
    """Answers 503."""

    status, text = 503, b"no database\n"


def serving(address: str, answer: type[BaseHTTPRequestHandler]) -> AbstractContextManager[None]:
    return running(ThreadingHTTPServer((address, PORT), answer))


def in_trouble(daemon: Daemon) -> bool:
    """Tell whether every check has spoken and the trouble is as the page has it."""
    servers = [server for pool in daemon.status()["virtual_servers"] for server in pool["real_servers"]]
    heard = all(check["age_s"] is not None for server in servers for check in server["checks"])
    return heard and sum(server["health"] == "DOWN" for server in servers) == 3


def test_a_reader_of_the_operations_page_sees_what_it_shows(tmp_path: Path) -> None:
    with ExitStack() as world:
        for address in ("127.9.7.21", "127.9.7.24", "127.9.7.40"):
            world.enter_context(serving(address, Healthy))
        world.enter_context(serving("127.9.7.22", Sick))
        daemon = Daemon(tmp_path, (DOCS / "data" / "night.conf").read_text())
        world.callback(daemon.close)
        until(daemon.socket.exists)
        until(lambda: in_trouble(daemon))
        desk = Desk(tmp_path, daemon.socket, columns=160)
        for typed in sessions(DOCS / "operations.md"):
            desk.asks(typed, PATIENCE_S)
