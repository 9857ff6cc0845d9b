"""Sockets that are used again: by whom, how often, and that no server notices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import trio

from checkers import http
from checkers.kit.api import ConnectFailed, Target, Verdict
from checkers.kit.dial import Network
from checkers.kit.dialer import SocketDialer
from checkers.kit.spares import SPARES_MAX
from checkers.kit.timer import Timer
from tests.checkers.kit.test_glance import ANSWER, glanced, until

URLS = http.urls_of({"url": [{"path": "/"}]})


class Server:
    """A listener, and what it saw of each connection: the port that it came from, and how it ended."""

    def __init__(self, host: str) -> None:
        self._host = host
        self.ports: list[int] = []
        self.ends: list[str] = []
        self.target = Target(host, 0)
        self.scope = trio.CancelScope()

    async def serve(self, task_status: trio.TaskStatus[None]) -> None:
        (listener,) = await trio.open_tcp_listeners(0, host=self._host)
        self.target = Target(self._host, listener.socket.getsockname()[1])
        with self.scope:
            await trio.serve_listeners(self._see, [listener], task_status=_Started(task_status))

    async def _see(self, stream: trio.SocketStream) -> None:
        await stream.receive_some()
        self.ports.append(stream.socket.getpeername()[1])
        await stream.send_all(ANSWER % 1)
        try:
            self.ends.append("end" if await stream.receive_some() == b"" else "data")
        except trio.BrokenResourceError:
            self.ends.append("reset")


class _Started:
    """Passes on that something has started, without saying what."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self._task_status = task_status

    def started(self, _: object = None) -> None:
        self._task_status.started()


async def looked_at(dial: SocketDialer, target: Target) -> Verdict | None:
    """Probe at a glance; return what came of it."""
    found = await glanced(dial, target, URLS)
    if found is not None:
        dial.rest()
    return found


async def acquaint(network: Network, target: Target) -> None:
    """Probe properly, so that the answer is known again."""
    dial = network.dialer(3.0)
    assert (await http.check(target, URLS, dial)).ok
    dial.close()


def played(story: Callable[[Network, list[Server]], Awaitable[None]], *hosts: str) -> list[Server]:
    """Play a story on a network, with a server at each host; return the servers."""
    servers = [Server(host) for host in hosts]

    async def main() -> None:
        timer = Timer()
        network = Network(timer)
        async with trio.open_nursery() as nursery:
            for server in servers:
                await nursery.start(server.serve)
            nursery.start_soon(timer.run)
            nursery.start_soon(network.run)
            for server in servers:
                await acquaint(network, server.target)
            await story(network, servers)
            with trio.fail_after(5):
                await until(lambda: all(len(server.ends) == len(server.ports) for server in servers))
            nursery.cancel_scope.cancel()

    trio.run(main)
    return servers


def test_a_socket_goes_from_probe_to_probe_whatever_the_server_and_each_sees_a_reset() -> None:
    async def story(network: Network, servers: list[Server]) -> None:
        spares = network.spares.of(servers[0].target)
        assert spares is not None
        for server in [*servers, *servers]:
            assert await looked_at(network.dialer(3.0), server.target) is not None
            (sock,) = spares
            spares_before = spares.copy()
            assert await looked_at(network.dialer(3.0), server.target) is not None
            assert spares == spares_before == [sock]
            assert not network.connections

    servers = played(story, "127.0.0.1", "127.0.0.2")
    for server in servers:
        assert server.ends == ["reset"] * 5, "of the first probe, too"
        assert len(set(server.ports)) == 5, "each is another connection to the server"


def test_a_server_that_went_is_found_with_a_socket_of_another_one() -> None:
    async def story(network: Network, servers: list[Server]) -> None:
        well, gone = servers
        dial = network.dialer(3.0)
        assert await looked_at(dial, well.target) is not None
        gone.scope.cancel()
        await trio.sleep(0.02)
        assert await looked_at(dial, gone.target) is None
        with pytest.raises(ConnectFailed, match="refused"):
            await dial.connect(gone.target)
        dial.close()
        assert network.spares.of(gone.target) == [], "what did not go well is closed"
        assert await looked_at(network.dialer(3.0), well.target) is not None

    played(story, "127.0.0.1", "127.0.0.2")


def test_a_socket_that_is_bound_is_not_used_again() -> None:
    async def story(network: Network, servers: list[Server]) -> None:
        bound = replace(servers[0].target, bind_address="127.0.0.9")
        await acquaint(network, bound)
        assert await looked_at(network.dialer(3.0), bound) is not None
        assert network.spares.of(bound) is None
        assert network.spares.of(servers[0].target) == []

    played(story, "127.0.0.1")


def test_only_so_many_are_kept() -> None:
    async def story(network: Network, servers: list[Server]) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(SPARES_MAX + 20):
                nursery.start_soon(looked_at, network.dialer(3.0), servers[0].target)
        spares = network.spares.of(servers[0].target)
        assert spares is not None
        assert len(spares) == SPARES_MAX
        assert not network.connections

    assert len(played(story, "127.0.0.1")[0].ports) == 1 + SPARES_MAX + 20
