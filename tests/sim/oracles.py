"""What must hold whatever happens. Each oracle is a function whose name is the promise and whose docstring says it in full.

Some look on at every step: each operation on the kernel's table, each line of the log, each frame. The others look at moments of
rest: `glance` at any moment at which the writer is done, `calm` after a time in which everything must have settled, `end` when all
faults are over.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from supervisor.core.events import CheckReported
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
from supervisor.model import Endpoint, ServiceKey
from supervisor.wiring import INBOX_MAX
from tests.sim.expectation import ABSENT, Opinion, opinions
from tests.sim.ledger import Level
from tests.sim.site import DRAIN_MAX_S, FILE, HTTP, MISC, TCP, CheckKey, PoolPlan, ServerPlan

if TYPE_CHECKING:
    from tests.sim.stage import Stage

SLACK_S = 2.5
"""For everything between a probe and the kernel, where nothing is wrong: ticks of timers, latencies, a pause of the writer."""

BACK_MAX_S = 75.0
"""A worker that was killed is back within this: it may have died several times, then it waits up to 30 s."""

HELD_MAX_S = 60.0
"""Removals are held for so long, and once more, when nearly nobody answers (core.blame, ROUND_MAX_S)."""

YOUNG_S = 10.0
"""A worker that was just started has made its first probes, and holds its sentinels, within this."""

OPINIONS_MAX = 400
MEDDLED_MAX_S = 60.0
"""So long after drift was told of it may be told again: the kernel may refuse to have it repaired."""

SAME_LINES_MAX = 13

STANDS_STILL_MAX_S = 0.75
"""So long a host with a single place may stand still: the trial of a sentinel, and what the network adds."""

AT_ONCE_S = 5.0
"""The probe that is under way when a sentinel ends may last for its time-out, 3 s at most, and frames may come late."""


@dataclass(frozen=True)
class Violation:
    """A promise that was broken, when (seconds from the start), and how."""

    oracle: str
    at: float
    text: str


class Oracles:
    """All of them, for one life."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.violations: list[Violation] = []
        self.diary: list[str] = []
        self.calms = 0
        self.kernel_sick = False
        self.strangers: dict[ServiceKey, Service] = {}
        self._blames_itself = False
        """Removals are held: who is down may be in service or not."""
        self.excused_until = -math.inf
        self._meddled: dict[ServiceKey, float] = {}  # until when drift there may be somebody else's work
        self._foreign_until = -math.inf  # what somebody else did may not have been seen yet
        self._said: Counter[tuple[str, str]] = Counter()
        self._said_since = 0.0
        self._began = math.nan
        self._recent: dict[ServiceKey, list[Opinion]] = {}
        self._keys_ever: set[ServiceKey] = set()
        self._origins: dict[tuple[ServiceKey, Endpoint], str] = {}
        self._found: Table | None = None
        self._last: dict[tuple[ServiceKey, Endpoint], bool | None] = {}
        self._claims: dict[str, bool] = {}
        self._told: dict[tuple[str, str], str] = {}
        self._states: dict[tuple[str, str], str] = {}
        self._touched: set[tuple[str, str]] = set()
        self._drains: dict[ServiceKey, float] = {}
        self._leaving: dict[tuple[ServiceKey, Endpoint], float] = {}
        self._configured_at = -math.inf
        self._turned_at: dict[CheckKey, float] = {}
        self._asked: dict[tuple[ServiceKey, Endpoint], tuple[CheckKey, ...]] = {}
        """The checks of each real server."""
        self._inherited: dict[tuple[ServiceKey, Endpoint, CheckKey], Level] = {}
        """What an edited check takes over from the one whose place it takes, until a probe of its own has said something."""

    def say(self, oracle: str, text: str) -> None:
        """Note a violation. The life ends at the next moment at which it may."""
        at = trio.current_time() - self._began
        self._note(f"VIOLATION {oracle} {text}")
        if len(self.violations) < 20:
            self.violations.append(Violation(oracle, round(at, 3), text))

    def _note(self, text: str) -> None:
        self.diary.append(f"{trio.current_time() - self._began:.3f} {text}")

    # -- what is known ----------------------------------------------------------------------------------------------

    def _knows(self, key: ServiceKey, server: ServerPlan, name: CheckKey) -> Level | bool | None:
        level = self._stage.ledger.levels.get(name)
        inherited = self._inherited.get((key, server.endpoint, name))
        if inherited is not None and (level is None or not level.probed):
            return None if self._blames_itself and not inherited.up else inherited
        if level is not None:
            return None if self._blames_itself and not level.up else level
        match self._origins.get((key, server.endpoint)):
            case "serving":
                return True
            case "out":
                return False
            case "fresh" if name.alpha:
                return False
            case _:
                return None

    def _truly(self, key: ServiceKey, server: ServerPlan, name: CheckKey) -> Level | bool | None:
        del key, server
        good, weight = self._stage.weather.truth(name)
        if good is False and self._blames_itself:
            return None
        if good is None or self._stage.weather.same_since(name) > trio.current_time() - self.bound_s():
            return None
        return Level(good, weight, probed=True)

    def _opinions(self, key: ServiceKey, pool: PoolPlan, *, truly: bool = False) -> list[Opinion]:
        knows, leaving = self._truly if truly else self._knows, self._leaving_of(key)
        found = opinions(key, pool, knows, self._claims.get(str(key)), self._stage.wish_of, leaving)
        return found or opinions(key, pool, knows, None, self._stage.wish_of, leaving)

    def _leaving_of(self, key: ServiceKey) -> frozenset[Endpoint]:
        """Who left the file and may still have connections."""
        now = trio.current_time()
        return frozenset(
            endpoint for (where, endpoint), until in self._leaving.items() if where == key and now <= until
        )

    def bound_s(self) -> float:
        """Within this after the last change of anything, the kernel's table is what the weather makes of the file."""
        longest = 0.0
        for _, _, name in self._stage.site.checks():
            tries = (name.retry or 1) + 1  # without retries a time-out beside a sentinel is made again
            down = name.timeout + tries * (name.timeout + 0.1) + name.retry * (name.fast or name.pause)
            up = name.rise * (name.longest + name.timeout)
            every = 1.0 if name.kind == FILE else name.longest
            longest = max(longest, every + 1 + name.warmup + max(down, up) + 0.2 * (name.retry + name.rise))
        return longest + SLACK_S + (2 * HELD_MAX_S if self._stage.site.blames_itself else 0.0)

    def _remember(self, key: ServiceKey, pool: PoolPlan) -> None:
        seen = self._recent.setdefault(key, [])
        for opinion in self._opinions(key, pool):
            if opinion not in seen[-4:]:
                seen.append(opinion)
        del seen[:-OPINIONS_MAX]

    def _remember_all(self) -> None:
        for key, pool in self._stage.site.services():
            self._remember(key, pool)

    # -- beginnings -------------------------------------------------------------------------------------------------

    def last_life(self) -> None:
        """What was known of each real server when the supervisor ended: the next one may have kept it."""
        if not self._stage.remembers:
            self._last.clear()
        for key, pool in self._stage.site.services() if self._found is not None else ():
            for server in pool.servers:
                known = [self._knows(key, server, pool.check_key(server.host, plan)) for plan in server.checks]
                ups = [level.up if isinstance(level, Level) else level for level in known]
                self._last[key, server.endpoint] = False if False in ups else None if None in ups else True

    def new_life(self) -> None:
        """The supervisor starts."""
        if math.isnan(self._began):
            self._began = trio.current_time()
        self._note("starts")
        self.excuse()
        self._found = None
        self._blames_itself = False
        self._origins.clear()
        self._claims.clear()
        self._told.clear()
        self._states.clear()
        self._recent.clear()
        self._leaving.clear()
        self._inherited.clear()
        self._asked = self._checks_of_everybody()
        if not self._stage.remembers:
            self._keys_ever.clear()
        self._keys_ever |= {key for key, _ in self._stage.site.services()}
        self._remember_all()

    def on_reading(self, reading: Reading) -> None:
        """The first reading of a life says what each real server starts from (see `a_restart_changes_nothing`)."""
        if self._found is not None:
            return
        self._found = reading.table
        for key in self._stage.backend.table.services:
            if reading.table.services.get(key) != self._stage.backend.table.services[key]:
                self._meddled[key] = (
                    trio.current_time() + MEDDLED_MAX_S
                )  # half a reading, with nothing to compare it with
        for key, service in reading.table.services.items():
            if key in self._keys_ever and self._stage.site.pool_of(key) is None:
                for endpoint in service.destinations:
                    self._leave(key, endpoint)
        for key, pool in self._stage.site.services():
            found = reading.table.services.get(key)
            ours = {server.endpoint for server in pool.servers} | ({pool.sorry_endpoint} if pool.sorry else set())
            serving = {e for e, d in found.destinations.items() if d.weight > 0} if found else set()
            other_file = bool(serving) and not serving & ours
            for endpoint in found.destinations if found else ():
                self._leave(key, endpoint)
            origins = {server.endpoint: _origin(found, server, other_file=other_file) for server in pool.servers}
            if other_file and not pool.sorry and "serving" not in origins.values():
                origins = dict.fromkeys(origins, "changed")  # nobody would serve: a dead server is no worse than none
            for server in pool.servers:
                origin, name = origins[server.endpoint], (key, server.endpoint)
                agrees = name not in self._last or (self._last[name] is not None and self._last[name] is _SHOWS[origin])
                if self._stage.remembers and not agrees:
                    origin = "changed"  # table and memory differ: either may be right until somebody has looked
                self._origins[key, server.endpoint] = origin
        self._recent.clear()
        self._remember_all()

    def on_configuration(self) -> None:
        """A new configuration was taken: what is new starts by its rules, what changed keeps its health until it speaks itself."""
        self._note("takes a new configuration")
        self._configured_at = trio.current_time()
        self._inherit()
        self._stage.ledger.forget_all_but({name for _, _, name in self._stage.site.checks()})
        self._touched.clear()
        self._told.clear()
        self._states.clear()
        known = {(key, endpoint) for key, endpoint in self._origins}
        for key, pool in self._stage.site.services():
            fresh_pool = key not in self._recent
            self._keys_ever.add(key)
            for server in pool.servers:
                if (key, server.endpoint) in known and not fresh_pool:
                    self._origins[key, server.endpoint] = "changed"
                else:
                    self._origins[key, server.endpoint] = "fresh"
        self._claims = {}
        there = {
            (key, endpoint)
            for key, service in self._stage.backend.table.services.items()
            for endpoint in service.destinations
            if key in self._keys_ever
        }
        for key, endpoint in sorted(known | there, key=str):
            self._leave(key, endpoint)
        self._remember_all()

    def _checks_of_everybody(self) -> dict[tuple[ServiceKey, Endpoint], tuple[CheckKey, ...]]:
        return {
            (key, server.endpoint): tuple(pool.check_key(server.host, plan) for plan in server.checks)
            for key, pool in self._stage.site.services()
            for server in pool.servers
        }

    def _inherit(self) -> None:
        """An edited check neither revives a dead server nor takes a live one out, where it is plain whose place it takes."""
        before, self._asked = self._asked, self._checks_of_everybody()
        known = {(who, name): self._settled_level(who, name) for who, names in before.items() for name in names}
        heirs: dict[CheckKey, set[Level | None]] = {}
        for who, names in self._asked.items():
            gone = [name for name in before.get(who, ()) if name not in names]
            for name in names:  # equal checks of several servers are one job: what one of them inherits, all hear
                places = {known[who, other] for other in gone if other.kind == name.kind} or {None}
                goes_on = {self._inherited.get((*who, name))}
                heirs.setdefault(name, set()).update(goes_on if name in before.get(who, ()) else places)
        plain = {name: next(iter(found)) for name, found in heirs.items() if len(found) == 1}
        self._inherited = {
            (*who, name): level
            for who, names in self._asked.items()
            for name in names
            if (level := plain.get(name)) is not None
        }

    def _settled_level(self, who: tuple[ServiceKey, Endpoint], name: CheckKey) -> Level | None:
        """What the program has had time to take in of a check; None: nothing that is certain."""
        level, inherited = self._stage.ledger.levels.get(name), self._inherited.get((*who, name))
        if self._blames_itself or trio.current_time() < self._turned_at.get(name, -math.inf) + SLACK_S:
            return None
        if level is not None and level.probed:
            return level
        return inherited

    def _leave(self, key: ServiceKey, endpoint: Endpoint) -> None:
        """A destination may stand at weight 0 until its connections are gone, or its time is over."""
        pool = self._stage.site.pool_of(key)
        lasts_s = DRAIN_MAX_S if pool is None else max(pool.drain, self._drains.get(key, 0.0))
        self._leaving[key, endpoint] = trio.current_time() + lasts_s + SLACK_S

    # -- every step -------------------------------------------------------------------------------------------------

    def on_level(self, name: CheckKey) -> None:
        """What a worker says of a check is different now."""
        for key, pool in self._stage.site.services():
            if any(pool.check_key(server.host, plan) == name for server in pool.servers for plan in server.checks):
                self._remember(key, pool)

    def on_turn(self, name: CheckKey, was: Level | None, now: Level) -> None:
        """A worker says something new of a check."""
        self._note(f"hears {name.kind} of {name.host}: {'UP' if now.up else 'DOWN'} {now.weight}")
        self._turned_at[name] = trio.current_time()
        if not now.probed:
            return  # what a worker was told itself at its start
        if was is not None and was.up is not now.up:
            self.only_what_was_seen_is_said(name, now)
            self.a_server_falls_after_its_retries_and_rises_after_its_successes(name, now)

    def on_weather(self, host: int, name: str, watched: bool) -> None:
        """A host is about to do something else; `watched`: a sentinel stands there."""
        stage = self._stage
        if name != "refuse" or not watched or stage.disturbed_until + SLACK_S > trio.current_time():
            return
        ups = [
            key
            for key, level in stage.ledger.levels.items()
            if key.kind in {HTTP, TCP} and key.host == host and level.up
        ]
        since = trio.current_time()
        if stage.weather.was(host, "no descriptor", after=since - 2 * max((key.delay_loop for key in ups), default=0)):
            return  # what the last probe said of us and not of the host has its own time
        stage.after(AT_ONCE_S, lambda: self.a_killed_server_is_noticed_at_once(host, ups, since))

    def a_killed_server_is_noticed_at_once(self, host: int, ups: Sequence[CheckKey], since: float) -> None:
        """A host that had a sentinel, and refuses since, is down after all its retries long before a probe was due."""
        stage = self._stage
        same = stage.weather.state_of(host) == ("refuse", since) and stage.disturbed_until < since
        same = same and stage.ledger.speaking_since() < since - YOUNG_S  # a young worker has looked at nobody yet
        for key in ups if same and stage.alive and not self._missing() else ():
            level = stage.ledger.levels.get(key)
            if level is not None and level.up:
                self.say("a_killed_server_is_noticed_at_once", f"{key} is still said to be UP")

    def only_what_was_seen_is_said(self, name: CheckKey, now: Level) -> None:
        """A check turns DOWN only if the server was ill within the time that noticing takes, and UP only if it was well."""
        after = trio.current_time() - self.bound_s() - self._stage.pace.silence
        if not self._stage.weather.has_been(name, good=now.up, after=after):
            word = "UP" if now.up else "DOWN"
            self.say("only_what_was_seen_is_said", f"{name} is said to be {word}, which no probe can have found")

    def a_server_falls_after_its_retries_and_rises_after_its_successes(self, name: CheckKey, now: Level) -> None:
        """DOWN takes `retry` + 1 failures in a row, UP takes `rise` successes in a row: in a row, whatever came before."""
        if name.kind in {MISC, FILE} or len({n for _, _, n in self._stage.site.checks() if n.host == name.host}) > 1:
            return  # nobody counts there, or several checks share the count
        streak = self._stage.watched.streaks.get(name.host)
        needed = name.rise if now.up else name.retry + 1
        seen = 0 if streak is None else (streak.good if now.up else streak.bad).get(name.kind, 0)
        if seen < needed:
            self.say(
                "a_server_falls_after_its_retries_and_rises_after_its_successes",
                f"{name} turned {'UP' if now.up else 'DOWN'} after {seen} of {needed} probes",
            )

    def on_verdict(self, index: int, event: CheckReported) -> None:
        """A verdict is handed to the director."""
        self.no_old_and_no_foreign_verdict_is_used(index, event)

    def no_old_and_no_foreign_verdict_is_used(self, index: int, event: CheckReported) -> None:
        """What reaches the director was said by the present worker, of the present configuration, about a job of its own."""
        tap, ledger = self._stage.taps[index], self._stage.ledger
        if tap.accepted is None or event.job not in tap.accepted:
            self.say("no_old_and_no_foreign_verdict_is_used", f"worker {index}: {event} out of {tap.last}")
            return
        name = tap.accepted[event.job]
        level = ledger.levels.get(name)
        if level is not None and event.health.value != "UNKNOWN" and level.up is not (event.health.value == "UP"):
            self.say("no_old_and_no_foreign_verdict_is_used", f"worker {index}: {event}, but it said {level} of {name}")

    def on_operation(self, op: Op, before: Table, after: Table) -> None:
        """An operation of ours was carried out."""
        self._note(f"writes {type(op).__name__} {_about(op)}")
        self.nobody_elses_service_is_touched(op)
        pool = self._stage.site.pool_of(op.key)
        if pool is not None and self._stage.wishes:
            self._remember(op.key, pool)  # an order may have ended this very moment
        self.every_weight_has_its_reason(op, before)
        self.a_pool_that_could_serve_is_never_empty(op, before, after)

    def on_refusal(self, op: Op, word: str) -> None:
        """The table could not take an operation of ours."""
        self._note(f"is refused {_about(op)}: {word}")
        self.nothing_impossible_is_written(op, word)

    def nothing_impossible_is_written(self, op: Op, word: str) -> None:
        """Nothing is added that is there, and nothing is changed or deleted that is not, unless somebody else was at it, or the kernel
        was in trouble: half a reading alone is no reason to write.
        """
        if trio.current_time() > self.excused_until:
            self.say("nothing_impossible_is_written", f"{_about(op)}: {word}")

    def excuse(self, seconds: float = 0.0) -> None:
        """For so long, and a little more, the program cannot know the table."""
        until = trio.current_time() + seconds + 2 * self._stage.pace.audit + 5
        self.excused_until = max(self.excused_until, until)

    def nobody_elses_service_is_touched(self, op: Op) -> None:
        """Only services that a file of ours has named are written."""
        if op.key not in self._keys_ever:
            self.say("nobody_elses_service_is_touched", str(op))

    def every_weight_has_its_reason(self, op: Op, before: Table) -> None:
        """Each weight that is written is backed by the file and by what live workers said since the table last was right."""
        if self._stage.stopping:
            return
        recent = self._recent.get(op.key, [])
        match op:
            case AddDestination(destination=d) | ChangeDestination(destination=d):
                endpoint, weight = d.endpoint, d.weight
            case DeleteDestination(endpoint=endpoint):
                weight = ABSENT
            case DeleteService():
                if self._stage.site.pool_of(op.key):
                    self.say("every_weight_has_its_reason", f"{op}: it stands in the file")
                return
            case _:
                return
        may_be_gone = self._stage.site.pool_of(op.key) is None or trio.current_time() < self._configured_at + SLACK_S
        if may_be_gone and endpoint in self._leaving_of(op.key) and weight <= 0:
            return
        if not any(opinion.allows(endpoint, weight) for opinion in recent):
            there = before.services[op.key].destinations.get(endpoint) if op.key in before.services else None
            self.say(
                "every_weight_has_its_reason",
                f"{_about(op)} (was {there.weight if there else None}); allowed: {[_readable(o) for o in recent[-3:]]}",
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
        recent = self._recent.get(op.key, [])
        if recent and not any(opinion.allows_emptiness() for opinion in recent):
            self.say("a_pool_that_could_serve_is_never_empty", f"after {_about(op)}")

    def on_line(self, line: dict[str, Any]) -> None:
        """A line of the log was written."""
        self._note(
            f"says {line['event']} {line.get('real_server', line.get('virtual_server', ''))} {line.get('to', '')}"
        )
        self.the_log_is_no_flood(line)
        match line["event"]:
            case "real_server.state_changed":
                self.each_change_is_told_once_and_in_turn(line)
            case "virtual_server.quorum_lost" | "virtual_server.quorum_gained":
                self.a_quorum_changes_only_beyond_its_margins(line)
            case "real_server.removed" | "daemon.stopping":
                self._told.clear()
            case "worker.protocol_error":
                self.nobody_is_ended_who_did_nothing(line)
            case "real_server.drained":
                self.nobody_is_let_go_who_stands_in_the_file(line)
            case "director.self_blame" | "director.self_blame_over":
                self._blames_itself = line["event"] == "director.self_blame"
                self._remember_all()
            case "kernel.drift_found" | "drift.adopted" | "drift.contested":
                self.nobody_is_blamed_who_did_nothing(line)
            case "library.message":
                self.say("the_program_lives", str(line))
            case _:
                pass

    def the_log_is_no_flood(self, line: dict[str, Any]) -> None:
        """The same line comes at most a dozen times in a second, whatever fails and however often it is tried."""
        now = trio.current_time()
        if now >= self._said_since + 1.0:
            self._said.clear()
            self._said_since = now
        same = line["event"], line["message"]
        self._said[same] += 1
        if self._said[same] == SAME_LINES_MAX:
            self.say("the_log_is_no_flood", str(same))

    def each_change_is_told_once_and_in_turn(self, line: dict[str, Any]) -> None:
        """UP and DOWN of a real server are told by turns, from one state to the other and never to the same one."""
        who, to = (line["virtual_server"], line["real_server"]), line["to"]
        last = self._told.get(who)
        if last == to or line["from"] == to:
            self.say("each_change_is_told_once_and_in_turn", f"{who} went {to} twice")
        self._told[who] = to
        self._touched.add(who)

    def who_talks_nonsense_is_ended(self, index: int, what: str) -> None:
        """After a frame that no worker of ours would send, not one more is read."""
        self.say("who_talks_nonsense_is_ended", f"worker {index} went on after {what}")

    def nobody_is_ended_who_did_nothing(self, line: dict[str, Any]) -> None:
        """Nothing that a worker of ours says by itself, whatever is reloaded meanwhile, is taken for nonsense."""
        number, reason = line["worker"].rpartition("-")[2], line["reason"]
        index = int(number) if number.isdigit() else self._stage.workers  # the ward
        is_end = "silent for" in reason or reason.endswith("got the end")  # some are stopped or killed
        is_end |= reason.startswith("to be replaced")  # no descriptors, too much memory
        if not is_end and not self._stage.taps[index].nonsense:
            self.say("nobody_is_ended_who_did_nothing", f"{line['worker']}: {line['reason']}")

    def nobody_is_let_go_who_stands_in_the_file(self, line: dict[str, Any]) -> None:
        """Only a real server that left the file is on its way out; one that came back into it is not."""
        who = line["virtual_server"], line["real_server"]
        if any(
            who == (str(key), str(server.endpoint))
            for key, pool in self._stage.site.services()
            for server in pool.servers
        ):
            self.say("nobody_is_let_go_who_stands_in_the_file", f"{who}: {line['message']}")

    def nobody_is_blamed_who_did_nothing(self, line: dict[str, Any]) -> None:
        """Drift is what somebody else wrote: never what we wrote, were refused, or do not know the outcome of."""
        now, name = trio.current_time(), line["virtual_server"]
        suspects = [key for key, until in self._meddled.items() if now <= until and name in {None, str(key)}]
        if not suspects:
            self.say("nobody_is_blamed_who_did_nothing", f"{line['event']} {name}: {line['message']}")
        for key in suspects:
            self._meddled[key] = min(self._meddled[key], now + MEDDLED_MAX_S)

    def a_quorum_changes_only_beyond_its_margins(self, line: dict[str, Any]) -> None:
        """Lost below quorum minus hysteresis (or with nothing left), gained at quorum plus hysteresis."""
        gained = line["event"].endswith("gained")
        weight, quorum, hysteresis = line["weight_up"], line["quorum"], line["hysteresis"]
        right = weight >= quorum + hysteresis if gained else weight == 0 or weight < quorum - hysteresis
        at_start = line.get("at_start") and not gained
        if not right and not at_start and line["cause_id"] is not None:
            self.say("a_quorum_changes_only_beyond_its_margins", str(line))
        name = line["virtual_server"]
        if self._claims.get(name) is gained:
            self.say(
                "each_change_is_told_once_and_in_turn", f"{name}: the quorum was {'gained' if gained else 'lost'} twice"
            )
        self._claims[name] = gained
        for key, pool in self._stage.site.services():
            if str(key) == name:
                self._remember(key, pool)

    def on_wish(self) -> None:
        """An operator said something, or the time of what he said is over."""
        self._remember_all()

    def on_meddling(self, ops: Sequence[Op]) -> None:
        """Somebody else writes into our services."""
        self.excuse()
        self._foreign_until = trio.current_time() + 2 * self._stage.pace.audit + SLACK_S
        for op in ops:
            self._note(f"somebody writes {_about(op)}")
            self.strangers.pop(op.key, None)
            self._meddled[op.key] = math.inf

    # -- moments of rest --------------------------------------------------------------------------------------------

    async def glance(self) -> None:
        """Look, if this is a moment at which everything that was said is done."""
        if self._at_rest():
            self.the_table_is_what_file_and_verdicts_make_it()
            self.strangers_stand_as_they_stood()

    def _at_rest(self) -> bool:
        stage = self._stage
        if not stage.alive or self.kernel_sick or self._found is None or not hasattr(stage.supervisor, "_director"):
            return False
        if trio.current_time() < stage.disturbed_until + SLACK_S:
            return False
        writer = stage.supervisor._writer
        if writer._settled is not writer._wanted or stage.supervisor._inbox.statistics().current_buffer_used:
            return False
        return not any(tap.holds_news() for tap in stage.taps.values())

    async def calm(self, factor: float = 1.0) -> None:
        """Let a time pass after which everything must have settled, and look at everything."""
        stage = self._stage
        await self._workers_are_back()
        wait_s = max(0.0, stage.disturbed_until - trio.current_time()) + self.bound_s()
        await trio.sleep(wait_s)
        if factor > 1.0:
            await self.glance()
            await trio.sleep(wait_s * (factor - 1.0))
        for _ in range(100):
            if self._at_rest() or self.violations:
                break
            await trio.sleep(0.1)
        else:
            self.say("it_settles", "the writer does not come to rest")
        if self.violations:
            return
        self.calms += 1
        self._note("rests")
        self.the_table_is_what_file_and_verdicts_make_it()
        self.strangers_stand_as_they_stood()
        self.the_dead_are_out_and_the_well_are_in_within_their_bound()
        self.what_was_told_last_is_what_is()
        self.nothing_piles_up()
        self.no_verdict_is_stale()
        self.nobody_stands_still_for_a_sentinel()
        for key, pool in stage.site.services():
            self._recent[key] = []
            self._remember(key, pool)

    def nobody_stands_still_for_a_sentinel(self) -> None:
        """A host with a single place serves somebody else as soon as the trial of a sentinel shows that it has no other."""
        for host, lasted_s in self._stage.watched.stood_still().items():
            if lasted_s > STANDS_STILL_MAX_S:
                self.say("nobody_stands_still_for_a_sentinel", f"host {host} stood still for {lasted_s:.2f} s")

    async def _workers_are_back(self) -> None:
        """Wait until all workers speak again."""
        stage = self._stage
        limit_s = BACK_MAX_S + stage.pace.silence + stage.pace.beat
        for _ in range(math.ceil(limit_s / 0.5)):
            if not self._missing():
                return
            await trio.sleep(0.5)
        self.say("a_lost_worker_is_back_in_time", f"workers {self._missing()} have not spoken for {limit_s:g} s")

    def _missing(self) -> list[int]:
        """The workers that should speak and do not; one that is on trial beside them (`children.pool`) may rest again."""
        desks = self._stage.ledger.desks
        return [index for index in range(self._stage.workers) if index not in desks or not desks[index].speaks]

    def the_table_is_what_file_and_verdicts_make_it(self) -> None:
        """At rest, each service of the file stands exactly as the file and the verdicts of live workers make it, and no other of ours."""
        table = self._stage.backend.table
        for key, pool in self._stage.site.services():
            self._compare(key, table, self._opinions(key, pool), "the_table_is_what_file_and_verdicts_make_it")
        for key in table.services:
            ours = key in self._keys_ever and key not in self.strangers
            if ours and self._stage.site.pool_of(key) is None and not self._leaving_of(key):
                self.say("the_table_is_what_file_and_verdicts_make_it", f"{key} is still there and in no file")

    def the_dead_are_out_and_the_well_are_in_within_their_bound(self) -> None:
        """A server that has been dead, or well, for longer than noticing takes is out of, or in, the table. This one asks nobody:
        it compares the kernel with what the servers really do.
        """
        table = self._stage.backend.table
        for key, pool in self._stage.site.services():
            self._compare(
                key,
                table,
                self._opinions(key, pool, truly=True),
                "the_dead_are_out_and_the_well_are_in_within_their_bound",
            )

    def _compare(self, key: ServiceKey, table: Table, allowed: Sequence[Opinion], oracle: str) -> None:
        service = table.services.get(key)
        if service is None:
            self.say(oracle, f"{key} is missing")
        elif not any(opinion.fits(service) for opinion in allowed):
            there = {str(endpoint): d.weight for endpoint, d in service.destinations.items()}
            self.say(oracle, f"{key}: {there}; allowed: {[_readable(o) for o in allowed]}")

    def strangers_stand_as_they_stood(self) -> None:
        """A service that is not ours stands as its owner left it."""
        for key, service in self.strangers.items():
            if self._stage.backend.table.services.get(key) != service:
                self.say("strangers_stand_as_they_stood", str(key))

    def what_was_told_last_is_what_is(self) -> None:
        """What people were told last of a real server is how it is; and who changed between two moments of rest was told of."""
        states: dict[tuple[str, str], str] = {}
        for key, pool in self._stage.site.services():
            for server in pool.servers:
                known = [self._knows(key, server, pool.check_key(server.host, plan)) for plan in server.checks]
                if not known or not all(isinstance(level, Level) for level in known):
                    continue
                who = str(key), str(server.endpoint)
                states[who] = "UP" if all(isinstance(level, Level) and level.up for level in known) else "DOWN"
                told, before = self._told.get(who), self._states.get(who)
                if told is not None and told != states[who]:
                    self.say("what_was_told_last_is_what_is", f"{who} is {states[who]}, but {told} was told last")
                if before is not None and before != states[who] and who not in self._touched:
                    self.say(
                        "what_was_told_last_is_what_is",
                        f"{who} went from {before} to {states[who]} and nobody was told",
                    )
        self._states = states
        self._touched.clear()

    def nothing_piles_up(self) -> None:
        """At rest no queue holds anything, and everything that is kept has its limit."""
        supervisor = self._stage.supervisor
        if supervisor._inbox.statistics().current_buffer_used > INBOX_MAX:
            self.say("nothing_piles_up", "the inbox")
        for worker in supervisor._pool.workers:
            if len(worker._asking) > len(worker._owned) or worker._granted:
                self.say("nothing_piles_up", f"favours of worker {worker.index}")
        for vs in supervisor._director.virtual_servers.values():
            for server in vs.real_servers.values():
                if len(server.why) > 40:
                    self.say("nothing_piles_up", f"the causes of {server.spec.endpoint}: {len(server.why)}")

    def no_verdict_is_stale(self) -> None:
        """When all workers speak, no verdict is marked as old."""
        for vs in self._stage.supervisor.snapshot().virtual_servers:
            for server in vs.real_servers:
                if server.stale:
                    self.say("no_verdict_is_stale", f"{vs.virtual_server} {server.real_server}")

    def stopped(self) -> None:
        """After a clean stop nothing of ours is left, and everything of others is."""
        table = self._stage.backend.table
        if not self.kernel_sick and trio.current_time() > self._stage.disturbed_until:
            for key in table.services:
                if key in self._keys_ever and key not in self.strangers:
                    self.say("a_clean_stop_leaves_nothing_of_ours", str(key))
        self.strangers_stand_as_they_stood()

    async def end(self) -> None:
        """All faults are over: look at everything, and then see that it stays quiet."""
        await self.calm()
        if not self.violations:
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
            self.say("it_is_quiet_when_nothing_happens", f"{[_about(op) for op in stage.backend.ops[ops:][:5]]}")
        again = stage.watched.stood_still_times() - stood_still
        if again and max(again.values()) > 1:
            self.say("it_is_quiet_when_nothing_happens", f"these stood still more than once for a sentinel: {again}")
        more = Counter(line["event"] for line in stage.lines) - lines
        if more:
            self.say("it_is_quiet_when_nothing_happens", f"it said {dict(more)}")
        names = {name for _, _, name in stage.site.checks() if name.kind not in {MISC, FILE}}
        most = sum(lasts_s / name.shortest + 2 for name in names)
        most += (stage.watched.holds_ended() - ended) * max(Counter(name.host for name in names).values(), default=0)
        least = sum(int(lasts_s / (name.longest + name.timeout + name.pause + 0.2)) - 1 for name in names)
        if not least <= stage.watched.probes - probes <= most:
            self.say(
                "it_is_quiet_when_nothing_happens",
                f"{stage.watched.probes - probes} probes instead of {least} to {most:g}",
            )


def _origin(found: Service | None, server: ServerPlan, *, other_file: bool) -> str:
    """A restart changes nothing: who serves goes on serving and who is out stays out, until a probe has said something else."""
    if found is None or not found.destinations:
        return "fresh"
    there = found.destinations.get(server.endpoint)
    if there is None:
        return "fresh" if server.inhibit or other_file else "out"
    return "out" if there.weight == 0 and server.weight > 0 else "serving"


_SHOWS = {"fresh": None, "changed": None, "serving": True, "out": False}


def _serves(service: Service) -> bool:
    return any(destination.weight > 0 for destination in service.destinations.values())


def _about(op: Op) -> str:
    match op:
        case AddDestination(key, d) | ChangeDestination(key, d):
            return f"{type(op).__name__} {key} {d.endpoint} weight {d.weight}"
        case DeleteDestination(key, endpoint):
            return f"{type(op).__name__} {key} {endpoint}"
        case _:
            return f"{type(op).__name__} {op.key}"


def _readable(opinion: Opinion) -> dict[str, Any]:
    return {"quorate": opinion.quorate, **{str(e): sorted(allowed) for e, allowed in opinion.weights.items()}}
