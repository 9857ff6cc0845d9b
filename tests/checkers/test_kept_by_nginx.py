"""http_keepalive beside the real nginx, which ends connections after some requests, after some idle time, and when it is told to reload."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio

from checkers.kit.api import Dialer, Target, Verdict, load
from checkers.kit.dial import Network
from checkers.kit.timer import Timer
from tests.fakes.tls import certificate_file

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / ".lab/root"
LIMIT_S = 5.0
CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  log_format connections '$connection $status';
  access_log {folder}/access.log connections;
  client_body_temp_path {folder}/b;
  proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u;
  scgi_temp_path {folder}/s;
  {setting}
  server {{
    listen 127.0.0.1:{port} {tls};
    ssl_certificate {certificate};
    ssl_certificate_key {certificate};
    location / {{ return 200 {body}; }}
  }}
}}
"""


def nginx() -> str:
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:{LAB}/usr/sbin")
    if program is None:
        assert not os.environ.get("CI"), "nginx is missing (Debian package nginx); in CI that is an error"
        pytest.skip("nginx is missing: `deploy/demo/setup programs nginx` gets it")
    return program


@contextlib.contextmanager
def serving(folder: Path, setting: str, *, tls: bool) -> Iterator[tuple[Target, subprocess.Popen[bytes]]]:
    """Run nginx with a page of 1 KiB."""
    program = nginx()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = folder / "nginx.conf"
    certificate = certificate_file("good").absolute()
    file.write_text(
        CONFIGURATION.format(
            folder=folder,
            body="x" * 1024,
            port=port,
            setting=setting,
            tls="ssl" if tls else "",
            certificate=certificate,
        )
    )
    libraries = ":".join(map(str, [*(LAB / "usr/lib").glob("*-linux-gnu"), *(LAB / "lib").glob("*-linux-gnu")]))
    with subprocess.Popen(
        [program, "-c", str(file), "-p", str(folder)], env={**os.environ, "LD_LIBRARY_PATH": libraries}
    ) as process:
        try:
            for _ in range(300):
                assert process.poll() is None
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            yield Target("127.0.0.1", port), process
        finally:
            process.terminate()


def probes(
    target: Target, probe_times: int, *, tls: bool, between: Callable[[Network, int], Awaitable[None]]
) -> list[Verdict]:
    checker = load("SSL_GET" if tls else "HTTP_GET")
    prepared = checker.prepare({"url": [{"path": "/health"}], "http_keepalive": 10})
    verdicts = []

    async def one(dialer: Dialer) -> Verdict:
        try:
            return await checker.check(target, prepared, dialer)
        finally:
            dialer.rest()

    async def main() -> None:
        timer = Timer()
        network = Network(timer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timer.run)
            nursery.start_soon(network.run)
            dialer = network.dialer(LIMIT_S)
            for number in range(probe_times):
                verdicts.append(await one(dialer))
                await between(network, number)
            dialer.close()
            assert (network.kept, network.connections) == (0, {})
            nursery.cancel_scope.cancel()

    trio.run(main)
    return verdicts


def connections(folder: Path) -> int:
    """Count the connections that nginx wrote a request of into its log."""
    lines = (folder / "access.log").read_text().splitlines()
    assert all(line.endswith(" 200") for line in lines), lines
    return len({line.split()[0] for line in lines})


async def nothing(network: Network, number: int) -> None:
    """Go on at once."""


@pytest.mark.parametrize("tls", [False, True], ids=["http", "tls"])
@pytest.mark.parametrize(
    ("setting", "wanted"), [("", 3), ("keepalive_requests 3;", 10), ("keepalive_timeout 0;", 30)], ids=str
)
def test_thirty_probes_succeed_however_often_nginx_ends_a_connection(
    tmp_path: Path, setting: str, wanted: int, *, tls: bool
) -> None:
    with serving(tmp_path, setting, tls=tls) as (target, _):
        verdicts = probes(target, 30, tls=tls, between=nothing)
    assert [verdict.detail for verdict in verdicts] == ["HTTP 200"] * 30
    assert connections(tmp_path) == wanted


@pytest.mark.parametrize("tls", [False, True], ids=["http", "tls"])
def test_a_connection_that_nginx_ends_while_it_is_idle_is_closed_at_once_and_no_failure(
    tmp_path: Path, *, tls: bool
) -> None:
    async def wait(network: Network, _: int) -> None:
        await trio.sleep(2.5)
        assert (network.kept, network.connections) == (0, {})

    with serving(tmp_path, "keepalive_timeout 1;", tls=tls) as (target, _):
        verdicts = probes(target, 3, tls=tls, between=wait)
    assert [verdict.detail for verdict in verdicts] == ["HTTP 200"] * 3
    assert connections(tmp_path) == 3


def test_a_reload_of_nginx_is_no_failure(tmp_path: Path) -> None:
    with serving(tmp_path, "", tls=False) as (target, process):

        async def reload(_: Network, number: int) -> None:
            if number % 4 == 1:
                process.send_signal(signal.SIGHUP)
            await trio.sleep(0.05)

        verdicts = probes(target, 40, tls=False, between=reload)
    assert [verdict.detail for verdict in verdicts] == ["HTTP 200"] * 40
