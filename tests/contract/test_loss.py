"""What Linux does about lost packets, packet by packet (tests.fakes.loss)."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable

import pytest
import trio
from trio.testing import MockClock

from checkers.kit.api import Target
from checkers.kit.timer import Timer
from checkers.kit.watch import News
from tests.fakes.behaviours import End, Pause, Reset, Send, lasting, refuse
from tests.fakes.loss import Wire
from tests.fakes.network import FakeNetwork
from tests.fakes.server import PATIENCE_S, FakeServer


class Fate(random.Random):
    """Packets are lost as it is written: "x" is a lost one; all after the last one arrive."""

    def __init__(self, fates: Iterable[str]) -> None:
        super().__init__(1)
        self._fates = itertools.chain(fates, itertools.repeat("."))

    def random(self) -> float:
        return 0.0 if next(self._fates) == "x" else 1.0


def wire(fates: str) -> Wire:
    return Wire(0.5, Fate(fates))


@pytest.mark.parametrize(
    ("fates", "late_s"),
    [
        ("", 0.0),
        ("x", 1.0),  # the SYN
        ("xx", 3.0),
        ("xxx", 7.0),
        (".x", 1.0),  # the SYN-ACK: both sides send again
        (".xx", 1.0),  # the server's is lost again, the client's SYN is answered
        (".xxx", 3.0),
        (".xx.x.", 3.0),
        ("x.x", 2.0),  # the server sends its own again, a second after the first
    ],
)
def test_a_lost_syn_is_sent_again_after_one_second_and_three_and_its_answer_too(fates: str, late_s: float) -> None:
    assert wire(fates).connected_s() == late_s


def test_a_refusal_is_made_anew_for_each_syn() -> None:
    assert [wire(fates).refused_s() for fates in ("", "x", ".x", ".xx", ".x.x")] == [0.0, 1.0, 1.0, 3.0, 3.0]


def test_who_loses_every_packet_never_arrives() -> None:
    dead = Wire(1.0)
    assert [dead.connected_s(), dead.refused_s(), dead.delivered_s()] == [math.inf] * 3


@pytest.mark.parametrize(("fates", "late_s"), [("", 0.0), ("x", 0.2), ("xx", 0.6), ("xxx", 1.4)])
def test_data_are_sent_again_after_a_fifth_of_a_second_and_twice_as_long_each_time(fates: str, late_s: float) -> None:
    assert wire(fates).delivered_s() == pytest.approx(late_s)


def test_many_bytes_are_as_late_as_the_latest_of_their_packets() -> None:
    assert wire("..x.xx").delivered_s(5 * 1460) == pytest.approx(0.6)
    assert wire(".....x").delivered_s(5 * 1460) == 0.0


def test_a_connection_ends_when_two_signs_of_life_in_a_row_are_lost_and_not_before() -> None:
    assert wire("x").heard_s(1.0, 3.0) == (60.0, False)
    assert wire("x..x").heard_s(1.0, 3.0)[1] is False, "lost, heard, lost"
    assert wire("xx").heard_s(1.0, 3.0) == (3.0, True)
    assert wire("...." + ".x" + "x").heard_s(1.0, 3.0) == (5.0, True), "heard after 1 s and 2 s"


def test_nothing_overtakes_and_a_pause_of_the_server_hides_a_repetition() -> None:
    said, more = Send(b"a"), Send(b"b")
    assert list(wire("x.").travelled([said, more, End()])) == [Pause(0.2), said, more, End()]
    assert list(wire("x.").travelled([said, Pause(1.0), more])) == [Pause(0.2), said, Pause(0.8), more]
    assert list(wire(".x").travelled([said, Reset()])) == [said, Pause(0.2), Reset()]
    assert list(wire("").travelled([said, Pause(math.inf)])) == [said, Pause(math.inf)]


def test_packets_are_counted() -> None:
    counted = wire("x.x")
    counted.connected_s()
    assert (counted.sent, counted.lost) == (4, 2)


async def closed(network: FakeNetwork, server: FakeServer) -> list[bool]:
    """Connect and close with a reset; return whether somebody else has the only place afterwards, and after the server's patience."""
    server.places = 1
    dialer = network.dialer(2.0)
    (await dialer.connect(Target(server.address, server.port))).close()
    served: list[bool] = []
    server.enter("somebody else", lambda: served.append(True))
    found = [bool(served)]
    await trio.sleep(PATIENCE_S + 1)
    return [*found, bool(served)]


async def answered_s(network: FakeNetwork, server: FakeServer) -> list[float]:
    """Ask twice on one connection; return how long either answer takes."""
    took_s = []
    stream = await network.dialer(10.0).connect(Target(server.address, server.port))
    for _ in range(2):
        began = trio.current_time()
        await stream.send(b"GET / HTTP/1.1\r\n\r\n")
        await stream.receive()
        took_s.append(round(trio.current_time() - began, 1))
    return took_s


@pytest.mark.parametrize(("fates", "took_s"), [("..x", [0.2, 0.0]), ("x..x", [3.0, 0.0]), ("x...x..", [3.0, 0.0])])
def test_the_first_data_after_a_handshake_that_lost_something_wait_longer(fates: str, took_s: list[float]) -> None:
    network = FakeNetwork()
    network.wire = wire(fates)
    server = network.server("192.0.2.1", 80)
    server.behaviour = lasting()
    assert trio.run(answered_s, network, server, clock=MockClock(autojump_threshold=0)) == took_s


@pytest.mark.parametrize(("fates", "free"), [("", [True, True]), ("..x", [False, True])])
def test_a_lost_reset_costs_the_server_a_place_for_as_long_as_it_has_patience(fates: str, free: list[bool]) -> None:
    network = FakeNetwork()
    network.wire = wire(fates)
    assert trio.run(closed, network, network.server("192.0.2.1", 80), clock=MockClock(autojump_threshold=0)) == free


def held(fates: str, limit_s: float = 1.5, *, then_refuse: bool = False) -> list[tuple[float, News]]:
    """Hold a connection for a while; return what was told of it and when."""
    told: list[tuple[float, News]] = []

    async def story() -> None:
        network, timer = FakeNetwork(), Timer(tick_s=0.001)
        network.wire = wire(fates)
        server, begun = network.server("192.0.2.1", 80), trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timer.run)
            watch, target = network.watch(timer), Target("192.0.2.1", 80)
            watch.hold(target, limit_s, 1.0, lambda news: told.append((round(trio.current_time() - begun, 1), news)))
            await trio.sleep(10)
            if then_refuse:
                server.behaviour = refuse()
            await trio.sleep(10)
            nursery.cancel_scope.cancel()

    trio.run(story, clock=MockClock(autojump_threshold=0))
    return told


def test_a_sentinel_is_late_fails_or_is_lost_with_its_packets() -> None:
    assert held("") == [(0.0, News.CONNECTED)]
    assert held("x") == [(1.0, News.CONNECTED)]
    assert held("xx") == [(1.5, News.FAILED)]
    assert held("..xx") == [(0.0, News.CONNECTED), (3.0, News.LOST)]


def test_the_end_of_a_sentinel_is_told_later_when_it_is_lost() -> None:
    signs = ".." * 61
    assert held("", then_refuse=True)[1:] == [(10.0, News.ENDED)]
    assert held(signs + "x", then_refuse=True)[1:] == [(10.2, News.ENDED)]
