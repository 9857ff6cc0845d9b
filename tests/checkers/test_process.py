"""The worker as its own process: cage, link, end."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest

from checkers.kit import wire
from checkers.kit.options import CLIENT as CLIENT_OPTION
from checkers.kit.sentinels import RESERVE_FILES
from tests.fakes.tls import AUTHORITY, CLIENT, CLIENT_KEY, CLIENT_KEY_ENCRYPTED, PASSWORD, context_of

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
AS_NOBODY = ["--uid", str(NOBODY), "--gid", str(NOBODY)] if os.geteuid() == 0 else []
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

SLACK_S = 4.0  # for a machine that has more to do
WORKERS_MAX, BEATS_EACH = 6, 10
"""So many workers may try for so long to have their sentinels, where the machine has more to do: a minute in all."""

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
        self,
        *arguments: str,
        program: tuple[str, ...] = ("-m", "checkers"),
        more: Mapping[str, str] = ENVIRONMENT,
        files: int = 0,
    ) -> None:
        """`more` goes into its environment; `files`: so many descriptors at most."""
        self.link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.link.settimeout(20)
        command = [sys.executable, "-P", *program, "--link-fd", str(theirs.fileno()), *arguments]
        if files:
            command = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *command]
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


class SlowServers:
    """A listener that answers every request after a while, from a thread for each."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=[client], daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.recv(4096)
            time.sleep(self._delay_s)
            client.send(ANSWER)


def beats_of(worker: Process, duration_s: float) -> list[wire.Beat]:
    """Listen to a worker for a while; return its beats. Any report of DOWN fails."""
    end = time.monotonic() + duration_s
    beats = []
    while time.monotonic() < end:
        frame = worker.receive()
        if isinstance(frame, wire.Beat):
            beats.append(frame)
        elif isinstance(frame, wire.Report):
            assert frame.health is not wire.Health.DOWN, frame
    return beats


def reasons(beat: wire.Beat) -> set[str]:
    return {reason.name for _, reason, _ in beat.counts}


def numbered(port: int, count: int, **changes: Any) -> list[wire.Job]:
    url = {"path": "/"}
    return [
        dataclasses.replace(job(port, "HTTP_GET", url=[url]), id=number, bind_address=f"127.0.0.{number}", **changes)
        for number in range(1, count + 1)
    ]


def test_a_worker_without_descriptors_calls_nobody_dead_says_which_errno_and_probes_less_often() -> None:
    """Forty probes that last 0.3 s each, every 0.2 s, and a dozen descriptors for all of them."""
    with Process(files=24) as worker, SlowServers(0.3) as servers:
        worker.assign(*numbered(servers.port, 40))
        beats = beats_of(worker, 6.0)
        last = beats[-1]
        assert reasons(last) <= {"L7OK", "LOCAL", "LATE"}
        assert {"L7OK", "LOCAL"} <= reasons(last)
        assert dict(last.faults)["EMFILE"] > 0
        assert last.stretch > 1
        assert worker.end() == (0, "")


def test_a_worker_that_has_no_source_port_left_calls_nobody_dead() -> None:
    """Two checks from one source port to one server: the second finds it taken."""
    with Process(*AS_NOBODY) as worker, SlowServers(0.3) as servers, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        one, other = numbered(servers.port, 2, bind_port=port)
        worker.assign(one, dataclasses.replace(other, bind_address=one.bind_address))
        last = beats_of(worker, 4.0)[-1]
        assert reasons(last) <= {"L7OK", "LOCAL", "LATE"}
        assert dict(last.faults).keys() <= {"EADDRNOTAVAIL", "EADDRINUSE", "bind:EADDRINUSE"}
        assert sum(dict(last.faults).values()) > 0
        assert worker.end() == (0, "")


STALL = """
import sys, time
from checkers import http
from checkers import __main__ as program
recognise, begun = http.SameHead.recognise, time.monotonic()
stalls = [3.0, 8.0]
def stalling(glance, data):
    if stalls and time.monotonic() - begun > stalls[0]:
        stalls.pop(0)
        end = time.monotonic() + 3.0
        while time.monotonic() < end:
            pass
    return recognise(glance, data)
http.SameHead.recognise = stalling
sys.exit(program.main())
"""


