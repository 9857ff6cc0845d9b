"""SSL_GET with the SSL block against nginx, Debian's keepalived beside us: who is up is the same, or the difference has a name.

The key belongs to root alone and is encrypted: the supervisor reads it, and the worker that shows the certificate cannot.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.tls import (
    AUTHORITY_FILE,
    CLIENT_FILE,
    CLIENT_KEY_ENCRYPTED_FILE,
    PASSWORD,
    certificate_file,
)
from tests.kernel.daemon import Daemon
from tests.kernel.lab import Lab, nginx_configuration, wait_until

ADDRESS, VERIFIED = "192.168.100.20", 9100
SETTLED_WITHIN_S = 25
NAME = "www.example.org"


@dataclass(frozen=True)
class Site:
    """One nginx server, the lines of the check, and who is up."""

    name: str
    certificate: str
    nginx: str
    check: str
    keepalived: bool
    ours: bool


def site(
    name: str, nginx: str = "", check: str = "", *, up: bool, ours: bool | None = None, certificate: str = "good"
) -> Site:
    """The certificate is "good" or "expired". `ours`: where we say something else than keepalived."""
    return Site(name, certificate, nginx, check, keepalived=up, ours=up if ours is None else ours)


ASKS = f"ssl_client_certificate {CLIENT_FILE}; ssl_verify_client on;"
BY_NAME = f'if ($ssl_server_name != "{NAME}") {{ return 503; }}'
BY_NO_NAME = 'if ($ssl_server_name != "") { return 503; }'

SITES = (
    site("plain", up=True),
    site("TLS 1.2", "ssl_protocols TLSv1.2;", up=True),
    site("TLS 1.3", "ssl_protocols TLSv1.3;", up=True),
    site("an expired certificate", up=True, certificate="expired"),
    site("asks who we are", ASKS, up=True),
    site("asks who we are, TLS 1.2", f"ssl_protocols TLSv1.2; {ASKS}", up=True),
    site("asks for somebody else", f"ssl_client_certificate {AUTHORITY_FILE}; ssl_verify_client on;", up=False),
    site("another status", "return 404;", up=False),
    site("a name, asked for without", BY_NAME, f"virtualhost {NAME}", up=False),
    site("a name, asked for with it", BY_NAME, f"enable_sni\nvirtualhost {NAME}", up=True),
    site("no name, asked for without", BY_NO_NAME, f"virtualhost {NAME}", up=True),
    site("ca does not verify with keepalived", check="ca {other}", up=True, ours=False),
    site("verify and the ca of SSL", check="verify", up=True),
    site("verify and an expired certificate", check="verify", up=True, ours=False, certificate="expired"),
    site("verify and another name", check="verify\nvirtualhost elsewhere.example.org", up=True, ours=False),
)
"""`verify` and `ca` are our own: keepalived ignores them. So it does what they ask for: tls-verification-when-asked."""


def port_of(some: Site) -> int:
    return VERIFIED + SITES.index(some)


def configuration(key: Path) -> str:
    blocks = [
        f"SSL {{\ncertificate {CLIENT_FILE}\nkey {key}\npassword {PASSWORD}\nca {AUTHORITY_FILE}\n}}",
        "virtual_server 203.0.113.100 443 {\ndelay_loop 60\nlvs_sched rr\nlvs_method NAT\nprotocol TCP",
    ]
    for some in SITES:
        lines = some.check.format(other=CLIENT_FILE)
        blocks.append(
            f"real_server {ADDRESS} {port_of(some)} {{\ninhibit_on_failure\nalpha\n"
            f"SSL_GET {{\nconnect_timeout 4\nwarmup 0\nurl {{\npath /\n}}\n{lines}\n}}\n}}"
        )
    return "\n".join([*blocks, "}", ""])


def start_nginx(lab: Lab, prefix: str) -> None:
    servers = [
        f"server {{ listen {port_of(some)} ssl; ssl_certificate {certificate_file(some.certificate)};"
        f" ssl_certificate_key {certificate_file(some.certificate)}; {some.nginx} location / {{ return 200 'ok'; }} }}"
        for some in SITES
    ]
    place = lab.directory / "tls"
    place.mkdir()
    (place / "nginx.conf").write_text(nginx_configuration(place, "\n".join(servers)))
    command = ["nginx", "-p", str(place), "-c", str(place / "nginx.conf"), "-e", "stderr"]
    lab.start(f"{prefix}rs20", command, "nginx-tls.log")


@pytest.fixture(scope="module")
def up(directory: Path) -> Iterator[tuple[dict[str, bool], dict[str, bool]]]:
    """Who is up by name of the site, according to us and to keepalived; and no secret is in any log."""
    key = directory / "client-key.pem"
    key.write_bytes(CLIENT_KEY_ENCRYPTED_FILE.read_bytes())
    key.chmod(0o600)
    path = directory / "tls.conf"
    path.write_text(configuration(key))
    with contextlib.ExitStack() as stack:
        labs = []
        for prefix in ("our-", "their-"):
            (directory / prefix).mkdir()
            labs.append(lab := stack.enter_context(Lab(directory / prefix, prefix)))
            start_nginx(lab, prefix)
        ours, theirs = labs
        time.sleep(1.0)
        pids = ["-p", str(directory / "keepalived.pid"), "-c", str(directory / "checkers.pid")]
        command = ["keepalived", "--dont-fork", "--log-console", "--log-detail", "--check", "-f", str(path), *pids]
        keepalived = theirs.start(theirs.director, command, "keepalived.log")
        stack.callback(theirs.stop, keepalived)
        daemon = Daemon(ours, path)
        stack.callback(daemon.stop)
        daemon.wait_until_whole(SETTLED_WITHIN_S)
        wanted = {some.name: some.keepalived for some in SITES}
        with contextlib.suppress(TimeoutError):  # the test shows which
            wait_until("keepalived", lambda: told_by(theirs) == wanted, SETTLED_WITHIN_S)
        time.sleep(1.0)
        assert PASSWORD not in daemon.log_path.read_text()
        assert PASSWORD not in daemon.command("status", "--json")
        yield told_by(ours), told_by(theirs)


def told_by(lab: Lab) -> dict[str, bool]:
    weights = lab.table.weights()
    return {some.name: weights.get(f"{ADDRESS}:{port_of(some)}", 0) > 0 for some in SITES}


def test_keepalived_says_of_every_site_what_the_table_has(up: tuple[dict[str, bool], dict[str, bool]]) -> None:
    assert up[1] == {some.name: some.keepalived for some in SITES}


def test_we_say_the_same_where_nothing_is_to_be_verified(up: tuple[dict[str, bool], dict[str, bool]]) -> None:
    assert up[0] == {some.name: some.ours for some in SITES}
