"""What all verbs of the command line have in common: their parser, the socket to ask at, and durations as people write them."""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from supervisor.admin import client
from supervisor.admin.paint import paint
from supervisor.admin.protocol import MEANINGS, RequestError, Status

EPILOG = "exit status:\n" + "".join(f"  {status:<3} {meaning}\n" for status, meaning in MEANINGS.items())

DURATION_MAX_S = 10 * 366 * 86400.0
"""Ten years: longer is a slip of the finger."""

SCHEMA = 1
"""Version of what --json prints, where the answer has none of its own. It grows when something goes or changes its meaning."""

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def verb(
    verbs: Any, name: str, help_text: str, description: str, carry_out: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """Add a verb to the command line and return its parser."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=help_text,
        description=description,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(carry_out=carry_out)
    return parser


def add_socket(parser: argparse.ArgumentParser) -> None:
    """Let the daemon's socket be named."""
    parser.add_argument(
        "--admin-socket",
        type=Path,
        metavar="PATH",
        help="the daemon's Unix socket (default: vipervisor/admin.sock in the run-time directory)",
    )


def add_answer(parser: argparse.ArgumentParser) -> None:
    """Let the answer be JSON, and the daemon's socket be named."""
    parser.add_argument("--json", action="store_true", help="print the answer as JSON (docs/schemas has its form)")
    add_color(parser)
    add_socket(parser)


def add_color(parser: argparse.ArgumentParser) -> None:
    """Let colours be chosen."""
    parser.add_argument(
        "--color",
        choices=["auto", "always", "never"],
        default="auto",
        help="colours beside the words; auto: on a terminal, unless NO_COLOR is set or TERM is dumb (default: auto)",
    )


def colors(options: argparse.Namespace) -> bool:
    """Tell whether to print in colours (no-color.org; what is asked for on the command line wins)."""
    if options.color != "auto":
        return bool(options.color == "always")
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def add_target(parser: argparse.ArgumentParser) -> None:
    """Let a real server be named, everywhere or in one virtual server."""
    parser.add_argument(
        "real_server",
        metavar="RS",
        help="address or address:port of the real server ([v6]:port), or a pattern of these with * and ?",
    )
    add_inside(parser)


def add_inside(parser: argparse.ArgumentParser) -> None:
    """Let a virtual server be named, to which the verb is confined."""
    parser.add_argument(
        "--in",
        dest="virtual_server",
        metavar="VS",
        help="only in this virtual server, as status names it, or a pattern",
    )


def target(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of a request that `add_target` parsed."""
    args: dict[str, Any] = {"real_server": options.real_server}
    if getattr(options, "host", None):
        args = {"hosts": _addresses(options.host)}
    return {**args, "virtual_server": options.virtual_server} if options.virtual_server else args


def _addresses(host: str) -> list[str]:
    """Return the addresses of a machine: its own if it is one, else those of its name. Raises RequestError."""
    try:
        return [str(ip_address(host.strip("[]")))]
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise RequestError(f"{host}: no address, and no name that has one: {error}", Status.NOT_FOUND) from None
    return sorted({str(entry[4][0]).partition("%")[0] for entry in found})


def socket_of(options: argparse.Namespace) -> Path:
    """Return where the daemon listens."""
    found: Path = options.admin_socket or client.default_socket()
    return found


def show(answer: Any, options: argparse.Namespace, words: Callable[[Any], str]) -> None:
    """Print an answer in words, or as JSON with --json."""
    if options.json:
        print(json.dumps(numbered(answer), indent=2))
        return
    text = words(answer)
    print(paint(text) if colors(options) else text, end="")


def numbered(answer: Any) -> dict[str, Any]:
    """Return an answer with the version of its schema (docs/schemas); several answers become one object."""
    if isinstance(answer, list):
        return {"schema": SCHEMA, "answers": answer}
    return answer if "schema" in answer else {"schema": SCHEMA, **answer}


def duration(text: str) -> float:
    """Return the seconds of a duration: 90, 90s, 30m, 2h, 1d. For argparse, which makes the error."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", text)
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not 0 < seconds <= DURATION_MAX_S:
        raise argparse.ArgumentTypeError(f"expected a duration such as 90, 90s, 30m, 2h or 1d, got {text!r}")
    return seconds
