"""How long it takes to notice a fault of a real server, and that it is over, from the timings of its checks. Pure.

    shape = of_server(real_server, waits(config.virtual_servers, config.probe_rate_max))
    shape.silent.worst_s                               # from the fault until the kernel has been told

The first check that goes down takes a real server out, and all have to be up to bring it back: so of several checks the quickest counts
for a fault, the slowest for the return. `worst_s` is a bound: a simulation of random timings and faults looks for what exceeds it
(tests/sim). It holds while this director itself is well (punctual, with descriptors to spare, its kernel taking what it is told) and nobody
holds the real server in service (min_healthy, self_blame). `expected_s` is the mean over all moments of the fault, where answers
come at once. A sentinel is expected where the file asks for one, and never counted on: the server may close it, or have no place for it.

What is reckoned with, for one check (checkers.kit.schedule has the rules):

* a fault comes at worst just after a probe has passed, so the whole pause until the next one is lost;
* a refusal takes a round trip (ROUND_TRIP_S at most), silence the whole time limit, and so may a wrong answer;
* a probe that is under way may still get the good answer that the server had made up its mind about, and end at its time limit;
* while the port refuses, retries are made at once where the file lets them (fast_retry, checkers.kit.urgency);
* the end of a sentinel brings the probe forward: at once when a process dies, after KEPT_ALIVE_S when a host falls silent;
* beside a sentinel a check without retries has a time-out made again before it counts (checkers.kit.sentinels);
* everything that waits for the timer happens up to a tick late, and a probe waits for others of the same server (checkers.kit.pacing).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from checkers.kit.frozen import frozen
from supervisor.model import NOWHERE, CheckSpec, Endpoint, RealServer, Schedule, ServiceKey, VirtualServer

TICK_S = 0.05
"""How late the workers' timer may be (checkers.kit.timer; a test compares them)."""

ROUND_TRIP_S = 0.1
"""Within this a refusal comes. Ours: real servers are in the same building, or at least on the same continent."""

KEPT_ALIVE_S = 3.0
"""After so long the silence of a host ends a sentinel, with up to a thousand of them in a worker (checkers.kit.watch; a test compares)."""

AT_ONCE_MAX = 16
"""So many retries in a row are made at once (checkers.kit.urgency; a test compares)."""

RETURN_EVERY_S = 1.0
"""Pause between two looks at a port that refuses since a moment ago (checkers.kit.urgency; a test compares)."""

TOLD_S = 0.1
"""From a verdict until the kernel has been told: a frame, a decision and a write (docs/guarantees.md has what was measured)."""


@frozen
class Span:
    """How long something takes, in seconds: the mean, and a bound."""

    expected_s: float
    worst_s: float


@frozen
class Shape:
    """How long it takes to notice each kind of fault (None: no check would), and that the real server is well again."""

    refused: Span | None
    silent: Span | None
    wrong: Span | None
    back: Span


@frozen
class Detection:
    """The shape for a real server that has traffic, and for one without where that differs (idle_interval)."""

    busy: Shape
    unused: Shape | None = None


def as_json(found: Detection | None) -> dict[str, Any] | None:
    """Return a detection as a JSON value, to the millisecond."""
    shapes = None if found is None else {"busy": found.busy, "unused": found.unused}
    return shapes and {name: shape and _plain(shape) for name, shape in shapes.items()}


def _plain(shape: Shape) -> dict[str, Any]:
    spans = {"refused": shape.refused, "silent": shape.silent, "wrong": shape.wrong, "back": shape.back}
    return {
        name: span and {"expected_s": round(span.expected_s, 3), "worst_s": round(span.worst_s, 3)}
        for name, span in spans.items()
    }


def of_server(
    server: RealServer, waits_s: Mapping[Endpoint, float], unwatched: Collection[CheckSpec] = ()
) -> Detection | None:
    """Return how faults of a real server are noticed; None when no check of it would notice anything.

    `waits_s`: how long a probe of an address and port may wait for others (`waits`). `unwatched` are checks without the sentinel that the
    file asks for.
    """
    checks = [(check, waits_s.get(check.target, 0.0)) for check in server.checks if check.type != "FILE_CHECK"]
    if not checks:
        return None

    def together(pause_s: Callable[[Schedule], float]) -> Shape:
        return _together(
            [
                _Check(
                    check, wait_s, pause_s(check.schedule), watched=check.sentinel and check not in unwatched
                ).shape()
                for check, wait_s in checks
            ]
        )

    busy, unused = together(lambda schedule: schedule.delay_loop), together(lambda schedule: schedule.longest_pause)
    return Detection(busy, None if unused == busy else unused)


