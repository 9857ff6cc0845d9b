"""The catalogue: every event that may be logged, with its level and the kinds of its fields.

Names, fields and kinds are API for whoever searches, alerts or parses, so a field never changes its kind and an event never its
name. Declarations and the check of a value against them; no rendering, no input or output.
Source: observability.md, section 3.5.
"""

from __future__ import annotations

import ipaddress
import math
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from supervisor.model import AddressKey, Endpoint, FwmarkKey

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
Kind: TypeAlias = Literal["text", "integer", "number", "boolean"]

PRIORITIES: Mapping[str, int] = {"debug": 7, "info": 6, "warning": 4, "error": 3}
"""Level → syslog priority (sd-daemon(3))."""

COMMON = ("timestamp", "level", "event", "message", "seq", "service", "host", "pid", "config_hash")
"""Fields of every line, which no event may use for its own; `uncatalogued` joins them on a line that broke the catalogue."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event: its level, the kinds of its fields, and the value of one field that makes it mere information."""

    level: Level
    fields: Mapping[str, Kind]
    calm: tuple[str, object] | None = None


def _entry(
    level: Level,
    text: str = "",
    *,
    integer: str = "",
    number: str = "",
    boolean: str = "",
    calm: tuple[str, object] | None = None,
) -> Entry:
    """Write down an event; each argument but the first and the last names the fields of one kind, parted by blanks."""
    kinds: tuple[tuple[Kind, str], ...] = (
        ("text", text),
        ("integer", integer),
        ("number", number),
        ("boolean", boolean),
    )
    return Entry(level, {name: kind for kind, names in kinds for name in names.split()}, calm)


_SERVER = "virtual_server real_server"
_PROBE = f"{_SERVER} check result detail"
_QUORUM = "weight_up quorum hysteresis servers_up servers_total cause_id"
_HOLD = "weight up_left weight_left quorum cause_id"
_DRIFT = f"kind want have action {_SERVER}"
_SCRIPT = f"sink script user notice outcome error output {_SERVER}"
_ADDRESS = "address interface virtual_server"

