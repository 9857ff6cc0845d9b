"""Sentinels in a worker, on virtual time: what their ends hasten, and what they leave alone."""

from __future__ import annotations

import functools
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import pytest
import trio
from trio.testing import MockClock

from checkers.kit import wire, worker
from checkers.kit.api import Favours, Health, Stream, Target
from checkers.kit.favours import NO_FAVOURS
from checkers.kit.idling import PAUSE_FIRST_S
from checkers.kit.link import MemoryLink, memory_link_pair
from checkers.kit.punctuality import Punctuality
from checkers.kit.sentinels import NEWS_AT_ONCE, OPEN_WITHIN_S, RESERVE_FILES
from checkers.kit.urgency import RETURN_EVERY_S
from tests.fakes.behaviours import (
    Connect,
    banner,
    blackhole,
    close_at_once,
    endless_noise,
    healthy,
    no_descriptor,
    refuse,
    reset,
    status,
    unreachable,
)
from tests.fakes.network import FakeDialer, FakeNetwork
from tests.fakes.server import FakeServer

T = TypeVar("T")
ADDRESS = "192.168.100.20"
SETTLED_S = 1.0 + OPEN_WITHIN_S + 0.25


def job(number: int = 1, **changes: object) -> wire.Job:
    values: dict[str, object] = {
        "id": number,
        "type": "HTTP_GET",
        "address": ADDRESS,
        "port": 80,
        "delay_loop": 60.0,
        "retry": 2,
        "delay_before_retry": 3.0,
        "connect_timeout": 2.0,
        "warmup": 0.0,
        "options": {"url": [{"path": "/"}]},
        "sentinel": True,
        "fast_retry": True,
    }
    return wire.Job(**{**values, **changes})  # type: ignore[arg-type]  # a test's short hand


def tcp(number: int = 1, **changes: object) -> wire.Job:
    return job(number, **{"type": "TCP_CHECK", "options": {}, **changes})


@dataclass
class Scene:
    """A worker, its network, and what it said with the time since `since`."""

    link: MemoryLink
    network: FakeNetwork
    punctuality: Punctuality = field(default_factory=Punctuality)
    heard: list[tuple[float, wire.FromWorker]] = field(default_factory=list)
    since: float = 0.0

    @property
    def server(self) -> FakeServer:
        return self.network.server(ADDRESS, 80)

    async def listen(self) -> None:
        while data := await self.link.receive():
            self.heard.append((trio.current_time(), wire.decode_from_worker(data)))

    async def assign(self, *jobs: wire.Job, generation: int = 1) -> None:
        """Give the jobs, and let their sentinels be opened."""
        for frame in wire.assign_frames(1, generation, jobs):
            await self.link.send(frame)
        await trio.sleep(SETTLED_S)
        self.mark()

    def mark(self) -> None:
        """What counts comes from now on."""
        self.since = trio.current_time()

    def reports(self, number: int = 1) -> list[tuple[float, str, str]]:
        """Return (seconds since the mark, health, reason) of every report of one job."""
        told = [(at, f) for at, f in self.heard if isinstance(f, wire.Report) and f.job == number and at >= self.since]
        return [(round(at - self.since, 3), f.health.name, f.result.reason.name) for at, f in told if f.result]

    def down_after(self, number: int = 1) -> float | None:
        return next((at for at, health, _ in self.reports(number) if health == "DOWN"), None)

    @property
    def beat(self) -> wire.Beat:
        return [frame for _, frame in self.heard if isinstance(frame, wire.Beat)][-1]


def run(story: Callable[[Scene], Awaitable[None]], *, max_files: int = 0, network: FakeNetwork | None = None) -> Scene:
    async def main() -> Scene:
        ours, theirs = memory_link_pair()
        scene = Scene(ours, network or FakeNetwork())
        scene.network.server(ADDRESS, 80)
        serve = functools.partial(
            worker.main,
            theirs,
            scene.network.dialer,
            random.Random(7),
            punctuality=scene.punctuality,
            make_watch=scene.network.watch,
            max_files=max_files,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.listen)
            nursery.start_soon(serve)
            await story(scene)
            nursery.cancel_scope.cancel()
        return scene

    return trio.run(main, clock=MockClock(autojump_threshold=0))


# -- what an end hastens ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [job, tcp])
def test_a_killed_server_is_down_within_milliseconds_and_after_all_its_retries(check: Callable[..., wire.Job]) -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(check())
        scene.server.behaviour = refuse()
        await trio.sleep(1)

    scene = run(story)
    assert [row[1:] for row in scene.reports()] == [("UP", "L4CON"), ("UP", "L4CON"), ("DOWN", "L4CON")]
    assert scene.reports()[-1][0] < 0.02


