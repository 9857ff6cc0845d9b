"""What must hold whatever happens. Each oracle is a function whose name is the promise and whose docstring says it in full.

Some look on at every step: each operation on the kernel's table, each line of the log, each frame. The others look at moments of
rest: `glance` at any moment at which the writer is done, `calm` after a time in which everything must have settled, `end` when all
faults are over.

Here is when each is asked. They stand with what they watch, in `table_oracles`, `worker_oracles` and `telling_oracles`; what all of them
judge by is `known`, and what they find is in the `diary`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import trio

from supervisor.core.events import CheckReported
from supervisor.core.table import Op, Reading, Table
from supervisor.wiring import INBOX_MAX
from tests.sim.diary import Diary
from tests.sim.known import SLACK_S, Known
from tests.sim.ledger import Level
from tests.sim.site import FILE, MISC, CheckKey
from tests.sim.table_oracles import TableOracles, about
from tests.sim.telling_oracles import TellingOracles
from tests.sim.worker_oracles import WorkerOracles

if TYPE_CHECKING:
    from tests.sim.stage import Stage


class Oracles:
    """All of them, for one life."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.diary = Diary()
        self._known = Known(stage)
        self.table = TableOracles(stage, self._known, self.diary)
        self.workers = WorkerOracles(stage, self._known, self.diary)
        self._telling = TellingOracles(stage, self._known, self.diary)
        self.calms = 0
        self.kernel_sick = False

    # -- beginnings -------------------------------------------------------------------------------------------------

    def last_life(self) -> None:
        """The supervisor ended."""
        self._known.last_life()

    def new_life(self) -> None:
        """The supervisor starts."""
        self.diary.begin()
        self.diary.note("starts")
        self.table.excuse()
        self._telling.forget()
        self._known.new_life()

    def on_reading(self, reading: Reading) -> None:
        """The kernel's table was read."""
        if self._known.found is None:
            self.table.on_first_reading(reading)
            self._known.on_first_reading(reading)

    def on_configuration(self) -> None:
        """A new configuration was taken."""
        self.diary.note("takes a new configuration")
        self._telling.forget()
        self._known.on_configuration()

    # -- every step -------------------------------------------------------------------------------------------------

    def on_level(self, name: CheckKey) -> None:
        """What a worker says of a check is different now."""
        for key, pool in self._stage.site.services():
            if any(pool.check_key(server.host, plan) == name for server in pool.servers for plan in server.checks):
                self._known.remember(key, pool)

    def on_turn(self, name: CheckKey, was: Level | None, now: Level) -> None:
        """A worker says something new of a check."""
        self.diary.note(f"hears {name.kind} of {name.host}: {'UP' if now.up else 'DOWN'} {now.weight}")
        self._known.turned_at[name] = trio.current_time()
        if not now.probed:
            return  # what a worker was told itself at its start
        if was is not None and was.up is not now.up:
            self.workers.only_what_was_seen_is_said(name, now)
            self.workers.a_server_falls_after_its_retries_and_rises_after_its_successes(name, now)

    def on_verdict(self, index: int, event: CheckReported) -> None:
        """A verdict is handed to the director."""
        self.workers.no_old_and_no_foreign_verdict_is_used(index, event)

    def on_operation(self, op: Op, before: Table, after: Table) -> None:
        """An operation of ours was carried out."""
        self.diary.note(f"writes {type(op).__name__} {about(op)}")
        self.table.nobody_elses_service_is_touched(op)
        pool = self._stage.site.pool_of(op.key)
        if pool is not None and self._stage.wishes:
            self._known.remember(op.key, pool)  # an order may have ended this very moment
        self.table.every_weight_has_its_reason(op, before)
        self.table.a_pool_that_could_serve_is_never_empty(op, before, after)

    def on_refusal(self, op: Op, word: str) -> None:
        """The table could not take an operation of ours."""
        self.diary.note(f"is refused {about(op)}: {word}")
        self.table.nothing_impossible_is_written(op, word)

    def on_line(self, line: dict[str, Any]) -> None:
        """A line of the log was written."""
        self.diary.note(
            f"says {line['event']} {line.get('real_server', line.get('virtual_server', ''))} {line.get('to', '')}"
        )
        self._telling.the_log_is_no_flood(line)
        self.table.nobody_milder_was_left_out()
        match line["event"]:
            case "real_server.state_changed":
                self._telling.each_change_is_told_once_and_in_turn(line)
            case "virtual_server.quorum_lost" | "virtual_server.quorum_gained":
                self._telling.a_quorum_changes_only_beyond_its_margins(line)
            case "real_server.removed" | "daemon.stopping":
                self._telling.forget_told()
            case "worker.protocol_error":
                self.workers.nobody_is_ended_who_did_nothing(line)
            case "real_server.drained":
                self._telling.nobody_is_let_go_who_stands_in_the_file(line)
            case "real_server.held":
                self.table.the_mildest_is_held(line)
            case "director.self_blame" | "director.self_blame_over":
                self._known.blames_itself = line["event"] == "director.self_blame"
                self._known.remember_all()
            case "kernel.drift_found" | "drift.adopted" | "drift.contested":
                self.table.nobody_is_blamed_who_did_nothing(line)
            case "library.message":
                self.diary.say("the_program_lives", str(line))
            case _:
                pass

    def on_wish(self) -> None:
        """An operator said something, or the time of what he said is over."""
        self._known.remember_all()

    # -- moments of rest --------------------------------------------------------------------------------------------

    async def glance(self) -> None:
        """Look, if this is a moment at which everything that was said is done."""
        if self._at_rest():
            self.table.the_table_is_what_file_and_verdicts_make_it()
            self.table.strangers_stand_as_they_stood()

    def _at_rest(self) -> bool:
        stage = self._stage
        if not stage.alive or self.kernel_sick or self._known.found is None:
            return False
        if not hasattr(stage.supervisor, "_director") or trio.current_time() < stage.disturbed_until + SLACK_S:
            return False
        writer = stage.supervisor._writer
        if writer._settled is not writer._wanted or stage.supervisor._inbox.statistics().current_buffer_used:
            return False
        return not any(tap.holds_news() for tap in stage.taps.values())

    async def calm(self, factor: float = 1.0) -> None:
        """Let a time pass after which everything must have settled, and look at everything."""
        stage = self._stage
        await self.workers.a_lost_worker_is_back_in_time()
        began = trio.current_time()
        wait_s = self._known.bound_s()
        await trio.sleep(max(0.0, stage.disturbed_until - began, stage.seldom_until - began) + wait_s)
        await trio.sleep(
            max(0.0, self._known.bound_s() - wait_s)
        )  # a reload that was ordered a moment before may have added checks
        wait_s = trio.current_time() - began
        if factor > 1.0:
            await self.glance()
            await trio.sleep(wait_s * (factor - 1.0))
        for _ in range(100):
            if self._at_rest() or self.diary.violations:
                break
            await trio.sleep(0.1)
        else:
            self.diary.say("it_settles", "the writer does not come to rest")
        if self.diary.violations:
            return
        self.calms += 1
        self.diary.note("rests")
        self.table.the_table_is_what_file_and_verdicts_make_it()
        self.table.strangers_stand_as_they_stood()
        self.table.the_dead_are_out_and_the_well_are_in_within_their_bound()
        self._telling.what_was_told_last_is_what_is()
        self.nothing_piles_up()
        self.workers.no_verdict_is_stale()
        self.workers.nobody_stands_still_for_a_sentinel()
        for key, pool in stage.site.services():
            self._known.recent[key] = []
            self._known.remember(key, pool)

    def nothing_piles_up(self) -> None:
        """At rest no queue holds anything, and everything that is kept has its limit."""
        supervisor = self._stage.supervisor
        if supervisor._inbox.statistics().current_buffer_used > INBOX_MAX:
            self.diary.say("nothing_piles_up", "the inbox")
        for worker in supervisor._pool.workers:
            if len(worker._asking) > len(worker._owned) or worker._granted:
                self.diary.say("nothing_piles_up", f"favours of worker {worker.index}")
        for vs in supervisor._director.virtual_servers.values():
            for server in vs.real_servers.values():
                if len(server.why) > 40:
                    self.diary.say("nothing_piles_up", f"the causes of {server.spec.endpoint}: {len(server.why)}")

    def stopped(self) -> None:
        """After a clean stop nothing of ours is left, and everything of others is."""
        if not self.kernel_sick and trio.current_time() > self._stage.disturbed_until:
            self.table.a_clean_stop_leaves_nothing_of_ours()
        self.table.strangers_stand_as_they_stood()

    async def end(self) -> None:
        """All faults are over: look at everything, and then see that it stays quiet."""
        await self.calm()
        self.table.nobody_milder_was_left_out()
        if not self.diary.violations:
            await self.it_is_quiet_when_nothing_happens()

    async def it_is_quiet_when_nothing_happens(self) -> None:
        """With the weather standing still nothing is written, nothing is said, and every server is probed as often as it should be."""
        stage = self._stage
        await trio.sleep(max(0.0, stage.seldom_until - trio.current_time()))
        ended, stood_still = stage.watched.holds_ended(), stage.watched.stood_still_times()
        ops, lines, probes = (
            len(stage.backend.history),
            Counter(line["event"] for line in stage.lines),
            stage.watched.probes,
        )
        lasts_s = 3 * max((name.longest for _, _, name in stage.site.checks()), default=1.0) + 3 * stage.pace.audit
        await trio.sleep(lasts_s)
        if len(stage.backend.history) != ops:
            self.diary.say("it_is_quiet_when_nothing_happens", f"{[about(op) for op in stage.backend.ops[ops:][:5]]}")
        again = stage.watched.stood_still_times() - stood_still
        if again and max(again.values()) > 1:
            self.diary.say(
                "it_is_quiet_when_nothing_happens", f"these stood still more than once for a sentinel: {again}"
            )
        more = Counter(line["event"] for line in stage.lines) - lines
        if more:
            self.diary.say("it_is_quiet_when_nothing_happens", f"it said {dict(more)}")
        names = {name for _, _, name in stage.site.checks() if name.kind not in {MISC, FILE}}
        most = sum(lasts_s / name.shortest + 2 for name in names)
        most += (stage.watched.holds_ended() - ended) * max(Counter(name.host for name in names).values(), default=0)
        least = sum(int(lasts_s / (name.longest + name.timeout + name.pause + 0.2)) - 1 for name in names)
        if not least <= stage.watched.probes - probes <= most:
            self.diary.say(
                "it_is_quiet_when_nothing_happens",
                f"{stage.watched.probes - probes} probes instead of {least} to {most:g}",
            )
