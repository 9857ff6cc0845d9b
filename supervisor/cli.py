"""The operator's command line: `vipervisor VERB`.

Parses arguments, prints, and returns an exit status; the work is elsewhere. What talks to a running daemon is in `commands`. A verb
imports only what it needs, so that a question to the daemon is answered in a moment. Exit statuses are `admin.protocol.Status`
(observability.md, section 4.2).
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from supervisor import __version__
from supervisor.admin.protocol import RequestError, Status
from supervisor.commands import shape

DEFAULT_FILE = Path("/etc/keepalived/keepalived.conf")
"""What `-t` checks when no file is named, as keepalived does. Every other use names its file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command line and return the exit status."""
    options = _parsed(_as_check(sys.argv[1:] if arguments is None else arguments))
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


def _parsed(words: list[str]) -> argparse.Namespace:
    """Parse the words. Whoever only wants to run the daemon does without all other verbs: they would stay in memory with it, 1 MB."""
    if words[:1] == ["run"]:
        whole, verbs = _bare()
        _add_run(verbs)
        return whole.parse_args(words)
    from supervisor.commands import orders, questions  # noqa: PLC0415  (each verb imports what it needs)

    return parser().parse_args(questions.with_watch(orders.with_wait(words)))


def _as_check(arguments: Sequence[str]) -> list[str]:
    """Turn `-t` and `--config-test`, as keepalived is called, into the verb `check`."""
    first, *rest = arguments or [""]
    if first not in {"-t", "--config-test"}:
        return list(arguments)
    return ["check", "--default-file", *rest]


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; the manual is made from it too (deploy/man)."""
    from supervisor.commands import completion, orders, past, program, questions, rollout  # noqa: PLC0415  (see _parsed)

    whole, verbs = _bare()
    _add_run(verbs)
    _add_check(verbs)
    _add_explain(verbs)
    _add_table(verbs)
    questions.add(verbs)
    past.add(verbs)
    orders.add(verbs)
    rollout.add(verbs)
    program.add(verbs)
    completion.add(verbs, parser)
    return whole


def _bare() -> tuple[argparse.ArgumentParser, Any]:
    """Return the parser without any verb, and where verbs are added."""
    whole = argparse.ArgumentParser(
        prog="vipervisor",
        description="Health checking and failover for Linux Virtual Server (IPVS) directors; reads keepalived.conf.",
        epilog=shape.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    whole.add_argument("--version", action="version", version=f"vipervisor {__version__}")
    return whole, whole.add_subparsers(title="verbs", metavar="VERB", required=True)


def _add_run(verbs: Any) -> None:
    parser = shape.verb(
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
        "--keep",
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
        help="where /metrics and the status page are served; IPv6 in brackets; 'off' for nowhere (default: 127.0.0.1:9720)",
    )
    parser.add_argument(
        "--exporter-name",
        action="append",
        default=[],
        metavar="NAME",
        help="one more name that readers may ask for the exporter by, as the address bar or Prometheus has it; numeric addresses,"
        " localhost and this host's own name always do",
    )
    _add_metrics(parser)
    parser.add_argument(
        "--log-format",
        choices=["auto", "json", "text"],
        default="auto",
        help="of the log on standard output; auto: text on a terminal, JSON lines on anything else (default: auto)",
    )
    parser.add_argument(
        "--log-keys",
        choices=["native", "ecs", "otel"],
        default="native",
        help="the names in JSON lines: our own, Elastic's ECS, or OpenTelemetry's; docs/logs.md (default: native)",
    )
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        help="where is kept what the next start should know: who is down, which overrides stand, what is ours in the kernel, and what"
        " `history` tells; 'off'"
        " for nowhere (default: $STATE_DIRECTORY, else /var/lib/vipervisor for root, else $XDG_STATE_HOME/vipervisor or"
        " ~/.local/state/vipervisor; off with --backend memory and with --dry-run)",
    )
    shape.add_socket(parser)
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


def _add_metrics(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--web-config",
        type=Path,
        metavar="FILE",
        help="TLS and passwords for the exporter: a web configuration file as Prometheus's exporters have it; read again when it, a"
        " certificate or a key changes (default: neither)",
    )
    parser.add_argument(
        "--metrics-series-max",
        type=_series_max,
        default=20_000,
        metavar="N",
        help="leave real servers out of /metrics while they would make more than N series, 14 each; 0: never (default: 20000)",
    )
    parser.add_argument(
        "--metrics-detail",
        action="store_true",
        help="add traffic counters and the last duration of each check, for each real server",
    )
    parser.add_argument(
        "--metrics-node-ipvs",
        action="store_true",
        help="add the names of node_exporter's ipvs collector; run it with --no-collector.ipvs then, or sums double",
    )


