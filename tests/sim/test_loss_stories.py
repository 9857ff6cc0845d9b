"""One packet in a hundred gets lost: with the timings of deploy/examples/fast.conf nobody is taken out for it, and a host that
dies without a word is out within three seconds all the same. `python -m bench.lossy_day` plays whole days of the whole program.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from checkers.kit.api import Health, Reason, Verdict
from checkers.kit.schedule import CheckState
from supervisor import config
from supervisor.children.translation import job_of
from supervisor.core.detection import of_server, waits
from supervisor.core.events import Health as CoreHealth
from supervisor.model import CheckSpec, Config
from tests.fakes.behaviours import lasting
from tests.fakes.loss import Wire
from tests.sim import lossy
from tests.sim.lossy import EXAMPLE, LOSS

DAY_S = 86_400.0


def example() -> Config:
    outcome = config.load(EXAMPLE)
    assert outcome.config is not None, outcome.problems
    assert not outcome.problems
    return outcome.config


def checks() -> tuple[CheckSpec, ...]:
    return example().virtual_servers[0].real_servers[0].checks


def connecting(wire: Wire) -> float:
    """How long a TCP_CHECK takes where packets get lost."""
    return 0.001 + wire.connected_s()


def asking(wire: Wire) -> float:
    """How long an HTTP_GET takes: a connection, a question, an answer."""
    return connecting(wire) + 0.002 + wire.delivered_s() + wire.delivered_s()


def live(spec: CheckSpec, takes: Callable[[Wire], float], lasts_s: float, servers: int, seed: int) -> tuple[int, int]:
    """Let so many healthy servers be checked for so long; return how many probes failed, and how often a check went down."""
    rng = random.Random(seed)
    wire = Wire(LOSS, rng)
    job = job_of(spec, 1, CoreHealth.UP)
    states = [CheckState(job, Health.UP) for _ in range(servers)]
    due = [(state.start(0.0, rng), number) for number, state in enumerate(states)]
    heapq.heapify(due)
    failed = downs = 0
    limit_s = spec.schedule.connect_timeout
    good, silent = Verdict(Reason.L4OK), Verdict(Reason.L4TOUT)
    while due[0][0] < lasts_s:
        now, number = due[0]
        took_s = takes(wire)
        passed = took_s <= limit_s
        step = states[number].record(good if passed else silent, now + min(took_s, limit_s))
        failed += not passed
        downs += step.changed and states[number].health is Health.DOWN
        heapq.heapreplace(due, (step.due, number))
    return failed, downs


def test_in_a_day_at_one_percent_loss_not_one_server_flaps() -> None:
    connect, ask = checks()
    failed, downs = live(connect, connecting, DAY_S, servers=8, seed=1)
    assert 8 * DAY_S * 0.015 < failed < 8 * DAY_S * 0.025, "two ways, one in a hundred on each"
    assert downs == 0
    failed, downs = live(ask, asking, DAY_S, servers=8, seed=1)
    assert failed > 10
    assert downs == 0


def test_without_retries_the_same_day_is_full_of_flaps_and_a_limit_beyond_the_first_repetition_has_far_fewer() -> None:
    connect, _ = checks()
    hasty = replace(connect, schedule=replace(connect.schedule, retry=0))
    patient = replace(connect, schedule=replace(connect.schedule, retry=0, connect_timeout=1.2))
    _, flaps = live(hasty, connecting, DAY_S / 4, servers=1, seed=1)
    _, few = live(patient, connecting, DAY_S / 4, servers=1, seed=1)
    assert flaps > 300
    assert few < flaps / 20


def test_by_the_reckoning_a_silent_host_is_out_within_three_seconds() -> None:
    found = example()
    for server in found.virtual_servers[0].real_servers:
        detection = of_server(server, waits(found.virtual_servers, found.probe_rate_max))
        assert detection is not None
        assert detection.busy.silent is not None
        assert detection.busy.silent.worst_s <= 3.0
        assert detection.busy.silent.expected_s <= 2.0


@pytest.mark.parametrize("seed", [1, 2])
def test_the_whole_program_takes_nobody_out_and_a_silent_host_within_three_seconds(seed: int) -> None:
    found = lossy.live(EXAMPLE.read_text(), hours=0.5, seed=seed, deaths=6)
    assert 0.008 < found.lost / found.packets < 0.012
    assert found.failed > found.servers * 3600 * found.hours * 0.015, "losses were seen"
    assert (found.flaps, found.writes) == (0, 0)
    assert max(found.noticed_s) <= 3.0
    assert found.watched > 0.8, "single losses take no sentinel away"


def test_the_whole_program_without_retries_takes_somebody_out_every_minute() -> None:
    hasty = lossy.live(lossy.without(EXAMPLE.read_text(), "retry", "retry 0"), hours=0.2, seed=1)
    assert hasty.writes >= 2 * 10, "each is taken out, and back"
    assert hasty.flaps >= hasty.writes
    assert lossy.live(lossy.without(EXAMPLE.read_text(), "retry", "retry 0"), hours=0.2, seed=1, rate=0.0).flaps == 0


def test_sentinels_end_for_lost_signs_of_life_and_cost_a_probe_and_nobody_his_place() -> None:
    slow = lossy.without(EXAMPLE.read_text(), "delay_loop", "delay_loop 60")
    found = lossy.live(slow, hours=1, seed=1, rate=0.03)
    assert found.sentinels_ended > 0
    assert (found.flaps, found.writes) == (0, 0)


def test_what_is_lost_on_kept_connections_is_said_again_in_time() -> None:
    kept = lossy.without(EXAMPLE.read_text(), "retry", "retry 2\n http_keepalive 10").replace(
        "TCP_CHECK {", "HTTP_GET {\n url {\n path /\n status_code 200\n }"
    )
    kept = lossy.without(kept, "connect_timeout", "connect_timeout 3")
    found = lossy.live(kept, hours=0.2, seed=1, behaviour=lasting())
    assert found.lost > 0
    assert (found.flaps, found.writes) == (0, 0)
