"""Verbs that change what real servers get: drain, disable, enable, weight, host."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from supervisor.admin import client, orderwords
from supervisor.admin.protocol import Request, RequestError, Status
from supervisor.commands import shape

WAIT_S = 600.0
"""How long `--wait` waits when it does not say."""

LOOK_S = 1.0
"""How often `--wait` looks; the kernel renews its counts every two seconds."""

_FORCE = "do it though it leaves a virtual server without its quorum"
_ENDS = "With --for it ends by itself; without, it stands until somebody says enable. Health is checked and told all the while."


def add(verbs: Any) -> None:
    """Put the verbs into the parser."""
    drain = _order(
        verbs,
        "drain",
        "send nobody new to a real server; who is connected stays",
        "Give a real server weight 0: who is connected stays, nobody new comes (but clients with persistence, who come back).\n"
        + _ENDS,
        _drain,
    )
    _add_wait(drain)
    _order(
        verbs,
        "disable",
        "take a real server out at once",
        "Take a real server out of the kernel's table, as if its checks failed (weight 0 with inhibit_on_failure). Connections to it\n"
        "break; drain is kinder.\n" + _ENDS,
        _disable,
    )
    enable = _order(
        verbs,
        "enable",
        "end a drain, a disable or a weight",
        "End what an operator said of a real server: it has what the file and its checks give it again.",
        _enable,
        lasting=False,
    )
    enable.set_defaults(duration=None, reason="")
    weight = _order(
        verbs,
        "weight",
        "give a real server another weight",
        "Give a real server another weight than the file or its checks say, while it is up.\n" + _ENDS,
        _weight,
    )
    _add_host(verbs)
    weight.add_argument("weight", type=_weight_of, metavar="N", help="0 to 65535")


def _order(
    verbs: Any,
    name: str,
    help_text: str,
    description: str,
    carry_out: Callable[[argparse.Namespace], int],
    *,
    lasting: bool = True,
) -> argparse.ArgumentParser:
    parser = shape.verb(verbs, name, help_text, description, carry_out)
    shape.add_target(parser)
    _add_wish(parser, lasting=lasting)
    return parser


def _add_host(verbs: Any) -> None:
    host = shape.verb(
        verbs,
        "host",
        "drain, disable or enable one machine in every virtual server",
        "Say drain, disable or enable of every real server that one machine has, in every virtual server, on every port: at one stroke,\n"
        "or not at all when one of them may not.\n" + _ENDS,
        _host,
    )
    host.add_argument(
        "order", choices=["drain", "disable", "enable"], metavar="drain|disable|enable", help="what to do"
    )
    host.add_argument("host", metavar="HOST", help="an address of the machine, or a name that has addresses")
    shape.add_inside(host)
    _add_wait(host)
    _add_wish(host, lasting=True)
    host.set_defaults(real_server="")


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait",
        type=shape.duration,
        metavar="[=TIMEOUT]",
        help="after drain: wait until the active connections are gone, at most TIMEOUT (default: 10m); exit 75 when they are not",
    )


def _add_wish(parser: argparse.ArgumentParser, *, lasting: bool) -> None:
    if lasting:
        parser.add_argument(
            "--for", dest="duration", type=shape.duration, metavar="TIME", help="how long: 90, 90s, 30m, 2h, 1d"
        )
        parser.add_argument("--reason", default="", metavar="TEXT", help="why, for the log, status and why")
    parser.add_argument("--force", action="store_true", help=_FORCE)
    parser.add_argument("--yes", action="store_true", help="do it to all, where a pattern means more than one")
    shape.add_answer(parser)


def with_wait(arguments: Sequence[str]) -> list[str]:
    """Give the bare --wait of a drain its time, so that the word after it is never taken for one."""
    if arguments[:1] not in (["drain"], ["host"]):
        return list(arguments)
    return [f"--wait={WAIT_S:g}" if word == "--wait" else word for word in arguments]


def _weight_of(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"expected 0 to 65535, got {text!r}")
    return int(text)


def _drain(options: argparse.Namespace) -> int:
    _ask(options, "drain")
    return Status.FINE if options.wait is None else _wait(shape.socket_of(options), shape.target(options), options.wait)


def _host(options: argparse.Namespace) -> int:
    if options.order == "drain":
        return _drain(options)
    if options.wait is not None:
        raise RequestError("--wait belongs to drain", Status.USAGE)
    return _ask(options, options.order)


def _disable(options: argparse.Namespace) -> int:
    return _ask(options, "disable")


def _enable(options: argparse.Namespace) -> int:
    return _ask(options, "enable")


def _weight(options: argparse.Namespace) -> int:
    return _ask(options, "weight", weight=options.weight)


def _ask(options: argparse.Namespace, verb: str, **more: Any) -> int:
    said = {"reason": options.reason, "force": options.force, "yes": options.yes, "for_s": options.duration}
    args = {**shape.target(options), **more, **{name: value for name, value in said.items() if value}}
    answer = client.ask(shape.socket_of(options), Request(verb, args))
    shape.show(answer, options, orderwords.ordered)
    return Status.FINE


def _wait(socket: Path, target: dict[str, Any], timeout_s: float) -> int:
    """Wait until nobody is connected to the drained servers any more; say how many are left whenever that changes.

    Raises RequestError when somebody ends the drain, or the time is over.
    """
    end = time.monotonic() + timeout_s
    said = ""
    while True:
        servers = client.ask(socket, Request("servers", target))
        busy = [row for row in servers if orderwords.is_busy(row)]
        if not busy:
            print("drained: no active connections are left", file=sys.stderr)
            return Status.FINE
        if any(row["admin"] == "enabled" for row in servers):
            raise RequestError("the drain was ended meanwhile; `vipervisor why` says more", Status.FAILED)
        left = orderwords.left(busy)
        if time.monotonic() >= end:
            raise RequestError(f"not drained within {timeout_s:g} s: {left}; the drain stands", Status.TIMEOUT)
        if left != said:
            print(f"waiting: {left}", file=sys.stderr, flush=True)
            said = left
        time.sleep(min(LOOK_S, max(end - time.monotonic(), 0.0)))
