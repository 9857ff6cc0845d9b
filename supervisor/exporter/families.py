"""Metrics: a Snapshot as families of prometheus_client. Pure: no clock, no socket, no state.

Names and labels are API (tests/golden/metrics.txt pins them). Rules: base units; a time is a timestamp, never an age; no label
that changes with a server's state; every set of label values is closed or comes from the configuration.
A virtual server is named like "10.0.0.1:443/tcp" or "fwm:10/ipv4", a real server like "192.168.1.10:8080".
Sources: observability.md, sections 1.2 and 1.3; https://prometheus.io/docs/practices/naming.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from supervisor.core.snapshot import (
    DURATION_BUCKETS_S,
    Histogram,
    ProcessView,
    RealServerView,
    Snapshot,
    StateView,
    TrafficView,
    VirtualServerView,
    WriterView,
)

SCOPES = ("process", "virtual_server", "real_server")
"""Parts of the metrics that a scrape can ask for by themselves."""

_LEVELS = ("debug", "info", "warning", "error")
_BUCKETS = (*(f"{bound:g}" for bound in DURATION_BUCKETS_S), "+Inf")
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
        yield from _process(snapshot, now_wall)
        yield from _checks(snapshot.process)
        yield from _writer(snapshot.process.writer, now_wall)
        yield from _workers(snapshot.process, now_wall)
        yield from _telling(snapshot.process)
        yield from _state(snapshot.process.state, now_wall)
    if "virtual_server" in wanted:
        yield from _virtual_servers(snapshot.virtual_servers, now_wall)
    if "real_server" in wanted:
        yield from _real_servers(snapshot.virtual_servers, now_wall)


def render_duration(durations_s: Mapping[str, float]) -> Metric:
    """Return the family that tells how long each scope of this scrape took to render, in seconds."""
    return _gauge(
        "lvs_metrics_render_duration_seconds",
        "Time to render each part of this scrape.",
        ("scope",),
        [((scope,), duration_s) for scope, duration_s in durations_s.items()],
    )


# -- the three shapes ----------------------------------------------------------------------------------------------------


def _gauge(
    name: str, text: str, labels: tuple[str, ...] = (), samples: Iterable[tuple[tuple[str, ...], float | None]] = ()
) -> Metric:
    """Make a gauge; a sample of None is left out."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        if value is not None:
            family.add_metric(values, value)
    return family


