"""Faults at random moments under continuous traffic, and what became of every request: for the tests and for the figures.

    events = play(LANES["children"], directory, rounds=3, seed=1)

A lane is a contender and some of its faults; lanes with different names can be played at the same time, each has a network of its own.
One round has every fault of the lane once, in a random order, each at a random moment after the one before it is over. A failed
request is charged to the last fault before the moment at which it was lost. The seed is printed and decides everything but what the
processor's time decides.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.kernel import lab
from tests.kernel.contenders import CONTENDERS, HEALTHY, IN_ORDER, Contender
from tests.kernel.dying import MORE, server_faults
from tests.kernel.load import HOLD_S, REPORT_S, TIMEOUT_S, Failure, Load, Report

RATE = 300.0
"""Requests a second."""
PAUSE_S = (0.05, 0.6)
"""Between the end of a fault and the next."""
SAMPLE_S = 0.01
LOOK_S = 0.2
"""To be asked how it is costs a program as much as a good deal of its work."""
START_MAX_S = 120.0
ORDER_MAX_S = 60.0
"""A restart by the harness must bring order within this."""
UNDONE = "(the harness restores order)"
"""In the place of a fault's name."""


@dataclass(slots=True)
class Event:
    """One fault and what it did: `repaired_s` is from the fault to a table in order again (None: it never was out of it, or stayed so)."""

    fault: str
    at_s: float
    over_s: float = 0.0
    repaired_s: float | None = None
    undone: bool = False  # nobody mended it within the patience, so the harness did
    requests: int = 0
    slow: int = 0
    failed: dict[str, int] = field(default_factory=dict)  # by kind, of the client's kinds of failures
    failed_in_order: int = 0  # of them, those that began when the table was in order again
    strangers: int = 0  # answers of somebody who should give none

    @property
    def failed_by_us(self) -> int:
        """Requests that failed and would not have without us: where somebody else takes servers away, those that began after that."""
        return self.failed_in_order if self.fault in LOSES_SERVERS else sum(self.failed.values())


