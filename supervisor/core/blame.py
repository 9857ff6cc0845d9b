"""Is it them, or is it me? When the evidence is against this director's own network, verdicts that hang on it take nobody out.

Two kinds of evidence (peers.md, section 4.10; reliability.md, section 7):

**A lost path.** The kernel says that there is no way to a target any more (`ipvs.paths`: route, interface, carrier, address). When that is
so for every real server of a virtual server, and none of them answers all the same, those that go DOWN are held: for as long as it
lasts, at most `self_blame_hold`, and then a probe round more. When only some are cut off, they are taken out as ever, because clients are
better off with the others. When there is a sorry server whose path is whole, the hold lasts one round: a short cut takes nobody
out, in a long one clients get the sorry page.

**Silence.** At least `SILENT_SHARE` of all hosts that answered lately, at least `HOSTS_MIN`, of at least two virtual servers that share no
host, do not answer any more, all since less than the checks' worst-case detection time: then the switch behind our own cable is
likelier than that all of them died. A rack that dies is no such case: the hosts of other racks answer, and its servers are taken out at
once, as by keepalived. (A share of 30 %, as reliability.md proposes, would hold them a round too long.) The hold lasts one worst-case
round of the checks, at most `ROUND_MAX_S`, and another one when answers come back meanwhile; then whoever is still DOWN is taken out,
and sorry servers step in. Those that were taken out before there was enough evidence are put back with it. The same silence is never
held twice.

Only silence and unreachability are doubted: a refused connection, a wrong status, a wrong body are answers, so the network is
well. Bounded in every way: an outage that is real is acted on late by one round, never not at all.

Pure: `director` brings the news, `holds` asks `hold_for`. What is not seen: one of several networks of this host dying behind a switch
while its link stays up, which looks like a rack that died.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from checkers.kit.frozen import frozen
from supervisor.core import badness
from supervisor.core.badness import Badness
from supervisor.core.events import CheckReported, Health, Result
from supervisor.core.health import INCONCLUSIVE, Check
from supervisor.core.hold import HeldBy, Hold
from supervisor.core.realserver import RealServerState
from supervisor.core.virtualserver import VirtualServerState
from supervisor.model import NOWHERE, BlameSettings, CheckSpec, IPAddress, ServiceKey
from supervisor.wording import counted, lasting

SILENT_SHARE = 0.9
"""So much of all hosts is nearly everybody: a tenth may be behind another network, or on this machine."""

HOSTS_MIN = 5
"""Below this, chance is as good an explanation (reliability.md, section 7, point 5)."""

WINDOW_MAX_S = 120.0
"""Who has been silent for longer, or for longer than any check takes to notice, was dead before. Twice the default delay_loop (60 s),
the slowest that most files have."""

ROUND_MAX_S = 60.0
"""Longest hold for silence alone: the default delay_loop."""

NEWS_MAX_S = 2.0
"""A probe may be faster than the kernel's news: a verdict "network unreachable" waits so long for them (a reading takes 0.2 s at most)."""

LOOK_S = 0.5
"""Nobody is held so much longer because it is not looked at for each verdict whether somebody answers."""

BACK_S = 1.0
"""A probe that began so shortly after a path came back may still have met the end of the trouble (ARP, one lost packet)."""

_SOFT = frozenset({Badness.SILENT, Badness.UNREACHABLE})
_ANSWERED = frozenset({Badness.WRONG, Badness.REFUSED})


@frozen
class Silence:
    """A time in which nearly nobody answers. `suspects` are the hosts that made it so; times are trio's seconds."""

    since: float
    until: float
    suspects: frozenset[IPAddress]
    text: str
    answers: bool = False  # somebody answers again


