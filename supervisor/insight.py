"""Answers questions about all servers as they are now: the verbs `status`, `alerts` and `names`. Reads only.

    status {"patterns": ["203.0.113.*", "192.168.100.22"], "down": true}     # a snapshot (core.snapshot), or the part of it that fits
    alerts                                                                   # one line for a monitoring system (core.alert)
    names  {"prefix": "192.168."}                                            # what an operator may type, for the completion of a shell

With ten thousand real servers each of them is a fraction of a second of work, so all of it is done in steps, and decisions are taken
between two. What is chosen is what `admin.sieve` would choose of the whole, only that the rest is never written (a test holds both
together), and `whole` counts everything.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import trio

from checkers.kit.frozen import frozen
from supervisor import selection
from supervisor.admin.access import Caller
from supervisor.admin.desk import Lane, Verb
from supervisor.admin.patterns import real_server_fits, virtual_server_fits
from supervisor.core import views
from supervisor.core.alert import alert
from supervisor.core.director import Director
from supervisor.core.events import Health
from supervisor.core.realserver import RealServerState
from supervisor.core.snapshot import STEP_SERVERS, ProcessView, Snapshot, WholeView, encode, encoding
from supervisor.core.virtualserver import VirtualServerState

LOOK_SERVERS = 500
"""Real servers that are looked at before others have a turn: about 3 ms."""

PATTERNS_MAX = 64
"""Patterns in one question: each is held against every name."""

NAMES_MAX = 2000
"""Names of a kind in one answer: a shell offers a quarter of them at most."""


@frozen
class _Wish:
    patterns: tuple[str, ...]
    down: bool


_Chosen: TypeAlias = tuple[VirtualServerState, Sequence[RealServerState]]
"""A virtual server, and those of its real ones that are to be shown."""


class Steps:
    """Counts work that is done, and gives the loop back after each `size` pieces of it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._done = 0

    async def one(self) -> None:
        """One more is done."""
        self._done += 1
        if self._done % self._size == 0:
            await trio.lowlevel.checkpoint()


class Insight:
    """Who knows what is."""

    def __init__(self, director: Callable[[], Director], process: Callable[[], ProcessView]) -> None:
        self._director = director
        self._process = process

    def verbs(self) -> dict[str, Verb]:
        """Return the verbs by name."""
        return {
            "status": Verb(self._status, changes=False, lane=Lane.LONG),
            "alerts": Verb(self._alerts, changes=False, lane=Lane.LONG),
            "names": Verb(self._names, changes=False, lane=Lane.LONG),
        }

    async def _status(self, args: dict[str, Any], _caller: Caller) -> bytes:
        """Return a snapshot with what is wished for, as JSON."""
        await trio.lowlevel.checkpoint()
        wish = _Wish(selection.texts(args, "patterns", PATTERNS_MAX), selection.yes(args, "down"))
        director, now = self._director(), trio.current_time()
        chosen, whole = await _choose(director, wish)
        text = bytearray()
        for piece in encoding(self._process(), views.of(director, chosen, now)):
            text += piece
            await trio.lowlevel.checkpoint()
        del text[-1:]  # the closing brace
        return bytes(text) + b',"whole":' + encode(whole) + b"}"

    async def _alerts(self, _args: dict[str, Any], _caller: Caller) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        steps, found = Steps(STEP_SERVERS), []
        for view, servers in views.one_by_one(self._director(), trio.current_time()):
            real_servers = []
            for server in servers:
                real_servers.append(server)
                await steps.one()
            found.append(dataclasses.replace(view, real_servers=tuple(real_servers)))
        return asdict(alert(Snapshot(self._process(), tuple(found))))

    async def _names(self, args: dict[str, Any], _caller: Caller) -> bytes:
        await trio.lowlevel.checkpoint()
        prefix = selection.text(args, "prefix")
        steps, director = Steps(LOOK_SERVERS), self._director()
        found: dict[str, dict[str, None]] = {"virtual_servers": {}, "real_servers": {}, "hosts": {}}
        for key, state in list(director.virtual_servers.items()):
            _note(found["virtual_servers"], str(key), prefix)
            for where in list(state.real_servers):
                _note(found["real_servers"], str(where), prefix)
                _note(found["hosts"], str(where.address), prefix)
                await steps.one()
        return json.dumps({kind: sorted(names) for kind, names in found.items()}, separators=(",", ":")).encode()


def _note(found: dict[str, None], name: str, prefix: str) -> None:
    if name.startswith(prefix) and len(found) < NAMES_MAX:
        found[name] = None


async def _choose(director: Director, wish: _Wish) -> tuple[list[_Chosen], WholeView]:
    """Return the virtual and real servers that are wished for, and how many there are of everything."""
    steps, chosen = Steps(LOOK_SERVERS), list[_Chosen]()
    counts: Counter[str] = Counter(virtual_servers=len(director.virtual_servers))
    for key, state in list(director.virtual_servers.items()):
        whole = not wish.patterns or any(virtual_server_fits(pattern, str(key)) for pattern in wish.patterns)
        fitting = []
        for server in list(state.real_servers.values()):
            _count(counts, server)
            if whole or any(real_server_fits(pattern, str(server.spec.endpoint)) for pattern in wish.patterns):
                fitting.append(server)
            await steps.one()
        if whole or fitting:
            chosen += _shown(state, fitting) if wish.down else [(state, fitting)]
    return chosen, WholeView(**counts)


def _count(counts: Counter[str], server: RealServerState) -> None:
    counts["real_servers"] += 1
    counts["not_down"] += server.health is not Health.DOWN
    counts["overridden"] += server.override is not None
    counts["held"] += server.hold is not None


def _shown(state: VirtualServerState, servers: Sequence[RealServerState]) -> Iterator[_Chosen]:
    """Yield what of a virtual server is down; one without its quorum is there even where nobody in it is."""
    down = [server for server in servers if server.health is Health.DOWN]
    if not state.suspended and (down or not state.quorate):
        yield state, down
