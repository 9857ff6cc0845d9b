"""What the writer needs of a table, whether the kernel's or the embedded one; and what can go wrong with it.

Both implementations (`kernel.py`, `memory.py`) are synchronous: a generic-netlink request is carried out inside `send` and a
dump is made inside `recv`, so there is nothing to wait for (ipvs.md, section 0). They pass the same contract suite.
Only a sync daemon may keep the kernel waiting (for its thread, and for the lock of all network interfaces).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from supervisor.core.kernelsettings import Change, KernelState
from supervisor.core.table import Op, Reading, ServiceSettings
from supervisor.model import ServiceKey


class BackendUnavailable(Exception):
    """There is no such table here; the text names the remedy (load ip_vs, CAP_NET_ADMIN, --backend memory)."""


class AnswerLost(Exception):
    """The kernel's answers were lost (ENOBUFS, no reply): the outcome is unknown, read the table again."""


class Backend(Protocol):
    """A table that can be read and changed."""

    name: str  # "kernel" or "memory"

    def read(self, keys: Collection[ServiceKey] | None = None) -> Reading:
        """Return the whole table, or only the services `keys` of it. Raises AnswerLost, BackendUnavailable."""

    def services(self) -> dict[ServiceKey, ServiceSettings]:
        """Return every service without its destinations, which is cheap. Raises AnswerLost, BackendUnavailable."""

    def apply(self, ops: Sequence[Op]) -> list[str]:
        """Carry out `ops` in order, at most 64; a failure does not stop the rest. Return one errno name ("" = done) for each.

        Raises AnswerLost, BackendUnavailable.
        """

    def settings(self) -> KernelState:
        """Return the time-outs and the sync daemons. Raises AnswerLost, BackendUnavailable."""

    def adjust(self, change: Change) -> str:
        """Carry out one change of them and return the errno's name ("" = done). May sleep.

        Raises AnswerLost (always where a sync daemon is stopped before its thread ever ran), BackendUnavailable.
        """

    def close(self) -> None:
        """Give the socket back. The table stays."""
