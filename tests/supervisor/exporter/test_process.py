"""The real exporter process on loopback, with a fake supervisor at the other end of its socket."""

import base64
import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import bcrypt
import pytest
from prometheus_client.parser import text_string_to_metric_families

from checkers.kit import landlock
from supervisor.core.snapshot import encode
from supervisor.exporter.webpolicy import TlsPolicy, WebPolicy
from supervisor.exporter.webpolicy import encode as encode_policy
from tests.checkers import attacks
from tests.checkers.test_attacks import FILES, REFUSALS
from tests.fakes import snapshots, tls

ROOT = pathlib.Path(__file__).parents[3]
NOBODY = 65534


class Exporter:
    """A started exporter and our end of its link."""

    def __init__(
        self,
        listen: str,
        program: tuple[str, ...] = ("-m", "supervisor.exporter"),
        stderr: int | None = None,
        policy: WebPolicy | None = None,
    ) -> None:
        """With a `policy` it is protected."""
        self.link, theirs = socket.socketpair()
        self.link.settimeout(30)
        identity = ["--uid", str(NOBODY), "--gid", str(NOBODY)] if os.geteuid() == 0 else []
        self.process = subprocess.Popen(
            [
                sys.executable,
                *program,
                "--link-fd",
                str(theirs.fileno()),
                "--listen",
                listen,
                *identity,
                *(["--protected"] if policy else []),
            ],
            pass_fds=(theirs.fileno(),),
            cwd=ROOT,
            text=True,
            stderr=stderr,
        )
        theirs.close()
        self.reader = self.link.makefile("rb")
        self.greeting = json.loads(self.reader.readline() or b"{}")
        if policy:
            self.link.sendall(encode_policy(policy) + b"\n")

    def answer(self) -> None:
        """Answer one question."""
        match self.reader.readline():
            case b"snapshot\n":
                self.link.sendall(encode(snapshots.snapshot()) + b"\n")
            case asked:
                assert asked == b"ready\n"
                self.link.sendall(b"true\n")

    def url(self, path: str) -> str:
        return f"http://{self.greeting['hello']['listening']}{path}"

    def close(self) -> None:
        self.reader.close()
        self.link.close()
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait(10)


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        body = answer.read()
    assert isinstance(body, bytes)
    return body


@pytest.fixture(params=["127.0.0.1:0", "[::1]:0"])
def exporter(request: pytest.FixtureRequest) -> Iterator[Exporter]:
    started = Exporter(request.param)
    yield started
    started.close()


def ask(exporter: Exporter, path: str) -> bytes:
    """Get `path` while the supervisor answers its question."""
    answering = threading.Thread(target=exporter.answer)
    answering.start()
    try:
        return get(exporter.url(path))
    finally:
        answering.join(10)


def test_it_serves_what_the_supervisor_says_and_ends_with_it(exporter: Exporter) -> None:
    hello = exporter.greeting["hello"]
    assert hello["pid"] == exporter.process.pid
    families = {family.name: family for family in text_string_to_metric_families(ask(exporter, "/metrics").decode())}
    assert families["lvs_virtual_servers"].samples[0].value == 2
    started = families["lvs_start_timestamp_seconds"].samples[0].value
    assert started == pytest.approx(time.time() - snapshots.process().uptime_s, abs=10)
    exporter.link.shutdown(socket.SHUT_RDWR)
    assert exporter.process.wait(10) == 0


def test_it_has_no_privilege(exporter: Exporter) -> None:
    status = dict(
        line.split(":\t", 1) for line in pathlib.Path(f"/proc/{exporter.process.pid}/status").read_text().splitlines()
    )
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"].strip() == "1"
    assert set(status["Uid"].split()) != {"0"}
    assert "caps=0" in exporter.greeting["hello"]["caged"]


PEM = tls.certificate_file("good").read_text()
SECURED = WebPolicy(TlsPolicy(PEM, PEM), {"alice": bcrypt.hashpw(b"one", bcrypt.gensalt(4)).decode()})


