"""Frames between a checker worker and its supervisor as bytes; the values are in `kit.frames`. Pure: no I/O, no clock.

Worker → supervisor                                                  Supervisor → worker

    Hello(pid, caged, version)                                           Assign(epoch, generation, part, parts, jobs, rate_max)
    Report(epoch, generation, seq, job, health, …, result, weight)       AskState()
    State(epoch, generation, seq, entries, last)                         Stop()
    Beat(epoch, generation, seq, loop_lag_s, …)                          Grant(number, ending, status, text)
    Ask(epoch, generation, seq, number, job, favour)                     Probe(number, job)
    Probed(epoch, generation, seq, number, job, result, …, steps)        Idle(idle, jobs)
    SentinelTold(epoch, generation, seq, job, state, age_s)              Look(jobs)

    encode(frame) -> bytes                                               assign_frames(epoch, generation, jobs, rate_max) -> list[bytes]
    decode_from_worker(data) -> Hello | Report | State | Beat | Ask | Probed | SentinelTold
    decode_from_supervisor(data) -> Assign | AskState | Stop | Grant | Probe | Idle | Look
    state_frames(epoch, generation, seq, entries) -> list[State]         idle_frames(idle, jobs) -> list[Idle]
                                                                         look_frames(jobs) -> list[Look]

`epoch` is the number of this incarnation of the worker process, `generation` the number of the configuration, both given by the
supervisor. `seq` counts all frames of one incarnation but Hello: 1, 2, 3 …, never a gap. What comes from a
worker is hostile input: the process parses bytes from the network and may be owned. So the hot frames are fixed records, and everything
is checked for exact length, type, range, finite numbers and printable text; anything else is a WireError.
Whether a job belongs to this worker, and whether epoch and seq fit, is the supervisor's to check.

A full state and an assignment may need several frames: a State says `last` in its last one, an Assign says `part` of `parts` (from 0),
and the worker applies it when all parts have come. The smallest pieces are `kit.fields`, two frames have files of their own: `kit.beatwire`
and `kit.probewire`. Sources: reliability.md, section 6.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn

from checkers.kit.api import Ending, Favour, Health, Reason, SentinelState
from checkers.kit.beatwire import COUNTS_MAX, decode_beat, encode_beat
from checkers.kit.fields import (
    WireError,
    flag_in,
    health_in,
    require_length,
    seconds_in,
    text_in,
    text_out,
    weight_in,
    weight_out,
)
from checkers.kit.frames import (
    ASK,
    ASK_STATE,
    ASSIGN,
    DURATION_BUCKETS_S,
    FAULTS_MAX,
    GRANT,
    HELLO,
    IDLE,
    JOBS_MAX,
    LOOK,
    PROBE,
    REPORT,
    SENTINEL,
    STATE,
    STOP,
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
    Idle,
    Look,
    Probe,
    Probed,
    Report,
    ReportResult,
    SentinelTold,
    State,
    StateEntry,
    Stop,
)
from checkers.kit.job import Job, encode_job, jobs_from
from checkers.kit.probewire import decode_probed, encode_probed, result_in, result_out
from checkers.kit.transcript import Step, StepKind

__all__ = [
    "COUNTS_MAX",
    "DURATION_BUCKETS_S",
    "FAULTS_MAX",
    "JOBS_MAX",
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
    "Idle",
    "Job",
    "Look",
    "Parcel",
    "Probe",
    "Probed",
    "Reason",
    "Report",
    "ReportResult",
    "SentinelState",
    "SentinelTold",
    "State",
    "StateEntry",
    "Step",
    "StepKind",
    "Stop",
    "WireError",
    "assign_frames",
    "decode_from_supervisor",
    "decode_from_worker",
    "encode",
    "idle_frames",
    "look_frames",
    "state_frames",
]

STATE_FRAME_MAX_BYTES = 32_768
"""Longest State frame."""

ASSIGN_FRAME_MAX_BYTES = 65_536
"""Longest Assign frame; so this is also the most that one job may take."""

_HEAD = struct.Struct(">BB")  # version, type
_HELLO_HEAD = struct.Struct(">BBIH")  # … pid, length of caged
_REPORT_HEAD = struct.Struct(
    ">BBIIQIBIIBqB"
)  # … epoch generation seq job health edges failures has-weight weight has-result
_STATE_HEAD = struct.Struct(">BBIIQBH")  # … epoch generation seq last number-of-entries
_STATE_ENTRY = struct.Struct(">IBIIBqI")  # job health edges failures has-weight weight probes
_ASK_FRAME = struct.Struct(">BBIIQIIB")  # … epoch generation seq number job favour
_GRANT_HEAD = struct.Struct(">BBIBBH")  # … number ending status, length of text
_SENTINEL_FRAME = struct.Struct(">BBIIQIBd")  # … epoch generation seq job state age_s
_PROBE_FRAME = struct.Struct(">BBII")  # … number job
_ASSIGN_HEAD = struct.Struct(">BBIIHHH")  # … epoch generation part parts rate-max; JSON follows
_IDLE_HEAD = struct.Struct(">BBBH")  # … idle, number of jobs; 32 bits of each follow
_LOOK_HEAD = struct.Struct(">BBH")  # … number of jobs; 32 bits of each follow

_ASSIGN_ROOM_BYTES = ASSIGN_FRAME_MAX_BYTES - _ASSIGN_HEAD.size - len(b"[]")

STATE_ENTRIES_MAX = (STATE_FRAME_MAX_BYTES - _STATE_HEAD.size) // _STATE_ENTRY.size
"""Most entries of one State frame."""


def encode(frame: Frame) -> bytes:
    """Return the bytes of `frame`. Raises WireError when a value does not fit the wire (too long, out of range)."""
    try:
        match frame:
            case Hello():
                caged = text_out(frame.caged)
                return _HELLO_HEAD.pack(frame.version, HELLO, frame.pid, len(caged)) + caged
            case Report():
                return _encode_report(frame)
            case State():
                return _encode_state(frame)
            case Beat():
                return encode_beat(frame)
            case Ask():
                levels = frame.epoch, frame.generation, frame.seq, frame.number, frame.job, frame.favour
                return _ASK_FRAME.pack(VERSION, ASK, *levels)
            case Grant():
                text = text_out(frame.text)
                head = _GRANT_HEAD.pack(VERSION, GRANT, frame.number, frame.ending, frame.status, len(text))
                return head + text
            case Assign():
                return _assign_out(frame, b",".join(encode_job(job).encode() for job in frame.jobs))
            case Probe():
                return _PROBE_FRAME.pack(VERSION, PROBE, frame.number, frame.job)
            case Idle() | Look():
                return _encode_jobs(frame)
            case Probed() | SentinelTold():
                return encode_probed(frame) if isinstance(frame, Probed) else _encode_sentinel(frame)
            case AskState() | Stop():
                return _HEAD.pack(VERSION, ASK_STATE if isinstance(frame, AskState) else STOP)
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
                return decode_beat(data)
            case 8:
                return _decode_ask(data)
            case 11:
                return decode_probed(data)
            case 13:
                return _decode_sentinel(data)
            case _:
                raise WireError(f"frame: expected a type from a worker (1 to 4, 8, 11, 13), got {kind}")
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
                require_length("ask-state", data, _HEAD.size)
                return AskState()
            case 7:
                require_length("stop", data, _HEAD.size)
                return Stop()
            case 9:
                return _decode_grant(data)
            case 10:
                require_length("probe", data, _PROBE_FRAME.size)
                return Probe(*_PROBE_FRAME.unpack(data)[2:])
            case 12:
                _, _, idle, number = _IDLE_HEAD.unpack_from(data)
                return Idle(flag_in("idle", idle), _jobs_in("idle", data, _IDLE_HEAD.size, number))
            case 14:
                return Look(_jobs_in("look", data, _LOOK_HEAD.size, _LOOK_HEAD.unpack_from(data)[2]))
            case _:
                raise WireError(f"frame: expected a type from the supervisor (5 to 7, 9, 10, 12, 14), got {kind}")
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


def idle_frames(jobs: Sequence[int], *, idle: bool) -> list[Idle]:
    """Return the Idle frames that say so of all these jobs; none for none."""
    return [Idle(idle, some) for some in _by_frame(jobs)]


def look_frames(jobs: Sequence[int]) -> list[Look]:
    """Return the Look frames of all these jobs; none for none."""
    return [Look(some) for some in _by_frame(jobs)]


def _by_frame(jobs: Sequence[int]) -> Iterator[tuple[int, ...]]:
    for start in range(0, len(jobs), JOBS_MAX):
        yield tuple(jobs[start : start + JOBS_MAX])


class Parcel:
    """A whole assignment on its way into frames, job by job: there may be thousands, and others want a turn between them."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._last: list[bytes] = []
        self._used = 0

    def add(self, job: Job) -> None:
        """Put one more job into it. Raises WireError when it does not fit a frame."""
        text = encode_job(job).encode()
        size = len(text) + len(",")
        if size > _ASSIGN_ROOM_BYTES:
            raise WireError(f"assign: job {job.id} takes {size} bytes, more than the {_ASSIGN_ROOM_BYTES} of a frame")
        if self._used + size > _ASSIGN_ROOM_BYTES:
            self._parts.append(b",".join(self._last))
            self._last, self._used = [], 0
        self._last.append(text)
        self._used += size

    def frames(self, epoch: int, generation: int, rate_max: int = 0) -> Iterator[bytes]:
        """Yield the Assign frames, each at most ASSIGN_FRAME_MAX_BYTES; at least one."""
        parts = [*self._parts, b",".join(self._last)]
        for number, part in enumerate(parts):
            yield _assign_out(Assign(epoch, generation, number, len(parts), (), rate_max), part)


