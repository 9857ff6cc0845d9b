"""What must hold of what people are told. See `tests.sim.oracles`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import trio

from tests.sim.diary import Diary
from tests.sim.known import Known
from tests.sim.ledger import Level

if TYPE_CHECKING:
    from tests.sim.stage import Stage

SAME_LINES_MAX = 13


class TellingOracles:
    """They see each line of the log."""

    def __init__(self, stage: Stage, known: Known, diary: Diary) -> None:
        self._stage = stage
        self._known = known
        self._diary = diary
        self._said: Counter[tuple[str, str]] = Counter()
        self._said_since = 0.0
        self._told: dict[tuple[str, str], str] = {}
        self._states: dict[tuple[str, str], str] = {}
        self._touched: set[tuple[str, str]] = set()

    def forget(self) -> None:
        """Whatever was told was told of another life or another file."""
        self._told.clear()
        self._states.clear()
        self._touched.clear()

    def forget_told(self) -> None:
        """What is told next of a real server may be what was told last."""
        self._told.clear()

    def the_log_is_no_flood(self, line: dict[str, Any]) -> None:
        """The same line comes at most a dozen times in a second, whatever fails and however often it is tried."""
        now = trio.current_time()
        if now >= self._said_since + 1.0:
            self._said.clear()
            self._said_since = now
        same = line["event"], line["message"]
        self._said[same] += 1
        if self._said[same] == SAME_LINES_MAX:
            self._diary.say("the_log_is_no_flood", str(same))

    def each_change_is_told_once_and_in_turn(self, line: dict[str, Any]) -> None:
        """UP and DOWN of a real server are told by turns, from one state to the other and never to the same one."""
        who, to = (line["virtual_server"], line["real_server"]), line["to"]
        last = self._told.get(who)
        if last == to or line["from"] == to:
            self._diary.say("each_change_is_told_once_and_in_turn", f"{who} went {to} twice")
        self._told[who] = to
        self._touched.add(who)

    def a_quorum_changes_only_beyond_its_margins(self, line: dict[str, Any]) -> None:
        """Lost below quorum minus hysteresis (or with nothing left), gained at quorum plus hysteresis."""
        gained = line["event"].endswith("gained")
        weight, quorum, hysteresis = line["weight_up"], line["quorum"], line["hysteresis"]
        right = weight >= quorum + hysteresis if gained else weight == 0 or weight < quorum - hysteresis
        at_start = line.get("at_start") and not gained
        if not right and not at_start and line["cause_id"] is not None:
            self._diary.say("a_quorum_changes_only_beyond_its_margins", str(line))
        name = line["virtual_server"]
        if self._known.claims.get(name) is gained:
            self._diary.say(
                "each_change_is_told_once_and_in_turn", f"{name}: the quorum was {'gained' if gained else 'lost'} twice"
            )
        self._known.claims[name] = gained
        for key, pool in self._stage.site.services():
            if str(key) == name:
                self._known.remember(key, pool)

    def nobody_is_let_go_who_stands_in_the_file(self, line: dict[str, Any]) -> None:
        """Only a real server that left the file is on its way out; one that came back into it is not."""
        who = line["virtual_server"], line["real_server"]
        if any(
            who == (str(key), str(server.endpoint))
            for key, pool in self._stage.site.services()
            for server in pool.servers
        ):
            self._diary.say("nobody_is_let_go_who_stands_in_the_file", f"{who}: {line['message']}")

    def what_was_told_last_is_what_is(self) -> None:
        """What people were told last of a real server is how it is; and who changed between two moments of rest was told of."""
        states: dict[tuple[str, str], str] = {}
        for key, pool in self._stage.site.services():
            for server in pool.servers:
                known = [self._known.knows(key, server, pool.check_key(server.host, plan)) for plan in server.checks]
                if not known or not all(isinstance(level, Level) for level in known):
                    continue
                who = str(key), str(server.endpoint)
                states[who] = "UP" if all(isinstance(level, Level) and level.up for level in known) else "DOWN"
                told, before = self._told.get(who), self._states.get(who)
                if told is not None and told != states[who]:
                    self._diary.say(
                        "what_was_told_last_is_what_is", f"{who} is {states[who]}, but {told} was told last"
                    )
                if before is not None and before != states[who] and who not in self._touched:
                    self._diary.say(
                        "what_was_told_last_is_what_is",
                        f"{who} went from {before} to {states[who]} and nobody was told",
                    )
        self._states = states
        self._touched.clear()
