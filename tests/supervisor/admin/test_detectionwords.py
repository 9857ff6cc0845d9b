"""What `why` and `plan` show of the time that noticing takes."""

from __future__ import annotations

from typing import Any

from supervisor.admin import detectionwords
from supervisor.admin.rolloutwords import plan


def span(expected_s: float, worst_s: float) -> dict[str, float]:
    return {"expected_s": expected_s, "worst_s": worst_s}


SLOW: dict[str, Any] = {
    "refused": span(11.6, 14.7),
    "silent": span(31.7, 34.5),
    "wrong": None,
    "back": span(2.51, 15.25),
}
FAST: dict[str, Any] = {"refused": span(1.0, 1.6), "silent": span(2.0, 2.94), "wrong": None, "back": span(2.51, 15.25)}


def test_why_tells_of_each_fault_in_a_line() -> None:
    assert detectionwords.why({"busy": SLOW, "unused": None}, watched=False) == [
        "  noticed after (expected-at most): refused port 11.6-14.7 s, silent host 31.7-34.5 s, wrong answer never, back again 2.5-15.2 s"
    ]
    assert detectionwords.why({"busy": FAST, "unused": SLOW}, watched=False)[1].startswith(
        "  while it has no traffic: refused port 11.6-"
    )
    assert detectionwords.why(None, watched=False) == ["  noticed after: never, no check would notice a fault"]


def test_why_says_that_a_sentinel_is_expected_and_no_bound_rests_on_it() -> None:
    (line,) = detectionwords.why({"busy": SLOW, "unused": None}, watched=True)
    assert line.startswith(
        "  noticed after (expected-at most; a sentinel is expected, and not counted on): refused port"
    )


def test_plan_shows_what_becomes_quicker_or_slower() -> None:
    names = ["192.168.100.21:80", "192.168.100.22:80"]
    change = {"virtual_server": "203.0.113.100:80/tcp", "real_servers": names}
    answer = {
        "file": "f",
        "digest": "d",
        "changes": {
            "settings": [],
            "virtual_servers_added": [],
            "virtual_servers_removed": [],
            "virtual_servers_changed": ["203.0.113.100:80/tcp"],
            "real_servers_added": [],
            "real_servers_removed": [],
        },
        "operations": [],
        "detection": [change | {"before": {"busy": SLOW, "unused": None}, "after": {"busy": FAST, "unused": SLOW}}],
    }
    assert plan(answer).splitlines()[2:] == [
        "  Faults are noticed, and the kernel is told, after (expected-at most; a sentinel is expected, and not counted on):",
        "    203.0.113.100:80/tcp, 2 real servers: 192.168.100.21:80 to 192.168.100.22:80",
        "      refused port              11.6-14.7 s → 1.0-1.6 s",
        "      silent host               31.7-34.5 s → 2.0-2.9 s",
        "      back again                2.5-15.2 s",
        "      refused port, no traffic  11.6-14.7 s",
        "      silent host, no traffic   31.7-34.5 s",
        "      back again, no traffic    2.5-15.2 s",
    ]


def test_plan_tells_of_new_servers_and_of_those_that_nobody_would_miss() -> None:
    change = {"virtual_server": "a", "real_servers": ["b"]}
    fresh = detectionwords.plan([change | {"before": None, "after": {"busy": FAST, "unused": None}}])
    assert fresh[1:] == [
        "    a, b",
        "      refused port              1.0-1.6 s",
        "      silent host               2.0-2.9 s",
        "      back again                2.5-15.2 s",
    ]
    assert detectionwords.plan([change | {"before": {"busy": FAST, "unused": None}, "after": None}])[2:] == [
        "      no check would notice any more"
    ]
    assert detectionwords.plan([]) == []
