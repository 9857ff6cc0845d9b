"""The part of a status that somebody wants to see: what fits a pattern, is down, was changed by an operator. Pure: JSON in and out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from supervisor.admin.patterns import real_server_fits, virtual_server_fits


def sieve(
    snapshot: dict[str, Any], patterns: Sequence[str], *, down: bool = False, overridden: bool = False
) -> dict[str, Any]:
    """Return `snapshot` with the virtual and real servers alone that fit one of `patterns` (none: all).

    A virtual server that fits is there with all its real servers, another one with those that fit. With `down` only what is down is
    shown, a virtual server without its quorum too; with `overridden` only real servers that an operator drained, disabled or gave a weight;
    with both, either. `whole` counts everything, as the daemon said, or as it is in `snapshot` where the daemon is older than we are.
    """
    servers: list[dict[str, Any]] = snapshot["virtual_servers"]
    if patterns:
        servers = [found for server in servers for found in _fitting(server, patterns)]
    if down or overridden:
        servers = [found for server in servers for found in _wrong(server, down=down, overridden=overridden)]
    return {**snapshot, "virtual_servers": servers, "whole": whole(snapshot)}


def whole(snapshot: dict[str, Any]) -> dict[str, int]:
    """Return how many there are of everything of which `snapshot` may be a part."""
    if "whole" in snapshot:
        said: dict[str, int] = snapshot["whole"]
        return said
    rows = [row for server in snapshot["virtual_servers"] for row in server["real_servers"]]
    return {
        "virtual_servers": len(snapshot["virtual_servers"]),
        "real_servers": len(rows),
        "not_down": sum(row["health"] != "DOWN" for row in rows),
        "overridden": sum(row.get("override") is not None for row in rows),
        "held": sum(bool(row.get("held")) for row in rows),
    }


def _fitting(server: dict[str, Any], patterns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield what of a virtual server fits, if anything does."""
    if any(virtual_server_fits(pattern, server["virtual_server"]) for pattern in patterns):
        yield server
        return
    rows = [
        row
        for row in server["real_servers"]
        if any(real_server_fits(pattern, row["real_server"]) for pattern in patterns)
    ]
    if rows:
        yield {**server, "real_servers": rows}


def _wrong(server: dict[str, Any], *, down: bool, overridden: bool) -> Iterator[dict[str, Any]]:
    """Yield a virtual server with what of it is out for one of these reasons, if anything is."""
    broken = down and not is_fine(server)
    rows = [
        row
        for row in server["real_servers"]
        if (broken and row["health"] == "DOWN") or (overridden and row.get("override") is not None)
    ]
    if broken or rows:
        yield {**server, "real_servers": rows}


def is_fine(server: dict[str, Any]) -> bool:
    """Tell whether a virtual server has its quorum and nobody in it is down; one that is suspended has no need of either."""
    return server["suspended"] or (
        server["quorate"] and not any(row["health"] == "DOWN" for row in server["real_servers"])
    )
