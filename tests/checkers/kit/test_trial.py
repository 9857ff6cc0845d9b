"""Trials of sentinels in a worker, on virtual time: nobody stands still, or is taken out, because an idle connection is held there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from checkers.kit import wire, worker
from checkers.kit.api import DeadlinePassed, SentinelState, Target
from checkers.kit.sentinels import OPEN_WITHIN_S
from checkers.kit.timer import TICK_S
from checkers.kit.trial import CALM_S, CROWDED_FIRST_S, DOUBT_FIRST_S, DOUBT_MAX_S, TRIAL_S, Room
from checkers.kit.worker import BEAT_EVERY_S
from tests.checkers.kit.test_sentinel import ADDRESS, Scene, crowd, job, of, run, tcp
from tests.fakes.behaviours import blackhole, hang, healthy, refuse, slow
from tests.fakes.network import FakeNetwork

DAY_S = 86_400.0
SHORT_ROUNDS_S = TICK_S + 0.01
"""What a few round trips take: what a server does to a connection that leaves, the fake network does at a tick of the worker's timer."""


def states(scene: Scene, number: int = 1) -> list[SentinelState]:
    return [frame.state for _, frame in scene.heard if isinstance(frame, wire.SentinelTold) and frame.job == number]


async def ask(network: FakeNetwork, waits: list[float]) -> None:
    """A client asks for a page and notes how long that took."""
    began = trio.current_time()
    dialer = network.dialer(30.0)
    try:
        stream = await dialer.connect(Target(ADDRESS, 80), b"GET / HTTP/1.0\r\n\r\n")
        while await stream.receive():
            pass
    except DeadlinePassed:
        pass
    waits.append(trio.current_time() - began)
    dialer.close()


async def clients(network: FakeNetwork, waits: list[float]) -> None:
    """Ten times a second somebody asks."""
    async with trio.open_nursery() as nursery:
        while True:
            nursery.start_soon(ask, network, waits)
            await trio.sleep(0.1)


def in_the_way(waits: list[float]) -> list[float]:
    return [wait_s for wait_s in waits if wait_s > 0.1]


@pytest.mark.parametrize("check", [job, tcp])
@pytest.mark.parametrize("retry", [0, 2])
def test_a_server_with_one_place_stands_still_for_half_a_second_in_the_life_of_its_worker(
    check: Callable[..., wire.Job], retry: int
) -> None:
    waits: list[float] = []

    async def story(scene: Scene) -> None:
        scene.server.places = 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(clients, scene.network, waits)
            await scene.assign(check(retry=retry, delay_loop=5.0))
            await trio.sleep(20)
            nursery.cancel_scope.cancel()
        await trio.sleep(0.9 * CROWDED_FIRST_S)
        assert scene.server.holds == 1

    scene = run(story)
    assert scene.reports() == []
    assert states(scene) == [SentinelState.CROWDS]
    assert max(waits) <= TRIAL_S + SHORT_ROUNDS_S
    assert 1 <= len(in_the_way(waits)) <= 1 + TRIAL_S / 0.1
    assert scene.beat.sentinels_given_up == 1


def test_a_server_with_two_places_has_its_sentinel_and_nobody_waits() -> None:
    waits: list[float] = []

    async def story(scene: Scene) -> None:
        scene.server.places = 2
        async with trio.open_nursery() as nursery:
            nursery.start_soon(clients, scene.network, waits)
            await scene.assign(job())
            nursery.cancel_scope.cancel()
        assert len(scene.server.held) == 1

    assert states(run(story)) == []
    assert in_the_way(waits) == []


def test_who_did_not_pass_is_tried_again_after_an_hour_and_then_ever_more_rarely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "BEAT_EVERY_S", 60.0)  # half a day of beats, and nobody listens

    async def story(scene: Scene) -> None:
        scene.server.places = 1
        await scene.assign(job())
        await trio.sleep(0.9 * CROWDED_FIRST_S)
        assert scene.server.holds == 1
        await trio.sleep(0.2 * CROWDED_FIRST_S)
        assert scene.server.holds == 2
        await trio.sleep(DAY_S / 2)

    assert run(story).server.holds <= 5


