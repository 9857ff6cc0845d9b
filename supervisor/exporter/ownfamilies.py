"""Metrics about the program itself: its process, checks, writer, children, what it tells, what it keeps. Pure; see `families`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric

from supervisor.core.snapshot import ProcessView, Snapshot, StateView, VirtualServerView, WebView, WriterView
from supervisor.exporter.extent import SERIES_EACH, Extent, count
from supervisor.exporter.shapes import counter, gauge, histogram, instant, single

_LEVELS = ("debug", "info", "warning", "error")


def own_families(snapshot: Snapshot, now_wall: float, extent: Extent) -> Iterator[Metric]:
    """Yield all of them."""
    yield from _process(snapshot, now_wall)
    yield from _extent(count(snapshot.virtual_servers), extent)
    yield from _checks(snapshot.process)
    yield from _writer(snapshot.process.writer, now_wall)
    yield from _workers(snapshot.process, now_wall)
    yield from _telling(snapshot.process)
    yield from _state(snapshot.process.state, now_wall)
    yield from _web(snapshot.process.web, now_wall)


def _process(snapshot: Snapshot, now_wall: float) -> Iterator[Metric]:
    process = snapshot.process
    yield gauge(
        "lvs_build_info",
        "What runs: always 1.",
        ("version", "python", "kernel", "backend"),
        [((process.version, process.python, process.kernel, process.backend), 1)],
    )
    yield single("lvs_start_timestamp_seconds", "When the supervisor started.", instant(now_wall, process.uptime_s))
    yield single(
        "lvs_ready", "1 when every check has given a verdict and the kernel table was written and read.", process.ready
    )
    yield gauge("lvs_config_info", "The running configuration: always 1.", ("hash",), [((process.config_digest,), 1)])
    yield single("lvs_config_last_reload_successful", "1 unless the last reload was refused.", process.reload_ok)
    yield single(
        "lvs_config_last_reload_success_timestamp_seconds",
        "When the running configuration was loaded.",
        instant(now_wall, process.config_age_s),
    )
    yield counter(
        "lvs_config_reloads_total",
        "Reloads by result.",
        ("result",),
        [(("success",), process.reloads_ok), (("rejected",), process.reloads_rejected)],
    )
    yield single(
        "lvs_config_warnings", "Warnings with which the running configuration was accepted.", process.config_warnings
    )
    virtual_servers = snapshot.virtual_servers
    yield single("lvs_virtual_servers", "Configured virtual servers.", len(virtual_servers))
    yield single(
        "lvs_real_servers", "Configured real servers, counted once for each virtual server.", count(virtual_servers)
    )
    yield gauge(
        "lvs_admin_overrides",
        "Real servers of which an operator wants something, by what: drained, disabled, or another weight.",
        ("kind",),
        [((kind,), count) for kind, count in _overrides(virtual_servers).items()],
    )
    yield single(
        "lvs_writes_paused", "1 while an operator has writes to the kernel paused.", process.paused is not None
    )
    yield single(
        "lvs_director_suspected",
        "1 while removals are held because this director's own network is suspected.",
        bool(process.suspected),
    )
    yield single(
        "lvs_targets_without_path",
        "Addresses of checks and servers to which this host has no way (route, interface, carrier).",
        process.targets_without_path,
    )
    yield single("lvs_inbox_length", "Events that wait for a decision.", process.inbox_length)
    yield gauge(
        "lvs_virtual_address_info",
        "What became of each virtual address: always 1.",
        ("address", "state", "interface"),
        [((address, *_address_state(text)), 1) for address, text in process.addresses.items()],
    )


def _extent(real_servers: int, extent: Extent) -> Iterator[Metric]:
    """Say whether real servers are told of."""
    yield single(
        "lvs_metrics_real_server_series",
        "Series that the configured real servers make, told or not (without the additional ones).",
        real_servers * SERIES_EACH,
    )
    yield single(
        "lvs_metrics_real_server_series_limit",
        "With more series than this the real servers are left out; 0: no limit.",
        extent.series_max,
    )
    yield single(
        "lvs_metrics_real_servers_omitted",
        "1 while the real servers are left out, because they would make more series than the limit.",
        extent.omits(real_servers),
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
    yield counter(
        "lvs_checks_total",
        "Probes by checker type and result.",
        ("check", "result"),
        [((count.type, count.reason), count.count) for count in process.checks],
    )
    yield histogram(
        "lvs_check_duration_seconds",
        "How long probes took.",
        ("check",),
        [((timing.type,), timing.durations) for timing in process.check_durations],
    )
    yield histogram(
        "lvs_check_schedule_lag_seconds",
        "How much later than due probes started.",
        (),
        [((), process.schedule_lag)],
    )
    checkers = [worker for worker in process.workers if worker.name.startswith("checker")]
    yield gauge(
        "lvs_checks_overdue",
        "Checks whose result is older than three periods.",
        ("worker",),
        [((worker.name,), worker.overdue) for worker in checkers],
    )
    yield gauge(
        "lvs_checks_in_flight",
        "Probes under way.",
        ("worker",),
        [((worker.name,), worker.in_flight) for worker in checkers],
    )


def _writer(writer: WriterView, now_wall: float) -> Iterator[Metric]:
    yield single("lvs_writer_queue_length", "Kernel changes that are wanted and not yet written.", writer.queue_length)
    yield single("lvs_writer_queue_oldest_seconds", "Age of the oldest change not yet written.", writer.queue_oldest_s)
    yield counter(
        "lvs_writer_operations_total",
        "Kernel operations by name and result (ok or errno).",
        ("operation", "result"),
        [((count.operation, count.result), count.count) for count in writer.operations],
    )
    yield histogram(
        "lvs_writer_operation_duration_seconds",
        "Time from sending to the kernel's last answer: a batch of changes (write), or a reading of the table (dump).",
        ("operation",),
        [(("write",), writer.batch_durations), (("dump",), writer.dump_durations)],
    )
    yield histogram(
        "lvs_verdict_to_kernel_seconds",
        "Time from a verdict to the kernel's acknowledgement of the change it caused.",
        (),
        [((), writer.verdict_to_kernel)],
    )
    yield gauge(
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
    yield counter(
        "lvs_kernel_repairs_total",
        "Differences repaired, by what was wrong.",
        ("kind",),
        [((kind,), writer.repaired.get(kind, 0)) for kind in ("missing", "extra", "weight", "settings")],
    )
    yield single("lvs_kernel_reachable", "Whether the kernel table can be read and written.", int(writer.reachable))
    yield single(
        "lvs_kernel_foreign_services",
        "Services in the kernel table that the configuration does not name; they are left alone.",
        writer.foreign_services,
    )
    yield counter(
        "lvs_kernel_adopted_total",
        "Weights of somebody else's that were taken for an operator's word.",
        (),
        [((), writer.adopted)],
    )
    yield single(
        "lvs_kernel_drift_standing",
        "Differences that stand by drift_policy, or because nobody fights for them.",
        writer.drift_standing,
    )
    yield gauge(
        "lvs_kernel_contested_seconds",
        "Virtual servers that another program keeps changing, and for how long they are still left alone.",
        ("virtual_server",),
        [((contest.virtual_server,), contest.left_alone_s) for contest in writer.contests],
    )
    yield gauge(
        "lvs_kernel_last_sync_timestamp_seconds",
        "When the kernel table was last read whole.",
        (),
        [((), None if writer.sync_age_s is None else instant(now_wall, writer.sync_age_s))],
    )


def _workers(process: ProcessView, now_wall: float) -> Iterator[Metric]:
    workers = [worker for worker in process.workers if worker.name != "supervisor"]
    yield gauge(
        "lvs_worker_info",
        "Processes, and what each gave up and could not get (lacks=): always 1.",
        ("worker", "caged"),
        [((worker.name, worker.caged), 1) for worker in process.workers],
    )
    yield gauge(
        "lvs_worker_up", "1 while the child process runs.", ("worker",), [((w.name,), w.pid != 0) for w in workers]
    )
    yield counter(
        "lvs_worker_restarts_total", "Restarts.", ("worker",), [((worker.name,), worker.restarts) for worker in workers]
    )
    yield gauge(
        "lvs_worker_last_seen_timestamp_seconds",
        "When the child process last gave a sign of life.",
        ("worker",),
        [((w.name,), None if w.age_s is None else instant(now_wall, w.age_s)) for w in workers],
    )
    yield gauge(
        "lvs_event_loop_lag_seconds",
        "How late the event loop of the process is.",
        ("worker",),
        [((worker.name,), worker.loop_lag_s) for worker in process.workers],
    )
    yield from _workers_in_need(process)


def _workers_in_need(process: ProcessView) -> Iterator[Metric]:
    """Yield what tells our own trouble from the servers'."""
    checkers = [worker for worker in process.workers if worker.name.startswith("checker")]
    yield single(
        "lvs_workers_lost",
        "1 while no checker worker is there and every verdict is frozen.",
        process.workers_lost_s > 0,
    )
    yield single("lvs_checks_quarantined", "Checks that kill workers and are kept apart.", process.checks_quarantined)
    yield gauge(
        "lvs_worker_checks", "Checks that a worker has.", ("worker",), [((w.name,), w.checks) for w in checkers]
    )
    yield counter(
        "lvs_worker_run_delay_seconds_total",
        "Time that a worker waited for a processor.",
        ("worker",),
        [((worker.name,), worker.run_delay_s) for worker in checkers],
    )
    yield counter(
        "lvs_worker_naps_total",
        "How often a worker, or the machine, stood still for a second or more.",
        ("worker",),
        [((worker.name,), worker.naps) for worker in checkers],
    )
    yield counter(
        "lvs_worker_local_faults_total",
        "Probes that this machine made impossible, by what it refused.",
        ("worker", "fault"),
        [((worker.name, fault), count) for worker in checkers for fault, count in sorted(worker.faults.items())],
    )
    yield counter(
        "lvs_worker_inconclusive_total",
        "Probes that said nothing about their server: our own trouble, lateness or bugs.",
        ("worker",),
        [((worker.name,), worker.inconclusive) for worker in checkers],
    )
    yield gauge(
        "lvs_worker_stretch",
        "By how much a worker lengthens its pauses, because something runs short.",
        ("worker",),
        [((worker.name,), worker.stretch) for worker in checkers],
    )
    yield gauge(
        "lvs_worker_sentinels",
        "Idle connections to real servers: held, given up because the server closes them soon or has no place for them, or without a "
        "descriptor.",
        ("worker", "state"),
        [
            ((worker.name, state), count)
            for worker in checkers
            for state, count in (
                ("held", worker.sentinels),
                ("given_up", worker.sentinels_given_up),
                ("unaffordable", worker.sentinels_unaffordable),
            )
        ],
    )
    yield counter(
        "lvs_worker_sentinels_ended_total",
        "Idle connections that a real server closed, reset or let die, each of which brings a probe forward.",
        ("worker",),
        [((worker.name,), worker.sentinels_ended) for worker in checkers],
    )
    yield gauge(
        "lvs_worker_resident_memory_bytes",
        "Memory that a worker has in use.",
        ("worker",),
        [((worker.name,), worker.memory_bytes or None) for worker in checkers],
    )


