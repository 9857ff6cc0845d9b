"""The catalogue: every event that may be logged, in one table: level, fields with their kinds, what it means, what to do about it.

Here is what happens to servers, to the kernel's table and to addresses; `ownevents` has what happens to the program itself.
Names, fields and kinds are API for whoever searches, alerts or parses, so a field never changes its kind and an event never its
name. docs/events.md is made from this table (`deploy/man/pages.py`). Source: observability.md, section 3.5.
"""

from __future__ import annotations

from collections.abc import Mapping

from supervisor.log.entry import Entry
from supervisor.log.entry import entry as _entry
from supervisor.log.ownevents import OWN_EVENTS

_SERVER = "virtual_server real_server"
_PROBE = f"{_SERVER} check result detail"
_QUORUM = "weight_up quorum hysteresis servers_up servers_total cause_id"
_HOLD = "weight up_left weight_left quorum cause_id"
_ADDRESS = "address interface"

CATALOGUE: Mapping[str, Entry] = {
    **OWN_EVENTS,
    "real_server.state_changed": _entry(
        "warning",
        f"{_PROBE} from to cause",
        integer="failures threshold weight_old weight_new up_left weight_left quorum cause_id",
        number="duration_s previous_state_s",
        calm=("to", "UP"),
        means="A real server went UP or DOWN: `from` which, `to` which, by which check, and what is left.",
        remedy="`vipervisor why RS` shows the whole chain from probe to kernel.",
        edge=True,
        crowd=True,
    ),
    "real_server.weight_changed": _entry(
        "info",
        _PROBE,
        integer="weight_old weight_new weight_left quorum cause_id",
        means="A script or a file gave a real server another weight.",
        edge=True,
        crowd=True,
    ),
    "real_server.check_failed": _entry(
        "info",
        _PROBE,
        integer="attempt retries cause_id",
        means="A probe failed and its retries are not used up: the first of a run, then each doubling (2, 4, 8).",
        crowd=True,
    ),
    "real_server.admin_changed": _entry(
        "warning",
        f"{_SERVER} admin reason by",
        integer="weight weight_old weight_new weight_left quorum cause_id",
        number="expires_s",
        boolean="expired",
        means="An operator, or the end of an override's time, changed what a real server may do.",
        edge=True,
    ),
    "real_server.drained": _entry(
        "warning",
        _SERVER,
        integer="cut_off",
        number="took_s",
        boolean="in_time",
        calm=("in_time", True),
        means="A real server that left the configuration is out of the table, empty (`in_time`) or after its time.",
        remedy="Where connections were cut off too early, raise `drain_timeout`.",
        edge=True,
        crowd=True,
    ),
    "real_server.held": _entry(
        "error",
        f"{_SERVER} held_by reason result detail",
        integer=_HOLD,
        number="expires_s",
        means="A real server is DOWN and stays in service: min_healthy needs it, or the director suspects itself.",
        remedy="Traffic still goes to a server that fails its checks: repair the pool, or the director's own network.",
        edge=True,
        crowd=True,
    ),
    "real_server.released": _entry(
        "warning",
        f"{_SERVER} held_by reason result detail",
        integer=_HOLD,
        means="A real server that was held in service is so no more.",
        edge=True,
        crowd=True,
    ),
    "real_server.removed": _entry(
        "info",
        f"{_SERVER} reason",
        boolean="stopping",
        means="A real server left the table by a reload or a stop.",
        edge=True,
        crowd=True,
    ),
    "check.changed": _entry(
        "warning",
        _PROBE,
        integer="cause_id",
        boolean="up real_server_up",
        calm=("up", True),
        means="One of the checks of a real server passes or fails now.",
        edge=True,
        crowd=True,
    ),
    "virtual_server.quorum_lost": _entry(
        "error",
        "virtual_server sorry_server",
        integer=_QUORUM,
        boolean="at_start",
        means="The live weight of a virtual server is below its quorum; a sorry server steps in if there is one.",
        remedy="Bring real servers back; `vipervisor status --down` lists who is out and why.",
        edge=True,
        crowd=True,
    ),
    "virtual_server.quorum_gained": _entry(
        "info",
        "virtual_server sorry_server",
        integer=_QUORUM,
        boolean="at_start",
        means="A virtual server has its quorum (again).",
        edge=True,
        crowd=True,
    ),
    "virtual_server.sorry_on": _entry(
        "warning",
        "virtual_server sorry_server",
        integer="cause_id",
        means="The sorry server serves in place of the pool.",
        remedy="See the virtual_server.quorum_lost before it.",
        edge=True,
        crowd=True,
    ),
    "virtual_server.sorry_off": _entry(
        "info",
        "virtual_server sorry_server",
        integer="cause_id",
        means="The sorry server steps back; the pool serves again.",
        edge=True,
        crowd=True,
    ),
    "virtual_server.suspended": _entry(
        "info",
        "virtual_server",
        means="The address of a virtual server is not on this host (ha_suspend), so it is not checked.",
        edge=True,
        crowd=True,
    ),
    "virtual_server.resumed": _entry(
        "info",
        "virtual_server",
        means="The address is on this host again, and its servers are checked.",
        edge=True,
        crowd=True,
    ),
    "director.self_blame": _entry(
        "error",
        "reason",
        integer="held real_servers",
        number="until_s since_s",
        means="Nearly everything fell silent at once, or our own uplink is gone: the director suspects itself and holds removals.",
        remedy="Look at this machine first: link, route, address, switch port.",
        edge=True,
    ),
    "director.self_blame_over": _entry(
        "warning",
        "reason",
        integer="held real_servers",
        number="until_s since_s",
        means="The director no longer suspects itself.",
        edge=True,
    ),
    "kernel.write_failed": _entry(
        "error",
        f"operation errno reason {_SERVER}",
        means="The kernel refused a change, or its table is out of reach; it is tried again with growing pauses.",
        remedy="`errno` names the cause: EPERM is a missing CAP_NET_ADMIN, ENOENT often a scheduler whose module is missing.",
        edge=True,
        crowd=True,
    ),
    "kernel.recovered": _entry("info", means="The kernel's table can be reached again.", edge=True),
    "kernel.setting_changed": _entry("info", "setting", means="A time-out or a sync daemon of the kernel was set."),
    "kernel.setting_refused": _entry(
        "error",
        "setting errno",
        means="The kernel refused a time-out or a sync daemon.",
        remedy="See `errno`; the next reload tries it again.",
    ),
    "kernel.drift_found": _entry(
        "warning",
        "virtual_server action",
        integer="entries missing extra weight settings",
        means="Somebody else changed our part of the kernel's table.",
        remedy="Find out who: ipvsadm by hand, a second daemon, a script.",
        edge=True,
        crowd=True,
    ),
    "drift.adopted": _entry(
        "warning",
        _SERVER,
        integer="weight_old weight_new",
        number="grace_s",
        means="A weight that somebody else set stands for now, as drift_policy says.",
        remedy="`vipervisor weight RS N` says the same in a way that is remembered.",
        edge=True,
        crowd=True,
    ),
    "drift.contested": _entry(
        "error",
        "virtual_server",
        number="backoff_s",
        means="Another program keeps undoing what is written, so this virtual server is left alone for a while.",
        remedy="Find that program and stop it; see rival.found.",
        edge=True,
        crowd=True,
    ),
    "drift.settled": _entry(
        "info",
        "virtual_server",
        means="Nobody else keeps changing that virtual server any more.",
        edge=True,
        crowd=True,
    ),
    "dry_run.disagrees": _entry(
        "warning",
        f"{_SERVER} want have",
        means="The kernel's table is not what this dry run would have made it.",
        remedy="Compare with `vipervisor why RS` and the log of the program that writes the table.",
        crowd=True,
    ),
    "dry_run.agrees": _entry(
        "info",
        f"{_SERVER} want have",
        means="A disagreement of the dry run with the kernel's table is over.",
        crowd=True,
    ),
    "address.assigned": _entry(
        "info", _ADDRESS, means="A virtual address was put on an interface.", edge=True, crowd=True
    ),
    "address.present": _entry(
        "info", _ADDRESS, means="A virtual address was there already and is left alone.", crowd=True
    ),
    "address.conflict": _entry(
        "error",
        "address mac",
        means="Another machine answers for a virtual address, so it was not assigned.",
        remedy="Take it off the machine with that MAC address.",
        edge=True,
        crowd=True,
    ),
    "address.failed": _entry(
        "error",
        "address reason",
        means="A virtual address could not be assigned.",
        remedy="See `reason`.",
        edge=True,
        crowd=True,
    ),
    "address.released": _entry(
        "info", _ADDRESS, means="A virtual address was taken off its interface.", edge=True, crowd=True
    ),
}
"""Everything that may be logged. A field may be absent or null; its kind never changes."""
