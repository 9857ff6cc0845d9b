"""What a history says of probes that nobody told of one by one."""

from __future__ import annotations

from supervisor.core.causes import Fact
from supervisor.core.entry import RESULT, Entry
from supervisor.core.results import counted_on

RS = "192.168.100.21:80"
TARGET = "192.168.100.21:80"
NAME = (RS, "HTTP_GET", TARGET)


def told(number: int, probe: int, *, passed: bool = True, count: int = 1, last_at: float | None = None) -> Entry:
    facts: dict[str, Fact] = {"check": "HTTP_GET", "target": TARGET, "passed": passed, "probe": probe}
    return Entry(number, 100.0 + number, RESULT, "info", "…", "vs", RS, facts, (), count, last_at)


def test_the_last_result_of_a_check_counts_the_probes_since_and_until_when() -> None:
    before = [told(1, 4), told(2, 5, passed=False), told(3, 7, count=2, last_at=110.0)]
    first, failed, last = counted_on(before, {NAME: (20, 140.0)})
    assert [first, failed] == before[:2]
    assert (last.count, last.last_at, last.at) == (15, 140.0, 103.0)
    assert before[2].count == 2, "what is kept stays as it is"


def test_a_worker_that_began_anew_and_one_that_was_not_heard_of_add_nothing() -> None:
    before = [told(1, 400)]
    assert counted_on(before, {NAME: (3, 140.0)}) == before
    assert counted_on(before, {}) == before
    assert counted_on(before, {(RS, "TCP_CHECK", TARGET): (900, 140.0)}) == before


def test_what_was_heard_before_an_entry_ended_does_not_end_it_sooner() -> None:
    (entry,) = counted_on([told(1, 4, last_at=150.0)], {NAME: (6, 140.0)})
    assert (entry.count, entry.last_at) == (3, 150.0)
