"""Puts a crowd of like lines together, so that a failed rack is a page of the log and not a flood that hides its own cause.

Of each kind (event and level) the first KIND_LINES_MAX lines of a window are written as they are, the rest of the window is one
`burst.summary`. Only lines of the log are put together: metrics, history, `why`, mails and scripts know every single change.
Values in, values out; `now` is an argument. Source of the idea: observability.md, sections 3.3 and 3.5.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from checkers.kit.frozen import frozen
from supervisor.log.entry import Level

WINDOW_S = 5.0
"""How long a window lasts from its first line on, and so how late a summary may be."""

KIND_LINES_MAX = 100
"""Lines of one kind in a window. journald takes 10,000 lines in 30 s from a service (journald.conf(5), RateLimitBurst): sixteen kinds that
never rest stay below that."""

COUNTED_MAX = 1000
"""Different virtual servers, and different results, that one window counts each for itself."""

NAMED_VIRTUAL_SERVERS = 10
NAMED_REAL_SERVERS = 20
NAMED_RESULTS = 5
"""How many of each a summary names, so that its line stays short: 40 names of 60 characters are 2,400."""

BurstKind: TypeAlias = tuple[str, Level]


@dataclass(slots=True)
class _Window:
    """One kind's lines since `since`."""

    since: float
    written: int = 0
    held_back: int = 0
    virtual_servers: Counter[str] = field(default_factory=Counter)
    results: Counter[str] = field(default_factory=Counter)
    real_servers: dict[str, None] = field(default_factory=dict)
    more_real_servers: int = 0


@frozen
class Summary:
    """What is said of the lines of one window that were not written."""

    of: str
    of_level: Level
    count: int
    window_s: float
    most_virtual_servers: str
    some_real_servers: str
    most_results: str


class Bursts:
    """Tells which lines are written, and what is to be said of the others. One owner: the log."""

    def __init__(self) -> None:
        self.held_back = 0
        self._windows: dict[BurstKind, _Window] = {}

    def admits(self, event: str, level: Level, fields: Mapping[str, Any], now: float) -> bool:
        """Tell whether this line is to be written. Ask `over` first: a window that is over still lets nothing through."""
        window = self._windows.setdefault((event, level), _Window(now))
        if window.written < KIND_LINES_MAX:
            window.written += 1
            return True
        self.held_back += 1
        window.held_back += 1
        _count(window.virtual_servers, fields.get("virtual_server"))
        _count(window.results, fields.get("result"))
        server = fields.get("real_server")
        if server is not None and server not in window.real_servers:
            if len(window.real_servers) < NAMED_REAL_SERVERS:
                window.real_servers[server] = None
            else:
                window.more_real_servers += 1
        return False

    def over(self, now: float, *, at_once: bool = False) -> Iterator[Summary]:
        """End the windows that are over at `now`, or all of them, and yield what is to be said of them."""
        for kind, window in list(self._windows.items()):  # a line of another thread may come meanwhile
            if at_once or now - window.since >= WINDOW_S:
                self._windows.pop(kind, None)
                if window.held_back:
                    yield _summary(kind, window, now)


def _count(counter: Counter[str], name: str | None) -> None:
    if name is not None and (name in counter or len(counter) < COUNTED_MAX):
        counter[name] += 1


def _summary(kind: BurstKind, window: _Window, now: float) -> Summary:
    servers = ", ".join(window.real_servers)
    return Summary(
        of=kind[0],
        of_level=kind[1],
        count=window.held_back,
        window_s=now - window.since,
        most_virtual_servers=_most(window.virtual_servers, NAMED_VIRTUAL_SERVERS),
        some_real_servers=servers + (f" and {window.more_real_servers} more lines" if window.more_real_servers else ""),
        most_results=_most(window.results, NAMED_RESULTS),
    )


def _most(counter: Counter[str], named: int) -> str:
    """Return the most frequent names with their counts, and how many others there are."""
    text = ", ".join(f"{name} ({count})" for name, count in counter.most_common(named))
    others = len(counter) - named
    return text + (f" and {others} others" if others > 0 else "")
