"""Families to bytes, in slices: the library writes the text, and between two slices everybody else has their turn.

The whole text of 10,000 real servers is a second of work; at one stroke it would keep everybody waiting who asks for /healthz meanwhile.
A thread is no way out: the exporter's walls allow none (`checkers.kit.policies`). So a family with many samples goes to the library in
parts, and the head that the library writes before each part is cut off all but the first. What comes out is byte for byte what it writes at
one stroke, which a test holds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

SLICE_SAMPLES = 400
"""Samples that are written at one stroke: 2 ms as text and 4 ms as OpenMetrics (`bench.scrape`)."""

EOF = b"# EOF\n"
"""The last line of OpenMetrics."""

Encode = Callable[[Collector], bytes]


class _Few(Collector):
    """Some families as a collector of the library."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        """Return them."""
        return self._families


def slices(families: Iterable[Metric], encode: Encode) -> Iterator[bytes]:
    """Yield the text of `families` piece by piece, with nothing at its end; a piece may be empty. `encode` is the library's."""
    few: list[Metric] = []
    waiting = 0
    for family in families:
        if waiting + len(family.samples) > SLICE_SAMPLES:
            yield _written(few, encode)
            few, waiting = [], 0
        if len(family.samples) > SLICE_SAMPLES:
            yield from _parts(family, encode)
        else:
            few.append(family)
            waiting += len(family.samples)
    yield _written(few, encode)


def ending(openmetrics: bool) -> bytes:
    """Return what stands at the end of the whole text."""
    return EOF if openmetrics else b""


def _parts(family: Metric, encode: Encode) -> Iterator[bytes]:
    part = copy.copy(family)
    part.samples = []
    head_bytes = len(_written([part], encode))
    for start in range(0, len(family.samples), SLICE_SAMPLES):
        part.samples = family.samples[start : start + SLICE_SAMPLES]
        yield _written([part], encode)[head_bytes if start else 0 :]


def _written(families: Sequence[Metric], encode: Encode) -> bytes:
    return encode(_Few(families)).removesuffix(EOF) if families else b""
