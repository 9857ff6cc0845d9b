"""The real daemon scraped by a real Prometheus: plain, over TLS with a password, and what it says to strangers."""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from tests.fakes import tls
from tests.process.prometheus import Prometheus, program
from tests.process.test_daemon import Daemon, Web, configuration, until

PASSWORD = "open sesame"


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


def protected(folder: Path) -> Path:
    """A web configuration with TLS and one user."""
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    (folder / "server.pem").write_bytes(tls.certificate_file("good").read_bytes())
    (folder / "server.pem").chmod(0o600)
    file = folder / "web.yml"
    file.write_text(
        "tls_server_config:\n  cert_file: server.pem\n  key_file: server.pem\n"
        f"basic_auth_users:\n  prometheus: {hashed}\n"
        "http_server_config:\n  headers:\n    X-Frame-Options: deny\n"
    )
    return file


class Client:
    """Asks the exporter over TLS."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.context = ssl.create_default_context(cadata=tls.AUTHORITY)

    def get(self, path: str, user: str = "", password: str = "") -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, timeout=10, context=self.context)
        credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
        connection.request("GET", path, headers={"Authorization": f"Basic {credentials}"} if user else {})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, body


def test_prometheus_scrapes_it_and_promtool_finds_nothing_to_say(tmp_path: Path, web: Web) -> None:
    daemon = Daemon(tmp_path, configuration(web.port), "--metrics-detail", "--metrics-node-ipvs")
    try:
        until(lambda: "\nlvs_ready 1.0\n" in daemon.metrics())
        checked = subprocess.run(
            [program("promtool"), "check", "metrics"],
            input=daemon.metrics(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
        jobs = {"vipervisor": {"static_configs": [{"targets": [f"127.0.0.1:{daemon.port}"]}]}}
        with Prometheus(tmp_path, jobs) as prometheus:
            target = prometheus.until_scraped("vipervisor")
            assert (target["lastError"], target["lastScrapeDuration"] < 1) == ("", True)
            until(lambda: prometheus.value("lvs_ready") == 1)
            labels = f'virtual_server="203.0.113.100:80/tcp",real_server="127.0.0.1:{web.port}"'
            until(lambda: prometheus.value(f"lvs_real_server_up{{{labels}}}") == 1)
            web.close()
            until(lambda: prometheus.value(f"lvs_real_server_up{{{labels}}}") == 0)
            assert prometheus.value("lvs_virtual_server_quorum_up") == 0
            web.open()
            until(lambda: prometheus.value("lvs_virtual_server_quorum_up") == 1)
            seconds = prometheus.value("histogram_quantile(0.5, sum by (le) (lvs_verdict_to_kernel_seconds_bucket))")
            assert seconds is not None
            assert seconds < 1
    finally:
        daemon.close()


def test_prometheus_scrapes_it_over_tls_with_a_password(tmp_path: Path, web: Web) -> None:
    daemon = Daemon(tmp_path, configuration(web.port), "--web-config", str(protected(tmp_path)))
    (tmp_path / "authority.pem").write_text(tls.AUTHORITY)
    target = {
        "scheme": "https",
        "tls_config": {"ca_file": str(tmp_path / "authority.pem")},
        "basic_auth": {"username": "prometheus", "password": PASSWORD},
        "static_configs": [{"targets": [f"127.0.0.1:{daemon.port}"]}],
    }
    guessing = {**target, "basic_auth": {"username": "prometheus", "password": "guess"}}
    plain = {"static_configs": target["static_configs"]}
    try:
        until(lambda: daemon.events("web_config.loaded"))
        with Prometheus(tmp_path, {"secured": target, "guessing": guessing, "plain": plain}) as prometheus:
            prometheus.until_scraped("secured")
            until(lambda: prometheus.value('lvs_ready{job="secured"}') == 1)
            until(lambda: prometheus.value("lvs_web_config_last_reload_successful") == 1)
            until(lambda: "401" in (prometheus.targets() or {})["guessing"]["lastError"])
            until(lambda: (prometheus.targets() or {})["plain"]["health"] == "down")
            until(lambda: (prometheus.value('lvs_exporter_requests_total{code="401"}') or 0) > 0)
    finally:
        daemon.close()


def test_strangers_learn_nothing_and_a_new_certificate_needs_no_restart(tmp_path: Path, web: Web) -> None:
    file = protected(tmp_path)
    daemon = Daemon(tmp_path, configuration(web.port), "--web-config", str(file))
    client = Client(daemon.port)

    def asked(*credentials: str) -> tuple[int, dict[str, str], bytes]:
        return client.get("/metrics", *credentials)

    def serves() -> bool:
        try:
            return asked()[0] == 401
        except OSError:
            return False

    try:
        until(serves)
        status, headers, body = asked()
        assert (status, headers["www-authenticate"].partition(" ")[0]) == (401, "Basic")
        assert b"lvs_" not in body
        assert [asked("prometheus", "guess")[0], asked("nobody", PASSWORD)[0], asked("prometheus", "x" * 80)[0]] == [
            401
        ] * 3
        status, headers, body = asked("prometheus", PASSWORD)
        assert (status, headers["x-frame-options"]) == (200, "deny")
        assert b"\nlvs_build_info" in body
        began = time.monotonic()
        for _ in range(10):
            assert asked("prometheus", PASSWORD)[0] == 200
        assert time.monotonic() - began < 5, "a right password is compared once"

        pid = daemon.pid_of("exporter")
        (tmp_path / "server.pem").write_bytes(tls.certificate_file("expired").read_bytes())
        until(lambda: len(daemon.events("web_config.loaded")) == 2)

        def refused() -> bool:
            try:
                asked()
            except ssl.SSLCertVerificationError as error:
                return "expired" in str(error)
            return False

        until(refused)
        (tmp_path / "server.pem").write_text("nonsense")
        until(lambda: daemon.events("web_config.refused"))
        assert refused(), "the last good one stays"
        assert daemon.pid_of("exporter") == pid
    finally:
        daemon.close()


def test_a_wrong_web_configuration_is_refused_before_anything_is_served(tmp_path: Path, web: Web) -> None:
    file = tmp_path / "web.yml"
    file.write_text("tls_server_confg:\n  cert_file: x\nbasic_auth_users:\n  alice: secret\n")
    daemon = Daemon(tmp_path, configuration(web.port), "--web-config", str(file))
    try:
        assert daemon.process.wait(20) == 3
        assert daemon.process.stderr is not None
        said = daemon.process.stderr.read()
        assert f"{file}:1:1: unknown key 'tls_server_confg'; did you mean tls_server_config?" in said
        assert f"{file}:4:10: the password of 'alice' is no bcrypt hash" in said
        assert "secret" not in said.replace("alice", "")
    finally:
        daemon.close()


def test_beyond_the_limit_of_series_the_log_and_the_metrics_say_so(tmp_path: Path, web: Web) -> None:
    daemon = Daemon(tmp_path, configuration(web.port), "--metrics-series-max", "10")
    try:
        until(lambda: "\nlvs_metrics_real_servers_omitted 1.0\n" in daemon.metrics())
        assert "lvs_real_server_" not in daemon.metrics()
        (event,) = daemon.events("metrics.omitted")
        assert (event["series"], event["limit"], event["over"]) == (14, 10, False)
        assert json.loads(json.dumps(event))["level"] == "warning"
    finally:
        daemon.close()


def test_the_verifier_goes_with_its_exporter(tmp_path: Path, web: Web) -> None:
    daemon = Daemon(tmp_path, configuration(web.port), "--web-config", str(protected(tmp_path)))
    try:
        until(lambda: daemon.events("web_config.loaded") and daemon.pid_of("exporter"))
        pid = daemon.pid_of("exporter")
        children = Path(f"/proc/{pid}/task/{pid}/children")
        until(lambda: children.read_text().split())
        (verifier,) = (int(word) for word in children.read_text().split())
        os.kill(pid, 9)

        def is_gone() -> bool:
            try:
                return Path(f"/proc/{verifier}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
            except OSError:
                return True

        until(is_gone)
        until(lambda: daemon.pid_of("exporter") not in {0, pid})
    finally:
        daemon.close()