def test_without_fast_retry_the_end_hastens_the_first_probe_and_nothing_else() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job(fast_retry=False))
        scene.server.behaviour = refuse()
        await trio.sleep(10)

    times = [row[0] for row in run(story).reports()]
    assert times[0] < 0.02
    # the port that refuses at the second look is the stronger hint: it brings the first retry forward
    assert times[1] < 0.2
    assert times[2] == pytest.approx(times[1] + 3, abs=0.1)


def test_a_graceful_reload_costs_a_probe_and_a_new_connection_and_nobody() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job())
        for _ in range(20):
            await trio.sleep(17)
            asked = len(scene.server.requests)
            scene.server.close_idle()
            await trio.sleep(3)
            assert len(scene.server.requests) == asked + 1
            assert len(scene.server.held) == 1

    scene = run(story)
    assert scene.reports() == []
    assert scene.beat.sentinels_ended == 20


def test_the_listener_that_dies_a_moment_after_its_connections_is_found_by_the_second_look() -> None:
    """The first probe is still taken by a kernel that is about to close the listener."""

    async def story(scene: Scene) -> None:
        await scene.assign(tcp())
        scene.server.close_idle()
        await trio.sleep(0.005)
        scene.server.behaviour = refuse()
        await trio.sleep(1)

    down = run(story).down_after()
    assert down is not None
    assert down < 0.2


def test_a_look_that_is_broken_while_it_is_being_opened_is_followed_by_a_probe_a_second_later() -> None:
    """The first probe is still taken, and nobody knows yet what becomes of the look when the second one is due."""

    async def story(scene: Scene) -> None:
        await scene.assign(tcp())
        scene.server.latency_s = 0.3
        scene.server.close_idle()
        await trio.sleep(0.31)
        scene.server.behaviour = unreachable()
        await trio.sleep(0.3)
        scene.server.behaviour = refuse()
        await trio.sleep(5)

    down = run(story).down_after()
    assert down is not None
    assert 1.0 < down < 3.0


def test_a_server_whose_sentinel_cannot_be_opened_again_is_probed_at_once() -> None:
    """The first probe is still taken; then a dying kernel neither takes nor refuses a connection."""

    async def story(scene: Scene) -> None:
        await scene.assign(tcp())
        scene.server.close_idle()
        await trio.sleep(0.01)
        scene.server.behaviour = unreachable()
        await trio.sleep(0.1)
        scene.server.behaviour = refuse()
        await trio.sleep(10)

    scene = run(story)
    assert next(reason for _, _, reason in scene.reports()) == "L4CON"
    down = scene.down_after()
    assert down is not None
    assert down < 5.0


def test_a_probe_that_met_a_reset_does_not_wait_for_its_retry_when_the_port_refuses() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job())
        scene.server.behaviour = reset()
        scene.server.close_idle()
        await trio.sleep(0.005)
        scene.server.behaviour = refuse()
        await trio.sleep(1)

    scene = run(story)
    assert [row[1:] for row in scene.reports()] == [("UP", "L7RSP"), ("UP", "L4CON"), ("DOWN", "L4CON")]
    assert scene.reports()[-1][0] < 0.2


@pytest.mark.parametrize("behaviour", [status(500), reset(), blackhole()], ids=lambda behaviour: behaviour.name)
def test_anything_softer_keeps_the_retries_and_pauses_of_the_file(behaviour: object) -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job())
        scene.server.behaviour = behaviour  # type: ignore[assignment]
        scene.server.close_idle()
        await trio.sleep(30)

    scene = run(story)
    times = [row[0] for row in scene.reports()]
    took_s = 2.0 if scene.server.behaviour.connect is Connect.BLACKHOLE else 0.0
    assert times[0] == pytest.approx(took_s, abs=0.1)
    assert times[1] == pytest.approx(times[0] + 3 + took_s, abs=0.2)
    assert scene.down_after() == pytest.approx(times[1] + 3 + took_s, abs=0.2)


def test_the_silent_death_of_a_host_is_a_hint_within_three_seconds() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job(delay_loop=600.0))
        scene.server.behaviour = blackhole()
        await trio.sleep(60)

    scene = run(story)
    assert scene.reports()[0][0] < 3 + 2 + 0.2  # noticed, and the time-out of the probe
    assert scene.down_after() == pytest.approx(3 + 3 * 2 + 2 * 3, abs=0.5)


def test_a_host_that_is_back_before_its_silence_was_noticed_costs_nothing() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job(delay_loop=600.0))
        scene.server.behaviour = blackhole()
        await trio.sleep(1)
        scene.server.behaviour = healthy()
        await trio.sleep(60)
        assert len(scene.server.requests) == 1

    assert run(story).reports() == []


def test_one_sentinel_serves_all_jobs_of_a_target() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job(1), tcp(2), job(3, retry=0))
        assert scene.server.holds == 1
        scene.server.behaviour = refuse()
        await trio.sleep(1)

    scene = run(story)
    assert all((scene.down_after(number) or 99) < 0.1 for number in (1, 2, 3))


