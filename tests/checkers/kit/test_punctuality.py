"""Was this process there: lateness, the run queue, naps and suspensions, on clocks that a test turns."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time

import pytest

from checkers.kit.punctuality import NAP_S, PULSE_S, SLACK_S, Punctuality, RunQueue, suspended_s


class Clocks:
    """Two counters that a test turns."""

    def __init__(self) -> None:
        self.waited = 0.0
        self.slept = 7.0

    def punctuality(self) -> Punctuality:
        found = Punctuality(lambda: self.waited, lambda: self.slept)
        found.begin(0.0)
        return found


def test_who_looks_in_time_was_never_away() -> None:
    punctuality = Clocks().punctuality()
    begun = punctuality.mark(0.0)
    due = PULSE_S
    for _ in range(100):
        due = punctuality.look(due + SLACK_S)
    assert punctuality.away_s(begun, due) < 1e-9
    assert punctuality.naps == 0


def test_a_late_look_is_lost_time_and_a_very_late_one_a_nap() -> None:
    punctuality = Clocks().punctuality()
    begun = punctuality.mark(0.0)
    punctuality.look(PULSE_S + SLACK_S + 0.3)
    assert punctuality.away_s(begun, PULSE_S + SLACK_S + 0.3) == pytest.approx(0.3)
    assert punctuality.naps == 0
    punctuality.look(100.0)
    assert punctuality.naps == 1
    assert punctuality.last_nap_s > 98


def test_a_nap_is_seen_by_whoever_asks_first_and_counted_once() -> None:
    """After a stop a probe may hear of its failure before the pulse runs."""
    punctuality = Clocks().punctuality()
    begun = punctuality.mark(0.0)
    assert punctuality.mark(3.0).naps == begun.naps + 1
    punctuality.look(3.0)
    assert punctuality.mark(3.0).naps == begun.naps + 1
    assert punctuality.away_s(begun, 3.0) == pytest.approx(3.0 - PULSE_S - SLACK_S)


def test_a_deadline_proves_nothing_when_too_much_of_its_limit_was_missed() -> None:
    clocks = Clocks()
    punctuality = clocks.punctuality()
    begun = punctuality.mark(0.0)
    assert not punctuality.too_late(begun, 0.1, 0.1, 1.0)
    clocks.waited = 0.4
    assert not punctuality.too_late(begun, 0.1, 0.1, 1.0)
    clocks.waited = 0.6
    assert punctuality.too_late(begun, 0.1, 0.1, 1.0)
    assert not punctuality.too_late(begun, 0.1, 0.1, 2.0)
    assert punctuality.too_late(begun, 0.5, 0.1, 2.0)  # it took so long until somebody looked


def test_a_gap_below_a_nap_is_none() -> None:
    punctuality = Clocks().punctuality()
    assert punctuality.mark(PULSE_S + SLACK_S + NAP_S - 0.01).naps == 0


def test_time_in_the_run_queue_is_time_away() -> None:
    clocks = Clocks()
    punctuality = clocks.punctuality()
    begun = punctuality.mark(0.0)
    clocks.waited = 0.4
    assert punctuality.away_s(begun, 0.1) == pytest.approx(0.4)


def test_a_suspended_machine_is_seen_though_its_steady_clock_stood_still() -> None:
    clocks = Clocks()
    punctuality = clocks.punctuality()
    clocks.slept += 30.0
    punctuality.look(PULSE_S)
    assert (punctuality.naps, punctuality.last_nap_s) == (1, 30.0)
    punctuality.look(2 * PULSE_S)
    assert punctuality.naps == 1


def test_who_does_not_measure_is_never_away() -> None:
    punctuality = Punctuality()
    begun = punctuality.mark(0.0)
    assert punctuality.away_s(begun, 1e6) == 0.0
    assert not punctuality.naps


def test_the_kernel_counts_the_time_that_we_wait_for_a_processor() -> None:
    """Others burn on every processor at a better nice value, and this thread wants one too."""
    queue = RunQueue()
    before = queue.waited_s()
    burn = [sys.executable, "-c", "import time\nend = time.monotonic() + 2\nwhile time.monotonic() < end: pass"]
    burners = [subprocess.Popen(burn) for _ in range(8)]
    try:
        assert threading.current_thread() is threading.main_thread()
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            pass
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    assert queue.waited_s() - before > 0.05


def test_a_machine_that_runs_is_not_suspended() -> None:
    before = suspended_s()
    assert math.isclose(before, suspended_s(), abs_tol=0.01)
