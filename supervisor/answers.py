"""Answers the operator's questions about decisions, from the director's state. Reads only; JSON values out."""

from __future__ import annotations

from typing import Any

from supervisor import selection
from supervisor.core import detection, views
from supervisor.core.causes import Cause, Chain
from supervisor.core.detection import Detection
from supervisor.core.director import Director
from supervisor.core.realserver import RealServerState
from supervisor.core.snapshot import WriterView, as_json


def why(director: Director, writer: WriterView, args: dict[str, Any], now: float) -> list[dict[str, Any]]:
    """Return the causal chains of a real server, one for each virtual server that has it.

    `args`: "real_server" (address or address:port), optionally "virtual_server" (as status names it). Raises RequestError.
    """
    return [
        {
            "virtual_server": str(virtual_server.spec.key),
            "quorate": virtual_server.quorate,
            "real_server": as_json(views.real_server_view(director, virtual_server, server, now)),
            "chain": [_link(cause, now) for cause in server.why],
            "down_because": [_link(cause, now) for cause in _down_because(server)],
            "detection": detection.as_json(_detection(director, server)),
            "drift": _drift(writer, str(virtual_server.spec.key), str(server.spec.endpoint)),
        }
        for virtual_server, server in selection.real_servers(director, args)
    ]


def _down_because(server: RealServerState) -> Chain:
    """Return how a real server went DOWN where the chain of its weight does not say it: an operator has spoken since."""
    told = {cause.id for cause in server.why}
    return () if server.live or any(cause.id in told for cause in server.down_why) else server.down_why


def _detection(director: Director, server: RealServerState) -> Detection | None:
    """Return how long noticing a fault of a real server takes, by its checks and by what else asks it."""
    config = director.config
    targets = {check.target for check in server.spec.checks}
    waits_s = detection.waits(config.virtual_servers, config.probe_rate_max, targets)
    return detection.of_server(server.spec, waits_s, [check.spec for check in server.checks if check.sentinel])


def _drift(writer: WriterView, virtual_server: str, real_server: str) -> list[str]:
    """Return what somebody else made of a real server in the kernel's table and stands, in words."""
    contests = [
        "another writer keeps changing this virtual server in the kernel's table; it is left alone for a while"
        for contest in writer.contests
        if contest.virtual_server == virtual_server
    ]
    return contests + [
        drift.words
        for drift in writer.standing
        if drift.virtual_server == virtual_server and drift.real_server in {"", real_server}
    ]


def _link(cause: Cause, now: float) -> dict[str, Any]:
    return {
        "id": cause.id,
        "parent": cause.parent,
        "age_s": round(now - cause.at, 6),
        "kind": cause.kind.value,
        "text": cause.text,
        "facts": dict(cause.facts),
    }