@pytest.mark.parametrize("answers_after_s", [0.4, 0.8, 1.9])
def test_a_slow_server_has_one_for_its_pages_have_nothing_to_do_with_its_places(answers_after_s: float) -> None:
    async def story(scene: Scene) -> None:
        scene.server.behaviour = slow(answers_after_s)
        await scene.assign(job())
        await trio.sleep(120)
        assert len(scene.server.held) == 1
        assert scene.server.holds == 1

    assert states(run(story)) == []


def test_a_far_server_has_one() -> None:
    async def story(scene: Scene) -> None:
        scene.server.latency_s = 0.4
        await scene.assign(tcp())
        await trio.sleep(120)
        assert len(scene.server.held) == 1

    assert states(run(story)) == []


def test_who_is_on_trial_is_not_counted_as_held_yet() -> None:
    async def story(scene: Scene) -> None:
        scene.server.latency_s = 0.9
        for frame in wire.assign_frames(1, 1, [tcp(connect_timeout=2.0)]):
            await scene.link.send(frame)
        await trio.sleep(1.0 + 2 * 0.9 + OPEN_WITHIN_S + TICK_S)
        assert [held.connected for held in scene.server.held] == [True], "it stands, and its trial has begun"
        await trio.sleep(BEAT_EVERY_S + TICK_S)
        assert scene.beat.sentinels_held == 0
        await trio.sleep(2)
        assert scene.beat.sentinels_held == 1

    run(story)


def test_a_rack_of_servers_with_one_place_each_loses_nobody() -> None:
    jobs = crowd(200)

    async def story(scene: Scene) -> None:
        for server in of(scene.network, jobs):
            server.places = 1
        await scene.assign(*jobs)
        await trio.sleep(300)
        assert all(server.holds == 1 for server in of(scene.network, jobs))
        assert scene.beat.sentinels_given_up == 200
        assert scene.beat.sentinels_held == 0

    scene = run(story)
    assert not [row for number in range(1, 201) for row in scene.reports(number) if row[1] != "UP"]


def test_a_reload_that_keeps_the_target_keeps_what_was_learned() -> None:
    async def story(scene: Scene) -> None:
        scene.server.places = 1
        await scene.assign(job(1))
        await trio.sleep(10)
        await scene.assign(job(1), tcp(2, delay_loop=1.0), generation=2)
        await trio.sleep(600)
        assert scene.server.holds == 1

    scene = run(story)
    assert states(scene, 2) == [SentinelState.CROWDS]


def test_a_reload_in_the_middle_of_a_trial_ends_it_where_nobody_wants_it_any_more() -> None:
    async def story(scene: Scene) -> None:
        scene.server.places = 1
        for frame in wire.assign_frames(1, 1, [job()]):
            await scene.link.send(frame)
        await trio.sleep(1.0 + OPEN_WITHIN_S + 0.1)
        assert len(scene.server.held) == 1
        await scene.assign(job(sentinel=False), generation=2)
        assert len(scene.server.held) == 0
        assert scene.server.open == 0
        await trio.sleep(60)

    assert states(run(story)) == []


def test_a_server_that_does_not_notice_who_leaves_has_none_for_nobody_knows() -> None:
    async def story(scene: Scene) -> None:
        scene.server.notes_ends = False
        await scene.assign(job())
        await trio.sleep(600)
        assert scene.server.holds == 1
        assert len(scene.server.held) == 0

    assert states(run(story)) == [SentinelState.MUTE]


def test_a_worker_that_stood_still_during_a_trial_has_learned_nothing_from_it() -> None:
    async def story(scene: Scene) -> None:
        scene.server.places = 1
        for frame in wire.assign_frames(1, 1, [job(delay_loop=5.0)]):
            await scene.link.send(frame)
        await trio.sleep(1.0 + OPEN_WITHIN_S + 0.1)
        scene.punctuality.naps += 1
        await trio.sleep(10)
        assert len(scene.server.held) == 0
        scene.server.places = 2
        await trio.sleep(60)
        assert len(scene.server.held) == 1

    assert states(run(story)) == []


