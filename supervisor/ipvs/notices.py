"""What the writer notices about the kernel and whoever writes the log should say. Values only; a notice never waits."""

from __future__ import annotations

import enum
from typing import TypeAlias

from checkers.kit.frozen import frozen
from supervisor.core.drift import Adoption
from supervisor.core.kernelsettings import Change
from supervisor.core.table import Op
from supervisor.model import ServiceKey


class Action(enum.Enum):
    """What becomes of a difference; the value is the word in the log."""

    REPAIRED = "repaired"
    REPORTED = "reported"


@frozen
class Drift:
    """Entries that nobody here wrote, seen twice, and what becomes of them. `key`: the service, where it is but one.

    `ended` tells that they are known: they were left alone for a while, and that is over.
    """

    action: Action
    key: ServiceKey | None
    entries: int
    missing: int = 0
    extra: int = 0
    weight: int = 0
    settings: int = 0
    ended: bool = False


@frozen
class Adopted:
    """A weight that somebody else set counts as an operator's word."""

    adoption: Adoption


@frozen
class Contested:
    """Somebody undid our repairs of a virtual server again and again: it is left alone for `backoff_s` seconds."""

    key: ServiceKey
    backoff_s: float


@frozen
class Settled:
    """Nobody contests a virtual server any more."""

    key: ServiceKey


@frozen
class Refused:
    """The kernel refused an operation; told once until it succeeds or is no longer wanted."""

    op: Op
    word: str


@frozen
class Trouble:
    """The table cannot be read or written at all; told once until that changes."""

    text: str


@frozen
class Recovered:
    """The table answers again after a Trouble."""


@frozen
class Adjusted:
    """A setting of the kernel was changed."""

    change: Change


@frozen
class NotAdjusted:
    """The kernel refused to change a setting."""

    change: Change
    word: str


Notice: TypeAlias = Drift | Adopted | Contested | Settled | Refused | Trouble | Recovered | Adjusted | NotAdjusted
