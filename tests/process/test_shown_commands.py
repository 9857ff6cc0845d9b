"""Every command that the pages show beside their sessions, typed at a running daemon: a real server is down, others serve.

Each ends as the page has it (by its exit status), and says something. What is typed by other tests is in tests/manual_elsewhere.py, and
tests/test_manual.py sees to it that nothing is typed by none. What the pages ask of Prometheus is asked of a real one.
"""

from __future__ import annotations

import re
import shlex
import signal
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.deploy import programs
from tests.fakes import tls
from tests.manual import PAGES, ROOT, Desk, forms, shown
from tests.manual_here import BEFORE, ENDLESS, OTHER_PROGRAMS, POST, STATUSES, TLS, WEB, is_typed_here, with_names
from tests.process.prometheus import Prometheus
from tests.process.serving import running
from tests.process.test_daemon import Answer, Daemon, until

NAME = re.compile(r"\blvs_\w+")
LIMIT_S = 20
"""Of one command; none of them takes a second where nothing else runs."""

TYPED = [page for page in PAGES if page.name != "observed.md"]
"""That one was typed in its own guest, and tests/deploy/test_observed.py holds it to what was recorded."""

AGAIN = "probed on request just now; ask again in"
"""Whoever is told so does so."""

CHECKED = """\
  real_server {address} {{
    inhibit_on_failure
    {check} {{
      url {{
        path /
      }}
      connect_timeout 2
      retry 1
      delay_before_retry 0.1
    }}
  }}
"""
HEAD = "  delay_loop 1\n  lb_algo rr\n  lb_kind NAT\n  protocol TCP\n"


def pool(port: int, check: str, *addresses: str) -> str:
    servers = "".join(CHECKED.format(address=address.replace(":", " "), check=check) for address in addresses)
    return f"virtual_server 203.0.113.100 {port} {{\n{HEAD}{servers}}}\n"


WEB_PORT = WEB.partition(":")[2]
ALSO = (f"127.9.8.22:{WEB_PORT}", f"127.9.8.24:{WEB_PORT}")
DEAD = f"127.9.8.23:{WEB_PORT}"
TEXT = pool(80, "HTTP_GET", WEB, *ALSO, DEAD) + pool(443, "SSL_GET", TLS)


class Mail(socketserver.StreamRequestHandler):
    """A mail server that takes nothing and says so."""

    def handle(self) -> None:
        self.wfile.write(b"220 mail.example.org\r\n")
        for line in self.rfile:
            self.wfile.write(b"221 bye\r\n" if line.upper().startswith(b"QUIT") else b"250 mail.example.org\r\n")
            if line.upper().startswith(b"QUIT"):
                return


class MailServer(socketserver.ThreadingTCPServer):
    """Of the run before, connections may still be lingering."""

    allow_reuse_address = True


def endpoint(address: str) -> tuple[str, int]:
    host, _, port = address.partition(":")
    return host, int(port)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("daemon") / "etc"
    folder.mkdir()
    with ExitStack() as world:
        for address in (WEB, *ALSO):
            world.enter_context(running(ThreadingHTTPServer(endpoint(address), Answer)))
        secure = ThreadingHTTPServer(endpoint(TLS), Answer)
        secure.socket = tls.context_of("good").wrap_socket(secure.socket, server_side=True)
        world.enter_context(running(secure))
        world.enter_context(running(MailServer(endpoint(POST), Mail)))
        daemon = Daemon(folder, TEXT, "--state-dir", str(folder.parent / "state"))
        world.callback(daemon.close)
        until(lambda: f"{DEAD}  ✖ DOWN" in daemon.ask("status").stdout)
        until(lambda: daemon.status()["process"]["ready"])
        yield daemon


@pytest.fixture(scope="module")
def desk(daemon: Daemon) -> Desk:
    folder = daemon.file.parent.parent
    own = f"-f {daemon.file} --backend memory --exporter off --state-dir {folder}/second"
    desk = Desk(folder, daemon.socket, own)
    for package, names in {
        "openssl": ["openssl"],
        "curl": ["curl"],
        "iproute2": ["ip"],
        "kmod": ["lsmod"],
        "procps": ["ps"],
    }.items():
        for name in names:
            programs.path_of(name, package)
    return desk


def goes_on_and_ends(desk: Desk, command: str) -> None:
    """Type what never ends by itself: it says something, and ends when it is asked to."""
    if command.startswith("vipervisor run"):
        command += f" --admin-socket {desk.folder}/second.sock"
    process = desk.begins(command)
    assert process.stdout is not None
    patience = threading.Timer(LIMIT_S, process.kill)
    patience.start()
    with process.stdout:
        told = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        status = process.wait(LIMIT_S)
    patience.cancel()
    assert told, command
    assert "Traceback" not in told + rest, rest
    assert status in {0, 130, -signal.SIGINT}, (command, status, told + rest)


def end(desk: Desk, command: str, statuses: frozenset[int]) -> None:
    ended = desk.types(f"timeout {LIMIT_S} bash -c {shlex.quote(command)}")
    if AGAIN in ended.stdout:
        time.sleep(1)
        ended = desk.types(command)
    assert ended.returncode in statuses, f"$ {command}\n{ended.stdout}exit {ended.returncode}, not {set(statuses)}"
    assert ended.stdout or ended.returncode == 1, f"$ {command}\nsays nothing"
    assert "Traceback" not in ended.stdout, ended.stdout


@pytest.mark.parametrize(
    "page", [page for page in TYPED if any(map(is_typed_here, shown(page)))], ids=lambda page: page.stem
)
def test_every_command_of_the_page_can_be_typed(desk: Desk, page: Path) -> None:
    typed = 0
    for command in (form for one in shown(page) for form in forms(one) if is_typed_here(form)):
        typed += 1
        if any(command.startswith(endless) for endless in ENDLESS):
            goes_on_and_ends(desk, with_names(command))
            continue
        before = next((words for start, words in BEFORE.items() if command.startswith(start)), None)
        if before is not None:
            end(desk, with_names(before), frozenset({0}))
        statuses = OTHER_PROGRAMS.get(command, frozenset({STATUSES.get(command, 0)}))
        end(desk, with_names(command), statuses)
    assert typed
    for words in ("enable '*' --yes", "resume", "confirm"):
        desk.types(f"vipervisor {words}")  # whatever the page left behind


def test_what_the_pages_ask_of_the_metrics_prometheus_answers(daemon: Daemon, tmp_path: Path) -> None:
    """Every expression with a metric in it, between backticks in any page, is one that Prometheus can work out."""
    metrics = set(NAME.findall((ROOT / "tests/golden/metrics.txt").read_text()))
    shown = {code for page in TYPED for code in re.findall(r"`([^`\n]+)`", page.read_text())}
    asked = {code for code in shown if code[0] not in "?/" and metrics & set(NAME.findall(code))}
    jobs = {"vipervisor": {"static_configs": [{"targets": [f"127.0.0.1:{daemon.port}"]}]}}
    with Prometheus(tmp_path, jobs) as prometheus:
        prometheus.until_scraped("vipervisor")
        assert {code for code in asked if prometheus.ask("query", query=code) is None} == set()
        assert prometheus.ask("query", query="lvs_ready{") is None
    assert len(asked) > 100