class Blame:
    """What speaks against this director. One owner: the pools of its director.

    `since` is when people were told that it is suspected (None: it is not), `text` the evidence that they were told.
    """

    def __init__(self) -> None:
        self.settings = BlameSettings()
        self.lost: Mapping[IPAddress, str] = {}
        self.silence: Silence | None = None
        self.held = 0  # real servers, because of it
        self.since: float | None = None
        self.text = ""
        self._watched = False
        self._cut_off: dict[ServiceKey, float] = {}  # since when no real server of it has a path
        self._back: dict[ServiceKey, float] = {}  # since when one has again
        self._refuted: set[ServiceKey] = set()  # cut off, as the kernel says, and somebody answers all the same
        self._despite: dict[ServiceKey, tuple[float, bool]] = {}  # when it was looked at last, and what came of it
        self._silent: dict[IPAddress, float] = {}  # since when
        self._spent: set[IPAddress] = set()  # of a silence that is over and was acted on
        self._hosts: dict[IPAddress, None] = {}  # a set of thousands takes twice the room
        self._others: frozenset[IPAddress] = frozenset()  # not probed, and yet their paths matter
        self._window_s = 0.0

    def fork(self) -> Blame:
        """Return a copy that goes its own way."""
        twin = Blame()
        for name, value in vars(self).items():
            setattr(twin, name, copy.copy(value))
        return twin

    @property
    def active(self) -> bool:
        """Whether there is evidence at all."""
        return bool(self._cut_off) or self.silence is not None

    @property
    def targets(self) -> AbstractSet[IPAddress]:
        """The addresses whose paths matter."""
        if not self.settings.on:
            return frozenset()
        return self._hosts.keys() | self._others if self._others else self._hosts.keys()

    @property
    def cut_off(self) -> Collection[ServiceKey]:
        """The virtual servers to whose real servers, all of them, this host has no way."""
        return self._cut_off.keys()

    def why_cut_off(self, state: VirtualServerState) -> str:
        """Return what the kernel says of the way to a virtual server that is cut off."""
        return next((text for server in state.real_servers.values() if (text := self._without_path(server))), "")

    def reconfigure(self, settings: BlameSettings, virtual_servers: Iterable[VirtualServerState]) -> None:
        """Take a new configuration in."""
        self.settings = settings
        states = list(virtual_servers)
        keys = {state.spec.key for state in states}
        servers = [server for state in states for server in state.real_servers.values()]
        checks = [check.spec for server in servers for check in server.checks]
        self._hosts = dict.fromkeys(spec.target.address for spec in checks)
        self._hosts.pop(NOWHERE.address, None)
        kinds = {(id(spec.schedule), spec.sentinel): spec for spec in checks}  # of thousands of checks there are a few
        self._window_s = min(max(map(_noticed_within_s, kinds.values()), default=0.0), WINDOW_MAX_S)
        there = {server.spec.endpoint.address for server in servers if not _probed_itself(server)}
        sorry = {state.spec.sorry_server.endpoint.address for state in states if state.spec.sorry_server}
        self._others = frozenset((there | sorry) - self._hosts.keys())
        self._silent = {host: since for host, since in self._silent.items() if host in self._hosts}
        self._spent &= self._hosts.keys()
        self._cut_off = {key: since for key, since in self._cut_off.items() if key in keys}
        self._despite, self._refuted = {}, self._refuted & keys
        self._back = {key: at for key, at in self._back.items() if key in keys}
        if not settings.on:
            self._cut_off, self.silence = {}, None

    # -- news ------------------------------------------------------------------------------------------------------

    def paths_seen(self, lost: Mapping[IPAddress, str] | None) -> None:
        """The kernel's word on which targets have no path; None: nobody can know. `judge_path` each virtual server then."""
        self._watched = lost is not None
        self.lost = lost or {}

    def judge_path(self, state: VirtualServerState, now: float) -> None:
        """Bring up to date whether a virtual server is cut off, and give its held servers their last round when it is no more."""
        key = state.spec.key
        since = self._cut_off.get(key)
        servers = state.real_servers.values()
        if self.settings.on and self.lost and servers and all(map(self._without_path, servers)):
            if since is None and key not in self._refuted:
                self._cut_off[key] = now
            return
        self._refuted.discard(key)
        if since is None:
            return
        del self._cut_off[key]
        self._back[key] = now
        for server in state.real_servers.values():
            hold = server.hold
            if hold is not None and hold.by is HeldBy.BLAME:
                last = now if self._without_path(server) else now + round_s(server, self.settings.hold_max)
                state.hold(server, replace(hold, until=last, look_at=math.inf))

    def refuted(self, state: VirtualServerState, now: float) -> bool:
        """Tell, once, that somebody answers of a virtual server that is cut off: then those who do not have only themselves to blame."""
        key = state.spec.key
        since = self._cut_off.get(key)
        if since is None or not self._somebody_answers(state, since, now):
            return False
        del self._cut_off[key]
        self._refuted.add(key)
        for server in state.real_servers.values():
            if server.hold is not None and server.hold.by is HeldBy.BLAME:
                state.hold(server, replace(server.hold, until=now))
        return True

    def heard(self, spec: CheckSpec, event: CheckReported, now: float) -> bool:
        """Take note of a report; return whether it may have become silent around us, for `judge_silence` to say."""
        result, host = event.result, spec.target.address
        if not self.settings.on or result is None or spec.target == NOWHERE or result.reason in INCONCLUSIVE:
            return False
        if not event.failures or not _is_soft(spec, result):
            self._answered(host, now)
            return False
        self._silent.setdefault(host, now - result.duration_s)
        return self.silence is None and len(self._silent) >= max(HOSTS_MIN, SILENT_SHARE * len(self._hosts))

    def judge_silence(self, states: Iterable[VirtualServerState], now: float) -> bool:
        """Decide whether it is silent around us; return whether that is new. Asked only when `heard` says that it may be."""
        fresh = {
            host: since
            for host, since in self._silent.items()
            if since > now - self._window_s and host not in self._spent
        }
        lately = len(self._hosts) - (len(self._silent) - len(fresh))
        if len(fresh) < max(HOSTS_MIN, SILENT_SHARE * lately):
            return False
        if not _unrelated(states, fresh.keys()):
            return False
        outer = self._window_s + min(self._window_s, ROUND_MAX_S)
        span = lasting(now - min(fresh.values()))
        text = f"{len(fresh)} of {counted(lately, 'host')} fell silent within {span}, and hardly any other answers"
        self.silence = Silence(now, now + outer, frozenset(fresh), text)
        return True

    def over(self, now: float) -> bool:
        """End a silence whose time is over; return whether it ended now."""
        if self.silence is None or now < self.silence.until:
            return False
        self._spent |= self.silence.suspects | self._silent.keys()
        self.silence = None
        return True

    def next_deadline(self) -> float:
        """Return when time alone changes something."""
        return self.silence.until if self.silence else math.inf

    def _answered(self, host: IPAddress, now: float) -> None:
        self._silent.pop(host, None)
        self._spent.discard(host)
        silence = self.silence
        if silence is not None and host in silence.suspects and not silence.answers:
            # The way is back: the others have one more round to say so.
            self.silence = replace(silence, until=now + ROUND_MAX_S, answers=True)

    # -- the answer ------------------------------------------------------------------------------------------------

    def hold_for(self, state: VirtualServerState, server: RealServerState, now: float) -> Hold | None:
        """Return the hold of a real server that is DOWN, if the evidence speaks for one."""
        if not self.settings.on or server.live or not server.proven:
            return None
        known = server.hold if server.hold is not None and server.hold.by is HeldBy.BLAME else None
        found = (
            self._by_path(state, server, known, now) or self._by_silence(server, known) or self._by_itself(server, now)
        )
        if found is not None and known is not None:  # a link that comes and goes prolongs nothing beyond the bound
            bound = known.since + self.settings.hold_max + round_s(server, self.settings.hold_max)
            found = replace(found, since=known.since, until=min(found.until, bound))
        if found is not None and found.until > now:
            return found
        return known if known is not None and known.until > now and _doubtful(server, _ANSWERED) else None

    def _by_path(
        self, state: VirtualServerState, server: RealServerState, known: Hold | None, now: float
    ) -> Hold | None:
        """No path leads to any real server, or none did when the last probe began."""
        since = self._cut_off.get(state.spec.key)
        if since is None:
            return self._by_path_before(state, server, known)
        if (known is None and server.since < since - NEWS_MAX_S) or not _doubtful(server, _ANSWERED):
            return None
        until = since + self.settings.hold_max
        sorry = state.spec.sorry_server
        if sorry is not None and sorry.endpoint.address not in self.lost:
            until = min(until, max(since, server.since) + min(detection_s(server), ROUND_MAX_S))
        look_at = known.look_at if known is not None and known.look_at > now else now + detection_s(server)
        return Hold(HeldBy.BLAME, now, until, self._without_path(server), look_at)

    def _somebody_answers(self, state: VirtualServerState, since: float, now: float) -> bool:
        """Tell whether a real server answers all the same. Looked at once in `LOOK_S`: thousands of verdicts may ask at a time."""
        looked, found = self._despite.get(state.spec.key, (-math.inf, False))
        if not since <= looked <= now < looked + LOOK_S:
            found = any(_answers_despite(server, since, now) for server in state.real_servers.values())
            self._despite[state.spec.key] = now, found
        return found

    def _by_path_before(self, state: VirtualServerState, server: RealServerState, known: Hold | None) -> Hold | None:
        back = self._back.get(state.spec.key)
        if back is None or (known is None and server.since < back):
            return None
        down = [check for check in server.checks if check.health is Health.DOWN]
        if not down or not _doubtful(server, _ANSWERED) or self._without_path(server):
            return None
        if any(check.began_at > back + BACK_S for check in down):
            return None
        return Hold(HeldBy.BLAME, back, back + round_s(server, self.settings.hold_max), "its path is only just back")

    def _by_silence(self, server: RealServerState, known: Hold | None) -> Hold | None:
        silence = self.silence
        if silence is None or (known is None and server.since < silence.since - self._window_s) or not _silent(server):
            return None
        hosts = {check.spec.target.address for check in server.checks}
        if not any(self._silent.get(host, -math.inf) > silence.since - self._window_s for host in hosts - self._spent):
            return None
        own_round_s = min(detection_s(server), ROUND_MAX_S)
        if silence.answers:
            until = silence.until - ROUND_MAX_S + own_round_s
        else:
            until = min(silence.until, max(server.since, silence.since) + own_round_s)
        return Hold(HeldBy.BLAME, silence.since, until, silence.text)

    def _by_itself(self, server: RealServerState, now: float) -> Hold | None:
        """Our own routing refused the probe: the kernel's word on the path will be here at once."""
        if not self._watched or now >= server.since + NEWS_MAX_S:
            return None
        down = [check for check in server.checks if check.health is Health.DOWN]
        if not down or not all(_no_way(check) for check in down):
            return None
        return Hold(HeldBy.BLAME, now, server.since + NEWS_MAX_S, "this host has no way to it")

    def _without_path(self, server: RealServerState) -> str:
        """Return why there is no path to a real server, "" when there is one."""
        addresses = [check.spec.target.address for check in server.checks if check.spec.target != NOWHERE]
        for address in (*addresses, server.spec.endpoint.address):
            if address in self.lost:
                return self.lost[address]
        return ""