CATALOGUE: Mapping[str, Entry] = {
    "daemon.starting": _entry("info", "version config_path backend python kernel caged"),
    "daemon.ready": _entry(
        "info", "version config_path backend", integer="virtual_servers real_servers", number="startup_s"
    ),
    "daemon.stopping": _entry("info", "reason signal"),
    "daemon.stopped": _entry("info", "reason kernel_table", number="uptime_s"),
    "config.loaded": _entry(
        "info",
        "path hash",
        integer="files lines added changed removed warnings virtual_servers real_servers",
        number="parse_s",
    ),
    "config.rejected": _entry(
        "error", "path text reason suggestion running_hash", integer="line column errors", number="parse_s"
    ),
    "config.rolled_back": _entry("error", "path hash reason running_hash"),
    "config.warning": _entry("warning", "path text reason suggestion", integer="line column"),
    "state.recalled": _entry(
        "info", "path version use", integer="real_servers down overrides", number="age_s", boolean="clean"
    ),
    "state.abandoned": _entry("warning", "virtual_server", boolean="removed"),
    "state.set_aside": _entry("error", "path kept_as reason"),
    "state.write_failed": _entry("error", "path reason"),
    "state.write_recovered": _entry("info", "path"),
    "track_file.unwritten": _entry("warning", "path reason"),
    "real_server.state_changed": _entry(
        "warning",
        f"{_PROBE} from to cause",
        integer="failures threshold weight_old weight_new up_left weight_left quorum cause_id",
        number="duration_s previous_state_s",
        calm=("to", "UP"),
    ),
    "real_server.weight_changed": _entry("info", _PROBE, integer="weight_old weight_new weight_left quorum cause_id"),
    "real_server.check_failed": _entry("info", _PROBE, integer="attempt retries cause_id"),
    "real_server.check_recovered": _entry("info", _PROBE, integer="failures cause_id"),
    "real_server.admin_changed": _entry(
        "warning",
        f"{_SERVER} admin reason by",
        integer="weight weight_old weight_new weight_left quorum cause_id",
        number="expires_s",
        boolean="expired",
    ),
    "real_server.drained": _entry(
        "warning", _SERVER, integer="cut_off", number="took_s", boolean="in_time", calm=("in_time", True)
    ),
    "real_server.held": _entry("error", f"{_SERVER} held_by reason result detail", integer=_HOLD, number="expires_s"),
    "real_server.released": _entry("warning", f"{_SERVER} held_by reason result detail", integer=_HOLD),
    "real_server.removed": _entry("info", f"{_SERVER} reason", boolean="stopping"),
    "check.changed": _entry("warning", _PROBE, integer="cause_id", boolean="up real_server_up", calm=("up", True)),
    "virtual_server.quorum_lost": _entry("error", "virtual_server sorry_server", integer=_QUORUM, boolean="at_start"),
    "virtual_server.quorum_gained": _entry("info", "virtual_server sorry_server", integer=_QUORUM, boolean="at_start"),
    "virtual_server.sorry_on": _entry("warning", "virtual_server sorry_server", integer="cause_id"),
    "virtual_server.sorry_off": _entry("info", "virtual_server sorry_server", integer="cause_id"),
    "virtual_server.suspended": _entry("info", "virtual_server"),
    "virtual_server.resumed": _entry("info", "virtual_server"),
    "director.self_blame": _entry("error", "reason", integer="held real_servers", number="until_s since_s"),
    "director.self_blame_over": _entry("warning", "reason", integer="held real_servers", number="until_s since_s"),
    "kernel.write_failed": _entry(
        "error", f"operation errno reason {_SERVER}", integer="attempt failed", number="next_retry_s"
    ),
    "kernel.recovered": _entry("info"),
    "kernel.setting_changed": _entry("info", "setting"),
    "kernel.setting_refused": _entry("error", "setting errno"),
    "kernel.drift_found": _entry("warning", _DRIFT, integer="entries missing extra weight settings"),
    "kernel.drift_repaired": _entry("warning", _DRIFT, integer="entries operations", number="duration_s"),
    "drift.adopted": _entry("warning", _SERVER, integer="weight_old weight_new", number="grace_s"),
    "drift.contested": _entry("error", "virtual_server", number="backoff_s"),
    "drift.settled": _entry("info", "virtual_server"),
    "kernel.sync": _entry("debug", "", integer="entries operations", number="duration_s", boolean="agrees"),
    "rival.found": _entry("warning", "program advice", integer="rival_pid", boolean="sure"),
    "rival.squatter": _entry("warning", integer="rival_pid uid"),
    "dry_run.disagrees": _entry("warning", f"{_SERVER} want have"),
    "dry_run.agrees": _entry("info", f"{_SERVER} want have"),
    "address.assigned": _entry("info", _ADDRESS),
    "address.present": _entry("info", _ADDRESS),
    "address.conflict": _entry("error", f"{_ADDRESS} mac reason"),
    "address.failed": _entry("error", f"{_ADDRESS} reason"),
    "address.released": _entry("info", _ADDRESS),
    "worker.started": _entry("info", "worker caged listening", integer="worker_pid checks", number="startup_s"),
    "cage.incomplete": _entry("warning", "worker lacks caged"),
    "worker.exited": _entry(
        "error", "worker reason signal", integer="worker_pid exit_code checks", number="uptime_s next_start_s"
    ),
    "worker.restarted": _entry("warning", "worker caged", integer="worker_pid restarts checks", number="outage_s"),
    "worker.stale": _entry("warning", "worker reason", integer="worker_pid checks", number="age_s"),
    "worker.protocol_error": _entry("error", "worker reason", integer="worker_pid"),
    "worker.local_trouble": _entry("warning", "worker reason", integer="stretch", boolean="over", calm=("over", True)),
    "worker.slow": _entry("warning", "worker reason", integer="stretch", boolean="over", calm=("over", True)),
    "worker.suspects": _entry("warning", "worker", integer="checks"),
    "worker.quarantine": _entry("error", "worker check"),
    "worker.quarantine_over": _entry("info", "check", integer="checks"),
    "workers.jobs_moved": _entry("info", "", integer="checks"),
    "workers.all_lost": _entry("error", "", integer="checks", number="silent_s"),
    "workers.back": _entry("info", "", number="silent_s"),
    "check.crashed": _entry("error", "worker check target detail"),
    "notify.sent": _entry("info", "sink subject recipients", integer="attempt", number="duration_s"),
    "notify.failed": _entry(
        "warning", "sink subject recipients error", integer="attempt", number="next_retry_s", boolean="final"
    ),
    "notify.dropped": _entry("warning", "sink reason", integer="count"),
    "notify.script_done": _entry("info", _SCRIPT, integer="exit_status attempt", number="duration_s"),
    "notify.script_failed": _entry("warning", _SCRIPT, integer="exit_status attempt", number="duration_s"),
    "notify.script_skipped": _entry("warning", f"{_SCRIPT} reason", integer="count"),
    "notify.fifo_failed": _entry("error", "sink path error"),
    "admin.request": _entry(
        "warning",
        "verb args user outcome reason",
        integer="uid gid peer_pid",
        number="duration_s",
        calm=("outcome", "done"),
    ),
    "log.dropped": _entry("warning", "", integer="count"),
    "loop.lagging": _entry("warning", "stack", number="lag_s"),
    "library.message": _entry("warning", "library exception"),
}
"""Everything that may be logged (observability.md, section 3.5). A field may be absent or null; its kind never changes."""

_IDENTITIES = (
    Endpoint,
    AddressKey,
    FwmarkKey,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    pathlib.PurePath,
)


class CatalogueError(Exception):
    """An event, a field or a type that the catalogue does not know; only a strict log raises it."""


def fit(kind: Kind, value: object) -> Any:
    """Return `value` as its kind is written, or raise TypeError. Identities become text, a whole number may be a number."""
    if value is None:
        return None
    match kind:
        case "text":
            if isinstance(value, str):
                return value
            if isinstance(value, _IDENTITIES):
                return str(value)
        case "integer":
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        case "number":
            if isinstance(value, int | float) and not isinstance(value, bool):
                return round(float(value), 6) if math.isfinite(value) else None
        case "boolean":
            if isinstance(value, bool):
                return value
    raise TypeError(f"expected {kind}, got {type(value).__name__}")
