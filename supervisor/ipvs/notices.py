"""What the writer notices about the kernel and whoever writes the log should say. Values only; a notice never waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from supervisor.core.kernelsettings import Change
from supervisor.core.table import Op


@dataclass(frozen=True, slots=True)
class Drift:
    """A difference that nobody here wrote, seen twice; `ops` will mend it."""

    ops: tuple[Op, ...]
    missing: int
    extra: int
    weight: int
    settings: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The kernel refused an operation; told once until it succeeds or is no longer wanted."""

    op: Op
    word: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """The table cannot be read or written at all; told once until that changes."""

    text: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """The table answers again after a Trouble."""


@dataclass(frozen=True, slots=True)
class Adjusted:
    """A setting of the kernel was changed."""

    change: Change


@dataclass(frozen=True, slots=True)
class NotAdjusted:
    """The kernel refused to change a setting."""

    change: Change
    word: str


Notice: TypeAlias = Drift | Refused | Trouble | Recovered | Adjusted | NotAdjusted
