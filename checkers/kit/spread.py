"""Keeps the probes of many checks spread evenly over time, whatever threw them together. Pure: time and randomness are arguments.

Every pause is measured from the end of a probe, so checks that were in step once stay in step for ever: after this process stood still
and did all that was due at once, after a switch answered for a whole rack in one moment, after sentinels that ended together, after a
start without a warm-up. Nothing has to be known of the causes. The worker books each probe that is due; when its moment is fuller than
chance would make it, a probe that can wait (its check is in no transition) is moved to a random moment in the later half of its pause.
Never later than due, so no bound on noticing is touched; never earlier than half the pause; and never a retry.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

BUCKET_S = 0.1
"""How finely moments are told apart: two ticks of the timer."""

_MILLION = 1_000_000


class Random(Protocol):
    """The part of random.Random that is needed here."""

    def uniform(self, a: float, b: float) -> float:
        """Return a number between a and b."""


class Booking(NamedTuple):
    """A probe that is due at `due`. The rest is for `Spread.leave`."""

    due: float
    bucket: int
    share: int


NOWHERE = Booking(0.0, -1, 0)
"""What is not booked."""


class Spread:
    """What is due when, in buckets."""

    __slots__ = ("_due", "_share")

    def __init__(self) -> None:
        self._due: dict[int, int] = {}  # bucket → how many
        self._share = 0  # of all that are booked: a millionth of a probe a second

    def book(self, now: float, due: float, rng: Random, *, movable: bool) -> Booking:
        """Book a probe that is due at `due`; `movable`: it may come earlier. All times in seconds of one clock."""
        pause = due - now
        if movable and pause > BUCKET_S and self._due.get(int(due / BUCKET_S), 0) >= self._most():
            due = now + rng.uniform(pause / 2, pause)
        bucket, share = int(due / BUCKET_S), int(_MILLION / max(pause, BUCKET_S))
        self._due[bucket] = self._due.get(bucket, 0) + 1
        self._share += share
        return Booking(due, bucket, share)

    def leave(self, booking: Booking) -> None:
        """The probe began, or will never be: its moment is free again."""
        if booking.bucket < 0:
            return
        self._share -= booking.share
        left = self._due[booking.bucket] - 1
        if left:
            self._due[booking.bucket] = left
        else:
            del self._due[booking.bucket]

    def _most(self) -> float:
        """Return how many probes chance puts into one bucket hardly ever: three standard deviations above the mean, and two."""
        mean = self._share * BUCKET_S / _MILLION
        return mean + 3 * math.sqrt(mean) + 2
