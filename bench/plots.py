"""The plots of docs/performance.md, drawn with matplotlib (`deploy/demo/setup python docs`) from what stands in a section.

    {"name": "check-http", "title": …, "unit": "µs", "bars": [[name, value, low, high], …]}
    {"name": "growth", "title": …, "unit": "s", "x": "real servers", "lines": {name: [[x, y], …]}}

Each is drawn into an SVG that bears the sum of its data, so that `docs` can be held to the data without drawing (`is_of`).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeAlias

Plot: TypeAlias = dict[str, Any]

WIDTH_IN, BAR_IN, HEAD_IN, LINES_IN = 7.5, 0.32, 1.0, 3.6
OURS, THEIRS, INK = "#3274d9", "#9aa0a6", "#24292e"
PALETTE = ("#3274d9", "#ff780a", "#56a64b", "#a352cc", "#e02f44", "#9aa0a6")
OUR_NAME = "vipervisor"


def digest(plot: Plot) -> str:
    """Return the sum of a plot's data, which its picture bears."""
    return "sha256:" + hashlib.sha256(json.dumps(plot, sort_keys=True).encode()).hexdigest()[:32]


def is_of(file: Path, plot: Plot) -> bool:
    """Tell whether a picture was drawn of these data."""
    return file.exists() and digest(plot) in file.read_text()


def draw(plot: Plot, file: Path) -> None:
    """Draw one plot. Raises ImportError without matplotlib."""
    import matplotlib as mpl  # noqa: PLC0415  an extra that the tests do without
    from matplotlib import pyplot as plt  # noqa: PLC0415  see above

    mpl.use("svg")
    words: Any = {"svg.hashsalt": "vipervisor", "svg.fonttype": "none", "font.size": 9, "text.color": INK}
    with mpl.rc_context(words):
        height = HEAD_IN + BAR_IN * len(plot["bars"]) if "bars" in plot else LINES_IN
        figure, axes = plt.subplots(figsize=(WIDTH_IN, height), layout="constrained")
        figure.patch.set_facecolor("white")
        axes.set_title(plot["title"], loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        (_bars if "bars" in plot else _lines)(axes, plot)
        figure.savefig(file, format="svg", metadata={"Date": None, "Description": digest(plot)})
        plt.close(figure)
    file.write_text("\n".join(text.rstrip() for text in file.read_text().splitlines()) + "\n")


def _bars(axes: Any, plot: Plot) -> None:
    names, values, lows, highs = zip(*plot["bars"], strict=True)
    places = range(len(names))
    below = [value - low for value, low in zip(values, lows, strict=True)]
    above = [high - value for value, high in zip(values, highs, strict=True)]
    colours = [OURS if name.startswith(OUR_NAME) else THEIRS for name in names]
    axes.barh(places, values, xerr=[below, above], color=colours, ecolor=INK, error_kw={"linewidth": 0.8}, height=0.7)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    for place, value, high in zip(places, values, highs, strict=True):
        axes.annotate(f"{value:g}", (max(value, high), place), (4, 0), textcoords="offset points", va="center")
    axes.set_xlabel(plot["unit"])
    axes.margins(x=0.12)
    axes.set_xlim(left=0)


def _lines(axes: Any, plot: Plot) -> None:
    for (name, points), colour in zip(plot["lines"].items(), PALETTE * 3, strict=False):
        across, up = zip(*points, strict=True)
        axes.plot(across, up, marker="o", markersize=3, linewidth=1.2, color=colour, label=name)
    axes.set_xlabel(plot["x"])
    axes.set_ylabel(plot["unit"])
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, color="#e5e7ea", linewidth=0.6)
    axes.legend(frameon=False, fontsize=8)
