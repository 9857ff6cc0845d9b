"""Dialers of many jobs at once, on real sockets: who has its fresh connection when, who waits at the gate, and what a glance takes."""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from types import FrameType

import pytest
import trio

from checkers import http
from checkers.kit.api import ConnectFailed, Target, Verdict
from checkers.kit.dial import Network
from checkers.kit.dialer import SocketDialer
from checkers.kit.gate import BURST_MAX
from checkers.kit.timer import Timer
from tests.checkers.kit.test_glance import glanced, until

ANSWER = b"HTTP/1.1 200 OK\r\nDate: Sat, 28 Nov 2026 17:00:00 GMT\r\nContent-Length: 6\r\n\r\nhello\n"
CALLS_MAX = 21
"""Most calls of Python for one glance on a kept connection, without what its worker makes of it: calls are most of what it costs."""


class Server:
    """Answers whoever comes; `connections` counts them."""

    def __init__(self) -> None:
        self.connections = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        try:
            while await stream.receive_some():
                await stream.send_all(ANSWER)
        except trio.BrokenResourceError:
            pass


def run(story: Callable[[Network, Target, Server], Awaitable[None]], *, watched: bool = True) -> None:
    """Play a story; `watched`: somebody waits for what the network tells."""

    async def main() -> None:
        timer, server = Timer(), Server()
        network = Network(timer)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=1000)
                nursery.start_soon(trio.serve_listeners, server.serve, [listener])
                nursery.start_soon(timer.run)
                if watched:
                    nursery.start_soon(network.run)
                await story(network, Target("127.0.0.1", listener.socket.getsockname()[1]), server)
                assert network.connections == {}
                assert (network.kept, network.gate.busy) == (0, {})
                nursery.cancel_scope.cancel()

    trio.run(main)


def urls(keep: int = 0) -> tuple[http.Url, ...]:
    prepared = http.prepare({"url": [{"path": "/"}], **({"http_keepalive": keep} if keep else {})})
    assert isinstance(prepared, tuple)
    return prepared


async def probe(dial: SocketDialer, target: Target, prepared: tuple[http.Url, ...]) -> None:
    """Probe in a task."""
    assert (await http.check(target, prepared, dial)).ok
    dial.rest()


def test_servers_that_came_up_together_do_not_have_their_fresh_connections_together() -> None:
    async def story(network: Network, target: Target, server: Server) -> None:
        prepared = urls(10)
        dialers = [network.dialer(3.0) for _ in range(30)]
        for dial in dialers:
            await probe(dial, target, prepared)
        fresh = []
        for _ in range(20):
            before = server.connections
            for dial in dialers:
                assert await glanced(dial, target, prepared) is not None
            fresh.append(server.connections - before)
        assert fresh == [3] * 20
        for dial in dialers:
            dial.close()

    run(story)


def test_after_a_failed_connection_a_dialer_takes_up_another_turn_of_its_own() -> None:
    async def story(network: Network, target: Target, server: Server) -> None:
        prepared, lives = urls(10), Counter[int]()
        for _ in range(10):
            dial = network.dialer(3.0)
            await probe(dial, target, prepared)
            kept = await dial.kept()
            if kept is not None:
                kept.close()
            with pytest.raises(ConnectFailed):
                await dial.connect(Target("127.0.0.9", 9))  # nobody is there
            dial.rest()
            await probe(dial, target, prepared)
            before, glances = server.connections, 0
            while server.connections == before:
                assert await glanced(dial, target, prepared) is not None
                glances += 1
            lives[glances] += 1
            dial.close()
        assert lives == Counter(range(1, 11))

    run(story)


def test_glances_wait_at_the_gate_in_turn_and_need_no_task_for_it() -> None:
    async def story(network: Network, target: Target, server: Server) -> None:
        del server
        prepared = urls()
        dialers = [network.dialer(3.0) for _ in range(3 * BURST_MAX)]
        await probe(dialers[0], target, prepared)
        glance, found, order = http.glance(target, prepared), dict[int, Verdict | None](), list[int]()
        assert glance is not None

        def done(number: int, verdict: Verdict | None, now: float) -> None:
            assert now <= trio.current_time()
            found[number] = verdict
            order.append(number)

        for number, dial in enumerate(dialers):
            dial.acquaint(target, glance, functools.partial(done, number))
            assert dial.glance(trio.current_time())
            assert len(network.gate.busy) <= BURST_MAX
        dialers[-1].close()  # its job is gone
        await until(lambda: len(found) == len(dialers) - 1)
        assert all(verdict is not None for verdict in found.values())
        for dial in dialers:
            dial.close()

    run(story)


def test_a_tick_hears_at_once_what_is_answered_within_a_moment() -> None:
    async def story(network: Network, target: Target, server: Server) -> None:
        del server
        glance, told = http.glance(target, urls()), list[Verdict | None]()
        assert glance is not None
        dial = network.dialer(3.0)
        dial.acquaint(target, glance, lambda verdict, _: told.append(verdict))

        def begin() -> None:
            assert dial.glance(trio.current_time())

        network.timer.call_at(trio.current_time() + 0.1, begin)
        await trio.sleep(0.3)
        # the connection stands, and the request is said: the server, which is a task of this loop, cannot answer meanwhile
        (connection,) = network.connections.values()
        assert connection.connected  # type: ignore[attr-defined]
        dial.close()

    run(story, watched=False)


def test_a_glance_takes_few_calls() -> None:
    async def story(network: Network, target: Target, server: Server) -> None:
        del server
        prepared, calls, told = urls(10), Counter[str](), list[Verdict | None]()
        dial = network.dialer(3.0)
        await probe(dial, target, prepared)
        assert await glanced(dial, target, prepared) is not None
        glance = http.glance(target, prepared)
        assert glance is not None
        dial.acquaint(target, glance, lambda verdict, _: told.append(verdict))

        def count(frame: FrameType, event: str, _: object) -> None:
            name = frame.f_code.co_filename
            if event == "call" and "/checkers/" in name and "/tests/" not in name:
                calls[frame.f_code.co_qualname] += 1

        sys.setprofile(count)
        try:
            assert dial.glance(trio.current_time())
            while not told:
                await trio.lowlevel.checkpoint()
        finally:
            sys.setprofile(None)
        for name in ("Network.look", "Timer.run", "Timer.set"):  # these serve many at once
            del calls[name]
        assert told[0] is not None
        assert 5 < calls.total() <= CALLS_MAX, calls
        dial.close()

    run(story)
