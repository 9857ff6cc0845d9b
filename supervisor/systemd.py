"""Telling systemd how we are: the notification socket, and whether there is a sign of life to give.

Without NOTIFY_SOCKET every call does nothing; with it, no call ever blocks, raises or waits for an answer: a wedged service
manager must not stop a decision. Sources: sd_notify(3), systemd.service(5) (Type=notify, WatchdogSec=).
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
import weakref
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass


def _speaker() -> socket.socket | None:
    """Open the socket, once for all: without a descriptor left we would else be taken for dead, and killed."""
    try:
        return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError:
        return None


class Notifier:
    """The service manager's ear.

    Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of `environ`, so that no child speaks in our name.
    """

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        address = environ.pop("NOTIFY_SOCKET", "")
        period_us = environ.pop("WATCHDOG_USEC", "")
        watched_pid = environ.pop("WATCHDOG_PID", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address  # an abstract socket
        self._speaker = _speaker() if address else None
        if self._speaker is not None:
            weakref.finalize(self, self._speaker.close)
        ours = watched_pid in {"", str(os.getpid())}
        self._shown = ""  # what was last told of how we are
        self.watchdog_period_s: float | None = int(period_us) / 1e6 if ours and period_us.isdecimal() else None
        """WATCHDOG=1 is due at least this often, in seconds; None: nobody watches."""

    @property
    def listens(self) -> bool:
        """Whether there is anybody to tell."""
        return self._speaker is not None

    def _tell(self, *lines: str) -> bool:
        """Tell it, if there is anybody; return whether it was taken."""
        if self._speaker is None:
            return False
        with contextlib.suppress(OSError):  # nobody listens, or it is slow: never our problem
            self._speaker.sendto("\n".join(lines).encode(), self._address)
            return True
        return False

    def ready(self) -> None:
        """Startup or reload is done."""
        self._tell("READY=1", f"MAINPID={os.getpid()}")

    def status(self, text: str) -> None:
        """Show `text`, one line, in `systemctl status`, where it stays until there is another one: it is told once."""
        if text != self._shown and self._tell("STATUS=" + " ".join(text.split())):
            self._shown = text

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The end begins."""
        self._tell("STOPPING=1")

    def watchdog(self) -> None:
        """We make progress."""
        self._tell("WATCHDOG=1")


@dataclass(slots=True)
class _Mover:
    """Something that has to move: its count of moves, how many beats it may be still, and what was found at the last."""

    moves: Callable[[], int]
    limit: int
    seen: int = -1
    still: int = 0


class Pulse:
    """Whether all that has to move does, asked at a steady pace: what the watchdog lives from.

    Counts beats and not seconds, so that a process that was stopped, or a machine that slept, is no standstill.
    """

    def __init__(self, movers: Mapping[str, tuple[Callable[[], int], int]]) -> None:
        """`movers`: name → its count of moves, which only grows, and how many beats in a row it may stay the same."""
        self._movers = {name: _Mover(moves, limit) for name, (moves, limit) in movers.items()}

    def beat(self) -> str:
        """Return who is still for longer than it may be, the empty text for nobody."""
        stuck = ""
        for name, mover in self._movers.items():
            moves = mover.moves()
            mover.still = mover.still + 1 if moves == mover.seen else 0
            mover.seen = moves
            if mover.still > mover.limit:
                stuck = stuck or name
        return stuck
