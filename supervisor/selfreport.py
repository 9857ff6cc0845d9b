"""What the program says of itself in a line: ready, alerts, version, names; and how much it logs, log-level.

`alerts` is one line for a monitoring system, after the Monitoring Plugins' guidelines: a word, a sentence, figures behind a bar, and the
exit status that the command line gives for it. Reads only; log-level alone changes something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import trio

from supervisor import __version__, overview
from supervisor.admin.access import Caller
from supervisor.admin.desk import Verb, question
from supervisor.admin.protocol import PROTOCOL, RequestError
from supervisor.core.director import Director
from supervisor.core.events import Health
from supervisor.core.snapshot import ProcessView, Snapshot, VirtualServerView, WriterView
from supervisor.log import LEVELS, Log

PENDING_SHOWN_MAX = 20
"""Checks without a verdict that `ready` names; the rest is a number."""

NAMED_MAX = 5
"""Names in each clause of an alert."""

OK, WARNING, CRITICAL, UNKNOWN = range(4)
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


class SelfReport:
    """The verbs."""

    def __init__(
        self,
        director: Callable[[], Director],
        writer: Callable[[], WriterView],
        snapshot: Callable[[], Snapshot],
        log: Log,
    ) -> None:
        self._director = director
        self._writer = writer
        self._snapshot = snapshot
        self._log = log

    def verbs(self) -> dict[str, Verb]:
        """Return every verb by its name."""
        return {
            "ready": question(lambda _args: ready(self._director(), self._writer())),
            "names": question(lambda _args: names(self._director())),
            "alerts": question(lambda _args: alerts(self._snapshot())),
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
                checks.add(director.jobs.jobs[check.spec])
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


def names(director: Director) -> dict[str, list[str]]:
    """Return the names that an operator may type, for the completion of a shell."""
    endpoints = {where for server in director.virtual_servers.values() for where in server.real_servers}
    return {
        "virtual_servers": [str(key) for key in director.virtual_servers],
        "real_servers": sorted(map(str, endpoints)),
        "hosts": sorted({str(where.address) for where in endpoints}),
    }


def alerts(snapshot: Snapshot) -> dict[str, Any]:
    """Return one line for a monitoring system: its status (0 to 3), sentence and figures."""
    critical, warning = list(_critical(snapshot)), list(_warnings(snapshot))
    figures = _figures(snapshot)
    if critical:
        status = CRITICAL
    elif warning:
        status = WARNING
    else:
        status = OK if snapshot.process.ready else UNKNOWN
    said = [*critical, *warning]
    if not snapshot.process.ready:
        said.append("not ready yet: not every check has given a verdict, or the kernel was never seen to be as wanted")
    if not said:
        said.append(
            f"{figures['virtual_servers']} virtual servers with their quorum, {figures['real_servers_up']} of"
            f" {figures['real_servers']} real servers up"
        )
    return {"status": status, "word": WORDS[status], "text": "; ".join(said), "figures": figures}


def _critical(snapshot: Snapshot) -> Iterator[str]:
    process = snapshot.process
    lost = [server for server in snapshot.virtual_servers if not server.quorate and not server.suspended]
    if lost:
        yield f"quorum lost: {_some([_with_sorry(server) for server in lost])}"
    if process.workers_lost_s:
        yield f"no checker worker for {process.workers_lost_s:.0f} s, every verdict is frozen"
    if not process.writer.reachable:
        yield "the kernel's table cannot be read or written"


def _with_sorry(server: VirtualServerView) -> str:
    serves = server.sorry is not None and server.sorry.active
    return f"{server.virtual_server} (sorry server serves)" if serves else server.virtual_server


def _warnings(snapshot: Snapshot) -> Iterator[str]:
    process = snapshot.process
    rows = [(server, row) for server in snapshot.virtual_servers for row in server.real_servers]
    down = [f"{row.real_server} in {vs.virtual_server}" for vs, row in rows if row.health == "DOWN" and row.enabled]
    held = sum(bool(row.held) for _, row in rows)
    if down:
        yield f"{len(down)} down: {_some(down)}"
    if held:
        yield f"{held} held in service though down"
    if process.paused:
        yield f"WRITES PAUSED by {process.paused.by} ({process.paused.reason})"
    if process.suspected:
        yield f"the director itself is suspected ({process.suspected})"
    yield from _process_warnings(process)


def _process_warnings(process: ProcessView) -> Iterator[str]:
    writer = process.writer
    if not process.reload_ok:
        yield "the last reload was rejected"
    if writer.drift_standing or writer.contests:
        yield f"{writer.drift_standing} differences stand in the kernel's table, {len(writer.contests)} virtual servers contested"
    if process.state.error:
        yield f"the state cannot be kept ({process.state.error})"
    if process.checks_quarantined:
        yield f"{process.checks_quarantined} checks kill workers"
    if any(worker.stretch > 1 for worker in process.workers):
        yield "a checker worker probes less often, because something runs short"


def _figures(snapshot: Snapshot) -> dict[str, int]:
    """Return the figures behind the bar, in their order."""
    rows = [row for server in snapshot.virtual_servers for row in server.real_servers]
    return {
        "virtual_servers": len(snapshot.virtual_servers),
        "virtual_servers_without_quorum": sum(not server.quorate for server in snapshot.virtual_servers),
        "real_servers": len(rows),
        "real_servers_up": sum(row.health == "UP" for row in rows),
        "real_servers_down": sum(row.health == "DOWN" for row in rows),
        "real_servers_overridden": sum(row.override is not None for row in rows),
        "real_servers_held": sum(bool(row.held) for row in rows),
        "active_connections": sum(row.traffic.active for row in rows),
    }


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return ", ".join(names[:NAMED_MAX]) + more