def test_after_a_death_the_server_is_tried_again_for_it_may_be_another() -> None:
    waits: list[float] = []

    async def story(scene: Scene) -> None:
        await scene.assign(job())
        assert len(scene.server.held) == 1
        scene.server.behaviour = refuse()
        await trio.sleep(2)
        scene.server.places = 1
        scene.server.behaviour = healthy()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(clients, scene.network, waits)
            await trio.sleep(70)
            nursery.cancel_scope.cancel()

    assert states(run(story))[-1] is SentinelState.CROWDS
    assert max(waits) <= TRIAL_S + SHORT_ROUNDS_S


# -- later ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("retry", [0, 2])
def test_a_server_that_loses_its_other_places_is_not_taken_out_for_our_idle_connection(retry: int) -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job(retry=retry, delay_loop=5.0))
        assert len(scene.server.held) == 1
        scene.server.close_idle()
        await trio.sleep(1)
        scene.server.places = 1
        await trio.sleep(30)
        assert len(scene.server.held) == 0
        await trio.sleep(60)

    scene = run(story)
    assert scene.down_after() is None
    reasons = [row[2] for row in scene.reports()]
    assert reasons == ["LATE" if retry == 0 else "L7TOUT", "L7OK"]
    assert states(scene)[0] is SentinelState.CROWDS


def test_all_checks_of_a_server_are_excused_that_waited_beside_it() -> None:
    async def story(scene: Scene) -> None:
        jobs = [job(number, retry=0, delay_loop=5.0, connect_timeout=2.0 + number / 10) for number in range(1, 6)]
        await scene.assign(*jobs)
        scene.server.close_idle()
        await trio.sleep(1)
        scene.server.places = 1
        await trio.sleep(60)

    scene = run(story)
    assert [scene.down_after(number) for number in range(1, 6)] == [None] * 5
    assert scene.server.holds <= 5


@pytest.mark.parametrize("behaviour", [hang(), blackhole()], ids=lambda behaviour: behaviour.name)
def test_without_retries_a_server_that_hangs_is_out_after_one_time_out_more(behaviour: object) -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job(retry=0, delay_loop=1.0, connect_timeout=0.5))
        scene.server.behaviour = behaviour  # type: ignore[assignment]
        await trio.sleep(30)

    down = run(story).down_after()
    assert down is not None
    assert down <= 1.0 + 2 * 0.5 + 0.25


def test_with_retries_a_server_that_hangs_is_out_as_soon_as_ever() -> None:
    def after(*, watched: bool) -> float:
        async def story(scene: Scene) -> None:
            await scene.assign(job(sentinel=watched, retry=1, delay_loop=5.0, delay_before_retry=1.0))
            await trio.sleep(4.5 - (trio.current_time() - 1.0))
            scene.server.behaviour = hang()
            scene.mark()
            await trio.sleep(60)

        return run(story).down_after() or 0.0

    assert after(watched=True) == pytest.approx(after(watched=False), abs=0.2)


def test_a_time_out_that_the_next_probe_confirms_was_not_the_sentinels_fault() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job(retry=0, delay_loop=5.0))
        scene.server.behaviour = hang()
        await trio.sleep(20)
        scene.server.behaviour = healthy()
        await trio.sleep(10)
        assert len(scene.server.held) == 1

    assert states(run(story)) == []


HASTY: dict[str, Any] = {"delay_loop": 1.0, "connect_timeout": 0.2, "delay_before_retry": 0.05}
"""A limit within which a lost SYN is not sent again, as in deploy/examples/fast.conf."""


