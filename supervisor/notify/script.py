"""Scripts about transitions: what the file wants to run when a real server or a quorum changes.

A script gets no argument of ours, as with keepalived, and the facts in its environment:

    VIPERVISOR_EVENT            real_server_up, real_server_down, real_server_removed, quorum_gained, quorum_lost,
                                virtual_server_removed; startup and shutdown for the scripts of those names; fifo beside a named pipe
    VIPERVISOR_STATE            UP or DOWN, what the object is now
    VIPERVISOR_PREVIOUS         UNKNOWN, UP or DOWN, what a real server was
    VIPERVISOR_VIRTUAL_SERVER   "203.0.113.100:80/tcp", "[2001:db8::1]:80/tcp", "fwm:7/ipv4"
    VIPERVISOR_GROUP            the virtual_server_group, where there is one; the virtual server is its first address then
    VIPERVISOR_REAL_SERVER      "192.168.100.21:80"; not for the events of a virtual server
    VIPERVISOR_CHECK, _REASON, _DETAIL    what the check is and what it found: "HTTP_GET", "L7STS", "HTTP 503, wanted 200"
    VIPERVISOR_WEIGHT           the weight of a real server in the table now; empty: it is not in it
    VIPERVISOR_WEIGHT_UP, _QUORUM, _HYSTERESIS, _SERVERS_UP    how the virtual server stands
    VIPERVISOR_SORRY_SERVER     where clients go while the quorum is lost, if anywhere
    VIPERVISOR_AT_START, VIPERVISOR_STOPPING    1 when the reason is the program's start, or its end

What a server sent may stand in _DETAIL; it is printable and short, and no shell has seen it.

The scripts of one object (a real server of a virtual server, or a virtual server) run strictly one after another; those of different
objects begin in the order of the transitions and run at once. Each has a limit. Where an object changes faster than its scripts run,
the oldest that wait are skipped and counted; the newest always runs, so the last one says what is true.
Sources: keepalived.md, sections 3.3, 3.8 and 3.9.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias, assert_never

import trio

from checkers.kit.frozen import frozen
from supervisor.core.transitions import (
    CheckChanged,
    LogOnly,
    QuorumChanged,
    RealServerChanged,
    RealServerRemoved,
    Transition,
    VirtualServerRemoved,
)
from supervisor.log import Log
from supervisor.model import Endpoint, Script, ServiceKey
from supervisor.notify._running import Running, say_ended
from supervisor.runner.protocol import Outcome, printable

WAITING_MAX = 8
"""Scripts of one object that may wait behind the one that runs."""

ATTEMPTS_MAX = 3
"""How often a script is begun when the runner dies under it: whether it ran is not known, and the news must arrive."""

STOPPING_LIMIT_S = 5.0
"""Limit of a script at a clean stop, when somebody waits for the end (keepalived gives it 1 s)."""

VALUE_MAX_CHARACTERS = 300
"""Longest value in a script's environment."""


Begin: TypeAlias = Callable[[Script, Mapping[str, str], float | None], Running]
"""Begins a script with these additions to its environment and a limit in seconds; scripts begin in the order of the calls."""


@frozen
class Notice:
    """One script that has to run, and what it is about. `of` names the object whose scripts run one after another."""

    script: Script
    of: Hashable
    virtual_server: ServiceKey
    real_server: Endpoint | None
    facts: Mapping[str, str]
    attempt: int = 1


@dataclass
class _Object:
    """One real or virtual server: the script that runs now, and those that wait behind it."""

    running: Running | None = None
    waiting: deque[Notice] = field(default_factory=deque)


