"""Metrics: a Snapshot as families of prometheus_client. Pure: no clock, no socket, no state.

Names and labels are API (tests/golden/metrics.txt pins them). Rules: base units; a time is a timestamp, never an age; no label
that changes with a server's state; every set of label values is closed or comes from the configuration.
A virtual server is named like "10.0.0.1:443/tcp" or "fwm:10/ipv4", a real server like "192.168.1.10:8080".
Sources: observability.md, sections 1.2 and 1.3; https://prometheus.io/docs/practices/naming.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field

from prometheus_client.core import Metric

from checkers.kit.frozen import frozen
from supervisor.core.snapshot import Snapshot, VirtualServerView
from supervisor.exporter import nodefamilies
from supervisor.exporter.extent import Extent, count
from supervisor.exporter.nodefamilies import local_labels
from supervisor.exporter.ownfamilies import own_families
from supervisor.exporter.serverfamilies import TRAFFIC, detailed_families, real_server_families
from supervisor.exporter.shapes import counter, gauge, instant, single

SCOPES = ("process", "virtual_server", "real_server")
"""Parts of the metrics that a scrape can ask for by themselves."""


def families(
    snapshot: Snapshot, now_wall: float, scopes: Iterable[str] = SCOPES, extent: Extent = Extent()
) -> Iterator[Metric]:
    """Yield the metric families of `snapshot`, which was taken at `now_wall` (seconds since the epoch).

    Only those of `scopes` (names of SCOPES), in the order of SCOPES, and of real servers as much as `extent` says. For timestamps that
    stay the same from scrape to scrape, `now_wall` must advance exactly as `snapshot.process.uptime_s` does.
    """
    wanted, views = set(scopes), snapshot.virtual_servers
    if "process" in wanted:
        yield from own_families(snapshot, now_wall, extent)
        if extent.node_ipvs:
            yield from nodefamilies.totals(views)
    if "virtual_server" in wanted:
        yield from _virtual_servers(views, now_wall)
    if "real_server" in wanted and not extent.omits(count(views)):
        yield from real_server_families(views, now_wall)
        if extent.detail:
            yield from detailed_families(views)
        if extent.node_ipvs:
            yield from nodefamilies.destinations(views)


@frozen
class Served:
    """What the exporter knows of itself. `requests` are answers by status, `snapshot_s` is what the snapshot took to come, in seconds."""

    requests: Mapping[int, int] = field(default_factory=dict)
    refused: int = 0
    snapshot_s: float = 0.0


def served_families(served: Served) -> Iterator[Metric]:
    """Yield the metrics of the exporter itself; they belong to the scope process."""
    yield counter(
        "lvs_exporter_requests_total",
        "Requests that were answered, by HTTP status.",
        ("code",),
        [((str(code),), times) for code, times in sorted({200: 0, **served.requests}.items())],
    )
    yield counter(
        "lvs_exporter_connections_refused_total", "Connections beyond the limits.", (), [((), served.refused)]
    )
    yield single(
        "lvs_exporter_snapshot_duration_seconds",
        "From the question to the supervisor until the snapshot was there that this scrape shows.",
        served.snapshot_s,
    )


def render_duration(durations_s: Mapping[str, float]) -> Metric:
    """Return the family that tells how long each scope of this scrape took to render, in seconds."""
    return gauge(
        "lvs_metrics_render_duration_seconds",
        "Time to render each part of this scrape.",
        ("scope",),
        [((scope,), duration_s) for scope, duration_s in durations_s.items()],
    )


def _virtual_servers(views: tuple[VirtualServerView, ...], now_wall: float) -> Iterator[Metric]:
    one = ("virtual_server",)
    yield gauge(
        "lvs_virtual_server_info",
        "Virtual servers as configured, with their virtual_server_group (service) and the labels of node_exporter: always 1.",
        ("virtual_server", "service", "scheduler", "forward", "local_address", "local_port", "proto", "local_mark"),
        [((v.virtual_server, v.group, v.scheduler, v.forward, *local_labels(v)), 1) for v in views],
    )
    yield gauge(
        "lvs_virtual_server_quorum_up",
        "1 while the quorum is reached.",
        one,
        [((v.virtual_server,), v.quorate) for v in views],
    )
    yield gauge(
        "lvs_virtual_server_suspended",
        "1 while ha_suspend holds its checks, because its address is not on this host.",
        one,
        [((v.virtual_server,), v.suspended) for v in views],
    )
    yield gauge(
        "lvs_virtual_server_quorum",
        "Least sum of live weights that is wanted.",
        one,
        [((v.virtual_server,), v.quorum) for v in views],
    )
    yield gauge(
        "lvs_virtual_server_weight_up",
        "Sum of the weights of live real servers.",
        one,
        [((v.virtual_server,), v.weight_up) for v in views],
    )
    yield gauge(
        "lvs_virtual_server_real_servers",
        "Real servers by state; what an operator drained or disabled counts as that, whatever its checks say.",
        ("virtual_server", "state"),
        [((v.virtual_server, state), count) for v in views for state, count in _states(v).items()],
    )
    yield gauge(
        "lvs_virtual_server_pooled_down",
        "Real servers that are down and yet have a weight in the kernel.",
        one,
        [
            ((v.virtual_server,), sum(r.health == "DOWN" and bool(r.weight_kernel) for r in v.real_servers))
            for v in views
        ],
    )
    yield gauge(
        "lvs_virtual_server_held",
        "Real servers that serve though they are down: held by min_healthy (guard), or because the director is suspected (blame).",
        ("virtual_server", "by"),
        [
            ((v.virtual_server, by), sum(r.held == by for r in v.real_servers))
            for v in views
            for by in ("guard", "blame")
        ],
    )
    yield counter(
        "lvs_virtual_server_removals_refused_total",
        "How often a real server went down and was held in service.",
        one,
        [((v.virtual_server,), v.removals_refused) for v in views],
    )
    yield gauge(
        "lvs_virtual_server_sorry_active",
        "1 while the sorry server stands in.",
        one,
        [((v.virtual_server,), v.sorry.active if v.sorry else None) for v in views],
    )
    yield counter(
        "lvs_virtual_server_transitions_total",
        "Changes of the quorum.",
        ("virtual_server", "to"),
        [
            ((v.virtual_server, to), count)
            for v in views
            for to, count in (("quorum_up", v.transitions_up), ("quorum_down", v.transitions_down))
        ],
    )
    yield gauge(
        "lvs_virtual_server_state_change_timestamp_seconds",
        "When the quorum was last gained or lost.",
        one,
        [((v.virtual_server,), instant(now_wall, v.since_s)) for v in views],
    )
    for word, text, read in TRAFFIC:
        yield counter(
            f"lvs_virtual_server_{word}_total",
            f"{text}, of the kernel's service.",
            one,
            [((v.virtual_server,), read(v.traffic)) for v in views],
        )


def _states(view: VirtualServerView) -> dict[str, int]:
    counts = {"up": 0, "down": 0, "unknown": 0, "draining": 0, "disabled": 0}
    for server in view.real_servers:
        counts[server.health.lower() if server.enabled else server.admin] += 1
    return counts
