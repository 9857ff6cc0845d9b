"""The metrics of node_exporter's ipvs collector under their own names, for boards that exist. Pure; off unless asked for.

Whoever runs node_exporter on the same host as well turns its collector off (`--no-collector.ipvs`): else every sum would be double.
One thing differs: the five counters of the whole host are sums over the virtual servers of the configuration, because what others have in
the kernel's table is none of our business. Source: node_exporter's ipvs collector (observability.md, section 1.1).
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from supervisor.core.snapshot import TrafficView, VirtualServerView
from supervisor.exporter.serverfamilies import TRAFFIC, split
from supervisor.exporter.shapes import counter, gauge

_LABELS = ("local_address", "local_port", "remote_address", "remote_port", "proto", "local_mark")


def local_labels(view: VirtualServerView) -> tuple[str, str, str, str]:
    """Return local_address, local_port, proto and local_mark of a virtual server as node_exporter spells them."""
    if view.protocol:
        return view.address, str(view.port), view.protocol.upper(), ""
    return "", "0", "FWM", f"{view.mark:08X}"


def totals(views: tuple[VirtualServerView, ...]) -> Iterator[Metric]:
    """Yield the counters that have no label."""
    for word, text, read in TRAFFIC:
        total = sum(read(view.traffic) for view in views)
        yield counter(f"node_ipvs_{word}_total", f"{text}, of all configured virtual servers.", (), [((), total)])


def destinations(views: tuple[VirtualServerView, ...]) -> Iterator[Metric]:
    """Yield what is told of each destination in the kernel's table."""
    found = [
        ((address, port, *split(name), protocol, mark), weight, traffic)
        for view in views
        for address, port, protocol, mark in (local_labels(view),)
        for name, weight, traffic in _in_kernel(view)
    ]
    yield gauge(
        "node_ipvs_backend_connections_active", "Active connections.", _LABELS, [(n, t.active) for n, _, t in found]
    )
    yield gauge(
        "node_ipvs_backend_connections_inactive",
        "Inactive connections.",
        _LABELS,
        [(names, traffic.inactive) for names, _, traffic in found],
    )
    yield gauge("node_ipvs_backend_weight", "Weight in the kernel.", _LABELS, [(n, weight) for n, weight, _ in found])


def _in_kernel(view: VirtualServerView) -> Iterator[tuple[str, int, TrafficView]]:
    """Yield name, weight and traffic of what the kernel has for a virtual server, each once."""
    names = set()
    for server in view.real_servers:
        if server.weight_kernel is not None:
            names.add(server.real_server)
            yield server.real_server, server.weight_kernel, server.traffic
    sorry = view.sorry
    if sorry is not None and sorry.weight_kernel is not None and sorry.real_server not in names:
        yield sorry.real_server, sorry.weight_kernel, sorry.traffic
