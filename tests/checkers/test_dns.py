"""DNS_CHECK against scripted name servers on virtual time."""

from __future__ import annotations

import os

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from checkers import dns
from checkers.kit.api import DETAIL_MAX_BYTES, ProbeError, Reason, Target, Verdict
from checkers.kit.options import Json
from tests.fakes.behaviours import Behaviour, Connect, Mirror, Pause, Send, Step
from tests.fakes.names import NUMBER_BYTES, answer_with, datagrams, name_server, strangers
from tests.fakes.network import FakeNetwork
from tests.fakes.server import FakeServer

TARGET = Target("192.168.100.53", 53)


def probe(behaviour: Behaviour, **options: Json) -> tuple[Verdict, FakeServer, float]:
    """Probe once; return the verdict, the server and how long it took."""

    async def main() -> tuple[Verdict, FakeServer, float]:
        network = FakeNetwork()
        server = network.udp_server(TARGET.address, TARGET.port, behaviour)
        start = trio.current_time()
        verdict = await dns.check(TARGET, dns.prepare(options), network.dialer(3.0))
        assert server.open == 0
        return verdict, server, trio.current_time() - start

    return trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize(
    ("options", "question", "text"),
    [
        ({}, (b"\0" b"\0\6\0\1"), "SOA ."),
        ({"name": "."}, (b"\0" b"\0\6\0\1"), "SOA ."),
        ({"type": "A", "name": "www.example.org"}, (b"\3www\7example\3org\0" b"\0\1\0\1"), "A www.example.org"),
        ({"type": "A", "name": "www.example.org."}, (b"\3www\7example\3org\0" b"\0\1\0\1"), "A www.example.org."),
        ({"type": "DNSKEY", "name": "org"}, (b"\3org\0" b"\0\x30\0\1"), "DNSKEY org"),
        ({"type": "aaaa"}, (b"\0" b"\0\x1c\0\1"), "AAAA ."),
    ],
)  # fmt: skip
def test_the_query_is_one_question_that_wants_recursion(options: dict[str, Json], question: bytes, text: str) -> None:
    verdict, server, _ = probe(name_server(), **options)
    (asked,) = server.requests
    assert asked.data[NUMBER_BYTES:] == bytes([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]) + question
    assert (verdict.reason, verdict.detail, verdict.sent) == (Reason.L7OK, "DNS NOERROR", text)


def test_each_query_has_its_own_number() -> None:
    numbers = {probe(name_server())[1].requests[0].data[:NUMBER_BYTES] for _ in range(20)}
    assert len(numbers) > 15


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        (2, "DNS SERVFAIL, wanted NOERROR"),
        (3, "DNS NXDOMAIN, wanted NOERROR"),
        (5, "DNS REFUSED, wanted NOERROR"),
        (9, "DNS code 9, wanted NOERROR"),
    ],
)
def test_another_response_code_fails_and_is_named(code: int, detail: str) -> None:
    verdict, _, _ = probe(name_server(code))
    assert (verdict.reason, verdict.detail) == (Reason.L7STS, detail)
    assert verdict.received


@pytest.mark.parametrize(
    "stranger",
    [
        Send(b""),
        Send(b"\0" * 11),
        Mirror(NUMBER_BYTES, b"\x81\x80"),
        answer_with(0x0100),
        Mirror(0, b"\0\0\x81\x80" + b"\0" * 8),
    ],
    ids=str,
)
def test_what_is_no_answer_to_this_query_is_passed_over(stranger: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", lambda size_bytes: b"\x12\x34"[:size_bytes])
    assert probe(datagrams("", stranger, answer_with(0x8180)))[0].reason is Reason.L7OK
    verdict, _, took_s = probe(datagrams("", stranger))
    assert verdict.reason is Reason.L7TOUT
    assert took_s == pytest.approx(3.0)


def test_strangers_are_not_passed_over_for_ever() -> None:
    answer = answer_with(0x8180)
    assert probe(datagrams("", *strangers(dns.STRANGERS_MAX - 1), answer))[0].reason is Reason.L7OK
    verdict, _, took_s = probe(datagrams("", *strangers(dns.STRANGERS_MAX), answer))
    assert (verdict.reason, verdict.detail) == (Reason.L7RSP, "64 datagrams, and none of them the answer")
    assert took_s < 0.1


def test_a_closed_port_fails_at_once() -> None:
    verdict, _, took_s = probe(datagrams("", connect=Connect.REFUSE))
    assert (verdict.reason, verdict.detail) == (Reason.L4CON, "connection refused")
    assert took_s < 0.1


def test_our_own_trouble_leaves_as_the_dialers_error() -> None:
    with pytest.raises(ProbeError, match="too many open files") as caught:
        probe(datagrams("", connect=Connect.NO_DESCRIPTOR))
    assert caught.value.reason is Reason.LOCAL


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"type": "ANY"}, "type 'ANY' is not known, only A NS"),
        ({"name": "a b"}, "name must not contain blanks"),
        ({"name": "größe"}, "is not ASCII; write it in its xn-- form"),
        ({"name": "a..b"}, "labels of 1 to 63 characters"),
        ({"name": ".."}, "labels of 1 to 63 characters"),
        ({"name": "a" * 64}, "labels of 1 to 63 characters"),
        ({"name": ".".join(["a" * 60] * 5)}, "longer than 255 bytes"),
    ],
)
def test_options_that_cannot_work_are_refused_with_the_reason(options: dict[str, Json], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        dns.prepare(options)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, NUMBER_BYTES, 12]), st.binary(max_size=40)), max_size=80))
def test_any_datagrams_give_a_verdict_of_the_closed_set(answers: list[tuple[int, bytes]]) -> None:
    verdict, _, took_s = probe(datagrams("", *(Mirror(size, data) for size, data in answers), Pause(9.0)))
    assert verdict.reason in {Reason.L7OK, Reason.L7STS, Reason.L7RSP, Reason.L7TOUT}
    assert len(verdict.received.encode()) <= DETAIL_MAX_BYTES
    assert verdict.received.isprintable()
    assert took_s <= 3.0 + 1e-6
