"""The operator's command line: `vipervisor VERB`.

Parses arguments, prints, and returns an exit status; the work is elsewhere. A verb imports only what it needs, so that a question
to the daemon is answered in a moment. Exit statuses are `admin.protocol.Status` (observability.md, section 4.2).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from supervisor import __version__
from supervisor.admin.protocol import MEANINGS, Request, RequestError, Status

DEFAULT_FILE = Path("/etc/keepalived/keepalived.conf")
"""What `-t` checks when no file is named, as keepalived does. Every other use names its file."""

LOADING_S = 60.0
"""How long the command line waits while the daemon reads a file; 200,000 lines take two seconds, and others may be before us."""

EPILOG = "exit status:\n" + "".join(f"  {status:<3} {meaning}\n" for status, meaning in MEANINGS.items())


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command line and return the exit status."""
    options = parser().parse_args(_as_check(sys.argv[1:] if arguments is None else arguments))
    carry_out: Callable[[argparse.Namespace], int] = options.carry_out
    try:
        status = carry_out(options)
        sys.stdout.flush()  # here, where a reader that has gone is expected, and not at the interpreter's end
    except RequestError as error:
        print(f"vipervisor: {error}", file=sys.stderr)
        return int(error.status)
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Status.FINE
    except KeyboardInterrupt:
        return 130
    return status


