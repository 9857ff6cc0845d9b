"""The log: a catalogue of events as code, one rendering, and a writer that nobody can stall.

`Log.emit` checks an event against the `catalogue`, puts a crowd of like ones together (`bursts`), renders it in the caller (some
microseconds) and hands bytes to a sink; the sink in production, `LogWriter`, puts them into a bounded queue before one thread that may
wait as long as the reader likes. This package must never block its caller, raise because a reader is gone, or decide anything.
Sources: observability.md, section 3; https://no-color.org.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import structlog

from supervisor.log.bursts import Bursts, Summary
from supervisor.log.catalogue import CATALOGUE
from supervisor.log.entry import COMMON, LEVELS, PRIORITIES, CatalogueError, Entry, Kind, Level, fit
from supervisor.log.keys import KeySet
from supervisor.log.render import JsonLine, TextLine
from supervisor.log.writer import LogWriter, Lost

__all__ = ["CATALOGUE", "LEVELS", "CatalogueError", "KeySet", "Level", "Log", "LogWriter", "Sink", "Style", "open_log"]

Style: TypeAlias = Literal["json", "text"]
Sink: TypeAlias = Callable[[bytes, str], None]
"""Takes one line with its newline, and the level; must return at once."""

Listener: TypeAlias = Callable[[Level, str, str, Mapping[str, Any]], None]
"""Takes what is told as values (level, event, message, fields), before anything of it is left out; must return at once."""


class _Outlet:
    """What structlog calls with a rendered line: counts it and hands bytes on, to `keep` if it is an edge."""

    def __init__(self, sink: Sink, keep: Sink) -> None:
        self.sink = sink
        self.keep = keep
        self.counts: dict[str, int] = dict.fromkeys(PRIORITIES, 0)

    def _pass(self, line: str, level: Level, edge: bool) -> None:
        self.counts[level] += 1
        (self.keep if edge else self.sink)(line.encode() + b"\n", level)

    def debug(self, line: str, *, edge: bool) -> None:
        self._pass(line, "debug", edge)

    def info(self, line: str, *, edge: bool) -> None:
        self._pass(line, "info", edge)

    def warning(self, line: str, *, edge: bool) -> None:
        self._pass(line, "warning", edge)

    def error(self, line: str, *, edge: bool) -> None:
        self._pass(line, "error", edge)


class Log:
    """Where everybody tells what happened.

    `strict` (tests) raises CatalogueError on anything that the catalogue does not know; otherwise nothing is lost: an unknown
    field is written as text under its own name, a value of the wrong kind under NAME_uncatalogued, and `uncatalogued` says
    what is wrong. `lowest` is the least level that is written, and may be changed. `keys` are the names of a JSON line. `keep` takes the
    lines of edges, if the sink knows a better way for them. Crowds are put together by the `clock` (seconds) if there is one; then
    `sum_up` has to be called about once a second. `config_digest` is the running configuration's and goes into every line.
    """

    def __init__(
        self,
        sink: Sink,
        style: Style = "json",
        *,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        service: str = "vipervisor",
        host: str | None = None,
        pid: int | None = None,
        strict: bool = False,
        colours: bool = False,
        lowest: Level = "debug",
        keys: KeySet = KeySet.NATIVE,
        keep: Sink | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.config_digest = ""
        self.listener: Listener | None = None
        """Hears every event of the catalogue, also one that is not written for its level."""
        self.strict = strict
        self.lowest: Level = lowest
        self._seq = itertools.count(1)
        self._wall_clock = wall_clock
        self._static = {
            "service": service,
            "host": socket.gethostname() if host is None else host,
            "pid": os.getpid() if pid is None else pid,
        }
        self._clock = clock
        self._bursts = Bursts()
        self._outlet = _Outlet(sink, keep or sink)
        self._renderer = JsonLine(keys) if style == "json" else TextLine(colours)
        self._logger = structlog.wrap_logger(
            self._outlet,
            processors=[self._complete, self._render],
            wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
            cache_logger_on_first_use=True,
        )

    @property
    def counts(self) -> dict[str, int]:
        """How many lines of each level were written so far."""
        return dict(self._outlet.counts)

    @property
    def summed_up(self) -> int:
        """How many lines were not written because a `burst.summary` speaks for them."""
        return self._bursts.held_back

    def emit(self, event: str, message: str, /, **fields: object) -> None:
        """Tell `event` of the catalogue, with one English sentence and its fields. Never blocks."""
        entry = CATALOGUE.get(event)
        written = self._checked(event, entry, fields)
        level: Level = entry.level if entry else "warning"
        if entry and entry.calm and fields.get(entry.calm[0]) == entry.calm[1]:
            level = "info"
        if self.listener is not None:
            self.listener(level, event, message, written)
        if entry and entry.crowd and self._clock is not None:
            self.sum_up()
            if not self._bursts.admits(event, level, written, self._clock()):
                return
        self._tell(level, event, message, written)

    def sum_up(self, *, at_once: bool = False) -> None:
        """Tell of the lines that were not written, where their window is over; at the program's end `at_once`."""
        if self._clock is not None:
            for summary in self._bursts.over(self._clock(), at_once=at_once):
                self._tell_summary(summary)

    def _tell_summary(self, summary: Summary) -> None:
        where = f", of {summary.most_virtual_servers}" if summary.most_virtual_servers else ""
        self.emit(
            "burst.summary",
            f"{summary.count} more {summary.of} ({summary.of_level}) came within {summary.window_s:.0f} s{where};"
            " `vipervisor status` shows them all.",
            **dataclasses.asdict(summary),
        )

    def _checked(self, event: str, entry: Entry | None, fields: Mapping[str, object]) -> dict[str, Any]:
        """Return the fields as they are written. Raises CatalogueError if the log is strict."""
        complaints: list[str] = [] if entry else [f"unknown event {event}"]
        known: Mapping[str, Kind] = entry.fields if entry else {}
        written: dict[str, Any] = {}
        for name, value in fields.items():
            try:
                written[name] = fit(known[name], value)
            except KeyError:
                complaints.append(f"unknown field {name}")
                written[f"{name}_uncatalogued" if name in COMMON else name] = str(value)
            except TypeError as error:
                complaints.append(f"field {name}: {error}")
                written[f"{name}_uncatalogued"] = str(value)
        if complaints:
            if self.strict:
                raise CatalogueError(f"{event}: {'; '.join(complaints)} (see supervisor/log/catalogue.py)")
            written["uncatalogued"] = "; ".join(complaints)
        return written

    def _tell(self, level: Level, event: str, message: str, fields: Mapping[str, Any]) -> None:
        if LEVELS.index(level) >= LEVELS.index(self.lowest):
            getattr(self._logger, level)(event, message=message, **fields)

    def _complete(self, _logger: object, level: str, told: Any) -> dict[str, Any]:
        """Put the common fields around the event's own (a structlog processor)."""
        event, message = told.pop("event"), told.pop("message")
        stamp = self._wall_clock().astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        head = {"timestamp": stamp, "level": level, "event": event, "message": message}
        return {**head, **told, "seq": next(self._seq), **self._static, "config_hash": self.config_digest}

    def _render(self, logger: object, level: str, told: Any) -> tuple[tuple[str], dict[str, bool]]:
        """Make the line, and say whether it is an edge's (a structlog processor, the last)."""
        entry = CATALOGUE.get(told["event"])
        return (self._renderer(logger, level, told),), {"edge": entry is not None and entry.edge}

    def bridge_standard_library(self) -> logging.Handler:
        """Let what libraries log at WARNING or above come out here, and only here. Returns the handler, for taking it off."""
        handler = _Bridge(self)
        root = logging.getLogger()
        root.handlers[:] = [handler]
        root.setLevel(logging.WARNING)
        logging.captureWarnings(capture=True)
        return handler