def _single(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, labels: tuple[str, ...], samples: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _histogram(
    name: str, text: str, labels: tuple[str, ...], samples: Iterable[tuple[tuple[str, ...], Histogram]]
) -> Metric:
    """Make a histogram; the snapshot counts each bucket by itself, Prometheus wants running sums."""
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, histogram in samples:
        buckets = list(zip(_BUCKETS, map(float, accumulate(histogram.counts)), strict=True))
        family.add_metric(values, buckets, histogram.sum_s)
    return family


def _instant(now_wall: float, age_s: float) -> float:
    """Return when something happened that is `age_s` old, to the millisecond, so that float noise is not a change."""
    return round(now_wall - age_s, 3)


# -- scope process -------------------------------------------------------------------------------------------------------


def _process(snapshot: Snapshot, now_wall: float) -> Iterator[Metric]:
    process = snapshot.process
    yield _gauge(
        "lvs_build_info",
        "What runs: always 1.",
        ("version", "python", "kernel", "backend"),
        [((process.version, process.python, process.kernel, process.backend), 1)],
    )
    yield _single("lvs_start_timestamp_seconds", "When the supervisor started.", _instant(now_wall, process.uptime_s))
    yield _single(
        "lvs_ready", "1 when every check has given a verdict and the kernel table was written and read.", process.ready
    )
    yield _gauge("lvs_config_info", "The running configuration: always 1.", ("hash",), [((process.config_digest,), 1)])
    yield _single("lvs_config_last_reload_successful", "1 unless the last reload was refused.", process.reload_ok)
    yield _single(
        "lvs_config_last_reload_success_timestamp_seconds",
        "When the running configuration was loaded.",
        _instant(now_wall, process.config_age_s),
    )
    yield _counter(
        "lvs_config_reloads_total",
        "Reloads by result.",
        ("result",),
        [(("success",), process.reloads_ok), (("rejected",), process.reloads_rejected)],
    )
    yield _single(
        "lvs_config_warnings", "Warnings with which the running configuration was accepted.", process.config_warnings
    )
    virtual_servers = snapshot.virtual_servers
    yield _single("lvs_virtual_servers", "Configured virtual servers.", len(virtual_servers))
    real_servers = sum(len(virtual_server.real_servers) for virtual_server in virtual_servers)
    yield _single("lvs_real_servers", "Configured real servers, counted once for each virtual server.", real_servers)
    yield _gauge(
        "lvs_admin_overrides",
        "Real servers of which an operator wants something, by what: drained, disabled, or another weight.",
        ("kind",),
        [((kind,), count) for kind, count in _overrides(virtual_servers).items()],
    )
    yield _single(
        "lvs_director_suspected",
        "1 while removals are held because this director's own network is suspected.",
        bool(process.suspected),
    )
    yield _single(
        "lvs_targets_without_path",
        "Addresses of checks and servers to which this host has no way (route, interface, carrier).",
        process.targets_without_path,
    )
    yield _single("lvs_inbox_length", "Events that wait for a decision.", process.inbox_length)
    yield _gauge(
        "lvs_virtual_address_info",
        "What became of each virtual address: always 1.",
        ("address", "state", "interface"),
        [((address, *_address_state(text)), 1) for address, text in process.addresses.items()],
    )


def _overrides(virtual_servers: Iterable[VirtualServerView]) -> dict[str, int]:
    counts = {"draining": 0, "disabled": 0, "weight": 0}
    for virtual_server in virtual_servers:
        for server in virtual_server.real_servers:
            if server.override is not None:
                counts["weight" if server.enabled else server.admin] += 1
    return counts


def _address_state(text: str) -> tuple[str, str]:
    """Split "assigned eth0" into state and interface; the rest of a failure's text is for the log, not for a label."""
    state, _, rest = text.partition(" ")
    return state, rest if state in {"assigned", "present"} else ""


def _checks(process: ProcessView) -> Iterator[Metric]:
    yield _counter(
        "lvs_checks_total",
        "Probes by checker type and result.",
        ("check", "result"),
        [((count.type, count.reason), count.count) for count in process.checks],
    )
    yield _histogram(
        "lvs_check_duration_seconds",
        "How long probes took.",
        ("check",),
        [((timing.type,), timing.durations) for timing in process.check_durations],
    )
    yield _histogram(
        "lvs_check_schedule_lag_seconds",
        "How much later than due probes started.",
        (),
        [((), process.schedule_lag)],
    )
    checkers = [worker for worker in process.workers if worker.name.startswith("checker")]
    yield _gauge(
        "lvs_checks_overdue",
        "Checks whose result is older than three periods.",
        ("worker",),
        [((worker.name,), worker.overdue) for worker in checkers],
    )
    yield _gauge(
        "lvs_checks_in_flight",
        "Probes under way.",
        ("worker",),
        [((worker.name,), worker.in_flight) for worker in checkers],
    )


def _writer(writer: WriterView, now_wall: float) -> Iterator[Metric]:
    yield _single("lvs_writer_queue_length", "Kernel changes that are wanted and not yet written.", writer.queue_length)
    yield _single("lvs_writer_queue_oldest_seconds", "Age of the oldest change not yet written.", writer.queue_oldest_s)
    yield _counter(
        "lvs_writer_operations_total",
        "Kernel operations by name and result (ok or errno).",
        ("operation", "result"),
        [((count.operation, count.result), count.count) for count in writer.operations],
    )
    yield _histogram(
        "lvs_writer_batch_duration_seconds",
        "Time from sending a batch of operations to the kernel's last answer.",
        (),
        [((), writer.batch_durations)],
    )
    yield _histogram(
        "lvs_verdict_to_kernel_seconds",
        "Time from a verdict to the kernel's acknowledgement of the change it caused.",
        (),
        [((), writer.verdict_to_kernel)],
    )
    yield _gauge(
        "lvs_kernel_drift_entries",
        "Differences that nobody here wrote, found by the last look at the kernel table, before repair.",
        ("kind",),
        [
            (("missing",), writer.drift_missing),
            (("extra",), writer.drift_extra),
            (("weight",), writer.drift_weight),
            (("settings",), writer.drift_settings),
        ],
    )
    yield _counter("lvs_kernel_repairs_total", "Differences repaired.", (), [((), writer.repairs)])
    yield _single("lvs_kernel_reachable", "Whether the kernel table can be read and written.", int(writer.reachable))
    yield _single(
        "lvs_kernel_foreign_services",
        "Services in the kernel table that the configuration does not name; they are left alone.",
        writer.foreign_services,
    )
    yield _counter(
        "lvs_kernel_adopted_total",
        "Weights of somebody else's that were taken for an operator's word.",
        (),
        [((), writer.adopted)],
    )
    yield _single(
        "lvs_kernel_drift_standing",
        "Differences that stand by drift_policy, or because nobody fights for them.",
        writer.drift_standing,
    )
    yield _gauge(
        "lvs_kernel_contested_seconds",
        "Virtual servers that another program keeps changing, and for how long they are still left alone.",
        ("virtual_server",),
        [((contest.virtual_server,), contest.left_alone_s) for contest in writer.contests],
    )
    yield _gauge(
        "lvs_kernel_last_sync_timestamp_seconds",
        "When the kernel table was last read whole.",
        (),
        [((), None if writer.sync_age_s is None else _instant(now_wall, writer.sync_age_s))],
    )


def _workers(process: ProcessView, now_wall: float) -> Iterator[Metric]:
    workers = [worker for worker in process.workers if worker.name != "supervisor"]
    yield _gauge(
        "lvs_worker_info",
        "Processes, and what each gave up and could not get (lacks=): always 1.",
        ("worker", "caged"),
        [((worker.name, worker.caged), 1) for worker in process.workers],
    )
    yield _gauge(
        "lvs_worker_up", "1 while the child process runs.", ("worker",), [((w.name,), w.pid != 0) for w in workers]
    )
    yield _counter(
        "lvs_worker_restarts_total", "Restarts.", ("worker",), [((worker.name,), worker.restarts) for worker in workers]
    )
    yield _gauge(
        "lvs_worker_last_seen_timestamp_seconds",
        "When the child process last gave a sign of life.",
        ("worker",),
        [((w.name,), None if w.age_s is None else _instant(now_wall, w.age_s)) for w in workers],
    )
    yield _gauge(
        "lvs_event_loop_lag_seconds",
        "How late the event loop of the process is.",
        ("worker",),
        [((worker.name,), worker.loop_lag_s) for worker in process.workers],
    )
    yield from _workers_in_need(process)


def _workers_in_need(process: ProcessView) -> Iterator[Metric]:
    """Yield what tells our own trouble from the servers'."""
    checkers = [worker for worker in process.workers if worker.name.startswith("checker")]
    yield _single(
        "lvs_workers_lost",
        "1 while no checker worker is there and every verdict is frozen.",
        process.workers_lost_s > 0,
    )
    yield _single("lvs_checks_quarantined", "Checks that kill workers and are kept apart.", process.checks_quarantined)
    yield _gauge(
        "lvs_worker_checks", "Checks that a worker has.", ("worker",), [((w.name,), w.checks) for w in checkers]
    )
    yield _counter(
        "lvs_worker_run_delay_seconds_total",
        "Time that a worker waited for a processor.",
        ("worker",),
        [((worker.name,), worker.run_delay_s) for worker in checkers],
    )
    yield _counter(
        "lvs_worker_naps_total",
        "How often a worker, or the machine, stood still for a second or more.",
        ("worker",),
        [((worker.name,), worker.naps) for worker in checkers],
    )
    yield _counter(
        "lvs_worker_local_faults_total",
        "Probes that this machine made impossible, by what it refused.",
        ("worker", "fault"),
        [((worker.name, fault), count) for worker in checkers for fault, count in sorted(worker.faults.items())],
    )
    yield _counter(
        "lvs_worker_inconclusive_total",
        "Probes that said nothing about their server: our own trouble, lateness or bugs.",
        ("worker",),
        [((worker.name,), worker.inconclusive) for worker in checkers],
    )
    yield _gauge(
        "lvs_worker_stretch",
        "By how much a worker lengthens its pauses, because something runs short.",
        ("worker",),
        [((worker.name,), worker.stretch) for worker in checkers],
    )
    yield _gauge(
        "lvs_worker_resident_memory_bytes",
        "Memory that a worker has in use.",
        ("worker",),
        [((worker.name,), worker.memory_bytes or None) for worker in checkers],
    )


def _telling(process: ProcessView) -> Iterator[Metric]:
    yield _counter(
        "lvs_log_events_total",
        "Log lines by level.",
        ("level",),
        [((level,), process.log_events.get(level, 0)) for level in _LEVELS],
    )
    yield _counter(
        "lvs_log_events_dropped_total", "Log lines lost: the reader was too slow.", (), [((), process.log_dropped)]
    )
    yield _counter(
        "lvs_notifications_total",
        "Notifications by sink and result; dropped ones never left the queue.",
        ("sink", "result"),
        [
            (("smtp", "sent"), process.mail_sent),
            (("smtp", "failed"), process.mail_failed),
            (("smtp", "dropped"), process.mail_dropped),
            (("script", "sent"), process.scripts_succeeded),
            (("script", "failed"), process.scripts_failed),
            (("script", "dropped"), process.scripts_skipped),
            (("fifo", "sent"), process.fifo_written),
            (("fifo", "dropped"), process.fifo_dropped),
        ],
    )


def _state(state: StateView, now_wall: float) -> Iterator[Metric]:
    """What is kept for the next start; nothing where nothing is kept."""
    if not state.path:
        return
    yield _single(
        "lvs_state_last_write_successful", "1 unless the last write of the state file failed.", not state.error
    )
    if state.age_s is not None:
        yield _single(
            "lvs_state_last_write_timestamp_seconds",
            "When the state file was written; it is only where something changed.",
            _instant(now_wall, state.age_s),
        )
    yield _counter(
        "lvs_state_writes_total",
        "Writes of the state file by result.",
        ("result",),
        [(("success",), state.writes), (("failure",), state.failures)],
    )


# -- scope virtual_server ------------------------------------------------------------------------------------------------


def _virtual_servers(views: tuple[VirtualServerView, ...], now_wall: float) -> Iterator[Metric]:
    one = ("virtual_server",)
    yield _gauge(
        "lvs_virtual_server_info",
        "Virtual servers as configured, with the labels of node_exporter: always 1.",
        ("virtual_server", "scheduler", "forward", "local_address", "local_port", "proto", "local_mark"),
        [((v.virtual_server, v.scheduler, v.forward, *_node_labels(v)), 1) for v in views],
    )
    yield _gauge(
        "lvs_virtual_server_quorum_up",
        "1 while the quorum is reached.",
        one,
        [((v.virtual_server,), v.quorate) for v in views],
    )
    yield _gauge(
        "lvs_virtual_server_suspended",
        "1 while ha_suspend holds its checks, because its address is not on this host.",
        one,
        [((v.virtual_server,), v.suspended) for v in views],
    )
    yield _gauge(
        "lvs_virtual_server_quorum",
        "Least sum of live weights that is wanted.",
        one,
        [((v.virtual_server,), v.quorum) for v in views],
    )
    yield _gauge(
        "lvs_virtual_server_weight_up",
        "Sum of the weights of live real servers.",
        one,
        [((v.virtual_server,), v.weight_up) for v in views],
    )
    yield _gauge(
        "lvs_virtual_server_real_servers",
        "Real servers by state; what an operator drained or disabled counts as that, whatever its checks say.",
        ("virtual_server", "state"),
        [((v.virtual_server, state), count) for v in views for state, count in _states(v).items()],
    )
    yield _gauge(
        "lvs_virtual_server_pooled_down",
        "Real servers that are down and yet have a weight in the kernel.",
        one,
        [
            ((v.virtual_server,), sum(r.health == "DOWN" and bool(r.weight_kernel) for r in v.real_servers))
            for v in views
        ],
    )
    yield _gauge(
        "lvs_virtual_server_held",
        "Real servers that serve though they are down: held by min_healthy (guard), or because the director is suspected (blame).",
        ("virtual_server", "by"),
        [
            ((v.virtual_server, by), sum(r.held == by for r in v.real_servers))
            for v in views
            for by in ("guard", "blame")
        ],
    )
    yield _gauge(
        "lvs_virtual_server_sorry_active",
        "1 while the sorry server stands in.",
        one,
        [((v.virtual_server,), v.sorry.active if v.sorry else None) for v in views],
    )
    yield _counter(
        "lvs_virtual_server_transitions_total",
        "Changes of the quorum.",
        ("virtual_server", "to"),
        [
            ((v.virtual_server, to), count)
            for v in views
            for to, count in (("quorum_up", v.transitions_up), ("quorum_down", v.transitions_down))
        ],
    )
    yield _gauge(
        "lvs_virtual_server_state_change_timestamp_seconds",
        "When the quorum was last gained or lost.",
        one,
        [((v.virtual_server,), _instant(now_wall, v.since_s)) for v in views],
    )
    for word, text, read in _TRAFFIC:
        yield _counter(
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
    yield _gauge(
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
            lambda r: _instant(now_wall, r.since_s),
        ),
    )
    yield _gauge(
        "lvs_real_server_certificate_expiry_timestamp_seconds",
        "When the first certificate ends that SSL_GET saw on it.",
        two,
        [(names, end) for names, r in pairs if (end := _first_expiry(r))],
    )
    for word, text, read in simple:
        yield _gauge(f"lvs_real_server_{word}", text, two, [(names, read(r)) for names, r in pairs])
    yield _counter(
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
        yield _counter(
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
