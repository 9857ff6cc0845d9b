"""Verbs about configurations of a running daemon: plan, reload, confirm."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from supervisor.admin import client, rolloutwords
from supervisor.admin.protocol import Request, Status
from supervisor.commands import shape

LOADING_S = 60.0
"""How long the command line waits while the daemon reads a file; 200,000 lines take two seconds, and others may be before us."""


def add(verbs: Any) -> None:
    """Put the verbs into the parser."""
    plan = shape.verb(
        verbs,
        "plan",
        "show what a reload would do to the kernel",
        "Ask the running daemon what a reload with FILE (without one: its own file as it is now) would change,\n"
        "with the connections that each change touches. Nothing is changed.",
        _plan,
    )
    plan.add_argument("file", nargs="?", type=Path, metavar="FILE", help="the configuration to look at")
    _add_json(plan)
    reload = shape.verb(
        verbs,
        "reload",
        "have the daemon load its file again",
        "Have the running daemon load its file again: all of it, or nothing when it has a mistake (exit status 3).\n"
        "Says what changed, or every mistake with its place.",
        _reload,
    )
    reload.add_argument(
        "--wait",
        nargs="?",
        type=shape.duration,
        const=30.0,
        metavar="SECONDS",
        help="wait until the kernel is as wanted, for so long at most (30 without a number); exit status 75 when it is not",
    )
    reload.add_argument(
        "--confirm-within",
        type=shape.duration,
        metavar="SECONDS",
        help="the configuration before comes back by itself unless `vipervisor confirm` is said in time",
    )
    _add_json(reload)
    confirm = shape.verb(
        verbs,
        "confirm",
        "keep a configuration that is on trial",
        "Keep the configuration that runs after `reload --confirm-within`. Exit status 7 when none is on trial.",
        _confirm,
    )
    _add_json(confirm)


def _add_json(parser: argparse.ArgumentParser) -> None:
    shape.add_answer(parser)


def _plan(options: argparse.Namespace) -> int:
    args = {} if options.file is None else {"file": str(options.file.absolute())}
    shape.show(client.ask(shape.socket_of(options), Request("plan", args), LOADING_S), options, rolloutwords.plan)
    return Status.FINE


def _reload(options: argparse.Namespace) -> int:
    args = {"wait_s": options.wait, "confirm_within_s": options.confirm_within}
    request = Request("reload", {name: value for name, value in args.items() if value is not None})
    answer = client.ask(shape.socket_of(options), request, LOADING_S + (options.wait or 0.0))
    shape.show(answer, options, rolloutwords.reload)
    return Status.FINE


def _confirm(options: argparse.Namespace) -> int:
    answer = client.ask(shape.socket_of(options), Request("confirm"))
    shape.show(answer, options, lambda kept: f"Configuration {kept['digest']} stays.\n")
    return Status.FINE
