"""Numbers and durations as a person says them: in the log, in answers to operators, on the page. Pure.

One place, so that nobody reads "1 servers" or "86400 s". Columns of a terminal have a shorter form of their own (`admin.words.age`).
"""

from __future__ import annotations

_LARGE = ((86400, "day", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
"""Seconds of a unit, its word, and the same of the unit that may stand behind it."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 error", "2 errors"; `plural` where an s does not do ("2 entries")."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or f'{noun}s'}"


def lasting(seconds: float) -> str:
    """Return a duration in at most two units, without parts of a second: "4 s", "3 min 10 s", "2 h", "1 day", "2 days 3 h".

    The page's script (`exporter/page/live.js`) says it in the same words.
    """
    whole = max(int(seconds), 0)
    for size, word, small, small_word in _LARGE:
        if whole >= size:
            number, rest = whole // size, whole % size // small
            large = counted(number, word) if word == "day" else f"{number} {word}"
            return f"{large} {rest} {small_word}" if rest else large
    return f"{whole} s"
