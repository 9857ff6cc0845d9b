"""Puts together what observers may know: the director's views and the facts about the program itself make one `Snapshot`.

Reads only. The kernel's and Python's versions are asked once.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from checkers.kit.frozen import frozen
from supervisor import __version__
from supervisor.children.exporter import ExporterChild
from supervisor.children.pool import CheckerPool
from supervisor.core import views
from supervisor.core.director import Director
from supervisor.core.events import Health
from supervisor.core.snapshot import (
    PauseView,
    ProcessView,
    RivalView,
    Snapshot,
    StateView,
    WebView,
    WorkerView,
    WriterView,
    encoding,
)
from supervisor.log import Log
from supervisor.notify.fifo import Fifos
from supervisor.notify.script import Scripts
from supervisor.rivals import Rival


class HasWriterView(Protocol):
    """The writer, as far as observers go."""

    def view(self) -> WriterView:
        """Return what it did."""


class Errands(Protocol):
    """What the operator wants done, as far as observers go."""

    scripts: Scripts
    fifos: Fifos

    def views(self, now: float) -> tuple[WorkerView, ...]:
        """Return the runner, if there is one."""


class CountsMail(Protocol):
    """The mailer, as far as observers go."""

    sent: int
    failed: int
    dropped: int


@dataclass
class Facts:
    """What the decision loop notes about itself. Times are trio's seconds."""

    started_at: float
    config_at: float
    reload_ok: bool = True
    reloads_ok: int = 0
    reloads_rejected: int = 0
    loop_lag_s: float = 0.0
    caged: str = ""  # the supervisor's own cage
    addresses: dict[str, str] = field(default_factory=dict)
    rivals: tuple[Rival, ...] = ()  # as found by the last look


@frozen
class Sources:
    """Who knows what."""

    director: Director
    writer: HasWriterView
    pool: CheckerPool
    exporter: ExporterChild | None
    mailer: CountsMail
    errands: Errands
    log: Log
    log_dropped: Callable[[], int]
    backend: str
    facts: Facts
    state: StateView
    web: WebView = WebView()
    paused: PauseView | None = None


PYTHON = platform.python_version()
KERNEL = platform.release()


def snapshot(sources: Sources, inbox_length: int, now: float) -> Snapshot:
    """Return everything as it is at `now`."""
    return Snapshot(process(sources, inbox_length, now), views.virtual_servers(sources.director, now))


def pieces(sources: Sources, inbox_length: int, now: float) -> Iterator[bytes]:
    """Yield the wire form of everything, piece by piece; decisions may be taken between two."""
    return encoding(process(sources, inbox_length, now), views.one_by_one(sources.director, now))


def process(sources: Sources, inbox_length: int, now: float) -> ProcessView:
    """Return the program itself as it is at `now`."""
    director, facts, pool = sources.director, sources.facts, sources.pool
    writer = sources.writer.view()
    return ProcessView(
        version=__version__,
        python=PYTHON,
        kernel=KERNEL,
        backend=sources.backend,
        pid=os.getpid(),
        uptime_s=now - facts.started_at,
        ready=ready(director, writer),
        config_source=director.config.source,
        config_digest=director.config.digest,
        config_warnings=director.config.warnings,
        config_age_s=now - facts.config_at,
        reload_ok=facts.reload_ok,
        reloads_ok=facts.reloads_ok,
        reloads_rejected=facts.reloads_rejected,
        schedule_lag=pool.schedule_lag(),
        checks=pool.counts(),
        check_durations=pool.durations(),
        writer=writer,
        workers=_workers(sources, now),
        log_events=sources.log.counts,
        log_dropped=sources.log_dropped(),
        log_summed_up=sources.log.summed_up,
        mail_sent=sources.mailer.sent,
        mail_failed=sources.mailer.failed,
        mail_dropped=sources.mailer.dropped,
        inbox_length=inbox_length,
        addresses=dict(facts.addresses),
        scripts_succeeded=sources.errands.scripts.succeeded,
        scripts_failed=sources.errands.scripts.failed,
        scripts_skipped=sources.errands.scripts.skipped,
        fifo_written=sources.errands.fifos.written,
        fifo_dropped=sources.errands.fifos.dropped,
        rivals=tuple(RivalView(rival.program, rival.pid, rival.sure) for rival in facts.rivals),
        state=sources.state,
        web=sources.web,
        paused=sources.paused,
        suspected=director.blame.text,
        suspected_s=None if director.blame.since is None else now - director.blame.since,
        targets_without_path=len(director.blame.lost),
        workers_lost_s=pool.lost_for_s(),
        checks_quarantined=len(pool.condemned()),
    )


def ready(director: Director, writer: WriterView) -> bool:
    """Tell whether every check that does not rest has given a first verdict, and the kernel was once seen to be as wanted and can be
    reached.
    """
    if writer.sync_age_s is None or not writer.reachable:
        return False
    unknown = Health.UNKNOWN
    for virtual_server in director.virtual_servers.values():
        if not virtual_server.suspended:
            for server in virtual_server.real_servers.values():
                for (
                    check
                ) in server.checks:  # asked once a second where a probe of a container asks: plain loops, a millisecond
                    if check.health is unknown:
                        return False
    return True


def summary(director: Director, paused: PauseView | None = None) -> str:
    """Return one line about everything, for `systemctl status`."""
    pools = director.virtual_servers.values()  # each counts its own, so that this is cheap twice a second
    servers = sum(len(pool.real_servers) for pool in pools)
    lost = sum(not pool.quorate for pool in pools)
    quorum = f", {lost} without quorum" if lost else ""
    live = sum(pool.servers_up for pool in pools)
    by_hand = f", {director.overrides} overridden by an operator" if director.overrides else ""
    held = sum(pool.held for pool in pools)
    by_us = f", {held} held in service though down" if held else ""
    by_us += ", THE DIRECTOR ITSELF IS SUSPECTED" if director.blame.text else ""
    by_us += f", WRITES PAUSED by {paused.by} ({paused.reason})" if paused else ""
    return f"{len(pools)} virtual servers{quorum}, {live} of {servers} real servers live{by_hand}{by_us}"


def _workers(sources: Sources, now: float) -> tuple[WorkerView, ...]:
    ourselves = WorkerView("supervisor", os.getpid(), 0, 0.0, sources.facts.loop_lag_s, 0, 0, sources.facts.caged)
    exporter = (sources.exporter.view(now),) if sources.exporter else ()
    workers = (worker.view(now) for worker in sources.pool.workers)
    return (ourselves, *workers, *exporter, *sources.errands.views(now))