def test_a_check_amid_its_retries_hears_of_the_refusal_that_took_another_one_of_its_target_out() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job(1), tcp(2), job(3, delay_before_retry=120.0, delay_loop=5.0))
        scene.server.behaviour = status(500)
        await trio.sleep(8)  # the third has its first failure, and waits for its retry
        assert [row[1:] for row in scene.reports(3)] == [("UP", "L7STS")]
        scene.mark()
        scene.server.behaviour = refuse()
        await trio.sleep(1)

    scene = run(story)
    assert (scene.down_after(3) or 99) < 0.1


def test_a_probe_that_is_under_way_when_the_sentinel_ends_is_followed_by_another() -> None:
    async def story(scene: Scene) -> None:
        scene.server.latency_s = 0.5
        await scene.assign(tcp(delay_loop=5.0))
        await trio.sleep(6.8 - SETTLED_S)
        assert scene.server.connections == 2  # under way
        scene.mark()
        scene.server.latency_s = 0.0
        scene.server.behaviour = refuse()
        await trio.sleep(2)

    down = run(story).down_after()
    assert down is not None
    assert down < 0.6


# -- what it leaves alone -----------------------------------------------------------------------------------------------


def test_a_server_that_was_never_well_has_none() -> None:
    async def story(scene: Scene) -> None:
        scene.server.behaviour = refuse()
        await scene.assign(job())
        await trio.sleep(300)
        assert scene.server.holds == 0

    run(story)


def test_a_job_that_wants_none_or_has_a_mark_or_a_port_of_its_own_has_none() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(tcp(1, sentinel=False), tcp(2, bind_port=2000))
        await trio.sleep(10)
        assert scene.server.holds == 0

    run(story)


def test_a_removal_ends_the_sentinel_and_the_first_success_brings_it_back() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job())
        scene.server.behaviour = refuse()
        await trio.sleep(30)
        tried = scene.server.holds
        assert tried <= 2
        scene.server.behaviour = healthy()
        await trio.sleep(60 + OPEN_WITHIN_S)
        assert scene.server.holds == tried + 1
        assert len(scene.server.held) == 1

    run(story)


def test_a_service_that_restarts_is_back_within_a_second_and_not_within_a_delay_loop() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job())
        scene.server.behaviour = refuse()
        await trio.sleep(3)
        scene.server.behaviour = healthy()
        await trio.sleep(30)

    at, health, _ = run(story).reports()[-1]
    assert health == "UP"
    assert at < 3 + RETURN_EVERY_S + 0.1


def test_rise_counts_as_ever_at_the_pace_of_the_file() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job(rise=3, delay_loop=20.0))
        scene.server.behaviour = refuse()
        await trio.sleep(3)
        scene.server.behaviour = healthy()
        await trio.sleep(100)

    at, health, _ = run(story).reports()[-1]
    assert health == "UP"
    assert at == pytest.approx(3 + RETURN_EVERY_S + 2 * 20, abs=1.2)


def test_a_failure_after_we_stood_still_is_excused_also_when_a_sentinel_hastened_it() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job(retry=0, delay_loop=30.0))
        scene.punctuality.naps += 1
        scene.server.behaviour = refuse()
        await trio.sleep(1)
        assert scene.down_after() is None
        await trio.sleep(10)

    scene = run(story)
    assert scene.reports()[0][2] == "LATE"
    assert scene.down_after() == pytest.approx(5, abs=0.3)


def test_our_own_trouble_is_no_refusal() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job())
        scene.server.behaviour = no_descriptor()
        scene.server.close_idle()
        await trio.sleep(30)

    assert [row[1:] for row in run(story).reports()] == [("UP", "LOCAL")]


# -- idle limits ----------------------------------------------------------------------------------------------------------


def test_a_long_idle_limit_is_learned_and_renewed_before() -> None:
    async def story(scene: Scene) -> None:
        scene.server.idle_limit_s = 75.0
        await scene.assign(job(delay_loop=10.0))
        await trio.sleep(1000)

    scene = run(story)
    assert scene.beat.sentinels_ended == 2
    assert scene.server.holds == pytest.approx(3 + (1000 - 150) / 57, abs=2)


def test_a_short_idle_limit_is_not_pestered() -> None:
    async def story(scene: Scene) -> None:
        scene.server.idle_limit_s = 5.0
        await scene.assign(job(delay_loop=10.0))
        await trio.sleep(20)
        assert scene.beat.sentinels_given_up == 1
        await trio.sleep(PAUSE_FIRST_S * 0.6)
        assert len(scene.server.held) == 0
        await trio.sleep(1500)

    scene = run(story)
    assert scene.server.holds <= 18  # each life two: it is opened, and looked for once more when it ended
    assert scene.reports() == []


