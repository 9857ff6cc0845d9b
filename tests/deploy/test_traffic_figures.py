"""The figures of traffic under faults: every failed request is charged to the fault that lost it, and the page says what was measured."""

from __future__ import annotations

import json

import pytest

from bench import traffic_table
from tests.kernel.contenders import DEAD, IN_ORDER
from tests.kernel.load import Failure, Report
from tests.kernel.storm import Event, account


def test_a_failed_request_is_charged_to_the_last_fault_before_it_was_lost() -> None:
    events = [Event("restart", 10.0), Event("reload", 20.0)]
    account(
        events, [], [Failure(9.8, 10.2, "reset"), Failure(19.9, 19.9, "time-out"), Failure(19.9, 20.1, "refused")], []
    )
    assert [event.failed for event in events] == [{"reset": 1, "time-out": 1}, {"refused": 1}]
    assert [event.failed_by_us for event in events] == [2, 1]


def test_a_request_that_failed_before_any_fault_is_a_fault_of_the_bench() -> None:
    with pytest.raises(AssertionError, match="before the first fault"):
        account([Event("reload", 10.0)], [], [Failure(9.0, 9.1, "refused")], [])


def test_of_a_flushed_table_only_requests_after_its_repair_are_our_failures() -> None:
    event = Event("flush", 10.0)
    states = [(1.0, IN_ORDER), (10.1, {}), (11.0, IN_ORDER)]
    account(
        [event],
        [],
        [Failure(10.2, 10.2, "refused"), Failure(10.9, 11.1, "reset"), Failure(11.5, 11.5, "refused")],
        states,
    )
    assert event.repaired_s == pytest.approx(1.0)
    assert (sum(event.failed.values()), event.failed_by_us) == (3, 1)


def test_a_table_that_stays_out_of_order_is_not_repaired_however_often_it_was_so_on_the_way() -> None:
    events = [Event("kill", 10.0), Event("reload", 20.0), Event("restart", 30.0)]
    states = [
        (1.0, IN_ORDER),
        (11.0, {}),
        (12.0, IN_ORDER),
        (13.0, {}),
        (31.0, {**IN_ORDER, DEAD: 1}),
        (33.5, IN_ORDER),
    ]
    account(events, [], [], states)
    assert [event.repaired_s for event in events] == [None, None, 3.5]


def test_an_answer_of_somebody_unknown_is_seen() -> None:
    event = Event("reload", 10.0)
    account([event], [Report(10.1, 30, 0, 0, {"192.168.100.20": 29, "192.168.100.9": 1})], [], [])
    assert (event.requests, event.strangers) == (30, 1)


def test_the_page_says_what_was_measured() -> None:
    data = json.loads(traffic_table.DATA.read_text())
    assert traffic_table.section(data) in traffic_table.PAGE.read_text()


def test_we_lose_no_request_that_would_not_have_been_lost_without_us() -> None:
    figures = json.loads(traffic_table.DATA.read_text())["figures"]
    ours = {fault: those["vipervisor"] for fault, those in figures.items() if "vipervisor" in those}
    assert len(ours) >= 15
    assert [fault for fault, figure in ours.items() if figure["failed_by_the_keeper"] or figure["never_repaired"]] == []
