"""One thing that happened, as history keeps it, and what is handed out of it: values and their wire form. Pure.

    entry = Entry(17, 1_800_000_000.0, "real_server.state_changed", "warning", "Server … is DOWN, reason: L4CON …", …)
    from_plain(as_plain(entry)) == entry             # JSON objects: the journal, the admin socket, the exporter
    decode(encode(extract)) == extract               # one line: what the exporter gets

`type` is the event's name in the log's catalogue, so that log, history and events speak of a thing by one name; only RESULT is no
event of the log: a probe's result. Times are Unix seconds, because an entry outlives the process. What is read is taken for
hostile input: it comes from a file, or goes to a process that strangers talk to.
"""

from __future__ import annotations

import functools
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Any

from checkers.kit.frozen import frozen
from supervisor.core.causes import Fact

SCHEMA = 1
"""Version of the form; it changes when a field changes its meaning or goes away."""

RESULT = "check.result"
"""The type of a probe's result. Its facts: check, target, result, detail, passed (null: it says nothing of the server), probe, duration_s,
failures; of one that did not pass sent and received, too."""

TEXT_MAX = 1000
"""Characters of a sentence or a fact; longer ones are cut. The longest sentence of the log has less than 600."""

FACTS_MAX = 40
BECAUSE_MAX = 12
"""Links of a causal chain (core.telling, CHAIN_MAX_LINKS)."""

NAME_MAX = 256
"""Characters of a virtual or real server's name; the longest has less than seventy."""

ID_MAX = 2**53 - 1
"""The largest whole number that every reader of JSON knows (RFC 8259, section 6)."""

AT_MAX = 32_503_680_000.0
"""Unix seconds of the year 3000: times beyond are damage."""

LEVELS = ("debug", "info", "warning", "error")


class Facts(Mapping[str, Fact]):
    """A few facts, in half of what a dictionary takes: those that are about the same things share their names."""

    __slots__ = ("_names", "_values")

    def __init__(self, facts: Mapping[str, Fact]) -> None:
        self._names = _shared_names(tuple(facts))
        self._values = tuple(facts.values())

    def __getitem__(self, name: str) -> Fact:
        """Return a fact. Raises KeyError."""
        try:
            return self._values[self._names.index(name)]
        except ValueError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"Facts({dict(self)!r})"


