from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.stalls import CALLS_MAX, Stalls


@pytest.fixture
def stalls() -> Iterator[Stalls]:
    watch = Stalls()
    yield watch
    watch.close()


def stand_still(stalls: Stalls, calls: int = 0) -> str:
    """Return what was seen, however busy the machine is."""
    if calls:
        return stand_still(stalls, calls - 1)
    stalls.expect(0.0)
    for _ in range(1000):
        time.sleep(0.01)
        if said := stalls.seen():
            return said
    return ""


def test_a_loop_that_stands_still_is_seen_where_it_stands_and_only_once(stalls: Stalls) -> None:
    innermost = stand_still(stalls).split(" < ")[0]
    assert innermost.startswith(f"{__file__}:")
    assert innermost.endswith(" in stand_still")
    assert stalls.seen() == ""


def test_a_loop_that_comes_round_in_time_leaves_no_trace(stalls: Stalls) -> None:
    for _ in range(100):
        stalls.expect(600)
    stalls.close()
    assert stalls.seen() == ""


def test_the_innermost_calls_of_a_deep_stack_are_kept(stalls: Stalls) -> None:
    calls = stand_still(stalls, calls=90).split(" < ")
    assert [call.rpartition(" in ")[2] for call in calls] == ["stand_still"] * CALLS_MAX


def test_a_second_stall_is_told_as_the_first_was(stalls: Stalls) -> None:
    for _ in range(2):
        assert "in stand_still" in stand_still(stalls)


def sleeps() -> int:
    """Return how often the thread that watches went to sleep (proc(5), status)."""
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "stalls")
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    return int(status.rpartition("\nvoluntary_ctxt_switches:")[2].split()[0])


def test_who_watches_sleeps_on_while_the_loop_comes_round_in_time(stalls: Stalls) -> None:
    stalls.expect(600)
    before = sleeps()
    for _ in range(30):
        time.sleep(0.01)
        stalls.expect(600)
    assert sleeps() - before <= 2


def test_a_deadline_that_is_sooner_than_the_one_before_holds(stalls: Stalls) -> None:
    stalls.expect(600)
    time.sleep(0.01)
    assert "in stand_still" in stand_still(stalls)
