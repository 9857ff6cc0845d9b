"""Strangers at the exporter and fools at the admin socket, in hundreds: who asks properly is answered, and nothing grows."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from checkers.kit.cage import raise_file_limit
from supervisor.admin import client
from supervisor.admin.protocol import Request
from supervisor.exporter.server import CONNECTIONS_MAX
from tests.process.test_daemon import Daemon, configuration, free_port, until

CLIENTS = 1000
MEMORY_MAX_BYTES = 24 << 20
"""By so much a process may grow. Ours: 32 connections with a request of 8 KiB each, or 16 with one of 64 KiB."""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    raise_file_limit(CLIENTS + 512)
    running = Daemon(tmp_path, configuration(free_port()))
    until(lambda: running.status()["process"]["ready"] and "lvs_virtual_servers" in running.metrics())
    yield running
    running.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def crowd(connect: Callable[[], socket.socket], sayings: tuple[bytes, ...]) -> list[socket.socket]:
    """Have CLIENTS connect, each with one of `sayings`; who is not let in or sent away is no loss."""
    there = []
    for number in range(CLIENTS):
        with contextlib.suppress(OSError):
            sock = connect()
            there.append(sock)
            sock.sendall(sayings[number % len(sayings)])
            if number % 5 == 0:  # gone in the middle, with a reset
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
    return there


def test_a_thousand_strange_readers_leave_the_exporter_as_it_was(daemon: Daemon) -> None:
    pid = daemon.pid_of("exporter")
    memory_before, descriptors_before = resident_bytes(pid), descriptors(pid)
    sources = iter(range(CLIENTS))

    def connect() -> socket.socket:
        source = f"127.0.7.{next(sources) % 200 + 1}"  # many peers: one alone has few places anyway
        return socket.create_connection(("127.0.0.1", daemon.port), timeout=2, source_address=(source, 0))

    sayings = (
        b"",
        b"G",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(500),
        b"GET /metrics?name[]="
        + b"&name[]=".join(b"%d" % number for number in range(90))
        + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    most = 0
    there = crowd(connect, sayings)
    most = max(most, descriptors(pid))
    until(lambda: "lvs_virtual_servers 1.0" in daemon.metrics())
    for sock in there:
        sock.close()
    until(lambda: descriptors(pid) <= descriptors_before + 1)
    assert most <= descriptors_before + CONNECTIONS_MAX + 4
    assert resident_bytes(pid) < memory_before + MEMORY_MAX_BYTES
    assert daemon.pid_of("exporter") == pid
    assert daemon.process.poll() is None


def test_a_storm_of_scrapes_is_answered_and_costs_the_supervisor_next_to_nothing(daemon: Daemon) -> None:
    answered = []

    def scrape() -> None:
        for _ in range(50):
            with contextlib.suppress(OSError):
                answered.append(len(daemon.metrics()))

    before = _cpu_s(daemon.process.pid)
    threads = [threading.Thread(target=scrape) for _ in range(6)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = time.monotonic() - begun
    assert len(answered) > 250
    assert _cpu_s(daemon.process.pid) - before < 0.2 + 0.1 * took_s


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_thousand_clients_of_the_admin_socket_keep_nobody_out(daemon: Daemon) -> None:
    pid = daemon.process.pid
    memory_before, descriptors_before = resident_bytes(pid), descriptors(pid)

    def connect() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(2)
        sock.connect(str(daemon.socket))
        return sock

    sayings = (
        b"",
        b'{"id": 1, "ve',
        b'{"verb": "status", "args": ' + b"[" * 60_000,
        b"x" * 300_000,
        b"status\n",
        os.urandom(400) + b"\n",
    )
    there = crowd(connect, sayings)
    answer = client.ask(daemon.socket, Request("status"))
    assert answer["virtual_servers"]
    for sock in there:
        sock.close()
    until(lambda: descriptors(pid) <= descriptors_before + 2)
    assert resident_bytes(pid) < memory_before + MEMORY_MAX_BYTES
    assert daemon.process.poll() is None