@functools.lru_cache(256)
def _shared_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the same names for all who have them."""
    return names


@frozen
class Entry:
    """One thing that happened, or the same thing several times in a row.

    `id` grows with every entry, over restarts too. `at` is when it happened (first), `last_at` until when it did (of probes up
    to one pause more than that, for those that say nothing new are not told one by one), `count` how often. `said` is the
    sentence that was said of it, "" of a result whose facts make it: `message` has it in any case.
    `virtual_server` and `real_server` are named as status names them, "" where it is about neither. `facts` are the fields that the log
    has of it, without those that are empty; `because` the causal chain that led to it, in words, the beginning first and itself left out.
    """

    id: int
    at: float
    type: str
    level: str  # debug info warning error
    said: str
    virtual_server: str = ""
    real_server: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    because: tuple[str, ...] = ()
    count: int = 1
    last_at: float | None = None  # None: `at`

    @property
    def message(self) -> str:
        """What happened, as a sentence."""
        return self.said if self.said or self.type != RESULT else result_sentence(self.facts)

    @property
    def ended_at(self) -> float:
        """When it happened last."""
        return self.at if self.last_at is None else self.last_at


@frozen
class Extract:
    """A part of the history, the oldest entry first, as it was at `at` (Unix seconds). `omitted` older ones are known and not in it."""

    at: float
    entries: tuple[Entry, ...]
    omitted: int = 0


def result_sentence(facts: Mapping[str, Fact]) -> str:
    """Return what the facts of a result say. Most entries are results that nobody asks for, so it is made only when somebody does."""
    check, target, result, detail = (str(facts.get(name, "")) for name in ("check", "target", "result", "detail"))
    return printable_once(f"{check} {target}".rstrip() + f": {result} {detail}".rstrip())


class Malformed(ValueError):
    """Not an entry, or not an extract; the text says what and where."""


def as_plain(entry: Entry) -> dict[str, Any]:
    """Return an entry as a JSON object; what says nothing is left out."""
    plain: dict[str, Any] = {
        "id": entry.id,
        "at": entry.at,
        "type": entry.type,
        "level": entry.level,
        "message": entry.message,
    }
    if entry.virtual_server:
        plain["virtual_server"] = entry.virtual_server
    if entry.real_server:
        plain["real_server"] = entry.real_server
    if entry.facts:
        plain["facts"] = dict(entry.facts)
    if entry.because:
        plain["because"] = list(entry.because)
    if entry.count != 1:
        plain["count"] = entry.count
    if entry.last_at is not None:
        plain["last_at"] = entry.last_at
    return plain


def from_plain(raw: object, names: Mapping[str, str] = MappingProxyType({})) -> Entry:
    """Read an entry. `names` are texts of which there is an object already, by themselves: it is used. Raises Malformed."""
    if not isinstance(raw, dict):
        raise Malformed(f"expected an object, got {_shown(raw)}")
    facts, because = raw.get("facts", {}), raw.get("because", [])
    if not isinstance(facts, dict) or len(facts) > FACTS_MAX:
        raise Malformed(f"facts: expected an object of at most {FACTS_MAX}, got {_shown(facts)}")
    if not isinstance(because, list) or len(because) > BECAUSE_MAX:
        raise Malformed(f"because: expected a list of at most {BECAUSE_MAX}, got {_shown(because)}")
    level = raw.get("level")
    if level not in LEVELS:
        raise Malformed(f"level: expected one of {', '.join(LEVELS)}, got {_shown(level)}")
    kind, said = _matching(raw.get("type"), "type", _TYPE), _text(raw.get("message"), "message")
    told = Facts({_matching(name, "facts", _NAME): _fact(value, names) for name, value in facts.items()})
    return Entry(
        id=_whole(raw, "id"),
        at=_at(raw, "at"),
        type=kind,
        level=level,
        said="" if kind == RESULT and said == result_sentence(told) else said,
        virtual_server=_text(raw.get("virtual_server", ""), "virtual_server", NAME_MAX, names),
        real_server=_text(raw.get("real_server", ""), "real_server", NAME_MAX, names),
        facts=told,
        because=tuple(_text(text, "because") for text in because),
        count=_whole(raw, "count") if "count" in raw else 1,
        last_at=_at(raw, "last_at") if "last_at" in raw else None,
    )


def extract_as_plain(extract: Extract) -> dict[str, Any]:
    """Return an extract as a JSON object."""
    return {
        "schema": SCHEMA,
        "at": extract.at,
        "omitted": extract.omitted,
        "entries": [as_plain(entry) for entry in extract.entries],
    }


def encode(extract: Extract | None) -> bytes:
    """Return the line for an extract, without a newline; None: there is no such thing."""
    plain = None if extract is None else extract_as_plain(extract)
    return json.dumps(plain, separators=(",", ":"), allow_nan=False).encode("ascii")


def decode(line: bytes) -> Extract | None:
    """Read the line of an extract. Raises Malformed."""
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {error}"[:200]) from error
    if raw is None:
        return None
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA or not isinstance(raw.get("entries"), list):
        raise Malformed(f"expected an extract of schema {SCHEMA}, got {_shown(raw)}")
    return Extract(_at(raw, "at"), tuple(map(from_plain, raw["entries"])), _whole(raw, "omitted"))


def printable(text: str, limit: int = TEXT_MAX) -> str:
    """Return a text that can be shown on any terminal and read again: at most `limit` characters, odd ones escaped as Python does.

    Texts that say the same are one object, for names and results come again and again.
    """
    return sys.intern(printable_once(text, limit))


def printable_once(text: str, limit: int = TEXT_MAX) -> str:
    """Return the same of a text that is hardly said again, a sentence about one server, or is one object already (`Endpoint`).

    To look it up would take more than it saves: ten thousand more interned texts are a megabyte.
    """
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[:limit])
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


_TYPE = re.compile(r"[a-z][a-z_.]{0,63}")
_NAME = re.compile(r"[a-z][a-z_0-9]{0,63}")


def _matching(value: object, name: str, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Malformed(f"{name}: expected a name, got {_shown(value)}")
    return sys.intern(value)


def _text(value: object, name: str, limit: int = TEXT_MAX, names: Mapping[str, str] = MappingProxyType({})) -> str:
    if not isinstance(value, str) or len(value) > limit or not value.isprintable():
        raise Malformed(f"{name}: expected a printable text of at most {limit} characters, got {_shown(value)}")
    return names.get(value) or sys.intern(value)


def _whole(raw: Mapping[str, Any], name: str) -> int:
    value = raw.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= ID_MAX:
        raise Malformed(f"{name}: expected a whole number of 0 to {ID_MAX}, got {_shown(value)}")
    return value


def _at(raw: Mapping[str, Any], name: str) -> float:
    value = raw.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= AT_MAX:
        raise Malformed(f"{name}: expected Unix seconds, got {_shown(value)}")
    return float(value)


def _fact(value: object, names: Mapping[str, str]) -> Fact:
    if isinstance(value, str):
        return _text(value, "facts", names=names)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= ID_MAX:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise Malformed(f"facts: expected a text, a number or a boolean, got {_shown(value)}")


def _shown(value: object) -> str:
    """Return what stands there, short and harmless."""
    return ascii(value)[:60]
