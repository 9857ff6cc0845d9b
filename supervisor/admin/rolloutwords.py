"""What a terminal shows of `plan` and `reload`: what comes, goes and changes, virtual server by virtual server. Pure.

A line begins with + (comes), - (goes) or ~ (changes), and ends with who is connected.
"""

from __future__ import annotations

from typing import Any

_SETTINGS = {
    "mail": "mail",
    "kernel": "time-outs, flushing or sync daemons of the kernel",
    "scripts": "scripts and named pipes",
    "router_id": "router_id",
    "track_files": "track files",
    "default_interface": "default_interface",
    "assign_addresses": "virtual_server_addresses",
}


def plan(answer: dict[str, Any]) -> str:
    """Return what a reload would do."""
    lines = _lines(answer)
    if not lines:
        return f"A reload with {answer['file']} would change nothing.\n"
    return "\n".join([f"A reload with {answer['file']} ({answer['digest']}) would do this:", *lines]) + "\n"


def reload(answer: dict[str, Any]) -> str:
    """Return what a reload did."""
    warnings = f", {answer['warnings']} warnings (see `vipervisor check`)" if answer["warnings"] else ""
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
        lines.append(f"{sign} {key}" + ("" if found else ": nothing in the kernel"))
        leaving = {server for where, server in changes["real_servers_removed"] if where == key}
        lines += [f"    {_operation(operation, leaving)}" for operation in found]
    return lines


def _operation(operation: dict[str, Any], leaving: set[str]) -> str:
    match operation["operation"]:
        case "AddService":
            return "+ the service"
        case "DeleteService":
            return "- the service"
        case "ChangeService":
            return "~ its settings (scheduler, flags or persistence)"
    server, old, new = operation["real_server"], operation["weight_old"], operation["weight_new"]
    connected = f", {operation['active']} connections" if operation["active"] else ""
    if new is None:
        cut = " are cut off" if connected else ""
        return f"- {server}  weight {old}{connected}{cut}"
    if old is None:
        return f"+ {server}  weight {new}"
    leaves = "; it leaves when they are done" if server in leaving and connected else ""
    leaves = "; it leaves" if server in leaving and not connected else leaves
    return f"{'-' if server in leaving else '~'} {server}  weight {old} → {new}{connected}{leaves}"
