"""What a terminal shows of `plan` and `reload`: what comes, goes and changes, virtual server by virtual server. Pure.

A line begins with + (comes), - (goes) or ~ (changes), and ends with who is connected.
"""

from __future__ import annotations

from typing import Any

from supervisor.admin import detectionwords
from supervisor.wording import counted

_SETTINGS = {
    "mail": "mail",
    "kernel": "time-outs, flushing or sync daemons of the kernel",
    "scripts": "scripts and named pipes",
    "router_id": "router_id",
    "track_files": "track files",
    "default_interface": "default_interface",
    "assign_addresses": "virtual_server_addresses",
    "probe_rate_max": "probe_rate_max",
}


SERVERS_SHOWN = 3
"""Real servers that a line names when several are set alike; the rest is counted."""


def plan(answer: dict[str, Any]) -> str:
    """Return what a reload would do."""
    lines = _lines(answer)
    if not lines:
        return f"A reload with {answer['file']} would change nothing.\n"
    return "\n".join([f"A reload with {answer['file']} ({answer['digest']}) would do this:", *lines]) + "\n"


def reload(answer: dict[str, Any]) -> str:
    """Return what a reload did."""
    warnings = f", {counted(answer['warnings'], 'warning')} (see `vipervisor check`)" if answer["warnings"] else ""
    lines = _lines(answer)
    head = f"Configuration {answer['digest']} runs{warnings}" + (":" if lines else "; nothing changed.")
    tail = []
    if answer["settled"]:
        tail.append("The kernel is as wanted.")
    if answer["confirm_within_s"] is not None:
        tail.append(
            f"ON TRIAL: the configuration before comes back in {answer['confirm_within_s']:g} s"
            " unless you say `vipervisor confirm`."
        )
    return "\n".join([head, *lines, *tail]) + "\n"


def _lines(answer: dict[str, Any]) -> list[str]:
    changes = answer["changes"]
    lines = [f"  ~ {_SETTINGS.get(name, name)}" for name in changes["settings"]]
    operations: dict[str, list[dict[str, Any]]] = {}
    for operation in answer["operations"]:
        operations.setdefault(operation["virtual_server"], []).append(operation)
    added, removed = set(changes["virtual_servers_added"]), set(changes["virtual_servers_removed"])
    for key in dict.fromkeys([*added, *changes["virtual_servers_changed"], *removed, *operations]):
        sign = "+" if key in added else "-" if key in removed else " "
        found = operations.get(key, [])
        leaving = _of(key, changes["real_servers_removed"])
        below = [_operation(operation, set(leaving)) for operation in found]
        if key not in removed:
            below += _unseen(found, _of(key, changes["real_servers_added"]), leaving)
            below += _edited(key, answer, found)
        lines.append(f"{sign} {key}" + ("" if below else ": nothing that the kernel sees"))
        lines += [f"    {line}" for line in below]
    if answer.get("edits_untold"):
        lines.append(f"  and what changes in {counted(answer['edits_untold'], 'more real server')}")
    return [*lines, *detectionwords.plan(answer.get("detection", []))]


def _of(key: str, names: list[list[str]]) -> list[str]:
    return [server for where, server in names if where == key]


def _unseen(operations: list[dict[str, Any]], coming: list[str], leaving: list[str]) -> list[str]:
    """Return lines for who comes or goes without the kernel's being written at once: nobody is sent there before, or after."""
    seen = {operation.get("real_server") for operation in operations}
    return [
        *(f"+ {server}  not in the kernel's table at first" for server in coming if server not in seen),
        *(f"- {server}  out already; it leaves" for server in leaving if server not in seen),
    ]


def _edited(key: str, answer: dict[str, Any], operations: list[dict[str, Any]]) -> list[str]:
    """Return lines for what is set otherwise in this virtual server and in who stays; a weight that the kernel is told stands there."""
    weighed = {operation.get("real_server") for operation in operations}
    lines = []
    for edit in answer.get("edits", []):
        if edit["virtual_server"] != key:
            continue
        servers = edit["real_servers"]
        if edit["text"].startswith("weight "):
            servers = [server for server in servers if server not in weighed]
        if servers or not edit["real_servers"]:
            lines.append(f"~ {_some(servers)}{edit['text']}")
    return lines


def _some(servers: list[str]) -> str:
    """Return whom a line is about, "" for the virtual server itself."""
    if not servers:
        return ""
    more = f" and {len(servers) - SERVERS_SHOWN} more" if len(servers) > SERVERS_SHOWN else ""
    return f"{', '.join(servers[:SERVERS_SHOWN])}{more}  "


def _operation(operation: dict[str, Any], leaving: set[str]) -> str:
    match operation["operation"]:
        case "AddService":
            return "+ the service"
        case "DeleteService":
            return "- the service"
        case "ChangeService":
            return "~ its settings (scheduler, flags or persistence)"
    server, old, new = operation["real_server"], operation["weight_old"], operation["weight_new"]
    connected = f", {counted(operation['active'], 'connection')}" if operation["active"] else ""
    if new is None:
        cut = " are cut off" if connected else ""
        return f"- {server}  weight {old}{connected}{cut}"
    if old is None:
        return f"+ {server}  weight {new}"
    leaves = "; it leaves when they are done" if server in leaving and connected else ""
    leaves = "; it leaves" if server in leaving and not connected else leaves
    return f"{'-' if server in leaving else '~'} {server}  weight {old} → {new}{connected}{leaves}"
