"""Metrics of each real server (scope real_server): the usual ones, and those that an operator asks for. Pure; see `families`.

Two labels name a real server everywhere, and no label follows its state. What stands for it in the kernel is absent while it is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import Metric

from supervisor.core.snapshot import RealServerView, TrafficView, VirtualServerView
from supervisor.exporter.shapes import counter, gauge, instant, labelled

TRAFFIC: tuple[tuple[str, str, Callable[[TrafficView], int]], ...] = (
    ("connections", "Connections scheduled", lambda traffic: traffic.connections),
    ("incoming_packets", "Packets from clients", lambda traffic: traffic.incoming_packets),
    ("outgoing_packets", "Packets to clients (NAT only)", lambda traffic: traffic.outgoing_packets),
    ("incoming_bytes", "Bytes from clients", lambda traffic: traffic.incoming_bytes),
    ("outgoing_bytes", "Bytes to clients (NAT only)", lambda traffic: traffic.outgoing_bytes),
)
"""The kernel's counters: word of the name, what it counts, where it is."""

_TWO = ("virtual_server", "real_server")

_SIMPLE: tuple[tuple[str, str, Callable[[RealServerView], float | None]], ...] = (
    ("up", "1 while the checks say up; an operator's word does not change it.", lambda r: r.health == "UP"),
    ("enabled", "0 while an operator has drained or disabled it.", lambda r: r.enabled),
    ("held", "1 while it serves though it is down, because something holds it.", lambda r: bool(r.held)),
    ("verdict_stale", "1 while its worker is silent: the last verdict is frozen.", lambda r: r.stale),
    ("weight", "Weight in the kernel; absent while it is not in the kernel's table.", lambda r: r.weight_kernel),
    ("target_weight", "Weight that is wanted; absent while it should not be there.", lambda r: r.weight_wanted),
    ("configured_weight", "Weight in the configuration.", lambda r: r.weight_configured),
    ("connections_active", "Active connections in the kernel.", lambda r: r.traffic.active),
    ("connections_inactive", "Inactive connections in the kernel.", lambda r: r.traffic.inactive),
)


def real_server_families(views: tuple[VirtualServerView, ...], now_wall: float) -> Iterator[Metric]:
    """Yield what is told of every real server."""
    pairs = [((v.virtual_server, r.real_server), r) for v in views for r in v.real_servers]
    named = _named(views)
    info = "lvs_real_server_info"
    remote = (*_TWO, "remote_address", "remote_port", "forward")
    yield labelled(
        gauge(info, "Real servers as configured, with the labels of node_exporter: always 1.", remote),
        info,
        [(dict(zip(remote, (*names, *split(r.real_server), r.forward), strict=True)), 1) for names, r in pairs],
    )
    since = ("state_change_timestamp_seconds", "When it last went up or down.", lambda r: instant(now_wall, r.since_s))
    for word, text, read in (*_SIMPLE, since):
        name = f"lvs_real_server_{word}"
        yield labelled(gauge(name, text, _TWO), name, [(labels, read(r)) for labels, r in named])
    yield gauge(
        "lvs_real_server_certificate_expiry_timestamp_seconds",
        "When the first certificate ends that SSL_GET saw on it.",
        _TWO,
        [(names, end) for names, r in pairs if (end := _first_expiry(r))],
    )
    transitions = "lvs_real_server_transitions_total"
    yield labelled(
        counter(transitions, "Changes between up and down.", (*_TWO, "to"), ()),
        transitions,
        [
            ({**labels, "to": to}, count)
            for labels, r in named
            for to, count in (("up", r.transitions_up), ("down", r.transitions_down))
        ],
    )


def detailed_families(views: tuple[VirtualServerView, ...]) -> Iterator[Metric]:
    """Yield what is told of every real server only when it was asked for."""
    pairs = [((v.virtual_server, r.real_server), r) for v in views for r in v.real_servers]
    named = _named(views)
    for word, text, read in TRAFFIC:
        name = f"lvs_real_server_{word}_total"
        family = counter(name, f"{text}, since the kernel's entry was made.", _TWO, ())
        yield labelled(family, name, [(labels, read(r.traffic)) for labels, r in named])
    yield gauge(
        "lvs_real_server_check_last_duration_seconds",
        "How long the last probe of a check took; the longest, where several checks of one type ask the same address.",
        (*_TWO, "check", "target"),
        [((*names, *check), duration_s) for names, r in pairs for check, duration_s in _durations(r).items()],
    )


def _named(views: tuple[VirtualServerView, ...]) -> list[tuple[dict[str, str], RealServerView]]:
    """Return every real server with its labels, which all families share."""
    return [(dict(zip(_TWO, (v.virtual_server, r.real_server), strict=True)), r) for v in views for r in v.real_servers]


def _durations(server: RealServerView) -> dict[tuple[str, str], float]:
    """Return (checker type, target) → how long the last probe took, in seconds. Checks that share both are one series."""
    found: dict[tuple[str, str], float] = {}
    for check in server.checks:
        if check.age_s is not None:
            name = check.type, check.target
            found[name] = max(found.get(name, 0.0), check.duration_s)
    return found


def _first_expiry(server: RealServerView) -> float:
    """Return the earliest end of a certificate that its checks saw, 0 when none did."""
    return min((end for check in server.checks if (end := check.certificate_expires_at)), default=0.0)


def split(endpoint: str) -> tuple[str, str]:
    """Split "192.0.2.1:80" or "[2001:db8::1]:80" into address and port."""
    address, _, port = endpoint.rpartition(":")
    return address.strip("[]"), port
