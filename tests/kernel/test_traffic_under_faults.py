"""Client traffic goes on through every fault: twice each here, a hundred times beside keepalived in bench/traffic_under_faults.py.

Three directors of ours, one after another, are harmed at random moments, as storm.py tells. KERNEL_STORM_ROUNDS and
KERNEL_STORM_SEED say how often and in which order; another seed is another story.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kernel import storm
from tests.kernel.storm import LANES, LOSES_SERVERS, OURS, Event

ROUNDS = int(os.environ.get("KERNEL_STORM_ROUNDS", "2"))
SEED = int(os.environ.get("KERNEL_STORM_SEED", "4"))
REPAIR_MAX_S = 2.0
GUEST_S = 0.5
"""What a guest without a processor of its own may take longer for a repair."""
FAULTS = [fault for name in OURS for fault in LANES[name].faults]
INTERFERENCE = ("flush", "delete", "edit_to_5")


@pytest.fixture(scope="module")
def events(directory: Path) -> list[Event]:
    # one after another: on the guest's one processor two would keep each other from coming back, and their clients from being served
    return [event for name in OURS for event in storm.play(LANES[name], directory / name, ROUNDS, SEED)]


@pytest.mark.parametrize("fault", FAULTS)
def test_no_request_fails_that_would_not_have_without_us(events: list[Event], fault: str) -> None:
    played = [event for event in events if event.fault == fault]
    assert len(played) == ROUNDS
    assert [(event.at_s, event.failed) for event in played if event.failed_by_us] == []


@pytest.mark.parametrize("fault", FAULTS)
def test_everything_is_as_before_without_anybodys_help(events: list[Event], fault: str) -> None:
    assert [event for event in events if event.fault == fault and event.undone] == []


@pytest.mark.parametrize("fault", INTERFERENCE)
def test_what_somebody_else_did_is_put_right_within_two_seconds(events: list[Event], fault: str) -> None:
    took = [event.repaired_s for event in events if event.fault == fault]
    print("repaired after", [None if seconds is None else round(seconds, 2) for seconds in took])
    assert all(seconds is not None and seconds < REPAIR_MAX_S + GUEST_S for seconds in took)


def test_a_deleted_server_costs_only_connections_that_were_open(events: list[Event]) -> None:
    kinds = {kind for event in events if event.fault == "delete" for kind in event.failed}
    assert kinds <= {"time-out"}


def test_nobody_but_the_servers_alive_ever_answers(events: list[Event]) -> None:
    """A request that reaches the dead one is refused, and then a failed one."""
    assert sum(event.strangers for event in events) == 0
    refused = [event for event in events if event.fault not in LOSES_SERVERS and "refused" in event.failed]
    assert refused == []


def test_it_was_several_hundred_requests_a_second(events: list[Event]) -> None:
    busy = [event for event in events if event.over_s > 1]
    assert sum(event.requests for event in busy) > 0.9 * storm.RATE * sum(event.over_s for event in busy)