REPEATED_AFTER_S = 10.0
"""The same place in a library is heard once in so many seconds."""


class _Bridge(logging.Handler):
    """Turns records of the standard library's logging into `library.message`."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._clock = clock
        self._said: dict[tuple[str, int], float] = {}  # place of a message → when it was told

    def emit(self, record: logging.LogRecord) -> None:
        place, now = (record.pathname, record.lineno), self._clock()
        if now < self._said.get(place, -REPEATED_AFTER_S) + REPEATED_AFTER_S:
            return  # a library that cannot accept a connection says so ten times a second
        self._said[place] = now
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):  # the library's format does not fit its arguments
            message = f"{record.msg} {record.args!r}"
        fields = {"library": record.name}
        if record.exc_info:
            fields["exception"] = logging.Formatter().formatException(record.exc_info)
        level: Level = "error" if record.levelno >= logging.ERROR else "warning"
        self._log._tell(level, "library.message", message, fields)  # noqa: SLF001  (its own half)


def open_log(
    style: str = "auto",
    fd: int = 1,
    *,
    environ: Mapping[str, str] = os.environ,
    lowest: Level = "info",
    keys: KeySet = KeySet.NATIVE,
) -> tuple[Log, LogWriter]:
    """Make the program's log on `fd`.

    `style` is json, text, or auto: text on a terminal, JSON lines on anything else. NO_COLOR (not empty) and TERM=dumb
    keep the text plain. `keys` are the names in the JSON lines. Close the writer last.
    """
    terminal = os.isatty(fd)
    text = style == "text" or (style == "auto" and terminal)
    colours = terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    writer = LogWriter(fd, environ=environ)
    log = Log(
        writer,
        "text" if text else "json",
        colours=colours,
        lowest=lowest,
        keys=keys,
        keep=writer.keep,
        clock=time.monotonic,
    )

    def tell_dropped(lost: Lost) -> None:
        log.emit(
            "log.dropped",
            f"{lost.count} log lines were lost, {lost.warnings} of them warnings or errors: the reader was too slow.",
            count=lost.count,
            warnings=lost.warnings,
            since_s=lost.since_s,
        )

    writer.on_drained = tell_dropped
    return log, writer
