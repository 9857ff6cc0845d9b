"""A scene for the status page: the real daemon with its table in memory, six virtual servers, and web servers that fail in several ways.

The tests of the page in a real browser play in it, and the pictures in docs/ are taken of it (`python -m tests.process.pictures`).
"""

from __future__ import annotations

import contextlib
import enum
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.process.test_daemon import Daemon, free_port, until


class Mood(enum.Enum):
    """How a web server behaves."""

    WELL = "answers 200"
    SICK = "answers 503"
    STUCK = "accepts and says nothing"
    GONE = "nobody listens"


class Server:
    """A web server on an address of loopback whose mood can change."""

    def __init__(self, address: str, port: int) -> None:
        self.address = address
        self.port = port
        self._http: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self.mood = Mood.GONE
        self.be(Mood.WELL)

    @property
    def name(self) -> str:
        return f"{self.address}:{self.port}"

    def be(self, mood: Mood) -> None:
        """Change the mood."""
        self.mood = mood
        if mood is Mood.GONE:
            self.close()
        elif self._http is None:
            server = self

            class Answer(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    if server.mood is Mood.STUCK:
                        time.sleep(5)
                    well = server.mood is Mood.WELL
                    line, body = ("200 OK", "fine") if well else ("503 Service Unavailable", "<b>database</b> is away")
                    with contextlib.suppress(OSError):  # the checker did not wait
                        self.wfile.write(
                            f"HTTP/1.0 {line}\r\n\r\n{body}".encode()
                        )  # in one piece, as short answers come

                def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
                    """Say nothing."""

            self._http = ThreadingHTTPServer((self.address, self.port), Answer)
            self._http.daemon_threads = True
            self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05})
            self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        if self._http is not None and self._thread is not None:
            self._http.shutdown()
            self._http.server_close()
            self._thread.join()
        self._http = self._thread = None


POOLS = {  # virtual server: real servers, quorum, sorry server
    "203.0.113.10 80": (range(11, 17), 1, 0),
    "203.0.113.11 443": (range(21, 25), 1, 0),
    "203.0.113.12 25": (range(31, 33), 1, 0),
    "203.0.113.13 8080": (range(41, 44), 20, 49),
    "203.0.113.14 80": (range(51, 54), 1, 0),
    "fwmark 10": (range(61, 64), 1, 0),
}
SECRET = "correct-horse-battery"


class Scene:
    """The daemon and its web servers."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        """Set it. `port` is that of every web server; None: one that is free."""
        self.port = port or free_port()
        numbers = [number for pool, _, sorry in POOLS.values() for number in (*pool, sorry) if number]
        self.servers = {number: Server(f"127.0.0.{number}", self.port) for number in numbers}
        self.daemon = Daemon(folder, self.text(), "--exporter-name", "lvs1.example.org")
        self.url = f"http://127.0.0.1:{self.daemon.port}"
        until(lambda: self.daemon.socket.exists() and self.status()["process"]["ready"])
        until(lambda: all(row["health"] == "UP" for row in self.real_servers()))

    def text(self) -> str:
        """Return the configuration."""
        blocks = [f"$PASSWORD={SECRET}\n! a comment\n"]
        for name, (pool, quorum, sorry) in POOLS.items():
            blocks.append(f"virtual_server {name} {{\n  delay_loop 1\n  lb_algo wlc\n  lb_kind NAT\n  protocol TCP\n")
            blocks.append(f"  quorum {quorum}\n")
            if sorry:
                blocks.append(f"  sorry_server 127.0.0.{sorry} {self.port}\n")
            blocks += [
                f"  real_server 127.0.0.{number} {self.port} {{\n    weight 10\n    inhibit_on_failure\n    HTTP_GET {{\n"
                "      url {\n        path /health?token=$PASSWORD\n        status_code 200\n      }\n"
                "      connect_timeout 1\n      retry 1\n      delay_before_retry 0.2\n    }\n  }\n"
                for number in pool
            ]
            blocks.append("}\n\n")
        return "".join(blocks)

    def status(self) -> dict[str, Any]:
        return self.daemon.status()

    def real_servers(self) -> list[dict[str, Any]]:
        return [row for pool in self.status()["virtual_servers"] for row in pool["real_servers"]]

    def break_things(self) -> None:
        """Let servers fail in several ways, and an operator do his work; wait until all of it is known."""
        self.servers[12].be(Mood.GONE)
        self.servers[14].be(Mood.SICK)
        self.servers[42].be(Mood.SICK)
        self.servers[43].be(Mood.GONE)
        self.servers[52].be(Mood.STUCK)
        self.say("drain", self.servers[22].name, "--for", "2h", "--reason", "CHG-2041: new kernel")
        self.say("disable", self.servers[16].name, "--reason", "disk is being replaced")
        self.say("weight", self.servers[61].name, "5", "--for", "1d", "--reason", "warming up")
        until(lambda: sum(row["health"] == "DOWN" for row in self.real_servers()) == 5)

    def say(self, *words: str) -> None:
        done = self.daemon.ask(*words)
        assert done.returncode == 0, done.stderr

    def close(self) -> None:
        self.daemon.close()
        for server in self.servers.values():
            server.close()
