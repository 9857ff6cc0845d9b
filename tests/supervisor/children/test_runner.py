"""The supervisor's side of the runner: what it says is hostile, and no answer is ever lost."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from checkers.kit.link import Link, LinkError, memory_link_pair
from supervisor.children.patience import SILENCE_MAX_S
from supervisor.children.runner import ScriptRunner
from supervisor.children.spawn import Child
from supervisor.log import Log
from supervisor.model import Script
from supervisor.runner.protocol import RUNNING_MAX, Alive, Hello, Outcome, encode
from tests.fakes.programs import Behaviour, FakePrograms, start_runner

SCRIPT = Script(("/x",))


class Puppet:
    """A runner that says what the test wants."""

    def __init__(self, link: Link) -> None:
        self.pid = 7
        self.link = link
        self._over = trio.Event()

    async def wait(self) -> str:
        await self._over.wait()
        return "exit 0"

    def kill(self) -> None:
        self.link.close()
        self._over.set()


def play(
    use: Callable[[ScriptRunner], Awaitable[None]],
    talk: Callable[[Puppet], Awaitable[None]] | None = None,
    programs: FakePrograms | None = None,
    waited_s: Callable[[int], float | None] = lambda _pid: None,
) -> list[dict[str, Any]]:
    """Use a runner whose process is a puppet that `talk`s, or that is a fake; return the log."""
    lines: list[dict[str, Any]] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:

            async def start(epoch: int) -> tuple[Child, Link]:
                if talk is None:
                    return start_runner(nursery, programs or FakePrograms(), epoch)
                ours, theirs = memory_link_pair()
                puppet = Puppet(theirs)
                nursery.start_soon(talk, puppet)
                return puppet, ours

            log = Log(lambda line, _level: lines.append(json.loads(line)), "json", strict=True)
            runner = ScriptRunner(start, log, waited_s)
            nursery.start_soon(runner.serve)
            await use(runner)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return lines


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (b"\xff", "not JSON"),
        (b'{"hello":"again"}', "a second greeting"),
        (
            b'{"ended":99,"outcome":"exited","status":0,"reason":"","output":"","duration_s":1}',
            "program 99, which it was not given",
        ),
    ],
)
def test_a_runner_that_breaks_the_wire_is_replaced_and_its_programs_are_answered_for(
    said: bytes, complaint: str
) -> None:
    async def talk(puppet: Puppet) -> None:
        await puppet.link.send(encode(Hello("puppet")))
        await puppet.link.receive()
        await puppet.link.send(said)

    async def use(runner: ScriptRunner) -> None:
        ended = await runner.run(SCRIPT, {}, 5.0)
        assert str(ended) == "could not run: the runner was restarted"
        await trio.sleep(1)
        assert runner.keeper.restarts == 1

    broken = [line["reason"] for line in play(use, talk) if line["event"] == "worker.protocol_error"]
    assert len(broken) == 1
    assert complaint in broken[0]


async def beat(puppet: Puppet) -> None:
    """Be a runner that lives and does nothing."""
    await puppet.link.send(encode(Hello("puppet")))
    with contextlib.suppress(LinkError):
        while True:
            await trio.sleep(1)
            await puppet.link.send(encode(Alive(0.25)))


def test_a_runner_that_forgets_a_program_is_replaced_long_after_its_limit() -> None:
    async def talk(puppet: Puppet) -> None:
        await beat(puppet)

    async def use(runner: ScriptRunner) -> None:
        begun = trio.current_time()
        ended = await runner.run(SCRIPT, {}, 5.0)
        assert ended.outcome is Outcome.RUNNER_LOST
        assert 21.9 < trio.current_time() - begun < 25  # it may have its limit twice

    (line,) = [line for line in play(use, talk) if line["event"] == "worker.protocol_error"]
    assert line["reason"] == "it says nothing of a program that must have ended"


def test_a_runner_that_says_nothing_any_more_is_replaced_within_seconds() -> None:
    async def talk(puppet: Puppet) -> None:
        await puppet.link.send(encode(Hello("puppet")))

    async def use(runner: ScriptRunner) -> None:
        begun = trio.current_time()
        assert (await runner.run(SCRIPT, {}, 60.0)).outcome is Outcome.RUNNER_LOST
        assert trio.current_time() - begun < SILENCE_MAX_S + 1

    lines = play(use, talk)
    assert [line["reason"] for line in lines if line["event"] == "worker.protocol_error"] == ["silent for 3.5 s"]


@pytest.mark.parametrize(
    ("starved_for_s", "silent_for", "reason"),
    [
        (10.0, 10.0, None),  # it speaks again
        (math.inf, math.inf, "silent for 20 s, and starved of a processor"),
        (4.0, math.inf, "silent for 4.5 s"),  # starved at first, and then it hangs
    ],
)
def test_a_runner_that_waits_for_a_processor_is_given_longer(
    starved_for_s: float, silent_for: float, reason: str | None
) -> None:
    async def talk(puppet: Puppet) -> None:
        await puppet.link.send(encode(Hello("puppet")))
        if silent_for == math.inf:
            await trio.sleep_forever()
        await trio.sleep(silent_for)
        with contextlib.suppress(LinkError):
            while True:
                await puppet.link.send(encode(Alive(0.25)))
                await trio.sleep(1)

    async def use(runner: ScriptRunner) -> None:
        runner.require()
        await trio.sleep(25 if reason else 60)
        assert (runner.keeper.restarts == 0) is (reason is None)

    def waited_s(_pid: int) -> float:
        return min(trio.current_time(), starved_for_s)

    lines = [line["reason"] for line in play(use, talk, waited_s=waited_s) if line["event"] == "worker.protocol_error"]
    assert lines[:1] == ([reason] if reason else [])


def test_a_runner_that_beats_is_left_alone_and_says_how_late_it_is() -> None:
    async def use(runner: ScriptRunner) -> None:
        runner.require()
        await trio.sleep(60)
        assert runner.keeper.restarts == 0
        assert runner.view(trio.current_time()).loop_lag_s == 0.25

    play(use, beat)


def test_a_runner_that_never_greets_is_replaced_and_gets_more_time_each_time() -> None:
    starts: list[float] = []

    async def talk(_puppet: Puppet) -> None:
        starts.append(trio.current_time())
        await trio.sleep_forever()

    async def use(runner: ScriptRunner) -> None:
        runner.require()
        await trio.sleep(125)

    play(use, talk)
    assert [round(b - a) for a, b in itertools.pairwise(starts)] == [20, 40, 60]


def test_a_runner_that_never_greets_is_no_reason_to_wait_for_ever() -> None:
    async def talk(_puppet: Puppet) -> None:
        await trio.sleep_forever()

    async def use(runner: ScriptRunner) -> None:
        ended = await runner.run(SCRIPT, {}, 5.0)
        assert str(ended) == "could not run: no runner took it within 30 s"

    play(use, talk)


def test_never_more_than_the_runner_takes_and_the_others_follow_in_order() -> None:
    programs = FakePrograms({"/x": Behaviour(lasts_s=10)})

    async def use(runner: ScriptRunner) -> None:
        begun = [runner.begin(Script(("/x", str(i))), {}, 20.0) for i in range(RUNNING_MAX + 10)]
        await trio.sleep(5)
        assert runner.view(0).in_flight == RUNNING_MAX
        ended = [await running.ended() for running in begun]
        assert all(each.succeeded for each in ended)

    play(use, programs=programs)
    assert programs.lines() == [f"/x {i}" for i in range(RUNNING_MAX + 10)]


def test_whoever_stops_waiting_ends_the_program() -> None:
    programs = FakePrograms({"/x": Behaviour(lasts_s=1000)})

    async def use(runner: ScriptRunner) -> None:
        with trio.move_on_after(3):
            await runner.run(SCRIPT, {}, None)
        await trio.sleep(1)
        assert runner.view(0).in_flight == 0

    play(use, programs=programs)


def test_what_cannot_be_passed_on_is_answered_at_once() -> None:
    async def use(runner: ScriptRunner) -> None:
        ended = await runner.run(Script(("/x", "y" * 5000)), {}, 5.0)
        assert ended.outcome is Outcome.COULD_NOT_START
        assert "it cannot be passed on: field argv" in ended.reason

    play(use)


def test_at_the_end_everything_is_asked_to_end_and_waited_for() -> None:
    programs = FakePrograms({"/x": Behaviour(lasts_s=1000, deaf=True)})

    async def use(runner: ScriptRunner) -> None:
        runner.begin(SCRIPT, {}, None)
        await trio.sleep(1)
        begun = trio.current_time()
        await runner.drain(3.0)
        assert 1.9 < trio.current_time() - begun < 2.2
        assert runner.view(0).in_flight == 0

    play(use, programs=programs)
