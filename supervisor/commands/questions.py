"""Verbs that change nothing: status, why, check-now."""

from __future__ import annotations

import argparse
from typing import Any

from supervisor.admin import checkwords, client, words
from supervisor.admin.protocol import Request, Status
from supervisor.commands import shape

CHECKING_S = 70.0
"""How long the command line waits for probes on request; longer than the daemon lets them take (checknow.LIMIT_S)."""


def add(verbs: Any) -> None:
    """Put the verbs into the parser."""
    status = shape.verb(
        verbs,
        "status",
        "show what runs now",
        "Show what runs now: virtual servers, real servers, health, weights, and what operators want of them.",
        _status,
    )
    status.add_argument("--json", action="store_true", help="print everything as one JSON object")
    shape.add_socket(status)
    why = shape.verb(
        verbs,
        "why",
        "explain the present weight of a real server",
        "Explain the present weight of a real server: operator, probe, check, real server, quorum, kernel write and read-back.",
        _why,
    )
    shape.add_target(why)
    why.add_argument("--json", action="store_true", help="print the chain as JSON")
    shape.add_socket(why)

    check_now = shape.verb(
        verbs,
        "check-now",
        "probe a real server now and show what came of it",
        "Have the checks of a real server made now, beside their schedule, and show what came of each. With --trace everything is shown\n"
        "that passed: where to, what was sent, what came back, how long each step took, and the rule that was broken. Secrets are masked.\n"
        "Such a probe counts for nothing: it takes nobody in or out. No check can be asked for again within a second.",
        _check_now,
    )
    shape.add_target(check_now)
    check_now.add_argument("--trace", action="store_true", help="show everything that was sent and received")
    check_now.add_argument("--json", action="store_true", help="print the results as JSON")
    shape.add_socket(check_now)


def _check_now(options: argparse.Namespace) -> int:
    """Ask, show, and tell by the exit status whether all passed."""
    args = {**shape.target(options), **({"trace": True} if options.trace else {})}
    answer = client.ask(shape.socket_of(options), Request("check-now", args), CHECKING_S)
    shape.show(answer, options, checkwords.checked)
    passed = all(check["result"] is not None and check["result"]["ok"] for check in answer["checks"])
    return Status.FINE if passed else Status.FAILED


def _status(options: argparse.Namespace) -> int:
    shape.show(client.ask(shape.socket_of(options), Request("status")), options, words.status)
    return Status.FINE


def _why(options: argparse.Namespace) -> int:
    shape.show(client.ask(shape.socket_of(options), Request("why", shape.target(options))), options, words.why)
    return Status.FINE
