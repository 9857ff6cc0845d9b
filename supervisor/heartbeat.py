"""Proves that the program moves, twice a second, and tells the service manager so.

The watchdog lives from events that were taken and from turns of the writer, never from a mere timer. A tick with no event since the last
one is an event itself, so that a program with nothing to do moves, too. How late a tick comes is how late every decision is.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from supervisor.core.events import Event, Tick
from supervisor.outside import Outside
from supervisor.overview import Facts
from supervisor.systemd import Pulse

TICK_S = 0.5
"""How often the decision loop must prove that it moves; the watchdog is fed from there and the loop's lag is measured by it."""

DECIDER_STILL_TICKS = 10
"""Ticks in a row without an event taken until the watchdog gets no more sign of life: 5 s, as at least every other one is an event."""

WRITER_STILL_TICKS = 60
"""Ticks in a row without a turn of the writer: 30 s. It has one each second; the kernel may hold a sync daemon's start for long."""

LAG_TOLD_S = 1.0
"""A tick that is so late is told, with what the loop was at after the first `STALL_S` of it."""

STALL_S = 0.3


class Heartbeat:
    """The ticks. Make one and `run` it."""

    def __init__(
        self,
        taken: Callable[[], int],
        turns: Callable[[], int],
        inbox: trio.MemorySendChannel[Event],
        facts: Facts,
        outside: Outside,
        summary: Callable[[], str],
    ) -> None:
        """`taken` counts the events that were taken, `turns` those of the writer; `summary` returns how everything is, in a line."""
        self._pulse = Pulse(
            {
                "the decision loop": (taken, DECIDER_STILL_TICKS),
                "the writer of the kernel's table": (turns, WRITER_STILL_TICKS),
            }
        )
        self._taken = taken
        self._inbox = inbox
        self._facts = facts
        self._outside = outside
        self._summary = summary

    async def run(self) -> None:
        """Tick until cancelled."""
        log, notifier, stalls = self._outside.log, self._outside.notifier, self._outside.stalls
        stuck, due, taken = "", trio.current_time(), -1
        while True:
            due += TICK_S
            stalls.expect(TICK_S + STALL_S)
            await trio.sleep_until(due)
            lag = trio.current_time() - due
            self._facts.loop_lag_s = lag
            if lag > LAG_TOLD_S:
                due = trio.current_time()
                log.emit("loop.lagging", f"The decision loop was late by {lag:.1f} s.", lag_s=lag, stack=stalls.seen())
            if self._taken() == taken:
                await self._inbox.send(Tick())
            taken = self._taken()
            log.sum_up()
            before, stuck = stuck, self._pulse.beat()
            if not stuck:
                notifier.watchdog()
            elif not before:
                said = f"Stuck: {stuck}. The service manager gets no sign of life any more."
                log.emit("watchdog.withheld", said, what=stuck)
            if notifier.listens:
                notifier.status(f"stuck: {stuck}" if stuck else self._summary())
