"""What must hold of the kernel's table. See `tests.sim.oracles`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import trio

from supervisor.core.table import (
    AddDestination,
    ChangeDestination,
    DeleteDestination,
    DeleteService,
    Op,
    Reading,
    Service,
    Table,
)
from supervisor.model import ServiceKey
from tests.sim.diary import Diary
from tests.sim.expectation import ABSENT, Opinion
from tests.sim.guarding import UNREACHABLE, worth_of
from tests.sim.known import SLACK_S, Known
from tests.sim.ledger import Level

if TYPE_CHECKING:
    from tests.sim.stage import Stage

MEDDLED_MAX_S = 60.0
"""So long after drift was told of it may be told again: the kernel may refuse to have it repaired."""


class TableOracles:
    """They see each operation on the kernel's table, and the table itself."""

    def __init__(self, stage: Stage, known: Known, diary: Diary) -> None:
        self._stage = stage
        self._known = known
        self._diary = diary
        self.strangers: dict[ServiceKey, Service] = {}
        self._excused_until = -math.inf
        self._meddled: dict[ServiceKey, float] = {}  # until when drift there may be somebody else's work
        self._foreign_until = -math.inf  # what somebody else did may not have been seen yet
        self._left_out: dict[tuple[str, str], tuple[float, str]] = {}  # who should have been held, and since when
        self._held_at, self._held_now = -math.inf, set[tuple[str, str]]()  # who was held at one stroke

    # -- what others do ---------------------------------------------------------------------------------------------

    def excuse(self, seconds: float = 0.0) -> None:
        """For so long, and a little more, the program cannot know the table."""
        until = trio.current_time() + seconds + 2 * self._stage.pace.audit + 5
        self._excused_until = max(self._excused_until, until)

    def on_meddling(self, ops: Sequence[Op]) -> None:
        """Somebody else writes into our services."""
        self.excuse()
        self._foreign_until = trio.current_time() + 2 * self._stage.pace.audit + SLACK_S
        for op in ops:
            self._diary.note(f"somebody writes {about(op)}")
            self.strangers.pop(op.key, None)
            self._meddled[op.key] = math.inf

    def on_first_reading(self, reading: Reading) -> None:
        """Half a reading, with nothing to compare it with, shows drift where there is none."""
        for key, service in self._stage.backend.table.services.items():
            if reading.table.services.get(key) != service:
                self._meddled[key] = trio.current_time() + MEDDLED_MAX_S

    # -- every step -------------------------------------------------------------------------------------------------

    def nothing_impossible_is_written(self, op: Op, word: str) -> None:
        """Nothing is added that is there, and nothing is changed or deleted that is not, unless somebody else was at it, or the kernel
        was in trouble: half a reading alone is no reason to write.
        """
        if trio.current_time() > self._excused_until:
            self._diary.say("nothing_impossible_is_written", f"{about(op)}: {word}")

    def nobody_elses_service_is_touched(self, op: Op) -> None:
        """Only services that a file of ours has named are written."""
        if op.key not in self._known.keys_ever:
            self._diary.say("nobody_elses_service_is_touched", str(op))

    def every_weight_has_its_reason(self, op: Op, before: Table) -> None:
        """Each weight that is written is backed by the file and by what live workers said since the table last was right."""
        if self._stage.stopping:
            return
        recent = self._known.recent.get(op.key, [])
        match op:
            case AddDestination(destination=d) | ChangeDestination(destination=d):
                endpoint, weight = d.endpoint, d.weight
            case DeleteDestination(endpoint=endpoint):
                weight = ABSENT
            case DeleteService():
                if self._stage.site.pool_of(op.key):
                    self._diary.say("every_weight_has_its_reason", f"{op}: it stands in the file")
                return
            case _:
                return
        may_be_gone = (
            self._stage.site.pool_of(op.key) is None or trio.current_time() < self._known.configured_at + SLACK_S
        )
        if may_be_gone and endpoint in self._known.leaving_of(op.key) and weight <= 0:
            return
        if not any(opinion.allows(endpoint, weight) for opinion in recent):
            there = before.services[op.key].destinations.get(endpoint) if op.key in before.services else None
            self._diary.say(
                "every_weight_has_its_reason",
                f"{about(op)} (was {there.weight if there else None}); allowed: {[_readable(o) for o in recent[-3:]]}",
            )

    def a_pool_that_could_serve_is_never_empty(self, op: Op, before: Table, after: Table) -> None:
        """Not after a single operation, if a server that is not known to be dead, or a sorry server, could have served instead."""
        was, now = before.services.get(op.key), after.services.get(op.key)
        if was is None or not _serves(was) or (now is not None and _serves(now)) or self._stage.stopping:
            return
        if trio.current_time() < self._foreign_until:
            return  # the last one goes, because somebody else took those away that should have stayed
        if self._stage.site.pool_of(op.key) is None:
            return
        recent = self._known.recent.get(op.key, [])
        if recent and not any(opinion.allows_emptiness() for opinion in recent):
            self._diary.say("a_pool_that_could_serve_is_never_empty", f"after {about(op)}")

    def nobody_is_blamed_who_did_nothing(self, line: dict[str, Any]) -> None:
        """Drift is what somebody else wrote: never what we wrote, were refused, or do not know the outcome of."""
        now, name = trio.current_time(), line["virtual_server"]
        suspects = [key for key, until in self._meddled.items() if now <= until and name in {None, str(key)}]
        if not suspects:
            self._diary.say("nobody_is_blamed_who_did_nothing", f"{line['event']} {name}: {line['message']}")
        for key in suspects:
            self._meddled[key] = min(self._meddled[key], now + MEDDLED_MAX_S)

    def the_mildest_is_held(self, line: dict[str, Any]) -> None:
        """Where the guard begins to hold a server, none that would do as well, fails less badly and has done so for a while is left out.

        All that it begins to hold at one stroke are told one after another: who is left out is known a moment later.
        """
        stage, known, now = self._stage, self._known, trio.current_time()
        if now != self._held_at:
            self._held_at, self._held_now = now, set()
        self._held_now.add((line["virtual_server"], line["real_server"]))
        self._left_out.pop((line["virtual_server"], line["real_server"]), None)
        pools = [(key, pool) for key, pool in stage.site.services() if str(key) == line["virtual_server"]]
        if line["held_by"] != "guard" or known.blames_itself or not pools:
            return
        key, pool = pools[0]
        held = next((server for server in pool.servers if str(server.endpoint) == line["real_server"]), None)
        bad = known.appraise(key, pool, held)[1] if held else None
        if held is None or bad is None or stage.wish_of(key, held.endpoint):
            return
        if any(plan.dynamic or plan.factor for plan in held.checks):
            return  # nobody knows what it is worth
        worth = worth_of(pool.min_healthy, held.weight)
        service = stage.backend.table.services.get(key)
        serving = {endpoint for endpoint, d in service.destinations.items() if d.weight} if service else set()
        for other in pool.servers:
            names = [pool.check_key(other.host, plan) for plan in other.checks]
            settled = all(known.said_at(name) < now - SLACK_S for name in names)
            if other.endpoint in serving or worth_of(pool.min_healthy, other.weight) != worth or not settled:
                continue
            if (str(key), str(other.endpoint)) in self._held_now:
                continue
            if stage.wish_of(key, other.endpoint) or any(name.dynamic or name.factor for name in names):
                continue
            levels = [known.knows(key, other, name) for name in names]
            down = any(isinstance(level, Level) and not level.up for level in levels)
            proven, milder = known.appraise(key, pool, other)
            if down and proven and milder is not None and milder < min(bad, UNREACHABLE):
                text = f"{key}: {held.endpoint} ({bad}) and not {other.endpoint} ({milder})"
                self._left_out[str(key), str(other.endpoint)] = now, text

    def nobody_milder_was_left_out(self) -> None:
        """Say what was found at an earlier moment and not explained by another line of that moment."""
        for who, (at, text) in [*self._left_out.items()]:
            if at < trio.current_time():
                del self._left_out[who]
                self._diary.say("the_mildest_is_held", text)

    # -- moments of rest --------------------------------------------------------------------------------------------

    def the_table_is_what_file_and_verdicts_make_it(self) -> None:
        """At rest, each service of the file stands exactly as the file and the verdicts of live workers make it, and no other of ours."""
        table = self._stage.backend.table
        for key, pool in self._stage.site.services():
            self._compare(key, table, self._known.opinions(key, pool), "the_table_is_what_file_and_verdicts_make_it")
        for key in table.services:
            ours = key in self._known.keys_ever and key not in self.strangers
            if ours and self._stage.site.pool_of(key) is None and not self._known.leaving_of(key):
                self._diary.say("the_table_is_what_file_and_verdicts_make_it", f"{key} is still there and in no file")

    def the_dead_are_out_and_the_well_are_in_within_their_bound(self) -> None:
        """A server that has been dead, or well, for longer than noticing takes is out of, or in, the table. This one asks nobody:
        it compares the kernel with what the servers really do.
        """
        table = self._stage.backend.table
        for key, pool in self._stage.site.services():
            self._compare(
                key,
                table,
                self._known.opinions(key, pool, truly=True),
                "the_dead_are_out_and_the_well_are_in_within_their_bound",
            )

    def _compare(self, key: ServiceKey, table: Table, allowed: Sequence[Opinion], oracle: str) -> None:
        service = table.services.get(key)
        if service is None:
            self._diary.say(oracle, f"{key} is missing")
        elif not any(opinion.fits(service) for opinion in allowed):
            there = {str(endpoint): d.weight for endpoint, d in service.destinations.items()}
            self._diary.say(oracle, f"{key}: {there}; allowed: {[_readable(o) for o in allowed]}")

    def strangers_stand_as_they_stood(self) -> None:
        """A service that is not ours stands as its owner left it."""
        for key, service in self.strangers.items():
            if self._stage.backend.table.services.get(key) != service:
                self._diary.say("strangers_stand_as_they_stood", str(key))

    def a_clean_stop_leaves_nothing_of_ours(self) -> None:
        """No service that a file of ours has named is left when the program has ended as it should."""
        for key in self._stage.backend.table.services:
            if key in self._known.keys_ever and key not in self.strangers:
                self._diary.say("a_clean_stop_leaves_nothing_of_ours", str(key))


def _serves(service: Service) -> bool:
    return any(destination.weight > 0 for destination in service.destinations.values())


def about(op: Op) -> str:
    """Return an operation in a few words."""
    match op:
        case AddDestination(key, d) | ChangeDestination(key, d):
            return f"{type(op).__name__} {key} {d.endpoint} weight {d.weight}"
        case DeleteDestination(key, endpoint):
            return f"{type(op).__name__} {key} {endpoint}"
        case _:
            return f"{type(op).__name__} {op.key}"


def _readable(opinion: Opinion) -> dict[str, Any]:
    return {"quorate": opinion.quorate, **{str(e): sorted(allowed) for e, allowed in opinion.weights.items()}}
