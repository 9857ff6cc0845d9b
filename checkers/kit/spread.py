"""Keeps the probes of many checks spread evenly over time, whatever threw them together. Pure: time and randomness are arguments.

Every pause is measured from the end of a probe, so checks that were in step once stay in step for ever: after this process stood still
and did all that was due at once, after a switch answered for a whole rack in one moment, after sentinels that ended together, after a
start without a warm-up. Nothing has to be known of the causes. The worker books each probe that is due; when its moment is fuller than
chance would make it, a probe that can wait (its check is in no transition) is moved to a random moment in the later half of its pause.
Never later than due, so no bound on noticing is touched; never earlier than half the pause; and never a retry.

Within a bucket it is the other way round: probes are drawn to its beginning, by a little of their pause each time, for together they cost
less (`kit.timer.MEETING_S`). Those that take no time come to rest there.
"""

from __future__ import annotations

from math import inf, sqrt
from typing import Protocol, TypeAlias

from checkers.kit.timer import MEETING_S, meeting_before

BUCKET_S = MEETING_S
"""How finely moments are told apart: two ticks of the timer."""

DRAWN = 1 / 16
"""So much of its pause a probe comes earlier at most to be there with others. Ours: a tick, which may have made it late, of a second."""

_MILLION = 1e6


class Random(Protocol):
    """The part of random.Random that is needed here."""

    def uniform(self, a: float, b: float) -> float:
        """Return a number between a and b."""


Booking: TypeAlias = tuple[float, float, float, float]
"""When a probe is due, when its bucket begins, the pause that was asked for, and its share: a millionth of a probe a second. (A plain
tuple, for each probe makes one.)"""

NOWHERE: Booking = (0.0, -1.0, 0.0, 0.0)
"""What is not booked."""

MANY = 64
"""So many buckets are nothing to clear up."""


class Spread:
    """What is due when, in buckets. All numbers are whole, also where they are floats, so that nothing is left of what leaves."""

    __slots__ = ("_booked", "_crowded", "_many", "_share")

    def __init__(self) -> None:
        self._booked: dict[float, int] = {}  # its beginning → how many; those of the past stay until there are many
        self._many = MANY
        self._share = 0.0  # of all that are booked
        self._crowded = inf  # so many in a bucket are no chance

    def book(self, now: float, pause: float, rng: Random, *, movable: bool, instead_of: Booking = NOWHERE) -> Booking:
        """Book a probe that is due after a pause, instead of one whose moment has come; `movable`: it may come earlier. Seconds."""
        _, _, pause_before, share = instead_of
        if pause != pause_before:
            share = self._reckon(pause, share)
        booked = self._booked
        due = now + pause
        bucket = meeting_before(due)
        there = booked.get(bucket, 0)
        if movable and pause > BUCKET_S:
            if there < self._crowded:
                if bucket < due:
                    due = max(bucket, due - DRAWN * pause)
            else:
                due = now + rng.uniform(pause / 2, pause)
                bucket = meeting_before(due)
                there = booked.get(bucket, 0)
        booked[bucket] = there + 1
        if not there and len(booked) > self._many:
            self._forget(now)
        return due, bucket, pause, share

    def leave(self, booking: Booking) -> None:
        """The probe will never be, or not then: its moment is free again."""
        _, bucket, _, share = booking
        if bucket < 0:
            return
        self._reckon(inf, share)
        left = self._booked.get(bucket, 1) - 1
        if left:
            self._booked[bucket] = left
        else:
            self._booked.pop(bucket, None)

    def _reckon(self, pause: float, share_before: float) -> float:
        """Return the share of a probe with that pause, which had another one before."""
        share = _MILLION // max(pause, BUCKET_S)
        self._share += share - share_before
        # three standard deviations, and two: chance does that hardly ever
        mean = self._share * BUCKET_S / _MILLION
        self._crowded = mean + 2 + 3 * sqrt(mean)
        return share

    def _forget(self, now: float) -> None:
        """What is before the bucket of `now` is over."""
        since = meeting_before(now)
        self._booked = {bucket: count for bucket, count in self._booked.items() if bucket >= since}
        self._many = 2 * len(self._booked) + MANY
