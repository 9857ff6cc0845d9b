"""Vipervisor itself: does it check in time, does it write in time, and how are its processes?"""

from __future__ import annotations

from grafana.choices import DIRECTORS, MARKS
from grafana.panels import (
    GREEN,
    GREY,
    ORANGE,
    RED,
    UP,
    YES_GOOD,
    Board,
    Column,
    Query,
    Row,
    counted,
    heatmap,
    lines,
    table,
    tile,
    timeline,
)
from grafana.standing import CHECKS_OVERDUE

_WORKER = "{{instance}} {{worker}}"


def _quantile(share: float, histogram: str) -> str:
    return f"histogram_quantile({share}, sum by (le) (rate({histogram}_bucket{{@}}[$__rate_interval])))"


def _spread(histogram: str) -> Query:
    return Query(f"sum by (le) (increase({histogram}_bucket{{@}}[$__rate_interval]))", "{{le}}")


_TILES = (
    tile(
        "Not ready",
        "Directors that have not yet heard of every check, or have not yet read and written the kernel's table.",
        "count(lvs_ready{@} == 0) or vector(0)",
    ),
    tile(
        "Reload refused",
        "Directors whose last reload was refused: they run the configuration from before it.",
        "count(lvs_config_last_reload_successful{@} == 0) or vector(0)",
    ),
    tile(
        "Configurations",
        "Different configurations that run on the chosen directors; a pair should have one.",
        "count(count by (hash) (lvs_config_info{@}))",
        bad_from=2,
    ),
    tile(
        "Workers down",
        "Child processes that do not run now.",
        "sum(lvs_worker_up{@} == bool 0) or vector(0)",
    ),
    CHECKS_OVERDUE,
    tile(
        "Kernel unreachable",
        "Directors that cannot read or write the kernel's table.",
        "count(lvs_kernel_reachable{@} == 0) or vector(0)",
    ),
    tile(
        "Suspects itself",
        "Directors that hold removals because their own network is suspected.",
        "sum(lvs_director_suspected{@}) or vector(0)",
    ),
    tile(
        "Log lines lost",
        "Lines of the log that were dropped in the time shown, because their reader was too slow.",
        "round(sum(increase(lvs_log_events_dropped_total{@}[$__range]))) or vector(0)",
    ),
)

_CHECKS = (
    lines(
        "Probes",
        "Probes a second by result: L7OK and L4OK are good, the rest is in docs/runbooks.",
        Query("sum by (result) (rate(lvs_checks_total{@}[$__rate_interval]))", "{{result}}"),
        unit="ops",
    ),
    heatmap(
        "How long probes take",
        "Durations of all probes; a time-out is as long as its limit.",
        _spread("lvs_check_duration_seconds"),
    ),
    lines(
        "Probes behind schedule",
        "How much later than due probes start. The honest signal of overload: beyond a second, add checker workers or processors.",
        Query(_quantile(0.5, "lvs_check_schedule_lag_seconds"), "half of them"),
        Query(_quantile(0.99, "lvs_check_schedule_lag_seconds"), "99 of 100"),
        unit="s",
    ),
    lines(
        "Overdue, in flight, inconclusive",
        "Checks without a recent result, probes under way, and (a second) probes that said nothing about their server, for our own sake.",
        Query("sum(lvs_checks_overdue{@})", "overdue"),
        Query("sum(lvs_checks_in_flight{@})", "in flight"),
        Query("sum(rate(lvs_worker_inconclusive_total{@}[$__rate_interval]))", "inconclusive a second"),
        unit="none",
    ),
)

_KERNEL = (
    heatmap(
        "From verdict to kernel",
        "Time from a verdict to the kernel's acknowledgement of the change that it caused: what Vipervisor is judged by.",
        _spread("lvs_verdict_to_kernel_seconds"),
    ),
    lines(
        "Kernel operations",
        "Operations a second by what they are and what came of them.",
        Query(
            "sum by (operation, result) (rate(lvs_writer_operations_total{@}[$__rate_interval]))",
            "{{operation}} {{result}}",
        ),
        unit="ops",
    ),
    lines(
        "How long the kernel takes",
        "Of 100 batches of changes (write) and readings of the table (dump), 99 take less.",
        Query(
            "histogram_quantile(0.99, sum by (operation, le)"
            " (rate(lvs_writer_operation_duration_seconds_bucket{@}[$__rate_interval])))",
            "{{operation}}",
        ),
        unit="s",
    ),
    lines(
        "Changes that wait",
        "Age of the oldest change that is not yet in the kernel.",
        Query("max by (instance) (lvs_writer_queue_oldest_seconds{@})", "{{instance}}"),
        unit="s",
    ),
    lines(
        "Drift and repairs",
        "Differences that somebody else made in the kernel's table, by kind, and how many were put right.",
        Query("sum by (kind) (lvs_kernel_drift_entries{@})", "{{kind}}"),
        Query(counted("lvs_kernel_repairs_total{@}"), "repaired"),
        unit="none",
    ),
    lines(
        "Left as it is",
        "Differences that stand, by drift_policy or because nobody fights for them, services that the configuration does not name,"
        " and whether an operator has paused all writing.",
        Query("sum(lvs_kernel_drift_standing{@})", "standing"),
        Query("sum(lvs_kernel_foreign_services{@})", "services of others"),
        Query("sum(lvs_writes_paused{@})", "writes paused"),
        unit="none",
    ),
)

