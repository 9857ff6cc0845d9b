"""Whom `min_healthy` may hold in service though they are down: a second opinion on the guard, which shares nothing with it.

Written from what operators are told (docs/concepts.md, "From a verdict to a weight"; README). It does not work out whom the guard
chooses, because that hangs on the order in which things happened; it says of each set of servers whether it is a right one: nobody who
refuses or never served, as many as are needed and not one more, and nobody who cannot be reached while one who can be is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from supervisor.model import Endpoint
from tests.sim.ledger import Failure
from tests.sim.site import FILE, MISC

WRONG, SLOW, GARBLED, SILENT, ODD, UNREACHABLE, REFUSED = range(1, 8)
"""How badly clients would fare, the mildest first."""

NO_WAY = "no route to host"

_SAID = {"L7STS": WRONG, "L7BODY": WRONG, "L7TOUT": SLOW, "L7RSP": GARBLED, "L4TOUT": SILENT}
_SAID |= {"PROCERR": ODD, "PROCTOUT": ODD, "FILEERR": ODD}

_DOES = {
    "error 500": WRONG,
    "hang": SLOW,
    "much too slow": SLOW,
    "garbage": GARBLED,
    "close early": GARBLED,
    "cut head": GARBLED,
    "reset": GARBLED,
    "blackhole": SILENT,
    "unreachable": UNREACHABLE,
    "refuse": REFUSED,
}


def how_bad(said: Failure | None) -> int | None:
    """How bad a failure is by what a worker said of it; None: nobody knows."""
    if said is None:
        return None
    if said.reason == "L4CON":
        return UNREACHABLE if NO_WAY in said.detail else REFUSED
    return _SAID.get(said.reason)


def how_bad_truly(kind: str, state: str | int) -> int | None:
    """How bad it is by what a host, a script or a file really does."""
    return ODD if kind in {MISC, FILE} or isinstance(state, int) else _DOES.get(state)


@dataclass(frozen=True)
class Member:
    """One real server of a pool, as the guard counts it. None: not known, where it may be so."""

    endpoint: Endpoint
    worth: int | None
    """What it would be to its pool in service: its weight."""
    live: bool | None
    proven: bool | None = None
    """Whether it ever was in service."""
    bad: int | None = None
    """While it is down: how badly it failed."""

    @property
    def may_be_held(self) -> bool | None:
        if self.live or self.proven is False or self.bad == REFUSED or self.worth == 0:
            return False
        return None if None in {self.live, self.proven, self.bad, self.worth} else True


def worth_of(wanted: str, weight: int | None) -> int | None:
    """What a weight is to a `min_healthy` of these words."""
    return weight if weight is None or not wanted.isdigit() else min(weight, 1)


def ways_of_holding(wanted: str, members: Sequence[Member]) -> list[frozenset[Endpoint]] | None:
    """Return every right set of held servers among those that no operator took out; None where too little is known to tell."""
    if any(member.live is None or member.worth is None or member.may_be_held is None for member in members):
        return None
    missing = _needed(wanted, members) - sum(_count(member) for member in members if member.live)
    able = [member for member in members if member.may_be_held]
    if sum(map(_count, able)) < missing:
        return [frozenset(member.endpoint for member in able)]
    sets = (held for size in range(len(able) + 1) for held in combinations(able, size))
    return [frozenset(member.endpoint for member in held) for held in sets if _is_right(held, able, missing)]


def _is_right(held: Sequence[Member], able: Sequence[Member], missing: float) -> bool:
    have = sum(map(_count, held))
    if have < missing or any(have - _count(member) >= missing for member in held):
        return False
    out = [member for member in able if member not in held and member.bad != UNREACHABLE]
    lost = [member for member in held if member.bad == UNREACHABLE]
    return not any(_count(member) >= _count(other) for member in out for other in lost)


def _needed(wanted: str, members: Iterable[Member]) -> float:
    if wanted.endswith("%"):
        return sum(map(_count, members)) * int(wanted[:-1]) / 100
    return float(wanted.rpartition(" ")[2])


def _count(member: Member) -> int:
    assert member.worth is not None
    return member.worth
