"""What `cpu_per_check` measures and the lines of its tables: cases, samples, medians with ranges."""

from __future__ import annotations

import enum
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from bench import peers
from bench.peers import Kind, Peer

FRUGAL = (peers.OURS, "keepalived", "HAProxy", "C floor")
OVERHEAD_S = 5.0
"""About what starting and ending a program takes, beside an interval and what is measured."""
TURN_MAX_S = 20.0
"""Whose checks have a longer turn (peers.Peer) is not measured: it would take minutes."""


class Purpose(enum.Enum):
    """What a case is to show."""

    RATE = enum.auto()
    """What a check costs at a rate that all can keep."""
    SATURATED = enum.auto()
    """How many checks one core can do: far more are wanted."""
    IDLE = enum.auto()
    """What is used while next to nothing is to be done."""
    SERIAL = enum.auto()
    """How many checks come of one after another."""


@dataclass(frozen=True, slots=True)
class Case:
    """So many real servers, each to be checked in each interval; measured for `seconds` in each round; `names`: of the peers, () all."""

    kind: Kind
    servers: int
    interval_s: int
    seconds: float
    rounds: int
    purpose: Purpose = Purpose.RATE
    names: tuple[str, ...] = ()

    def has(self, peer: Peer) -> bool:
        """Tell whether a program takes part."""
        if self.names:
            return peer.name in self.names
        return peer.can(self.kind, self.servers) and (peer.turn == 1 or peer.turn * self.interval_s <= TURN_MAX_S)

    def seconds_of(self, peer: Peer) -> float:
        """Return how long a program is measured in each round: whole turns of its checks, rounded to no less than `seconds`."""
        turn_s = peer.turn * self.interval_s
        return math.ceil(self.seconds / turn_s) * turn_s if peer.turn > 1 else self.seconds

    @property
    def about_s(self) -> float:
        """About how long one round takes for one program."""
        return self.seconds + OVERHEAD_S + (0 if self.purpose is Purpose.IDLE else self.interval_s)

    @property
    def caption(self) -> str:
        """What stands above its table."""
        who = f"{self.kind.value}, {self.servers:,} real servers"
        match self.purpose:
            case Purpose.RATE | Purpose.SERIAL:
                return f"{who}, each checked every {self.interval_s} s"
            case Purpose.SATURATED:
                return f"Saturation: {who}, each every {self.interval_s} s, which is more than one core can do"
            case Purpose.IDLE:
                return f"Idling: {who}, each checked once in {self.interval_s // 3600} h"
            case _ as never:
                assert_never(never)


@dataclass(frozen=True, slots=True)
class Sample:
    """One program in one round: CPU seconds, checks and seconds of the measurement, resident KB."""

    cpu_s: float
    checks: int
    seconds: float
    resident_kb: int

    @property
    def cost_us(self) -> float:
        """µs of CPU for each check."""
        return self.cpu_s / max(self.checks, 1) * 1e6

    @property
    def rate_hz(self) -> float:
        """Checks a second."""
        return self.checks / self.seconds

    @property
    def by_core_hz(self) -> float:
        """Checks for each second of CPU."""
        return self.checks / max(self.cpu_s, 1e-9)

    @property
    def idle_ms(self) -> float:
        """Milliseconds of CPU a second."""
        return self.cpu_s / self.seconds * 1000


Found: TypeAlias = dict[str, list[Sample]]
"""The samples of each line."""

COLUMNS = {
    Purpose.RATE: ("µs of CPU a check", "checks/s", "resident KB"),
    Purpose.SERIAL: ("µs of CPU a check", "checks/s", "resident KB"),
    Purpose.SATURATED: ("µs of CPU a check", "checks/s", "checks a second of CPU", "resident KB"),
    Purpose.IDLE: ("ms of CPU a second", "resident KB"),
}


def row(purpose: Purpose, samples: Sequence[Sample]) -> list[object]:
    """Return the cells of a line, without its name."""
    cost, rate = spread(samples, lambda one: one.cost_us, 1), _whole(samples, lambda one: one.rate_hz)
    resident = _whole(samples, lambda one: one.resident_kb)
    match purpose:
        case Purpose.RATE | Purpose.SERIAL:
            return [cost, rate, resident]
        case Purpose.SATURATED:
            return [cost, rate, _whole(samples, lambda one: one.by_core_hz), resident]
        case Purpose.IDLE:
            return [spread(samples, lambda one: one.idle_ms, 2), resident]
        case _ as never:
            assert_never(never)


def median_us(samples: Sequence[Sample]) -> float:
    """Return the median cost of a check."""
    return statistics.median(sample.cost_us for sample in samples)


def spread(samples: Sequence[Sample], of: Callable[[Sample], float], digits: int) -> str:
    """Return a median, with the range where there is one: "71.5 (70.8-72.1)"."""
    values = [of(sample) for sample in samples]
    median = f"{statistics.median(values):.{digits}f}"
    return median if len(values) == 1 else f"{median} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def _whole(samples: Sequence[Sample], of: Callable[[Sample], float]) -> int:
    return round(statistics.median(map(of, samples)))
