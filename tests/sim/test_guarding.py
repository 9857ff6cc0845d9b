"""The second opinion on `min_healthy` must itself be able to say no."""

from __future__ import annotations

from tests.sim.guarding import REFUSED, SILENT, UNREACHABLE, WRONG, Member, how_bad, ways_of_holding, worth_of
from tests.sim.ledger import Failure
from tests.sim.site import endpoint_of

UP = Member(endpoint_of(1), 1, live=True)


def down(host: int, bad: int | None, *, worth: int = 1, proven: bool | None = True) -> Member:
    return Member(endpoint_of(host), worth, live=False, proven=proven, bad=bad)


def ways(wanted: str, *members: Member) -> list[list[int]] | None:
    found = ways_of_holding(wanted, members)
    return found if found is None else sorted(sorted(int(e.address) & 255 for e in held) for held in found)


def test_nobody_is_held_while_enough_are_up() -> None:
    assert ways("1", UP, down(2, WRONG)) == [[]]


def test_either_of_two_may_be_held_and_never_both() -> None:
    assert ways("2", UP, down(2, WRONG), down(3, SILENT)) == [[2], [3]]


def test_who_refuses_or_never_served_is_not_held_even_where_nobody_else_is_left() -> None:
    assert ways("3", UP, down(2, REFUSED), down(3, WRONG, proven=False), down(4, SILENT)) == [[4]]


def test_nobody_who_cannot_be_reached_is_held_while_another_would_do() -> None:
    assert ways("2", UP, down(2, UNREACHABLE), down(3, SILENT)) == [[3]]
    assert ways("weight 4", UP, down(2, UNREACHABLE, worth=3), down(3, SILENT)) == [[2]]


def test_where_too_little_is_known_there_is_no_opinion() -> None:
    assert ways("2", UP, down(2, None)) is None
    assert ways("2", UP, down(2, WRONG, proven=None)) is None
    assert ways("2", UP, down(2, REFUSED, proven=None)) == [[]]


def test_percentages_are_of_the_weight_of_all() -> None:
    assert ways("50%", UP, down(2, WRONG, worth=2)) == [[2]]
    assert ways("33%", UP, down(2, WRONG, worth=2)) == [[]]
    assert worth_of("2", 7) == 1
    assert worth_of("50%", 7) == 7


def test_a_host_that_says_no_is_told_from_one_that_nobody_reaches() -> None:
    assert how_bad(Failure("L4CON", "no route to host")) == UNREACHABLE
    assert how_bad(Failure("L4CON", "connection refused")) == REFUSED
    assert how_bad(None) is None
