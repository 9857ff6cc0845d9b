"""Glances over TLS on real sockets: what they recognise, and what is handed to the task of the job."""

from __future__ import annotations

import errno
import select
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest
import trio

from checkers import ssl as ssl_get
from checkers.kit.api import ConnectionLost, ProbeError, Reason, Target, Verdict
from checkers.kit.certificate import expires_at
from checkers.kit.connection import Connection
from checkers.kit.dial import Network
from checkers.kit.dialer import SocketDialer
from checkers.kit.timer import Timer
from checkers.kit.tls import Engine
from checkers.kit.tls import context_of as context_of_ours
from tests.checkers.glancing import at_a_glance
from tests.fakes.tls import AUTHORITY_FILE, certificate_file, context_of

Secure: TypeAlias = trio.SSLStream[trio.SocketStream]
GOOD_ENDS = expires_at(
    ssl.PEM_cert_to_DER_cert(certificate_file("good").read_text().partition("-----END EC PRIVATE KEY-----\n")[2])
)
HEAD = b"HTTP/1.1 200 OK\r\nDate: Sat, 28 Nov 2026 17:00:0%d GMT\r\nContent-Length: 6\r\n\r\n"


class Server:
    """Answers whoever comes over TLS, with another Date each time; `connections` counts them, `asked` has all that each said."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.body: bytes | None = b"hello\n"  # None: ends without an answer
        self.end: Callable[[Secure], Awaitable[object]] = Secure.aclose
        self.head = HEAD
        self.connections = 0
        self.asked: list[bytes] = []

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        secure = trio.SSLStream(stream, self.context, server_side=True, https_compatible=True)
        try:
            number = len(self.asked)
            self.asked.append(bytes(await secure.receive_some()))
            if self.body is None:
                await self.end(secure)
                return
            await secure.send_all(self.head % (self.connections % 10))
            await secure.send_all(self.body)
            while more := await secure.receive_some():  # until the client resets
                self.asked[number] += more
        except (trio.BrokenResourceError, ssl.SSLError):
            pass


Story = Callable[[SocketDialer, Target, Server], Awaitable[None]]


def run(story: Story, context: ssl.SSLContext | None = None) -> None:
    async def main() -> None:
        timer, server = Timer(), Server(context or context_of("good"))
        network = Network(timer)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
                nursery.start_soon(trio.serve_listeners, server.serve, [listener])
                nursery.start_soon(timer.run)
                nursery.start_soon(network.run)
                dial = network.dialer(3.0)
                await story(dial, Target("127.0.0.1", listener.socket.getsockname()[1]), server)
                dial.close()
                assert network.connections == {}
                assert network.gate.busy == {}
                nursery.cancel_scope.cancel()

    trio.run(main)


def urls(**options: object) -> tuple[ssl_get.SecureUrl, ...]:
    prepared = ssl_get.prepare({"url": [{"path": "/"}], **options})  # type: ignore[dict-item]  # a test's short hand
    assert isinstance(prepared, tuple)
    return prepared


async def probe(dial: SocketDialer, target: Target, prepared: tuple[ssl_get.SecureUrl, ...]) -> Verdict:
    """Probe in a task."""
    verdict = await ssl_get.check(target, prepared, dial)
    dial.rest()
    return verdict


async def glanced(dial: SocketDialer, target: Target, prepared: tuple[ssl_get.SecureUrl, ...]) -> Verdict | None:
    glance = ssl_get.glance(target, prepared)
    assert glance is not None
    return await at_a_glance(glance, target, dial)


def test_the_answer_of_last_time_is_recognised_and_the_very_verdict_of_last_time_comes_of_it() -> None:
    async def story(dial: SocketDialer, target: Target, server: Server) -> None:
        for options in ({}, {"ca": AUTHORITY_FILE.read_text()}):
            prepared = urls(**options)
            verdict = await probe(dial, target, prepared)
            assert verdict.expires_at > 0
            for _ in range(3):
                assert await glanced(dial, target, prepared) is verdict
        assert server.connections == 8
        assert len(set(server.asked)) == 1

    run(story)


def test_what_is_not_recognised_is_looked_at_on_the_same_connection_and_nothing_is_asked_twice() -> None:
    async def story(dial: SocketDialer, target: Target, server: Server) -> None:
        prepared = urls()
        assert (await probe(dial, target, prepared)).ok
        server.head = HEAD.replace(b"200", b"503")
        assert await glanced(dial, target, prepared) is None
        verdict = await probe(dial, target, prepared)
        assert (verdict.reason, verdict.detail) == (Reason.L7STS, "HTTP 503, wanted 200-299")
        assert server.connections == 2
        assert len(server.asked) == 2

    run(story)


def test_a_bug_in_what_a_glance_speaks_through_is_for_the_task_to_find(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("a bug")

    async def story(dial: SocketDialer, target: Target, server: Server) -> None:
        prepared = urls()
        await probe(dial, target, prepared)
        monkeypatch.setattr(ssl_get, "Engine", broken)
        assert await glanced(dial, target, prepared) is None
        assert (await probe(dial, target, prepared)).ok
        assert server.connections == 2

    run(story)


def test_what_was_said_at_a_glance_is_said_no_more_and_then_all_is() -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = context_of("good").wrap_bio(incoming, outgoing, server_side=True)
    engine = Engine(context_of_ours(verify=False, ca=""), None, words=b"GET", ends=GOOD_ENDS)
    incoming.write(engine.hello())
    with pytest.raises(ssl.SSLWantReadError):
        theirs.do_handshake()
    assert engine.take(outgoing.read()) == b""
    assert engine.to_say()
    assert [(engine.write(data), bool(engine.to_say())) for data in (b"GET", b"GET", b"more")] == [
        (3, False),
        (3, True),
        (4, True),
    ]


ENDS: dict[str, Callable[[Secure], Awaitable[object]]] = {
    "by the book": Secure.aclose,
    "abruptly": lambda secure: secure.transport_stream.aclose(),
    "with a farewell, and keeps the connection": Secure.unwrap,
}


@pytest.mark.parametrize("end", ENDS)
def test_a_server_that_ends_without_an_answer_has_ended_for_the_task_too(end: str) -> None:
    async def story(dial: SocketDialer, target: Target, server: Server) -> None:
        prepared = urls()
        await probe(dial, target, prepared)
        server.body, server.end = None, ENDS[end]
        with trio.fail_after(1.5):  # half the time limit
            assert await glanced(dial, target, prepared) is None
        at_a_second_look = await probe(dial, target, prepared)
        assert server.connections == 2
        assert at_a_second_look.reason is Reason.L7RSP
        assert at_a_second_look == await probe(dial, target, prepared)

    run(story)


def test_another_certificate_is_told_by_the_task_which_says_what_the_glance_did_not() -> None:
    async def story(dial: SocketDialer, target: Target, server: Server) -> None:
        prepared = urls()
        before = await probe(dial, target, prepared)
        server.context = context_of("expired")
        assert await glanced(dial, target, prepared) is None
        after = await probe(dial, target, prepared)
        assert after.ok
        assert after.expires_at < before.expires_at
        assert (server.connections, len(set(server.asked))) == (2, 1)
        assert await glanced(dial, target, prepared) is after

    run(story)


def test_a_certificate_that_is_refused_is_refused_once_and_in_the_same_words() -> None:
    async def story(dial: SocketDialer, target: Target, server: Server) -> None:
        prepared = urls(ca=AUTHORITY_FILE.read_text())
        await probe(dial, target, prepared)
        server.context = context_of("expired")
        assert await glanced(dial, target, prepared) is None
        words = []
        for _ in range(2):
            try:
                await probe(dial, target, prepared)
            except ProbeError as error:
                words.append(str(error))
            dial.rest()
        assert words[0] == words[1] == "TLS handshake: certificate refused: certificate has expired"
        assert server.connections == 3

    run(story)


def test_a_chain_too_long_for_one_gulp_is_for_the_task_which_finds_all_of_it(tmp_path: Path) -> None:
    good, chain = certificate_file("good").read_text(), AUTHORITY_FILE.read_text() * 30
    (tmp_path / "long.pem").write_text(good + chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "long.pem")

    async def story(dial: SocketDialer, target: Target, server: Server) -> None:
        prepared = urls()
        verdict = await probe(dial, target, prepared)
        assert await glanced(dial, target, prepared) is None
        assert await probe(dial, target, prepared) is verdict
        assert server.connections == 2

    run(story, context)


class Narrow:
    """A socket that takes some bytes and then none, or breaks."""

    def __init__(self, *takes: int | OSError) -> None:
        self.takes = list(takes)
        self.said = b""

    def send(self, data: bytes) -> int:
        take = self.takes.pop(0)
        if isinstance(take, OSError):
            raise take
        self.said += data[:take]
        return min(take, len(data))


@pytest.mark.parametrize("takes", [(3, 100), (BlockingIOError(), 100)], ids=["some", "none"])
def test_what_a_glance_could_not_say_the_task_says_first(takes: tuple[int | OSError, ...]) -> None:
    async def story(dial: SocketDialer, target: Target, server: Server) -> None:
        del server
        connection = await dial.connect(target)
        assert isinstance(connection, Connection)
        real, connection._sock = connection._sock, Narrow(*takes)  # type: ignore[assignment]  # as far as it is used
        assert not connection.go_on(b"finished", lambda: None)
        await connection.opened()
        assert connection._sock.said == b"finished"  # type: ignore[union-attr]
        connection._sock = real

    run(story)


@pytest.mark.parametrize("what", ["_ended", "_events"])
def test_a_glance_does_not_wait_for_what_the_network_told_already(what: str) -> None:
    async def story(dial: SocketDialer, target: Target, server: Server) -> None:
        del server
        connection = await dial.connect(target)
        assert isinstance(connection, Connection)
        assert connection.go_on(b"", lambda: None)
        setattr(connection, what, select.EPOLLIN)
        assert not connection.go_on(b"", lambda: None)

    run(story)


def test_a_connection_that_broke_under_a_glance_is_broken_for_the_task() -> None:
    async def story(dial: SocketDialer, target: Target, server: Server) -> None:
        del server
        connection = await dial.connect(target)
        assert isinstance(connection, Connection)
        real, connection._sock = connection._sock, Narrow(ConnectionResetError(errno.ECONNRESET, ""))  # type: ignore[assignment]
        assert not connection.go_on(b"finished", lambda: None)
        await connection.opened()
        with pytest.raises(ConnectionLost, match="connection reset"):
            await connection.receive()
        connection._sock = real

    run(story)
