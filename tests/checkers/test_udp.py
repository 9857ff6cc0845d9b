"""UDP_CHECK against scripted servers on virtual time."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from checkers import udp
from checkers.kit.api import DETAIL_MAX_BYTES, DeadlinePassed, ProbeError, Reason, Stream, Target, Verdict
from checkers.kit.favours import NO_FAVOURS
from checkers.kit.options import Json
from tests.fakes.behaviours import Behaviour, Connect, Mirror, Pause, Send
from tests.fakes.names import datagrams
from tests.fakes.network import FakeDialer, FakeNetwork
from tests.fakes.server import FakeServer

TARGET = Target("192.168.100.20", 514)


def probe(behaviour: Behaviour, **options: Json) -> tuple[Verdict, FakeServer, float]:
    """Probe once; return the verdict, the server and how long it took."""

    async def main() -> tuple[Verdict, FakeServer, float]:
        network = FakeNetwork()
        server = network.udp_server(TARGET.address, TARGET.port, behaviour)
        start = trio.current_time()
        verdict = await udp.check(TARGET, udp.prepare(options), network.dialer(3.0))
        assert server.open == 0
        return verdict, server, trio.current_time() - start

    return trio.run(main, clock=MockClock(autojump_threshold=0))


def replying(data: bytes) -> Behaviour:
    return datagrams("", Send(data))


def test_the_payload_is_sent_once_or_32_bytes_without_one() -> None:
    assert [asked.data for asked in probe(datagrams(""), payload="00ff10")[1].requests] == [b"\x00\xff\x10"]
    (asked,) = probe(datagrams(""))[1].requests
    assert len(asked.data) == 32


def test_silence_is_a_success_after_the_whole_time_limit_unless_a_reply_is_required() -> None:
    verdict, _, took_s = probe(datagrams(""))
    assert (verdict.reason, verdict.detail) == (Reason.L4OK, "no error came back")
    assert took_s == pytest.approx(3.0)
    for pattern in ("", "ff"):
        verdict, _, took_s = probe(datagrams(""), require_reply=pattern)
        assert (verdict.reason, verdict.detail) == (Reason.L7TOUT, "no complete answer within 3 s")
        assert took_s == pytest.approx(3.0)


@pytest.mark.parametrize("options", [{}, {"require_reply": ""}])
@pytest.mark.parametrize("data", [b"", b"x", b"x" * 1000])
def test_without_a_pattern_any_reply_ends_the_probe_with_success(data: bytes, options: dict[str, Json]) -> None:
    verdict, _, took_s = probe(replying(data), **options)
    assert (verdict.reason, verdict.detail) == (Reason.L7OK, f"reply of {len(data)} bytes")
    assert took_s < 0.1


@pytest.mark.parametrize("options", [{}, {"require_reply": ""}, {"require_reply": "ff"}])
def test_a_closed_port_is_a_failure_at_once(options: dict[str, Json]) -> None:
    verdict, _, took_s = probe(datagrams("", connect=Connect.REFUSE), **options)
    assert (verdict.reason, verdict.detail) == (Reason.L4CON, "connection refused")
    assert took_s < 0.1


@pytest.mark.parametrize(
    ("data", "options", "complaint"),
    [
        (b"\x12\x34", {"require_reply": "1234"}, ""),
        (b"\x12\x34\x56", {"require_reply": "1234"}, ""),
        (b"\x12\x34", {"require_reply": "x2x4"}, ""),
        (b"\xf2\x04", {"require_reply": "x2x4"}, ""),
        (b"\x13\x34", {"require_reply": "x2x4"}, "reply of 2 bytes does not begin as require_reply wants"),
        (b"\x12", {"require_reply": "1234"}, "reply of 1 bytes, wanted at least the 2 of require_reply"),
        (b"", {"require_reply": "xx"}, "reply of 0 bytes, wanted at least the 1 of require_reply"),
        (b"ab", {"require_reply": "61", "min_reply_length": 3}, "reply of 2 bytes, wanted 3 to 255"),
        (b"abc", {"require_reply": "61", "min_reply_length": 3, "max_reply_length": 3}, ""),
        (b"abcd", {"require_reply": "61", "max_reply_length": 3}, "reply of 4 bytes, wanted 0 to 3"),
        (b"a" * 255, {"require_reply": "61"}, ""),
        (b"a" * 256, {"require_reply": "61"}, "reply of 256 bytes, wanted 0 to 255"),
        (b"ab", {"require_reply": "", "min_reply_length": 3}, ""),
        (b"ab", {"min_reply_length": 3}, ""),
        (b"ab", {"min_reply_length": 300}, ""),
    ],
    ids=str,
)
def test_with_a_pattern_beginning_and_length_must_fit(data: bytes, options: dict[str, Json], complaint: str) -> None:
    verdict, _, _ = probe(replying(data), **options)
    if complaint:
        assert (verdict.reason, verdict.detail) == (Reason.L7BODY, complaint)
    else:
        assert verdict.reason is Reason.L7OK


def test_lateness_of_our_own_spoils_only_a_required_reply() -> None:
    class LateDatagrams:
        async def send(self, _data: bytes) -> None:
            await trio.lowlevel.checkpoint()

        async def receive(self) -> bytes:
            await trio.lowlevel.checkpoint()
            raise DeadlinePassed("we were away", connected=True, late=True)

        def close(self) -> None:
            pass

    class LateDialer(FakeDialer):
        def __init__(self) -> None:
            super().__init__(FakeNetwork(), 3.0, NO_FAVOURS)

        async def connect(self, target: Target, first: bytes = b"") -> Stream:  # noqa: ARG002  the shape of a dialer
            raise AssertionError("UDP_CHECK opens no TCP connection")

        async def connect_udp(self, _target: Target) -> LateDatagrams:
            return LateDatagrams()

        def close(self) -> None:
            pass

    async def main() -> list[Reason]:
        return [
            (await udp.check(TARGET, udp.prepare(options), LateDialer())).reason
            for options in ({}, {"require_reply": ""})
        ]

    assert trio.run(main) == [Reason.L4OK, Reason.LATE]


def test_our_own_trouble_leaves_as_the_dialers_error() -> None:
    with pytest.raises(ProbeError, match="too many open files") as caught:
        probe(datagrams("", connect=Connect.NO_DESCRIPTOR))
    assert caught.value.reason is Reason.LOCAL


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"payload": "0"}, "payload must be hexadecimal digits in pairs"),
        ({"payload": "zz"}, "payload must be hexadecimal digits in pairs"),
        ({"payload": "0x"}, "payload must be exact"),
        ({"payload": "00" * 65_508}, "payload has 65508 bytes; a datagram holds 65507"),
        ({"require_reply": "0"}, "require_reply must be hexadecimal digits in pairs"),
        ({"require_reply": "00" * 9, "max_reply_length": 8}, "require_reply has 9 bytes, more than max_reply_length 8"),
        ({"require_reply": "00", "min_reply_length": 300}, "min_reply_length 300 is above max_reply_length 255"),
    ],
)
def test_options_that_cannot_work_are_refused_with_the_reason(options: dict[str, Json], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        udp.prepare(options)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.binary(max_size=300)), max_size=5),
    st.sampled_from([None, "", "xx", "0x", "76697065"]),
)
def test_any_datagrams_give_a_verdict_of_the_closed_set(answers: list[tuple[int, bytes]], pattern: str | None) -> None:
    options: dict[str, Json] = {} if pattern is None else {"require_reply": pattern}
    verdict, _, took_s = probe(datagrams("", *(Mirror(size, data) for size, data in answers), Pause(9.0)), **options)
    assert verdict.reason in {Reason.L4OK, Reason.L7OK, Reason.L7BODY, Reason.L7TOUT}
    assert len(verdict.received.encode()) <= DETAIL_MAX_BYTES
    assert verdict.received.isprintable()
    assert took_s <= 3.0 + 1e-6
