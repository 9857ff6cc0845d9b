"""The same file and the same faults for Debian's keepalived 2.2.7 and for us: every mail must be the same, subject and body.

keepalived sends each mail over a connection of its own, all at once, so the order of arrival says nothing: the mails of each stage are
compared sorted. The file groups nothing (`smtp_group_within 0`, a keyword of ours that keepalived passes over). The last stage is where we
differ: keepalived ends before the mails of its stop are delivered, and we deliver them.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kernel import scripted
from tests.kernel.daemon import Daemon
from tests.kernel.lab import MAIL, Lab, wait_until
from tests.kernel.postbox import Postbox
from tests.kernel.scripted import Talk, TcpServer, UdpServer

STAGE_S = 20.0
QUIET_S = 3.0
"""Longer than a check of one second with its repetition needs."""

FIRST, SECOND = "192.168.100.21", "192.168.100.22"
TIMING = "retry 1\n delay_before_retry 1\n connect_timeout 1\n"

GLOBAL = f"""
global_defs {{
    notification_email {{ admin@example.org duty@example.org }}
    notification_email_from lvs@example.org
    smtp_server {MAIL}
    smtp_tls off
    smtp_group_within 0
    smtp_alert on
    virtual_server_addresses off
    router_id LAB
}}
virtual_server_group web {{
    203.0.113.110 80
    203.0.113.111-113 80
}}
virtual_server_group marks {{
    fwmark 4
    fwmark 5
}}
"""


def server(port: int, check: str, *more: str, address: str = FIRST, weight: int = 1) -> str:
    blocks = "\n".join((check, *more))
    return f"real_server {address} {port} {{\n weight {weight}\n {blocks}\n}}\n"


def check(kind: str, *lines: str) -> str:
    return f"{kind} {{\n {TIMING} {' '.join(line + chr(10) for line in lines)} }}"


def virtual_server(head: str, *lines: str, protocol: str = "TCP") -> str:
    word = f"protocol {protocol}\n" if protocol else ""
    body = "\n".join(lines)
    return f"virtual_server {head} {{\n delay_loop 1\n warmup 0\n lb_algo rr\n lb_kind NAT\n {word} {body}\n}}\n"


TCP = check("TCP_CHECK")
HTTP = check("HTTP_GET", "url {", "path /", "status_code 200", "}")
SSL = check("SSL_GET", "url {", "path /", "status_code 200", "}")
SMTP = check("SMTP_CHECK", "helo_name lab")
UDP = check("UDP_CHECK", "payload 4142", "require_reply 4142")
DNS = check("DNS_CHECK", "name example.org", "type A")
SORRY = "sorry_server 192.168.100.20 80"
LEAVER = server(81, TCP, address=SECOND)

CONFIGURATION = GLOBAL + "".join(
    virtual_server(head, *lines, protocol=protocol)
    for head, protocol, lines in (
        ("203.0.113.1 80", "TCP", ["quorum 2", "hysteresis 1", server(81, TCP), server(82, TCP, weight=2)]),
        ("203.0.113.2 80", "TCP", [SORRY, server(80, HTTP)]),
        ("203.0.113.3 53", "UDP", [server(53, DNS)]),
        ("203.0.113.4 5000", "UDP", [server(5000, UDP)]),
        ("203.0.113.5 25", "TCP", [server(port, SMTP) for port in (25, 26, 27, 28)]),
        ("203.0.113.6 443", "TCP", [SORRY, server(443, SSL)]),
        ("203.0.113.7 80", "TCP", [server(81, TCP, check("TCP_CHECK", "connect_port 82"))]),
        ("203.0.113.8 80", "TCP", ["alpha", "omega", server(81, TCP)]),
        ("203.0.113.9 80", "TCP", ["alpha", "quorum 3", "hysteresis 1", SORRY, server(83, TCP, weight=9)]),
        ("203.0.113.10 80", "TCP", ["smtp_alert off", server(81, TCP)]),
        ("203.0.113.11 80", "TCP", [server(81, TCP, "smtp_alert off")]),
        ("203.0.113.12 80", "TCP", [server(81, TCP), LEAVER]),
        ("fwmark 7", "", [server(81, TCP)]),
        ("group web", "TCP", [server(81, TCP)]),
        ("group web", "UDP", [server(5000, UDP)]),
        ("group marks", "", [server(81, TCP)]),
    )
)


class Side:
    """One program's network, with the servers that it checks and the mails that it sent."""

    def __init__(self, lab: Lab, box: Postbox) -> None:
        self.lab = lab
        self._box = box
        self._seen = 0
        first, second = lab.real_server(21), lab.real_server(22)
        talks: dict[int, Talk] = {80: scripted.web, 81: scripted.wait, 82: scripted.wait}
        talks |= dict.fromkeys((25, 26, 27, 28), scripted.smtp())
        self.tcp = {port: TcpServer(first, FIRST, port, talk) for port, talk in talks.items()}
        self.udp = [UdpServer(first, FIRST, 53, scripted.dns), UdpServer(first, FIRST, 5000, scripted.echo)]
        TcpServer(second, SECOND, 81, scripted.wait)

    def news(self) -> list[tuple[str, str]]:
        """Subject and body of each mail of this stage, sorted."""
        return sorted((mail.subject, mail.body) for mail in self._box.mails[self._seen :])

    def end_stage(self) -> None:
        """What came until now is no news any more."""
        self._seen += len(self.news())

    def break_all(self) -> None:
        """Each server in its own way."""
        self.tcp[80].talk = scripted.web_broken
        self.tcp[26].talk = scripted.smtp(greeting=b"554 no\r\n")
        self.tcp[27].talk = scripted.smtp(helo=b"550 who\r\n")
        self.tcp[28].talk = scripted.hang_up
        for port in (81, 82, 25):
            self.tcp[port].down()
        for udp in self.udp:
            udp.down()

    def mend_all(self) -> None:
        """All but port 82."""
        self.tcp[80].talk = scripted.web
        for port in (26, 27, 28):
            self.tcp[port].talk = scripted.smtp()
        for port in (81, 25):
            self.tcp[port].up()
        for udp in self.udp:
            udp.up()


