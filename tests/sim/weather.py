"""What every simulated server, script and file does, since when, and what an honest check must find."""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import trio

from checkers.kit.api import Favours, Stream, Target
from checkers.kit.favours import NO_FAVOURS
from tests.fakes import behaviours
from tests.fakes.behaviours import Behaviour
from tests.fakes.files import FakeFiles
from tests.fakes.network import FakeDialer, FakeNetwork
from tests.fakes.programs import Behaviour as Program
from tests.fakes.server import FakeServer
from tests.sim.site import FILE, MISC, TCP, CheckKey, endpoint_of, script_of


@dataclass(frozen=True)
class Kind:
    """One behaviour of a server; what TCP_CHECK and HTTP_GET must find, None: our own trouble, which says nothing."""

    make: Callable[[], Behaviour]
    tcp: bool | None
    http: bool | None


KINDS: Mapping[str, Kind] = {
    "healthy": Kind(behaviours.healthy, tcp=True, http=True),
    "keep alive": Kind(behaviours.keep_alive, tcp=True, http=True),
    "slow": Kind(lambda: behaviours.slow(0.4), tcp=True, http=True),
    "in pieces": Kind(behaviours.chunked, tcp=True, http=True),
    "refuse": Kind(behaviours.refuse, tcp=False, http=False),
    "blackhole": Kind(behaviours.blackhole, tcp=False, http=False),
    "unreachable": Kind(behaviours.unreachable, tcp=False, http=False),
    "hang": Kind(behaviours.hang, tcp=True, http=False),
    "error 500": Kind(lambda: behaviours.status(500), tcp=True, http=False),
    "garbage": Kind(behaviours.garbage, tcp=True, http=False),
    "close early": Kind(behaviours.close_early, tcp=True, http=False),
    "cut body": Kind(behaviours.cut_body, tcp=True, http=True),
    "cut head": Kind(behaviours.cut_head, tcp=True, http=False),
    "reset": Kind(behaviours.reset, tcp=True, http=False),
    "much too slow": Kind(lambda: behaviours.slow(30.0), tcp=True, http=False),
    "no descriptor": Kind(behaviours.no_descriptor, tcp=None, http=None),
}

GOOD = tuple(name for name, kind in KINDS.items() if kind.http)
BAD = tuple(name for name, kind in KINDS.items() if kind.tcp is False)
ODD = tuple(name for name, kind in KINDS.items() if kind.tcp and not kind.http)

STATUSES = (0, 0, 1, 2, 3, 7, 12, 255)
"""Exit statuses of scripts; NEVER ends by no means but SIGKILL."""
NEVER = -1

HISTORY_MAX = 64


IDLE_LIMITS_S = (math.inf, math.inf, 75.0, 20.0, 5.0)
"""After what time hosts close connections that say nothing."""


PLACES = (math.inf, math.inf, 2, 1)
"""How many connections hosts serve at once."""


def places_of(host: int) -> float:
    """The places of a host: always the same."""
    return PLACES[random.Random(host * 7001 + 3).randrange(len(PLACES))]


def idle_limit_of(host: int) -> float:
    """The limit of a host: always the same."""
    return IDLE_LIMITS_S[random.Random(host * 6007 + 5).randrange(len(IDLE_LIMITS_S))]


@dataclass
class Source:
    """One thing that checks ask: a host's behaviour, a script's exit status, a file's number; newest state last."""

    history: deque[tuple[float, str | int]] = field(default_factory=lambda: deque(maxlen=HISTORY_MAX))

    def turn(self, state: str | int) -> None:
        if self.history[-1][1] != state:
            self.history.append((trio.current_time(), state))


class Weather:
    """All sources. Every host is healthy, every script ends with 0, and every file says 0 until told otherwise."""

    def __init__(self, network: WatchedNetwork, programs: dict[str, Program], files: FakeFiles) -> None:
        self._network = network
        self._programs = programs
        self._files = files
        self._sources: dict[tuple[str, int], Source] = {}
        self.turned: Callable[[int, str, bool], None] = lambda _host, _name, _watched: None
        """Told before a host does something else: which, what, and whether a sentinel stands there."""

    def source(self, kind: str, host: int) -> Source:
        family = kind if kind in {MISC, FILE} else "host"
        source = self._sources.get((family, host))
        if source is None:
            source = self._sources[family, host] = Source()
            source.history.append((-math.inf, "healthy" if family == "host" else 0))
            if family == "host":
                self._network.host(host)
        return source

    def behave(self, host: int, name: str) -> None:
        """A host does something else from now on."""
        self.turned(host, name, self._network.is_watched(host))
        self.source("host", host).turn(name)
        self._network.host(host).behaviour = KINDS[name].make()
        self._network.names[host] = name

    def end_with(self, host: int, status: int) -> None:
        """A script ends with another status, or never."""
        self.source(MISC, host).turn(status)
        never = status == NEVER
        self._programs[script_of(host)] = Program(math.inf, deaf=True) if never else Program(0.05, status)

    def say(self, host: int, path: str, value: int) -> None:
        """A file says another number; of every second one nobody tells."""
        self.source(FILE, host).turn(value)
        if host % 2:
            self._files.write(path, str(value))
        else:
            self._files[path] = str(value)

    def state_of(self, host: int) -> tuple[str | int, float]:
        """What a host does, and since when."""
        since, state = self.source("host", host).history[-1]
        return state, since

    def was(self, host: int, name: str, *, after: float) -> bool:
        """Tell whether a host did this at any time since `after`."""
        ends = math.inf
        for at, state in reversed(self.source("host", host).history):
            if ends >= after and state == name:
                return True
            ends = at
        return False

    def truth(self, key: CheckKey) -> tuple[bool | None, int | None]:
        """What an honest probe finds now: whether it is well, and what it says of the weight."""
        return verdict_on(key, self.source(key.kind, key.host).history[-1][1])

    def now(self, key: CheckKey) -> str | int:
        """What a check asks does now."""
        return self.source(key.kind, key.host).history[-1][1]

    def since(self, key: CheckKey) -> float:
        """Since when nothing has changed there."""
        return self.source(key.kind, key.host).history[-1][0]

    def same_since(self, key: CheckKey) -> float:
        """Since when every honest probe has found what it finds now."""
        history = self.source(key.kind, key.host).history
        now = verdict_on(key, history[-1][1])
        since = history[-1][0]
        for at, state in reversed(history):
            if verdict_on(key, state) != now:
                return since
            since = at
        return since

    def has_been(self, key: CheckKey, *, good: bool, after: float) -> bool:
        """Tell whether a probe could find it so at any time since `after`."""
        history = self.source(key.kind, key.host).history
        ends = trio.current_time()
        for at, state in reversed(history):
            found, _ = verdict_on(key, state)
            if found is good and ends >= after:
                return True
            if at < after:
                return False
            ends = at
        return len(history) == HISTORY_MAX


