from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from checkers import ping
from checkers.kit.api import ProbeError, Reason, Target, Verdict
from tests.fakes.behaviours import Behaviour, Connect, Echo, Pause, Send, Step
from tests.fakes.network import FakeNetwork

HOSTS = [Target("192.168.100.20", 80), Target("fd00::20", 80)]
UNREACHABLE = Send(bytes([3, 1, 0, 0, 0, 0, 0, 0]) + bytes(20))


def verdict_of(target: Target, *answer: Step, connect: Connect = Connect.ACCEPT) -> Verdict:
    """Ping a host that answers so, with three seconds of time."""

    async def main() -> Verdict:
        network = FakeNetwork()
        host = network.echo_server(target.address, Behaviour("host", connect, answer=answer, udp=True))
        verdict = await ping.check(target, ping.prepare({}), network.dialer(3.0))  # type: ignore[func-returns-value]
        assert host.open == 0
        return verdict

    return trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("target", HOSTS, ids=str)
def test_a_host_that_sends_the_same_bytes_back_is_up(target: Target) -> None:
    assert verdict_of(target, Echo()).reason is Reason.L4OK


@pytest.mark.parametrize("target", HOSTS, ids=str)
def test_messages_of_others_are_passed_over(target: Target) -> None:
    assert verdict_of(target, UNREACHABLE, Send(b""), Send(b"\x00"), Echo()).reason is Reason.L4OK


@pytest.mark.parametrize("target", HOSTS, ids=str)
def test_our_own_request_that_comes_back_is_no_reply(target: Target) -> None:
    request_as_it_was = Send(bytes([128 if target.is_ipv6 else 8]) + bytes(135))
    assert verdict_of(target, request_as_it_was, Pause(9)).reason is Reason.L4TOUT


def test_a_silent_host_is_down_when_the_time_is_over() -> None:
    assert verdict_of(HOSTS[0], Pause(9)) == Verdict(
        Reason.L4TOUT, "no echo reply in time", sent="", received="", duration_s=0.0
    )


def test_an_error_of_the_network_is_a_failure() -> None:
    assert verdict_of(HOSTS[0], connect=Connect.UNREACHABLE).reason is Reason.L4CON


def test_a_flood_of_other_messages_ends_in_a_failure() -> None:
    assert verdict_of(HOSTS[0], *[UNREACHABLE] * 200).reason is Reason.L7RSP


def test_a_socket_that_cannot_be_had_leaves_as_the_dialers_error() -> None:
    with pytest.raises(ProbeError, match="too many open files") as caught:
        verdict_of(HOSTS[0], connect=Connect.NO_DESCRIPTOR)
    assert caught.value.reason is Reason.LOCAL


def test_the_checksum_is_that_of_rfc_1071() -> None:
    assert ping.checksum(bytes.fromhex("0001f203f4f5f6f7")) == ~0xDDF2 & 0xFFFF
    message = bytes.fromhex("0800") + b"\0\0" + bytes(range(124))
    summed = message[:2] + ping.checksum(message).to_bytes(2) + message[4:]
    assert ping.checksum(summed) == 0