def assign_frames(epoch: int, generation: int, jobs: Iterable[Job], rate_max: int = 0) -> list[bytes]:
    """Return the Assign frames of a whole assignment at once. Raises WireError when a single job does not fit a frame."""
    parcel = Parcel()
    for job in jobs:
        parcel.add(job)
    return list(parcel.frames(epoch, generation, rate_max))


def _kind(data: bytes) -> int:
    if len(data) < _HEAD.size:
        raise WireError(f"frame: expected at least {_HEAD.size} bytes, got {len(data)}")
    version, kind = data[0], data[1]
    if version != VERSION:
        raise WireError(f"frame: expected version {VERSION}, got {version}")
    return kind


def _decode_ask(data: bytes) -> Ask:
    require_length("ask", data, _ASK_FRAME.size)
    _, _, epoch, generation, seq, number, job, favour = _ASK_FRAME.unpack(data)
    try:
        return Ask(epoch, generation, seq, number, job, Favour(favour))
    except ValueError:
        raise WireError(f"ask: {favour} is no favour") from None


def _encode_sentinel(frame: SentinelTold) -> bytes:
    age_s = seconds_in("sentinel: age", frame.age_s)
    told = frame.epoch, frame.generation, frame.seq, frame.job, frame.state, age_s
    return _SENTINEL_FRAME.pack(VERSION, SENTINEL, *told)


