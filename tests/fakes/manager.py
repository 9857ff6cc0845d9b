"""systemd's end of the notification socket: what it was told, and when."""

from __future__ import annotations

import trio

from supervisor.systemd import Notifier


class FakeManager(Notifier):
    """Remembers instead of sending."""

    def __init__(self) -> None:
        super().__init__({})
        self.fed_at = 0.0
        self.shown = ""

    @property
    def listens(self) -> bool:
        """See `Notifier`."""
        return True

    def watchdog(self) -> None:
        """See `Notifier`; when it was last called is in `fed_at`."""
        self.fed_at = trio.current_time()

    def status(self, text: str) -> None:
        """See `Notifier`; what was shown last is in `shown`."""
        self.shown = text