@dataclass(frozen=True)
class Pair:
    """Vipervisor and keepalived."""

    ours: Side
    theirs: Side
    path: Path
    reload: Callable[[], None]
    stop: Callable[[], None]

    @property
    def both(self) -> tuple[Side, Side]:
        return self.ours, self.theirs

    def told(self, count: int) -> list[tuple[str, str]]:
        """Wait until both have sent so many mails and no more, which must be the same; return them and begin the next stage."""
        with contextlib.suppress(TimeoutError):  # what is missing is seen better by comparing
            wait_until(f"{count} mails each", lambda: min(len(side.news()) for side in self.both) >= count, STAGE_S)
        time.sleep(QUIET_S)
        ours, theirs = self.ours.news(), self.theirs.news()
        assert ours == theirs
        assert len(ours) == count
        for side in self.both:
            side.end_stage()
        return ours


@pytest.fixture(scope="module")
def pair(directory: Path) -> Iterator[Pair]:
    path = directory / "keepalived.conf"
    path.write_text(CONFIGURATION)
    (directory / "ours").mkdir()
    (directory / "theirs").mkdir()
    with ExitStack() as stack:
        our_lab = stack.enter_context(Lab(directory / "ours", "our-"))
        their_lab = stack.enter_context(Lab(directory / "theirs", "their-"))
        our_mails, their_mails = Postbox(our_lab.clients), Postbox(their_lab.clients)
        stack.callback(our_mails.close)
        stack.callback(their_mails.close)
        ours, theirs = Side(our_lab, our_mails), Side(their_lab, their_mails)
        pids = ["-p", str(directory / "keepalived.pid"), "-c", str(directory / "checkers.pid")]
        command = ["keepalived", "--dont-fork", "--log-console", "--log-detail", "--check", "-f", str(path), *pids]
        keepalived = their_lab.start(their_lab.director, command, "keepalived.log")
        daemon = Daemon(our_lab, path)

        def reload() -> None:
            keepalived.send_signal(signal.SIGHUP)
            daemon.reload()

        def stop() -> None:
            their_lab.stop(keepalived)
            daemon.stop()

        yield Pair(ours, theirs, path, reload, stop)


