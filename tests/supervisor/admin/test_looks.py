"""The part of a status that one wants to see, and colours beside the words."""

from __future__ import annotations

import re
from typing import Any

import pytest

from supervisor.admin import words
from supervisor.admin.paint import paint
from supervisor.admin.patterns import fits, real_server_fits, virtual_server_fits
from supervisor.admin.sieve import sieve
from supervisor.core.snapshot import as_json
from tests.fakes import snapshots


def server(name: str, *rows: tuple[str, str], quorate: bool = True, suspended: bool = False) -> dict[str, Any]:
    real_servers = [{"real_server": row, "health": health, "override": None} for row, health in rows]
    return {"virtual_server": name, "quorate": quorate, "suspended": suspended, "real_servers": real_servers}


WEB = server("203.0.113.1:80/tcp", ("10.0.0.1:80", "UP"), ("10.0.0.2:80", "DOWN"))
MAIL = server("[2001:db8::1]:25/tcp", ("[2001:db8::21]:25", "UP"))
LOST = server("fwm:7/ipv4", ("10.0.0.3:0", "UP"), quorate=False)
AWAY = server("203.0.113.9:80/tcp", ("10.0.0.1:80", "DOWN"), quorate=False, suspended=True)
ALL = {"virtual_servers": [WEB, MAIL, LOST, AWAY]}


def names(found: dict[str, Any]) -> list[tuple[str, list[str]]]:
    servers = found["virtual_servers"]
    return [(one["virtual_server"], [row["real_server"] for row in one["real_servers"]]) for one in servers]


@pytest.mark.parametrize(
    ("patterns", "wanted"),
    [
        (["203.0.113.1:80"], [(WEB, 2)]),
        (["203.0.113.*"], [(WEB, 2), (AWAY, 1)]),
        (["10.0.0.2"], [(WEB, 1)]),
        (["10.0.0.?:80"], [(WEB, 2), (AWAY, 1)]),
        (["[2001:db8::21]:25"], [(MAIL, 1)]),
        (["2001:db8::2*"], [(MAIL, 1)]),
        (["fwm:*", "*:25/tcp"], [(MAIL, 1), (LOST, 1)]),
        (["nothing"], []),
    ],
)
def test_what_fits_one_of_the_patterns_is_shown(patterns: list[str], wanted: list[tuple[dict[str, Any], int]]) -> None:
    shown = names(sieve(ALL, patterns, down=False))
    assert [(name, len(rows)) for name, rows in shown] == [(one["virtual_server"], count) for one, count in wanted]


def test_what_is_down_is_shown_and_nothing_else() -> None:
    assert names(sieve(ALL, [], down=True)) == [("203.0.113.1:80/tcp", ["10.0.0.2:80"]), ("fwm:7/ipv4", [])]
    assert names(sieve(ALL, ["10.0.0.1*"], down=True)) == []


def test_what_an_operator_changed_is_shown_and_nothing_else() -> None:
    drained = {**MAIL["real_servers"][0], "override": {"admin": "draining"}}
    changed = {"virtual_servers": [WEB, {**MAIL, "real_servers": [drained]}, LOST, AWAY]}
    assert names(sieve(changed, [], overridden=True)) == [("[2001:db8::1]:25/tcp", ["[2001:db8::21]:25"])]
    assert names(sieve(changed, ["10.*"], overridden=True)) == []
    assert names(sieve(changed, [], down=True, overridden=True)) == [
        ("203.0.113.1:80/tcp", ["10.0.0.2:80"]),
        ("[2001:db8::1]:25/tcp", ["[2001:db8::21]:25"]),
        ("fwm:7/ipv4", []),
    ]


def test_brackets_are_an_addresss_and_no_pattern() -> None:
    assert fits("[2001:db8::*]:80", "[2001:db8::1]:80")
    assert not fits("10.0.0.[12]", "10.0.0.1")
    assert virtual_server_fits("10.0.0.1:80", "10.0.0.1:80/tcp")
    assert real_server_fits("2001:db8::1", "[2001:db8::1]:80")


def test_colours_say_nothing_that_words_do_not() -> None:
    text = words.status(as_json(snapshots.snapshot()))
    painted = paint(text)
    assert painted != text
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == text


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("✖ DOWN", "31"),
        ("● UP", "32"),
        ("◐ draining, by alice", "34"),
        ("! WRITES PAUSED by alice", "1;31"),
        ("VIPERVISOR OK - x", "32"),
    ],
)
def test_each_state_has_its_colour(said: str, code: str) -> None:
    assert f"\x1b[{code}m" in paint(said)
