"""The catalogue and the program agree: what is in the one is told by the other, field by field, and some test has seen it.

Read from the source, so that an event that nobody tells, or a field that nobody fills, is found without waiting for it to happen.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from supervisor.log import CATALOGUE

ROOT = Path(__file__).parents[3]
TABLES = {"catalogue.py", "ownevents.py"}


@dataclass(frozen=True)
class Told:
    """One place where an event is told."""

    place: str
    names: re.Pattern[str]  # what its name can be
    fields: frozenset[str]  # what it is given by name
    more: frozenset[str]  # what it may be given besides: words of that folder, where it hands on a mapping


@functools.cache
def everywhere() -> tuple[Told, ...]:
    """All places, read when the first test asks for them: every process that runs tests imports this, and few run these."""
    return tuple(places())


def places() -> Iterator[Told]:
    trees = {
        path: ast.parse(path.read_text())
        for path in sorted((ROOT / "supervisor").rglob("*.py"))
        if path.name not in TABLES
    }
    words_there: dict[Path, set[str]] = {}
    for path, tree in trees.items():
        words_there.setdefault(path.parent, set()).update(words_of(tree))
    for path, tree in trees.items():
        words = frozenset(words_there[path.parent])
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "emit"
                and node.args
            ):
                yield Told(
                    f"{path.relative_to(ROOT)}:{node.lineno}",
                    re.compile(pattern(node.args[0], words)),
                    frozenset(keyword.arg for keyword in node.keywords if keyword.arg),
                    words if any(keyword.arg is None for keyword in node.keywords) else frozenset(),
                )


def words_of(tree: ast.AST) -> Iterator[str]:
    """Yield every text, name of an argument and name of a field in a file."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)):
                yield text
            case ast.keyword(arg=str(name)) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case _:
                pass


def pattern(name: ast.expr, words: frozenset[str]) -> str:
    """Return what the first argument of `emit` can be: a text, one of two, one with a gap, or a variable set there."""
    match name:
        case ast.Constant(value=str(text)):
            return re.escape(text)
        case ast.IfExp(body=one, orelse=other):
            return f"{pattern(one, words)}|{pattern(other, words)}"
        case ast.JoinedStr(values=parts):
            return "".join(pattern(part, words) if isinstance(part, ast.Constant) else "[a-z_]+" for part in parts)
        case ast.Name():
            return "|".join(re.escape(word) for word in sorted(words & CATALOGUE.keys()))
        case _:
            raise AssertionError(ast.unparse(name))


def places_of(event: str) -> list[Told]:
    return [place for place in everywhere() if place.names.fullmatch(event)]


def test_every_place_tells_an_event_of_the_catalogue_with_fields_of_its_own() -> None:
    assert len(everywhere()) > 50
    for place in everywhere():
        events = [event for event in CATALOGUE if place.names.fullmatch(event)]
        assert events, place
        known = {name for event in events for name in CATALOGUE[event].fields}
        assert place.fields <= known, place


@pytest.mark.parametrize("event", sorted(CATALOGUE.keys() - {"library.message"}))
def test_every_event_is_told_somewhere_and_every_field_is_filled(event: str) -> None:
    found = places_of(event)
    assert found, "nobody tells this: take it out of the catalogue"
    filled = {name for place in found for name in place.fields | place.more}
    assert CATALOGUE[event].fields.keys() <= filled, "nobody fills this: take it out of the catalogue"


def test_every_event_was_seen_by_a_test_that_lets_it_happen() -> None:
    texts = [path.read_text() for path in (ROOT / "tests").rglob("*.py") if path.parent != Path(__file__).parent]
    seen = {event for event in CATALOGUE if any(f'"{event}"' in text for text in texts)}
    elsewhere = {"log.dropped", "library.message"}  # the log's own: their tests are in this folder
    assert CATALOGUE.keys() - seen - elsewhere == set()