def verdict_on(key: CheckKey, state: str | int) -> tuple[bool | None, int | None]:
    """What an honest probe finds of a source in this state."""
    if isinstance(state, str):
        kind = KINDS[state]
        return (kind.tcp if key.kind == TCP else kind.http), None
    if key.kind == FILE:
        return (state == 0, None) if key.factor == 0 else (True, state * key.factor)
    if state == 0:
        return True, None
    return (True, state - 2) if key.dynamic and state >= 2 else (False, None)


@dataclass
class Streak:
    """How many probes in a row found a host well, or not, as each of the two checker types sees it."""

    good: dict[str, int] = field(default_factory=dict)
    bad: dict[str, int] = field(default_factory=dict)

    def count(self, kind: str, found: bool | None) -> None:
        if found is not None:
            one, other = (self.good, self.bad) if found else (self.bad, self.good)
            one[kind], other[kind] = one.get(kind, 0) + 1, 0


class WatchedNetwork(FakeNetwork):
    """The network in memory, which counts what probes met."""

    def __init__(self) -> None:
        super().__init__()
        self.streaks: dict[int, Streak] = {}
        self.names: dict[int, str] = {}  # what each host does, by the name in KINDS
        self.probes = 0
        self.crowded: set[int] = set()  # hosts that have a single place for a while
        self._hosts: dict[tuple[str, int], int] = {}

    def host(self, number: int) -> FakeServer:
        where = endpoint_of(number)
        address = str(where.address), where.port
        self._hosts[address] = number
        server = self.server(*address)
        server.idle_limit_s = idle_limit_of(number)
        server.places = 1 if number in self.crowded else places_of(number)
        return server

    def is_watched(self, number: int) -> bool:
        """Whether a sentinel stands there."""
        return any(held.connected for held in self.host(number).held)

    def stood_still(self) -> dict[int, float]:
        """How long at most each host with a single place stood still under a sentinel, in seconds."""
        found = {number: self.servers[address] for address, number in self._hosts.items()}
        return {number: server.stood_still_s for number, server in found.items() if places_of(number) == 1}

    def stood_still_times(self) -> Counter[int]:
        """How often each host with a single place stood still under a sentinel."""
        found = {number: self.servers[address] for address, number in self._hosts.items()}
        return Counter({n: server.stood_still_times for n, server in found.items() if places_of(n) == 1})

    def crowd(self, number: int, *, as_ever: bool) -> None:
        """A host has a single place from now on, or as many as ever."""
        (self.crowded.discard if as_ever else self.crowded.add)(number)
        self.host(number).quit(None)  # whoever waits is served

    def holds_ended(self) -> int:
        """How many sentinels have ended by themselves."""
        return sum(server.holds_ended for server in self.servers.values())

    def dialer(self, limit_s: float, favours: Favours = NO_FAVOURS) -> WatchedDialer:
        return WatchedDialer(self, limit_s, favours)

    def probed(self, target: Target) -> None:
        """A probe begins."""
        self.probes += 1
        address = target.address, target.port
        number = self._hosts.get(address)
        if number is not None:
            server = self.servers[address]
            server.requests.clear()
            kind = KINDS[self.names.get(number, "healthy")]
            streak = self.streaks.setdefault(number, Streak())
            streak.count("TCP_CHECK", kind.tcp)
            streak.count("HTTP_GET", kind.http)


class WatchedDialer(FakeDialer):
    """A dialer that is counted."""

    def __init__(self, network: WatchedNetwork, limit_s: float, favours: Favours) -> None:
        super().__init__(network, limit_s, favours)
        self._watched = network

    async def _connect(self, target: Target) -> Stream:
        self._watched.probed(target)
        return await super()._connect(target)