@pytest.mark.parametrize("policy", [None, SECURED], ids=["in the clear", "protected"])
def test_everything_is_refused_that_an_attacker_in_it_tries(tmp_path: pathlib.Path, policy: WebPolicy | None) -> None:
    secret = tmp_path / "keepalived.conf"
    secret.write_text("secret")
    secret.chmod(0o666)
    exporter = Exporter("127.0.0.1:0", (attacks.__file__, "exporter", str(secret)), subprocess.PIPE, policy)
    try:
        assert exporter.greeting["hello"]["caged"].count("seccomp=filter") == 1
        if policy is None:
            assert b"lvs_virtual_servers 2.0" in ask(exporter, "/metrics")
        else:
            assert secured(exporter, "/", "alice", "one")[0] == 200
    finally:
        exporter.close()
    assert exporter.process.stderr is not None
    with exporter.process.stderr as stream:
        told = json.loads(stream.readline())
    excused = set() if landlock.version() else FILES
    assert {name: became for name, became in told.items() if became not in REFUSALS and name not in excused} == {}
    assert "open a TCP socket" in told


def secured(exporter: Exporter, path: str, user: str, password: str) -> tuple[int, bytes]:
    """Ask over TLS."""
    host, _, port = exporter.greeting["hello"]["listening"].rpartition(":")
    context = ssl.create_default_context(cadata=tls.AUTHORITY)
    connection = http.client.HTTPSConnection(host, int(port), timeout=10, context=context)
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    connection.request("GET", path, headers={"Authorization": f"Basic {credentials}"})
    with contextlib.closing(connection), connection.getresponse() as answer:
        return answer.status, answer.read()


@pytest.fixture
def protected() -> Iterator[Exporter]:
    started = Exporter("127.0.0.1:0", policy=SECURED)
    yield started
    started.close()


def test_a_password_is_compared_outside_the_loop_and_a_policy_can_change(protected: Exporter) -> None:
    assert secured(protected, "/", "alice", "one")[0] == 200
    assert secured(protected, "/", "alice", "two")[0] == 401
    protected.link.sendall(encode_policy(WebPolicy()) + b"\n")
    deadline = time.monotonic() + 10
    body = b""
    while not body and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            body = get(protected.url("/"))
    assert b"/metrics" in body, "in the clear now, as the policy says"


def test_who_speaks_no_tls_or_nothing_at_all_keeps_nobody_out(protected: Exporter) -> None:
    host, _, port = protected.greeting["hello"]["listening"].rpartition(":")
    mute = [socket.create_connection((host, int(port)), timeout=10) for _ in range(4)]
    for hello in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(100), bytes(3000)):
        with socket.create_connection((host, int(port)), timeout=10) as stranger:
            stranger.sendall(hello)
            with contextlib.suppress(ConnectionError):
                while stranger.recv(4096):
                    pass
    assert secured(protected, "/", "alice", "one")[0] == 200
    for connection in mute:
        assert connection.recv(1) == b"", "dropped when its time for a handshake is over"
        connection.close()


def test_it_still_tells_what_proc_says_of_the_supervisor(exporter: Exporter) -> None:
    families = {family.name: family for family in text_string_to_metric_families(ask(exporter, "/metrics").decode())}
    resident = families["process_resident_memory_bytes"].samples[0].value
    assert 1 << 20 < resident < 1 << 40
    assert families["process_start_time_seconds"].samples[0].value == pytest.approx(time.time(), abs=86_400)
    assert families["process_cpu_seconds"].samples[0].value > 0
    assert families["process_max_fds"].samples[0].value > 0
    assert families["process_open_fds"].samples[0].value >= 3


def test_ctrl_c_in_the_supervisors_terminal_is_not_for_it(exporter: Exporter) -> None:
    exporter.process.send_signal(signal.SIGINT)
    assert ask(exporter, "/healthz") == b"ok\n"


def test_slow_readers_do_not_keep_others_out(exporter: Exporter) -> None:
    host, _, port = exporter.greeting["hello"]["listening"].rpartition(":")
    slow: list[socket.socket] = []
    for _ in range(60):
        slow.append(socket.create_connection((host.strip("[]"), int(port)), timeout=5))
        slow[-1].sendall(b"GET /metrics HTTP/1.1\r\n")
    deadline = time.monotonic() + 10
    body = b""
    while not body and time.monotonic() < deadline:
        with contextlib.suppress(OSError, urllib.error.URLError):
            body = get(exporter.url("/"))
    assert b"/metrics" in body
    for connection in slow:
        connection.close()


def test_a_port_in_use_is_told_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        exporter = Exporter(address)
        try:
            assert exporter.greeting == {
                "error": f"cannot listen on {address}: address already in use; choose another --exporter"
            }
            assert exporter.process.wait(10) == 1
        finally:
            exporter.close()


def test_a_wrong_address_is_a_usage_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.exporter", "--link-fd", "0", "--listen", "localhost:80"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "expected a numeric ADDRESS:PORT" in done.stderr