def _telling(process: ProcessView) -> Iterator[Metric]:
    yield counter(
        "lvs_log_events_total",
        "Log lines by level.",
        ("level",),
        [((level,), process.log_events.get(level, 0)) for level in _LEVELS],
    )
    yield counter(
        "lvs_log_events_dropped_total", "Log lines lost: the reader was too slow.", (), [((), process.log_dropped)]
    )
    yield counter(
        "lvs_log_events_summed_up_total",
        "Log lines of which many came at once, and which one burst.summary speaks for.",
        (),
        [((), process.log_summed_up)],
    )
    yield counter(
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
    yield single(
        "lvs_state_last_write_successful", "1 unless the last write of the state file failed.", not state.error
    )
    if state.age_s is not None:
        yield single(
            "lvs_state_last_write_timestamp_seconds",
            "When the state file was written; it is only where something changed.",
            instant(now_wall, state.age_s),
        )
    yield counter(
        "lvs_state_writes_total",
        "Writes of the state file by result.",
        ("result",),
        [(("success",), state.writes), (("failure",), state.failures)],
    )


def _web(web: WebView, now_wall: float) -> Iterator[Metric]:
    """Tell whether the exporter is protected as its file says; nothing without a file."""
    if not web.path:
        return
    yield single(
        "lvs_web_config_last_reload_successful", "1 unless the newest web configuration file was refused.", web.ok
    )
    if web.age_s is not None:
        yield single(
            "lvs_web_config_last_reload_success_timestamp_seconds",
            "When the web configuration file was last taken over.",
            instant(now_wall, web.age_s),
        )
