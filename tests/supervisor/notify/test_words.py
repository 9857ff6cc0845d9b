"""What mails say: keepalived's words, as keepalived 2.2.7 was seen to send them."""

import math
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
import trio
from trio.testing import MockClock

from checkers import smtp as smtp_check
from checkers.kit.api import ProbeError, Target, Verdict
from supervisor.core.transitions import CheckChanged, CheckFailed, QuorumChanged, SorryChanged, Transition
from supervisor.model import AddressKey, Endpoint, FwmarkKey, Protocol
from supervisor.notify._words import describe
from tests.fakes.behaviours import Behaviour, End, Pause, blackhole, refuse
from tests.fakes.mail import mail_server, says
from tests.fakes.network import FakeNetwork
from tests.supervisor.notify.samples import CHECK_DOWN, QUORUM_LOST, REMOVED, SERVER, SERVER_DOWN, SERVICE, SUBJECT

CHECK_UP = replace(CHECK_DOWN, up=True, real_server_up=True, reason="L7OK")
V6 = AddressKey(Protocol.UDP, Endpoint(IPv6Address("2001:db8::1"), 53))


def words(transition: Transition, *, every_check: bool = True) -> tuple[str, str]:
    news = describe(transition, every_check=every_check)
    assert news is not None
    return news.subject, news.body


@pytest.mark.parametrize(
    ("check", "down", "up"),
    [
        ("TCP_CHECK", "TCP CHECK failed on service", "TCP CHECK succeed on service"),
        ("HTTP_GET", "CHECK failed on service : HTTP request failed", "CHECK succeed on service"),
        ("SSL_GET", "CHECK failed on service : HTTP request failed", "CHECK succeed on service"),
        ("MISC_CHECK", "MISC CHECK failed on service", "MISC CHECK succeeded on service"),
        ("DNS_CHECK", "DNS_CHECK: failed on service", "DNS_CHECK: succeed on service"),
        ("UDP_CHECK", "UDP CHECK failed on service", "UDP CHECK succeed on service"),
        ("PING_CHECK", "ICMP CHECK failed on service", "ICMP CHECK succeed on service"),
    ],
)
def test_each_check_has_its_words(check: str, down: str, up: str) -> None:
    assert words(replace(CHECK_DOWN, check=check)) == (SUBJECT + "DOWN", f"=> {down} <=")
    assert words(replace(CHECK_UP, check=check)) == (SUBJECT + "UP", f"=> {up} <=")
    assert words(replace(SERVER_DOWN, check=check), every_check=False) == (SUBJECT + "DOWN", f"=> {down} <=")


def test_a_script_that_ran_too_long_timed_out() -> None:
    told = replace(CHECK_DOWN, check="MISC_CHECK", reason="PROCTOUT")
    assert words(told)[1] == "=> MISC CHECK timed out on service <="


def test_bfd_is_told_by_the_name_of_its_instance() -> None:
    told = replace(CHECK_DOWN, check="BFD_CHECK", detail="b1 state Down")
    assert words(told)[1] == "=> BFD CHECK b1 failed on service <="
    assert words(replace(told, up=True))[1] == "=> BFD CHECK b1 succeeded on service <="


def test_the_state_in_the_subject_is_the_real_servers() -> None:
    assert words(replace(CHECK_UP, real_server_up=False)) == (SUBJECT + "DOWN", "=> CHECK succeed on service <=")


@pytest.mark.parametrize(
    ("behaviour", "failure"),
    [
        (refuse(), "Could not connect to"),
        (mail_server(greeting=says(b"554 no\r\n")), "Bad greeting banner from"),
        (mail_server(greeting=says(b"hello\r\n")), "Bad greeting banner from"),
        (mail_server(helo=says(b"550 who\r\n")), "Bad HELO response from"),
        (mail_server(greeting=(End(),)), "Read failure from"),
        (mail_server(greeting=(Pause(math.inf),)), "Read timeout from"),
        (blackhole(), "Connection timeout to"),
    ],
)
def test_what_a_mail_server_did_wrong_is_said_as_keepalived_says_it(behaviour: Behaviour, failure: str) -> None:
    verdict = verdict_on(behaviour)
    told = replace(CHECK_DOWN, check="SMTP_CHECK", reason=verdict.reason.name, detail=verdict.detail)
    assert words(told)[1] == f"=> CHECK failed on service : {failure} server [192.168.100.22]:80 <="
    elsewhere = replace(told, target=Endpoint(IPv4Address("192.0.2.7"), 2525))
    assert words(elsewhere)[1].endswith("server [192.0.2.7]:2525 <=")
    assert words(replace(CHECK_UP, check="SMTP_CHECK"))[1] == "=> CHECK succeed on service <="


