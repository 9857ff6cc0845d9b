"""Probes at a glance: what they spare, and what they must not change."""

from __future__ import annotations

import functools
import random
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from checkers import http, ssl, tcp
from checkers.kit import wire, worker
from checkers.kit.api import Favours, Health, Reason, Stream, Target, Verdict
from checkers.kit.dial import Network
from checkers.kit.dialer import SocketDialer
from checkers.kit.favours import NO_FAVOURS
from checkers.kit.link import memory_link_pair
from checkers.kit.runner import Runner
from checkers.kit.timer import Timer
from checkers.kit.urgency import Hint
from tests.checkers.kit.test_worker import Supervisor, job, run
from tests.fakes.behaviours import (
    Behaviour,
    blackhole,
    close_at_once,
    drip,
    garbage,
    hang,
    healthy,
    lasting,
    refuse,
    reset_at_once,
    slow,
    status,
)
from tests.fakes.network import FakeDialer, FakeNetwork
from tests.fakes.tls import AUTHORITY

ANSWER = b"HTTP/1.1 200 OK\r\nDate: Sat, 28 Nov 2026 17:00:0%d GMT\r\nContent-Length: 6\r\n\r\nhello\n"


class LoggingDialer(FakeDialer):
    """A dialer that writes down how probes began."""

    def __init__(self, log: list[str], network: FakeNetwork, limit_s: float, favours: Favours = NO_FAVOURS) -> None:
        super().__init__(network, limit_s, favours)
        self._log = log

    def glance(self, now: float) -> bool:
        self._log.append("glance")
        return super().glance(now)

    async def connect(self, target: Target, first: bytes = b"") -> Stream:
        self._log.append("task")
        return await super().connect(target, first)


async def until(there: Callable[[], bool]) -> None:
    """Wait until something is so."""
    while not there():  # noqa: ASYNC110  nobody tells
        await trio.sleep(0.01)


def logged(story: Callable[[Supervisor], Awaitable[None]]) -> list[str]:
    """Play a story and return how its probes began."""
    log: list[str] = []

    async def main() -> None:
        ours, theirs = memory_link_pair()
        supervisor = Supervisor(ours, FakeNetwork())
        dialer = functools.partial(LoggingDialer, log, supervisor.network)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.listen)
            nursery.start_soon(functools.partial(worker.main, theirs, dialer, random.Random(7)))
            await story(supervisor)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return log


def test_a_healthy_server_is_looked_at_properly_once_and_then_at_a_glance() -> None:
    async def story(supervisor: Supervisor) -> None:
        supervisor.network.server("192.168.100.20", 80)
        await supervisor.assign(job())
        await trio.sleep(60)

    log = logged(story)
    assert log[0] == "task"
    assert len(log) >= 9
    assert set(log[1:]) == {"glance"}


def test_a_server_that_fails_is_looked_at_properly_until_it_is_up_again() -> None:
    async def story(supervisor: Supervisor) -> None:
        server = supervisor.network.server("192.168.100.20", 80)
        await supervisor.assign(job())
        await trio.sleep(10)
        server.behaviour = status(503)
        await trio.sleep(30)
        server.behaviour = healthy()
        await trio.sleep(30)

    log = logged(story)
    first = log.index("glance")
    unseen = next(n for n in range(first, len(log)) if log[n : n + 2] == ["glance", "task"])
    up_again = log.index("glance", unseen + 1)
    assert set(log[unseen + 1 : up_again]) == {"task"}
    assert set(log[up_again:]) == {"glance"}