class Scripts:
    """The sink. One task runs `run`; everybody else calls `tell`."""

    def __init__(self, begin: Begin, limit_s: float, log: Log) -> None:
        """`limit_s` is the limit of each script, in seconds."""
        self.succeeded = 0
        self.failed = 0
        self.skipped = 0
        self._begin = begin
        self._limit_s = limit_s
        self._stopping = False
        self._log = log
        self._objects: dict[Hashable, _Object] = {}
        self._begun: deque[tuple[Notice, Running]] = deque()
        self._stirred = trio.Event()
        self._idle = trio.Event()

    def reconfigure(self, limit_s: float) -> None:
        """Use this limit from the next script on."""
        self._limit_s = limit_s

    def hurry(self) -> None:
        """The program stops: from now on scripts have STOPPING_LIMIT_S at most."""
        self._stopping = True

    def tell(self, transition: Transition) -> None:
        """Begin the script that `transition` asks for, or let it wait for its turn. Never blocks."""
        notice = notice_of(transition)
        if notice is None:
            return
        known = self._objects.setdefault(notice.of, _Object())
        if known.running is None:
            self._start(known, notice)
            return
        known.waiting.append(notice)
        if len(known.waiting) > WAITING_MAX:
            self._skip(known.waiting.popleft(), f"more than {WAITING_MAX} wait; it changes faster than its scripts run")

    async def run(self) -> None:
        """See the scripts through, for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                while self._begun:
                    nursery.start_soon(self._see_through, *self._begun.popleft())
                self._stirred = trio.Event()
                await self._stirred.wait()

    async def drain(self, timeout_s: float) -> None:
        """At the end: wait at most `timeout_s` until every script has run; what is left then is ended, skipped and counted."""
        with trio.move_on_after(timeout_s):
            while self._objects:
                await self._idle.wait()
        for known in list(self._objects.values()):
            while known.waiting:
                self._skip(known.waiting.popleft(), "stopped before its turn")
            if known.running is not None:
                known.running.cancel()

    def _start(self, known: _Object, notice: Notice) -> None:
        limit_s = min(self._limit_s, STOPPING_LIMIT_S) if self._stopping else self._limit_s
        known.running = self._begin(notice.script, notice.facts, limit_s)
        self._begun.append((notice, known.running))
        self._stirred.set()

    async def _see_through(self, notice: Notice, running: Running) -> None:
        """Wait for the end of one script, say how it went, and begin the next of its object."""
        ended = await running.ended()
        known = self._objects[notice.of]
        again = ended.outcome is Outcome.RUNNER_LOST and notice.attempt < ATTEMPTS_MAX and not known.waiting
        self.succeeded += ended.succeeded
        self.failed += not ended.succeeded
        say_ended(notice.script, ended, self._log, again=again, attempt=notice.attempt, **_about(notice))
        if again:
            self._start(known, replace(notice, attempt=notice.attempt + 1))
        elif known.waiting:
            self._start(known, known.waiting.popleft())
        else:
            del self._objects[notice.of]
            idle, self._idle = self._idle, trio.Event()
            idle.set()

    def _skip(self, notice: Notice, reason: str) -> None:
        self.skipped += 1
        self._log.emit(
            "notify.script_skipped",
            f"Script {notice.script} was not run: {reason}.",
            script=str(notice.script),
            **_about(notice),
            reason=reason,
            count=self.skipped,
        )


def _about(notice: Notice) -> dict[str, object]:
    return {
        "sink": "script",
        "user": notice.script.user,
        "notice": notice.facts["VIPERVISOR_EVENT"],
        "virtual_server": notice.virtual_server,
        "real_server": notice.real_server,
    }


# -- facts -----------------------------------------------------------------------------------------------------------------


def notice_of(transition: Transition) -> Notice | None:
    """Return the script that a transition asks for, with the facts for it; None where it asks for none."""
    if isinstance(transition, LogOnly | CheckChanged):
        return None
    match transition:
        case RealServerChanged():
            facts = _real_server_facts(transition)
            real_server: Endpoint | None = transition.real_server
        case RealServerRemoved():
            facts = _environment(
                EVENT="real_server_removed",
                STATE="DOWN",
                PREVIOUS="UP",
                WEIGHT="",
                STOPPING=_flag(on=transition.stopping),
            )
            real_server = transition.real_server
        case QuorumChanged():
            facts, real_server = _quorum_facts(transition), None
        case VirtualServerRemoved():
            facts = _environment(EVENT="virtual_server_removed", STATE="DOWN", STOPPING=_flag(on=transition.stopping))
            real_server = None
        case _:
            assert_never(transition)
    if transition.script is None or transition.follower:
        return None
    names = _environment(
        VIRTUAL_SERVER=str(transition.virtual_server),
        GROUP=transition.group or None,
        REAL_SERVER=None if real_server is None else str(real_server),
    )
    key = transition.virtual_server
    return Notice(transition.script, (key, real_server), key, real_server, {**facts, **names})


def _real_server_facts(changed: RealServerChanged) -> dict[str, str]:
    return _environment(
        EVENT="real_server_up" if changed.up else "real_server_down",
        STATE=_word(up=changed.up),
        PREVIOUS=changed.was,
        CHECK=changed.check,
        REASON=changed.reason,
        DETAIL=changed.detail,
        WEIGHT="" if changed.weight_new is None else str(changed.weight_new),
        WEIGHT_UP=str(changed.weight_left),
        SERVERS_UP=str(changed.up_left),
        QUORUM=str(changed.quorum),
        AT_START=_flag(on=changed.at_start),
    )


def _quorum_facts(changed: QuorumChanged) -> dict[str, str]:
    return _environment(
        EVENT="quorum_gained" if changed.up else "quorum_lost",
        STATE=_word(up=changed.up),
        WEIGHT_UP=str(changed.weight_up),
        QUORUM=str(changed.quorum),
        HYSTERESIS=str(changed.hysteresis),
        SERVERS_UP=str(changed.servers_up),
        SORRY_SERVER=None if changed.sorry_server is None else str(changed.sorry_server),
        AT_START=_flag(on=changed.at_start),
    )


def _environment(**facts: str | None) -> dict[str, str]:
    """Name the facts as variables; None leaves one out."""
    return {
        f"VIPERVISOR_{name}": printable(value)[:VALUE_MAX_CHARACTERS]
        for name, value in facts.items()
        if value is not None
    }


def _flag(*, on: bool) -> str | None:
    return "1" if on else None


def _word(*, up: bool) -> str:
    return "UP" if up else "DOWN"
