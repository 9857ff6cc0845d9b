"""What a terminal shows of orders to real servers: what changed, who serves instead, who is still connected. Pure."""

from __future__ import annotations

import math
from typing import Any

from supervisor.admin.words import weight
from supervisor.wording import counted, lasting


def ordered(answer: dict[str, Any]) -> str:
    """Return what an order changed, a block of lines for each virtual server."""
    lines: list[str] = []
    for row in answer["servers"]:
        lines += [f"{row['real_server']} in {row['virtual_server']}: {_change(row)}", f"  {_rest(row)}"]
    if not answer["servers"]:
        lines.append("the real server has left the configuration meanwhile")
    elif not answer["in_kernel"]:
        lines.append(
            "The kernel has not taken all of it yet; the daemon goes on trying (see `vipervisor why`, and the log)."
        )
    return "\n".join(lines) + "\n"


def _change(row: dict[str, Any]) -> str:
    """Say what one real server is now, and what it was."""
    health = "" if row["health"] == "UP" else f"; it is {row['health']}"
    active = row["traffic"]["active"]
    connected = f", {counted(active, 'active connection')}" if active else ""
    weights = f"weight {weight(row['weight_old'])} → {weight(row['weight_wanted'])}"
    instead = f", in place of: {row['replaced']}" if row["replaced"] else ""
    stands = _wish(row["override"]) if row["override"] else "enabled"
    if not row["changed"]:
        return f"{stands}, as before{health}"
    return f"{stands}, {weights}{connected}{instead}{health}"


def _rest(row: dict[str, Any]) -> str:
    """Say who serves the virtual server now."""
    names = [f"{other['real_server']} (weight {other['weight']})" for other in row["others"]]
    if row["others_more"]:
        names.append(f"{row['others_more']} more")
    if row["sorry_server"]:
        serving = f"the sorry server {row['sorry_server']} serves"
    elif names:
        serving = f"{', '.join(names)} {'serves' if len(names) == 1 and not row['others_more'] else 'serve'} beside it"
    else:
        serving = "nobody else serves"
    word = "held" if row["quorate"] else "LOST"
    return f"{serving}; live weight {row['weight_up']}, quorum {row['quorum']} {word}"


def _wish(override: dict[str, Any]) -> str:
    """Return what an operator wants now, for how long, and why."""
    what = override["admin"] if override["weight"] is None else "set by hand"
    ends = "" if override["ends_s"] is None else f" for {lasting(math.ceil(override['ends_s']))}"
    reason = f" ({override['reason']})" if override["reason"] else ""
    return f"{what}{ends}{reason}"


def is_busy(row: dict[str, Any]) -> bool:
    """Tell whether somebody is connected to a drained server, or the kernel does not know of the drain yet."""
    return bool(row["traffic"]["active"] or row["weight_kernel"])


def left(rows: list[dict[str, Any]]) -> str:
    """Say how many are connected still."""
    total = sum(row["traffic"]["active"] for row in rows)
    places = ", ".join(f"{row['traffic']['active']} in {row['virtual_server']}" for row in rows[:3])
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    return f"{counted(total, 'active connection')} left ({places}{more})"
