"""Rendering: one event's fields into one line, as JSON for machines or as text for human eyes.

Structlog processors, pure: nothing here knows a clock, a queue or a file. No line is longer than LINE_MAX_BYTES and no
character of it can move a cursor or start a new line. Sources: observability.md, section 3.3; RFC 8259.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from supervisor.log.entry import COMMON
from supervisor.log.keys import KeySet, rename

LINE_MAX_BYTES = 16_000
"""Longest line: Docker splits at 16 KiB (its copier's buffer), journald at 48 KiB (journald.conf(5), LineMax)."""


def _shortened(told: Mapping[str, Any], limit: int) -> dict[str, Any]:
    """Cut every text to `limit` characters, and make it encodable."""
    return {
        name: _encodable(value if len(value) <= limit else value[: limit - 1] + "…")
        if isinstance(value, str)
        else value
        for name, value in told.items()
    }


def _encodable(text: str) -> str:
    """Write lone surrogates, and NUL, as escapes: rsyslog ends a text at a NUL, and PostgreSQL refuses one."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", r"\x00")


def _bounded(told: Mapping[str, Any], render: Callable[[dict[str, Any]], str]) -> str:
    """Render, with texts cut as far as LINE_MAX_BYTES needs."""
    for limit in (4000, 1000, 200, 40):
        line = render(_shortened(told, limit))
        if len(line.encode()) < LINE_MAX_BYTES:
            return line
    return render(_shortened({name: told[name] for name in COMMON if name in told}, 200))


class JsonLine:
    """A structlog processor: one flat JSON object, pure ASCII, so that no byte of it means anything to a terminal."""

    def __init__(self, keys: KeySet = KeySet.NATIVE) -> None:
        self._json = structlog.processors.JSONRenderer(serializer=json.dumps)
        self._keys = keys

    def __call__(self, logger: Any, level: str, told: Any) -> str:
        """Render the fields `told`."""

        def render(fields: dict[str, Any]) -> str:
            line = self._json(logger, level, rename(fields, self._keys))
            assert isinstance(line, str)
            return line.replace("\x7f", "\\u007f")

        return _bounded(told, render)


_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_COLOURS: Mapping[str, str] = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[1;31m"}


def _printable(text: str) -> str:
    """Write control characters, line separators and direction marks as escapes."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class TextLine:
    """A structlog processor: one line for human eyes: time, level, sentence, event, fields."""

    _HIDDEN = frozenset({*COMMON, "uncatalogued"})

    def __init__(self, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _logger: object, level: str, told: Any) -> str:
        """Render the fields `told`; the common ones but time, level, event and sentence are left out."""
        return _bounded(told, lambda fields: self._render(level, fields))

    def _render(self, level: str, told: dict[str, Any]) -> str:
        shown = [(name, value) for name, value in told.items() if name not in self._HIDDEN and value is not None]
        if "uncatalogued" in told:
            shown.append(("uncatalogued", told["uncatalogued"]))
        details = " ".join(f"{name}={self._value(value)}" for name, value in shown)
        clock = told["timestamp"][:23].replace("T", " ") + "Z"
        event, message = _printable(told["event"]), _printable(told["message"])
        if not self._colours:
            return f"{clock} {level:<7} {message}  [{event}] {details}".rstrip()
        paint = _COLOURS[level]
        return f"\x1b[2m{clock}\x1b[0m {paint}{level:<7}\x1b[0m {message}  \x1b[36m[{event}]\x1b[0m \x1b[2m{details}\x1b[0m"

    @staticmethod
    def _value(value: object) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        text = _printable(f"{value:g}" if isinstance(value, float) else str(value))
        return f'"{text}"' if not text or " " in text else text