def _probed_itself(server: RealServerState) -> bool:
    """Tell whether a check goes to the real server itself, as most do: then it is among the hosts already."""
    return bool(server.checks) and server.checks[0].spec.target is server.spec.endpoint


def detection_s(server: RealServerState) -> float:
    """Return the longest time from a real server's death to the verdict, in seconds."""
    return max((_noticed_within_s(check.spec) for check in server.checks), default=0.0)


def _noticed_within_s(check: CheckSpec) -> float:
    schedule = check.schedule
    probes = schedule.retry + 1 + (check.sentinel and not schedule.retry)  # beside a sentinel once more
    return schedule.longest_pause + probes * schedule.connect_timeout + schedule.retry * schedule.retry_pause


def round_s(server: RealServerState, limit_s: float) -> float:
    """Return how long a real server that is back may need to be UP again, in seconds; `limit_s` bounds it."""
    longest = 0.0
    for check in server.checks:
        schedule = check.spec.schedule
        pause = max(schedule.down_pause, schedule.rising_pause)
        longest = max(longest, (schedule.rise + 1) * (pause + schedule.connect_timeout))
    return min(longest, limit_s)


def _is_soft(spec: CheckSpec, result: Result) -> bool:
    return badness.of_result(spec.type, result) in _SOFT


