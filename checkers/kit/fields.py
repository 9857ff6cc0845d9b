"""The smallest pieces of a frame, each checked both ways: texts, seconds, flags, weights. Pure.

What cannot be said is a WireError for whoever would say it, and what cannot be meant one for whoever hears it.
"""

from __future__ import annotations

import math

from checkers.kit.api import DETAIL_MAX_BYTES, Health, Reason
from checkers.kit.job import WEIGHT_MAX

SECONDS_MAX = 1e12
"""Most seconds of any kind: the end of a certificate is at most 9999-12-31, 253402300799."""


class WireError(ValueError):
    """A frame is not what it must be. The text says where, what was expected and what was there."""


def require_length(what: str, data: bytes, size: int) -> None:
    """Raise WireError unless `data` is exactly `size` bytes."""
    if len(data) != size:
        raise WireError(f"{what}: expected {size} bytes, got {len(data)}")


def text_out(text: str) -> bytes:
    """Return a printable text of at most DETAIL_MAX_BYTES, for the wire. Raises WireError."""
    data = text.encode()
    if len(data) > DETAIL_MAX_BYTES or not text.isprintable():
        raise WireError(f"text: expected at most {DETAIL_MAX_BYTES} printable bytes, got {text!r}")
    return data


def text_in(what: str, data: bytes, start: int, length: int) -> str:
    """Return the text of `length` bytes at `start`. Raises WireError for one that is too long, cut off or not printable."""
    if length > DETAIL_MAX_BYTES or start + length > len(data):
        raise WireError(f"{what}: expected at most {DETAIL_MAX_BYTES} bytes within the frame, got a length of {length}")
    try:
        text = data[start : start + length].decode()
    except UnicodeDecodeError as error:
        raise WireError(f"{what}: not UTF-8: {error}") from error
    if not text.isprintable():
        raise WireError(f"{what}: not printable: {text!r}")
    return text


def health_in(what: str, value: int) -> Health:
    """Return a health by its number. Raises WireError."""
    if value > Health.DOWN:
        raise WireError(f"{what}: expected a health of 0 to {Health.DOWN.value}, got {value}")
    return Health(value)


def reason_in(what: str, value: int) -> Reason:
    """Return a reason by its number. Raises WireError."""
    try:
        return Reason(value)
    except ValueError:
        raise WireError(f"{what}: {value} is no reason") from None


def flag_in(what: str, value: int) -> bool:
    """Return a truth. Raises WireError for anything but 0 and 1."""
    if value > 1:
        raise WireError(f"{what}: expected 0 or 1, got {value}")
    return value == 1


def seconds_in(what: str, value: float) -> float:
    """Return seconds if they are some: finite, not negative, not absurd. Raises WireError."""
    if not (math.isfinite(value) and 0 <= value <= SECONDS_MAX):
        raise WireError(f"{what}: expected seconds, finite, not negative and at most {SECONDS_MAX:g}, got {value}")
    return value


def weight_out(weight: int | None) -> tuple[bool, int]:
    """Return whether there is a weight, and it."""
    return (False, 0) if weight is None else (True, weight)


def weight_in(what: str, given: int, value: int) -> int | None:
    """Return a weight, None where none is given. Raises WireError."""
    if abs(value) > WEIGHT_MAX:
        raise WireError(f"{what}: expected -{WEIGHT_MAX} to {WEIGHT_MAX}, got {value}")
    if flag_in(what, given):
        return value
    if value:
        raise WireError(f"{what}: {value} stands where none is given")
    return None