@pytest.mark.parametrize(
    ("transition", "subject", "body"),
    [
        (QUORUM_LOST, "DOWN", "Lost quorum 1+0=1 <= 0"),
        (replace(QUORUM_LOST, up=True, weight_up=1), "UP", "Gained quorum 1+0=1 <= 1"),
        (replace(QUORUM_LOST, up=True, weight_up=3, quorum=2, hysteresis=1), "UP", "Gained quorum 2+1=3 <= 3"),
        (replace(QUORUM_LOST, quorum=2, hysteresis=1), "DOWN", "Lost quorum 2+1=1 <= 0"),
        (replace(QUORUM_LOST, at_start=True), "DOWN", "Starting with quorum down 1+0=1 <= 0"),
        (
            replace(QUORUM_LOST, at_start=True, quorum=3, hysteresis=1),
            "DOWN",
            "Starting with quorum down 3+1=4 <= 0",
        ),
        (replace(QUORUM_LOST, at_start=True, up=True, weight_up=2), "UP", "Starting with quorum up 1+0=1 <= 2"),
        (
            replace(QUORUM_LOST, by_configuration=True, quorum=2, hysteresis=1, weight_up=0),
            "DOWN",
            "Starting with quorum down 2+1=3 <= 0",
        ),
    ],
)
def test_a_quorum_is_told_with_its_sum(transition: QuorumChanged, subject: str, body: str) -> None:
    assert words(transition) == (f"Virtualserver [203.0.113.1]:tcp:80 - {subject}", f"=> {body} <=")


def test_a_real_server_that_leaves_is_down() -> None:
    assert words(REMOVED) == (SUBJECT + "DOWN", "=> Removing <=")
    assert words(replace(REMOVED, stopping=True)) == (SUBJECT + "DOWN", "=> Shutting down <=")


def test_one_that_was_out_of_service_leaves_without_a_word() -> None:
    assert describe(replace(REMOVED, in_service=False), every_check=True) is None


@pytest.mark.parametrize(
    ("changes", "service", "server"),
    [
        ({"virtual_server": FwmarkKey(4, 7)}, "FWM 7", "[192.168.100.22]:none:80"),
        ({"virtual_server": V6}, "[2001:db8::1]:udp:53", "[192.168.100.22]:udp:80"),
        ({"group": "web"}, "[web]:0", "[192.168.100.22]:tcp:80"),
        ({"group": "web", "group_use": 1}, "[web]:1", "[192.168.100.22]:tcp:80"),
        ({"group": "web", "virtual_server": FwmarkKey(4, 7)}, "[web]:0", "[192.168.100.22]:none:80"),
    ],
)
def test_servers_have_keepaliveds_names(changes: dict[str, object], service: str, server: str) -> None:
    def changed(transition: CheckChanged | QuorumChanged) -> Transition:
        return replace(transition, **changes)  # type: ignore[arg-type]

    assert words(changed(CHECK_DOWN))[0] == f"Realserver {server} of virtual server {service} - DOWN"
    assert words(changed(QUORUM_LOST))[0] == f"Virtualserver {service} - DOWN"


@pytest.mark.parametrize(
    "transition",
    [
        replace(CHECK_DOWN, mail=False),
        replace(QUORUM_LOST, mail=False),
        replace(REMOVED, mail=False),
        SERVER_DOWN,
        SorryChanged(1, SERVICE, SERVER, active=True),
        CheckFailed(1, SERVICE, SERVER, "HTTP_GET", "L4CON", "refused", 1, 3, log=True),
        replace(CHECK_DOWN, check="FILE_CHECK"),
        replace(CHECK_DOWN, group="web", follower=True),
        replace(QUORUM_LOST, group="web", follower=True),
        replace(REMOVED, group="web", follower=True),
    ],
)
def test_no_mail_where_none_is_due(transition: Transition) -> None:
    assert describe(transition, every_check=True) is None


def test_with_no_checker_emails_only_the_real_servers_changes_count() -> None:
    assert describe(CHECK_DOWN, every_check=False) is None
    assert describe(replace(SERVER_DOWN, mail=False), every_check=False) is None
    assert describe(replace(SERVER_DOWN, check=""), every_check=False) is None
    assert describe(replace(SERVER_DOWN, check="FILE_CHECK"), every_check=False) is None
    first_success_with_alpha = replace(SERVER_DOWN, up=True, was="UNKNOWN")
    assert words(first_success_with_alpha, every_check=False) == (SUBJECT + "UP", "=> TCP CHECK succeed on service <=")
    assert describe(QUORUM_LOST, every_check=False) is not None


def verdict_on(behaviour: Behaviour) -> Verdict:
    """What the real checker says of such a server."""

    async def main() -> Verdict:
        network = FakeNetwork()
        target = Target(str(SERVER.address), SERVER.port)
        network.server(target.address, target.port).behaviour = behaviour
        try:
            return await smtp_check.check(target, smtp_check.prepare({}), network.dialer(3.0))
        except ProbeError as error:
            return Verdict(error.reason, str(error))

    return trio.run(main, clock=MockClock(autojump_threshold=0))
