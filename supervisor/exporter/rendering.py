"""Families to bytes, in slices: the library writes the text, and between two slices everybody else has their turn.

The whole text of 10,000 real servers is a second of work; at one stroke it would keep everybody waiting who asks for /healthz meanwhile.
A thread is no way out: the exporter's walls allow none (`checkers.kit.policies`). So a family with many samples goes to the library in
parts, and the head that the library writes before each part is cut off all but the first. What comes out is byte for byte what it writes at
one stroke, which a test holds.

From one scrape to the next most of it stays the same: who is up, which weight it has, since when. So a part is kept with its samples, and
written anew only where one of them is another: a scrape of 10,000 real servers in OpenMetrics then costs half (`bench.scrape`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from checkers.kit.frozen import frozen

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


@frozen
class _Part:
    samples: Sequence[Sample]
    text: bytes  # the first part of a family has its head


Written: TypeAlias = dict[str, list[_Part]]
"""What was written last of the large families, by name: the samples of 10,000 real servers and their text are some 40 MB."""


def slices(families: Iterable[Metric], encode: Encode, written: Written | None = None) -> Iterator[bytes]:
    """Yield the text of `families` piece by piece, with nothing at its end; a piece may be empty. `encode` is the library's.

    `written` is what this wrote before with the same `encode`: it is used again where it holds, and brought up to date.
    """
    before: Written = {} if written is None else written
    few: list[Metric] = []
    waiting = 0
    for family in families:
        if waiting + len(family.samples) > SLICE_SAMPLES:
            yield _written(few, encode)
            few, waiting = [], 0
        if len(family.samples) > SLICE_SAMPLES:
            yield from _parts(family, encode, before)
        else:
            few.append(family)
            waiting += len(family.samples)
    yield _written(few, encode)


def ending(openmetrics: bool) -> bytes:
    """Return what stands at the end of the whole text."""
    return EOF if openmetrics else b""


def _parts(family: Metric, encode: Encode, written: Written) -> Iterator[bytes]:
    old, new = written.get(family.name, []), list[_Part]()
    one = copy.copy(family)
    one.samples = []
    head_bytes = len(_written([one], encode))
    for number, start in enumerate(range(0, len(family.samples), SLICE_SAMPLES)):
        one.samples = family.samples[start : start + SLICE_SAMPLES]
        if number < len(old) and old[number].samples == one.samples:
            part = old[number]
        else:
            part = _Part(one.samples, _written([one], encode)[head_bytes if start else 0 :])
        new.append(part)
        yield part.text
    written[family.name] = new


def _written(families: Sequence[Metric], encode: Encode) -> bytes:
    return encode(_Few(families)).removesuffix(EOF) if families else b""