def _decode_sentinel(data: bytes) -> SentinelTold:
    require_length("sentinel", data, _SENTINEL_FRAME.size)
    _, _, epoch, generation, seq, job, state, age_s = _SENTINEL_FRAME.unpack(data)
    try:
        return SentinelTold(epoch, generation, seq, job, SentinelState(state), seconds_in("sentinel: age", age_s))
    except ValueError:
        raise WireError(f"sentinel: {state} is no state") from None


def _decode_grant(data: bytes) -> Grant:
    _, _, number, ending, status, length = _GRANT_HEAD.unpack_from(data)
    text = text_in("grant: text", data, _GRANT_HEAD.size, length)
    require_length("grant", data, _GRANT_HEAD.size + length)
    try:
        return Grant(number, Ending(ending), status, text)
    except ValueError:
        raise WireError(f"grant: {ending} is no ending") from None


def _decode_hello(data: bytes) -> Hello:
    version, _, pid, length = _HELLO_HEAD.unpack_from(data)
    caged = text_in("hello: caged", data, _HELLO_HEAD.size, length)
    require_length("hello", data, _HELLO_HEAD.size + length)
    return Hello(pid, caged, version)


def _encode_report(frame: Report) -> bytes:
    result = frame.result
    head = _REPORT_HEAD.pack(
        VERSION,
        REPORT,
        frame.epoch,
        frame.generation,
        frame.seq,
        frame.job,
        frame.health,
        frame.edges,
        frame.failures,
        *weight_out(frame.weight),
        result is not None,
    )
    return head if result is None else head + result_out(result)