def _add_check(verbs: Any) -> None:
    parser = shape.verb(
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


def _add_explain(verbs: Any) -> None:
    parser = shape.verb(
        verbs,
        "explain",
        "explain a kind of configuration problem",
        "Explain what a problem that `check` found means, why it matters and what to do, with an example.\n"
        "Each problem ends with its code in brackets. Without a CODE all of them are listed.",
        _explain,
    )
    parser.add_argument("code", nargs="?", metavar="CODE", help="such as E010")


def _add_table(verbs: Any) -> None:
    parser = shape.verb(
        verbs,
        "table",
        "show the kernel table that a file leads to",
        "Show what the kernel's table will be at start, before any check, as `ipvsadm -Sn` prints it\n"
        "(so that it can be piped into `ipvsadm -R`).",
        _table,
    )
    _add_file(parser)


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("positional", nargs="?", type=Path, metavar="FILE", help="the configuration file")
    parser.add_argument("-f", "--file", type=Path, metavar="FILE", help="the same")
    _add_reading(parser)
    shape.add_color(parser)
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


def _state_dir(options: argparse.Namespace) -> Path | None:
    from supervisor.statefolder import default_folder  # noqa: PLC0415  (each verb imports what it needs)

    if options.state_dir == "off" or options.dry_run:
        return None
    if options.state_dir is not None:
        return Path(options.state_dir)
    return None if options.backend == "memory" else default_folder(os.environ, os.geteuid())


def do_without_luxuries() -> None:
    """Keep out what structlog loads where it happens to be installed: 6 MB, of no use in any log of ours."""
    for luxury in ("rich", "greenlet"):
        sys.modules.setdefault(luxury, None)  # type: ignore[arg-type]  # the import system's word for "there is none"


def _run(options: argparse.Namespace) -> int:
    gc.disable()  # until all is there that stays (launch): to look through it again and again takes a tenth of a start's time
    do_without_luxuries()
    import trio  # noqa: F401, PLC0415  (each verb imports what it needs)

    gc.collect()  # nearly all of the garbage that imports leave is theirs, and to look through ours as well takes three times as long
    from supervisor import launch  # noqa: PLC0415
    from supervisor.exporter.extent import Extent  # noqa: PLC0415

    return launch.run(
        launch.Options(
            file=options.file,
            backend=options.backend,
            exporter=options.exporter,
            exporter_names=tuple(options.exporter_name),
            log_format=options.log_format,
            log_keys=options.log_keys,
            admin_socket=shape.socket_of(options),
            admin_group=options.admin_group,
            admin_group_may_change=options.admin_group_may_change,
            user=options.user,
            workers=options.workers,
            config_id=options.config_id,
            lenient=options.lenient,
            dry_run=options.dry_run,
            keep=options.keep,
            state_dir=_state_dir(options),
            web_config=options.web_config,
            extent=Extent(options.metrics_series_max, options.metrics_detail, options.metrics_node_ipvs),
        )
    )


def _check(options: argparse.Namespace) -> int:
    from supervisor import config  # noqa: PLC0415  (each verb imports what it needs)

    outcome = config.load(_file(options), config_id=options.config_id, lenient=options.lenient)
    print(config.render(outcome, color=shape.colors(options)))
    if outcome.config is None:
        return Status.CONFIG_INVALID
    return Status.CONFIG_WARNINGS if options.strict and outcome.config.warnings else Status.FINE


def _explain(options: argparse.Namespace) -> int:
    from supervisor.explanations import PAGES, text_of  # noqa: PLC0415  (each verb imports what it needs)

    if options.code is None:
        print("".join(f"{code}  {page.title}\n" for code, page in PAGES.items()), end="")
        return Status.FINE
    code = options.code.upper()
    if code not in PAGES:
        raise RequestError(f"{options.code}: no such code; `vipervisor explain` lists them all", Status.NOT_FOUND)
    print(text_of(code, PAGES[code]), end="")
    return Status.FINE


def _table(options: argparse.Namespace) -> int:
    from supervisor import config  # noqa: PLC0415  (each verb imports what it needs)
    from supervisor.core.director import table_at_start  # noqa: PLC0415
    from supervisor.core.rules import rules  # noqa: PLC0415

    outcome = config.load(_file(options), config_id=options.config_id, lenient=options.lenient)
    if outcome.config is None:
        print(config.render(outcome, color=shape.colors(options)), file=sys.stderr)
        return Status.CONFIG_INVALID
    print(rules(table_at_start(outcome.config)), end="")
    return Status.FINE


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


def _series_max(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= 100_000_000):
        raise argparse.ArgumentTypeError(f"expected 0 (never) to 100000000, got {text!r}")
    return int(text)


def _worker_count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 64):
        raise argparse.ArgumentTypeError(f"expected 1 to 64, got {text!r}")
    return int(text)
