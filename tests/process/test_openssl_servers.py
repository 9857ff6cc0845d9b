"""SSL_GET against `openssl s_server`, a TLS server that is none of ours, as its own process on loopback."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator

import pytest
import trio

from checkers import ssl as ssl_get
from checkers.kit.api import ProbeError, Reason, Target, Verdict
from checkers.kit.dial import Network
from checkers.kit.options import CLIENT as CLIENT_OPTION
from checkers.kit.options import Json
from checkers.kit.timer import Timer
from checkers.kit.turns import OneByOne
from tests.fakes.tls import AUTHORITY, CLIENT, CLIENT_FILE, CLIENT_KEY, OTHER_AUTHORITY, certificate_file

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is not installed (Debian package openssl)"
)

NAME = "www.example.org"
CLIENT_SHOWN: Json = {"certificate": CLIENT, "key": CLIENT_KEY, "password": ""}
LIMIT_S, STARTED_WITHIN_S = 5.0, 10.0


@contextlib.contextmanager
def s_server(certificate: str, *options: str) -> Iterator[Target]:
    """Have `openssl s_server` answer every request with a page, one connection after another."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = str(certificate_file(certificate))
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", file, "-key", file, "-www", "-quiet"]
    with subprocess.Popen(
        [*command, *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            _wait_until_it_listens(port)
            yield Target("127.0.0.1", port)
        finally:
            server.terminate()


def _wait_until_it_listens(port: int) -> None:
    until = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError("openssl s_server does not listen")


def verdict_on(target: Target, **options: Json) -> Verdict:
    """Probe once over real sockets."""

    async def main() -> Verdict:
        timer = Timer()
        network = Network(timer)
        prepared = ssl_get.prepare({"url": [{"path": "/"}], **options})
        assert not isinstance(prepared, OneByOne)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timer.run)
            nursery.start_soon(network.run)
            dial = network.dialer(LIMIT_S)
            try:
                verdict = await ssl_get.check(target, prepared, dial)
            except ProbeError as error:
                verdict = Verdict(error.reason, str(error))
            finally:
                dial.close()
            nursery.cancel_scope.cancel()
        return verdict

    return trio.run(main)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_server_of_each_version_is_up_and_its_certificate_s_end_is_told(version: str) -> None:
    with s_server("good", version) as target:
        for options in ({}, {"ca": AUTHORITY, "virtualhost": NAME}, {"tls_compliant": True}):
            verdict = verdict_on(target, **options)
            assert verdict.reason is Reason.L7OK, verdict
            assert verdict.expires_at == ssl.cert_time_to_seconds("Jan  1 00:00:00 2125 GMT")


def test_an_expired_certificate_is_refused_by_who_verifies_alone() -> None:
    with s_server("expired") as target:
        assert verdict_on(target, ca=AUTHORITY).detail == "TLS handshake: certificate refused: certificate has expired"
        verdict = verdict_on(target)
        assert (verdict.reason, verdict.expires_at) == (
            Reason.L7OK,
            ssl.cert_time_to_seconds("Jan  1 00:00:00 2021 GMT"),
        )


def test_another_authority_or_another_name_is_refused_by_who_verifies() -> None:
    with s_server("good") as target:
        refused = verdict_on(target, ca=OTHER_AUTHORITY)
        assert (refused.reason, "unable to get local issuer certificate" in refused.detail) == (Reason.L6RSP, True)
        refused = verdict_on(target, ca=AUTHORITY, sni_name="elsewhere.example.org")
        assert (refused.reason, "Hostname mismatch" in refused.detail) == (Reason.L6RSP, True)
        assert verdict_on(target, sni_name="elsewhere.example.org", enable_sni=True).ok


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_server_that_asks_who_we_are_serves_whom_it_knows(version: str) -> None:
    options = ("-Verify", "1", "-verify_return_error", "-CAfile", str(CLIENT_FILE), version)
    with s_server("good", *options) as target:
        assert verdict_on(target, **{CLIENT_OPTION: CLIENT_SHOWN}).reason is Reason.L7OK
        assert verdict_on(target, ca=AUTHORITY, **{CLIENT_OPTION: CLIENT_SHOWN}).reason is Reason.L7OK
        assert verdict_on(target).reason in {Reason.L6RSP, Reason.L7RSP}  # its alert, or its reset when that came first


def test_a_server_that_chooses_its_certificate_by_name_is_told_the_name() -> None:
    other = str(certificate_file("expired"))
    with s_server("good", "-servername", NAME, "-cert2", other, "-key2", other) as target:
        ends = [verdict_on(target, virtualhost=NAME, enable_sni=sni).expires_at for sni in (False, True)]
    assert ends == [ssl.cert_time_to_seconds(f"Jan  1 00:00:00 {year} GMT") for year in (2125, 2021)]
