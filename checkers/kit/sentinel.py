"""One sentinel: what is known of an idle connection and of the server that it stands at. `kit.sentinels` makes and moves it."""

from __future__ import annotations

import enum
import math

from checkers.kit.api import SentinelState, Target
from checkers.kit.idling import Habit
from checkers.kit.runner import Runner
from checkers.kit.timer import Alarm
from checkers.kit.trial import Room, Trial
from checkers.kit.urgency import NEVER, Hint
from checkers.kit.watch import Held

NOBODY: frozenset[Runner] = frozenset()
"""Empty, and one object for all: each takes 216 bytes."""

LIMIT_MAX_S = 2.0
"""Longest wait for a sentinel to be opened; a job's `connect_timeout` if that is shorter. Ours: a place is too good for a silent host."""


class Phase(enum.Enum):
    """Where a sentinel is.

    ABSENT: until a probe succeeds. LOOKING: it has ended, and nobody knows why. REOPENING: nor did the second look tell; the next one is
    being opened. RELEASED: its trial shows why.
    """

    ABSENT = "absent"
    PLANNED = "planned"
    OPENING = "opening"
    HELD = "held"
    LOOKING = "looking"
    REOPENING = "reopening"
    RELEASED = "released"


class Sentinel:
    """The one of a target. `jobs` are whom its end concerns."""

    __slots__ = (
        "age_s",
        "alarm",
        "begun_at",
        "connected_at",
        "habit",
        "held",
        "jobs",
        "limit_s",
        "number",
        "paused_until",
        "phase",
        "room",
        "state",
        "stood_until",
        "suspicious",
        "target",
        "trial",
    )

    def __init__(self, target: Target) -> None:
        self.target = target
        self.jobs: list[Runner] = []
        self.phase = Phase.ABSENT
        self.habit = Habit()
        self.room = Room()
        self.trial: Trial | None = None
        self.suspicious = NOBODY  # whose probes timed out beside it, and what they find without it is waited for
        self.stood_until = NEVER  # when we closed it last because it might be in somebody's way
        self.held: Held | None = None
        self.number = 0  # of the connection: what is told of an earlier one is old
        self.alarm: Alarm | None = None
        self.begun_at = math.inf
        self.connected_at = math.inf
        self.age_s = 0.0  # of the one that ended
        self.limit_s = LIMIT_MAX_S
        self.paused_until = NEVER
        self.state = SentinelState.FINE

    @property
    def stands(self) -> bool:
        """Whether the connection is there."""
        return self.held is not None and self.connected_at < math.inf

    @property
    def at_rest(self) -> bool:
        """Whether it stands and nobody suspects it: then a success of a probe says nothing to it."""
        return self.phase is Phase.HELD and not self.suspicious

    def hint(self, hint: Hint) -> None:
        """Tell the jobs: an idle server is probed at its full rate again, too."""
        for runner in self.jobs:
            runner.state.rouse()
            runner.hasten(hint)
