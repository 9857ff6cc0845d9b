"""http_keepalive: a connection serves several probes, and whatever becomes of it says nothing against its server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from checkers.kit.api import CheckerType, Reason, Target, Verdict, load
from checkers.kit.beside import look
from checkers.kit.job import Job
from checkers.kit.options import Json
from tests.fakes.behaviours import (
    Behaviour,
    End,
    Pause,
    Reset,
    Send,
    answer_of,
    chunked,
    hang,
    healthy,
    lasting,
    refuse,
    status,
)
from tests.fakes.network import FakeDialer, FakeNetwork
from tests.fakes.server import FakeServer

TARGET = Target("192.168.100.20", 80)
LIMIT_S = 2.0
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n3\r\nlo\n\r\n0\r\n\r\n"


class World:
    """One server, one job that keeps connections, and its probes, ten seconds apart."""

    def __init__(self, behaviour: Behaviour, keyword: str, options: dict[str, Json]) -> None:
        self.network = FakeNetwork()
        self.server: FakeServer = self.network.server(TARGET.address, TARGET.port)
        self.server.behaviour = behaviour
        self.dialer: FakeDialer = self.network.dialer(LIMIT_S)
        self._checker: CheckerType = load(keyword)
        self._prepared = self._checker.prepare({"url": [{"path": "/"}], "http_keepalive": 4, **options})

    async def probe(self) -> Verdict:
        try:
            return await self._checker.check(TARGET, self._prepared, self.dialer)
        finally:
            self.dialer.rest()
            await trio.sleep(10)

    async def reasons(self, count: int) -> list[str]:
        return [(await self.probe()).reason.name for _ in range(count)]


def play(
    behaviour: Behaviour, story: Callable[[World], Awaitable[None]], keyword: str = "HTTP_GET", **options: Json
) -> World:
    world = World(behaviour, keyword, options)

    async def main() -> None:
        await story(world)
        world.dialer.close()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert world.server.open == 0
    return world


async def eight(world: World) -> None:
    assert await world.reasons(8) == ["L7OK"] * 8


@pytest.mark.parametrize("keyword", ["HTTP_GET", "SSL_GET"])
def test_every_fourth_probe_has_a_fresh_connection(keyword: str) -> None:
    behaviour = lasting() if keyword == "HTTP_GET" else lasting().over_tls()
    world = play(behaviour, eight, keyword)
    assert (world.server.connections, len(world.server.requests)) == (2, 8)


def test_without_the_keyword_every_probe_has_a_fresh_connection() -> None:
    assert play(lasting(), eight, http_keepalive=None).server.connections == 8


@pytest.mark.parametrize("protocol", ["1.0", "1.0C", "1.1"])
def test_the_request_asks_for_it_whatever_its_version(protocol: str) -> None:
    world = play(lasting(), eight, http_protocol=protocol)
    assert all(b"\r\nConnection: keep-alive\r\n" in asked.data for asked in world.server.requests)
    assert not any(b"close" in asked.data for asked in world.server.requests)


@pytest.mark.parametrize(
    ("behaviour", "connections"),
    [
        (healthy(), 8),  # ends after each answer
        (lasting(b"hello\n", "Connection: close"), 8),
        (Behaviour("no length", answer=(Send(b"HTTP/1.1 200 OK\r\n\r\nhello"), End())), 8),
        (Behaviour("old", answer=(Send(answer_of(200, b"").replace(b"/1.1", b"/1.0")),), lasting=True), 8),
        (Behaviour("too much", answer=(Send(answer_of(200, b"") + b"HTTP/1.1 500 Oh\r\n"),), lasting=True), 8),
        (Behaviour("chunks", answer=(Send(CHUNKS),), lasting=True), 2),
        (Behaviour("pieces", answer=(Send(CHUNKS[:50]), Pause(0.1), Send(CHUNKS[50:])), lasting=True), 2),
        (Behaviour("none", answer=(Send(b"HTTP/1.1 204 None\r\n\r\n"),), lasting=True), 2),
        (chunked(), 8),  # hangs after the first answer: the second request times out, and a fresh one is made
    ],
    ids=lambda value: value.name if isinstance(value, Behaviour) else str(value),
)
def test_only_an_answer_that_is_whole_and_lets_the_connection_live_keeps_it(
    behaviour: Behaviour, connections: int
) -> None:
    assert play(behaviour, eight).server.connections == connections


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "GET"])
def test_an_answer_to_head_has_no_body_whatever_its_head_says(method: str) -> None:
    behaviour = lasting()
    if method == "HEAD":
        behaviour = Behaviour("head", answer=(Send(answer_of(200, b"hello\n")[:-6]),), lasting=True)
    world = play(behaviour, eight, url=[{"path": "/", "method": method}])
    assert world.server.connections == 2


def test_a_server_that_ends_idle_connections_is_well() -> None:
    async def story(world: World) -> None:
        world.server.idle_limit_s = 5
        await eight(world)

    assert play(lasting(), story).server.connections == 8


@pytest.mark.parametrize("end", [End(), Reset()])
def test_a_connection_that_ends_as_it_is_asked_is_replaced_in_the_same_probe(end: End | Reset) -> None:
    once = Behaviour("once", answer=(Send(answer_of(200, b"hello\n")),), more=((end,),))
    assert play(once, eight).server.connections == 8


def test_a_kept_connection_on_which_nothing_comes_is_no_evidence_and_a_fresh_one_is() -> None:
    mute = Behaviour("mute", answer=(Send(answer_of(200, b"hello\n")),), more=((Pause(60.0),),))
    assert play(mute, eight).server.connections == 8  # the flow was forgotten on the way, the server lives

    async def story(world: World) -> None:
        assert await world.reasons(2) == ["L7OK", "L7OK"]
        world.server.behaviour = hang()
        assert await world.reasons(1) == ["L7TOUT"]

    play(lasting(), story)


def test_an_answer_that_began_on_a_kept_connection_is_evidence() -> None:
    cut = Behaviour("cut", answer=(Send(answer_of(200, b"hello\n")),), more=((Send(b"HTTP/1.1 2"), Reset()),))

    async def story(world: World) -> None:
        assert await world.reasons(2) == ["L7OK", "L7RSP"]
        assert world.server.connections == 1

    play(cut, story)


def test_a_wrong_status_on_a_kept_connection_is_a_failure_and_the_next_probe_has_a_fresh_one() -> None:
    answers = ((Send(answer_of(503, b"")),), (Send(answer_of(200, b"")),))
    mixed = Behaviour("mixed", answer=(Send(answer_of(200, b"hello\n")),), more=answers)

    async def story(world: World) -> None:
        assert await world.reasons(2) == ["L7OK", "L7STS"]
        assert world.server.connections == 1
        assert await world.reasons(1) == ["L7OK"]
        assert world.server.connections == 2

    play(mixed, story)


def test_a_server_that_died_refuses_the_fresh_connection_and_is_down_by_that() -> None:
    async def story(world: World) -> None:
        await world.reasons(2)
        world.server.behaviour = refuse()
        with pytest.raises(Exception, match="refused"):
            await world.probe()
        world.server.behaviour = lasting()
        assert await world.reasons(1) == ["L7OK"]

    play(lasting(), story)


def test_all_urls_of_a_block_share_the_connection() -> None:
    world = play(lasting(), eight, url=[{"path": "/a"}, {"path": "/b"}, {"path": "/c"}])
    assert len(world.server.requests) == 24
    assert world.server.connections <= 6  # in each fourth probe the first url ends one, and another takes its place


def test_urls_with_different_names_over_tls_share_nothing() -> None:
    urls: list[Json] = [{"path": "/", "virtualhost": name} for name in ("one.example", "two.example")]

    async def story(world: World) -> None:
        assert await world.reasons(2) == ["L7OK", "L7OK"]

    world = play(lasting().over_tls(), story, "SSL_GET", url=urls, enable_sni=True)
    assert set(world.server.server_names) == {"one.example", "two.example"}
    assert world.server.connections == 4


def test_tls_is_ended_by_the_book_when_the_connection_is_not_kept_any_more() -> None:
    world = play(lasting().over_tls(), eight, "SSL_GET", tls_compliant=True)
    assert (world.server.connections, world.server.farewells) == (2, 2)


def test_the_end_of_the_certificate_is_told_by_every_probe_over_a_kept_connection() -> None:
    async def story(world: World) -> None:
        ends = {(await world.probe()).expires_at for _ in range(8)}
        assert len(ends) == 1
        assert ends.pop() > 0

    play(lasting().over_tls(), story, "SSL_GET")


def test_a_transcript_shows_a_fresh_connection() -> None:
    job = Job(1, "HTTP_GET", TARGET.address, TARGET.port, 6, 1, 1, LIMIT_S, 1)
    checker = load("HTTP_GET")

    async def story(world: World) -> None:
        await world.reasons(1)
        prepared = checker.prepare({"url": [{"path": "/"}], "http_keepalive": 4})
        seen = await look(job, lambda: (checker, prepared), world.network.dialer(LIMIT_S))
        assert seen.result is not None
        assert seen.result.reason is Reason.L7OK
        assert [step.kind.name for step in seen.steps] == ["CONNECTING", "CONNECTED", "SENT", "RECEIVED", "CLOSED"]
        assert world.server.connections == 2
        assert await world.reasons(1) == ["L7OK"]
        assert world.server.connections == 2  # the job's own goes on

    play(lasting(), story)


def test_a_body_is_looked_at_on_a_kept_connection_too() -> None:
    async def story(world: World) -> None:
        assert await world.reasons(3) == ["L7OK", "L7OK", "L7BODY"]

    wrong = ((Send(answer_of(200, b"hello\n")),), (Send(answer_of(200, b"world\n")),))
    world = play(
        Behaviour("changing", answer=(Send(answer_of(200, b"hello\n")),), more=wrong),
        story,
        url=[{"path": "/", "digest": "b1946ac92492d2347c6235b4d2611184"}],
    )
    assert world.server.connections == 1


def test_a_status_that_is_not_wanted_keeps_nothing() -> None:
    async def story(world: World) -> None:
        assert await world.reasons(3) == ["L7STS"] * 3

    assert play(status(404), story).server.connections == 3
