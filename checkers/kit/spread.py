"""Keeps the probes of many checks spread evenly over time, whatever threw them together. Pure: time and randomness are arguments.

Every pause is measured from the end of a probe, so checks that were in step once stay in step for ever: after this process stood still
and did all that was due at once, after a switch answered for a whole rack in one moment, after sentinels that ended together, after a
start without a warm-up. Nothing has to be known of the causes. The worker books each probe that is due; when its moment is fuller than
chance would make it, a probe that can wait (its check is in no transition) is moved to a random moment in the later half of its pause.
Never later than due, so no bound on noticing is touched; never earlier than half the pause; and never a retry.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

BUCKET_S = 0.1
"""How finely moments are told apart: two ticks of the timer."""

_MILLION = 1e6


class Random(Protocol):
    """The part of random.Random that is needed here."""

    def uniform(self, a: float, b: float) -> float:
        """Return a number between a and b."""


Booking: TypeAlias = tuple[float, float, float]
"""When a probe is due, its bucket, and its share: a millionth of a probe a second. (A plain tuple, for each probe makes one.)"""

NOWHERE: Booking = (0.0, -1.0, 0.0)
"""What is not booked."""


class Spread:
    """What is due when, in buckets. All numbers are whole, also where they are floats, so that nothing is left of what leaves."""

    __slots__ = ("_booked", "_share")

    def __init__(self) -> None:
        self._booked: dict[float, int] = {}  # bucket → how many
        self._share = 0.0  # of all that are booked

    def book(self, now: float, due: float, rng: Random, *, movable: bool, instead_of: Booking = NOWHERE) -> Booking:
        """Book a probe that is due at `due`, instead of an earlier one; `movable`: it may come earlier. Seconds of one clock."""
        if instead_of is not NOWHERE:
            self.leave(instead_of)
        booked, pause, bucket = self._booked, due - now, due // BUCKET_S
        there = booked.get(bucket, 0)
        if pause <= BUCKET_S:
            pause = BUCKET_S
        elif movable:
            mean = self._share * BUCKET_S / _MILLION
            above = there - mean - 2
            # three standard deviations, and two: chance does that hardly ever
            if above >= 0 and above * above >= 9 * mean:
                due = now + rng.uniform(pause / 2, pause)
                bucket = due // BUCKET_S
                there = booked.get(bucket, 0)
        booked[bucket] = there + 1
        share = _MILLION // pause
        self._share += share
        return due, bucket, share

    def leave(self, booking: Booking) -> None:
        """The probe began, or will never be: its moment is free again."""
        _, bucket, share = booking
        if bucket < 0:
            return
        self._share -= share
        left = self._booked[bucket] - 1
        if left:
            self._booked[bucket] = left
        else:
            del self._booked[bucket]
