"""What a terminal shows of the past: entries of the history and events, a line each, with what led to them below. Pure.

Moments are those of the log, in UTC, so that one finds the other; beside them stands how long ago that was.
"""

from __future__ import annotations

from typing import Any

from supervisor.admin.words import age, moment, transcript
from supervisor.wording import counted

SIGNS = {"debug": " ", "info": " ", "warning": "!", "error": "✖"}
"""How bad it is, by the log's level."""


def history(answer: dict[str, Any]) -> str:
    """Return what is known of each server, a block for each."""
    return "\n".join(_block(server, answer["at"]) for server in answer["servers"])


def _block(server: dict[str, Any], at: float) -> str:
    entries = server["entries"]
    one = server["real_server"]
    name = f"{one} in {server['virtual_server']}" if one else f"{server['virtual_server']} and its real servers"
    older = f", {counted(server['omitted'], 'older one is', 'older ones are')} known" if server["omitted"] else ""
    lines = [
        f"{name}: {counted(len(entries), 'entry', 'entries')}{older}" if entries else f"{name}: nothing is known yet"
    ]
    for told in entries:
        lines += _told(told, at)
    return "\n".join(lines) + "\n"


def events(answer: dict[str, Any]) -> str:
    """Return the events, the oldest first."""
    lines = [line for told in answer["events"] for line in event(told)]
    return "\n".join(lines or ["nothing happened"]) + "\n"


def event(told: dict[str, Any]) -> list[str]:
    """Return the lines of one event."""
    return [f"{moment(told['at'])}  {SIGNS[told['level']]} {told['type']:<28} {told['message']}"]


def _told(told: dict[str, Any], at: float) -> list[str]:
    """Return the lines of one entry of a server's history."""
    last = told.get("last_at", told["at"])
    often = f" ({told['count']} times until {age(at - last)} ago)" if told.get("count", 1) > 1 else ""
    lines = [f"  {moment(told['at'])} {age(at - told['at']):>7} ago  {SIGNS[told['level']]} {told['message']}{often}"]
    below = [f"because {link}" for link in told.get("because", ())]
    below += transcript(told.get("facts", {}))
    return lines + [f"{'':38}{line}" for line in below]