def test_a_worker_whose_loop_is_stalled_for_three_seconds_calls_nobody_dead_and_says_how_late_it_was() -> None:
    """Our own code keeps the processor for three seconds, twice, in the middle of forty probes with a limit of one second."""
    with Process(program=("-c", STALL)) as worker, SlowServers(0.3) as servers:
        worker.assign(*numbered(servers.port, 40))
        beats = beats_of(worker, 12.0)
        assert reasons(beats[-1]) <= {"L7OK", "LATE"}
        assert max(beat.loop_lag_s for beat in beats) > 2.0
        assert beats[-1].naps >= 2
        assert worker.end() == (0, "")


@contextlib.contextmanager
def starving(worker: Process) -> Iterator[None]:
    """Burners on every processor, and the worker has a worse nice value than they."""
    burn = [sys.executable, "-c", "while True: pass"]
    ours = os.getpriority(os.PRIO_PROCESS, 0)  # the burners' as well
    os.setpriority(os.PRIO_PROCESS, worker.process.pid, min(ours + 5, 19))
    burners = [subprocess.Popen(burn) for _ in range(2 * len(os.sched_getaffinity(0)))]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def test_a_starved_worker_says_how_long_it_waited_for_a_processor_and_calls_nobody_dead() -> None:
    with Process() as worker, SlowServers(0.1) as servers:
        worker.receive()
        worker.assign(*numbered(servers.port, 20, delay_loop=0.5))
        worker.until(wire.Beat)
        with starving(worker):
            beats = beats_of(worker, 6.0)
        assert reasons(beats[-1]) <= {"L7OK", "LATE"}
        assert beats[-1].run_delay_s > beats[0].run_delay_s + 0.2


def test_a_starved_worker_in_a_hurry_calls_nobody_dead() -> None:
    """The timings of deploy/examples/fast.conf: a limit that is shorter than what the worker waits for a processor."""
    hurry: dict[str, Any] = {"delay_loop": 0.5, "connect_timeout": 0.2, "retry": 4, "fast_interval": 0.05}
    with Process() as worker, SlowServers(0.0) as servers:
        worker.receive()
        worker.assign(*numbered(servers.port, 40, type="TCP_CHECK", options={}, **hurry))
        worker.until(wire.Beat)
        with starving(worker):
            beats = beats_of(worker, 6.0)
        assert "L4OK" in reasons(beats[-1])
        assert beats[-1].run_delay_s > beats[0].run_delay_s + 0.2


def test_a_sudden_end_by_a_broken_library_is_an_end_that_the_supervisor_sees() -> None:
    with Process() as worker:
        worker.receive()
        worker.process.send_signal(signal.SIGSEGV)
        assert worker.link.recv(10) == b""
        assert worker.process.wait(20) == -signal.SIGSEGV


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_worker_quietly(number: signal.Signals) -> None:
    with Process() as worker:
        worker.receive()
        worker.process.send_signal(number)
        assert worker.end() == (0, "")


def test_a_supervisor_that_talks_nonsense_is_answered_by_an_end_with_a_reason() -> None:
    with Process() as worker:
        worker.receive()
        worker.link.send(bytes([wire.VERSION, 255]))
        status, said = worker.end()
        assert (status, said) == (
            70,
            "checkers: frame: expected a type from the supervisor (5 to 7, 9, 10, 12, 14), got 255\n",
        )


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


LISTENER = """
import selectors, socket, sys
server = socket.create_server(("0.0.0.0", int(sys.argv[1])), backlog=256)
print(server.getsockname()[1], flush=True)
selector = selectors.DefaultSelector()
selector.register(server, selectors.EVENT_READ)
while True:
    for key, _ in selector.select():
        if key.fileobj is server:
            selector.register(server.accept()[0], selectors.EVENT_READ)
            continue
        try:
            over = not key.fileobj.recv(4096)
        except OSError:
            over = True
        if over:
            selector.unregister(key.fileobj)
            key.fileobj.close()
"""
"""A server that takes connections, says nothing, and ends those that its clients end."""


