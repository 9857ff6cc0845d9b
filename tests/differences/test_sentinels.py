"""The deliberate differences to keepalived in when a check runs; each test has the name of a row of docs/differences.md."""

from __future__ import annotations

import trio

from supervisor.model import CheckSpec
from tests.checkers.kit.test_sentinel import Scene, job, run
from tests.fakes.behaviours import hang, healthy, refuse
from tests.supervisor.config.written import config_of, real_server, virtual_server


def first_check(*lines: str, before: str = "") -> CheckSpec:
    (found, *_) = config_of(before + virtual_server(real_server(*lines))).virtual_servers[0].real_servers[0].checks
    return found


def test_difference_idle_connection_is_held() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job(sentinel=first_check("TCP_CHECK {", "}").sentinel))
        assert len(scene.server.held) == 1

    run(story)
    assert not first_check("TCP_CHECK {", "sentinel no", "}").sentinel
    assert not first_check("TCP_CHECK {", "}", before="global_defs {\nsentinel no\n}\n").sentinel


def test_difference_time_out_beside_our_connection() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job(retry=0, delay_loop=5.0))
        scene.server.behaviour = hang()
        await trio.sleep(30)

    scene = run(story)
    assert [row[1:] for row in scene.reports()] == [("UP", "LATE"), ("DOWN", "L7TOUT")]
    assert scene.reports()[1][0] - scene.reports()[0][0] < 2.2


def test_difference_refused_port_is_retried_at_once() -> None:
    async def story(scene: Scene) -> None:
        await scene.assign(job(delay_loop=30.0, delay_before_retry=3.0, retry=2))
        scene.server.behaviour = refuse()
        await trio.sleep(2)
        scene.server.behaviour = healthy()
        await trio.sleep(2)

    scene = run(story)
    assert [row[1] for row in scene.reports()] == ["UP", "UP", "DOWN", "UP"]
    assert scene.reports()[-1][0] < 5
    assert not first_check("TCP_CHECK {", "fast_retry no", "}").fast_retry
    assert not first_check("TCP_CHECK {", "}", before="global_defs {\nfast_retry no\n}\n").fast_retry
