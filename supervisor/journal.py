"""What the journal of the history holds, byte for byte: entries ↔ lines of JSON, version 1. Pure.

    {"format":1,"version":"0.1.0","next_id":4711}                            the head
    {"id":17,"at":…,"type":"real_server.state_changed",…,"in":"record"}      one entry of the dump that the file began with
    {"id":4711,"at":…,"type":"check.result",…}                               one that was added since, without "in"

It grows by lines, so that news cost what they weigh, and is written anew when it has grown too long. It is read as hostile input. A last
line without an end is one that the writer did not live to finish, and no damage; whatever else is wrong ends the reading there, and what
stands before it holds. Keys that we do not know are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from checkers.kit.frozen import frozen
from supervisor.core.entry import ID_MAX, Entry, Malformed, as_plain, from_plain
from supervisor.core.history import Place

FORMAT = 1
"""Version of the format. It grows only when a field changes its meaning or one that was needed goes."""

SIZE_MAX_BYTES = 128 * 1024 * 1024
"""The longest journal that is read: twice the largest dump (core.history, ENTRIES_MAX) with room."""

LINE_MAX_BYTES = 512 * 1024
"""The longest line: an entry with every fact and cause at its limit has 54,000 characters, of up to six bytes each."""


class Damaged(ValueError):
    """Not a journal at all; the text says why."""


class Newer(ValueError):
    """The journal of a newer program."""


@frozen
class Journal:
    """What could be read. `damage` says where the reading ended before the file did, and why; `whole` that another line may follow."""

    next_id: int
    entries: tuple[tuple[Place, Entry], ...]
    damage: str = ""
    whole: bool = True


def head(version: str, next_id: int) -> bytes:
    """Return the first line."""
    return _dump({"format": FORMAT, "version": version, "next_id": next_id})


def line(entry: Entry, place: Place = Place.BOTH) -> bytes:
    """Return the line of an entry."""
    plain = as_plain(entry)
    if place is not Place.BOTH:
        plain["in"] = place.value
    return _dump(plain)


def whole(version: str, next_id: int, entries: Iterable[tuple[Place, Entry]]) -> bytes:
    """Return a whole new journal."""
    return head(version, next_id) + b"".join(line(entry, place) for place, entry in entries)


def decode(data: bytes, names: Mapping[str, str] = MappingProxyType({})) -> Journal:
    """Read a journal. `names` as `from_plain` has them. Raises Damaged, Newer."""
    if len(data) > SIZE_MAX_BYTES:
        raise Damaged(f"expected at most {SIZE_MAX_BYTES} bytes, got {len(data)}")
    lines = data.split(b"\n")
    cut = lines.pop()
    if not lines:
        raise Damaged("expected a first line")
    next_id = _head(lines[0])
    found: list[tuple[Place, Entry]] = []
    damage = ""
    for number, text in enumerate(lines[1:], start=2):
        try:
            found.append(_entry(text, names))
        except Malformed as error:
            damage = f"line {number}: {error}"
            break
    return Journal(next_id, tuple(found), damage, whole=not cut and not damage)


def _head(text: bytes) -> int:
    try:
        raw = json.loads(text)
        version, next_id = raw["format"], raw["next_id"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(f"line 1: expected the head of a journal: {error!r}"[:200]) from error
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise Damaged(f"format: expected a whole number from 1, got {ascii(version)[:60]}")
    if version > FORMAT:
        raise Newer(f"format {version}, and this program knows {FORMAT} at most")
    if not isinstance(next_id, int) or isinstance(next_id, bool) or not 1 <= next_id <= ID_MAX:
        raise Damaged(f"next_id: expected a whole number from 1, got {ascii(next_id)[:60]}")
    return next_id


def _entry(text: bytes, names: Mapping[str, str]) -> tuple[Place, Entry]:
    """Read the line of an entry. Raises Malformed."""
    if len(text) > LINE_MAX_BYTES:
        raise Malformed(f"expected at most {LINE_MAX_BYTES} bytes, got {len(text)}")
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {error}"[:200]) from error
    entry = from_plain(raw, names)
    place = raw.get("in", Place.BOTH.value)
    if not isinstance(place, str) or place not in _PLACES:
        raise Malformed(f"in: expected one of {', '.join(_PLACES)}, got {ascii(place)[:60]}")
    return _PLACES[place], entry


_PLACES = {place.value: place for place in Place}


def _dump(plain: dict[str, object]) -> bytes:
    return json.dumps(plain, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"
