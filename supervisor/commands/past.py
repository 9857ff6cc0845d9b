"""Verbs about what was: history, events."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from supervisor.admin import client, pastwords
from supervisor.admin.protocol import Request, Status
from supervisor.commands import shape

MOST_MAX = 1000
"""Entries that may be asked for: what the daemon has of a server is less."""

EVENTS_MAX = 5000


def add(verbs: Any) -> None:
    """Put the verbs into the parser."""
    history = shape.verb(
        verbs,
        "history",
        "show what happened to a real server or a virtual server",
        "Show what happened to a real server, or to a virtual server and its real servers, also before the last restart: results of\n"
        "probes, transitions and what led to them, what operators wanted and what the kernel refused. What failed is kept much longer\n"
        "than what went well: of successes there is the last run, with its number.",
        _history,
    )
    history.add_argument(
        "name", metavar="RS|VS", help="a real server (address or address:port) or a virtual server, as status names it"
    )
    history.add_argument(
        "--in", dest="virtual_server", metavar="VS", help="of a real server: only in this virtual server"
    )
    _add_most(history, 50, MOST_MAX, "the last N entries of each (default: 50)")
    shape.add_answer(history)
    events = shape.verb(
        verbs,
        "events",
        "show what happened in the whole program, and what happens",
        "Show the last events of the whole program: the same as in its log, under the same names, also from before the last restart.",
        _events,
    )
    _add_most(events, None, EVENTS_MAX, "the last N events (default: 50; with --since all)")
    events.add_argument("--since", type=shape.duration, metavar="TIME", help="of the last TIME: 90, 90s, 30m, 2h, 1d")
    events.add_argument(
        "--type",
        action="append",
        dest="types",
        default=[],
        metavar="NAME",
        help="of this type (real_server.state_changed), of this kind (real_server) or of such a name ('*quorum*'); may be repeated",
    )
    events.add_argument("--follow", action="store_true", help="go on with what happens, until interrupted")
    events.add_argument(
        "--json", action="store_true", help="print one JSON object; with --follow one for each event, a line each"
    )
    shape.add_color(events)
    shape.add_socket(events)


def _add_most(parser: argparse.ArgumentParser, default: int | None, most: int, text: str) -> None:
    def number(word: str) -> int:
        if not (word.isascii() and word.isdecimal() and 1 <= int(word) <= most):
            raise argparse.ArgumentTypeError(f"expected 1 to {most}, got {word!r}")
        return int(word)

    parser.add_argument("-n", dest="most", type=number, default=default, metavar="N", help=text)


def _history(options: argparse.Namespace) -> int:
    args = {"name": options.name, "most": options.most, "virtual_server": options.virtual_server}
    request = Request("history", {name: value for name, value in args.items() if value is not None})
    shape.show(client.ask(shape.socket_of(options), request), options, pastwords.history)
    return Status.FINE


def _events(options: argparse.Namespace) -> int:
    args = {"most": options.most, "since_s": options.since, "types": options.types, "follow": options.follow}
    request = Request("events", {name: value for name, value in args.items() if value})
    if not options.follow:
        shape.show(client.ask(shape.socket_of(options), request), options, pastwords.events)
        return Status.FINE
    schema: int | None = None
    for said in client.follow(shape.socket_of(options), request):
        if schema is None:  # the answer, and then what happens
            schema = said["schema"]
            for event in said["events"]:
                _say(event, schema, options)
        else:
            _say(said, schema, options)
    return Status.FINE


def _say(event: Any, schema: int, options: argparse.Namespace) -> None:
    """Print one event of those that are followed; an int says how many were lost."""
    if not isinstance(event, int):
        print(
            json.dumps({"schema": schema, **event}) if options.json else "\n".join(pastwords.event(event)), flush=True
        )
    elif options.json:
        print(json.dumps({"schema": schema, "dropped": event}), flush=True)
    else:
        print(f"vipervisor: {event} events were lost here: this end was too slow", file=sys.stderr)
