"""Turns the daemon's answers into what a terminal shows. Pure: JSON values in, text out.

State is a word and a sign, never a colour alone; times are ages, because a person asks "since when".
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

from supervisor.admin import detectionwords
from supervisor.admin.sieve import whole

SLOW_S = 0.5
"""A loop that is later than this is shown."""

HEALTH_SIGNS = {"UP": "●", "DOWN": "✖", "UNKNOWN": "○"}


ADMIN_SIGNS = {"enabled": "●", "draining": "◐", "disabled": "◌"}


def age(seconds: float | None) -> str:
    """Return an age as a person says it: 4.2s, 3m10s, 5h02m, 2d03h; "never" for None."""
    if seconds is None:
        return "never"
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole // 60 % 60:02}m"
    return f"{whole // 86400}d{whole // 3600 % 24:02}h"


def status(snapshot: dict[str, Any]) -> str:
    """Return one screen about what is shown of what runs now; its first line counts everything."""
    process = snapshot["process"]
    lines = [
        _headline(process, whole(snapshot)),
        *_paused(process),
        *_needs(process),
        *_rivals(process),
    ]
    drift = _drift(process["writer"])
    for server in snapshot["virtual_servers"]:
        lines.append("")
        lines.append(_virtual_server(server))
        lines += [f"  ! {words}" for words in drift.get(server["virtual_server"], ())]
        rows: list[tuple[str, ...]] = [
            ("real server", "health", "since", "weight", "kernel", "active", "inact", "last result")
        ]
        rows += [_real_server(row) for row in server["real_servers"]]
        if server["sorry"]:
            rows.append(_sorry(server["sorry"]))
        wishes = [f"    {wish(row['override'])}" if row["override"] else "" for row in server["real_servers"]]
        for line, below in zip_longest(_columns(rows), ["", *wishes], fillvalue=""):
            lines += [f"  {line}", below] if below else [f"  {line}"]
    return "\n".join(lines) + "\n"


def wish(override: dict[str, Any]) -> str:
    """Return what an operator wants of a real server: who, since when, why, until when."""
    what = override["admin"] if override["weight"] is None else f"weight {override['weight']}"
    reason = f" ({override['reason']})" if override["reason"] else ""
    ends = "" if override["ends_s"] is None else f", ends in {age(math.ceil(override['ends_s']))}"
    return f"{ADMIN_SIGNS[override['admin']]} {what}, by {override['by'] or 'an operator'} {age(override['age_s'])} ago{reason}{ends}"


def _headline(process: dict[str, Any], there: dict[str, int]) -> str:
    by_hand = f", {there['overridden']} overridden by an operator" if there["overridden"] else ""
    held = f"  {there['held']} HELD IN SERVICE THOUGH DOWN." if there["held"] else ""
    suspected = (
        f"  THE DIRECTOR ITSELF IS SUSPECTED for {age(process['suspected_s'])}: {process['suspected']}."
        if process["suspected"]
        else ""
    )
    reload = "" if process["reload_ok"] else "  THE LAST RELOAD WAS REJECTED, the configuration before it runs."
    return (
        f"vipervisor {process['version']}, up {age(process['uptime_s'])}, {process['config_source']}"
        f" ({process['config_digest']}), backend {process['backend']}: {count(there['virtual_servers'], 'virtual server')},"
        f" {there['not_down']} of {count(there['real_servers'], 'real server')} not down{by_hand}.{held}{suspected}{reload}"
    )


def _paused(process: dict[str, Any]) -> list[str]:
    """Say loudly that an operator has writes to the kernel paused."""
    pause = process.get("paused")
    return [f"! {pause_line(pause)}: the kernel keeps the table that it has."] if pause else []


def pause_line(pause: dict[str, Any]) -> str:
    """Return a pause in a line: who, since when, why, until when."""
    until = "until `vipervisor resume`" if pause["ends_s"] is None else f"for {age(math.ceil(pause['ends_s']))} more"
    return f"WRITES PAUSED by {pause['by']} {age(pause['age_s'])} ago ({pause['reason']}), {until}"


def _rivals(process: dict[str, Any]) -> list[str]:
    """Name other programs that write the table."""
    return [
        f"! {rival['program']} (process {rival['pid']}) {'writes' if rival['sure'] else 'may write'} this table too."
        for rival in process["rivals"]
    ]


def _drift(writer: dict[str, Any]) -> dict[str, list[str]]:
    """Return what stands in the kernel's table against our will, by virtual server, in words."""
    found: dict[str, list[str]] = {}
    for contest in writer["contests"]:
        until = f"left alone for {age(contest['left_alone_s'])} more" if contest["left_alone_s"] else "repaired again"
        found.setdefault(contest["virtual_server"], []).append(f"CONTESTED by another writer of the table: {until}")
    for standing in writer["standing"]:
        what = standing["real_server"] or "the service"
        found.setdefault(standing["virtual_server"], []).append(
            f"changed by somebody else: {what} has {standing['words']}"
        )
    return found


