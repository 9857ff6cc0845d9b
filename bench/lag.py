"""How late probes began, as the daemon's own metrics say: counts by upper bound, and their differences."""

from __future__ import annotations

import gzip
import re
import time
from collections.abc import Mapping
from typing import TypeAlias
from urllib.request import Request, urlopen

Lag: TypeAlias = dict[float, float]
"""Upper bound in seconds → how many probes began at most so late."""

ALL = float("inf")
ANSWER_MAX_S = 12.0
"""The exporter itself ends a connection after ten."""
TRIES = 5
"""It refuses while the daemon does not answer it, as on a machine that has no processor to spare."""


def read(port: int) -> Lag:
    """Return how late all probes so far began. Raises OSError when the exporter does not answer."""
    path = "/metrics?name[]=lvs_check_schedule_lag_seconds&scope=process"
    asked = Request(f"http://127.0.0.1:{port}{path}", headers={"Accept-Encoding": "gzip"})
    text = gzip.decompress(_answer(asked, TRIES)).decode()
    found = re.findall(r'lag_seconds_bucket\{le="([^"]+)"\} (\S+)', text)
    return {float(bound.replace("+Inf", "inf")): float(count) for bound, count in found}


def _answer(asked: Request, tries: int) -> bytes:
    try:
        with urlopen(asked, timeout=ANSWER_MAX_S) as answer:
            body: bytes = answer.read()
            return body
    except OSError:
        if tries <= 1:
            raise
        time.sleep(1.0)
        return _answer(asked, tries - 1)


def since(before: Lag, after: Lag, so_far: Mapping[float, float]) -> Lag:
    """Return what came between two readings, added to what came otherwise."""
    return {bound: so_far.get(bound, 0.0) + count - before[bound] for bound, count in after.items()}


def late(came: Mapping[float, float], bound_s: float) -> float:
    """Return the share of probes that began later than a bound of the histogram: 0.0 to 1.0."""
    return (came[ALL] - came[bound_s]) / came[ALL] if came[ALL] else 0.0


def within_s(came: Mapping[float, float], share: float) -> float:
    """Return the least bound that so many of the probes kept to."""
    return min(bound for bound, count in came.items() if count >= share * came[ALL])
