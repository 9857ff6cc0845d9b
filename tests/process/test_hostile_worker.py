"""A worker that somebody has taken over, as the supervisor sees it: it can lie about its own jobs, and that is all."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from supervisor import config
from supervisor.admin import client
from supervisor.admin.protocol import Request
from supervisor.core.jobs import ranking, specs
from tests.process import hostile, with_hostile_worker
from tests.process.test_daemon import Answer, Daemon, until

ADDRESSES = [f"127.0.9.{number}" for number in range(1, 25)]

ROUND_MAX_S = 90.0
"""Every attack once. Ours: they take half a minute together."""

MEMORY_MAX_BYTES = 48 << 20
"""By so much the supervisor may grow meanwhile. Ours: an honest day costs it less than 1 MiB, a frame 64 KiB, a link's buffer 128 KiB."""

DESCRIPTORS_MAX = 100
"""And so many descriptors more it may have at any time: SOCKETS_MAX of a worker, and a few on their way."""

LOG_MAX_LINES = 6000
"""Lines of all attacks together. Ours: an allowance's burst is 700 frames, and three attacks use it up."""


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


@pytest.fixture
def port() -> Iterator[int]:
    server = Server(("0.0.0.0", 0), Answer)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def configuration(port: int) -> str:
    check = "HTTP_GET {\n url {\n path /\n }\n connect_timeout 2\n retry 1\n delay_before_retry 0.5\n }"
    servers = "".join(
        f" real_server {address} {port} {{\n inhibit_on_failure\n {check}\n }}\n" for address in ADDRESSES
    )
    return (
        f"virtual_server 203.0.113.100 80 {{\n delay_loop 0.5\n lb_algo rr\n lb_kind NAT\n protocol TCP\n{servers}}}\n"
    )


def honest_addresses(file: Path) -> set[str]:
    """Return the real servers whose checks are not the hostile worker's."""
    loaded = config.load(file).config
    assert loaded is not None
    return {str(spec.target.address) for spec in specs(loaded) if ranking(spec, 2)[0] != 0}


def weights(daemon: Daemon) -> dict[str, int | None]:
    status = client.ask(daemon.socket, Request("status"))
    servers = status["virtual_servers"][0]["real_servers"]
    return {server["real_server"].rpartition(":")[0]: server["weight_kernel"] for server in servers}


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def test_a_worker_that_was_taken_over_can_lie_about_its_own_jobs_and_nothing_else(tmp_path: Path, port: int) -> None:
    daemon = Daemon(tmp_path, configuration(port), "--workers", "2", program=with_hostile_worker.__file__)
    try:
        until(lambda: daemon.pid_of("checker-1"))
        pid = daemon.process.pid
        honest = honest_addresses(daemon.file)
        assert 0 < len(honest) < len(ADDRESSES)
        until(lambda: {weights(daemon)[address] for address in honest} == {1})
        memory_before, descriptors_before = resident_bytes(pid), descriptors(pid)
        most_descriptors, end = 0, time.monotonic() + ROUND_MAX_S
        while restarts(daemon) < len(hostile.ATTACKS) + 1:
            assert time.monotonic() < end, f"attack {restarts(daemon)} does not end"
            found = weights(daemon)
            assert {found[address] for address in honest} == {1}
            most_descriptors = max(most_descriptors, descriptors(pid))
            time.sleep(0.05)
        assert most_descriptors < descriptors_before + DESCRIPTORS_MAX
        assert resident_bytes(pid) < memory_before + MEMORY_MAX_BYTES
        assert daemon.process.poll() is None
        lines = daemon.lines()
        assert len(lines) < LOG_MAX_LINES
        complaints = {line["reason"] for line in lines if line["event"] == "worker.protocol_error"}
        for word in ("does not have", "frames a second", "which there is not", "expected epoch", "never assigned"):
            assert any(word in complaint for complaint in complaints), word
        assert daemon.stop() == 0
    finally:
        daemon.close()


def restarts(daemon: Daemon) -> int:
    views = client.ask(daemon.socket, Request("status"))["process"]["workers"]
    found: int = next(view["restarts"] for view in views if view["name"] == "checker-0")
    return found
