"""What a terminal shows of the program itself: ready, alerts, version, sync, pause. Pure."""

from __future__ import annotations

from typing import Any

from supervisor.admin.words import pause_line
from supervisor.pluginline import plugin_line
from supervisor.wording import counted


def ready(answer: dict[str, Any]) -> str:
    """Return one line, and one for each thing that is missing."""
    if answer["ready"]:
        return f"ready: {counted(answer['checks'], 'check')} with a verdict, the kernel is as wanted\n"
    lines = ["NOT READY"]
    if not answer["kernel_reachable"]:
        lines.append("  the kernel's table cannot be read or written")
    elif not answer["kernel_synced"]:
        lines.append("  the kernel was not yet seen to be as wanted")
    if answer["waiting"]:
        lines.append(f"  {answer['waiting']} of {counted(answer['checks'], 'check')} without a verdict:")
    lines += [f"    {one['check']} for {', '.join(one['real_servers'])}" for one in answer["waiting_for"]]
    if answer["waiting"] > len(answer["waiting_for"]):
        lines.append(f"    and {answer['waiting'] - len(answer['waiting_for'])} more")
    return "\n".join(lines) + "\n"


def alerts(answer: dict[str, Any]) -> str:
    """Return the line of a monitoring plugin."""
    return f"{plugin_line(answer['word'], answer['text'], answer['figures'])}\n"


def version(answer: dict[str, Any]) -> str:
    """Return the versions of both ends."""
    lines = [f"vipervisor {answer['client']} (this command)"]
    daemon = answer["daemon"]
    if daemon is None:
        lines.append(f"no daemon answers: {answer['trouble']}")
    else:
        lines.append(
            f"vipervisor {daemon['version']} (the daemon), protocol {daemon['protocol']}, Python {daemon['python']},"
            f" Linux {daemon['kernel']}, logs from level {daemon['log_level']}"
        )
        if daemon["version"] != answer["client"]:
            lines.append("They differ: the daemon still runs what was installed before, until it is restarted.")
    return "\n".join(lines) + "\n"


def synced(answer: dict[str, Any]) -> str:
    """Return what was not as wanted, and what became of it."""
    lines = []
    for one in answer["differences"]:
        place = f"{one['real_server']} in {one['virtual_server']}" if one["real_server"] else one["virtual_server"]
        lines.append(f"  {place} {one['words']}")
    if answer["found"] > len(answer["differences"]):
        lines.append(f"  and {answer['found'] - len(answer['differences'])} more")
    if not answer["found"]:
        head = "the kernel is as wanted; nothing was changed"
    elif answer["dry_run"]:
        head = f"{counted(answer['found'], 'difference')} in the kernel's table; nothing was changed on account of this"
    elif answer["left"]:
        head = f"{counted(answer['found'], 'difference')} in the kernel's table, {answer['left']} still there: the log says why"
    else:
        head = f"{counted(answer['found'], 'difference')} in the kernel's table, put right"
    return "\n".join([head, *lines]) + "\n"


def paused(answer: dict[str, Any]) -> str:
    """Return how it stands with writes."""
    pause = answer["paused"]
    waiting = f"; {counted(answer['differences'], 'change')} waiting" if answer["differences"] else ""
    if pause is None:
        return f"The kernel is written{waiting}.\n"
    return f"{pause_line(pause)}{waiting}\n"
