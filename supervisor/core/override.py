"""What an operator says of a real server: it always wins over health, and never hides it.

An override is a wish with a reason, an author and an end. It changes what the kernel gets, never what the checks say: a drained server
that dies is told as DOWN, and is drained still when it is back. Who may set one, and when it is refused, is decided where it comes in.
"""

from __future__ import annotations

import enum
import math

from checkers.kit.frozen import frozen

ANOTHER_WRITER = "another writer of the table"
"""Who said it, where the weight was found in the kernel's table (`core.drift`)."""


class AdminState(enum.Enum):
    """What the operator wants of a real server."""

    ENABLED = "enabled"
    DRAINING = "draining"  # weight 0: who is connected stays, nobody new comes
    DISABLED = "disabled"  # out of the table, or at weight 0 with inhibit_on_failure


@frozen
class Override:
    """One wish. `weight` (0 to 65535) takes the place of the configured and any dynamic weight while the server is in service.

    `since` and `until` are trio's seconds; `until` is infinite for a wish without an end. `by` names who said it, for the log.
    """

    admin: AdminState = AdminState.ENABLED
    weight: int | None = None
    reason: str = ""
    by: str = ""
    since: float = 0.0
    until: float = math.inf

    @property
    def text(self) -> str:
        """What it does, in words."""
        if self.weight is None:
            return self.admin.value
        return (
            f"weight {self.weight}"
            if self.admin is AdminState.ENABLED
            else f"{self.admin.value} with weight {self.weight}"
        )
