"""What may stand next on a command line: `vipervisor complete -- WORD ...`, for the shells (deploy/completion). Asks the daemon for names.

Verbs, options and choices come from the parser itself, so nothing is written down twice; names of real and virtual servers from the
daemon, within PATIENCE_S: a tab must not hang. Whatever goes wrong, nothing is offered and nothing is said. Where a file is meant,
nothing is offered either, and the shell offers files.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from supervisor.admin import client
from supervisor.admin.protocol import Request, RequestError, Status

PATIENCE_S = 0.5
"""How long a tab may wait for the daemon."""

OFFERED_MAX = 500
"""Names offered at once; a shell asks before it shows a hundred."""


def add(verbs: Any, parser: Callable[[], argparse.ArgumentParser]) -> None:
    """Put the verb into the parser; `parser` makes the whole one."""
    complete = verbs.add_parser("complete", add_help=False, allow_abbrev=False)  # not in any list: it is for shells
    complete.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    complete.set_defaults(carry_out=lambda options: _complete(options, parser()))


def _complete(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    for word in candidates(parser, words or [""])[:OFFERED_MAX]:
        print(word)
    return Status.FINE


def candidates(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """Return what the last of `words` (those behind the program's name) may become; empty where it is a file, or anything."""
    *before, current = words
    verbs = _verbs(parser)
    if not before:
        found = [name for name in verbs if name != "complete"]
    elif before[0] not in verbs:
        found = []
    else:
        found = _of_verb(verbs[before[0]], before[1:], current)
    return sorted(word for word in set(found) if word.startswith(current))


def _verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:  # noqa: SLF001  argparse has no public way to ask
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            found.update(action.choices)
    return found


def _of_verb(verb: argparse.ArgumentParser, before: Sequence[str], current: str) -> list[str]:
    options: dict[str, argparse.Action] = {}
    positional: list[argparse.Action] = []
    for action in verb._actions:  # noqa: SLF001  see _verbs
        options.update(dict.fromkeys(action.option_strings, action))
        if not action.option_strings:
            positional.append(action)
    socket = _socket(before)
    if before and before[-1] in options and options[before[-1]].nargs is None:
        return _values(options[before[-1]], socket, current)
    if current.startswith("-"):
        return [name for name in options if name.startswith("--")]
    given = _count_positional(before, options)
    if not positional or (given >= len(positional) and positional[-1].nargs not in {"*", "+"}):
        return [name for name in options if name.startswith("--")]
    return _values(positional[min(given, len(positional) - 1)], socket, current)


def _count_positional(before: Sequence[str], options: dict[str, argparse.Action]) -> int:
    count, skip = 0, False
    for word in before:
        if skip:
            skip = False
        elif word in options:
            skip = options[word].nargs is None
        elif not word.startswith("-"):
            count += 1
    return count


def _socket(before: Sequence[str]) -> Path:
    """Return the daemon's socket, as named before or by default."""
    for name, value in itertools.pairwise(before):
        if name == "--admin-socket":
            return Path(value)
    return client.default_socket()


def _values(action: argparse.Action, socket: Path, current: str) -> list[str]:
    """Return the values that an option or a place may have; names only those that begin as `current` does."""
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    match action.metavar:
        case "RS":
            return _names(socket, current, "real_servers", "hosts")
        case "VS":
            return _names(socket, current, "virtual_servers")
        case "PATTERN":
            return _names(socket, current, "virtual_servers", "real_servers")
        case "HOST":
            return _names(socket, current, "hosts")
        case "CODE":
            from supervisor.explanations import PAGES  # noqa: PLC0415  (a page each, and rarely wanted)

            return list(PAGES)
        case _:
            return []


def _names(socket: Path, prefix: str, *kinds: str) -> list[str]:
    """Ask the daemon for names."""
    try:
        answer = client.ask(socket, Request("names", {"prefix": prefix}), PATIENCE_S)
    except RequestError:
        return []
    return [name for kind in kinds for name in answer.get(kind, ())]