_PROCESSES = (
    timeline("Child processes", "When which child process ran.", Query("lvs_worker_up{@}", _WORKER), UP, width=12),
    lines(
        "Restarts",
        "Restarts of child processes.",
        Query(counted("lvs_worker_restarts_total{@}", by="worker"), "{{worker}}"),
        unit="none",
        bars=True,
    ),
    lines(
        "Lateness of the event loops",
        "How late each process comes back to its work.",
        Query("max by (instance, worker) (lvs_event_loop_lag_seconds{@})", _WORKER),
        unit="s",
    ),
    lines(
        "Waiting for a processor",
        "Share of the time that a worker could have worked and had no processor.",
        Query("sum by (instance, worker) (rate(lvs_worker_run_delay_seconds_total{@}[$__rate_interval]))", _WORKER),
        unit="percentunit",
    ),
    lines(
        "Memory",
        "Memory that the checker workers have in use.",
        Query("sum by (instance, worker) (lvs_worker_resident_memory_bytes{@})", _WORKER),
        unit="bytes",
    ),
    lines(
        "Stretch",
        "By how much a worker lengthens the pauses between probes, because something (files, ports, memory) runs short; 1 is none.",
        Query("max by (instance, worker) (lvs_worker_stretch{@})", _WORKER),
        unit="none",
    ),
)

_TELLING = (
    lines(
        "Log",
        "Lines by level, a second, and those that were lost.",
        Query("sum by (level) (rate(lvs_log_events_total{@}[$__rate_interval]))", "{{level}}"),
        Query("sum(rate(lvs_log_events_dropped_total{@}[$__rate_interval]))", "dropped"),
        unit="ops",
        colours={"debug": GREY, "info": GREEN, "warning": ORANGE, "error": RED},
    ),
    lines(
        "Notifications",
        "Mails, scripts and FIFO lines by what came of them.",
        Query(counted("lvs_notifications_total{@}", by="sink, result"), "{{sink}} {{result}}"),
        unit="none",
        bars=True,
    ),
    lines(
        "Scrapes",
        "How long Prometheus waits for the metrics, and how long each part takes to render.",
        Query("max by (job, instance) (scrape_duration_seconds{@})", "{{instance}} {{job}}"),
        Query("max by (instance) (lvs_exporter_snapshot_duration_seconds{@})", "{{instance}} snapshot"),
        Query("max by (instance, scope) (lvs_metrics_render_duration_seconds{@})", "{{instance}} {{scope}}"),
        unit="s",
    ),
    lines(
        "Reloads",
        "Reloads of the configuration by what came of them.",
        Query(counted("lvs_config_reloads_total{@}", by="result"), "{{result}}"),
        unit="none",
        bars=True,
        colours={"success": GREEN, "rejected": RED},
    ),
    table(
        "Directors",
        "What runs where, with which configuration, and since when.",
        Column(
            "ready",
            "max by (instance, version, kernel, backend) (lvs_build_info{@} * on (job, instance) group_left () lvs_ready{@})",
            words=YES_GOOD,
        ),
        Column("since", "max by (instance) (lvs_start_timestamp_seconds{@}) * 1000", unit="dateTimeFromNow"),
        Column(
            "configuration of",
            "max by (instance) (lvs_config_last_reload_success_timestamp_seconds{@}) * 1000",
            unit="dateTimeFromNow",
        ),
        Column("warnings", "max by (instance) (lvs_config_warnings{@})"),
        Column("virtual servers", "max by (instance) (lvs_virtual_servers{@})"),
        Column("real servers", "max by (instance) (lvs_real_servers{@})"),
        first="since",
        width=24,
        height=5,
    ),
)

ITSELF = Board(
    "vipervisor-itself",
    "Vipervisor / Itself",
    "Does Vipervisor check and write in time, and how are its processes?",
    DIRECTORS,
    (
        Row("Faults now", _TILES),
        Row("Checks", _CHECKS),
        Row("Kernel", _KERNEL),
        Row("Processes", _PROCESSES),
        Row("What it tells", _TELLING),
    ),
    MARKS,
)
