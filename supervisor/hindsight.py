"""Answers questions about the past: the verbs `history`, `events` and `why`, and what the exporter asks for. Reads only.

    why     {"real_server": "192.168.100.22:80"}                         # the present (`answers`), and the last results
    history {"name": "192.168.100.22:80", "most": 50}
    events  {"most": 50, "since_s": 3600, "types": ["real_server", "*quorum*"], "follow": true}

An event is wanted when one of the types is its name, the part of its name before the dot, or a pattern of it (fnmatch).
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any

import trio

from supervisor import answers, concealing, selection
from supervisor.admin.access import Caller
from supervisor.admin.desk import Following, Verb, question
from supervisor.admin.protocol import RequestError, Status
from supervisor.checknow import Seen
from supervisor.core import entry, results
from supervisor.core.director import Director
from supervisor.core.entry import SCHEMA, Entry, as_plain
from supervisor.core.events import Result
from supervisor.core.history import EVENTS_KEPT, POOL_MAX, History
from supervisor.core.questions import EVENTS_MAX, AskEvents, AskHistory
from supervisor.core.realserver import RealServerState
from supervisor.core.snapshot import WriterView
from supervisor.core.virtualserver import VirtualServerState
from supervisor.log import CATALOGUE
from supervisor.model import CheckSpec
from supervisor.recording import FOLLOWERS_MAX, Follower, Recording

EVENTS_SHOWN = 50
"""Events in an answer that does not say how many; with "since_s" there is no such limit."""

NOTED_MAX = 500
"""What was noted and is written down before an operator gets an answer: some 20 milliseconds."""

RESULTS_SHOWN = 5
"""Last results that `why` tells of a real server."""

TYPES_MAX = 32
"""Types that one may choose."""

SINCE_MAX_S = 10 * 366 * 86400.0


class Hindsight:
    """Who knows what was."""

    def __init__(
        self,
        recording: Recording,
        director: Callable[[], Director],
        writer: Callable[[], WriterView],
        probed: Callable[[CheckSpec], Seen | None],
    ) -> None:
        self._recording = recording
        self._director = director
        self._writer = writer
        self._probed = probed
        self._concealing = concealing.Concealing(director)

    def _history_now(self) -> History:
        """Return the history with everything that was told so far, except in a storm."""
        self._recording.write_down(NOTED_MAX)
        return self._recording.history

    def verbs(self) -> dict[str, Verb]:
        """Return the verbs by name."""
        return {
            "why": question(self._why),
            "history": question(self._history),
            "events": Verb(self._events, changes=False),
        }

    def tell(self, asked: AskEvents | AskHistory) -> bytes:
        """Return what the exporter asks for, as one line without its end, and without secrets, for strangers read it."""
        history, at = self._recording.history, self._recording.now()
        if isinstance(asked, AskEvents):
            return entry.encode(self._concealing.extract(history.last_events(at, EVENTS_MAX)))
        found = history.pool(asked.virtual_server, at)
        state = next(
            (state for key, state in self._director().virtual_servers.items() if str(key) == asked.virtual_server), None
        )
        if found is not None and state is not None:
            asked_for = self._on_request(state, state.real_servers.values())
            known = [*self._counted_on(state, found.entries), *asked_for]
            found = replace(found, entries=tuple(sorted(known, key=lambda told: told.at)))
        return entry.encode(self._concealing.extract(found))

    def _why(self, args: dict[str, Any]) -> list[dict[str, Any]]:
        found = answers.why(self._director(), self._writer(), args, trio.current_time())
        states = {str(key): state for key, state in self._director().virtual_servers.items()}
        return [self._with_results(states[one["virtual_server"]], one) for one in found]

    def _with_results(self, state: VirtualServerState, one: dict[str, Any]) -> dict[str, Any]:
        """Add the last results of a real server and the moment to an answer of `why`; take secrets out of all of it."""
        name = one["real_server"]["real_server"]
        server = next(server for server in state.real_servers.values() if str(server.spec.endpoint) == name)
        told = {**one, "results": self._results(state, server), "at": round(self._recording.now(), 3)}
        found: dict[str, Any] = concealing.plain(told, concealing.masks_of(server))
        return found

    def _on_request(self, state: VirtualServerState, servers: Iterable[RealServerState]) -> Iterator[Entry]:
        """Yield what the last probes on request of real servers saw, as if they were results of the schedule."""
        number = itertools.count()
        for server, check in ((one, check) for one in servers for check in one.checks):
            seen = self._probed(check.spec)
            if seen is not None:
                yield results.on_request(
                    state,
                    server,
                    check,
                    Result(0, seen.reason, seen.detail, seen.sent, seen.received, seen.duration_s),
                    passed=seen.passed,
                    number=next(number),
                    at=round(self._recording.now() - (trio.current_time() - seen.at), 3),
                )

    def _results(self, state: VirtualServerState, server: RealServerState) -> list[dict[str, Any]]:
        """Return the last results of a real server; ages beside the moments, as everywhere in `why`."""
        record = self._history_now().record(str(state.spec.key), str(server.spec.endpoint))
        at = self._recording.now()
        known = [*self._counted_on(state, record.results(RESULTS_SHOWN)), *self._on_request(state, (server,))]
        return [
            {**as_plain(told), "age_s": round(at - told.at, 3), "last_age_s": round(at - told.ended_at, 3)}
            for told in sorted(known, key=lambda told: told.ended_at)
        ]

    def _counted_on(self, state: VirtualServerState, told: Sequence[Entry]) -> list[Entry]:
        """Return entries of a virtual server with the probes that were done since and said nothing new."""
        return results.counted_on(told, results.heard(state, trio.current_time(), self._recording.now()))

    def _history(self, args: dict[str, Any]) -> dict[str, Any]:
        """Return what is known of a real server, in each virtual server that has it, or of a virtual server and its real servers."""
        director, history, at = self._director(), self._history_now(), self._recording.now()
        most = selection.whole(args, "most", POOL_MAX) or POOL_MAX
        pool = selection.virtual_server(director, args)
        if pool is not None:
            found = history.pool(str(pool.spec.key), at)
            assert found is not None, "the history follows the configuration"
            servers = [self._told(str(pool.spec.key), "", self._counted_on(pool, found.entries), found.omitted, most)]
        else:
            wanted = {"real_server": args.get("name"), "virtual_server": args.get("virtual_server")}
            servers = [
                self._told(key, endpoint, self._counted_on(state, history.server(key, endpoint)), 0, most)
                for state, key, endpoint in (
                    (state, str(state.spec.key), str(server.spec.endpoint))
                    for state, server in selection.real_servers(director, wanted)
                )
            ]
        return {"schema": SCHEMA, "at": at, "servers": servers}

    def _told(
        self, virtual_server: str, real_server: str, entries: list[Entry], omitted: int, most: int
    ) -> dict[str, Any]:
        shown = entries[-most:]
        return {
            "virtual_server": virtual_server,
            "real_server": real_server,
            "omitted": omitted + len(entries) - len(shown),
            "entries": [as_plain(told) for told in self._concealing.entries(shown)],
        }

    async def _events(self, args: dict[str, Any], _caller: Caller) -> Any:
        """Return the last events, and with "follow" those that come."""
        await trio.lowlevel.checkpoint()
        wanted = _wanted(args)
        follow = args.get("follow", False)
        if not isinstance(follow, bool):
            raise RequestError('"follow" is true or false')
        if follow and self._recording.followers >= FOLLOWERS_MAX:
            raise RequestError(f"{FOLLOWERS_MAX} others follow events already; end one of them", Status.REFUSED)
        first = self._last(args, wanted)
        return Following(first, self._following(wanted)) if follow else first

    @contextlib.contextmanager
    def _following(self, wanted: Callable[[Entry], bool]) -> Iterator[_Events]:
        with self._recording.following(wanted) as follower:
            yield _Events(follower, self._concealing.entry)

    def _last(self, args: dict[str, Any], wanted: Callable[[Entry], bool]) -> dict[str, Any]:
        at = self._recording.now()
        since_s = _since_s(args)
        most = selection.whole(args, "most", EVENTS_KEPT) or (EVENTS_SHOWN if since_s is None else EVENTS_KEPT)
        since = -math.inf if since_s is None else at - since_s
        found = (told for told in self._history_now().events() if told.at >= since and wanted(told))
        chosen = list(islice(found, most))
        return {
            "schema": SCHEMA,
            "at": at,
            "events": [as_plain(told) for told in self._concealing.entries(reversed(chosen))],
        }


class _Events:
    """A follower, as the desk wants it: events as JSON values."""

    def __init__(self, follower: Follower, conceal: Callable[[Entry], Entry]) -> None:
        self._follower = follower
        self._conceal = conceal

    async def next(self) -> Any:
        """Wait for the next event."""
        return as_plain(self._conceal(await self._follower.next()))

    def take_dropped(self) -> int:
        """Return how many were lost meanwhile."""
        return self._follower.take_dropped()


def _wanted(args: dict[str, Any]) -> Callable[[Entry], bool]:
    """Return what tells whether an event is of one of the "types"; all are, when none is named. Raises RequestError for an unknown one."""
    types = args.get("types", [])
    if not isinstance(types, list) or len(types) > TYPES_MAX or not all(isinstance(one, str) for one in types):
        raise RequestError(f'"types" is a list of at most {TYPES_MAX} names or patterns')
    chosen = {name for name in CATALOGUE if not types or any(_is_of(name, one) for one in types)}
    for one in types:
        if not any(_is_of(name, one) for name in CATALOGUE):
            raise RequestError(f"no event is called {one[:60]!r}{_nearest(one)}", Status.NOT_FOUND)
    return lambda told: not types or told.type in chosen


def _is_of(name: str, chosen: str) -> bool:
    return chosen in {name, name.partition(".")[0]} or fnmatchcase(name, chosen)


def _nearest(name: str) -> str:
    known = {*CATALOGUE, *(event.partition(".")[0] for event in CATALOGUE)}
    near = difflib.get_close_matches(name[:60], known, n=3)
    return (
        f"; did you mean {' or '.join(near)}?"
        if near
        else f"; there are {', '.join(sorted(_families()))}, each with a dot and more"
    )


def _families() -> set[str]:
    return {event.partition(".")[0] for event in CATALOGUE}


def _since_s(args: dict[str, Any]) -> float | None:
    value = args.get("since_s")
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= SINCE_MAX_S:
        raise RequestError(f'"since_s" is a number of seconds, above 0 and up to {SINCE_MAX_S:.0f} (ten years)')
    return float(value)
