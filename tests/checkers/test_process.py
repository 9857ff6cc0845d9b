"""The worker as its own process: cage, link, end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import pytest

from checkers.kit import wire
from checkers.kit.options import CLIENT as CLIENT_OPTION
from tests.fakes.tls import AUTHORITY, CLIENT, CLIENT_KEY, CLIENT_KEY_ENCRYPTED, PASSWORD, context_of

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
AS_NOBODY = ["--uid", str(NOBODY), "--gid", str(NOBODY)] if os.geteuid() == 0 else []
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

SLACK_S = 4.0  # for a machine that has more to do

ANSWER = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 1\r\n\r\n\xff"

WATCH_IMPORTS = """
import sys
from checkers.kit import cage
from checkers import __main__ as program
confine = cage.confine
def watched(*arguments):
    reached = confine(*arguments)
    known = set(sys.modules)
    import builtins, os
    true_import = builtins.__import__
    def refuse(name, *rest, **more):
        if name.partition(".")[0] not in {module.partition(".")[0] for module in known}:
            os.write(2, f"imported after confine: {name}".encode())
        return true_import(name, *rest, **more)
    builtins.__import__ = refuse
    watched.known = known
    return reached
program.confine = watched
try:
    status = program.main()
finally:
    late = sorted(set(sys.modules) - watched.known)
    if late:
        sys.stderr.write(f"loaded after confine: {late}")
sys.exit(status)
"""


class Process:
    """A worker process and our end of its link."""

    def __init__(
        self, *arguments: str, program: tuple[str, ...] = ("-m", "checkers"), more: Mapping[str, str] = ENVIRONMENT
    ) -> None:
        self.link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.link.settimeout(20)
        command = [sys.executable, "-P", *program, "--link-fd", str(theirs.fileno()), *arguments]
        self.process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], env={**ENVIRONMENT, **more}, stderr=subprocess.PIPE, text=True
        )
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()
        self.process.kill()
        self.process.communicate()

    def receive(self) -> wire.FromWorker:
        return wire.decode_from_worker(self.link.recv(wire.STATE_FRAME_MAX_BYTES))

    def until(self, kind: type[wire.FromWorker]) -> wire.FromWorker:
        while not isinstance(frame := self.receive(), kind):
            pass
        return frame

    def assign(self, *jobs: wire.Job) -> None:
        for frame in wire.assign_frames(1, 1, jobs):
            self.link.send(frame)

    def end(self) -> tuple[int, str]:
        """Wait for the process; return its exit status and what it said on standard error."""
        self.link.close()
        _, said = self.process.communicate(timeout=20)
        return self.process.returncode, said


def job(port: int, keyword: str = "TCP_CHECK", **options: object) -> wire.Job:
    return wire.Job(
        id=1,
        type=keyword,
        address="127.0.0.1",
        port=port,
        delay_loop=0.2,
        retry=0,
        delay_before_retry=0.1,
        connect_timeout=1.0,
        warmup=0.0,
        options=options,  # type: ignore[arg-type]  # a test's short hand
    )


def test_a_worker_says_hello_from_its_cage_probes_and_ends_quietly_with_its_link() -> None:
    with Process(*AS_NOBODY, "--max-files", "256") as worker:
        with socket.create_server(("127.0.0.1", 0)) as server:
            hello = worker.receive()
            assert isinstance(hello, wire.Hello)
            assert hello.pid == worker.process.pid
            assert " caps=0 nnp=1 limits=data:258M,nproc:0,core:0 " in hello.caged
            worker.assign(job(server.getsockname()[1]))
            report = worker.until(wire.Report)
        assert isinstance(report, wire.Report)
        assert (report.health, report.result and report.result.reason) == (wire.Health.UP, wire.Reason.L4OK)
        status = Path(f"/proc/{hello.pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        assert "CapEff:\t0000000000000000" in status
        assert worker.end() == (0, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_worker_of_root_is_another_user_before_the_first_frame() -> None:
    with Process(*AS_NOBODY) as worker:
        hello = worker.receive()
        assert isinstance(hello, wire.Hello)
        assert hello.caged.startswith(f"uid={NOBODY} gid={NOBODY} caps=0 nnp=1 ")
        assert worker.end() == (0, "")


def test_nothing_is_imported_after_the_walls_are_up() -> None:
    """Success, refusal, a crash, a bad answer and a time-out are all gone through."""
    with Process(*AS_NOBODY, program=("-c", WATCH_IMPORTS)) as worker:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            url = {"path": "/", "regex": "x", "digest": "0" * 32}
            worker.assign(
                job(port),
                job(1),
                job(port, "HTTP_GET", url=[url]),
                job(port, "HTTP_GET", url=[{"path": "/", "regex": "("}]),
                job(port, "SSL_GET", url=[url], ca=AUTHORITY),
                job(port, "SSL_GET", url=[url], verify=True, enable_sni=True, sni_name="www.example.org"),
                job(port, "SMTP_CHECK"),
                job(port, "DNS_CHECK"),
                job(port, "UDP_CHECK", require_reply="xx"),
                job(port, "NO_SUCH_CHECK"),
            )
            answered = 0
            server.settimeout(0.2)
            for _ in range(30):
                try:
                    client, _ = server.accept()
                except TimeoutError:
                    continue
                with client, contextlib.suppress(ConnectionResetError):  # TCP_CHECK leaves with a reset
                    if answered % 3:
                        client.send(ANSWER)
                answered += 1
        assert answered > 6
        assert worker.end() == (0, "")


def serve_tls(listener: socket.socket, certificate: str) -> None:
    """Answer TLS clients one after another until the listener is shut down."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # the test is over
        with (  # whatever a client does that is content or disgusted: ssl.SSLError is an OSError, too
            contextlib.suppress(OSError),
            connection,
            context_of(certificate).wrap_socket(connection, server_side=True) as client,
        ):
            client.recv(4096)
            client.send(ANSWER)


