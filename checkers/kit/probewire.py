"""The bytes of a probe's result, and of a Probed (`kit.frames`) with every step that was seen. Pure; `kit.wire` calls it.

A step's text is the only text on any wire that may have several lines; each of them is printable.
"""

from __future__ import annotations

import struct

from checkers.kit.fields import (
    WireError,
    flag_in,
    reason_in,
    require_length,
    seconds_in,
    text_in,
    text_out,
    weight_in,
    weight_out,
)
from checkers.kit.frames import PROBED, VERSION, Probed, ReportResult
from checkers.kit.transcript import STEP_MAX_BYTES, STEPS_MAX, TRANSCRIPT_MAX_BYTES, Step, StepKind

_RESULT_HEAD = struct.Struct(">QBddHHH")  # probe reason duration_s expires_at, lengths of detail, sent, received
_PROBED_HEAD = struct.Struct(">BBIIQIIBBqH")  # … epoch generation seq number job has-result has-weight weight steps
_STEP_HEAD = struct.Struct(">BdIH")  # kind at_s size_bytes, length of text


def result_out(result: ReportResult) -> bytes:
    """Return the bytes of a result. Raises WireError, struct.error."""
    detail, sent, received = text_out(result.detail), text_out(result.sent), text_out(result.received)
    seconds = seconds_in("result: duration", result.duration_s)
    expires_at = seconds_in("result: expiry", result.expires_at)
    lengths = len(detail), len(sent), len(received)
    return _RESULT_HEAD.pack(result.probe, result.reason, seconds, expires_at, *lengths) + detail + sent + received


def result_in(data: bytes, start: int) -> tuple[ReportResult, int]:
    """Read the result at `start`; return it and where it ends. Raises WireError, struct.error when it is cut off."""
    probe, reason, duration_s, expires_at, *lengths = _RESULT_HEAD.unpack_from(data, start)
    start += _RESULT_HEAD.size
    texts = []
    for what, length in zip(("detail", "sent", "received"), lengths, strict=True):
        texts.append(text_in(f"result: {what}", data, start, length))
        start += length
    result = ReportResult(
        probe,
        reason_in("result: reason", reason),
        seconds_in("result: duration", duration_s),
        detail=texts[0],
        sent=texts[1],
        received=texts[2],
        expires_at=seconds_in("result: expiry", expires_at),
    )
    return result, start


def encode_probed(frame: Probed) -> bytes:
    """Return the bytes of a Probed. Raises WireError, struct.error."""
    steps = b"".join(map(_step_out, frame.steps))
    if len(frame.steps) > STEPS_MAX or len(steps) > TRANSCRIPT_MAX_BYTES:
        raise WireError(f"probed: {len(frame.steps)} steps of {len(steps)} bytes are too many")
    levels = frame.epoch, frame.generation, frame.seq, frame.number, frame.job, frame.result is not None
    head = _PROBED_HEAD.pack(VERSION, PROBED, *levels, *weight_out(frame.weight), len(frame.steps))
    return head + (b"" if frame.result is None else result_out(frame.result)) + steps


def decode_probed(data: bytes) -> Probed:
    """Read a Probed. Raises WireError, struct.error when it is cut off."""
    _, _, epoch, generation, seq, number, job, has_result, *weighed, count = _PROBED_HEAD.unpack_from(data)
    if count > STEPS_MAX:
        raise WireError(f"probed: expected at most {STEPS_MAX} steps, got {count}")
    weight = weight_in("probed: weight", *weighed)
    result, start = None, _PROBED_HEAD.size
    if flag_in("probed: has result", has_result):
        result, start = result_in(data, start)
    first, steps = start, []
    for _ in range(count):
        step, start = _step_in(data, start)
        steps.append(step)
    if start - first > TRANSCRIPT_MAX_BYTES:
        raise WireError(f"probed: expected at most {TRANSCRIPT_MAX_BYTES} bytes of steps, got {start - first}")
    require_length("probed", data, start)
    return Probed(epoch, generation, seq, number, job, result, weight, tuple(steps))


def _step_out(step: Step) -> bytes:
    text = step.text.encode()
    if len(text) > STEP_MAX_BYTES or not _is_printable(step.text):
        raise WireError(f"step: expected lines of at most {STEP_MAX_BYTES} printable bytes, got {step.text!r:.80}")
    return _STEP_HEAD.pack(step.kind, seconds_in("step: time", step.at_s), step.size_bytes, len(text)) + text


def _step_in(data: bytes, start: int) -> tuple[Step, int]:
    kind, at_s, size_bytes, length = _STEP_HEAD.unpack_from(data, start)
    start += _STEP_HEAD.size
    if length > STEP_MAX_BYTES or start + length > len(data):
        raise WireError(f"step: expected at most {STEP_MAX_BYTES} bytes within the frame, got a length of {length}")
    try:
        text = data[start : start + length].decode()
        known = StepKind(kind)
    except ValueError as error:
        raise WireError(f"step: {error}") from error
    if not _is_printable(text):
        raise WireError(f"step: not printable: {text!r:.80}")
    return Step(known, seconds_in("step: time", at_s), text, size_bytes), start + length


def _is_printable(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))