def subjects(news: list[tuple[str, str]]) -> set[str]:
    return {subject.removeprefix("[LAB] ") for subject, _ in news}


def bodies(news: list[tuple[str, str]]) -> set[str]:
    return {body.removeprefix("=> ").removesuffix(" <=") for _, body in news}


def test_at_the_start_quorums_are_told_and_of_real_servers_only_those_that_change(pair: Pair) -> None:
    news = pair.told(18)
    assert bodies(news) >= {"Starting with quorum up 2+1=3 <= 3", "Starting with quorum down 3+1=4 <= 0"}
    assert {subject for subject in subjects(news) if subject.startswith("Real")} == {
        "Realserver [192.168.100.21]:tcp:443 of virtual server [203.0.113.6]:tcp:443 - DOWN",
        "Realserver [192.168.100.21]:tcp:81 of virtual server [203.0.113.8]:tcp:80 - UP",
    }


def test_what_failed_is_told_in_the_same_words(pair: Pair) -> None:
    for side in pair.both:
        side.break_all()
    news = pair.told(30)
    assert bodies(news) >= {
        "TCP CHECK failed on service",
        "CHECK failed on service : HTTP request failed",
        "UDP CHECK failed on service",
        "DNS_CHECK: failed on service",
        "CHECK failed on service : Could not connect to server [192.168.100.21]:25",
        "CHECK failed on service : Bad greeting banner from server [192.168.100.21]:26",
        "CHECK failed on service : Bad HELO response from server [192.168.100.21]:27",
        "CHECK failed on service : Read failure from server [192.168.100.21]:28",
        "Lost quorum 2+1=1 <= 0",
    }
    assert subjects(news) >= {
        "Virtualserver [web]:0 - DOWN",
        "Virtualserver [web]:1 - DOWN",
        "Virtualserver [marks]:0 - DOWN",
        "Realserver [192.168.100.21]:udp:5000 of virtual server [web]:1 - DOWN",
        "Realserver [192.168.100.21]:none:81 of virtual server FWM 7 - DOWN",
        "Realserver [192.168.100.21]:none:81 of virtual server [marks]:0 - DOWN",
    }


def test_a_check_that_recovers_on_a_server_that_stays_down_says_down_and_succeed(pair: Pair) -> None:
    for side in pair.both:
        side.tcp[82].up()
    server = "Realserver [192.168.100.21]:tcp"
    assert pair.told(2) == [
        (f"[LAB] {server}:81 of virtual server [203.0.113.7]:tcp:80 - DOWN", "=> TCP CHECK succeed on service <="),
        (f"[LAB] {server}:82 of virtual server [203.0.113.1]:tcp:80 - UP", "=> TCP CHECK succeed on service <="),
    ]


def test_what_is_mended_is_told_in_the_same_words(pair: Pair) -> None:
    for side in pair.both:
        side.mend_all()
    assert bodies(pair.told(28)) >= {
        "CHECK succeed on service",
        "UDP CHECK succeed on service",
        "Gained quorum 2+1=3 <= 3",
    }


def test_a_server_that_a_reload_takes_out_is_told(pair: Pair) -> None:
    pair.path.write_text(CONFIGURATION.replace(LEAVER, ""))
    pair.reload()
    subject = "[LAB] Realserver [192.168.100.22]:tcp:81 of virtual server [203.0.113.12]:tcp:80 - DOWN"
    assert pair.told(1) == [(subject, "=> Removing <=")]


def test_mail_of_the_stop_is_delivered_where_keepalived_ends_too_soon(pair: Pair) -> None:
    pair.stop()
    subject = "[LAB] Realserver [192.168.100.21]:tcp:81 of virtual server [203.0.113.8]:tcp:80 - DOWN"
    assert pair.ours.news() == [(subject, "=> Shutting down <=")]
    assert pair.theirs.news() == []
