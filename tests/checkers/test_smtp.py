"""SMTP_CHECK against scripted mail servers on virtual time."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from checkers import smtp
from checkers.kit.api import DETAIL_MAX_BYTES, ProbeError, Reason, Target, Verdict
from checkers.kit.options import Json
from tests.fakes.behaviours import Behaviour, End, Send, Step, refuse
from tests.fakes.mail import (
    broken_mail_servers,
    healthy_mail_servers,
    mail_server,
    refusing_mail_servers,
    says,
    silent_mail_servers,
)
from tests.fakes.network import FakeNetwork
from tests.fakes.server import FakeServer

TARGET = Target("192.168.100.25", 25)


def probe(behaviour: Behaviour, **options: Json) -> tuple[Verdict, FakeServer, float]:
    """Probe once, as the kit does; return the verdict, the server and how long it took."""

    async def main() -> tuple[Verdict, FakeServer, float]:
        network = FakeNetwork()
        server = network.server(TARGET.address, TARGET.port)
        server.behaviour = behaviour
        start = trio.current_time()
        verdict = await smtp.check(TARGET, smtp.prepare(options), network.dialer(3.0))
        assert server.open == 0
        return verdict, server, trio.current_time() - start

    return trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize(
    ("options", "helo"),
    [({}, b"HELO smtpchecker.keepalived.org\r\n"), ({"helo_name": "lb.example.org"}, b"HELO lb.example.org\r\n")],
)
def test_it_says_helo_and_quit_and_nothing_else(options: dict[str, Json], helo: bytes) -> None:
    verdict, server, took_s = probe(mail_server(), **options)
    assert [asked.data for asked in server.requests] == [helo, b"QUIT\r\n"]
    assert verdict == Verdict(
        Reason.L7OK, "SMTP 250", helo.decode().replace("\r\n", "\\r\\n"), "250 mail.example.org\\r\\n"
    )
    assert took_s < 0.1


@pytest.mark.parametrize("behaviour", healthy_mail_servers(), ids=lambda behaviour: behaviour.name)
def test_every_server_that_speaks_smtp_passes(behaviour: Behaviour) -> None:
    assert probe(behaviour)[0].reason is Reason.L7OK


@pytest.mark.parametrize("behaviour", refusing_mail_servers(), ids=lambda behaviour: behaviour.name)
def test_another_code_is_told_with_the_wanted_one(behaviour: Behaviour) -> None:
    verdict, _, _ = probe(behaviour)
    assert verdict.reason is Reason.L7STS
    assert verdict.detail in {"SMTP 554, wanted 220", "SMTP 421, wanted 220", "SMTP 550, wanted 250"}
    assert verdict.received.startswith(verdict.detail[5:8])


@pytest.mark.parametrize("behaviour", broken_mail_servers(), ids=lambda behaviour: behaviour.name)
def test_a_server_that_speaks_no_smtp_fails_at_once(behaviour: Behaviour) -> None:
    verdict, _, took_s = probe(behaviour)
    assert verdict.reason is Reason.L7RSP
    assert took_s < 0.1


@pytest.mark.parametrize("behaviour", silent_mail_servers(), ids=lambda behaviour: behaviour.name)
def test_silence_ends_at_the_deadline(behaviour: Behaviour) -> None:
    verdict, _, took_s = probe(behaviour)
    assert verdict.reason is Reason.L7TOUT
    assert took_s == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("behaviour", "detail", "received"),
    [
        (Behaviour("", greeting=(End(),)), "connection closed without a reply after 0 bytes", ""),
        (mail_server(greeting=(Send(b"220 ma"), End())), "reply cut off after 6 bytes", "220 ma"),
        (mail_server(greeting=says(b"\xff\x00\r\n")), "not an SMTP reply", "\\xff\\x00\\r\\n"),
        (mail_server(greeting=says(b"SSH")), "not an SMTP reply", "SSH"),
        (mail_server(greeting=says(b"220-x\r\n" * 2000)), "reply longer than 8192 bytes", "220-x\\r\\n220"),
    ],
)
def test_what_is_wrong_with_a_reply_is_explained(behaviour: Behaviour, detail: str, received: str) -> None:
    verdict, _, _ = probe(behaviour)
    assert (verdict.reason, verdict.detail) == (Reason.L7RSP, detail)
    assert verdict.received.startswith(received)


def test_a_connection_that_cannot_be_had_leaves_as_the_dialers_error() -> None:
    with pytest.raises(ProbeError, match="connection refused"):
        probe(refuse())


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"helo_name": "a b"}, "helo_name must not contain blanks"),
        ({"helo_name": "a\r\nMAIL"}, "helo_name must not contain blanks"),
    ],
)
def test_options_that_cannot_work_are_refused_with_the_reason(options: dict[str, Json], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        smtp.prepare(options)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([b"220 x\r\n", b"220-x\r\n", b"250\r\n", b"2", b"\r", b"\n", b"-", b" ", b"\xff"])),
    st.binary(max_size=100),
    st.integers(1, 20),
    st.booleans(),
)
def test_any_bytes_give_a_verdict_of_the_closed_set(words: list[bytes], rest: bytes, size: int, greeted: bool) -> None:
    data = b"".join(words) + rest
    steps: tuple[Step, ...] = (*(Send(data[at : at + size]) for at in range(0, len(data), size)), End())
    behaviour = mail_server(helo=steps) if greeted else mail_server(greeting=steps)
    verdict, _, took_s = probe(behaviour)
    assert verdict.reason in {Reason.L7OK, Reason.L7STS, Reason.L7RSP}
    assert len(verdict.received.encode()) <= DETAIL_MAX_BYTES
    assert verdict.received.isprintable()
    assert took_s < 0.1