def _decode_report(data: bytes) -> Report:
    _, _, epoch, generation, seq, job, health, edges, failures, *weighed, has_result = _REPORT_HEAD.unpack_from(data)
    known = health_in("report: health", health)
    weight = weight_in("report: weight", *weighed)
    if not flag_in("report: has result", has_result):
        require_length("report", data, _REPORT_HEAD.size)
        return Report(epoch, generation, seq, job, known, edges, failures, None, weight)
    result, end = result_in(data, _REPORT_HEAD.size)
    require_length("report", data, end)
    return Report(epoch, generation, seq, job, known, edges, failures, result, weight)


def _encode_state(frame: State) -> bytes:
    if len(frame.entries) > STATE_ENTRIES_MAX:
        raise WireError(f"state: expected at most {STATE_ENTRIES_MAX} entries, got {len(frame.entries)}")
    head = _STATE_HEAD.pack(VERSION, STATE, frame.epoch, frame.generation, frame.seq, frame.last, len(frame.entries))
    pack = _STATE_ENTRY.pack
    return head + b"".join(
        pack(entry.job, entry.health, entry.edges, entry.failures, *weight_out(entry.weight), entry.probes)
        for entry in frame.entries
    )


def _decode_state(data: bytes) -> State:
    _, _, epoch, generation, seq, last, number = _STATE_HEAD.unpack_from(data)
    if number > STATE_ENTRIES_MAX:
        raise WireError(f"state: expected at most {STATE_ENTRIES_MAX} entries, got {number}")
    require_length("state", data, _STATE_HEAD.size + number * _STATE_ENTRY.size)
    entries = tuple(
        StateEntry(
            job, health_in("state: health", health), edges, failures, weight_in("state: weight", *weighed), probes
        )
        for job, health, edges, failures, *weighed, probes in _STATE_ENTRY.iter_unpack(
            memoryview(data)[_STATE_HEAD.size :]
        )
    )
    return State(epoch, generation, seq, entries, flag_in("state: last", last))


def _assign_out(frame: Assign, jobs: bytes) -> bytes:
    numbers = frame.epoch, frame.generation, frame.part, frame.parts, frame.rate_max
    head = _ASSIGN_HEAD.pack(VERSION, ASSIGN, *numbers)
    data = head + b"[" + jobs + b"]"
    if len(data) > ASSIGN_FRAME_MAX_BYTES:
        raise WireError(f"assign: expected at most {ASSIGN_FRAME_MAX_BYTES} bytes, got {len(data)}")
    return data


def _decode_assign(data: bytes) -> Assign:
    _, _, epoch, generation, part, parts, rate_max = _ASSIGN_HEAD.unpack_from(data)
    if part >= parts:
        raise WireError(f"assign: part {part} of {parts}")
    try:
        raw = json.loads(data[_ASSIGN_HEAD.size :], parse_constant=_no_constant)
        if not isinstance(raw, list):
            raise WireError("assign: expected a list of jobs")
        frame = Assign(epoch, generation, part, parts, tuple(jobs_from(raw)), rate_max)
        encode(frame)  # what cannot be said again (too long, a number beyond all bounds) is refused
    except (ValueError, OverflowError, RecursionError) as error:
        raise WireError(f"assign: {error}") from error
    return frame


def _encode_jobs(frame: Idle | Look) -> bytes:
    jobs, number = frame.jobs, len(frame.jobs)
    if number > JOBS_MAX:
        raise WireError(f"{type(frame).__name__.lower()}: expected at most {JOBS_MAX} jobs, got {number}")
    words = struct.pack(f">{number}I", *jobs)
    if isinstance(frame, Idle):
        return _IDLE_HEAD.pack(VERSION, IDLE, frame.idle, number) + words
    return _LOOK_HEAD.pack(VERSION, LOOK, number) + words


def _jobs_in(what: str, data: bytes, start: int, number: int) -> tuple[int, ...]:
    if number > JOBS_MAX:
        raise WireError(f"{what}: expected at most {JOBS_MAX} jobs, got {number}")
    require_length(what, data, start + 4 * number)
    return struct.unpack_from(f">{number}I", data, start)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
