"""Pictures of the boards from a recorded run: `python -m grafana.pictures RUN.json FOLDER` draws one for each board (extra: docs).

Not Grafana's own drawing: each panel stands where Grafana puts it, with the data that its queries gave, drawn with matplotlib.
Single numbers and tables are of the moment when most was out; numbered lines say what was done when.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from grafana.boards import BOARDS, written
from grafana.classic import COLUMNS
from grafana.panels import JSON

WIDTH_IN, UNIT_IN, HEAD_IN, DPI = 16.0, 0.30, 0.75, 80
PAPER, CARD, INK, FAINT = "#f4f5f7", "#ffffff", "#24292e", "#9aa0a6"
COLOURS = {"green": "#56a64b", "red": "#e02f44", "orange": "#ff780a", "blue": "#3274d9", "transparent": CARD}
PALETTE = ["#3274d9", "#ff780a", "#56a64b", "#a352cc", "#e02f44", "#f2cc0c", "#37872d", "#8ab8ff", "#ffb357", "#c4162a"]
LEGEND_LINES, COLOURS_MAX = 2, 128
LINE_IN = 0.2
"""Height of a table's line."""
WIDE = ("virtual_server", "real_server", "instance")
"""Columns of a table with long words; they come first."""


class Picture:
    """One board with the data of one run."""

    def __init__(self, board: JSON, run: JSON) -> None:
        self._board = board
        self._run = run
        self._answers: dict[str, list[JSON]] = run["boards"][board["uid"]]
        self._start, self._end, self._now = run["start"], run["end"], run["now"]
        self._interval_s: int = run["interval_s"]
        self._happened: list[tuple[float, str]] = run["happened"]

    def draw(self, file: Path) -> None:
        """Write it as PNG."""
        bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in self._board["panels"])
        height = HEAD_IN + bottom * UNIT_IN
        figure = plt.figure(figsize=(WIDTH_IN, height), facecolor=PAPER)
        events = "   ".join(f"{number} {what}" for number, (_, what) in enumerate(self._happened, 1))
        figure.text(0.008, 1 - 0.28 / height, self._board["title"], fontsize=15, weight="bold", color=INK)
        figure.text(0.008, 1 - 0.55 / height, events, fontsize=9, color=INK)
        figure.text(
            0.992,
            1 - 0.28 / height,
            f"numbers and tables: after {age(self._now - self._start)}",
            ha="right",
            fontsize=9,
        )
        for panel in self._board["panels"]:
            place = panel["gridPos"]
            top = 1 - (HEAD_IN + place["y"] * UNIT_IN) / height
            if panel["type"] == "row":
                figure.text(0.008, top - 0.22 / height, f"▾ {panel['title']}", fontsize=11, weight="bold", color=INK)
                continue
            margin_x, margin_y = 0.003, 0.04 / height
            box = (
                place["x"] / COLUMNS + margin_x,
                top - place["h"] * UNIT_IN / height + margin_y,
                place["w"] / COLUMNS - 2 * margin_x,
                place["h"] * UNIT_IN / height - 2 * margin_y,
            )
            card = figure.add_axes(box, facecolor=CARD)
            card.set_xticks([])
            card.set_yticks([])
            for side in card.spines.values():
                side.set_color("#dde1e6")
            self._panel(card, panel, place["w"] * WIDTH_IN / COLUMNS, place["h"] * UNIT_IN)
        save(figure, file)

    def _panel(self, card: Axes, panel: JSON, width_in: float, height_in: float) -> None:
        """Draw a panel onto its card, which is so many inches wide and high."""
        kinds: dict[str, Callable[[Axes, JSON], None]] = {
            "stat": self._stat,
            "timeseries": self._lines,
            "state-timeline": self._timeline,
            "heatmap": self._heatmap,
            "table": self._table,
        }
        title_in = 0.26
        card.text(
            0.1 / width_in, 1 - 0.19 / height_in, panel["title"], transform=card.transAxes, fontsize=9, weight="bold"
        )
        left, right, below = {
            "stat": (0.0, 0.0, 0.0),
            "table": (0.1, 0.1, 0.08),
            "state-timeline": (2.9, 0.15, 0.3),
        }.get(panel["type"], (0.62, 0.15, 0.55))
        inner = card.inset_axes(
            (
                left / width_in,
                below / height_in,
                1 - (left + right) / width_in,
                1 - (below + title_in + 0.1) / height_in,
            )
        )
        inner.set_facecolor(CARD)
        for side in ("top", "right", "left", "bottom"):
            inner.spines[side].set_visible(False)
        inner.tick_params(labelsize=7.5, colors=INK, length=0)
        kinds[panel["type"]](inner, panel)

    # -- kinds of panels -----------------------------------------------------------------------------------------------------

    def _stat(self, axes: Axes, panel: JSON) -> None:
        (query,) = self._answers[panel["title"]]
        value = float(query["result"][0]["value"][1]) if query["result"] else math.nan
        defaults = panel["fieldConfig"]["defaults"]
        steps = defaults["thresholds"]["steps"]
        name = [step["color"] for step in steps if step["value"] is None or value >= step["value"]][-1]
        filled = panel["options"]["colorMode"] == "background"
        axes.set_facecolor(COLOURS[name] if filled else CARD)
        axes.set_xticks([])
        axes.set_yticks([])
        ink = "#ffffff" if filled else COLOURS[name]
        shown = amount(value, defaults["unit"])
        axes.text(
            0.5, 0.5, shown, ha="center", va="center", fontsize=22, weight="bold", color=ink, transform=axes.transAxes
        )

    def _lines(self, axes: Axes, panel: JSON) -> None:
        defaults = panel["fieldConfig"]["defaults"]
        own = defaults["custom"]
        colours = {
            override["matcher"]["options"]: override["properties"][0]["value"]["fixedColor"]
            for override in panel["fieldConfig"]["overrides"]
        }
        series = [(name, *self._points(values)) for name, values in self._series(panel)]
        found = [colour(colours.get(name, ""), number) for number, (name, *_) in enumerate(series)]
        if own["drawStyle"] == "bars":
            self._bars(axes, series, found)
        elif own["stacking"]["mode"] == "normal":
            every = sorted({moment for _, when, _ in series for moment in when})
            levels = [
                [dict(zip(when, what, strict=True)).get(moment, 0.0) for moment in every] for _, when, what in series
            ]
            axes.stackplot(every, levels, labels=[name for name, *_ in series], colors=found, alpha=0.75, step="post")
        else:
            for (name, when, what), shade in zip(series, found, strict=True):
                axes.plot(when, what, color=shade, label=name, linewidth=1.3)
        time_axis(axes, self._run)
        axes.set_axisbelow(True)
        axes.grid(axis="y", color="#e6e9ed", linewidth=0.7)
        highest = max((value for _, _, what in series for value in what if not math.isnan(value)), default=0.0)
        axes.set_ylim(bottom=0, top=None if highest > 0 else 1)
        axes.yaxis.set_major_formatter(lambda value, _: amount(value, defaults["unit"]))
        handles, names = axes.get_legend_handles_labels()
        longest = max((len(name) for name in names), default=0)
        columns = max(1, int(panel["gridPos"]["w"] * 9 / (longest + 6)))
        fits = columns * LEGEND_LINES
        axes.legend(
            *(handles[:fits], names[:fits]),
            loc="upper left",
            bbox_to_anchor=(-0.03, -0.09),
            ncol=columns,
            fontsize=7,
            frameon=False,
        )

    def _bars(self, axes: Axes, series: list[tuple[str, list[float], list[float]]], colours: list[str]) -> None:
        """Draw what was counted in one interval after the other, the series on top of each other."""
        step = round(
            0.8 * self._interval_s
        )  # what happens between the last scrape of one and the first of the next is in both
        every = range(int(self._start) + step, int(self._end), step)
        bottom = [0.0] * len(every)
        for (name, when, what), shade in zip(series, colours, strict=True):
            counted = dict(zip(when, what, strict=True))
            heights = [counted.get(float(moment), 0.0) for moment in every]
            width = -0.8 * step  # each point counts what was before it
            axes.bar(every, heights, width=width, bottom=bottom, align="edge", color=shade, label=name, alpha=0.8)
            bottom = [low + height for low, height in zip(bottom, heights, strict=True)]

    def _timeline(self, axes: Axes, panel: JSON) -> None:
        (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
        series = list(self._series(panel))
        for row, (_, values) in enumerate(series):
            for since, until, value in stretches(values):
                word = mapping["options"][f"{value:g}"]
                axes.broken_barh([(since, until - since)], (-row - 0.4, 0.8), color=COLOURS[word["color"]], alpha=0.8)
                if until - since > (self._end - self._start) / 18:
                    axes.text(since + 1, -row, word["text"], va="center", fontsize=7, color="#ffffff", clip_on=True)
        axes.set_yticks([-row for row in range(len(series))], [short(name) for name, _ in series])
        axes.set_ylim(-len(series) + 0.4, 0.9)
        time_axis(axes, self._run)

    def _heatmap(self, axes: Axes, panel: JSON) -> None:
        buckets = sorted(((float(name), values) for name, values in self._series(panel)), key=lambda bucket: bucket[0])
        moments = [moment for moment, _ in buckets[0][1]]
        rows: list[list[float]] = []
        below = [0.0] * len(moments)
        for _, values in buckets:
            level = [dict(values).get(moment, 0.0) for moment in moments]
            rows.append([max(0.0, here - under) for here, under in zip(level, below, strict=True)])
            below = level
        axes.pcolormesh(
            moments, range(len(buckets)), rows, cmap="Oranges", norm=mpl.colors.PowerNorm(0.4), shading="nearest"
        )
        axes.set_yticks(
            range(len(buckets)), ["more" if math.isinf(bound) else amount(bound, "s") for bound, _ in buckets]
        )
        axes.tick_params(axis="y", labelsize=6)
        time_axis(axes, self._run)

    def _table(self, axes: Axes, panel: JSON) -> None:
        axes.set_xticks([])
        axes.set_yticks([])
        heads, rows = self._rows(panel)
        looks = {each["matcher"]["options"]: each["properties"] for each in panel["fieldConfig"]["overrides"]}
        shares = [2.2 if name in WIDE else 1.0 for name in heads]
        lefts = [sum(shares[:index]) / sum(shares) for index in range(len(heads))]
        for left, head in zip(lefts, heads, strict=True):
            axes.text(
                left, 1, head, va="top", fontsize=8, weight="bold", color=COLOURS["blue"], transform=axes.transAxes
            )
        for number, row in enumerate(rows, 1):
            height = 1 - number * LINE_IN / ((panel["gridPos"]["h"]) * UNIT_IN - 0.45)
            for left, head, cell in zip(lefts, heads, row, strict=True):
                text, shade = (cell, None) if isinstance(cell, str) else self._cell(cell, looks.get(head, []))
                axes.text(
                    *(left, height, text),
                    va="top",
                    fontsize=8,
                    color="#ffffff" if shade else INK,
                    bbox={"facecolor": shade, "edgecolor": "none", "pad": 1.8} if shade else None,
                    transform=axes.transAxes,
                )
        if not rows:
            axes.text(0.5, 0.5, "nothing", ha="center", fontsize=9, color=FAINT, transform=axes.transAxes)

    def _rows(self, panel: JSON) -> tuple[list[str], list[list[str | float]]]:
        """Return heads and rows of a table: what Grafana's transformations "merge" and "organize" make of the queries."""
        organize = panel["transformations"][1]["options"]
        names = [name for value, name in organize["renameByName"].items() if value != "Value"]
        merged: list[tuple[dict[str, str], dict[str, float]]] = []
        for name, query in zip(names, self._answers[panel["title"]], strict=True):
            for series in query["result"]:
                labels = {key: value for key, value in series["metric"].items() if key not in organize["excludeByName"]}
                same = [values for known, values in merged if labels.items() <= known.items()]
                if same:
                    same[0][name] = float(series["value"][1])
                else:
                    merged.append((labels, {name: float(series["value"][1])}))
        first = panel["options"]["sortBy"][0]["displayName"]
        merged.sort(key=lambda row: row[1].get(first, 0.0), reverse=True)
        keys = sorted(
            {key for labels, _ in merged for key in labels}, key=lambda key: (*(key != wide for wide in WIDE), key)
        )
        rows: list[list[str | float]] = [
            [*(labels.get(key, "") for key in keys), *(values.get(name, math.nan) for name in names)]
            for labels, values in merged
        ]
        return [*keys, *names], rows

    def _cell(self, value: float, look: Sequence[JSON]) -> tuple[str, str | None]:
        """Return the text of a value in a table and its colour."""
        properties = {each["id"]: each["value"] for each in look}
        if math.isnan(value):
            return "", None
        if "mappings" in properties:
            word = properties["mappings"][0]["options"][f"{value:g}"]
            return word["text"], COLOURS[word["color"]]
        steps = properties.get("thresholds", {"steps": []})["steps"]
        reached = [step["color"] for step in steps if step["value"] is not None and value >= step["value"]]
        unit = properties.get("unit", "none")
        text = f"{self._now - value / 1000:.0f} s ago" if unit == "dateTimeFromNow" else amount(value, unit)
        return text, COLOURS[reached[-1]] if reached else None

    # -- what they share -----------------------------------------------------------------------------------------------------

    def _series(self, panel: JSON) -> Iterator[tuple[str, list[tuple[float, float]]]]:
        for query in self._answers[panel["title"]]:
            for series in query["result"]:
                name = query["legend"]
                for label in re.findall(r"{{(\w+)}}", query["legend"]):
                    name = name.replace(f"{{{{{label}}}}}", series["metric"].get(label, ""))
                yield name, [(float(moment), float(value)) for moment, value in series["values"]]

    def _points(self, values: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
        """Split into x and y, with a hole where a scrape is missing."""
        when: list[float] = []
        what: list[float] = []
        for moment, value in values:
            if when and moment - when[-1] > 1.5 * (values[1][0] - values[0][0]):
                when.append(moment - 0.5)
                what.append(math.nan)
            when.append(moment)
            what.append(value)
        return when, what


def draw_alerts(run: JSON, file: Path) -> None:
    """Draw which alert was pending or firing when, one bar for each alert whatever it was about."""
    told: dict[str, list[tuple[float, float, str]]] = {}
    for series in run["alerts"]:
        points = [(float(moment), 1.0) for moment, _ in series["values"]]
        state = series["metric"]["alertstate"]
        told.setdefault(series["metric"]["alertname"], []).extend(
            (since, until, state) for since, until, _ in stretches(points)
        )
    height = 0.9 + 0.3 * len(told)
    figure, axes = plt.subplots(figsize=(WIDTH_IN, height), facecolor=PAPER)
    figure.subplots_adjust(left=0.16, right=0.99, bottom=0.3 / height, top=1 - 0.6 / height)
    figure.text(0.008, 1 - 0.3 / height, "Alerts", fontsize=15, weight="bold", color=INK)
    for row, (_, spans) in enumerate(sorted(told.items())):
        for since, until, state in spans:
            shade = COLOURS["red" if state == "firing" else "orange"]
            axes.broken_barh([(since, until - since)], (-row - 0.4, 0.8), color=shade)
    axes.set_yticks([-row for row in range(len(told))], sorted(told), fontsize=9)
    axes.set_facecolor(CARD)
    axes.tick_params(length=0, labelsize=8)
    for colour_name, state in (("orange", "pending"), ("red", "firing")):
        axes.bar(run["start"], 0, color=COLOURS[colour_name], label=state)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1.05), ncol=2, frameon=False, fontsize=8)
    time_axis(axes, run)
    save(figure, file)


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
    marks = [start + second for second in range(0, int(end - start), step)]
    axes.set_xticks(marks, [age(mark - start) for mark in marks])
    for number, (moment, _) in enumerate(run["happened"], 1):
        axes.axvline(moment, color=FAINT, linewidth=0.7, linestyle=":")
        axes.text(moment, 1.0, str(number), fontsize=6.5, color=INK, ha="center", transform=axes.get_xaxis_transform())


def age(seconds: float) -> str:
    """Return seconds as minutes and seconds: "3:05"."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


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
    suffix = {"bytes": "B", "Bps": "B/s", "cps": "/s", "ops": "/s", "pps": "/s"}.get(unit, "")
    for bound, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= bound:
            return f"{value / bound:.3g} {letter}{suffix}"
    return f"{value:.3g}{' ' + suffix if suffix else ''}"


def main(arguments: list[str]) -> int:
    """Draw, and return the exit status."""
    run, folder = json.loads(Path(arguments[0]).read_text()), Path(arguments[1])
    mpl.rcParams.update({"font.family": "DejaVu Sans", "text.color": INK})
    for board in BOARDS:
        Picture(written(board), run).draw(folder / f"{board.uid}.png")
    draw_alerts(run, folder / "alerts.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
