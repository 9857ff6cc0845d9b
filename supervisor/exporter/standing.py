"""How things stand, in the words of the status page: one state for each server, why, and what is worst. Pure: Snapshot → values.

A state is a word, a shape and a tone, never a colour alone. Tones follow what operators know: red is down, amber wants a look, blue gets
nobody new because somebody said so and is fine, violet is taken out by hand, grey is not known (observability.md, section 6).
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from checkers.kit.frozen import frozen
from supervisor.core.snapshot import CheckView, RealServerView, VirtualServerView
from supervisor.wording import lasting


class State(enum.Enum):
    """The state of a real or a virtual server: the worst first. Word, shape, tone, and what it means."""

    DOWN = ("down", "cross", "bad", "checks failed, or the quorum is lost: clients are not served as they should be")
    SORRY = ("sorry server", "cross", "bad", "the quorum is lost, and the sorry server answers instead")
    HELD = ("down, held", "warning", "warn", "checks failed, but it serves: taking it out would leave too few")
    DEGRADED = ("degraded", "warning", "warn", "it serves, with less than it should have")
    DIFFERS = ("differs", "warning", "warn", "the kernel's table is not as wanted")
    FROZEN = ("frozen", "warning", "warn", "its checker is silent: the last verdict stands")
    UNKNOWN = ("unknown", "ring", "none", "not checked yet")
    SUSPENDED = ("suspended", "ring", "none", "not checked, because its address is not on this host")
    DISABLED = ("disabled", "square", "off", "taken out by an operator")
    DRAINING = ("draining", "half", "calm", "gets nobody new by an operator's word; who is connected stays")
    WEIGHED = ("weight set", "half", "calm", "up, with a weight that an operator gave it")
    BY_HAND = ("by hand", "half", "calm", "it serves; an operator has changed something in it")
    UP = ("up", "disc", "good", "checks pass")

    def __init__(self, word: str, shape: str, tone: str, meaning: str) -> None:
        self.word = word
        self.shape = shape
        self.tone = tone
        self.meaning = meaning


RANKS = {state: rank for rank, state in enumerate(State)}
"""Worst first."""

WRONG = frozenset({State.DOWN, State.SORRY, State.HELD, State.DEGRADED, State.DIFFERS, State.FROZEN, State.UNKNOWN})
"""What /down shows; what an operator did on purpose is not wrong."""

REASONS = {
    "NONE": "not checked yet",
    "L4OK": "connected",
    "L4CON": "no connection",
    "L4TOUT": "no connection in time",
    "L6RSP": "TLS handshake failed",
    "L6TOUT": "TLS handshake not done in time",
    "L7OK": "answered as expected",
    "L7STS": "answered with another status",
    "L7RSP": "answered with nothing valid",
    "L7BODY": "answered with another body",
    "L7TOUT": "no complete answer in time",
    "LOCAL": "could not be tried from here",
    "LATE": "says nothing: we were late ourselves, or in the way",
    "CRASHED": "says nothing: the checker broke",
    "PROCERR": "the script failed",
    "PROCTOUT": "the script took too long",
    "PROCOK": "the script succeeded",
    "FILEOK": "the file says up",
    "FILEERR": "the file says down",
}
"""`checkers.kit.api.Reason` as a person would say it (a test holds both together)."""


@frozen
class RealServerStanding:
    """One real server of one virtual server."""

    virtual_server: str
    view: RealServerView
    state: State
    why: str


@frozen
class VirtualServerStanding:
    """One virtual server; `counts` says how many of its real servers are in which state."""

    view: VirtualServerView
    state: State
    why: tuple[str, ...]
    counts: Counter[State]
    active: int  # connections, its real servers' and its sorry server's

    @property
    def total(self) -> int:
        """How many real servers it has."""
        return len(self.view.real_servers)

    @property
    def up(self) -> int:
        """How many of them are up, and enabled."""
        return sum(self.counts[state] for state in (State.UP, State.WEIGHED, State.DIFFERS, State.FROZEN))


@dataclass(slots=True)
class Assessment:
    """All of it, built one virtual server at a time, so that whoever builds can let others run in between."""

    virtual_servers: list[VirtualServerStanding] = field(default_factory=list)
    wrong: list[RealServerStanding] = field(default_factory=list)  # real servers
    by_hand: list[RealServerStanding] = field(default_factory=list)
    virtual_states: Counter[State] = field(default_factory=Counter)
    real_states: Counter[State] = field(default_factory=Counter)
    overrides: int = 0
    fingerprint: int = 0  # changes when anything does but ages and counters

    def add(self, view: VirtualServerView, remarks: tuple[str, ...] = ()) -> None:
        """Take in one more virtual server, with what is to be said of its table."""
        counts: Counter[State] = Counter()
        failures: Counter[str] = Counter()
        marks: list[object] = [self.fingerprint, view.virtual_server, view.quorate, view.weight_up, len(remarks)]
        active = view.sorry.traffic.active if view.sorry else 0
        for server in view.real_servers:
            state = real_server_state(server)
            counts[state] += 1
            active += server.traffic.active
            self.overrides += server.override is not None
            marks += (state, server.weight_kernel, server.weight_wanted)
            if state is State.UP:
                continue
            reason = _worst_check(server).reason if server.checks else ""
            if state in {State.DOWN, State.HELD}:
                failures[REASONS.get(reason, "no check")] += 1
            standing = RealServerStanding(view.virtual_server, server, state, why_real_server(server, state))
            marks.append(reason)
            (self.wrong if state in WRONG else self.by_hand).append(standing)
        state = virtual_server_state(view, counts, remarks)
        marks.append(state)
        self.fingerprint = hash(tuple(marks))
        self.real_states += counts
        self.virtual_states[state] += 1
        why_here = (*why_virtual_server(view, counts, failures), *remarks)
        self.virtual_servers.append(VirtualServerStanding(view, state, why_here, counts, active))

    def finish(self) -> Assessment:
        """Put the worst first, then whoever changed last, and return it."""
        self.virtual_servers.sort(key=lambda standing: (RANKS[standing.state], standing.view.since_s))
        self.wrong.sort(key=_worst_first)
        self.by_hand.sort(key=_worst_first)
        return self


def _worst_first(standing: RealServerStanding) -> tuple[int, float]:
    return RANKS[standing.state], standing.view.since_s


def standings(view: VirtualServerView) -> list[RealServerStanding]:
    """Return the real servers of one virtual server, the worst first and else in the order of the file."""
    found = [
        RealServerStanding(view.virtual_server, server, state, why_real_server(server, state))
        for server in view.real_servers
        for state in (real_server_state(server),)
    ]
    return sorted(found, key=lambda standing: RANKS[standing.state])


def real_server_state(server: RealServerView) -> State:
    """Return the state of a real server. What an operator took out is that, whatever its checks say."""
    if server.admin == "disabled":
        return State.DISABLED
    if server.admin == "draining":
        return State.DRAINING
    if server.health == "DOWN":
        return State.HELD if server.held else State.DOWN
    if server.stale:
        return State.FROZEN
    if server.health == "UNKNOWN":
        return State.UNKNOWN
    if server.weight_kernel != server.weight_wanted:
        return State.DIFFERS
    return State.UP if server.override is None else State.WEIGHED


def why_real_server(server: RealServerView, state: State) -> str:
    """Return why a real server is what it is, in one line."""
    match state:
        case State.DISABLED | State.DRAINING | State.WEIGHED:
            return _by_whom(server)
        case State.HELD:
            return f"{_last_result(server)}; {server.held_text}"
        case State.FROZEN:
            return f"its checker is silent; the last word was {server.health}, {_last_result(server)}"
        case State.DIFFERS:
            return f"weight {_weight(server.weight_wanted)} is wanted, {_weight(server.weight_kernel)} is in the kernel"
        case _:
            return _last_result(server)


def virtual_server_state(view: VirtualServerView, counts: Counter[State], remarks: tuple[str, ...]) -> State:
    """Return the state of a virtual server whose real servers are in these states."""
    if view.suspended:
        return State.SUSPENDED
    if not view.quorate:
        if view.sorry is not None and view.sorry.active:
            return State.SORRY
        return State.UNKNOWN if counts and counts.keys() <= {State.UNKNOWN} else State.DOWN
    if remarks or any(counts[state] for state in (State.DOWN, State.HELD, State.DIFFERS, State.FROZEN)):
        return State.DEGRADED
    if counts[State.UNKNOWN]:
        return State.UNKNOWN
    return State.BY_HAND if any(counts[s] for s in (State.DISABLED, State.DRAINING, State.WEIGHED)) else State.UP


def why_virtual_server(view: VirtualServerView, counts: Counter[State], failures: Counter[str]) -> Iterator[str]:
    """Yield why a virtual server is what it is, the worst first; nothing when all is well."""
    if view.suspended:
        yield "its address is not on this host (ha_suspend)"
    if not view.quorate:
        yield f"quorum lost: live weight {view.weight_up} of {view.quorum}"
        if view.sorry is None:
            yield "no sorry server"
        elif not view.sorry.active:
            yield "the sorry server does not stand in"
    if down := counts[State.DOWN] + counts[State.HELD]:
        reasons = ", ".join(word if len(failures) == 1 else f"{word} ({n})" for word, n in failures.most_common(3))
        yield f"{down} of {len(view.real_servers)} down: {reasons}"
    words = {
        State.HELD: "held in service though down",
        State.DIFFERS: "not in the kernel as wanted",
        State.FROZEN: "frozen, because a checker is silent",
        State.UNKNOWN: "not checked yet",
        State.DISABLED: "disabled",
        State.DRAINING: "draining",
        State.WEIGHED: "with a weight set by hand",
    }
    for state, word in words.items():
        if counts[state]:
            yield f"{counts[state]} {word}"


def result_words(check: CheckView) -> str:
    """Return the last result of a check, code first, as operators know it of HAProxy: "L7STS answered with another status: 503"."""
    if check.age_s is None:
        return "not checked yet"
    words = f"{check.reason} {check.detail or REASONS.get(check.reason, '')}".strip()
    return f"{words}, {check.failures} in a row" if check.failures > 1 else words


def _worst_check(server: RealServerView) -> CheckView:
    return min(server.checks, key=lambda check: (check.health != "DOWN", check.age_s is None))


def _last_result(server: RealServerView) -> str:
    return result_words(_worst_check(server)) if server.checks else "no checks configured"


def _by_whom(server: RealServerView) -> str:
    wish = server.override
    if wish is None:
        return "in the configuration"
    reason = f": {wish.reason}" if wish.reason else ""
    until = "" if wish.ends_s is None else f", for {lasting(wish.ends_s)} more"
    what = "" if wish.weight is None else f"weight {wish.weight} "
    return f"{what}by {wish.by or 'an operator'}{until}{reason}"


def _weight(weight: int | None) -> str:
    return "none" if weight is None else str(weight)