def _silent(server: RealServerState) -> bool:
    """Tell whether all that is DOWN about a real server is silence."""
    down = [check for check in server.checks if check.health is Health.DOWN]
    return bool(down) and all(check.spec.target != NOWHERE and badness.of_check(check) in _SOFT for check in down)


def _doubtful(server: RealServerState, answers: frozenset[Badness]) -> bool:
    """Tell whether none of what is DOWN about a real server is an answer."""
    down = [check for check in server.checks if check.health is Health.DOWN]
    return all(badness.of_check(check) not in answers for check in down)


def _no_way(check: Check) -> bool:
    return check.failure is not None and any(words in check.failure.detail for words in badness.NO_WAY_WORDS)


def _answers_despite(server: RealServerState, since: float, now: float) -> bool:
    """Tell whether a real server answers though its path is lost since `since`: a check heard so, or had the time to fail and did not."""
    for check in server.checks:
        schedule = check.spec.schedule
        if check.spec.target == NOWHERE:
            continue
        spoke = check.heard_at is not None and check.heard_at > since + schedule.connect_timeout
        if spoke and check.failure is not None and badness.of_check(check) in _ANSWERED:
            return True
        pause = max(schedule.longest_pause, schedule.retry_pause)
        asked = now > since + pause + 2 * schedule.connect_timeout
        if asked and check.health is Health.UP and not check.failures:
            return True
    return False


def _hosts(state: VirtualServerState) -> set[IPAddress]:
    """Return the addresses that the checks of a virtual server probe."""
    return {
        check.spec.target.address
        for server in state.real_servers.values()
        for check in server.checks
        if check.spec.target != NOWHERE
    }


def _unrelated(states: Iterable[VirtualServerState], hosts: Iterable[IPAddress]) -> bool:
    """Tell whether these hosts belong to two virtual servers that have nothing to do with each other, by no chain of common hosts."""
    wanted = set(hosts)
    groups: list[set[IPAddress]] = []
    for state in states:
        members = _hosts(state) & wanted
        if not members:
            continue
        touching = [group for group in groups if group & members]
        groups = [group for group in groups if not group & members]
        groups.append(members.union(*touching))
    return len(groups) >= 2
