"""What the program says of itself: ready, version; and how much it logs, log-level, which alone changes something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from supervisor import __version__, overview
from supervisor.admin.access import Caller
from supervisor.admin.desk import Verb, question
from supervisor.admin.protocol import PROTOCOL, RequestError
from supervisor.core.director import Director
from supervisor.core.events import Health
from supervisor.core.snapshot import WriterView
from supervisor.log import LEVELS, Log

PENDING_SHOWN_MAX = 20
"""Checks without a verdict that `ready` names; the rest is a number."""

NAMED_MAX = 5
"""Real servers that are named of a check without a verdict."""


class SelfReport:
    """The verbs."""

    def __init__(
        self,
        director: Callable[[], Director],
        writer: Callable[[], WriterView],
        log: Log,
    ) -> None:
        self._director = director
        self._writer = writer
        self._log = log

    def verbs(self) -> dict[str, Verb]:
        """Return every verb by its name."""
        return {
            "ready": question(lambda _args: ready(self._director(), self._writer())),
            "version": question(lambda _args: self._version()),
            "log-level": Verb(self._log_level),
        }

    def _version(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "protocol": PROTOCOL,
            "python": overview.PYTHON,
            "kernel": overview.KERNEL,
            "log_level": self._log.lowest,
        }

    async def _log_level(self, args: dict[str, Any], _caller: Caller) -> Any:
        await trio.lowlevel.checkpoint()
        level = args.get("level")
        if level not in LEVELS:
            raise RequestError(f'"level" is one of {", ".join(LEVELS)}')
        before, self._log.lowest = self._log.lowest, level
        return {"level": level, "before": before}


def ready(director: Director, writer: WriterView) -> dict[str, Any]:
    """Return whether the program is ready, and what is missing."""
    waiting: dict[str, list[str]] = {}
    checks: set[int] = set()
    for key, virtual_server in director.virtual_servers.items():
        if virtual_server.suspended:
            continue
        for server in virtual_server.real_servers.values():
            for check in server.checks:
                checks.add(check.job)
                if check.health is Health.UNKNOWN:
                    name = f"{check.spec.type} {check.spec.where}".rstrip()
                    waiting.setdefault(name, []).append(f"{server.spec.endpoint} in {key}")
    synced = writer.sync_age_s is not None
    return {
        "ready": synced and writer.reachable and not waiting,
        "kernel_synced": synced,
        "kernel_reachable": writer.reachable,
        "checks": len(checks),
        "waiting": len(waiting),
        "waiting_for": [
            {"check": name, "real_servers": places[:NAMED_MAX]}
            for name, places in list(waiting.items())[:PENDING_SHOWN_MAX]
        ],
    }