async def gone_for(scene: Scene, probes: int) -> None:
    """So many probes in a row find nobody, from the next one on; then the server is there as if nothing had been."""
    since = len(scene.reports())
    scene.server.behaviour = blackhole()
    while len(scene.reports()) < since + probes:  # noqa: ASYNC110  nobody tells us what is heard
        await trio.sleep(TICK_S)
    scene.server.behaviour = healthy()
    await trio.sleep(5)


def test_a_time_out_that_one_lost_packet_explains_leaves_the_sentinel_where_it_is() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(tcp(retry=4, **HASTY))
        for _ in range(5):
            await gone_for(scene, 1)
        assert len(scene.server.held) == 1
        assert scene.server.holds == 1

    scene = run(story)
    assert [row[2] for row in scene.reports()] == 5 * ["L4TOUT", "L4OK"]
    assert states(scene) == []


@pytest.mark.parametrize(
    ("changes", "probes"),
    [({"retry": 4}, 2), ({"retry": 1}, 1), ({"retry": 4, "connect_timeout": 1.2}, 1)],
    ids=["the second in a row", "the last that may be", "beyond the first repetition"],
)
def test_any_other_time_out_has_it_closed_and_for_a_while_there_is_none(changes: dict[str, Any], probes: int) -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(tcp(**HASTY | changes))
        await gone_for(scene, probes)
        assert len(scene.server.held) == 0

    scene = run(story)
    assert states(scene) == [SentinelState.CROWDS]
    assert scene.down_after() is None


@pytest.mark.parametrize(
    ("retry", "seen"), [(0, ["LATE"]), (1, ["L4TOUT"]), (2, ["L4TOUT", "L4TOUT"]), (4, ["L4TOUT", "L4TOUT"])]
)
def test_a_server_with_one_place_and_no_queue_is_let_go_before_it_would_be_out(retry: int, seen: list[str]) -> None:
    """It shows itself by not answering who wants to connect."""

    async def story(scene: Scene) -> None:
        await scene.assign(tcp(retry=retry, **HASTY))
        assert len(scene.server.held) == 1
        scene.server.places, scene.server.backlog = 1, 0
        await trio.sleep(300)

    scene = run(story)
    assert scene.down_after() is None
    assert [row[2] for row in scene.reports()] == [*seen, "L4OK"]
    assert states(scene)[0] is SentinelState.CROWDS


@pytest.mark.parametrize("retry", [1, 2, 4])
def test_with_retries_a_host_that_falls_silent_is_out_as_soon_as_without_a_sentinel(retry: int) -> None:
    def after(*, watched: bool) -> float:
        async def story(scene: Scene) -> None:
            await scene.assign(tcp(retry=retry, sentinel=watched, **HASTY))
            scene.server.behaviour = blackhole()
            scene.mark()
            await trio.sleep(60)

        return run(story).down_after() or 0.0

    assert after(watched=True) == pytest.approx(after(watched=False), abs=0.2)


def test_doubts_grow_and_are_forgotten_after_an_hour_of_calm() -> None:
    room = Room()
    assert [room.doubted(60.0) for _ in range(3)] == [DOUBT_FIRST_S, 2 * DOUBT_FIRST_S, 4 * DOUBT_FIRST_S]
    assert [room.doubted(60.0) for _ in range(9)][-1] == DOUBT_MAX_S
    assert room.doubted(CALM_S) == DOUBT_FIRST_S


# -- traffic --------------------------------------------------------------------------------------------------------------


def test_an_idle_server_whose_sentinel_ended_is_probed_at_its_full_rate_again() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job(delay_loop=1.0, idle_interval=60.0))
        await scene.link.send(wire.encode(wire.Idle(idle=True, jobs=(1,))))
        await trio.sleep(100)
        asked = len(scene.server.requests)
        await trio.sleep(30)
        assert len(scene.server.requests) - asked <= 1
        scene.server.close_idle()
        await trio.sleep(5)
        asked = len(scene.server.requests)
        await trio.sleep(3)
        assert len(scene.server.requests) - asked >= 2

    run(story)
