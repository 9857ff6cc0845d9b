"""Metrics: a Snapshot as families of prometheus_client. Pure: no clock, no socket, no state.

Names and labels are API (tests/golden/metrics.txt pins them). Rules: base units; a time is a timestamp, never an age; no label
that changes with a server's state; every set of label values is closed or comes from the configuration.
A virtual server is named like "10.0.0.1:443/tcp" or "fwm:10/ipv4", a real server like "192.168.1.10:8080".
Sources: observability.md, sections 1.2 and 1.3; https://prometheus.io/docs/practices/naming.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.core import Metric

from supervisor.core.snapshot import (
    RealServerView,
    Snapshot,
    TrafficView,
    VirtualServerView,
)
from supervisor.exporter.ownfamilies import own_families
from supervisor.exporter.shapes import counter, gauge, instant

SCOPES = ("process", "virtual_server", "real_server")
"""Parts of the metrics that a scrape can ask for by themselves."""

_TRAFFIC: tuple[tuple[str, str, Callable[[TrafficView], int]], ...] = (
    ("connections", "Connections scheduled", lambda traffic: traffic.connections),
    ("incoming_packets", "Packets from clients", lambda traffic: traffic.incoming_packets),
    ("outgoing_packets", "Packets to clients (NAT only)", lambda traffic: traffic.outgoing_packets),
    ("incoming_bytes", "Bytes from clients", lambda traffic: traffic.incoming_bytes),
    ("outgoing_bytes", "Bytes to clients (NAT only)", lambda traffic: traffic.outgoing_bytes),
)


def families(snapshot: Snapshot, now_wall: float, scopes: Iterable[str] = SCOPES) -> Iterator[Metric]:
    """Yield the metric families of `snapshot`, which was taken at `now_wall` (seconds since the epoch).

    Only those of `scopes` (names of SCOPES), in the order of SCOPES. For timestamps that stay the same from scrape to scrape,
    `now_wall` must advance exactly as `snapshot.process.uptime_s` does.
    """
    wanted = set(scopes)
    if "process" in wanted:
        yield from own_families(snapshot, now_wall)
    if "virtual_server" in wanted:
        yield from _virtual_servers(snapshot.virtual_servers, now_wall)
    if "real_server" in wanted:
        yield from _real_servers(snapshot.virtual_servers, now_wall)


def render_duration(durations_s: Mapping[str, float]) -> Metric:
    """Return the family that tells how long each scope of this scrape took to render, in seconds."""
    return gauge(
        "lvs_metrics_render_duration_seconds",
        "Time to render each part of this scrape.",
        ("scope",),
        [((scope,), duration_s) for scope, duration_s in durations_s.items()],
    )


# -- the three shapes ----------------------------------------------------------------------------------------------------


def _virtual_servers(views: tuple[VirtualServerView, ...], now_wall: float) -> Iterator[Metric]:
    one = ("virtual_server",)
    yield gauge(
        "lvs_virtual_server_info",
        "Virtual servers as configured, with the labels of node_exporter: always 1.",
        ("virtual_server", "scheduler", "forward", "local_address", "local_port", "proto", "local_mark"),
        [((v.virtual_server, v.scheduler, v.forward, *_node_labels(v)), 1) for v in views],
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
    for word, text, read in _TRAFFIC:
        yield counter(
            f"lvs_virtual_server_{word}_total",
            f"{text}, of the kernel's service.",
            one,
            [((v.virtual_server,), read(v.traffic)) for v in views],
        )


def _node_labels(view: VirtualServerView) -> tuple[str, str, str, str]:
    """Return local_address, local_port, proto and local_mark as node_exporter's ipvs collector spells them."""
    if view.protocol:
        return view.address, str(view.port), view.protocol.upper(), ""
    return "", "0", "FWM", f"{view.mark:08X}"


def _states(view: VirtualServerView) -> dict[str, int]:
    counts = {"up": 0, "down": 0, "unknown": 0, "draining": 0, "disabled": 0}
    for server in view.real_servers:
        counts[server.health.lower() if server.enabled else server.admin] += 1
    return counts


# -- scope real_server ---------------------------------------------------------------------------------------------------


def _real_servers(views: tuple[VirtualServerView, ...], now_wall: float) -> Iterator[Metric]:
    pairs = [((v.virtual_server, r.real_server), r) for v in views for r in v.real_servers]
    two = ("virtual_server", "real_server")
    yield gauge(
        "lvs_real_server_info",
        "Real servers as configured, with the labels of node_exporter: always 1.",
        (*two, "remote_address", "remote_port", "forward"),
        [((*names, *_split(r.real_server), r.forward), 1) for names, r in pairs],
    )
    simple: tuple[tuple[str, str, Callable[[RealServerView], float | None]], ...] = (
        ("up", "1 while the checks say up; an operator's word does not change it.", lambda r: r.health == "UP"),
        ("enabled", "0 while an operator has drained or disabled it.", lambda r: r.enabled),
        ("held", "1 while it serves though it is down, because something holds it.", lambda r: bool(r.held)),
        ("verdict_stale", "1 while its worker is silent: the last verdict is frozen.", lambda r: r.stale),
        ("weight", "Weight in the kernel; absent while it is not in the kernel's table.", lambda r: r.weight_kernel),
        ("target_weight", "Weight that is wanted; absent while it should not be there.", lambda r: r.weight_wanted),
        ("configured_weight", "Weight in the configuration.", lambda r: r.weight_configured),
        ("connections_active", "Active connections in the kernel.", lambda r: r.traffic.active),
        ("connections_inactive", "Inactive connections in the kernel.", lambda r: r.traffic.inactive),
        (
            "state_change_timestamp_seconds",
            "When it last went up or down.",
            lambda r: instant(now_wall, r.since_s),
        ),
    )
    yield gauge(
        "lvs_real_server_certificate_expiry_timestamp_seconds",
        "When the first certificate ends that SSL_GET saw on it.",
        two,
        [(names, end) for names, r in pairs if (end := _first_expiry(r))],
    )
    for word, text, read in simple:
        yield gauge(f"lvs_real_server_{word}", text, two, [(names, read(r)) for names, r in pairs])
    yield counter(
        "lvs_real_server_transitions_total",
        "Changes between up and down.",
        (*two, "to"),
        [
            ((*names, to), count)
            for names, r in pairs
            for to, count in (("up", r.transitions_up), ("down", r.transitions_down))
        ],
    )
    for word, text, count in _TRAFFIC:
        yield counter(
            f"lvs_real_server_{word}_total",
            f"{text}, since the kernel's entry was made.",
            two,
            [(names, count(r.traffic)) for names, r in pairs],
        )


def _first_expiry(server: RealServerView) -> float:
    """Return the earliest end of a certificate that its checks saw, 0 when none did."""
    return min((end for check in server.checks if (end := check.certificate_expires_at)), default=0.0)


def _split(endpoint: str) -> tuple[str, str]:
    """Split "192.0.2.1:80" or "[2001:db8::1]:80" into address and port."""
    address, _, port = endpoint.rpartition(":")
    return address.strip("[]"), port
