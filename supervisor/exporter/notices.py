"""What is to be said of Vipervisor itself and of the kernel's table, so that nobody takes it for the real servers' fault. Pure.

A notice is one sentence. Remarks belong to one virtual server.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

from checkers.kit.frozen import frozen
from supervisor.core.snapshot import ProcessView, WriterView
from supervisor.wording import counted, lasting

SLOW_S = 0.5
"""A loop that is later than this is told."""

SYNC_OLD_S = 30.0
"""The kernel's table is read every second or two, and by the largest tables a little less often; older than this is told."""


class Weight(enum.Enum):
    """How much a notice matters: word, shape and tone as a `State` has them."""

    BAD = ("problem", "cross", "bad")
    WARN = ("warning", "warning", "warn")

    def __init__(self, word: str, shape: str, tone: str) -> None:
        self.word = word
        self.shape = shape
        self.tone = tone


@frozen
class Notice:
    """One sentence about ourselves."""

    weight: Weight
    text: str


def notices(process: ProcessView) -> list[Notice]:
    """Return everything that is wrong with ourselves, the worst first."""
    found = [Notice(Weight.BAD, text) for text in _problems(process)]
    return found + [Notice(Weight.WARN, text) for text in (*_warnings(process), *_of_children(process))]


def remarks(writer: WriterView) -> dict[str, tuple[str, ...]]:
    """Return what stands in the kernel's table against our will, by virtual server."""
    found: dict[str, tuple[str, ...]] = {}
    for contest in writer.contests:
        until = f"left alone for {lasting(contest.left_alone_s)} more" if contest.left_alone_s else "repaired again"
        text = f"another program keeps changing it: {until}"
        found[contest.virtual_server] = (*found.get(contest.virtual_server, ()), text)
    for standing in writer.standing:
        text = f"changed by somebody else: {standing.real_server or 'the service'} has {standing.words}"
        found[standing.virtual_server] = (*found.get(standing.virtual_server, ()), text)
    return found


def _problems(process: ProcessView) -> Iterator[str]:
    writer = process.writer
    if not writer.reachable:
        yield "The kernel's table cannot be read or written."
    elif writer.sync_age_s is not None and writer.sync_age_s > SYNC_OLD_S:
        yield f"The kernel's table was last read {lasting(writer.sync_age_s)} ago."
    if process.workers_lost_s:
        yield f"There has been no checker worker for {lasting(process.workers_lost_s)}: every verdict is frozen."
    if process.suspected:
        for_s = f" for {lasting(process.suspected_s)}" if process.suspected_s is not None else ""
        yield f"The director itself is suspected{for_s}, and removals are held: {process.suspected}."
    if process.paused:
        ends = f", for {lasting(process.paused.ends_s)} more" if process.paused.ends_s is not None else ""
        yield f"Writes to the kernel are paused by {process.paused.by} ({process.paused.reason}){ends}: it keeps the table that it has."
    if not process.reload_ok:
        yield "The last reload was rejected; the configuration before it runs."
    for address, became in process.addresses.items():
        if became.startswith(("conflict", "failed")):
            yield f"Virtual address {address}: {became}."


def _warnings(process: ProcessView) -> Iterator[str]:
    writer = process.writer
    if not process.ready:
        yield "Not ready yet: the first checks are still to come."
    for rival in process.rivals:
        yield f"{rival.program} (process {rival.pid}) {'writes' if rival.sure else 'may write'} the kernel's table too."
    if writer.drift_standing > len(writer.standing):
        yield f"{counted(writer.drift_standing, 'difference')} that somebody else made stand in the kernel's table."
    if process.targets_without_path:
        yield f"{counted(process.targets_without_path, 'target')} of checks cannot be reached from here: this host has no route."
    if process.checks_quarantined:
        yield f"{counted(process.checks_quarantined, 'check')} kept apart, because workers die of it."
    if process.state.error:
        yield f"The state file could not be written: {process.state.error}."
    if process.log_dropped:
        yield f"{counted(process.log_dropped, 'log line')} dropped, because the reader of the log was too slow."


def _of_children(process: ProcessView) -> Iterator[str]:
    for worker in process.workers:
        said = []
        if not worker.pid:
            said.append("does not run")
        if worker.loop_lag_s >= SLOW_S:
            said.append(f"is late by {worker.loop_lag_s:.1f} s")
        if worker.stretch > 1:
            said.append(f"probes {worker.stretch} times less often, because something runs short")
        if said:
            yield f"{worker.name} {', '.join(said)}."