@contextlib.contextmanager
def listening() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a server in a process of its own; yields it and its port."""
    with subprocess.Popen([sys.executable, "-c", LISTENER, "0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def watched(port: int, **changes: Any) -> wire.Job:
    settings = {"retry": 3, "delay_before_retry": 30.0, "delay_loop": 300.0, "sentinel": True, "fast_retry": True}
    return dataclasses.replace(job(port), **{**settings, **changes})


class NotHeld(AssertionError):
    """There are not as many sentinels as there should be."""


def until_held(worker: Process, count: int, beats: int = 60) -> wire.Beat:
    """Wait until the worker holds so many sentinels. Raises NotHeld when it does not come to that in so many beats."""
    held: list[int] = []
    while len(held) < beats:
        beat = worker.until(wire.Beat)
        assert isinstance(beat, wire.Beat)
        if beat.sentinels_held == count:
            return beat
        held.append(beat.sentinels_held)
    raise NotHeld(f"not {count} sentinels, but {held}")


@contextlib.contextmanager
def watching(*jobs: wire.Job, held: int = 1, files: int = 0) -> Iterator[Process]:
    """Run a worker that holds so many sentinels, each of which passed its trial.

    A server without a processor for half a second looks like one without a place for a sentinel, and is left alone for an hour
    (checkers.kit.trial); so then another worker tries it, who knows nothing of that.
    """
    arguments = ["--max-files", str(files or 1024), *AS_NOBODY]
    for tries_left in reversed(range(WORKERS_MAX)):
        with Process(*arguments, files=files) as worker:
            worker.until(wire.Hello)
            worker.assign(*jobs)
            try:
                until_held(worker, held, BEATS_EACH)
            except NotHeld:
                if tries_left:
                    continue
                raise
            yield worker
            return


def test_a_killed_server_is_noticed_by_its_sentinel_in_the_cage_and_long_before_the_next_probe() -> None:
    with listening() as (server, port), watching(watched(port)) as worker:
        server.kill()
        killed = time.monotonic()
        healths = []
        while "DOWN" not in healths:
            report = worker.until(wire.Report)
            assert isinstance(report, wire.Report)
            healths.append(report.health.name)
        took_s = time.monotonic() - killed
    assert healths == ["UP", "UP", "UP", "DOWN"]
    assert took_s < SLACK_S  # on an idle machine some milliseconds (bench/noticing.py); the next probe is due in 300 s


class Idle:
    """A server in a thread that takes connections and says nothing, and can close the one that stays."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._server.getsockname()[1]
        self._clients: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ready, _, _ = select.select([self._server, *self._clients], [], [])
                for sock in ready:
                    if sock is self._server:
                        self._clients.append(self._server.accept()[0])
                    elif sock in self._clients and self._is_over(sock):
                        self._clients.remove(sock)
                        sock.close()

    @staticmethod
    def _is_over(client: socket.socket) -> bool:
        try:
            return not client.recv(4096)
        except OSError:
            return True

    def close_idle(self) -> None:
        """End what there is, as a graceful reload does."""
        for client in self._clients:
            client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Be no more."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for sock in (self._server, *self._clients):
            sock.close()


def test_a_server_that_only_closes_its_idle_connections_stays_up() -> None:
    with contextlib.closing(Idle()) as server, watching(watched(server.port)) as worker:
        server.close_idle()
        beat = until_held(worker, 1)
        while not beat.sentinels_ended:
            beat = until_held(worker, 1)
    assert beat.sentinels_ended == 1
    assert [count for _, _, count in beat.counts] == [2], "the first probe, and the one that the end has hastened"


def test_there_are_no_more_sentinels_than_the_descriptors_allow() -> None:
    room = 190 - RESERVE_FILES - 40
    with listening() as (_, port):
        one = watched(port, delay_loop=0.3)
        jobs = [dataclasses.replace(one, id=number, address=f"127.0.0.{number}") for number in range(1, 41)]
        with watching(*jobs, held=room, files=190) as worker:
            beat = until_held(worker, room)
    assert beat.sentinels_unaffordable == len(jobs) - room
    assert not beat.faults