def test_a_server_that_closes_at_once_is_not_pestered() -> None:
    async def story(scene: Scene) -> None:
        scene.server.behaviour = close_at_once()
        await scene.assign(tcp(delay_loop=1.0))
        await trio.sleep(600)

    scene = run(story)
    assert scene.server.holds < 25
    assert scene.server.connections < 640
    assert scene.reports() == []


def test_a_banner_is_dropped_and_one_that_never_stops_is_given_up() -> None:
    async def story(scene: Scene) -> None:
        scene.server.behaviour = banner()
        await scene.assign(tcp())
        await trio.sleep(300)
        assert scene.server.holds == 1
        assert len(scene.server.held) == 1
        scene.server.behaviour = endless_noise()
        scene.server.close_idle()
        await trio.sleep(10)
        assert len(scene.server.held) == 0
        assert scene.beat.sentinels_given_up == 1

    run(story)


def test_what_crashes_again_and_again_is_not_taken_in_at_every_second() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job(retry=0, delay_loop=30.0))
        for _ in range(60):
            scene.server.behaviour = refuse()
            await trio.sleep(1.5)
            scene.server.behaviour = healthy()
            await trio.sleep(1.5)

    ups = [row for row in run(story).reports() if row[1] == "UP"]
    assert len(ups) <= 180 / 30 + 4


# -- descriptors, storms, assignments --------------------------------------------------------------------------------------


def crowd(count: int) -> list[wire.Job]:
    return [tcp(number, address=f"10.0.{number // 250}.{number % 250 + 1}") for number in range(1, count + 1)]


def of(network: FakeNetwork, jobs: list[wire.Job]) -> list[FakeServer]:
    return [network.server(one.address, 80) for one in jobs]


def test_beyond_the_descriptors_that_probes_may_need_there_are_no_sentinels() -> None:
    jobs = crowd(50)

    async def story(scene: Scene) -> None:
        of(scene.network, jobs)
        await scene.assign(*jobs)
        await trio.sleep(200)
        assert scene.beat.sentinels_held == 20
        assert scene.beat.sentinels_unaffordable == 30

    run(story, max_files=RESERVE_FILES + 50 + 20)


def test_when_a_probe_lacks_a_descriptor_half_of_the_sentinels_go() -> None:
    jobs = crowd(40)

    async def story(scene: Scene) -> None:
        servers = of(scene.network, jobs)
        await scene.assign(*jobs)
        assert sum(len(server.held) for server in servers) == 40
        servers[0].behaviour = no_descriptor()
        await trio.sleep(61)
        assert sum(len(server.held) for server in servers) == 20
        servers[0].behaviour = healthy()
        await trio.sleep(400)
        assert sum(len(server.held) for server in servers) == 40

    run(story)


def test_a_thousand_ends_at_once_are_worked_off_in_slices() -> None:
    jobs = crowd(1000)
    slices = [0]  # how many probes began between two waits for the network

    class Counting(FakeDialer):
        async def connect(self, target: Target, first: bytes = b"") -> Stream:
            slices[-1] += 1
            return await super().connect(target, first)

    class CountingNetwork(FakeNetwork):
        def dialer(self, limit_s: float, favours: Favours = NO_FAVOURS) -> FakeDialer:
            return Counting(self, limit_s, favours)

    class Turns(trio.abc.Instrument):
        def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002  the instrument's name
            slices.append(0)

    async def story(scene: Scene) -> None:
        servers = of(scene.network, jobs)
        await scene.assign(*jobs)
        await trio.sleep(3)
        trio.lowlevel.add_instrument(Turns())
        slices[:] = [0]
        scene.mark()
        for server in servers:
            server.latency_s = 0.0
            server.behaviour = refuse()
        await trio.sleep(0.5)

    scene = run(story, network=CountingNetwork())
    assert {f.job for _, f in scene.heard if isinstance(f, wire.Report) and f.health is Health.DOWN} == {
        *range(1, 1001)
    }
    assert sum(slices) == 3000
    assert max(slices) <= 4 * NEWS_AT_ONCE


def test_a_sentinel_stays_through_a_reload_and_goes_with_its_last_job() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job(1), tcp(2))
        await scene.assign(tcp(2), generation=2)
        assert scene.server.holds == 1
        await scene.assign(tcp(2, sentinel=False), generation=3)
        assert len(scene.server.held) == 0

    run(story)


def test_nothing_is_left_of_them_when_the_worker_ends() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job())
        assert len(scene.server.held) == 1

    assert run(story).server.held == set()


def test_a_check_that_is_believed_up_waits_for_its_first_success_too() -> None:
    async def story(scene: Scene) -> None:
        scene.server.behaviour = refuse()
        await scene.assign(job(health=Health.UP, retry=3))
        assert scene.server.holds == 0

    run(story)
