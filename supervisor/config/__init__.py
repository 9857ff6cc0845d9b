"""ROOM: text → model, or every problem at once, each with file, line and column.

The way through it: `expand` puts all lines in one order (`includes` finds files and `files` reads them, `definitions` knows what names
stand for, `repetition` what `~SEQ` and `~LST` ask for, `lines` where each column came from, `lexer` cuts words), `tree` makes blocks,
`values` types their words by the tables of `keywords` (`readers`: one for each kind), and `build` (with `processwide`, `groups`,
`servers`, `sorryserver`, `persistence`, `realservers`, `checks`, `scripts`, `secure`) makes the model. `problems` is how all of them
complain, `shown` what a stranger may read of the text.

May live here: everything that knows how keepalived.conf is written. May not: anything that acts on a configuration, or that needs
a clock, a socket or a privilege. Import from outside only what `__all__` names.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pathlib
from collections.abc import Iterator
from dataclasses import replace

from checkers.kit.frozen import frozen
from supervisor.config import keywords
from supervisor.config.build import build
from supervisor.config.expand import Reader
from supervisor.config.problems import GivenUp, Problem, Problems, Severity, render_problems
from supervisor.config.shown import pack
from supervisor.config.tree import parse
from supervisor.model import Config
from supervisor.wording import counted

__all__ = ["Outcome", "Problem", "Severity", "load", "render"]


@frozen
class Outcome:
    """What came of reading a file: `config` is None exactly when at least one of `problems` is an error."""

    config: Config | None
    problems: tuple[Problem, ...]
    files: tuple[str, ...]

    def count(self, severity: Severity) -> int:
        """How many problems are of this severity."""
        return sum(problem.severity is severity for problem in self.problems)


def load(path: pathlib.Path, *, config_id: str | None = None, lenient: bool = False) -> Outcome:
    """Read a configuration file with all that it includes.

    `config_id` is what `@id` conditions are compared with and what `${_INSTANCE}` stands for; None: the host's name up to its first dot.
    `lenient` makes warnings of extra words and unknown keywords, which are then ignored as keepalived ignores them.

    Never raises for what is in a file or not in the file system: everything wrong is a problem in the outcome, in the order of the text.
    """
    problems = Problems(lenient=lenient)
    reader = Reader(problems, default_config_id() if config_id is None else config_id)
    source = os.fspath(path)
    config = Config()
    with _collector_paused(), contextlib.suppress(GivenUp):
        config = build(parse(reader.lines(source), problems, keywords.OUTERMOST, keywords.INSIDE), problems)
    found = problems.in_order()
    files = tuple(reader.files)
    if any(problem.severity is Severity.ERROR for problem in found):
        return Outcome(None, found, files)
    warnings = sum(problem.severity is Severity.WARNING for problem in found)
    config = replace(
        config,
        source=source,
        digest=reader.digest(),
        files=files,
        warnings=warnings,
        text=pack(reader.expanded),
    )
    return Outcome(config, found, files)


def default_config_id() -> str:
    """The host's name up to its first dot."""
    return os.uname().nodename.partition(".")[0]


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """No garbage collection meanwhile: everything made here stays, so looking through it again and again costs a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def render(outcome: Outcome, *, color: bool = False) -> str:
    """All problems for people, and the verdict as the last line. `color` adds terminal colours."""
    return "\n".join([*render_problems(outcome.problems, color=color), verdict(outcome)])


def verdict(outcome: Outcome) -> str:
    """The last line: "5 errors, 2 warnings", or "fine: 1 virtual server, 2 real servers"."""
    warnings = outcome.count(Severity.WARNING)
    told = f", {counted(warnings, 'warning')}" if warnings else ""
    if outcome.config is None:
        return f"{counted(outcome.count(Severity.ERROR), 'error')}{told}"
    servers = outcome.config.virtual_servers
    real_servers = sum(len(server.real_servers) for server in servers)
    return f"fine: {counted(len(servers), 'virtual server')}, {counted(real_servers, 'real server')}{told}"
