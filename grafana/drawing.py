"""What the pictures of the boards are drawn with: colours, the axis of time, and numbers as Grafana writes them (extra: docs)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from grafana.panels import JSON

DPI = 100
PAPER, CARD, INK, FAINT = "#f4f5f7", "#ffffff", "#24292e", "#9aa0a6"
COLOURS = {"green": "#56a64b", "red": "#e02f44", "orange": "#ff780a", "blue": "#3274d9", "transparent": CARD}
PALETTE = ["#3274d9", "#ff780a", "#56a64b", "#a352cc", "#e02f44", "#f2cc0c", "#37872d", "#8ab8ff", "#ffb357", "#c4162a"]
COLOURS_MAX = 128
"""Of a picture: the repository keeps every version for ever."""


def save(figure: Figure, file: Path) -> None:
    """Write a picture with few colours: the repository keeps every version for ever."""
    figure.savefig(file, dpi=DPI)
    plt.close(figure)
    with Image.open(file) as full:
        few = full.convert("RGB").quantize(COLOURS_MAX, dither=Image.Dither.NONE)
    few.save(file, optimize=True)


def time_axis(axes: Axes, run: JSON) -> None:
    """Give a panel its time, from the start of the run, and the numbers of what happened."""
    start, end = run["start"], run["end"]
    axes.set_xlim(start, end)
    step = max(10, round((end - start) / 8 / 10) * 10)
    marks = [start + second for second in range(step, int(end - start), step)]
    axes.set_xticks(marks, [age(mark - start) for mark in marks])
    for number, (moment, _) in enumerate(run["happened"], 1):
        axes.axvline(moment, color=FAINT, linewidth=0.7, linestyle=":")
        axes.text(moment, 1.0, str(number), fontsize=6.5, color=INK, ha="center", transform=axes.get_xaxis_transform())


def age(seconds: float) -> str:
    """Return seconds as minutes and seconds: "3:05"."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def ago(seconds: float) -> str:
    """Return how long ago something was as Grafana says it: "24 seconds", "2 minutes"."""
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def stretches(values: list[tuple[float, float]]) -> Iterator[tuple[float, float, float]]:
    """Yield (since, until, value) for each stretch of one value; where a point is missing, a stretch ends."""
    step = values[1][0] - values[0][0] if len(values) > 1 else 1.0
    since, last, value = values[0][0], values[0][0], values[0][1]
    for moment, now in values[1:]:
        if now != value or moment - last > 1.5 * step:
            yield since, min(moment, last + step), value
            since, value = moment, now
        last = moment
    yield since, last + step, value


def colour(name: str, number: int) -> str:
    """Return the colour of a series: its own, or that of its number."""
    return COLOURS.get(name, name) or PALETTE[number % len(PALETTE)]


def short(name: str) -> str:
    """Return a name that fits beside a bar."""
    return name.replace("/tcp", "")


def amount(value: float, unit: str) -> str:
    """Return a number with its unit, as Grafana shortens it."""
    if math.isnan(value):
        return "–"
    if unit == "percentunit":
        return f"{value:.1%}" if value < 1 else "100%"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if 0 < value < 1 else f"{value:.3g} s"
    if unit == "bytes":
        return f"{value / 2**20:.3g} MiB"
    suffix = {"Bps": "B/s", "cps": "/s", "ops": "/s", "pps": "/s"}.get(unit, "")
    for bound, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= bound:
            return f"{value / bound:.3g} {letter}{suffix}"
    return f"{value:.3g}{' ' + suffix if suffix else ''}"
