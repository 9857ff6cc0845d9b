"""One unique check as the supervisor hands it to a worker, and its JSON form. Pure.

Reading is strict: every field there, of its type and in its range, nothing else. A worker that was given a broken job must say so,
not check something else.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import operator
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field
from typing import Any

from checkers.kit.api import Health, Target
from checkers.kit.frozen import frozen
from checkers.kit.options import Json

UINT32_MAX = 0xFFFF_FFFF
WEIGHT_MAX = 2**40
"""Greatest weight either way that a check may speak of: what a file may say (32 bits) times what it weighs (8 bits)."""


@frozen
class Job:
    """One unique check. Times are seconds; addresses are numeric text; `options` are the block's own values (kit.options.Kind).

    `health` is what the supervisor believes now (UNKNOWN: a fresh check). `definition` is the supervisor's short name for everything
    but `id`, `health` and `weight`. A job that differs from an earlier one in nothing but these goes on undisturbed when a new
    assignment comes.
    """

    id: int
    type: str  # "HTTP_GET"
    address: str
    port: int
    delay_loop: float
    retry: int
    delay_before_retry: float
    connect_timeout: float
    warmup: float
    options: dict[str, Json] = field(default_factory=dict, repr=False)  # there may be a key in them
    bind_address: str = ""
    bind_port: int = 0
    bind_interface: str = ""
    alpha: bool = False
    log_all_failures: bool = False
    mark: int = 0
    rise: int = 1
    sentinel: bool = False  # an idle connection to the target is held (kit.sentinels)
    fast_retry: bool = False  # a refused connection is retried at once (kit.urgency)
    fast_interval: float | None = None  # these three None: the file does not ask for it (kit.schedule)
    down_interval: float | None = None
    idle_interval: float | None = None
    health: Health = Health.UNKNOWN
    weight: int | None = None  # what the supervisor believes that the check says of the weight
    definition: str = ""

    @property
    def target(self) -> Target:
        """Where its probes go."""
        return Target(self.address, self.port, self.bind_address, self.bind_port, self.bind_interface, self.mark)

    def identity(self) -> str:
        """Return a text that is equal for jobs that are the same check: its name, or everything but `id`, `health` and `weight`."""
        return self.definition or encode_job(dataclasses.replace(self, id=0, health=Health.UNKNOWN, weight=None))


def encode_job(job: Job) -> str:
    """Return the JSON form, canonical: sorted keys, no blanks, ASCII."""
    raw = dict(zip(_FIELDS, _VALUES(job), strict=True))
    raw["health"] = job.health.name
    for name in _TIMES:
        if raw[name] is not None:
            raw[name] = float(raw[name])
    return _CANONICAL.encode(raw)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(kind: str, value: Any) -> Any:
    """Return a field's value as a job has it: every time as a float, so that equal jobs are equal text."""
    return _shared(float(value)) if kind.startswith("float") and value is not None else value


@functools.lru_cache(256)
def _shared(seconds: float) -> float:
    """Return the same object for equal times: thousands of jobs have few schedules."""
    return seconds


def jobs_from(items: Iterable[Any]) -> Iterator[Job]:
    """Make the jobs of one frame; equal options become one object, for nobody changes them. Raises ValueError as `job_from` does."""
    known: dict[str, Any] = {}
    for item in items:
        if isinstance(item, dict) and "options" in item:
            options = item["options"]
            item["options"] = known.setdefault(json.dumps(options), options)
        yield job_from(item)


def job_from(raw: Any) -> Job:
    """Make a job of parsed JSON. Raises ValueError naming the field."""
    if not isinstance(raw, dict):
        raise ValueError(f"job: expected an object, got {raw!r:.60}")  # noqa: TRY004  what is wrong is the message
    if raw.keys() != _FIELDS.keys():
        odd = sorted(raw.keys() ^ _FIELDS.keys())
        raise ValueError(f"job: fields missing or unknown: {', '.join(map(str, odd))}")
    values = {name: _value(name, kind, raw[name]) for name, kind in _FIELDS.items()}
    return Job(**values)


def _value(name: str, kind: str, value: Any) -> Any:
    if kind == "Health":
        if isinstance(value, str) and value in Health.__members__:
            return Health[value]
    elif _FITS[kind](name, value):
        return sys.intern(value) if name in _FEW_TEXTS else _plain(kind, value)
    raise ValueError(f"job: {name}: expected {kind}, got {value!r:.60}")


def _is_integer(name: str, value: Any) -> bool:
    top = 65535 if name in {"port", "bind_port"} else UINT32_MAX
    return type(value) is int and 0 <= value <= top


def _is_seconds(_name: str, value: Any) -> bool:
    return type(value) in {int, float} and math.isfinite(value) and value >= 0


def _is_weight(_name: str, value: Any) -> bool:
    return value is None or (type(value) is int and abs(value) <= WEIGHT_MAX)


_FITS: dict[str, Callable[[str, Any], bool]] = {
    "int": _is_integer,
    "float": _is_seconds,
    "float | None": lambda name, value: value is None or _is_seconds(name, value),
    "int | None": _is_weight,
    "str": lambda _, value: isinstance(value, str),
    "bool": lambda _, value: isinstance(value, bool),
    "dict[str, Json]": lambda _, value: isinstance(value, dict),
}
"""Annotation of a field → whether a value from JSON is one."""

_FEW_TEXTS = frozenset({"type", "bind_address", "bind_interface"})
"""Texts of which thousands of jobs have few: equal ones are one object."""

_FIELDS: dict[str, str] = {member.name: str(member.type) for member in dataclasses.fields(Job)}
"""Field name → its annotation, as text."""

_TIMES = tuple(name for name, kind in _FIELDS.items() if kind.startswith("float"))
_VALUES = operator.attrgetter(*_FIELDS)
"""All values of a job, in the order of _FIELDS."""
