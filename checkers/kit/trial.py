"""Has a server a place for an idle connection beside others? Asked once before a sentinel stays, and remembered.

Some servers serve one connection at a time: a small script, an appliance, whoever makes the TLS handshake before it accepts the next.
Under an idle connection they stand still, for probes and for clients. So a new sentinel is on trial: beside it one more connection is
opened and ended from our side, without a word. Who serves it notices that and ends it too, whatever protocol is spoken there; in the
queue behind the sentinel nobody does. Nothing of it is a probe: no verdict, no pause and no count has to do with it.

    trial = Trial(hold, timer, punctuality, released=…, ended=…)
    trial.begin()                                       # the sentinel stands
    released()                                          # no sign within TRIAL_S: close the sentinel, now
    ended(Outcome.FITS)

What comes after the sentinel was closed tells why there was no sign before: the server is served now (CROWDS), or it never says anything
to somebody who leaves (MUTE), so that nobody can know. If this process itself was late, nothing is known (NOTHING).
"""

from __future__ import annotations

import enum
from collections.abc import Callable

import trio

from checkers.kit.punctuality import Punctuality
from checkers.kit.timer import TICK_S, Alarm, Timer
from checkers.kit.watch import Held, News

TRIAL_S = 0.5
"""Longest stand-still of a server that has no place for a sentinel, beside two round trips. Ours: nobody calls a page slow for that."""

SYN_AGAIN_S = 1.0
"""A connection that took so long to open had a packet lost (RFC 6298, section 2), and tells nothing of the way to the server."""

AFTERWARDS_S = 2.0
"""So long the server may take to be there again after the sentinel was closed. Ours: a lost packet is sent again after a second."""

CROWDED_FIRST_S = 3600.0
"""The first pause after a trial that the server did not pass; it doubles. Ours: half a second of stand-still in an hour at most."""

CROWDED_MAX_S = 86_400.0
"""The longest: once a day somebody may have put another server there."""

DOUBT_FIRST_S = 30.0
"""The first pause after a time-out beside a sentinel and a success without it; it doubles. The next sentinel is on trial again."""

DOUBT_MAX_S = 300.0
"""The longest, as for a server that closes idle connections (kit.idling)."""

CALM_S = 3600.0
"""A sentinel that stood for so long clears its server of earlier doubts. Ours: a network that loses packets makes one now and then."""

_NO_CROWD_S, _NO_DOUBT_S = CROWDED_FIRST_S / 2, DOUBT_FIRST_S / 2
"""What doubles to the first pause. One object for all servers: there are thousands."""


class Outcome(enum.Enum):
    """What came of a trial."""

    FITS = "fits"
    CROWDS = "crowds"
    MUTE = "mute"
    NOTHING = "nothing"


class Room:
    """What is known of one server. `proven`: the sentinel that stands there leaves a place for others."""

    __slots__ = ("_crowded_s", "_doubt_s", "proven")

    def __init__(self) -> None:
        self.proven = False
        self._crowded_s = _NO_CROWD_S
        self._doubt_s = _NO_DOUBT_S

    def fits(self) -> None:
        """A trial was passed."""
        self.proven = True
        self._crowded_s = _NO_CROWD_S

    def unknown(self) -> None:
        """Another process may be there now."""
        self.proven = False

    def crowded(self) -> float:
        """A trial was not passed: return for how long to do without, in seconds."""
        self._crowded_s = min(2 * self._crowded_s, CROWDED_MAX_S)
        return self._crowded_s

    def doubted(self, age_s: float) -> float:
        """A probe timed out beside a sentinel that stood for `age_s`, and passed without: return for how long to do without, in seconds."""
        self.proven = False
        self._doubt_s = DOUBT_FIRST_S if age_s >= CALM_S else min(2 * self._doubt_s, DOUBT_MAX_S)
        return self._doubt_s


class Trial:
    """One trial. `stop` it, or it calls `ended` once; `released` at most once before that."""

    __slots__ = (
        "_alarm",
        "_ended",
        "_held",
        "_hold",
        "_mark",
        "_patience_s",
        "_punctuality",
        "_released",
        "_served_late",
        "_since",
        "_timer",
    )

    def __init__(
        self,
        hold: Callable[[Callable[[News], None]], Held | News],
        timer: Timer,
        punctuality: Punctuality,
        released: Callable[[], None],
        ended: Callable[[Outcome], None],
        trip_s: float = 0.0,
    ) -> None:
        """`hold` opens the connection that leaves again, and returns it or why it could not; `trip_s`: how long the sentinel's took."""
        self._timer = timer
        self._punctuality = punctuality
        self._released: Callable[[], None] | None = released
        self._ended: Callable[[Outcome], None] | None = ended
        self._since = trio.current_time()
        self._mark = punctuality.mark(self._since)
        self._served_late = Outcome.CROWDS
        self._patience_s = TRIAL_S - TICK_S + (2 * trip_s if trip_s < SYN_AGAIN_S else 0.0)
        self._alarm: Alarm = timer.call_at(self._since + self._patience_s, self._release)
        self._held: Held | None = None
        self._hold = hold

    def begin(self) -> None:
        """Open the connection that leaves again."""
        held = self._hold(self._told)
        if isinstance(held, News):
            self._told(held)
        else:
            self._held = held

    def stop(self) -> None:
        """Forget it: nobody wants to know any more."""
        self._ended = self._released = None
        self._alarm.cancel()
        if self._held is not None:
            self._held.close()

    def _told(self, news: News) -> None:
        """The network tells something of the connection that leaves."""
        match news:
            case News.CONNECTED:
                pass
            case News.ENDED | News.NOISE:
                self._end(Outcome.FITS if self._released is not None else self._served_late)
            case _:
                self._end(Outcome.NOTHING)

    def _release(self) -> None:
        """Nobody took note: the sentinel goes, so that whoever waits is served."""
        now = trio.current_time()
        if self._punctuality.too_late(self._mark, now, self._since + self._patience_s, self._patience_s):
            self._served_late = Outcome.NOTHING
        self._alarm = self._timer.call_at(now + AFTERWARDS_S, self._give_up)
        released, self._released = self._released, None
        if released is not None:
            released()

    def _give_up(self) -> None:
        self._end(Outcome.NOTHING if self._served_late is Outcome.NOTHING else Outcome.MUTE)

    def _end(self, outcome: Outcome) -> None:
        ended = self._ended
        self.stop()
        if ended is not None:
            ended(outcome)
