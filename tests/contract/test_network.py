"""The contract of the fake network: the same behaviours on real loopback sockets give the same verdicts.

Real time, but all cases at once: the suite lasts as long as its longest probe.
"""

from __future__ import annotations

import contextlib
import functools
import socket
from collections.abc import Awaitable, Callable

import trio

from checkers.kit.api import Reason, Target, Verdict, load
from checkers.kit.dial import Network
from checkers.kit.held import SocketWatch
from checkers.kit.schedule import LATE_MAX
from checkers.kit.timer import TICK_S, Timer
from checkers.kit.watch import News, Watch
from tests.checkers.behaviours import CASES, LIMIT_S, Case
from tests.checkers.glancing import verdict_with_a_glance
from tests.checkers.test_conformance import verdict_of
from tests.fakes.behaviours import (
    Behaviour,
    Connect,
    banner,
    blackhole,
    close_at_once,
    endless_noise,
    hang,
    refuse,
    reset_at_once,
)
from tests.fakes.network import FakeNetwork
from tests.fakes.played import serve, serve_datagrams

SLACK_S = 0.4
"""How late a real time-out may be on a busy machine, beside the tick."""


async def udp_target_of(case: Case, nursery: trio.Nursery) -> Target:
    """Start a real server of datagrams that behaves like the case."""
    server = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    refuses = case.behaviour.connect is Connect.REFUSE
    address = (
        "127.0.0.3" if refuses else "127.0.0.1"
    )  # where no server of another case may take the port that was given back
    await server.bind((address, 0))
    target = Target(address, server.getsockname()[1])
    if refuses:
        server.close()
    else:
        nursery.start_soon(serve_datagrams, case.behaviour, server)
    return target


async def target_of(case: Case, nursery: trio.Nursery, keep: list[socket.socket]) -> Target:
    """Start a real server that behaves like the case; `keep` holds sockets that must live as long as the test."""
    if case.behaviour.udp:
        return await udp_target_of(case, nursery)
    if case.behaviour.connect is Connect.ACCEPT:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, functools.partial(serve, case.behaviour), [listener])
        return Target("127.0.0.1", listener.socket.getsockname()[1])
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    keep.append(bound)
    target = Target("127.0.0.1", bound.getsockname()[1])
    if case.behaviour.connect is Connect.BLACKHOLE:  # a listener whose queue is full drops what comes
        bound.listen(0)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((target.address, target.port))
            keep.append(filler)
        await trio.sleep(0.05)
    return target


AT_ONCE = 40
"""So many are looked at at once: servers and probes share one processor here, which all of them would keep busy beyond LIMIT_S."""


def test_real_sockets_give_the_same_verdicts_as_the_fake_and_within_the_same_deadline() -> None:
    wrong: list[str] = []

    async def glance(network: Network, case: Case, target: Target) -> None:
        """The same at a glance, for whom the answer is new, and for whom it is not."""
        for keyword, options, wanted in case.flavours:
            for acquainted in (False, True):
                verdict = Verdict(Reason.LATE)
                for _ in range(LATE_MAX + 1):
                    if verdict.reason is Reason.LATE:
                        dial = network.dialer(LIMIT_S)
                        verdict = await verdict_with_a_glance(
                            load(keyword), options, target, dial, acquainted=acquainted
                        )
                if verdict.reason not in (wanted, Reason.LATE):
                    wrong.append(f"{case} {keyword} {options} at a glance: wanted {wanted.name}, got {verdict}")

    async def probe(network: Network, case: Case, target: Target) -> None:
        for keyword, options, wanted in case.flavours:
            for again in range(LATE_MAX, -1, -1):
                start = trio.current_time()
                mark = network.punctuality.mark(start)
                verdict = await verdict_of(load(keyword), options, target, network.dialer(LIMIT_S))
                end = trio.current_time()
                if verdict.reason is Reason.LATE and again:
                    continue  # this machine was away: as in the worker, no evidence
                if verdict.reason is Reason.LATE:
                    break  # this machine has so much else to do that nothing can be said
                took_s = end - start - network.punctuality.away_s(mark, end)
                if verdict.reason is not wanted or took_s > LIMIT_S + TICK_S + SLACK_S:
                    wrong.append(
                        f"{case} {keyword} {options}: wanted {wanted.name}, got {verdict} after {took_s:.2f} s"
                    )
                break

    turns = trio.CapacityLimiter(AT_ONCE)

    async def in_turn(
        look: Callable[[Network, Case, Target], Awaitable[None]], network: Network, case: Case, target: Target
    ) -> None:
        async with turns:
            await look(network, case, target)

    async def main() -> None:
        timer = Timer()
        network = Network(timer)
        keep: list[socket.socket] = []
        async with trio.open_nursery() as servers:
            servers.start_soon(timer.run)
            servers.start_soon(network.run)
            targets = [await target_of(case, servers, keep) for case in CASES]
            async with trio.open_nursery() as probes:
                for case, target in zip(CASES, targets, strict=True):
                    probes.start_soon(in_turn, probe, network, case, target)
                    if not case.behaviour.udp:
                        probes.start_soon(in_turn, glance, network, case, target)
            assert not network.connections
            servers.cancel_scope.cancel()
        for some in keep:
            some.close()

    trio.run(main)
    assert wrong == []