def _needs(process: dict[str, Any]) -> list[str]:
    """Return a line for each thing that is wrong with ourselves, so that nobody takes it for the servers'."""
    lines = []
    if process["workers_lost_s"]:
        lines.append(f"NO CHECKER WORKER for {age(process['workers_lost_s'])}: every verdict is frozen.")
    if process["checks_quarantined"]:
        checks = count(process["checks_quarantined"], "check")
        lines.append(f"{checks} kept apart in checker-ward, because workers die of it.")
    for worker in process["workers"]:
        said = []
        if not worker["pid"]:
            said.append("does not run")
        if worker["loop_lag_s"] >= SLOW_S:
            said.append(f"is late by {worker['loop_lag_s']:.1f} s")
        if worker["stretch"] > 1:
            said.append(f"probes {worker['stretch']} times less often, because something runs short")
        if said:
            lines.append(f"{worker['name']} {', '.join(said)}{_inconclusive(worker)}.")
    return lines


def _inconclusive(worker: dict[str, Any]) -> str:
    """Return what a worker's inconclusive probes were, empty for none."""
    if not worker["inconclusive"]:
        return ""
    faults = ", ".join(f"{fault} {number}" for fault, number in sorted(worker["faults"].items()))
    return f" ({count(worker['inconclusive'], 'probe')} inconclusive so far{f': {faults}' if faults else ''})"


def _virtual_server(server: dict[str, Any]) -> str:
    quorum = "quorum held" if server["quorate"] else "QUORUM LOST"
    guard = f", min_healthy {server['min_healthy']}" if server["min_healthy"] else ""
    serving = ", the sorry server serves" if server["sorry"] and server["sorry"]["active"] else ""
    return (
        f"{server['virtual_server']}  {server['scheduler']} {server['forward']}  {quorum}"
        f" for {age(server['since_s'])} (live weight {server['weight_up']}, needs {server['quorum']}){guard}{serving}"
    )


def _real_server(row: dict[str, Any]) -> tuple[str, ...]:
    last = "no checks configured"
    if row["checks"]:
        worst = min(row["checks"], key=lambda check: (check["health"] != "DOWN", check["age_s"] is None))
        last = f"{worst['reason']} {worst['detail']}".strip() if worst["age_s"] is not None else "not checked yet"
    stale = " (frozen: its checker is silent)" if row["stale"] else ""
    held = f" ({row['held_text']})" if row["held"] else ""
    return (
        row["real_server"],
        f"{HEALTH_SIGNS[row['health']]} {row['health']}",
        age(row["since_s"]),
        weight(row["weight_wanted"]),
        weight(row["weight_kernel"]),
        str(row["traffic"]["active"]),
        str(row["traffic"]["inactive"]),
        last + stale + held,
    )


def _sorry(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["real_server"],
        "sorry",
        "",
        "1" if row["active"] else "-",
        weight(row["weight_kernel"]),
        str(row["traffic"]["active"]),
        str(row["traffic"]["inactive"]),
        "serves" if row["active"] else "stands by",
    )


def weight(value: int | None) -> str:
    """Return a weight, "-" for none."""
    return "-" if value is None else str(value)


def why(answers: list[dict[str, Any]]) -> str:
    """Return the causal chains of a real server, one for each virtual server that has it."""
    blocks: list[str] = []
    for answer in answers:
        row = answer["real_server"]
        lines = [_standing(answer["virtual_server"], row)]
        if row["override"]:
            lines.append(f"  {wish(row['override'])}")
        lines += [f"  {age(link['age_s']):>8} ago  {link['kind']:<13} {link['text']}" for link in answer["chain"]]
        for link in answer["chain"]:
            lines += [
                f"      {name:<8} {link['facts'][name]}" for name in ("sent", "received") if link["facts"].get(name)
            ]
        lines += [f"  changed by somebody else: {words}" for words in answer.get("drift", ())]
        lines += [
            f"  {age(told['age_s']):>8} ago  {'result':<13} {_result(told)}" for told in answer.get("results", ())
        ]
        for check in row["checks"]:
            last = f"{check['reason']} {check['detail']}".rstrip()
            heard = "none yet" if check["age_s"] is None else f"{last}, heard {age(check['age_s'])} ago"
            lines.append(f"  last result of {check['type']} {check['target']}: {heard}")
            if check["sentinel"] not in {"", "on"}:
                lines.append(f"  sentinel of {check['type']} {check['target']}: {check['sentinel']}")
        if "detection" in answer:
            lines += detectionwords.why(
                answer["detection"], watched=any(check["sentinel"] == "on" for check in row["checks"])
            )
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _result(told: dict[str, Any]) -> str:
    """Return the result of a probe, and how often it came."""
    often = f" ({told['count']} times until {age(told['last_age_s'])} ago)" if told.get("count", 1) > 1 else ""
    return f"{told['message']}{often}"


def _standing(virtual_server: str, row: dict[str, Any]) -> str:
    held = f", {row['held_text']}" if row["held"] else ""
    return (
        f"{row['real_server']} in {virtual_server}: {row['health']} for {age(row['since_s'])},"
        f" weight {weight(row['weight_wanted'])} wanted, {weight(row['weight_kernel'])} in the kernel{held}"
    )


def _columns(rows: Iterable[tuple[str, ...]]) -> list[str]:
    table = list(rows)
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where that is due."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
