"""Many changes at once are one mail: which news go out by themselves, and which are told together. Pure; times are trio's seconds.

News collect for a short window, `smtp_group_within`. Up to SINGLES_MAX of them leave by themselves, each as keepalived would send it.
More than that are a storm: it collects until nothing new has come for a window, HOLD_WINDOWS of them at most, and then is one mail with
one line for each object. Each mail costs one of BURST_MAX credits, which come back slowly, so that trouble that drips (a rack whose
checks are a minute apart, a server that flaps) ends in one mail each HOLD_WINDOWS and never in hundreds. An object's last line is its real
state: a line may be replaced by a newer one of the same object, and they stand in the order of what they say.
"""

from __future__ import annotations

import math
from collections import Counter

from checkers.kit.frozen import frozen
from supervisor.notify._words import News, What
from supervisor.wording import counted

SINGLES_MAX = 4
"""More news than these within one window are one mail."""
HOLD_WINDOWS = 10
"""Longest time that a storm collects, in windows."""
BURST_MAX = 10
"""Mails that may go out at the pace of the windows; then it is one in HOLD_WINDOWS."""
OBJECTS_MAX = 10_000
"""Real and virtual servers that one mail is about; of the oldest beyond that, only the number is told."""
LINES_MAX = 500
"""Objects that a mail has a line for: some 100 KB."""


@frozen
class Text:
    """A mail to be: subject without the router's name, and lines."""

    subject: str
    lines: tuple[str, ...]


class Grouping:
    """Collects news. Owned by the mailer."""

    def __init__(self, window_s: float) -> None:
        """`window_s` above 0."""
        self._window_s = window_s
        self._credit = float(BURST_MAX)
        self._credit_at = 0.0
        self._clear()

    def _clear(self) -> None:
        self._first: list[News] = []  # the beginning, for as long as each may leave by itself
        self._latest: dict[tuple[What, str], News] = {}  # by object, in the order of their last change
        self._times: Counter[tuple[What, str]] = Counter()
        self._count = 0
        self._left_out = 0
        self._began_at = self._changed_at = 0.0

    def __len__(self) -> int:
        """How many changes wait."""
        return self._count

    def add(self, news: News, now: float) -> None:
        """Take one more in."""
        if self._count == 0:
            self._began_at = now
            self._regain(now)
        self._count += 1
        self._changed_at = now
        if self._count <= SINGLES_MAX:
            self._first.append(news)
        key = (news.what, news.name)
        self._latest.pop(key, None)
        self._latest[key] = news
        self._times[key] += 1
        if len(self._latest) > OBJECTS_MAX:
            oldest = next(iter(self._latest))
            del self._latest[oldest]
            self._left_out += self._times.pop(oldest)

    def due(self) -> float:
        """Return when what waits should be taken: a time, infinite when nothing waits."""
        if self._count == 0:
            return math.inf
        single = self._count <= SINGLES_MAX
        latest = self._began_at + HOLD_WINDOWS * self._window_s
        if self._credit < (self._count if single else 1):
            return latest
        if single:
            return self._began_at + self._window_s
        return min(self._changed_at + self._window_s, latest)

    def take(self, now: float) -> list[Text]:
        """Return the mails that what waits makes, oldest first; nothing waits any more."""
        self._regain(now)
        if self._count == 1 or self._count <= min(SINGLES_MAX, self._credit):
            mails = [Text(news.subject, (news.body,)) for news in self._first]
        else:
            mails = [self._summary()]
        self._credit = max(0.0, self._credit - len(mails))
        self._clear()
        return mails

    def _regain(self, now: float) -> None:
        regained = (now - self._credit_at) / (HOLD_WINDOWS * self._window_s)
        self._credit = min(float(BURST_MAX), self._credit + regained)
        self._credit_at = now

    def _summary(self) -> Text:
        """One mail for all: how many of what, then the objects in the order of their last change, the oldest cut where it is too much."""
        kinds = Counter((news.what, news.up) for news in self._latest.values())
        parts = [
            f"{kinds[what, up]} {_counted(what, kinds[what, up])} {'UP' if up else 'DOWN'}"
            for what in What
            for up in (False, True)
            if kinds[what, up]
        ]
        objects = list(self._latest.items())
        cut = max(len(objects) - LINES_MAX, 0)
        left_out = self._left_out + sum(self._times[key] for key, _ in objects[:cut])
        lines = [f"({counted(left_out, 'older change is', 'older changes are')} left out)"] if left_out else []
        for key, news in objects[cut:]:
            times = f"  (last of {self._times[key]} changes)" if self._times[key] > 1 else ""
            lines.append(f"{news.subject}  {news.body}{times}")
        return Text(f"{self._count} changes: {', '.join(parts)}", tuple(lines))


def _counted(what: What, number: int) -> str:
    word = {What.REAL_SERVER: "real server", What.VIRTUAL_SERVER: "virtual server"}[what]
    return word if number == 1 else word + "s"