SENTINELS: dict[str, tuple[Behaviour, list[News]]] = {
    "stands": (hang(), [News.CONNECTED]),
    "has a banner": (banner(), [News.CONNECTED]),
    "is closed at once": (close_at_once(), [News.CONNECTED, News.ENDED]),
    "is reset": (reset_at_once(), [News.CONNECTED, News.ENDED]),
    "is talked to without end": (endless_noise(), [News.CONNECTED, News.NOISE]),
    "is refused": (refuse(), [News.REFUSED]),
    "gets no answer": (blackhole(), [News.FAILED]),
}
"""What a sentinel meets, and what is told of it."""


async def told_of(watch: Watch, target: Target) -> list[News]:
    """What is told of one sentinel within its limit and a little more."""
    told: list[News] = []
    held = watch.hold(target, LIMIT_S, 1, told.append)
    if isinstance(held, News):
        return [held]
    await trio.sleep(LIMIT_S + TICK_S + SLACK_S)
    held.close()
    held.close()
    return told


def test_sentinels_on_real_sockets_are_told_the_same_of_as_the_fakes() -> None:
    async def main() -> tuple[dict[str, list[News]], dict[str, list[News]]]:
        timer = Timer()
        network, fake = Network(timer), FakeNetwork()
        keep: list[socket.socket] = []
        real: dict[str, list[News]] = {}
        faked: dict[str, list[News]] = {}

        async def note(into: dict[str, list[News]], name: str, watch: Watch, target: Target) -> None:
            into[name] = await told_of(watch, target)

        async with trio.open_nursery() as servers:
            servers.start_soon(timer.run)
            servers.start_soon(network.run)
            async with trio.open_nursery() as watching:
                for number, (name, (behaviour, _)) in enumerate(SENTINELS.items()):
                    target = await target_of(Case(behaviour, ()), servers, keep)
                    watching.start_soon(note, real, name, SocketWatch(network), target)
                    fake.server("192.0.2.1", 1000 + number).behaviour = behaviour
                    watching.start_soon(note, faked, name, fake.watch(timer), Target("192.0.2.1", 1000 + number))
            assert not network.connections
            servers.cancel_scope.cancel()
        for some in keep:
            some.close()
        return real, faked

    real, faked = trio.run(main)
    wanted = {name: news for name, (_, news) in SENTINELS.items()}
    assert real == wanted
    assert faked == wanted


async def serve_until_the_end(lock: trio.CapacityLimiter, stream: trio.SocketStream) -> None:
    """Serve a connection until it ends, with as many others as the lock has tokens."""
    async with lock, stream:
        with contextlib.suppress(trio.BrokenResourceError):
            while await stream.receive_some():
                pass


async def beside(watch: Watch, target: Target) -> tuple[list[News], list[News]]:
    """What is told of one who leaves at once: while somebody else stands there, and after that one was closed."""
    first: list[News] = []
    told: list[News] = []
    standing = watch.hold(target, LIMIT_S, 1, first.append)
    assert not isinstance(standing, News)
    await trio.sleep(4 * TICK_S)
    leaving = watch.hold(target, LIMIT_S, 1, told.append, leave=True)
    assert not isinstance(leaving, News)
    await trio.sleep(LIMIT_S)
    before = list(told)
    standing.close()
    await trio.sleep(LIMIT_S)
    leaving.close()
    assert first == [News.CONNECTED]
    return before, told


def test_who_leaves_a_server_with_one_place_is_noticed_when_it_is_served() -> None:
    async def main() -> None:
        timer = Timer()
        network, fake = Network(timer), FakeNetwork()
        async with trio.open_nursery() as servers:
            servers.start_soon(timer.run)
            servers.start_soon(network.run)
            fake.server("192.0.2.1", 1).places = 1
            fake.server("192.0.2.1", 2)
            for number in (1, 2):
                (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
                serve_some = functools.partial(serve_until_the_end, trio.CapacityLimiter(number))
                servers.start_soon(trio.serve_listeners, serve_some, [listener])
                target = Target("127.0.0.1", listener.socket.getsockname()[1])
                found = await beside(SocketWatch(network), target)
                assert found == await beside(fake.watch(timer), Target("192.0.2.1", number))
                assert found[1] == [News.CONNECTED, News.ENDED]
                assert found[0] == found[1][:number]
            assert not network.connections
            servers.cancel_scope.cancel()

    trio.run(main)
