"""What the exporter may ask of the supervisor: one line each, and one line comes back. Pure.

    snapshot                        everything as it is now (core.snapshot), ready in the supervisor at any moment
    ready                           whether the supervisor is ready: true or false, whatever the size of the table
    events                          the last EVENTS_MAX events of the whole program (core.entry, `Extract`)
    configuration                   the text that runs, without its secrets (core.runningtext)
    history 203.0.113.100:80/tcp    what happened to one virtual server and its real servers; null where there is no such one

Whoever asks is a process that strangers talk to: `parse` takes a line for hostile, and the supervisor answers one question at a time,
with a pause after each (`children.exporter`).
"""

from __future__ import annotations

from typing import TypeAlias

from checkers.kit.frozen import frozen
from supervisor.core.entry import NAME_MAX

SNAPSHOT = b"snapshot"
READY = b"ready"
EVENTS = b"events"
CONFIGURATION = b"configuration"
_HISTORY = b"history "

EVENTS_MAX = 500
"""Events in one answer (the issue's number for the page)."""


@frozen
class AskSnapshot:
    """Everything as it is now."""


@frozen
class AskReady:
    """Whether every check has spoken and the kernel is as wanted."""


@frozen
class AskEvents:
    """The last events."""


@frozen
class AskConfiguration:
    """The text that runs."""


@frozen
class AskHistory:
    """The history of a virtual server, which need not exist."""

    virtual_server: str


Question: TypeAlias = AskSnapshot | AskReady | AskEvents | AskConfiguration | AskHistory


def history(virtual_server: str) -> bytes | None:
    """Return the line that asks for a virtual server's history; None for what cannot be the name of one."""
    if not _is_name(virtual_server):
        return None
    return _HISTORY + virtual_server.encode("ascii")


def parse(line: bytes) -> Question | None:
    """Return what a line asks for, None when it is no question."""
    if line == SNAPSHOT:
        return AskSnapshot()
    if line == READY:
        return AskReady()
    if line == EVENTS:
        return AskEvents()
    if line == CONFIGURATION:
        return AskConfiguration()
    if line.startswith(_HISTORY) and line.isascii():
        name = line.removeprefix(_HISTORY).decode("ascii")
        return AskHistory(name) if _is_name(name) else None
    return None


def encode_ready(*, ready: bool) -> bytes:
    """Return the answer to READY."""
    return b"true" if ready else b"false"


def decode_ready(line: bytes) -> bool:
    """Read the answer to READY. Raises ValueError for anything else."""
    if line not in {b"true", b"false"}:
        raise ValueError(f"expected true or false, got {line[:40]!r}")
    return line == b"true"


def _is_name(text: str) -> bool:
    return 0 < len(text) <= NAME_MAX and text.isascii() and text.isprintable() and " " not in text
