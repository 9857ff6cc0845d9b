"""A crowd of like lines: the first are written, the rest is one line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from supervisor.log import CATALOGUE, Log
from supervisor.log.bursts import COUNTED_MAX, KIND_LINES_MAX, WINDOW_S, Bursts
from supervisor.log.render import LINE_MAX_BYTES


class Clocked:
    """A log that puts crowds together, and what it wrote."""

    def __init__(self) -> None:
        self.now = 100.0
        self.lines: list[dict[str, Any]] = []
        self.longest = 0
        self.log = Log(self._line, strict=True, clock=lambda: self.now)

    def _line(self, line: bytes, level: str) -> None:
        del level
        self.longest = max(self.longest, len(line))
        self.lines.append(json.loads(line))

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == name]

    def falls(self, number: int, to: str = "DOWN") -> None:
        self.log.emit(
            "real_server.state_changed",
            f"Server {number} is {to}.",
            virtual_server=f"203.0.113.{number % 20}:80/tcp",
            real_server=f"10.0.{number // 250}.{number % 250}:80",
            result="L4CON" if number % 10 else "L4TOUT",
            to=to,
        )


@pytest.fixture
def told() -> Clocked:
    return Clocked()


def test_a_failed_rack_is_a_hundred_lines_and_one_that_speaks_for_the_rest(told: Clocked) -> None:
    for number in range(1000):
        told.falls(number)
        told.now += 0.001
    told.now += WINDOW_S
    told.log.sum_up()
    assert len(told.events("real_server.state_changed")) == KIND_LINES_MAX == 100
    (summary,) = told.events("burst.summary")
    assert summary["of"] == "real_server.state_changed"
    assert (summary["of_level"], summary["level"]) == ("warning", "warning")
    assert summary["count"] == told.log.summed_up == 900
    assert summary["most_virtual_servers"].startswith("203.0.113.0:80/tcp (45), ")
    assert summary["most_virtual_servers"].endswith(" and 10 others")
    assert summary["some_real_servers"].startswith("10.0.0.100:80, 10.0.0.101:80, ")
    assert summary["some_real_servers"].endswith(" and 880 more lines")
    assert summary["most_results"] == "L4CON (810), L4TOUT (90)"
    assert summary["message"].startswith("900 more real_server.state_changed (warning) came within ")


def test_a_summary_comes_without_any_further_line_and_only_once(told: Clocked) -> None:
    for number in range(150):
        told.falls(number)
    told.now += WINDOW_S - 0.1
    told.log.sum_up()
    assert not told.events("burst.summary")
    told.now += 0.1
    told.log.sum_up()
    told.log.sum_up()
    assert [line["count"] for line in told.events("burst.summary")] == [50]


def test_what_stays_below_the_rate_is_never_summed_up(told: Clocked) -> None:
    for number in range(1000):
        told.falls(number)
        told.now += 1 / 16  # 80 in a window
    assert len(told.events("real_server.state_changed")) == 1000
    assert not told.events("burst.summary")


def test_a_crowd_that_does_not_end_is_summed_up_in_every_window(told: Clocked) -> None:
    for number in range(3 * 640):
        told.falls(number)
        told.now += 1 / 128  # 640 in a window
    told.log.sum_up(at_once=True)
    assert len(told.events("real_server.state_changed")) == 3 * KIND_LINES_MAX
    assert [line["count"] for line in told.events("burst.summary")] == [540, 540, 540]


def test_recoveries_are_counted_apart_from_failures_and_are_information(told: Clocked) -> None:
    for number in range(150):
        told.falls(number)
        told.falls(number, "UP")
    told.log.sum_up(at_once=True)
    assert [(line["of_level"], line["level"], line["count"]) for line in told.events("burst.summary")] == [
        ("warning", "warning", 50),
        ("info", "info", 50),
    ]


def test_what_is_no_crowd_is_always_written(told: Clocked) -> None:
    for _ in range(1000):
        told.log.emit("admin.request", "Somebody asked.", verb="drain", outcome="done")
    assert len(told.events("admin.request")) == 1000


def test_without_a_clock_nothing_is_summed_up() -> None:
    lines: list[bytes] = []
    log = Log(lambda line, _level: lines.append(line), strict=True)
    for number in range(500):
        log.emit("check.changed", f"{number}", up=False)
    log.sum_up(at_once=True)
    assert len(lines) == 500


def test_a_summary_of_ten_thousand_servers_with_long_names_is_a_short_line(told: Clocked) -> None:
    address = "[2001:db8:1111:2222:3333:4444:5555:%x]:65535"
    for number in range(10_000):
        told.log.emit(
            "check.changed", "x", up=False, virtual_server=f"{address % number}/tcp", real_server=address % number
        )
    told.now += WINDOW_S
    told.log.sum_up()
    assert told.longest < LINE_MAX_BYTES // 3
    assert told.events("burst.summary")[0]["count"] == 10_000 - KIND_LINES_MAX


def test_memory_is_bounded_whatever_comes() -> None:
    bursts = Bursts()
    for number in range(3 * COUNTED_MAX):
        bursts.admits("x", "info", {"virtual_server": str(number), "real_server": str(number)}, 1.0)
    (window,) = bursts._windows.values()
    assert len(window.virtual_servers) == COUNTED_MAX
    assert len(window.real_servers) == 20
    assert len(list(bursts.over(100.0))) == 1
    assert not bursts._windows


def test_every_crowd_names_what_a_summary_can_count() -> None:
    """A summary of lines without a server, a check or a sink would say nothing."""
    known = {"virtual_server", "real_server", "address", "check", "sink"}
    assert not [event for event, entry in CATALOGUE.items() if entry.crowd and not entry.fields.keys() & known]