def waits(
    virtual_servers: Iterable[VirtualServer], rate_max: int, targets: Collection[Endpoint] | None = None
) -> dict[Endpoint, float]:
    """Return, for each address and port (of `targets`) that may be asked more often than `rate_max` a second (0: no limit), how long
    one probe then waits at most, in seconds: for a turn of each other check.
    """
    found: dict[Endpoint, set[CheckSpec]] = {}
    for virtual_server in virtual_servers if rate_max else ():
        for server in virtual_server.real_servers:
            for check in server.checks:
                if check.target != NOWHERE and (targets is None or check.target in targets):
                    found.setdefault(check.target, set()).add(check)
    return {
        target: math.ceil(len(checks) / rate_max) * (1 + TICK_S)
        for target, checks in found.items()
        if _peak(checks) > rate_max and (len(checks) > 1 or rate_max * TICK_S < 1)
    }


def _peak(checks: Iterable[CheckSpec]) -> int:
    """Return how many probes the checks of one server begin in a second at most."""
    return sum(_most_in_a_second(check) for check in checks)


def _most_in_a_second(check: CheckSpec) -> int:
    """Return how many probes one check begins in a second at most: a run of quick ones, a steady pause, the next run.

    A steady pause may be halved (checkers.kit.spread); a run is as long as the retries, or the successes that bring it up.
    """
    schedule = check.schedule
    down_s = min(schedule.down_pause, RETURN_EVERY_S) if check.fast_retry else schedule.down_pause
    steady = max(min(schedule.delay_loop, down_s) / 2, TICK_S)
    quick = max(min(schedule.retry_pause, schedule.rising_pause), TICK_S)
    run = max(schedule.retry, schedule.rise - 1) if quick < steady else 0
    began, at, in_run = 1 + (check.sentinel and not schedule.retry), 0.0, 0
    while True:
        in_run, pause = (in_run + 1, quick) if in_run < run else (0, steady)
        at += pause
        if at >= 1:
            return began
        began += 1


def _together(shapes: list[Shape]) -> Shape:
    """Return the shape of a real server with several checks."""
    return Shape(
        _quickest_of(shape.refused for shape in shapes),
        _quickest_of(shape.silent for shape in shapes),
        _quickest_of(shape.wrong for shape in shapes),
        Span(max(shape.back.expected_s for shape in shapes), max(shape.back.worst_s for shape in shapes)),
    )


def _quickest_of(spans: Iterable[Span | None]) -> Span | None:
    found = [span for span in spans if span is not None]
    if not found:
        return None
    return Span(min(span.expected_s for span in found), min(span.worst_s for span in found))


class _Check:
    """The reckoning for one check. `pause_s` is the one while it is up and well, `wait_s` the one for others of the same server.

    `watched`: a sentinel stands there.
    """

    def __init__(self, spec: CheckSpec, wait_s: float, pause_s: float, *, watched: bool) -> None:
        self._spec = spec
        self._schedule = spec.schedule
        options = json.loads(spec.options_json) if spec.type in {"HTTP_GET", "SSL_GET", "UDP_CHECK"} else {}
        urls = max(len(options.get("url", ())), 1)
        self._one_by_one = urls if options.get("urls_one_by_one") else 1
        self._limit_s = spec.schedule.connect_timeout * (1 if options.get("urls_one_by_one") else urls)
        self._answers = bool(options.get("require_reply"))
        self._late_s = TICK_S + wait_s
        self._pause_s = pause_s
        self._watched = watched

    def shape(self) -> Shape:
        """Return how faults are noticed that this check notices."""
        refused, silent = self._refused(), self._silent()
        wrong = self._wrong()
        back = self._back()
        match self._spec.type:
            case "TCP_CHECK":
                return Shape(refused, silent, None, back)
            case "UDP_CHECK":
                return Shape(refused, silent if self._answers else None, wrong if self._answers else None, back)
            case "PING_CHECK":
                return Shape(None, silent, None, back)
            case "MISC_CHECK":
                script = self._script()
                return Shape(script, script, script, back)
            case _:
                return Shape(refused, silent, wrong, back)

    def _refused(self) -> Span:
        """A refused port is proof: of the retries the first AT_ONCE_MAX need no pause, and the sentinel's end no waiting for the first."""
        at_once = min(self._schedule.retry, AT_ONCE_MAX) if self._spec.fast_retry else 0
        span = self._noticed(min(ROUND_TRIP_S, self._limit_s), mean_s=0.0, at_once=at_once)
        return replace(span, expected_s=span.expected_s - self._sooner(0.0))

    def _silent(self) -> Span:
        """Silence ends a sentinel, too; and of a check without retries it is not believed the first time while one stands."""
        limit_s = self._limit_s + TICK_S
        span = self._noticed(limit_s, mean_s=self._limit_s + TICK_S / 2)
        if self._schedule.retry or not self._spec.sentinel:
            return replace(span, expected_s=span.expected_s - self._sooner(KEPT_ALIVE_S))
        early = max(KEPT_ALIVE_S - self._limit_s, 0.0) / (
            self._pause_s + TICK_S / 2
        )  # it is over before the sentinel is
        again_s = min(early, 1.0) * limit_s if self._watched else 0.0
        return Span(span.expected_s - self._sooner(KEPT_ALIVE_S) + again_s, span.worst_s + self._late_s + limit_s)

    def _sooner(self, hint_s: float) -> float:
        """Return by how much the first probe comes sooner, in the mean, because a sentinel ends `hint_s` after the fault."""
        pause_s = self._pause_s + TICK_S / 2
        return (pause_s - hint_s) ** 2 / (2 * pause_s) if self._watched and hint_s < pause_s else 0.0

    def _noticed(self, probe_s: float, mean_s: float, at_once: int = 0) -> Span:
        """Return how long failures that last `probe_s` at most, and `mean_s` in the mean, take to bring the check down.

        `at_once` of the retries need no pause.
        """
        probes, pauses, pause_s = self._schedule.retry + 1, self._schedule.retry - at_once, self._schedule.retry_pause
        worst = self._pause_s + self._late_s + probes * probe_s + pauses * (pause_s + self._late_s) + TOLD_S
        half_round = (self._pause_s + TICK_S / 2) / 2
        return Span(half_round + probes * mean_s + pauses * (pause_s + TICK_S / 2), worst)

    def _wrong(self) -> Span:
        """A wrong answer may come at the last moment, as may a good one that was on its way; of several urls one is asked a time."""
        span = self._noticed(self._limit_s + TICK_S, mean_s=0.0)
        others = self._one_by_one - 1
        one_round = self._pause_s + self._late_s + self._limit_s + TICK_S
        return Span(
            span.expected_s + others * (self._pause_s + TICK_S / 2) / 2,
            span.worst_s + self._limit_s + TICK_S + others * one_round,
        )

    def _script(self) -> Span:
        """A script's pauses count from its beginning, and it takes as long as it may."""
        limit_s, retries = self._limit_s + TICK_S, self._schedule.retry
        between = max(self._schedule.retry_pause, limit_s) + self._late_s
        worst = max(self._pause_s, limit_s) + self._late_s + retries * between + limit_s + TOLD_S
        return Span(self._noticed(0.0, mean_s=0.0).expected_s, worst)

    def _back(self) -> Span:
        """Return how long it takes from the end of a fault until the check is up."""
        schedule, limit_s, urls = self._schedule, self._limit_s + TICK_S, self._one_by_one
        rising = schedule.rise - 1
        parts = (
            0 if urls == 1 else urls + rising * (urls - 1)
        )  # answers that are not yet the whole (checkers.kit.turns)
        part_s = max(schedule.down_pause, schedule.delay_loop)
        pauses = schedule.down_pause + rising * schedule.rising_pause + parts * part_s
        waits = 1 + rising + parts
        worst = limit_s + pauses + waits * (self._late_s + limit_s) + TOLD_S
        return Span(pauses - schedule.down_pause / 2 + (waits - 0.5) * TICK_S / 2, worst)


