"""Verbs that only ask: status, why."""

from __future__ import annotations

import argparse
from typing import Any

from supervisor.admin import client, words
from supervisor.admin.protocol import Request, Status
from supervisor.commands import shape


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


def _status(options: argparse.Namespace) -> int:
    shape.show(client.ask(shape.socket_of(options), Request("status")), options, words.status)
    return Status.FINE


def _why(options: argparse.Namespace) -> int:
    shape.show(client.ask(shape.socket_of(options), Request("why", shape.target(options))), options, words.why)
    return Status.FINE
