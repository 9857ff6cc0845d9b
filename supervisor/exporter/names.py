"""Every name that can be told, from the families themselves: what `name[]` may ask for, and what docs/metrics.md lists. Pure."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from prometheus_client.core import Metric

from supervisor.core.snapshot import Histogram, ProcessView, Snapshot, StateView, WebView, WriterView
from supervisor.exporter.extent import Extent
from supervisor.exporter.families import SCOPES, Served, families, render_duration, served_families
from supervisor.exporter.process import families_known

_MEMBERS = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
"""What the samples of a family append to its name."""


def told(scopes: tuple[str, ...] = SCOPES, extent: Extent = Extent(detail=True, node_ipvs=True)) -> Iterator[Metric]:
    """Yield every family of some scopes, without virtual servers in them."""
    yield from families(nothing(), 0.0, scopes, extent)
    if "process" in scopes:
        yield from served_families(Served())
        yield render_duration({})
        yield from families_known()


@functools.cache
def names() -> frozenset[str]:
    """Return the name of every family and of every sample."""
    found = list(told())
    members = {f"{family.name}{end}" for family in found for end in _MEMBERS.get(family.type, ())}
    return frozenset(members | {family.name for family in found})


def nothing() -> Snapshot:
    """Return the snapshot of a program that keeps state and is protected, with no virtual server."""
    process = ProcessView(
        version="",
        python="",
        kernel="",
        backend="",
        pid=0,
        uptime_s=0.0,
        ready=True,
        config_source="",
        config_digest="",
        config_warnings=0,
        config_age_s=0.0,
        reload_ok=True,
        reloads_ok=0,
        reloads_rejected=0,
        schedule_lag=Histogram(),
        checks=(),
        check_durations=(),
        writer=WriterView(),
        workers=(),
        log_events={},
        log_dropped=0,
        mail_sent=0,
        mail_failed=0,
        mail_dropped=0,
        inbox_length=0,
        addresses={},
        state=StateView("kept", 0.0),
        web=WebView("file", 0.0),
    )
    return Snapshot(process, ())
