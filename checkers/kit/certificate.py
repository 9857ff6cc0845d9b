"""When a certificate ends: the one field of X.509 that is wanted here, read from its DER. Pure.

    expires_at(der) -> float          # Unix seconds; 0.0 when the bytes are no certificate that we understand

The bytes come from the network, so every length is checked against what is there, nothing is recursive, and nothing is copied but
one date. Must never judge: whether a certificate is good is OpenSSL's business. Sources: RFC 5280, sections 4.1 and 4.1.2.5; X.690.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

CERTIFICATE_MAX_BYTES = 65_536
"""Longest certificate looked at. Ours: usual ones have two kilobytes."""

_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_FIELDS_BEFORE_VALIDITY = 3  # serialNumber, signature, issuer
_DATE = re.compile(rb"([0-9]{2})?([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})Z")


class _Element(NamedTuple):
    """One element of DER: its tag, and where its content starts and ends."""

    tag: int
    start: int
    end: int


class _NotDerError(Exception):
    """Not what a certificate looks like."""


@lru_cache(256)
def expires_at(der: bytes) -> float:
    """Return the certificate's notAfter in Unix seconds, or 0.0 when it cannot be told."""
    try:
        return _not_after(der) if len(der) <= CERTIFICATE_MAX_BYTES else 0.0
    except (_NotDerError, ValueError):  # ValueError: the thirtieth of February
        return 0.0


def _not_after(der: bytes) -> float:
    certificate = _element(der, 0, len(der), _SEQUENCE)
    tbs = _element(der, certificate.start, certificate.end, _SEQUENCE)
    at = tbs.start
    first = _element(der, at, tbs.end)
    if first.tag == _VERSION:  # left out in version 1
        at = first.end
    for _ in range(_FIELDS_BEFORE_VALIDITY):
        at = _element(der, at, tbs.end).end
    validity = _element(der, at, tbs.end, _SEQUENCE)
    not_before = _element(der, validity.start, validity.end)
    not_after = _element(der, not_before.end, validity.end)
    return _time(not_after.tag, der[not_after.start : not_after.end])


def _element(der: bytes, at: int, end: int, wanted: int | None = None) -> _Element:
    """Return the element that begins at `at` and must be over at `end`. Raises _NotDerError."""
    if at + 2 > end:
        raise _NotDerError
    tag, length, start = der[at], der[at + 1], at + 2
    if length >= 0x80:
        size = length - 0x80
        if not 1 <= size <= 3 or start + size > end:  # three bytes are 16 MiB
            raise _NotDerError
        length = int.from_bytes(der[start : start + size])
        start += size
    if start + length > end or (wanted is not None and tag != wanted):
        raise _NotDerError
    return _Element(tag, start, start + length)


def _time(tag: int, text: bytes) -> float:
    """Return UTCTime (years 1950 to 2049) or GeneralizedTime in Unix seconds. Raises _NotDerError, ValueError."""
    match = _DATE.fullmatch(text)
    if match is None or (match[1] is None) != (tag == _UTC_TIME) or tag not in {_UTC_TIME, _GENERALIZED_TIME}:
        raise _NotDerError
    short = int(match[2])
    century = (19 if short >= 50 else 20) if match[1] is None else int(match[1])
    month, day, hour, minute, second = (int(part) for part in match.groups()[2:])
    return datetime(century * 100 + short, month, day, hour, minute, second, tzinfo=UTC).timestamp()
