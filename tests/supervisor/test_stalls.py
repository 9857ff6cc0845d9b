from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from supervisor.stalls import STACK_MAX_BYTES, Stalls

SOON_S = 0.01


@pytest.fixture
def stalls() -> Iterator[Stalls]:
    watch = Stalls()
    yield watch
    watch.close()


def stand_still(stalls: Stalls, calls: int = 0) -> str:
    """Return what was seen, however busy the machine is."""
    if calls:
        return stand_still(stalls, calls - 1)
    stalls.expect(SOON_S)
    for _ in range(1000):
        time.sleep(SOON_S)
        if said := stalls.seen():
            return said
    return ""


def test_a_loop_that_stands_still_is_seen_where_it_stands_and_only_once(stalls: Stalls) -> None:
    assert "in stand_still" in stand_still(stalls)
    assert stalls.seen() == ""


def test_a_loop_that_comes_round_in_time_leaves_no_trace(stalls: Stalls) -> None:
    for _ in range(100):
        stalls.expect(600)
    assert stalls.seen() == ""


def test_the_innermost_calls_of_a_deep_stack_are_kept(stalls: Stalls) -> None:
    said = stand_still(stalls, calls=90)
    assert len(said) <= STACK_MAX_BYTES
    assert "in stand_still" in said.splitlines()[0]


def test_other_threads_are_left_out(stalls: Stalls) -> None:
    ended = threading.Event()
    others = [threading.Thread(target=ended.wait) for _ in range(20)]
    for other in others:
        other.start()
    try:
        said = stand_still(stalls)
    finally:
        ended.set()
        for other in others:
            other.join()
    assert "in stand_still" in said.splitlines()[0]
    assert "threading.py" not in said


def test_a_second_stall_is_told_from_its_beginning(stalls: Stalls) -> None:
    for _ in range(2):
        assert "in stand_still" in stand_still(stalls).splitlines()[0]
