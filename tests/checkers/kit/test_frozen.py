"""A frozen value does whatever `dataclass(frozen=True, slots=True)` would have it do."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field, fields, replace

import pytest

from checkers.kit.frozen import frozen


@frozen
class Point:
    """Two compared fields, one that is not, and one that is not shown."""

    x: int
    y: int = 0
    note: str = field(default="", compare=False)
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Model:
    """The same, as the standard library has it."""

    x: int
    y: int = 0
    note: str = field(default="", compare=False)
    secret: str = field(default="", repr=False)


@frozen
class Empty:
    """No field at all."""


@frozen
class Single:
    """One field."""

    x: int


@frozen
class Named:
    """What a class says of itself holds."""

    x: int

    def __hash__(self) -> int:
        return 7

    def __repr__(self) -> str:
        return "named"


def test_values_of_one_class_are_equal_when_their_compared_fields_are() -> None:
    assert Point(1, 2, "a") == Point(1, 2, "b")
    assert hash(Point(1, 2, "a")) == hash(Point(1, 2, "b"))
    assert Point(1, 2) != Point(1, 3)
    assert Point(1, 2, secret="a") != Point(1, 2, secret="b")
    assert Empty() == Empty()
    assert hash(Empty()) == hash(Empty())
    assert Single(1) != Single(2)
    assert hash(Single(1)) == hash(Single(1))


def test_values_of_two_classes_are_never_equal() -> None:
    values: list[object] = [Point(1, 2), Model(1, 2), Empty(), (), Single(1), 1, (1,)]
    assert [sum(one == other for other in values) for one in values] == [1] * len(values)


def test_a_value_shows_itself_as_the_standard_library_has_it() -> None:
    assert repr(Point(1, 2, "a", "hidden")) == repr(Model(1, 2, "a", "hidden")).replace("Model", "Point")
    assert repr(Empty()) == "Empty()"


def test_a_value_cannot_be_changed() -> None:
    point = Point(1)
    with pytest.raises(FrozenInstanceError):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del point.y
    with pytest.raises((FrozenInstanceError, TypeError, AttributeError)):
        point.z = 2  # type: ignore[attr-defined]
    assert not hasattr(point, "__dict__")


def test_a_value_can_be_replaced_and_matched() -> None:
    assert replace(Point(1, note="a"), x=2) == Point(2)
    assert [known.name for known in fields(Point)] == ["x", "y", "note", "secret"]
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)


def test_what_a_class_says_itself_holds() -> None:
    assert hash(Named(1)) == 7
    assert repr(Named(1)) == "named"
    assert Named(1) == Named(1)
