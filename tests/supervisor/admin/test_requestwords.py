"""A request in the words in which an operator would type it."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor.admin.requestwords import SAID_MAX, said


@pytest.mark.parametrize(
    ("verb", "args", "words"),
    [
        ("reload", {}, "reload"),
        (
            "drain",
            {"real_server": "10.0.0.1:80", "for_s": 7200.0, "reason": "new disk"},
            "drain 10.0.0.1:80 for 2 h (new disk)",
        ),
        (
            "weight",
            {
                "real_server": "10.0.0.1:80",
                "virtual_server": "192.0.2.1:80",
                "weight": 5,
                "for_s": 86400.0,
                "force": True,
            },
            "weight 10.0.0.1:80 5 in 192.0.2.1:80 for 1 day force",
        ),
        ("weight", {"real_server": "10.0.0.1:80", "weight": 0}, "weight 10.0.0.1:80 0"),
        ("reload", {"wait_s": None, "confirm_within_s": 120.0}, "reload confirm_within_s=2 min"),
        ("sync", {"dry_run": True}, "sync dry run"),
        ("drain", {"real_server": ["odd"], "for_s": float("inf")}, "drain ['odd'] for inf"),
        ("drain", {"real_server": "a\nb\ud800"}, "drain a\\nb?"),
    ],
)
def test_a_request_is_said_as_it_is_typed(verb: str, args: dict[str, Any], words: str) -> None:
    assert said(verb, args) == words


def test_a_long_request_is_cut() -> None:
    assert len(said("drain", {"reason": "x" * 10_000})) == SAID_MAX