@pytest.mark.parametrize("bad", [refuse(), blackhole(), hang(), status(503), slow(10)], ids=str)
@pytest.mark.parametrize("options", [{}, {"http_keepalive": 5}])
def test_failures_are_told_as_soon_and_as_often_as_without_glances(
    bad: object, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(supervisor: Supervisor) -> None:
        server = supervisor.network.server("192.168.100.20", 80)
        server.behaviour = lasting()
        await supervisor.assign(job(options={"url": [{"path": "/"}], **options}))
        await trio.sleep(20)
        server.behaviour = bad  # type: ignore[assignment]  # pytest loses the type
        await trio.sleep(60)
        server.behaviour = lasting()
        await trio.sleep(30)

    with_glances = run(story).reports()
    monkeypatch.setattr(http, "glance", lambda *_: None)
    without = run(story).reports()
    assert [row[1:] for row in with_glances] == [row[1:] for row in without]
    assert all(abs(one[0] - other[0]) <= 0.11 for one, other in zip(with_glances, without, strict=True))
    assert [health for _, health, _ in with_glances][-1] == "UP"


def over_tls(**changes: object) -> wire.Job:
    return job(type="SSL_GET", options={"url": [{"path": "/"}], **changes})


def test_a_healthy_server_that_speaks_tls_is_looked_at_properly_once_and_then_at_a_glance() -> None:
    async def story(supervisor: Supervisor) -> None:
        supervisor.network.server("192.168.100.20", 80).behaviour = healthy().over_tls()
        await supervisor.assign(over_tls())
        await trio.sleep(60)

    log = logged(story)
    assert log[0] == "task"
    assert len(log) >= 9
    assert set(log[1:]) == {"glance"}


@pytest.mark.parametrize("options", [{"tls_resume": 3}, {"http_keepalive": 3}, {"tls_compliant": True}], ids=str)
def test_tls_that_has_more_to_it_than_a_handshake_and_an_answer_is_looked_at_properly(
    options: dict[str, object],
) -> None:
    async def story(supervisor: Supervisor) -> None:
        supervisor.network.server("192.168.100.20", 80).behaviour = lasting().over_tls()
        await supervisor.assign(over_tls(**options))
        await trio.sleep(60)

    assert set(logged(story)) == {"task"}


IN_TLS = [
    healthy(),
    blackhole(),
    hang(),
    status(503),
    slow(10),
    garbage(),
    drip(0.01),
    close_at_once(),
    reset_at_once(),
]


@pytest.mark.parametrize("bad", [refuse(), hang(), *(each.over_tls() for each in IN_TLS)], ids=lambda bad: bad.name)
@pytest.mark.parametrize("options", [{}, {"ca": AUTHORITY, "sni_name": "www.example.org"}], ids=["", "verify"])
def test_failures_under_tls_are_told_as_soon_and_as_often_as_without_glances(
    bad: Behaviour, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(supervisor: Supervisor) -> None:
        server = supervisor.network.server("192.168.100.20", 80)
        server.behaviour = healthy().over_tls()
        await supervisor.assign(over_tls(**options))
        await trio.sleep(20)
        server.behaviour = bad
        await trio.sleep(60)
        server.behaviour = healthy().over_tls("old")
        await trio.sleep(30)

    with_glances = run(story)
    monkeypatch.setattr(ssl, "glance", lambda *_: None)
    without = run(story)
    for one, other in zip(with_glances.of(wire.Report), without.of(wire.Report), strict=True):
        assert one[1].health is other[1].health
        assert one[1].result is not None
        assert other[1].result is not None
        assert replace(one[1].result, duration_s=0.0) == replace(other[1].result, duration_s=0.0)
        assert abs(one[0] - other[0]) <= 0.11
    assert with_glances.reports()[-1][1] == "UP"


def test_a_certificate_that_was_replaced_is_told_though_the_answer_is_the_same() -> None:
    ends: list[float] = []

    async def story(supervisor: Supervisor) -> None:
        server = supervisor.network.server("192.168.100.20", 80)
        for certificate in ("good", "expired", "good"):
            server.behaviour = healthy().over_tls(certificate)
            await supervisor.assign(over_tls())
            await trio.sleep(20)
        ends.extend(frame.result.expires_at for _, frame in supervisor.of(wire.Report) if frame.result is not None)

    log = logged(story)
    assert len(ends) == 3
    assert ends[1] < ends[0] == ends[2]
    assert log.count("task") == 3
    assert log[-1] == "glance"


def test_a_job_that_leaves_in_the_middle_of_a_glance_leaves_nothing_open_and_nothing_under_way() -> None:
    async def story(supervisor: Supervisor) -> None:
        server = supervisor.network.server("192.168.100.20", 80)
        await supervisor.assign(job())
        await trio.sleep(5)
        server.behaviour = slow(2)
        await trio.sleep(4)
        await until(lambda: bool(server.open))
        await supervisor.assign(job(2, address="192.168.100.21"), generation=2)
        supervisor.network.server("192.168.100.21", 80)
        await trio.sleep(0.1)
        assert server.open == 0
        await trio.sleep(5)

    supervisor = run(story)
    assert [frame.in_flight for _, frame in supervisor.of(wire.Beat)][-1] == 0
    assert supervisor.of(wire.Beat)[-1][1].overdue == 0


def test_a_hint_that_comes_during_a_glance_is_heeded_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Runner] = []
    plain = Runner.__init__

    def remembered(self: Runner, *arguments: object) -> None:
        plain(self, *arguments)  # type: ignore[arg-type]  # passed on
        made.append(self)

    monkeypatch.setattr(Runner, "__init__", remembered)

    async def story(supervisor: Supervisor) -> None:
        server = supervisor.network.server("192.168.100.20", 80)
        server.behaviour = slow(1)
        await supervisor.assign(job())
        await trio.sleep(5)
        (runner,) = made
        await until(lambda: runner.looking)
        before = len(server.requests)
        runner.hasten(Hint.ENDED)
        await trio.sleep(1.2)
        assert len(server.requests) == before + 1
        assert runner.state.health is Health.UP

    run(story)


async def acquainted(
    answers: list[bytes], glances: int, probes: int = 1
) -> tuple[list[Verdict | None], list[Verdict], int, int]:
    """Probe a real server with the given answers; return what glances found, what proper probes found, connections, and requests."""
    connections = requests = 0

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal connections, requests
        connections += 1
        try:
            while await stream.receive_some():
                requests += 1
                await stream.send_all(answers.pop(0))
                if probes == 1:
                    break
        except trio.BrokenResourceError:
            pass
        await stream.aclose()

    seen: list[Verdict | None] = []
    proper: list[Verdict] = []
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        timer = Timer()
        network = Network(timer)
        nursery.start_soon(timer.run)
        nursery.start_soon(network.run)
        target = Target("127.0.0.1", listener.socket.getsockname()[1])
        options: dict[str, object] = {"url": [{"path": "/"}]}
        if probes > 1:
            options["http_keepalive"] = probes
        prepared = http.prepare(options)  # type: ignore[arg-type]
        assert isinstance(prepared, tuple)
        dial = network.dialer(3.0)
        proper.append(await http.check(target, prepared, dial))
        dial.rest()
        for _ in range(glances):
            seen.append(await glanced(dial, target, prepared))
            if seen[-1] is None:
                proper.append(await http.check(target, prepared, dial))
                dial.rest()
        dial.close()
        nursery.cancel_scope.cancel()
    return seen, proper, connections, requests


async def glanced(dial: SocketDialer, target: Target, prepared: tuple[http.Url, ...]) -> Verdict | None:
    """Probe at a glance; return what came of it."""
    told = trio.Event()
    found: list[Verdict | None] = []

    def done(verdict: Verdict | None, now: float) -> None:
        assert now <= trio.current_time()
        found.append(verdict)
        told.set()

    glance = http.glance(target, prepared)
    assert glance is not None
    dial.acquaint(target, glance, done)
    if not dial.glance(trio.current_time()):
        return None
    await told.wait()
    return found[0]


def test_an_answer_with_another_date_is_recognised_and_another_status_is_judged_on_the_same_connection() -> None:
    other = ANSWER.replace(b"200 OK", b"500 Oh")
    seen, proper, connections, requests = trio.run(acquainted, [ANSWER % 1, ANSWER % 2, other % 3, ANSWER % 4], 3)
    assert [verdict and verdict.reason for verdict in seen] == [Reason.L7OK, None, Reason.L7OK]
    assert [verdict.reason for verdict in proper] == [Reason.L7OK, Reason.L7STS]
    assert (connections, requests) == (4, 4), "nothing was asked twice"


def test_a_kept_connection_is_asked_once_by_glance_and_task_together() -> None:
    other = ANSWER.replace(b"200 OK", b"500 Oh")
    answers = [ANSWER % 1, ANSWER % 2, ANSWER % 3, other % 4]
    seen, proper, connections, requests = trio.run(acquainted, answers, 3, 10)
    assert [verdict and verdict.reason for verdict in seen] == [Reason.L7OK, Reason.L7OK, None]
    assert [verdict.reason for verdict in proper] == [Reason.L7OK, Reason.L7STS]
    assert (connections, requests) == (1, 4)


def test_half_an_answer_is_completed_by_the_task() -> None:
    whole = ANSWER % 1
    seen, proper, connections, _ = trio.run(acquainted, [whole, whole[:30], whole], 2)
    assert seen[0] is None
    assert proper[1].reason is Reason.L7RSP, "it was cut off"
    assert seen[1] is not None
    assert connections == 3


def test_a_refused_port_is_left_to_the_task_and_nothing_stays_open() -> None:
    async def main() -> None:
        timer = Timer()
        network = Network(timer)
        with socket.socket() as bound:
            bound.bind(("127.0.0.4", 0))
            target = Target("127.0.0.4", bound.getsockname()[1])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(timer.run)
                nursery.start_soon(network.run)
                dial = network.dialer(1.0)
                told: list[Verdict | None] = []
                dial.acquaint(target, tcp.glance(target, None), lambda verdict, _: told.append(verdict))
                if dial.glance(trio.current_time()):
                    await until(lambda: bool(told))
                    assert told == [None]
                    assert len(network.connections) == 1, "the task goes on with it"
                dial.close()
                assert not network.connections
                nursery.cancel_scope.cancel()

    trio.run(main)