# -- what a new configuration changes --------------------------------------------------------------------------------


@frozen
class DetectionChange:
    """Real servers of one virtual server whose faults are noticed otherwise than before; `before` None: they are new."""

    virtual_server: ServiceKey
    real_servers: tuple[Endpoint, ...]
    before: Detection | None
    after: Detection | None


def compare(
    old: Mapping[ServiceKey, VirtualServer],
    new: Mapping[ServiceKey, VirtualServer],
    touched: Collection[ServiceKey],
    rates: tuple[int, int],
) -> tuple[DetectionChange, ...]:
    """Return what differs between two configurations, alike ones together. `touched` are the virtual servers that differ at all; `rates`
    the most probes a second before and after.
    """
    targets: Collection[Endpoint] | None = None
    if rates[0] == rates[1]:
        found = (one.get(name) for one in (old, new) for name in touched)
        targets = {check.target for vs in found if vs for server in vs.real_servers for check in server.checks}
    before_s, after_s = (waits(one.values(), rate, targets) for one, rate in zip((old, new), rates, strict=True))
    alike: dict[tuple[ServiceKey, Detection | None, Detection | None], list[Endpoint]] = {}
    memory: dict[tuple[object, ...], Detection | None] = {}

    def seen(server: RealServer, waits_s: Mapping[Endpoint, float]) -> Detection | None:
        key = tuple(
            (
                check.type,
                check.schedule,
                check.options_json,
                check.sentinel,
                check.fast_retry,
                waits_s.get(check.target),
            )
            for check in server.checks
        )
        if key not in memory:
            memory[key] = of_server(server, waits_s)
        return memory[key]

    for name, virtual_server in new.items():
        if name not in touched and before_s == after_s:
            continue
        known = {server.endpoint: server for server in old[name].real_servers} if name in old else {}
        for server in virtual_server.real_servers:
            was = known.get(server.endpoint)
            if was is not None and was.checks == server.checks and _same(server, before_s, after_s):
                continue
            before, after = None if was is None else seen(was, before_s), seen(server, after_s)
            if before != after:
                alike.setdefault((name, before, after), []).append(server.endpoint)
    return tuple(DetectionChange(name, tuple(found), was, now) for (name, was, now), found in alike.items())


def _same(server: RealServer, before_s: Mapping[Endpoint, float], after_s: Mapping[Endpoint, float]) -> bool:
    return all(before_s.get(check.target) == after_s.get(check.target) for check in server.checks)
