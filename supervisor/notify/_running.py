"""A script that runs, and how the log hears of its end: what every sink with scripts shares."""

from __future__ import annotations

from typing import Protocol

from supervisor.log import Log
from supervisor.model import Script
from supervisor.runner.protocol import Ended, Outcome


class Running(Protocol):
    """A script that was begun."""

    async def ended(self) -> Ended:
        """Return how it ended."""

    def cancel(self) -> None:
        """End it early; returns at once."""


def say_ended(script: Script, ended: Ended, log: Log, *, again: bool = False, **fields: object) -> None:
    """Say in the log how a script ended. `fields` are more of the event's own."""
    said = f", it said: {ended.output}" if ended.output else ""
    then = "; it is run once more" if again else ""
    log.emit(
        "notify.script_done" if ended.succeeded else "notify.script_failed",
        f"Script {script}: {ended} after {ended.duration_s:.2f} s{then}{said}",
        script=str(script),
        **fields,
        outcome=ended.outcome.value,
        exit_status=ended.status if ended.outcome is Outcome.EXITED else None,
        error=ended.reason,
        output=ended.output,
        duration_s=ended.duration_s,
    )