class Watch:
    """Reads the table all the time and keeps each other state with its moment."""

    def __init__(self, table: lab.KernelTable) -> None:
        self._table = table
        self._closed = threading.Event()
        self.states: list[tuple[float, dict[str, int]]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def in_order_since(self) -> float | None:
        """Return since when the table is in order; None when it is not."""
        at_s, weights = self.states[-1] if self.states else (0.0, {})
        return at_s if _serving(weights) == IN_ORDER else None

    def _run(self) -> None:
        while not self._closed.wait(SAMPLE_S):
            weights = self._table.weights()
            if not self.states or self.states[-1][1] != weights:
                self.states.append((time.monotonic(), weights))


def _serving(weights: Mapping[str, int]) -> dict[str, int]:
    return {name: weight for name, weight in weights.items() if weight > 0}


@dataclass(frozen=True, slots=True)
class Lane:
    """A contender, and the faults that are played with it."""

    name: str
    contender: str
    faults: tuple[str, ...]


RELOADS = ("reload", "reload_weight", "reload_server", "reload_scheduler", "reload_missing_scheduler")
FOREIGN = ("flush", "edit_to_0", "edit_to_5", "delete")
CHILDREN = ("kill_checker", "kill_exporter", "kill_runner")
RESTARTS = ("restart", "kill", "upgrade", "upgrade_after_kill")
STOPS = ("stop_checker", "stop_main")

LANES = {
    lane.name: lane
    for lane in (
        Lane("children", "vipervisor", (*RELOADS, *CHILDREN)),
        Lane(
            "restarts", "vipervisor", (*RESTARTS, *FOREIGN)
        ),  # together: who meddles all the time is a rival, not a fault
        Lane("stops", "vipervisor", (*STOPS, "kill_all")),
        Lane("k-reloads", "keepalived", (*RELOADS, "kill_checker", *STOPS)),
        Lane("k-restarts", "keepalived", ("restart", "kill", "kill_all", *FOREIGN)),
        Lane("k-keeps", "keepalived -I", ("restart",)),
        Lane("nobody", "nobody", ("nothing", *FOREIGN)),
    )
}
OURS = ("children", "restarts", "stops")
LOSES_SERVERS = ("flush", "delete")
"""What breaks connections by itself, whoever keeps the table."""


def play(lane: Lane, directory: Path, rounds: int, seed: int, rate: float = RATE) -> list[Event]:
    """Play a lane in a new directory and return what happened, oldest first."""
    directory.mkdir()
    print(
        f"storm: {lane.name} ({lane.contender}), {rounds} rounds, {rate:g} requests a second, seed {seed}", flush=True
    )
    with lab.Lab(directory, f"{lane.name}-") as world:
        lab.ip_batch(world.director, [f"addr add {lab.VIRTUAL}/32 dev eth0"])
        world.start_all_web()
        world.hurry_web()
        contender = {**CONTENDERS, **MORE}[lane.contender](world)
        contender.faults |= server_faults(contender)
        contender.start()
        watch = Watch(world.table)
        load = None
        try:
            lab.wait_until("quiet", lambda: _quiet(watch, contender, 0.0), START_MAX_S)
            load = Load(world, rate)
            time.sleep(2 * HOLD_S)
            events = _play(contender, watch, rounds, Random(seed), lane.faults)
            time.sleep(TIMEOUT_S)
        finally:
            if load is not None:
                load.close()
            watch.close()
            contender.close()
    account(events, load.reports, load.failures, watch.states)
    return events


def _play(contender: Contender, watch: Watch, rounds: int, random: Random, faults: Sequence[str]) -> list[Event]:
    events: list[Event] = []
    for _ in range(rounds):
        for name in random.sample(faults, len(faults)):
            time.sleep(random.uniform(*PAUSE_S))
            events += _inflict(contender, watch, name, random)
    return events


def _inflict(contender: Contender, watch: Watch, name: str, random: Random) -> list[Event]:
    """Play one fault to its end, and what the harness had to do for it."""
    event = Event(name, time.monotonic())
    fault = contender.faults[name](random)
    begun_s = time.monotonic()
    while not (_quiet(watch, contender, begun_s) and fault.done()):
        if time.monotonic() - begun_s > fault.patience_s:
            event.undone = True
            break
        time.sleep(LOOK_S)
        fault.tend()
    event.over_s = time.monotonic() - event.at_s
    print(
        f"{event.at_s:9.2f} {contender.name}: {name}: over after {event.over_s:.2f} s{' without an end' * event.undone}",
        flush=True,
    )
    if not event.undone:
        return [event]
    mending = Event(UNDONE, time.monotonic())
    (fault.undo or contender.restore)()
    lab.wait_until(f"order after {name}", lambda: _quiet(watch, contender, mending.at_s), ORDER_MAX_S)
    return [event, mending]


def _quiet(watch: Watch, contender: Contender, since_s: float) -> bool:
    """Tell whether the table has been in order for as long as the contender's table needs."""
    in_order_s = watch.in_order_since()
    return in_order_s is not None and time.monotonic() - max(in_order_s, since_s) >= contender.quiet_s


States = Sequence[tuple[float, Mapping[str, int]]]


def account(events: Sequence[Event], reports: Sequence[Report], failures: Sequence[Failure], states: States) -> None:
    """Charge every request to an event: what the client reported and what the table's states were, all with their moments."""
    moments = [event.at_s for event in events]
    for event, end_s in zip(events, [*moments[1:], math.inf], strict=True):
        event.repaired_s = _repaired_after(states, event.at_s, end_s)
    for report in reports:
        index = bisect_right(moments, report.at_s - REPORT_S / 2) - 1
        if index >= 0:
            events[index].requests += report.begun
            events[index].slow += report.slow
            events[index].strangers += sum(n for who, n in report.answered.items() if f"{who}:80" not in HEALTHY)
    for failure in failures:
        index = bisect_right(moments, failure.at_s) - 1
        assert index >= 0, f"a request failed before the first fault: {failure}"
        _charge(events[index], failure)


def _repaired_after(states: States, begin_s: float, end_s: float) -> float | None:
    """Return how long after `begin_s` order came back for good before `end_s`; None: it was never lost, or did not come back."""
    during = [(at_s, _serving(weights) == IN_ORDER) for at_s, weights in states if begin_s <= at_s < end_s]
    lost = [at_s for at_s, in_order in during if not in_order]
    if not lost or not during[-1][1]:
        return None
    return next(at_s for at_s, in_order in during if in_order and at_s > lost[-1]) - begin_s


def _charge(event: Event, failure: Failure) -> None:
    event.failed[failure.kind] = event.failed.get(failure.kind, 0) + 1
    if event.repaired_s is not None and failure.begun_s > event.at_s + event.repaired_s + SAMPLE_S:
        event.failed_in_order += 1
