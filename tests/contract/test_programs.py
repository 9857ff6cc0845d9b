"""What runs a program answers the same, whether it forks on this machine or is a fake on a virtual clock: one suite, both of them."""

from __future__ import annotations

import signal
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from checkers.kit.link import Link, SeqpacketLink
from supervisor.children import spawn
from supervisor.children.runner import ScriptRunner
from supervisor.children.spawn import Child
from supervisor.log import Log
from supervisor.model import Script
from supervisor.runner.protocol import Ended, Outcome
from tests.fakes.programs import Behaviour, FakePrograms, start_runner


@dataclass(frozen=True)
class Case:
    """One program: what it is here, and what it is in a story."""

    shell: str
    behaviour: Behaviour


SUCCEEDS = Case("exit 0", Behaviour())
FAILS = Case("echo out of order; exit 3", Behaviour(status=3, output=b"out of order\n"))
KILLS_ITSELF = Case("kill -KILL $$", Behaviour(status=-signal.SIGKILL))
SLEEPS = Case("echo begun; exec sleep 60", Behaviour(lasts_s=60, output=b"begun\n"))
IS_DEAF = Case(
    "trap '' TERM; echo deaf; while :; do sleep 60; done", Behaviour(lasts_s=60, output=b"deaf\n", deaf=True)
)


@dataclass(frozen=True)
class Stage:
    """A runner, how to make a script of a case, and how to kill the runner."""

    runner: ScriptRunner
    script: Callable[[Case], Script]
    kill: Callable[[], None]


Use = Callable[[Stage], Awaitable[None]]
Play = Callable[[Use], None]


def log() -> Log:
    return Log(lambda line, level: None, "json", strict=True)  # noqa: ARG005  the shape of a sink


def play_for_real(folder: Path, use: Use) -> None:
    children: list[Child] = []

    async def start(epoch: int) -> tuple[Child, Link]:
        del epoch
        child, ours = await spawn.start("supervisor.runner", [], socket.SOCK_SEQPACKET)
        children.append(child)
        return child, SeqpacketLink(trio.socket.from_stdlib_socket(ours))

    def script(case: Case) -> Script:
        path = folder / f"{abs(hash(case))}"
        path.write_text(f"#!/bin/sh\n{case.shell}\n")
        path.chmod(0o755)
        return Script((str(path),))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            runner = ScriptRunner(start, log())
            nursery.start_soon(runner.serve)
            await use(Stage(runner, script, lambda: children[-1].kill()))  # noqa: PLW0108  the last one then, not now
            nursery.cancel_scope.cancel()

    trio.run(main)


def play_on_a_virtual_clock(folder: Path, use: Use) -> None:
    del folder
    programs = FakePrograms()
    children: list[Child] = []

    def script(case: Case) -> Script:
        path = f"/fake/{abs(hash(case))}"
        programs.behaviours[path] = case.behaviour
        return Script((path,))

    async def main() -> None:
        async with trio.open_nursery() as nursery:

            async def start(epoch: int) -> tuple[Child, Link]:
                child, link = start_runner(nursery, programs, pid=epoch)
                children.append(child)
                return child, link

            runner = ScriptRunner(start, log())
            nursery.start_soon(runner.serve)
            await use(Stage(runner, script, lambda: children[-1].kill()))  # noqa: PLW0108  the last one then, not now
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.fixture(params=[play_for_real, play_on_a_virtual_clock], ids=["real", "fake"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    return partial(request.param, tmp_path)


def result(play: Play, case: Case, timeout_s: float | None = 20.0) -> Ended:
    found: list[Ended] = []

    async def use(stage: Stage) -> None:
        found.append(await stage.runner.run(stage.script(case), {"VIPERVISOR_EVENT": "test"}, timeout_s))

    play(use)
    return found[0]


def test_success_is_exit_status_zero(play: Play) -> None:
    ended = result(play, SUCCEEDS)
    assert (ended.outcome, ended.status, ended.output, ended.succeeded) == (Outcome.EXITED, 0, "", True)


def test_a_failure_has_its_status_and_what_it_said(play: Play) -> None:
    ended = result(play, FAILS)
    assert (ended.outcome, ended.status, ended.output, ended.succeeded) == (Outcome.EXITED, 3, "out of order", False)


def test_a_signal_is_told_as_such(play: Play) -> None:
    ended = result(play, KILLS_ITSELF)
    assert (ended.outcome, ended.status) == (Outcome.SIGNALLED, signal.SIGKILL)


def test_at_its_limit_it_is_asked_to_end_and_does(play: Play) -> None:
    ended = result(play, SLEEPS, timeout_s=0.5)
    assert (ended.outcome, ended.output) == (Outcome.TIMED_OUT, "begun")
    assert 0.5 <= ended.duration_s < 2.4


def test_who_does_not_listen_is_killed_two_seconds_after_the_limit(play: Play) -> None:
    ended = result(play, IS_DEAF, timeout_s=0.5)
    assert (ended.outcome, ended.output) == (Outcome.TIMED_OUT, "deaf")
    assert 2.5 <= ended.duration_s < 6


def test_it_can_be_ended_early(play: Play) -> None:
    found: list[Ended] = []

    async def use(stage: Stage) -> None:
        running = stage.runner.begin(stage.script(SLEEPS), {}, None)
        with trio.move_on_after(0.5):
            await trio.sleep_forever()
        running.cancel()
        found.append(await running.ended())

    play(use)
    assert found[0].outcome is Outcome.CANCELLED


def test_a_restart_of_the_runner_answers_for_what_ran(play: Play) -> None:
    found: list[Ended] = []

    async def use(stage: Stage) -> None:
        async def wait() -> None:
            found.append(await stage.runner.run(stage.script(SLEEPS), {}, 60.0))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            while not stage.runner.view(0).in_flight:  # noqa: ASYNC110  there is no event for it
                await trio.sleep(0.05)
            stage.kill()
        found.append(await stage.runner.run(stage.script(SUCCEEDS), {}, 20.0))

    play(use)
    assert [str(ended) for ended in found] == ["could not run: the runner was restarted", "exit status 0"]


def test_many_begin_in_order_and_all_end(play: Play) -> None:
    found: list[Ended] = []

    async def use(stage: Stage) -> None:
        begun = [stage.runner.begin(stage.script(FAILS), {}, 20.0) for _ in range(100)]
        found.extend([await running.ended() for running in begun])

    play(use)
    assert [ended.status for ended in found] == [3] * 100
