"""Verbs about the program itself and the kernel's table as a whole: sync, pause, resume, ready, alerts, log-level, version."""

from __future__ import annotations

import argparse
from typing import Any

from supervisor import __version__
from supervisor.admin import client, selfwords
from supervisor.admin.protocol import Request, RequestError, Status
from supervisor.commands import shape

SYNC_S = 25.0
"""How long the command line waits for a sync: the daemon takes twenty seconds at most (kernelorders.READ_MAX_S, four times)."""

UNKNOWN = 3
"""Exit status of a monitoring plugin that cannot tell."""


def add(verbs: Any) -> None:
    """Put the verbs into the parser."""
    sync = shape.verb(
        verbs,
        "sync",
        "compare the kernel's table with what is wanted and put it right, now",
        "Have the daemon read the kernel's table now, show everything that is not as wanted, and put it right: also what its drift_policy\n"
        "lets stand, or what another writer keeps changing. Exit status 1 when something is left (with --dry-run: was found).",
        _sync,
    )
    sync.add_argument(
        "--dry-run", action="store_true", help="only show it (the daemon repairs by its drift_policy as ever)"
    )
    shape.add_answer(sync)
    pause = shape.verb(
        verbs,
        "pause",
        "write nothing to the kernel until resumed",
        "Have the daemon change nothing in the kernel (table, time-outs, addresses) until `resume`, or until its time is over. Checks and\n"
        "decisions go on, and everybody is told: log, metric, `systemctl status`, status. It outlives a restart of the daemon, not of the\n"
        "machine; a stop while paused leaves the table as it is.",
        _pause,
    )
    pause.add_argument("what", choices=["writes"], metavar="writes", help="what to pause: writes to the kernel")
    pause.add_argument("--reason", required=True, metavar="TEXT", help="why, for everybody who will wonder")
    pause.add_argument(
        "--for", dest="duration", type=shape.duration, metavar="TIME", help="how long: 90, 90s, 30m, 2h, 1d"
    )
    shape.add_answer(pause)
    resume = shape.verb(
        verbs,
        "resume",
        "end a pause of writes",
        "End a pause of writes: what changed meanwhile is written at once. Does nothing where none is.",
        _resume,
    )
    resume.add_argument(
        "what", nargs="?", choices=["writes"], default="writes", metavar="writes", help="what to resume"
    )
    shape.add_answer(resume)
    _add_reports(verbs)


def _add_reports(verbs: Any) -> None:
    ready = shape.verb(
        verbs,
        "ready",
        "tell whether the daemon is ready, by the exit status",
        "Exit status 0 when every active check has given a first verdict and the kernel was seen to be as wanted,\n"
        "else 1 and what is missing. For probes of a container, and for scripts that wait after a start.",
        _ready,
    )
    shape.add_answer(ready)
    alerts = shape.verb(
        verbs,
        "alerts",
        "one line for a monitoring system",
        "Print one line as a monitoring plugin (Icinga, Nagios, Checkmk) does, with figures, and exit with its status:\n"
        "0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (also when no daemon answers).",
        _alerts,
    )
    shape.add_answer(alerts)
    level = shape.verb(
        verbs,
        "log-level",
        "change how much the daemon logs",
        "Change the least level that the daemon logs, until it is restarted or told otherwise.",
        _log_level,
    )
    level.add_argument(
        "level", choices=["debug", "info", "warning", "error"], metavar="LEVEL", help="debug, info, warning or error"
    )
    shape.add_answer(level)
    version = shape.verb(
        verbs,
        "version",
        "show the versions of this command and of the daemon",
        "Show the version of this command and of the daemon that runs; they differ after an upgrade until the daemon is restarted.\n"
        "Exit status 5 when no daemon answers.",
        _version,
    )
    shape.add_answer(version)


def _sync(options: argparse.Namespace) -> int:
    args = {"dry_run": True} if options.dry_run else {}
    answer = client.ask(shape.socket_of(options), Request("sync", args), SYNC_S)
    shape.show(answer, options, selfwords.synced)
    return Status.FAILED if answer["left"] else Status.FINE


def _pause(options: argparse.Namespace) -> int:
    args = {"reason": options.reason, **({"for_s": options.duration} if options.duration else {})}
    shape.show(client.ask(shape.socket_of(options), Request("pause", args)), options, selfwords.paused)
    return Status.FINE


def _resume(options: argparse.Namespace) -> int:
    shape.show(client.ask(shape.socket_of(options), Request("resume")), options, selfwords.paused)
    return Status.FINE


def _ready(options: argparse.Namespace) -> int:
    answer = client.ask(shape.socket_of(options), Request("ready"))
    shape.show(answer, options, selfwords.ready)
    return Status.FINE if answer["ready"] else Status.FAILED


def _alerts(options: argparse.Namespace) -> int:
    try:
        answer = client.ask(shape.socket_of(options), Request("alerts"))
    except RequestError as error:
        answer = {"status": UNKNOWN, "word": "UNKNOWN", "text": str(error), "figures": {}}
    shape.show(answer, options, selfwords.alerts)
    return int(answer["status"])


def _log_level(options: argparse.Namespace) -> int:
    answer = client.ask(shape.socket_of(options), Request("log-level", {"level": options.level}))
    shape.show(
        answer, options, lambda told: f"The daemon logs from level {told['level']} on (before: {told['before']}).\n"
    )
    return Status.FINE


def _version(options: argparse.Namespace) -> int:
    answer: dict[str, Any] = {"client": __version__, "daemon": None, "trouble": ""}
    status = Status.FINE
    try:
        answer["daemon"] = client.ask(shape.socket_of(options), Request("version"))
    except RequestError as error:
        answer["trouble"], status = str(error), error.status
    shape.show(answer, options, selfwords.version)
    return status