def test_a_tls_server_is_checked_from_behind_the_walls() -> None:
    with Process(*AS_NOBODY, program=("-c", WATCH_IMPORTS)) as worker, socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve_tls, args=[server, "good"], daemon=True).start()
        port = server.getsockname()[1]
        url = {"path": "/", "virtualhost": "www.example.org"}
        for options, reason in (
            ({"ca": AUTHORITY}, "L7OK"),
            ({"enable_sni": True}, "L7OK"),
            ({"verify": True}, "L6RSP"),
        ):
            worker.assign(job(port, "SSL_GET", url=[url], **options))
            report = worker.until(wire.Report)
            assert isinstance(report, wire.Report)
            assert report.result is not None
            assert report.result.reason.name == reason, report
        server.shutdown(socket.SHUT_RDWR)
        assert worker.end() == (0, "")


def test_the_systems_authorities_are_known_behind_the_walls_where_their_file_is_not(tmp_path: Path) -> None:
    store = tmp_path / "authorities.pem"
    store.write_text(AUTHORITY)
    store.chmod(0o600)
    more = {"SSL_CERT_FILE": str(store), "SSL_CERT_DIR": "/nowhere"}
    with Process(*AS_NOBODY, more=more) as worker, socket.create_server(("127.0.0.1", 0)) as server:
        worker.receive()
        store.unlink()
        threading.Thread(target=serve_tls, args=[server, "good"], daemon=True).start()
        url = {"path": "/", "virtualhost": "www.example.org"}
        worker.assign(job(server.getsockname()[1], "SSL_GET", url=[url], verify=True, enable_sni=True))
        report = worker.until(wire.Report)
        assert isinstance(report, wire.Report)
        assert report.result is not None
        assert report.result.reason is wire.Reason.L7OK, report
        server.shutdown(socket.SHUT_RDWR)
        assert worker.end() == (0, "")


def test_a_client_certificate_is_shown_from_behind_the_walls() -> None:
    """OpenSSL wants a file for a key, and behind the walls there is none but those in memory."""
    clients: tuple[tuple[dict[str, str] | None, str], ...] = (
        (None, "L6RSP L7RSP"),  # by the server's alert, or when that was overtaken by its reset
        ({"certificate": CLIENT, "key": CLIENT_KEY}, "L7OK"),
        ({"certificate": CLIENT, "key": CLIENT_KEY_ENCRYPTED, "password": PASSWORD}, "L7OK"),
        ({"trouble": "the key is at home"}, "L6RSP"),
        ({"certificate": CLIENT, "key": CLIENT_KEY_ENCRYPTED}, "CRASHED"),  # the supervisor gives no such thing
    )
    with Process(*AS_NOBODY, program=("-c", WATCH_IMPORTS)) as worker, socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve_tls, args=[server, "asks"], daemon=True).start()
        for client, reason in clients:
            options: dict[str, object] = {} if client is None else {CLIENT_OPTION: client}
            worker.assign(job(server.getsockname()[1], "SSL_GET", url=[{"path": "/"}], tls_compliant=True, **options))
            report = worker.until(wire.Report)
            assert isinstance(report, wire.Report)
            assert report.result is not None
            assert report.result.reason.name in reason.split(), report
            assert PASSWORD not in repr(report)
        server.shutdown(socket.SHUT_RDWR)
        assert worker.end() == (0, "")


@pytest.mark.parametrize(
    ("body", "options", "reason"),
    [
        (b"x" * 60_000, {}, "L7BODY"),
        (b"x" * 60_000 + b"xy", {}, "L7OK"),
        (b"\xff", {"regex_options": ["utf"]}, "L7BODY"),
    ],
)
def test_a_body_that_was_made_to_hold_up_its_reader_does_not(
    body: bytes, options: dict[str, object], reason: str
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with Process(*AS_NOBODY, program=("-c", WATCH_IMPORTS)) as worker, socket.create_server(("127.0.0.1", 0)) as server:
        url = {"path": "/", "regex": "(x+x+)+y", **options}
        worker.assign(job(server.getsockname()[1], "HTTP_GET", url=[url]))
        client, _ = server.accept()
        with client:
            client.recv(4096)
            began = time.monotonic()
            client.sendall(answer)
            report = worker.until(wire.Report)
        assert time.monotonic() - began < 1.0 + SLACK_S  # the time limit of the check
        assert isinstance(report, wire.Report)
        assert report.result is not None
        assert report.result.reason.name == reason, report
        assert worker.end() == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_worker_quietly(number: signal.Signals) -> None:
    with Process() as worker:
        worker.receive()
        worker.process.send_signal(number)
        assert worker.end() == (0, "")


def test_a_supervisor_that_talks_nonsense_is_answered_by_an_end_with_a_reason() -> None:
    with Process() as worker:
        worker.receive()
        worker.link.send(b"\x02\xff")
        status, said = worker.end()
        assert (status, said) == (70, "checkers: frame: expected a type from the supervisor (5 to 7, 9), got 255\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "the following arguments are required: --link-fd"),
        (["--link-fd", "0"], "the supervisor: use `vipervisor run`"),
        (["--link-fd", "99"], "the supervisor: use `vipervisor run`"),
    ],
)
def test_started_by_hand_it_says_what_to_do_instead(arguments: list[str], told: str) -> None:
    command = [sys.executable, "-P", "-m", "checkers", *arguments]
    done = subprocess.run(
        command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert told in done.stderr
