"""The bytes of a Beat (`kit.frames`), the one frame with lists in it: counts, durations and faults. Pure; `kit.wire` calls it."""

from __future__ import annotations

import struct

from checkers.kit.fields import WireError, reason_in, require_length, seconds_in, text_in, text_out
from checkers.kit.frames import BEAT, DURATION_BUCKETS_S, FAULTS_MAX, VERSION, Beat, Histogram

COUNTS_MAX = 512
"""Most entries of Beat.counts: checker types times reasons, with room."""

_BUCKETS = len(DURATION_BUCKETS_S) + 1
_BEAT_HEAD = struct.Struct(
    ">BBIIQddIIIBIQIIHBB"
)  # … epoch generation seq loop_lag_s run_delay_s in_flight overdue naps stretch, sentinels held, ended, given up and unaffordable,
# numbers of counts, durations and faults
_TYPE_LENGTH = struct.Struct(">B")
_COUNT = struct.Struct(">BQ")  # reason count
_FAULT_COUNT = struct.Struct(">Q")
_HISTOGRAM = struct.Struct(f">{_BUCKETS}Qd")


def encode_beat(frame: Beat) -> bytes:
    """Return the bytes of a beat. Raises WireError, struct.error."""
    if len(frame.counts) > COUNTS_MAX or len(frame.faults) > FAULTS_MAX or not frame.stretch:
        raise WireError(
            f"beat: {len(frame.counts)} counts, {len(frame.faults)} faults, stretch {frame.stretch} cannot be"
        )
    head = _BEAT_HEAD.pack(
        VERSION,
        BEAT,
        frame.epoch,
        frame.generation,
        frame.seq,
        seconds_in("beat: loop lag", frame.loop_lag_s),
        seconds_in("beat: run delay", frame.run_delay_s),
        frame.in_flight,
        frame.overdue,
        frame.naps,
        frame.stretch,
        frame.sentinels_held,
        frame.sentinels_ended,
        frame.sentinels_given_up,
        frame.sentinels_unaffordable,
        len(frame.counts),
        len(frame.durations),
        len(frame.faults),
    )
    counts = b"".join(_name_out(name) + _COUNT.pack(reason, count) for name, reason, count in frame.counts)
    durations = b"".join(_name_out(name) + _histogram_out(histogram) for name, histogram in frame.durations)
    faults = b"".join(_name_out(name) + _FAULT_COUNT.pack(count) for name, count in frame.faults)
    return head + counts + durations + _histogram_out(frame.schedule_lag) + faults


def decode_beat(data: bytes) -> Beat:
    """Read a beat. Raises WireError, struct.error when it is cut off."""
    _, _, epoch, generation, seq, lag_s, run_delay_s, in_flight, overdue, naps, stretch, *numbers = (
        _BEAT_HEAD.unpack_from(data)
    )
    *sentinels, counts_number, durations_number, faults_number = numbers
    if counts_number > COUNTS_MAX or faults_number > FAULTS_MAX or not stretch:
        raise WireError(f"beat: {counts_number} counts, {faults_number} faults or a stretch of {stretch} cannot be")
    start = _BEAT_HEAD.size
    counts = []
    for _ in range(counts_number):
        name, start = _name_in(data, start)
        reason, count = _COUNT.unpack_from(data, start)
        start += _COUNT.size
        counts.append((name, reason_in("beat: reason", reason), count))
    durations = []
    for _ in range(durations_number):
        name, start = _name_in(data, start)
        histogram, start = _histogram_in(data, start)
        durations.append((name, histogram))
    schedule_lag, start = _histogram_in(data, start)
    faults = []
    for _ in range(faults_number):
        name, start = _name_in(data, start)
        faults.append((name, *_FAULT_COUNT.unpack_from(data, start)))
        start += _FAULT_COUNT.size
    require_length("beat", data, start)
    return Beat(
        epoch,
        generation,
        seq,
        seconds_in("beat: loop lag", lag_s),
        in_flight,
        overdue,
        tuple(counts),
        tuple(durations),
        schedule_lag,
        seconds_in("beat: run delay", run_delay_s),
        naps,
        stretch,
        tuple(faults),
        *sentinels,
    )


def _name_out(name: str) -> bytes:
    data = text_out(name)
    return _TYPE_LENGTH.pack(len(data)) + data


def _name_in(data: bytes, start: int) -> tuple[str, int]:
    (length,) = _TYPE_LENGTH.unpack_from(data, start)
    start += _TYPE_LENGTH.size
    return text_in("beat: name", data, start, length), start + length


def _histogram_out(histogram: Histogram) -> bytes:
    return _HISTOGRAM.pack(*histogram.counts, seconds_in("beat: sum", histogram.sum_s))


def _histogram_in(data: bytes, start: int) -> tuple[Histogram, int]:
    *counts, sum_s = _HISTOGRAM.unpack_from(data, start)
    return Histogram(tuple(counts), seconds_in("beat: sum", sum_s)), start + _HISTOGRAM.size
