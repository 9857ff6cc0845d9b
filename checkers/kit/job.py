"""One unique check as the supervisor hands it to a worker, and its JSON form. Pure.

Reading is strict: every field there, of its type and in its range, nothing else. A worker that was given a broken job must say so,
not check something else.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any

from checkers.kit.api import Health, Target
from checkers.kit.options import Json

UINT32_MAX = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Job:
    """One unique check. Times are seconds; addresses are numeric text; `options` are the block's own values (kit.options.Kind).

    `health` is what the supervisor believes now (UNKNOWN: a fresh check). `definition` is the supervisor's short name for everything
    but `id` and `health`. A job that differs from an earlier one in nothing but these two goes on undisturbed when a new
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
    options: dict[str, Json] = field(default_factory=dict)
    bind_address: str = ""
    bind_port: int = 0
    bind_interface: str = ""
    alpha: bool = False
    log_all_failures: bool = False
    health: Health = Health.UNKNOWN
    definition: str = ""

    @property
    def target(self) -> Target:
        """Where its probes go."""
        return Target(self.address, self.port, self.bind_address, self.bind_port, self.bind_interface)

    def identity(self) -> str:
        """Return everything but `id` and `health` as text: equal for jobs that are the same check."""
        return encode_job(dataclasses.replace(self, id=0, health=Health.UNKNOWN))


def encode_job(job: Job) -> str:
    """Return the JSON form, canonical: sorted keys, no blanks, ASCII."""
    raw = {name: float(getattr(job, name)) if kind == "float" else getattr(job, name) for name, kind in _FIELDS.items()}
    raw["health"] = job.health.name
    return json.dumps(raw, sort_keys=True, separators=(",", ":"), allow_nan=False)


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
    match kind:
        case "int":
            top = 65535 if name in {"port", "bind_port"} else UINT32_MAX
            if type(value) is int and 0 <= value <= top:
                return value
        case "float":
            if type(value) in {int, float} and math.isfinite(value) and value >= 0:
                return float(value)
        case "str":
            if isinstance(value, str):
                return value
        case "bool":
            if isinstance(value, bool):
                return value
        case "Health":
            if isinstance(value, str) and value in Health.__members__:
                return Health[value]
        case _:
            if isinstance(value, dict):
                return value
    raise ValueError(f"job: {name}: expected {kind}, got {value!r:.60}")


_FIELDS: dict[str, str] = {member.name: str(member.type) for member in dataclasses.fields(Job)}
"""Field name → its annotation, as text."""
