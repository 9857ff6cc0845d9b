"""Writes down what happens: what the log says and what probes find becomes history, which is kept, asked for and followed.

    log.listener = recording.hear                     # each event of the log, as it is told
    recording.heard(event, director)                  # each result that a worker tells
    recording.history                                 # what is kept (core.history)

Two sources and no third: what is worth an event is worth a line of the log, under the same name and in the same words. Nothing here
waits, and nothing here decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from supervisor.core import questions, results
from supervisor.core.causes import Fact
from supervisor.core.director import Director
from supervisor.core.entry import FACTS_MAX, Entry, Extract, printable
from supervisor.core.events import CheckReported
from supervisor.core.history import History
from supervisor.model import Config

_APART = ("virtual_server", "real_server", "cause_id")
"""Fields of the log that have a place of their own in an entry."""


class Recording:
    """Keeps the history of one run of the program."""

    def __init__(self, wall_clock: Callable[[], datetime]) -> None:
        self.history = History()
        self.explain: Callable[[int], tuple[str, ...]] = lambda _cause: ()
        """Returns the chain that ends in a cause, in words."""
        self._wall_clock = wall_clock

    def reconfigure(self, config: Config) -> None:
        """Follow a configuration: what left it is forgotten, but for its events."""
        self.history.reconfigure(
            {str(spec.key): [str(rs.endpoint) for rs in spec.real_servers] for spec in config.virtual_servers}
        )

    def hear(self, level: str, event: str, message: str, fields: Mapping[str, object]) -> None:
        """Write down what the log is told; what is of use for debugging alone is no history."""
        if level == "debug":
            return
        cause = fields.get("cause_id")
        self._add(
            Entry(
                id=self.history.next_id,
                at=self.now(),
                type=event,
                level=level,
                message=printable(message),
                virtual_server=str(fields.get("virtual_server") or ""),
                real_server=str(fields.get("real_server") or ""),
                facts=_facts(fields),
                because=self.explain(cause) if isinstance(cause, int) else (),
            )
        )

    def heard(self, event: CheckReported, director: Director) -> None:
        """Write down what a worker told of a probe."""
        for entry in results.entries(director, event, self.history.next_id, self.now()):
            self._add(entry)

    def _add(self, entry: Entry) -> None:
        self.history.add(entry)

    def now(self) -> float:
        """Return the wall clock, in Unix seconds, to the millisecond."""
        return round(self._wall_clock().timestamp(), 3)

    def pool(self, virtual_server: str) -> Extract | None:
        """Return what is known of a virtual server and its real servers, for the exporter."""
        return self.history.pool(virtual_server, self.now())

    def events(self) -> Extract:
        """Return the last events, for the exporter."""
        return self.history.last_events(self.now(), questions.EVENTS_MAX)


def _facts(fields: Mapping[str, object]) -> dict[str, Fact]:
    """Return the fields of an event that say something."""
    facts: dict[str, Fact] = {}
    for name, value in fields.items():
        if value is None or value == "" or name in _APART or len(facts) == FACTS_MAX:
            continue
        if isinstance(value, bool | int | float):
            facts[name] = value
        else:
            facts[name] = printable(str(value))
    return facts
