"""Everything in one line for a monitoring system: a word with its status, what is wrong, and figures behind a bar. Pure.

The command line's `alerts` and the exporter's /alerts say the same; `pluginline` makes a line of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from checkers.kit.frozen import frozen
from supervisor.core.snapshot import ProcessView, Snapshot, VirtualServerView
from supervisor.wording import counted, lasting

NAMED_MAX = 5
"""Names in each clause of an alert; the line shall stay one."""

OK, WARNING, CRITICAL, UNKNOWN = range(4)
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


@frozen
class Alert:
    """`status` is what a plugin ends with, 0 to 3, and `word` what that is called; `figures` are in the order of its line."""

    status: int
    word: str
    text: str
    figures: Mapping[str, int]


def alert(snapshot: Snapshot) -> Alert:
    """Return what is to be said."""
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
            f"{counted(figures['virtual_servers'], 'virtual server')} with quorum, {figures['real_servers_up']} of"
            f" {counted(figures['real_servers'], 'real server')} up"
        )
    return Alert(status, WORDS[status], "; ".join(said), figures)


def _critical(snapshot: Snapshot) -> Iterator[str]:
    process = snapshot.process
    lost = [server for server in snapshot.virtual_servers if not server.quorate and not server.suspended]
    if lost:
        yield f"quorum lost: {_some([_with_sorry(server) for server in lost])}"
    if process.workers_lost_s:
        yield f"no checker worker for {lasting(process.workers_lost_s)}, every verdict is frozen"
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
        standing = counted(writer.drift_standing, "difference stands", "differences stand")
        yield f"{standing} in the kernel's table, {counted(len(writer.contests), 'virtual server')} contested"
    if process.state.error:
        yield f"the state cannot be kept ({process.state.error})"
    if process.checks_quarantined:
        yield f"{counted(process.checks_quarantined, 'check kills', 'checks kill')} workers"
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
