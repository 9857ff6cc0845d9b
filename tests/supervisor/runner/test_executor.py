"""Time limits of programs on a machine that starves everybody: what counts against a program is time in which we were there to see it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from checkers.kit.link import LinkError, memory_link_pair
from checkers.kit.punctuality import Punctuality
from supervisor.runner.executor import serve
from supervisor.runner.protocol import Alive, Cancel, Ended, Hello, Outcome, Run, decode_report, encode
from tests.fakes.programs import Behaviour, FakePrograms

LIMIT_S = 5.0
SCRIPTS = 6


def run(number: int) -> Run:
    return Run(number, ("/notify",), (), "", "", LIMIT_S, kill_after_s=2.0, secure=False)


def ends(lasts_s: float, waited_s: Callable[[], float], *, cancel_at_s: float | None = None) -> list[Ended]:
    """Run several scripts at once that last so long, where the runner waits so long for a processor; return how they ended."""
    reports: list[Ended] = []

    async def main() -> None:
        ours, theirs = memory_link_pair()
        programs = FakePrograms({"/notify": Behaviour(lasts_s=lasts_s)})
        punctuality = Punctuality(waited_s)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(punctuality.run)
            nursery.start_soon(serve, theirs, programs.launch, "a test", punctuality)
            for number in range(1, SCRIPTS + 1):
                await ours.send(encode(run(number)))
            if cancel_at_s is not None:
                await trio.sleep(cancel_at_s)
                for number in range(1, SCRIPTS + 1):
                    await ours.send(encode(Cancel(number)))
            while len(reports) < SCRIPTS:
                match decode_report(await ours.receive()):
                    case Ended() as ended:
                        reports.append(ended)
                    case Hello() | Alive():
                        pass
            nursery.cancel_scope.cancel()

    try:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    except LinkError as error:
        raise AssertionError(reports) from error
    return reports


def punctual() -> float:
    return 0.0


def starved() -> float:
    """Nine tenths of the time."""
    return 0.9 * trio.current_time()


def starved_at_first() -> float:
    """For as long as a limit lasts."""
    return min(0.9 * trio.current_time(), 0.9 * LIMIT_S)


def outcomes(found: list[Ended]) -> set[tuple[Outcome, int]]:
    """How they ended, and after how many seconds."""
    assert sorted(ended.id for ended in found) == list(range(1, SCRIPTS + 1))
    return {(ended.outcome, round(ended.duration_s)) for ended in found}


@pytest.mark.parametrize(
    ("lasts_s", "waited_s", "wanted"),
    [
        (4, punctual, (Outcome.EXITED, 4)),
        (7, punctual, (Outcome.TIMED_OUT, 5)),
        (7, starved, (Outcome.EXITED, 7)),
        (1000, starved, (Outcome.LATE, 10)),
        (1000, starved_at_first, (Outcome.TIMED_OUT, 10)),
    ],
)
def test_scripts_are_not_taken_for_hung_by_a_runner_that_was_starved_itself(
    lasts_s: float, waited_s: Callable[[], float], wanted: tuple[Outcome, int]
) -> None:
    assert outcomes(ends(lasts_s, waited_s)) == {wanted}


@pytest.mark.parametrize("at_s", [3, 8])
def test_whoever_asks_for_the_end_gets_it_in_a_second_limit_too(at_s: float) -> None:
    assert outcomes(ends(1000, starved, cancel_at_s=at_s)) == {(Outcome.CANCELLED, at_s)}
