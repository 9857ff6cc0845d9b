"""How one server treats connections that say nothing, as far as sentinels have learned it. Pure; times are seconds.

A connection that ends does not mean much: nginx closes idle ones after 60 or 75 s, Apache after 5 to 20 s, and a graceful reload closes
all. So the ages at which sentinels ended are remembered:

* Two in a row that ended at about the same age, the server being well each time: that is its limit, and the next sentinel is renewed
  before it, after RENEW_SHARE of it.
* EARLY_MAX in a row that lived for less than SHORT_S, whatever the server is: it is not worth the while. The sentinel is given up for a
  time that grows from PAUSE_FIRST_S to PAUSE_MAX_S, until one lives longer.
"""

from __future__ import annotations

SHORT_S = 15.0
"""A sentinel that lives for less is not worth its connections. Ours: the probe comes every few seconds anyway."""

EARLY_MAX = 2
"""So many in a row that lived for less: one may have been a graceful reload."""

PAUSE_FIRST_S = 30.0
"""The first time without a sentinel; it doubles. Ours: a server that closes at once is asked twice a minute at most."""

PAUSE_MAX_S = 300.0
"""The longest time without one (peers.md, section 2.6: PyBal's back-off)."""

RENEW_SHARE = 0.8
"""A sentinel is renewed after this part of the server's limit. Ours: servers look at their idle connections every few seconds."""

SAME_SHARE, SAME_S = 0.1, 1.0
"""Two ages are about the same when they differ by less than this part of the longer, or by less than so many seconds."""


class Habit:
    """What is known of one server.

    `limit_s` is after how long it closes idle connections (0: nobody knows), `pause_s` for how long the sentinel is given up now
    (0: it is not).
    """

    __slots__ = ("_early", "_last_s", "limit_s", "pause_s")

    def __init__(self) -> None:
        self.limit_s = 0.0
        self.pause_s = 0.0
        self._early = 0
        self._last_s = 0.0  # age of the one before, of a server that was well

    def ended(self, age_s: float, *, well: bool) -> None:
        """A sentinel ended after `age_s`; `well`: the server was well all the same."""
        if well:
            if _about_the_same(age_s, self._last_s):
                self.limit_s = min(age_s, self._last_s)
            self._last_s = age_s
        if age_s >= SHORT_S:
            self._early, self.pause_s = 0, 0.0
            return
        self._early += 1
        if self._early >= EARLY_MAX:
            self.pause_s = min(max(2 * self.pause_s, PAUSE_FIRST_S), PAUSE_MAX_S)

    def lasted(self) -> None:
        """A sentinel lives for SHORT_S."""
        self._early, self.pause_s = 0, 0.0

    @property
    def renew_after_s(self) -> float:
        """After how long to renew a sentinel; 0: never."""
        return RENEW_SHARE * self.limit_s if self.limit_s >= SHORT_S else 0.0


def _about_the_same(one_s: float, other_s: float) -> bool:
    return abs(one_s - other_s) <= max(SAME_SHARE * max(one_s, other_s), SAME_S)
