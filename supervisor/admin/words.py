"""Turns the daemon's answers into what a terminal shows. Pure: JSON values in, text out.

State is a word and a sign, never a colour alone; times are ages, because a person asks "since when".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any

from supervisor.admin import detectionwords
from supervisor.admin.sieve import whole
from supervisor.wording import counted, lasting

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


def status(snapshot: dict[str, Any], touched_s: float | None = None) -> str:
    """Return one screen about what is shown of what runs now; its first line counts everything.

    `touched_s`: so long ago the file was touched, after it was loaded.
    """
    process = snapshot["process"]
    lines = [
        _headline(process, whole(snapshot)),
        *_paused(process),
        *_needs(process),
        *_rivals(process),
        *_touched(process, touched_s),
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
    ends = "" if override["ends_s"] is None else f", ends in {lasting(math.ceil(override['ends_s']))}"
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
        f" ({process['config_digest']}), backend {process['backend']}: {counted(there['virtual_servers'], 'virtual server')},"
        f" {_down(there)} of {counted(there['real_servers'], 'real server')} down{by_hand}.{held}{suspected}{reload}"
    )


def _down(there: dict[str, int]) -> str:
    down = there["real_servers"] - there["not_down"]
    return str(down) if down else "none"


def _touched(process: dict[str, Any], touched_s: float | None) -> list[str]:
    """Say that what runs may not be what stands in the file."""
    if touched_s is None:
        return []
    ago = f"{lasting(touched_s)} ago"
    return [
        f"{process['config_source']} was touched {ago}, after it was loaded: `vipervisor plan` says what a reload would do."
    ]


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
        checks = counted(process["checks_quarantined"], "check")
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
    return f" ({counted(worker['inconclusive'], 'probe')} inconclusive so far{f': {faults}' if faults else ''})"


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
        lines = _standing(answer["virtual_server"], row, answer.get("at"))
        if row["override"]:
            lines.append(f"  {wish(row['override'])}")
        lines += _chain(answer["chain"])
        if answer.get("down_because"):
            lines += ["  It is DOWN beside that:", *_chain(answer["down_because"])]
        lines += [f"  changed by somebody else: {words}" for words in answer.get("drift", ())]
        if answer.get("results"):
            lines.append("  The last results:")
        lines += [f"  {age(told['age_s']):>8} ago  {_result(told)}" for told in answer.get("results", ())]
        lines += _last_failure(answer)
        for check in row["checks"]:
            if check["age_s"] is None or not answer.get("results"):
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


def _chain(chain: list[dict[str, Any]]) -> list[str]:
    """Return the links of a chain, below a probe what it sent and what came back."""
    lines = []
    for link in chain:
        lines.append(f"  {age(link['age_s']):>8} ago  {link['kind']:<13} {link['text']}")
        lines += [f"{'':16}{line}" for line in transcript(link["facts"])]
    return lines


def _last_failure(answer: dict[str, Any]) -> list[str]:
    """Return what the last failed probe sent and got, where that is not what the chain begins with."""
    failed = [told for told in answer.get("results", ()) if told.get("facts", {}).get("passed") is False]
    lines = transcript(failed[-1]["facts"]) if failed else []
    shown = [transcript(link["facts"]) for link in [*answer["chain"], *answer.get("down_because", ())]]
    if not lines or lines in shown:
        return []
    return [f"  The last that failed, {age(failed[-1]['last_age_s'])} ago:", *(f"{'':16}{line}" for line in lines)]


def transcript(facts: Mapping[str, Any]) -> list[str]:
    """Return what a probe sent (>) and what came back (<) line by line, as far as it is known; nothing, where nothing was sent."""
    sent, received = (_lines(facts.get(name)) for name in ("sent", "received"))
    if not sent and not received:
        return []
    return [
        *(f"> {line}".rstrip() for line in sent),
        *(f"< {line}".rstrip() for line in received or ["(nothing came back)"]),
    ]


def _lines(text: object) -> list[str]:
    """Return the lines of what was sent or received, whose ends stand escaped in it."""
    lines = str(text or "").replace("\\r\\n", "\n").replace("\\n", "\n").split("\n")
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _result(told: dict[str, Any]) -> str:
    """Return the result of a probe, and how often it came."""
    often = f" ({told['count']} times until {age(told['last_age_s'])} ago)" if told.get("count", 1) > 1 else ""
    return f"{told['message']}{often}"


def _standing(virtual_server: str, row: dict[str, Any], at: float | None) -> list[str]:
    """Return what a real server is and since when, and where it stands in the kernel's table."""
    since = "" if at is None else f", since {moment(at - row['since_s'])}"
    held = f", {row['held_text']}" if row["held"] else ""
    name = f"{row['real_server']} in {virtual_server}"
    return [
        f"{name}: {HEALTH_SIGNS[row['health']]} {row['health']} for {age(row['since_s'])}{since}{held}",
        _weights(row),
    ]


def _weights(row: dict[str, Any]) -> str:
    """Return the line about a real server's weights: what is wanted, what the kernel has, what the file says."""
    wanted, found, configured = row["weight_wanted"], row["weight_kernel"], row["weight_configured"]
    if wanted == found:
        there = "out of the kernel's table, as wanted" if wanted is None else f"weight {wanted}, and so in the kernel"
    else:
        there = f"weight {weight(wanted)} WANTED, {weight(found)} IN THE KERNEL (-: not in the table)"
    return f"  {there}" + ("" if configured == wanted else f"; weight {configured} in the file")


def moment(at: float) -> str:
    """Return a moment as the log writes it, to the second."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}Z"


def _columns(rows: Iterable[tuple[str, ...]]) -> list[str]:
    table = list(rows)
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
