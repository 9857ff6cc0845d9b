"""How metrics are made of values: one line for each shape that a family can have. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.samples import Sample

from supervisor.core.snapshot import DURATION_BUCKETS_S, Histogram

_BUCKETS = (*(f"{bound:g}" for bound in DURATION_BUCKETS_S), "+Inf")


def gauge(
    name: str, text: str, labels: tuple[str, ...] = (), samples: Iterable[tuple[tuple[str, ...], float | None]] = ()
) -> Metric:
    """Make a gauge; a sample of None is left out."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        if value is not None:
            family.add_metric(values, value)
    return family


def labelled(family: Metric, name: str, samples: Iterable[tuple[dict[str, str], float | None]]) -> Metric:
    """Fill a family with samples called `name` whose labels are ready; a sample of None is left out.

    Families of many servers share the labels of each, which nobody changes: half the time of `add_metric`, which makes them anew.
    """
    family.samples = [Sample(name, labels, value) for labels, value in samples if value is not None]
    return family


def single(name: str, text: str, value: float) -> Metric:
    """Make a gauge of one number without labels."""
    return GaugeMetricFamily(name, text, value=value)


def counter(name: str, text: str, labels: tuple[str, ...], samples: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    """Make a counter."""
    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def histogram(
    name: str, text: str, labels: tuple[str, ...], samples: Iterable[tuple[tuple[str, ...], Histogram]]
) -> Metric:
    """Make a histogram; the snapshot counts each bucket by itself, Prometheus wants running sums."""
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, histogram in samples:
        buckets = list(zip(_BUCKETS, map(float, accumulate(histogram.counts)), strict=True))
        family.add_metric(values, buckets, histogram.sum_s)
    return family


def instant(now_wall: float, age_s: float) -> float:
    """Return when something happened that is `age_s` old, to the millisecond, so that float noise is not a change."""
    return round(now_wall - age_s, 3)


def labels_of(family: Metric) -> tuple[str, ...]:
    """Return the labels that a family was declared with, whether it has samples or not."""
    return tuple(getattr(family, "_labelnames", ()))
