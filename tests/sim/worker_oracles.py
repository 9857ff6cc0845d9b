"""What must hold of the workers, what they say of the servers, and the link to them. See `tests.sim.oracles`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import trio

from supervisor.core.events import CheckReported
from tests.sim.diary import Diary
from tests.sim.known import SLACK_S, Known
from tests.sim.ledger import Level
from tests.sim.site import FILE, HTTP, MISC, TCP, CheckKey

if TYPE_CHECKING:
    from tests.sim.stage import Stage

BACK_MAX_S = 75.0
"""A worker that was killed is back within this: it may have died several times, then it waits up to 30 s."""

YOUNG_S = 10.0
"""A worker that was just started has made its first probes, and holds its sentinels, within this."""

STANDS_STILL_MAX_S = 0.75
"""So long a host with a single place may stand still: the trial of a sentinel, and what the network adds."""

AT_ONCE_S = 5.0
"""The probe that is under way when a sentinel ends may last for its time-out, 3 s at most, and frames may come late."""


class WorkerOracles:
    """They see the weather, the workers' frames and the probes."""

    def __init__(self, stage: Stage, known: Known, diary: Diary) -> None:
        self._stage = stage
        self._known = known
        self._diary = diary

    # -- what is said of a check ------------------------------------------------------------------------------------

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
                self._diary.say("a_killed_server_is_noticed_at_once", f"{key} is still said to be UP")

    def only_what_was_seen_is_said(self, name: CheckKey, now: Level) -> None:
        """A check turns DOWN only if the server was ill within the time that noticing takes, and UP only if it was well."""
        after = trio.current_time() - self._known.bound_s() - self._stage.pace.silence
        if not self._stage.weather.has_been(name, good=now.up, after=after):
            word = "UP" if now.up else "DOWN"
            self._diary.say("only_what_was_seen_is_said", f"{name} is said to be {word}, which no probe can have found")

    def a_server_falls_after_its_retries_and_rises_after_its_successes(self, name: CheckKey, now: Level) -> None:
        """DOWN takes `retry` + 1 failures in a row, UP takes `rise` successes in a row: in a row, whatever came before."""
        if name.kind in {MISC, FILE} or len({n for _, _, n in self._stage.site.checks() if n.host == name.host}) > 1:
            return  # nobody counts there, or several checks share the count
        if any(tap.delay_s for tap in self._stage.taps.values()):
            return  # what is heard now was counted some time ago
        streak = self._stage.watched.streaks.get(name.host)
        needed = name.rise if now.up else name.retry + 1
        seen = 0 if streak is None else (streak.good if now.up else streak.bad).get(name.kind, 0)
        if seen < needed:
            self._diary.say(
                "a_server_falls_after_its_retries_and_rises_after_its_successes",
                f"{name} turned {'UP' if now.up else 'DOWN'} after {seen} of {needed} probes",
            )

    # -- the link ---------------------------------------------------------------------------------------------------

    def no_old_and_no_foreign_verdict_is_used(self, index: int, event: CheckReported) -> None:
        """What reaches the director was said by the present worker, of the present configuration, about a job of its own."""
        tap, ledger = self._stage.taps[index], self._stage.ledger
        if tap.accepted is None or event.job not in tap.accepted:
            self._diary.say("no_old_and_no_foreign_verdict_is_used", f"worker {index}: {event} out of {tap.last}")
            return
        name = tap.accepted[event.job]
        level = ledger.levels.get(name)
        if level is not None and event.health.value != "UNKNOWN" and level.up is not (event.health.value == "UP"):
            self._diary.say(
                "no_old_and_no_foreign_verdict_is_used", f"worker {index}: {event}, but it said {level} of {name}"
            )

    def who_talks_nonsense_is_ended(self, index: int, what: str) -> None:
        """After a frame that no worker of ours would send, not one more is read."""
        self._diary.say("who_talks_nonsense_is_ended", f"worker {index} went on after {what}")

    def nobody_is_ended_who_did_nothing(self, line: dict[str, Any]) -> None:
        """Nothing that a worker of ours says by itself, whatever is reloaded meanwhile, is taken for nonsense."""
        number, reason = line["worker"].rpartition("-")[2], line["reason"]
        index = int(number) if number.isdigit() else self._stage.workers  # the ward
        is_end = "silent for" in reason or reason.endswith("got the end")  # some are stopped or killed
        is_end |= reason.startswith("to be replaced")  # no descriptors, too much memory
        if not is_end and not self._stage.taps[index].nonsense:
            self._diary.say("nobody_is_ended_who_did_nothing", f"{line['worker']}: {line['reason']}")

    # -- moments of rest --------------------------------------------------------------------------------------------

    async def a_lost_worker_is_back_in_time(self) -> None:
        """All workers speak, or do so again within the time that starting them may take; this waits for it."""
        stage = self._stage
        limit_s = BACK_MAX_S + stage.pace.silence + stage.pace.beat
        for _ in range(math.ceil(limit_s / 0.5)):
            if not self._missing():
                return
            await trio.sleep(0.5)
        self._diary.say("a_lost_worker_is_back_in_time", f"workers {self._missing()} have not spoken for {limit_s:g} s")

    def _missing(self) -> list[int]:
        """The workers that should speak and do not; one that is on trial beside them (`children.pool`) may rest again."""
        desks = self._stage.ledger.desks
        return [index for index in range(self._stage.workers) if index not in desks or not desks[index].speaks]

    def nobody_stands_still_for_a_sentinel(self) -> None:
        """A host with a single place serves somebody else as soon as the trial of a sentinel shows that it has no other."""
        for host, lasted_s in self._stage.watched.stood_still().items():
            if lasted_s > STANDS_STILL_MAX_S:
                self._diary.say("nobody_stands_still_for_a_sentinel", f"host {host} stood still for {lasted_s:.2f} s")

    def no_verdict_is_stale(self) -> None:
        """When all workers speak, no verdict is marked as old."""
        for vs in self._stage.supervisor.snapshot().virtual_servers:
            for server in vs.real_servers:
                if server.stale:
                    self._diary.say("no_verdict_is_stale", f"{vs.virtual_server} {server.real_server}")
