"""Frames between a checker worker and its supervisor as bytes; the values are in `kit.frames`. Pure: no I/O, no clock.

Worker → supervisor                                                  Supervisor → worker

    Hello(pid, caged, version)                                           Assign(epoch, generation, part, parts, jobs)
    Report(epoch, generation, seq, job, health, …, result, weight)       AskState()
    State(epoch, generation, seq, entries, last)                         Stop()
    Beat(epoch, generation, seq, loop_lag_s, …)                          Grant(number, ending, status, text)
    Ask(epoch, generation, seq, number, job, favour)

    encode(frame) -> bytes                                               assign_frames(epoch, generation, jobs) -> list[bytes]
    decode_from_worker(data) -> Hello | Report | State | Beat | Ask
    decode_from_supervisor(data) -> Assign | AskState | Stop | Grant
    state_frames(epoch, generation, seq, entries) -> list[State]

`epoch` is the number of this incarnation of the worker process, `generation` the number of the configuration, both given by the
supervisor. `seq` counts the Report, State, Beat and Ask frames of one incarnation: 1, 2, 3 …, never a gap. What comes from a worker is
hostile input: the process parses bytes from the network and may be owned. So the hot frames are fixed records, and everything
is checked for exact length, type, range, finite numbers and printable text; anything else is a WireError.
Whether a job belongs to this worker, and whether epoch and seq fit, is the supervisor's to check.

A full state and an assignment may need several frames: a State says `last` in its last one, an Assign says `part` of `parts` (from 0),
and the worker applies it when all parts have come. Sources: reliability.md, section 6.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Sequence
from typing import NoReturn

from checkers.kit.api import DETAIL_MAX_BYTES, Ending, Favour, Health, Reason
from checkers.kit.frames import (
    DURATION_BUCKETS_S,
    FAULTS_MAX,
    VERSION,
    Ask,
    AskState,
    Assign,
    Beat,
    Frame,
    FromSupervisor,
    FromWorker,
    Grant,
    Hello,
    Histogram,
    Report,
    ReportResult,
    State,
    StateEntry,
    Stop,
)
from checkers.kit.job import WEIGHT_MAX, Job, encode_job, job_from

__all__ = [
    "DURATION_BUCKETS_S",
    "FAULTS_MAX",
    "VERSION",
    "Ask",
    "AskState",
    "Assign",
    "Beat",
    "Ending",
    "Favour",
    "Frame",
    "FromSupervisor",
    "FromWorker",
    "Grant",
    "Health",
    "Hello",
    "Histogram",
    "Job",
    "Reason",
    "Report",
    "ReportResult",
    "State",
    "StateEntry",
    "Stop",
    "WireError",
    "assign_frames",
    "decode_from_supervisor",
    "decode_from_worker",
    "encode",
    "state_frames",
]

STATE_FRAME_MAX_BYTES = 32_768
"""Longest State frame."""

ASSIGN_FRAME_MAX_BYTES = 65_536
"""Longest Assign frame; so this is also the most that one job may take."""

COUNTS_MAX = 512
"""Most entries of Beat.counts: checker types times reasons, with room."""

SECONDS_MAX = 1e12
"""Most seconds of any kind: the end of a certificate is at most 9999-12-31, 253402300799."""

_BUCKETS = len(DURATION_BUCKETS_S) + 1


class WireError(ValueError):
    """A frame is not what it must be. The text says where, what was expected and what was there."""


_HELLO, _REPORT, _STATE, _BEAT, _ASSIGN, _ASK_STATE, _STOP, _ASK, _GRANT = range(1, 10)

_HEAD = struct.Struct(">BB")  # version, type
_HELLO_HEAD = struct.Struct(">BBIH")  # … pid, length of caged
_REPORT_HEAD = struct.Struct(
    ">BBIIQIBIIBqB"
)  # … epoch generation seq job health edges failures has-weight weight has-result
_RESULT_HEAD = struct.Struct(">QBddHHH")  # probe reason duration_s expires_at, lengths of detail, sent, received
_STATE_HEAD = struct.Struct(">BBIIQBH")  # … epoch generation seq last number-of-entries
_STATE_ENTRY = struct.Struct(">IBIIBq")  # job health edges failures has-weight weight
_BEAT_HEAD = struct.Struct(
    ">BBIIQddIIIBHBB"
)  # … epoch generation seq loop_lag_s run_delay_s in_flight overdue naps stretch, numbers of counts, durations and faults
_TYPE_LENGTH = struct.Struct(">B")
_COUNT = struct.Struct(">BQ")  # reason count
_FAULT_COUNT = struct.Struct(">Q")
_HISTOGRAM = struct.Struct(f">{_BUCKETS}Qd")
_ASK_FRAME = struct.Struct(">BBIIQIIB")  # … epoch generation seq number job favour
_GRANT_HEAD = struct.Struct(">BBIBBH")  # … number ending status, length of text
_ASSIGN_HEAD = struct.Struct(">BBIIHH")  # … epoch generation part parts; JSON follows

STATE_ENTRIES_MAX = (STATE_FRAME_MAX_BYTES - _STATE_HEAD.size) // _STATE_ENTRY.size
"""Most entries of one State frame."""


def encode(frame: Frame) -> bytes:
    """Return the bytes of `frame`. Raises WireError when a value does not fit the wire (too long, out of range)."""
    try:
        match frame:
            case Hello():
                caged = _text_out(frame.caged)
                return _HELLO_HEAD.pack(frame.version, _HELLO, frame.pid, len(caged)) + caged
            case Report():
                return _encode_report(frame)
            case State():
                return _encode_state(frame)
            case Beat():
                return _encode_beat(frame)
            case Ask():
                levels = frame.epoch, frame.generation, frame.seq, frame.number, frame.job, frame.favour
                return _ASK_FRAME.pack(VERSION, _ASK, *levels)
            case Grant():
                text = _text_out(frame.text)
                head = _GRANT_HEAD.pack(VERSION, _GRANT, frame.number, frame.ending, frame.status, len(text))
                return head + text
            case Assign():
                return _assign_out(frame, [encode_job(job).encode() for job in frame.jobs])
            case AskState():
                return _HEAD.pack(VERSION, _ASK_STATE)
            case Stop():
                return _HEAD.pack(VERSION, _STOP)
    except struct.error as error:
        raise WireError(f"{type(frame).__name__}: a number does not fit the wire: {error}") from error


def decode_from_worker(data: bytes) -> FromWorker:
    """Read one frame of a worker. Raises WireError for anything that is not exactly one."""
    kind = _kind(data)
    try:
        match kind:
            case 1:
                return _decode_hello(data)
            case 2:
                return _decode_report(data)
            case 3:
                return _decode_state(data)
            case 4:
                return _decode_beat(data)
            case 8:
                return _decode_ask(data)
            case _:
                raise WireError(f"frame: expected a type from a worker (1 to 4, 8), got {kind}")
    except struct.error as error:
        raise WireError(f"frame of type {kind}: cut off after {len(data)} bytes") from error


def decode_from_supervisor(data: bytes) -> FromSupervisor:
    """Read one frame of the supervisor. Raises WireError for anything that is not exactly one."""
    kind = _kind(data)
    try:
        match kind:
            case 5:
                return _decode_assign(data)
            case 6:
                _require_length("ask-state", data, _HEAD.size)
                return AskState()
            case 7:
                _require_length("stop", data, _HEAD.size)
                return Stop()
            case 9:
                return _decode_grant(data)
            case _:
                raise WireError(f"frame: expected a type from the supervisor (5 to 7, 9), got {kind}")
    except struct.error as error:
        raise WireError(f"frame of type {kind}: cut off after {len(data)} bytes") from error


def state_frames(epoch: int, generation: int, first_seq: int, entries: Sequence[StateEntry]) -> list[State]:
    """Return the State frames of a full state, numbered from `first_seq`; at least one, the last one marked."""
    starts = range(0, max(len(entries), 1), STATE_ENTRIES_MAX)
    return [
        State(
            epoch,
            generation,
            first_seq + number,
            tuple(entries[start : start + STATE_ENTRIES_MAX]),
            last=start + STATE_ENTRIES_MAX >= len(entries),
        )
        for number, start in enumerate(starts)
    ]


def assign_frames(epoch: int, generation: int, jobs: Iterable[Job]) -> list[bytes]:
    """Return the Assign frames of a whole assignment, each at most ASSIGN_FRAME_MAX_BYTES; at least one.

    Raises WireError when a single job does not fit a frame.
    """
    room = ASSIGN_FRAME_MAX_BYTES - _ASSIGN_HEAD.size - len(b"[]")
    parts: list[list[Job]] = [[]]
    used = 0
    for job in jobs:
        size = len(encode_job(job)) + len(",")
        if size > room:
            raise WireError(f"assign: job {job.id} takes {size} bytes, more than the {room} of a frame")
        if used + size > room:
            parts.append([])
            used = 0
        parts[-1].append(job)
        used += size
    return [encode(Assign(epoch, generation, part, len(parts), tuple(some))) for part, some in enumerate(parts)]


def _kind(data: bytes) -> int:
    if len(data) < _HEAD.size:
        raise WireError(f"frame: expected at least {_HEAD.size} bytes, got {len(data)}")
    version, kind = data[0], data[1]
    if version != VERSION:
        raise WireError(f"frame: expected version {VERSION}, got {version}")
    return kind


def _require_length(what: str, data: bytes, size: int) -> None:
    if len(data) != size:
        raise WireError(f"{what}: expected {size} bytes, got {len(data)}")


def _text_out(text: str) -> bytes:
    data = text.encode()
    if len(data) > DETAIL_MAX_BYTES or not text.isprintable():
        raise WireError(f"text: expected at most {DETAIL_MAX_BYTES} printable bytes, got {text!r}")
    return data


def _text_in(what: str, data: bytes, start: int, length: int) -> str:
    if length > DETAIL_MAX_BYTES or start + length > len(data):
        raise WireError(f"{what}: expected at most {DETAIL_MAX_BYTES} bytes within the frame, got a length of {length}")
    try:
        text = data[start : start + length].decode()
    except UnicodeDecodeError as error:
        raise WireError(f"{what}: not UTF-8: {error}") from error
    if not text.isprintable():
        raise WireError(f"{what}: not printable: {text!r}")
    return text


def _health_in(what: str, value: int) -> Health:
    if value > Health.DOWN:
        raise WireError(f"{what}: expected a health of 0 to {Health.DOWN.value}, got {value}")
    return Health(value)


def _reason_in(what: str, value: int) -> Reason:
    try:
        return Reason(value)
    except ValueError:
        raise WireError(f"{what}: {value} is no reason") from None


def _flag_in(what: str, value: int) -> bool:
    if value > 1:
        raise WireError(f"{what}: expected 0 or 1, got {value}")
    return value == 1


def _seconds_in(what: str, value: float) -> float:
    if not (math.isfinite(value) and 0 <= value <= SECONDS_MAX):
        raise WireError(f"{what}: expected seconds, finite, not negative and at most {SECONDS_MAX:g}, got {value}")
    return value


def _weight_out(weight: int | None) -> tuple[bool, int]:
    return (False, 0) if weight is None else (True, weight)


def _weight_in(what: str, given: int, value: int) -> int | None:
    if abs(value) > WEIGHT_MAX:
        raise WireError(f"{what}: expected -{WEIGHT_MAX} to {WEIGHT_MAX}, got {value}")
    if _flag_in(what, given):
        return value
    if value:
        raise WireError(f"{what}: {value} stands where none is given")
    return None


def _decode_ask(data: bytes) -> Ask:
    _require_length("ask", data, _ASK_FRAME.size)
    _, _, epoch, generation, seq, number, job, favour = _ASK_FRAME.unpack(data)
    try:
        return Ask(epoch, generation, seq, number, job, Favour(favour))
    except ValueError:
        raise WireError(f"ask: {favour} is no favour") from None


def _decode_grant(data: bytes) -> Grant:
    _, _, number, ending, status, length = _GRANT_HEAD.unpack_from(data)
    text = _text_in("grant: text", data, _GRANT_HEAD.size, length)
    _require_length("grant", data, _GRANT_HEAD.size + length)
    try:
        return Grant(number, Ending(ending), status, text)
    except ValueError:
        raise WireError(f"grant: {ending} is no ending") from None


def _decode_hello(data: bytes) -> Hello:
    version, _, pid, length = _HELLO_HEAD.unpack_from(data)
    caged = _text_in("hello: caged", data, _HELLO_HEAD.size, length)
    _require_length("hello", data, _HELLO_HEAD.size + length)
    return Hello(pid, caged, version)


def _encode_report(frame: Report) -> bytes:
    result = frame.result
    head = _REPORT_HEAD.pack(
        VERSION,
        _REPORT,
        frame.epoch,
        frame.generation,
        frame.seq,
        frame.job,
        frame.health,
        frame.edges,
        frame.failures,
        *_weight_out(frame.weight),
        result is not None,
    )
    if result is None:
        return head
    detail, sent, received = _text_out(result.detail), _text_out(result.sent), _text_out(result.received)
    seconds = _seconds_in("report: duration", result.duration_s)
    expires_at = _seconds_in("report: expiry", result.expires_at)
    lengths = len(detail), len(sent), len(received)
    return (
        head + _RESULT_HEAD.pack(result.probe, result.reason, seconds, expires_at, *lengths) + detail + sent + received
    )


def _decode_report(data: bytes) -> Report:
    _, _, epoch, generation, seq, job, health, edges, failures, *weighed, has_result = _REPORT_HEAD.unpack_from(data)
    known = _health_in("report: health", health)
    weight = _weight_in("report: weight", *weighed)
    if not _flag_in("report: has result", has_result):
        _require_length("report", data, _REPORT_HEAD.size)
        return Report(epoch, generation, seq, job, known, edges, failures, None, weight)
    probe, reason, duration_s, expires_at, *lengths = _RESULT_HEAD.unpack_from(data, _REPORT_HEAD.size)
    start = _REPORT_HEAD.size + _RESULT_HEAD.size
    texts = []
    for what, length in zip(("detail", "sent", "received"), lengths, strict=True):
        texts.append(_text_in(f"report: {what}", data, start, length))
        start += length
    _require_length("report", data, start)
    result = ReportResult(
        probe,
        _reason_in("report: reason", reason),
        _seconds_in("report: duration", duration_s),
        detail=texts[0],
        sent=texts[1],
        received=texts[2],
        expires_at=_seconds_in("report: expiry", expires_at),
    )
    return Report(epoch, generation, seq, job, known, edges, failures, result, weight)


def _encode_state(frame: State) -> bytes:
    if len(frame.entries) > STATE_ENTRIES_MAX:
        raise WireError(f"state: expected at most {STATE_ENTRIES_MAX} entries, got {len(frame.entries)}")
    head = _STATE_HEAD.pack(VERSION, _STATE, frame.epoch, frame.generation, frame.seq, frame.last, len(frame.entries))
    pack = _STATE_ENTRY.pack
    return head + b"".join(
        pack(entry.job, entry.health, entry.edges, entry.failures, *_weight_out(entry.weight))
        for entry in frame.entries
    )


def _decode_state(data: bytes) -> State:
    _, _, epoch, generation, seq, last, number = _STATE_HEAD.unpack_from(data)
    if number > STATE_ENTRIES_MAX:
        raise WireError(f"state: expected at most {STATE_ENTRIES_MAX} entries, got {number}")
    _require_length("state", data, _STATE_HEAD.size + number * _STATE_ENTRY.size)
    entries = tuple(
        StateEntry(job, _health_in("state: health", health), edges, failures, _weight_in("state: weight", *weighed))
        for job, health, edges, failures, *weighed in _STATE_ENTRY.iter_unpack(memoryview(data)[_STATE_HEAD.size :])
    )
    return State(epoch, generation, seq, entries, _flag_in("state: last", last))


def _name_out(name: str) -> bytes:
    data = _text_out(name)
    return _TYPE_LENGTH.pack(len(data)) + data


def _name_in(data: bytes, start: int) -> tuple[str, int]:
    (length,) = _TYPE_LENGTH.unpack_from(data, start)
    start += _TYPE_LENGTH.size
    return _text_in("beat: name", data, start, length), start + length


def _histogram_out(histogram: Histogram) -> bytes:
    return _HISTOGRAM.pack(*histogram.counts, _seconds_in("beat: sum", histogram.sum_s))


def _histogram_in(data: bytes, start: int) -> tuple[Histogram, int]:
    *counts, sum_s = _HISTOGRAM.unpack_from(data, start)
    return Histogram(tuple(counts), _seconds_in("beat: sum", sum_s)), start + _HISTOGRAM.size


def _encode_beat(frame: Beat) -> bytes:
    if len(frame.counts) > COUNTS_MAX or len(frame.faults) > FAULTS_MAX or not frame.stretch:
        raise WireError(
            f"beat: {len(frame.counts)} counts, {len(frame.faults)} faults, stretch {frame.stretch} cannot be"
        )
    head = _BEAT_HEAD.pack(
        VERSION,
        _BEAT,
        frame.epoch,
        frame.generation,
        frame.seq,
        _seconds_in("beat: loop lag", frame.loop_lag_s),
        _seconds_in("beat: run delay", frame.run_delay_s),
        frame.in_flight,
        frame.overdue,
        frame.naps,
        frame.stretch,
        len(frame.counts),
        len(frame.durations),
        len(frame.faults),
    )
    counts = b"".join(_name_out(name) + _COUNT.pack(reason, count) for name, reason, count in frame.counts)
    durations = b"".join(_name_out(name) + _histogram_out(histogram) for name, histogram in frame.durations)
    faults = b"".join(_name_out(name) + _FAULT_COUNT.pack(count) for name, count in frame.faults)
    return head + counts + durations + _histogram_out(frame.schedule_lag) + faults


def _decode_beat(data: bytes) -> Beat:
    _, _, epoch, generation, seq, lag_s, run_delay_s, in_flight, overdue, naps, stretch, *numbers = (
        _BEAT_HEAD.unpack_from(data)
    )
    counts_number, durations_number, faults_number = numbers
    if counts_number > COUNTS_MAX or faults_number > FAULTS_MAX or not stretch:
        raise WireError(f"beat: {counts_number} counts, {faults_number} faults or a stretch of {stretch} cannot be")
    start = _BEAT_HEAD.size
    counts = []
    for _ in range(counts_number):
        name, start = _name_in(data, start)
        reason, count = _COUNT.unpack_from(data, start)
        start += _COUNT.size
        counts.append((name, _reason_in("beat: reason", reason), count))
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
    _require_length("beat", data, start)
    return Beat(
        epoch,
        generation,
        seq,
        _seconds_in("beat: loop lag", lag_s),
        in_flight,
        overdue,
        tuple(counts),
        tuple(durations),
        schedule_lag,
        _seconds_in("beat: run delay", run_delay_s),
        naps,
        stretch,
        tuple(faults),
    )


def _assign_out(frame: Assign, jobs: list[bytes]) -> bytes:
    head = _ASSIGN_HEAD.pack(VERSION, _ASSIGN, frame.epoch, frame.generation, frame.part, frame.parts)
    data = head + b"[" + b",".join(jobs) + b"]"
    if len(data) > ASSIGN_FRAME_MAX_BYTES:
        raise WireError(f"assign: expected at most {ASSIGN_FRAME_MAX_BYTES} bytes, got {len(data)}")
    return data


def _decode_assign(data: bytes) -> Assign:
    _, _, epoch, generation, part, parts = _ASSIGN_HEAD.unpack_from(data)
    if part >= parts:
        raise WireError(f"assign: part {part} of {parts}")
    try:
        raw = json.loads(data[_ASSIGN_HEAD.size :], parse_constant=_no_constant)
        if not isinstance(raw, list):
            raise WireError("assign: expected a list of jobs")
        frame = Assign(epoch, generation, part, parts, tuple(job_from(item) for item in raw))
        encode(frame)  # what cannot be said again (too long, a number beyond all bounds) is refused
    except (ValueError, OverflowError, RecursionError) as error:
        raise WireError(f"assign: {error}") from error
    return frame


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
