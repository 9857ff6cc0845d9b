"""What is not as wanted in the kernel's table, as JSON values with words for people. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, assert_never

from supervisor.core.table import (
    AddDestination,
    AddService,
    ChangeDestination,
    ChangeService,
    DeleteDestination,
    DeleteService,
    Op,
    Table,
)


def told(ops: Iterable[Op], actual: Table) -> list[dict[str, Any]]:
    """Return each difference by the operation that would mend it; `actual` is the table as it was read."""
    return [_told(op, actual) for op in ops]


def _told(op: Op, actual: Table) -> dict[str, Any]:
    told: dict[str, Any] = {"virtual_server": str(op.key), "real_server": "", "kind": "", "words": ""}
    service = actual.services.get(op.key)
    match op:
        case AddService():
            return told | {"kind": "missing", "words": "is not in the table"}
        case DeleteService():
            return told | {"kind": "extra", "words": "is in the table, and nobody wants it"}
        case ChangeService():
            return told | {
                "kind": "settings",
                "words": f"has other settings than wanted (scheduler {op.settings.scheduler})",
            }
        case AddDestination():
            where, words, kind = (
                op.destination.endpoint,
                f"is missing (wanted with weight {op.destination.weight})",
                "missing",
            )
        case DeleteDestination():
            where, words, kind = op.endpoint, "is there, and nobody wants it", "extra"
        case ChangeDestination():
            where, kind = op.destination.endpoint, "weight"
            found = service.destinations.get(where) if service else None
            have = "another way" if found is None else f"weight {found.weight}"
            words = f"has {have}, wanted is weight {op.destination.weight}"
        case _:
            assert_never(op)
    return told | {"real_server": str(where), "kind": kind, "words": words}
