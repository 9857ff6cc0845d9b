"""MISC_CHECK: the real server is up while a script of the operator says so by its exit status (keepalived.md, section 3.6).

0 is a success. With `misc_dynamic` 2 to 255 are successes too and set the weight to the status minus two (0 to 253), 0 sets it back
to the configured one, and 1 is a failure; without it any other status is. A script that is not done within `misc_timeout` is ended with
all that it started, and failed.

The script itself runs far away from here: this process has no right to start one as another user. The supervisor has the runner do
it (`kit.favours`), from the configuration, so nothing of the command is taken from here.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from checkers.kit.api import TIMING_OPTIONS, Dialer, Ending, Reason, Target, Verdict, Weighs
from checkers.kit.excerpt import clip
from checkers.kit.frozen import frozen
from checkers.kit.options import Json, Keyword, Kind

KEYWORD = "MISC_CHECK"
COMMON = TIMING_OPTIONS

OPTIONS: tuple[Keyword, ...] = (
    Keyword(
        "misc_path",
        Kind.COMMAND,
        "the script with its arguments, and the user and group that it runs as",
        required=True,
    ),
    Keyword(
        "misc_timeout",
        Kind.INTEGER,
        "time limit of the script (the virtual server's delay_loop)",
        unit="s",
        low=1,
        high=2_147_483,
    ),
    Keyword("misc_dynamic", Kind.FLAG, "exit statuses from 2 on set the weight to the status minus two", default=False),
    Keyword("user", Kind.TEXTS, "user, and group, that the script runs as"),
)


@frozen
class Script:
    """What the exit status means, and the command line for people."""

    dynamic: bool
    command: str


def prepare(options: Mapping[str, Json]) -> Script:
    """Return what the exit status means; `argv` is the command, split. Raises ValueError with a sentence for the operator."""
    argv = options.get("argv")
    if not isinstance(argv, list) or not argv or not argv[0]:
        raise ValueError("misc_path needs a command")
    return Script(bool(options.get("misc_dynamic", False)), clip(shlex.join(str(word) for word in argv)))


def weighs(options: Mapping[str, Json]) -> Weighs:
    """Return what the exit status means for the weight: nothing, if it is not dynamic."""
    return Weighs.REPLACES if options.get("misc_dynamic") else Weighs.NOTHING


async def check(target: Target, prepared: Script, dial: Dialer) -> Verdict:
    """Have the script run once. A supervisor that cannot run it at all leaves as ProbeError."""
    del target
    ended = await dial.run_script()
    match ended.ending:
        case Ending.TIMED_OUT:
            return Verdict(Reason.PROCTOUT, ended.text or "not done in time", sent=prepared.command)
        case Ending.LATE:
            return Verdict(Reason.LATE, ended.text or "ended at its limit while we stood still", sent=prepared.command)
        case Ending.FAILED | Ending.REFUSED:
            return Verdict(Reason.PROCERR, ended.text or "it did not run to its end", sent=prepared.command)
        case Ending.DONE:
            pass
    status, detail = ended.status, f"exit status {ended.status}"
    if status == 0:
        return Verdict(Reason.PROCOK, detail, sent=prepared.command, received=ended.text)
    if prepared.dynamic and status >= 2:
        weight = status - 2
        return Verdict(Reason.PROCOK, detail, sent=prepared.command, received=ended.text, weight=weight)
    return Verdict(Reason.PROCERR, detail, sent=prepared.command, received=ended.text)
