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
from matplotlib.ticker import MaxNLocator, MultipleLocator

from grafana.boards import BOARDS, written
from grafana.classic import COLUMNS
from grafana.drawing import (
    CARD,
    COLOURS,
    FAINT,
    INK,
    PAPER,
    age,
    ago,
    amount,
    colour,
    save,
    short,
    stretches,
    time_axis,
)
from grafana.panels import JSON

WIDTH_IN, UNIT_IN, HEAD_IN = 13.0, 0.30, 0.95
LEGEND_LINES = 2
LINE_IN = 0.2
"""Height of a table's line."""
EVENTS_A_LINE = 7
LETTER_IN = 0.062
"""Width of a letter beside a bar, on average; one of a legend is smaller."""
WIDE = ("virtual server", "real server", "director")
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
        events = [f"{number}\N{NO-BREAK SPACE}{what}" for number, (_, what) in enumerate(self._happened, 1)]
        told = "\n".join(
            "   ".join(events[first : first + EVENTS_A_LINE]) for first in range(0, len(events), EVENTS_A_LINE)
        )
        figure.text(0.008, 1 - 0.28 / height, self._board["title"], fontsize=15, weight="bold", color=INK)
        figure.text(0.008, 1 - 0.45 / height, told, va="top", fontsize=9, color=INK)
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
            "state-timeline": (self._names_in(panel), 0.15, 0.3),
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
        inner.tick_params(axis="x", pad=4)
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
        looks = {
            each["matcher"]["options"]: each["properties"][0]["value"] for each in panel["fieldConfig"]["overrides"]
        }
        colours = {name: look["fixedColor"] for name, look in looks.items() if "fixedColor" in look}
        dashed = [name.strip("/") for name, look in looks.items() if look.get("fill") == "dash"]
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
                style = "--" if any(re.search(pattern, name) for pattern in dashed) else "-"
                axes.plot(when, what, color=shade, label=short(name), linewidth=1.3, linestyle=style)
        time_axis(axes, self._run)
        axes.set_axisbelow(True)
        axes.grid(axis="y", color="#e6e9ed", linewidth=0.7)
        highest = max((value for _, _, what in series for value in what if not math.isnan(value)), default=0.0)
        top = axes.get_ylim()[1] if own["stacking"]["mode"] == "normal" else highest
        axes.set_ylim(bottom=0, top=1.08 * top if highest > 0 else 1)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer="decimals" in defaults or own["drawStyle"] == "bars"))
        if defaults["unit"] == "bytes" and highest:
            axes.yaxis.set_major_locator(MultipleLocator(2 ** round(math.log2(highest / 4))))
        axes.yaxis.set_major_formatter(lambda value, _: amount(value, defaults["unit"]))
        handles, names = axes.get_legend_handles_labels()
        longest = max((len(name) for name in names), default=0)
        columns = max(1, int(panel["gridPos"]["w"] * WIDTH_IN / COLUMNS / (0.8 * LETTER_IN * (longest + 8))))
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

    def _names_in(self, panel: JSON) -> float:
        """Return how wide the names beside the bars of a timeline are, in inches; 0 where there are none."""
        if panel["type"] != "state-timeline":
            return 0.0
        return 0.25 + LETTER_IN * max((len(short(name)) for name, _ in self._series(panel)), default=0)

    def _timeline(self, axes: Axes, panel: JSON) -> None:
        (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
        series = list(self._series(panel))
        width_in = panel["gridPos"]["w"] * WIDTH_IN / COLUMNS - self._names_in(panel)
        letter_s = LETTER_IN * (self._end - self._start) / width_in
        for row, (_, values) in enumerate(series):
            for since, until, value in stretches(values):
                word = mapping["options"][f"{value:g}"]
                axes.broken_barh([(since, until - since)], (-row - 0.4, 0.8), color=COLOURS[word["color"]], alpha=0.8)
                if until - since > letter_s * (len(word["text"]) + 1):
                    axes.text(
                        since + letter_s / 2, -row, word["text"], va="center", fontsize=7, color="#ffffff", clip_on=True
                    )
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
            range(0, len(buckets), 2),
            ["more" if math.isinf(bound) else amount(bound, "s") for bound, _ in buckets[::2]],
        )
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
        renamed = organize["renameByName"]
        names = [name for value, name in renamed.items() if value.startswith("Value #")]
        merged: list[tuple[dict[str, str], dict[str, float]]] = []
        for name, query in zip(names, self._answers[panel["title"]], strict=True):
            for series in query["result"]:
                told = {key: value for key, value in series["metric"].items() if key not in organize["excludeByName"]}
                labels = {renamed.get(key, key): value for key, value in told.items()}
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
        text = f"{ago(self._now - value / 1000)} ago" if unit == "dateTimeFromNow" else amount(value, unit)
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
