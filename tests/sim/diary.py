"""What happened in one life, step by step, and which promises were broken."""

from __future__ import annotations

import math
from dataclasses import dataclass

import trio

VIOLATIONS_MAX = 20
"""More of them are not kept: one ends the life."""


@dataclass(frozen=True)
class Violation:
    """A promise that was broken, when (seconds from the start), and how."""

    oracle: str
    at: float
    text: str


class Diary:
    """Everything that is worth a line; the same scenario has the same `lines`."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.lines: list[str] = []
        self._began = math.nan

    def begin(self) -> None:
        """Times are counted from here; a second beginning changes nothing."""
        if math.isnan(self._began):
            self._began = trio.current_time()

    def say(self, oracle: str, text: str) -> None:
        """Note a violation. The life ends at the next moment at which it may."""
        at = trio.current_time() - self._began
        self.note(f"VIOLATION {oracle} {text}")
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(Violation(oracle, round(at, 3), text))

    def note(self, text: str) -> None:
        """Add a line."""
        self.lines.append(f"{trio.current_time() - self._began:.3f} {text}")