def _as_check(arguments: Sequence[str]) -> list[str]:
    """Turn `-t` and `--config-test`, as keepalived is called, into the verb `check`."""
    first, *rest = arguments or [""]
    if first not in {"-t", "--config-test"}:
        return list(arguments)
    return ["check", "--default-file", *rest]


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; the manual is made from it too (deploy/man)."""
    parser = argparse.ArgumentParser(
        prog="vipervisor",
        description="Health checking and failover for Linux Virtual Server (IPVS) directors; reads keepalived.conf.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vipervisor {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    _add_run(verbs)
    _add_check(verbs)
    _add_table(verbs)
    _add_status(verbs)
    _add_why(verbs)
    _add_plan(verbs)
    _add_reload(verbs)
    _add_confirm(verbs)
    return parser


def _verb(
    verbs: Any, name: str, help_text: str, description: str, carry_out: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
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


def _add_run(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "run",
        "run the daemon in the foreground",
        "Run the daemon in the foreground: check the real servers and keep the kernel's IPVS table as it should be.\n"
        "SIGTERM and SIGINT stop it and remove what it owns; SIGHUP loads the file again.",
        _run,
    )
    parser.add_argument(
        "-f", "--file", type=Path, required=True, metavar="FILE", help="the configuration (keepalived.conf)"
    )
    _add_reading(parser)
    parser.add_argument(
        "--backend",
        choices=["auto", "kernel", "memory"],
        default="auto",
        help="which table to keep: the kernel's IPVS (auto, kernel), or one in memory that touches nothing (default: auto)",
    )
    parser.add_argument(
        "-I",
        "--dont-release-ipvs",
        dest="keep",
        action="store_true",
        help="leave the kernel's table and the addresses as they are when told to stop; the next start takes them over",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything, change and tell nothing (no table, no addresses, no mail, no scripts), and log every disagreement"
        " with the kernel's table: for running beside a live keepalived",
    )
    parser.add_argument(
        "--exporter",
        type=_listen_address,
        default="127.0.0.1:9720",
        metavar="ADDRESS:PORT",
        help="where /metrics is served; IPv6 in brackets; 'off' for nowhere (default: 127.0.0.1:9720)",
    )
    parser.add_argument(
        "--log-format",
        choices=["auto", "json", "text"],
        default="auto",
        help="of the log on standard output; auto: text on a terminal, JSON lines on anything else (default: auto)",
    )
    _add_socket(parser)
    parser.add_argument(
        "--admin-group",
        default="",
        metavar="NAME",
        help="a group whose members may ask the daemon (status, why) over its socket, besides root and its own user (default: none)",
    )
    parser.add_argument(
        "--admin-group-may-change",
        action="store_true",
        help="let the members of that group change things as well (drain, weight, reload)",
    )
    parser.add_argument(
        "--user",
        default="nobody",
        metavar="NAME",
        help="the unprivileged user that checkers and exporter run as when started by root (default: nobody)",
    )
    parser.add_argument(
        "--workers",
        type=_worker_count,
        default=0,
        metavar="N",
        help="checker processes, 1 to 64 (default: by processors and number of checks)",
    )


def _add_check(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "check",
        "check a configuration file",
        "Check a configuration file: every problem at once, each with its place and a suggestion.\n"
        "Needs no privileges and touches nothing. `vipervisor -t` is the same for whoever is used to `keepalived -t`.",
        _check,
    )
    _add_file(parser)
    parser.add_argument("--strict", action="store_true", help="exit 4 when there are only warnings")
    parser.add_argument(
        "--default-file", action="store_true", help=f"without a FILE, check {DEFAULT_FILE} (what -t does)"
    )


def _add_table(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "table",
        "show the kernel table that a file leads to",
        "Show what the kernel's table will be at start, before any check, as `ipvsadm -Sn` prints it\n"
        "(so that it can be piped into `ipvsadm -R`).",
        _table,
    )
    _add_file(parser)


def _add_status(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "status",
        "show what runs now",
        "Show what runs now: virtual servers, real servers, health, weights.",
        _status,
    )
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")
    _add_socket(parser)


def _add_why(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "why",
        "explain the present weight of a real server",
        "Explain the present weight of a real server: probe, check, real server, quorum, kernel write and read-back.",
        _why,
    )
    parser.add_argument("real_server", metavar="RS", help="address or address:port of the real server ([v6]:port)")
    parser.add_argument(
        "--in", dest="virtual_server", metavar="VS", help="only in this virtual server, as status names it"
    )
    parser.add_argument("--json", action="store_true", help="print the chain as JSON")
    _add_socket(parser)


def _add_plan(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "plan",
        "show what a reload would do to the kernel",
        "Ask the running daemon what a reload with FILE (without one: its own file as it is now) would change,\n"
        "with the connections that each change touches. Nothing is changed.",
        _plan,
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="the configuration to look at")
    _add_json(parser)


def _add_reload(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "reload",
        "have the daemon load its file again",
        "Have the running daemon load its file again: all of it, or nothing when it has a mistake (exit status 3).\n"
        "Says what changed, or every mistake with its place.",
        _reload,
    )
    parser.add_argument(
        "--wait",
        nargs="?",
        type=_duration,
        const=30.0,
        metavar="SECONDS",
        help="wait until the kernel is as wanted, for so long at most (30 without a number); exit status 75 when it is not",
    )
    parser.add_argument(
        "--confirm-within",
        type=_duration,
        metavar="SECONDS",
        help="the configuration before comes back by itself unless `vipervisor confirm` is said in time",
    )
    _add_json(parser)


def _add_confirm(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "confirm",
        "keep a configuration that is on trial",
        "Keep the configuration that runs after `reload --confirm-within`. Exit status 7 when none is on trial.",
        _confirm,
    )
    _add_json(parser)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    _add_socket(parser)


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("positional", nargs="?", type=Path, metavar="FILE", help="the configuration file")
    parser.add_argument("-f", "--file", type=Path, metavar="FILE", help="the same")
    _add_reading(parser)
    parser.set_defaults(usage_error=parser.error)


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-i",
        "--config-id",
        metavar="ID",
        help="which lines that begin with @ID or @^ID count (default: the host's name up to its first dot)",
    )
    parser.add_argument(
        "--lenient",
        action="store_true",
        help="ignore extra words and unknown keywords as keepalived does, each with a warning",
    )


def _add_socket(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--admin-socket",
        type=Path,
        metavar="PATH",
        help="the daemon's Unix socket (default: vipervisor/admin.sock in the run-time directory)",
    )


def _file(options: argparse.Namespace) -> Path:
    found: Path | None = options.file or options.positional
    if options.file is not None and options.positional is not None:
        found = None
    elif found is None and getattr(options, "default_file", False):
        found = DEFAULT_FILE
    if found is None:
        options.usage_error("name one configuration FILE")
        raise AssertionError("usage_error does not return")
    return found


def _socket(options: argparse.Namespace) -> Path:
    from supervisor.admin.client import default_socket  # noqa: PLC0415  (each verb imports what it needs)

    found: Path = options.admin_socket or default_socket()
    return found


def _run(options: argparse.Namespace) -> int:
    from supervisor import launch  # noqa: PLC0415  (each verb imports what it needs)

    return launch.run(
        launch.Options(
            file=options.file,
            backend=options.backend,
            exporter=options.exporter,
            log_format=options.log_format,
            admin_socket=_socket(options),
            admin_group=options.admin_group,
            admin_group_may_change=options.admin_group_may_change,
            user=options.user,
            workers=options.workers,
            config_id=options.config_id,
            lenient=options.lenient,
            dry_run=options.dry_run,
            keep=options.keep,
        )
    )


def _check(options: argparse.Namespace) -> int:
    from supervisor import config  # noqa: PLC0415  (each verb imports what it needs)

    outcome = config.load(_file(options), config_id=options.config_id, lenient=options.lenient)
    print(config.render(outcome, color=_color()))
    if outcome.config is None:
        return Status.CONFIG_INVALID
    return Status.CONFIG_WARNINGS if options.strict and outcome.config.warnings else Status.FINE


def _table(options: argparse.Namespace) -> int:
    from supervisor import config  # noqa: PLC0415  (each verb imports what it needs)
    from supervisor.core.director import table_at_start  # noqa: PLC0415
    from supervisor.core.rules import rules  # noqa: PLC0415

    outcome = config.load(_file(options), config_id=options.config_id, lenient=options.lenient)
    if outcome.config is None:
        print(config.render(outcome, color=_color()), file=sys.stderr)
        return Status.CONFIG_INVALID
    print(rules(table_at_start(outcome.config)), end="")
    return Status.FINE


def _status(options: argparse.Namespace) -> int:
    from supervisor.admin import client, words  # noqa: PLC0415  (each verb imports what it needs)

    answer = client.ask(_socket(options), Request("status"))
    print(json.dumps(answer, indent=2) + "\n" if options.json else words.status(answer), end="")
    return Status.FINE


def _why(options: argparse.Namespace) -> int:
    from supervisor.admin import client, words  # noqa: PLC0415  (each verb imports what it needs)

    args = {"real_server": options.real_server}
    if options.virtual_server:
        args["virtual_server"] = options.virtual_server
    answer = client.ask(_socket(options), Request("why", args))
    print(json.dumps(answer, indent=2) + "\n" if options.json else words.why(answer), end="")
    return Status.FINE


def _plan(options: argparse.Namespace) -> int:
    from supervisor.admin import client, rolloutwords  # noqa: PLC0415  (each verb imports what it needs)

    args = {} if options.file is None else {"file": str(options.file.absolute())}
    answer = client.ask(_socket(options), Request("plan", args), LOADING_S)
    print(json.dumps(answer, indent=2) + "\n" if options.json else rolloutwords.plan(answer), end="")
    return Status.FINE


def _reload(options: argparse.Namespace) -> int:
    from supervisor.admin import client, rolloutwords  # noqa: PLC0415  (each verb imports what it needs)

    args = {"wait_s": options.wait, "confirm_within_s": options.confirm_within}
    request = Request("reload", {name: value for name, value in args.items() if value is not None})
    answer = client.ask(_socket(options), request, LOADING_S + (options.wait or 0.0))
    print(json.dumps(answer, indent=2) + "\n" if options.json else rolloutwords.reload(answer), end="")
    return Status.FINE


def _confirm(options: argparse.Namespace) -> int:
    from supervisor.admin import client  # noqa: PLC0415  (each verb imports what it needs)

    answer = client.ask(_socket(options), Request("confirm"))
    print(json.dumps(answer, indent=2) if options.json else f"Configuration {answer['digest']} stays.")
    return Status.FINE


def _duration(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"expected a number of seconds, got {text!r}")
    return seconds


def _color() -> bool:
    """Colours only on a terminal that wants them (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _listen_address(text: str) -> str:
    """Check an ADDRESS:PORT of --exporter; argparse makes the error."""
    from supervisor.exporter.listen import parse_listen  # noqa: PLC0415  (each verb imports what it needs)

    if text == "off":
        return text
    try:
        _, port = parse_listen(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; 'off' for nowhere") from None
    if port == 0:
        raise argparse.ArgumentTypeError(f"expected a port of 1 to 65535, got {text!r}; 'off' for nowhere")
    return text


def _worker_count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 64):
        raise argparse.ArgumentTypeError(f"expected 1 to 64, got {text!r}")
    return int(text)
