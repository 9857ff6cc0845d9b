"""Verbs that change nothing: status, why, check-now."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from supervisor.admin import checkwords, client, words
from supervisor.admin.protocol import Request, RequestError, Status
from supervisor.admin.sieve import sieve
from supervisor.commands import shape

WATCH_S = 2.0
"""How often `--watch` looks when it does not say: the kernel renews its counts as often."""

PATTERNS_MAX = 64
"""Patterns that the daemon holds against its names (insight.PATTERNS_MAX); of more we choose here."""

CHECKING_S = 70.0
"""How long the command line waits for probes on request; longer than the daemon lets them take (checknow.LIMIT_S)."""


def add(verbs: Any) -> None:
    """Put the verbs into the parser."""
    status = shape.verb(
        verbs,
        "status",
        "show what runs now",
        "Show what runs now: virtual servers, real servers, health, weights, and what operators want of them;\n"
        "all, or what fits a PATTERN. With --down the exit status is 1 when something is.",
        _status,
    )
    status.add_argument(
        "patterns",
        nargs="*",
        metavar="PATTERN",
        help="a virtual or real server as status names it, its address alone, or a pattern of these with * and ?",
    )
    status.add_argument(
        "--down", action="store_true", help="show only what is down: real servers, and virtual ones without quorum"
    )
    status.add_argument(
        "--overridden",
        action="store_true",
        help="show only real servers that an operator drained, disabled or gave a weight: who, why, until when (with --down: these, too)",
    )
    status.add_argument(
        "--watch",
        type=shape.duration,
        metavar="[=SECONDS]",
        help="show it again and again (default: every 2 s) until interrupted",
    )
    shape.add_answer(status)
    why = shape.verb(
        verbs,
        "why",
        "explain the present weight of a real server",
        "Explain the present weight of a real server: operator, probe, check, real server, quorum, kernel write and read-back.",
        _why,
    )
    shape.add_target(why)
    shape.add_answer(why)

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
    shape.add_answer(check_now)


def _check_now(options: argparse.Namespace) -> int:
    """Ask, show, and tell by the exit status whether all passed."""
    args = {**shape.target(options), **({"trace": True} if options.trace else {})}
    answer = client.ask(shape.socket_of(options), Request("check-now", args), CHECKING_S)
    shape.show(answer, options, checkwords.checked)
    passed = all(check["result"] is not None and check["result"]["ok"] for check in answer["checks"])
    return Status.FINE if passed else Status.FAILED


def with_watch(arguments: Sequence[str]) -> list[str]:
    """Give the bare --watch of a status its time, so that the word after it is never taken for one."""
    if arguments[:1] != ["status"]:
        return list(arguments)
    return [f"--watch={WATCH_S:g}" if word == "--watch" else word for word in arguments]


def _status(options: argparse.Namespace) -> int:
    if options.watch is not None:
        return _watch(options)
    return _show_status(options)


def _show_status(options: argparse.Namespace) -> int:
    args: dict[str, Any] = {"down": True} if options.down and not options.overridden else {}
    if options.patterns and len(options.patterns) <= PATTERNS_MAX:
        args["patterns"] = options.patterns
    snapshot = client.ask(shape.socket_of(options), Request("status", args))
    # nothing more goes, unless an operator's changes are asked for, or the daemon is older than we are
    found = sieve(snapshot, options.patterns, down=options.down, overridden=options.overridden)
    if options.patterns and not found["virtual_servers"] and not (options.down or options.overridden):
        raise RequestError(f"nothing fits {' or '.join(options.patterns)}", Status.NOT_FOUND)
    shape.show(found, options, lambda shown: words.status(shown, _touched_s(shown["process"])))
    down = sieve(snapshot, options.patterns, down=True)["virtual_servers"] if options.down else []
    return Status.FAILED if down else Status.FINE


def _touched_s(process: dict[str, Any]) -> float | None:
    """Return how long ago the configuration file was touched, None where that was before it was loaded or cannot be seen from here.

    Files that it includes are not looked at; whether anything in it is another says `plan`.
    """
    file = Path(process["config_source"])
    try:
        found = file.stat() if file.is_absolute() else None
    except OSError:
        found = None
    if found is None:
        return None
    age_s = time.time() - max(found.st_mtime, found.st_ctime)  # ctime: a file that was moved there has an old mtime
    return age_s if age_s < process["config_age_s"] else None


def _watch(options: argparse.Namespace) -> int:
    """Show it until interrupted. A daemon that does not answer is shown too: it may come back."""
    clear = "\x1b[H\x1b[2J" if sys.stdout.isatty() else ""
    while True:
        print(clear, end="")
        try:
            _show_status(options)
        except RequestError as error:
            print(f"vipervisor: {error}")
        print(flush=True)
        time.sleep(options.watch)


def _why(options: argparse.Namespace) -> int:
    shape.show(client.ask(shape.socket_of(options), Request("why", shape.target(options))), options, words.why)
    return Status.FINE
