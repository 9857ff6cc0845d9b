"""The vocabulary of the boards: what a query, a panel, a row and a board are, and how each kind of panel looks.

Every function makes plain values; nothing here knows a metric: `overview`, `virtualserver` and `itself` say what is shown, `classic`
writes it as Grafana reads it.
In a query, `{@}` stands for the directors that the reader has chosen, `{@v}` for those and the chosen virtual servers, `{@r}` for
those and the chosen real servers; more matchers may follow: `{@,state="down"}`.

Sources: grafana.com/docs, "Visualizations" and "Prometheus template variables".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

JSON = dict[str, Any]

CHOSEN = {
    "{@r": '{job=~"$job",instance=~"$instance",virtual_server=~"$virtual_server",real_server=~"$real_server"',
    "{@v": '{job=~"$job",instance=~"$instance",virtual_server=~"$virtual_server"',
    "{@": '{job=~"$job",instance=~"$instance"',
}

GREEN, ORANGE, RED, BLUE, GREY = "green", "orange", "red", "blue", "#808080"

YES_GOOD = {"1": ("yes", GREEN), "0": ("no", RED)}
UP = {"1": ("up", GREEN), "0": ("down", RED)}
QUORUM = {"1": ("quorum", GREEN), "0": ("no quorum", RED)}

HEADS = {"virtual_server": "virtual server", "real_server": "real server", "instance": "director"}
"""What a table calls a label."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question to Prometheus; `instant` asks for now alone, else for the whole time that the board shows."""

    expression: str
    legend: str = ""
    instant: bool = False
    step: str = ""
    """Least step between two points; four of it are the least $__rate_interval, so it is that of the job, where that is rare."""

    def text(self) -> str:
        """Return the query as Grafana keeps it, with its variables."""
        found = self.expression
        for short, long in CHOSEN.items():
            found = found.replace(short, long)
        return found


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: what it is called, what it means (for the reader's question mark), what it asks, how it looks."""

    kind: str
    title: str
    description: str
    queries: tuple[Query, ...]
    width: int
    height: int
    options: JSON
    defaults: JSON
    overrides: tuple[JSON, ...] = ()
    transformations: tuple[JSON, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A headline and the panels below it."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of a board: the values of `label` on `metric`, of which any number may be chosen."""

    name: str
    metric: str
    label: str
    title: str


@dataclass(frozen=True, slots=True)
class Board:
    """A board. `uid` stays for ever: links and bookmarks go by it."""

    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]
    annotations: tuple[tuple[str, str, Query], ...] = field(default=())
    """Name, colour and query of what is marked in every panel."""


# -- panels --------------------------------------------------------------------------------------------------------------


def tile(title: str, description: str, expression: str, *, unit: str = "none", bad_from: float | None = 1) -> Panel:
    """A number that should be 0: green below `bad_from`, red from there on; None: a number that is neither good nor bad."""
    steps: list[JSON] = [{"value": None, "color": BLUE if bad_from is None else GREEN}]
    if bad_from is not None:
        steps.append({"value": bad_from, "color": RED})
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "background" if bad_from is not None else "value",
        "graphMode": "none",
        "justifyMode": "center",
        "orientation": "auto",
        "textMode": "value",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
    }
    defaults = {"unit": unit, "noValue": "–", "thresholds": {"mode": "absolute", "steps": steps}, "mappings": []}
    return Panel("stat", title, description, (Query(expression, instant=True),), 3, 4, options, defaults)


def lines(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    width: int = 12,
    stacked: bool = False,
    bars: bool = False,
    colours: dict[str, str] | None = None,
    dashed: str = "",
) -> Panel:
    """Lines over time; `stacked` areas, or `bars` for things that are counted. `colours` go by the name of a line.

    `dashed` is a regular expression: lines with such a name are limits, not measures.
    """
    custom = {
        "drawStyle": "bars" if bars else "line",
        "lineWidth": 1,
        "fillOpacity": 60 if stacked or bars else 8,
        "showPoints": "never",
        "lineInterpolation": "stepAfter" if stacked else "linear",
        "stacking": {"mode": "normal" if stacked or bars else "none", "group": "A"},
        "spanNulls": False,
    }
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    overrides = tuple(
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
        }
        for name, colour in (colours or {}).items()
    )
    if dashed:
        style = {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}}
        overrides += ({"matcher": {"id": "byRegexp", "options": f"/{dashed}/"}, "properties": [style]},)
    defaults = {"unit": unit, "min": 0, "custom": custom, "color": {"mode": "palette-classic"}, "mappings": []}
    if stacked:
        defaults["decimals"] = 0
    return Panel("timeseries", title, description, queries, width, 8, options, defaults, overrides)


def timeline(
    title: str,
    description: str,
    query: Query,
    words: dict[str, tuple[str, str]],
    *,
    width: int = 24,
    empty: str = "nothing",
) -> Panel:
    """Who was in which state when: one bar a series, in pages of 20. `words` give each value its word and colour."""
    options = {
        "mergeValues": True,
        "showValue": "auto",
        "alignValue": "left",
        "rowHeight": 0.85,
        "perPage": 20,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    defaults = {
        "unit": "none",
        "noValue": empty,
        "mappings": [mapping(words)],
        "color": {"mode": "thresholds"},
        "thresholds": {"mode": "absolute", "steps": [{"value": None, "color": GREY}]},
        "custom": {"fillOpacity": 75, "lineWidth": 0},
    }
    return Panel("state-timeline", title, description, (query,), width, 8, options, defaults)


def heatmap(title: str, description: str, query: Query, *, width: int = 12) -> Panel:
    """How a duration is spread, over time: `query` gives one series for each bucket, its legend the bucket's bound in seconds."""
    options = {
        "calculate": False,
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "fill": "dark-orange",
            "scale": "exponential",
            "exponent": 0.5,
            "steps": 32,
            "reverse": False,
        },
        "cellGap": 1,
        "showValue": "never",
        "yAxis": {"unit": "s", "axisPlacement": "left"},
        "legend": {"show": True},
        "tooltip": {"mode": "single", "yHistogram": False, "showColorScale": True},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "rowsFrame": {"layout": "auto"},
    }
    defaults = {"unit": "s", "custom": {"scaleDistribution": {"type": "linear"}}}
    return Panel("heatmap", title, description, (query,), width, 8, options, defaults)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. With `words`, its values are words on a colour; with `bad_from`, a number on red from there on."""

    name: str
    expression: str
    unit: str = "none"
    words: dict[str, tuple[str, str]] | None = None
    bad_from: float | None = None


def table(title: str, description: str, *columns: Column, first: str, width: int = 12, height: int = 8) -> Panel:
    """One row for each set of labels that the columns' queries have in common, sorted by the column `first`, highest first."""
    letters = [chr(ord("A") + index) for index in range(len(columns))]
    names = {**HEADS, **{f"Value #{letter}": column.name for letter, column in zip(letters, columns, strict=True)}}
    if len(columns) == 1:  # a query that is alone has a column without a letter
        names = {"Value": columns[0].name, **names}
    hidden = dict.fromkeys(("Time", "__name__", "job"), True)
    options = {
        "showHeader": True,
        "cellHeight": "sm",
        "frameIndex": 0,
        "footer": {"show": False, "reducer": ["sum"], "countRows": False},
        "sortBy": [{"displayName": first, "desc": True}],
    }
    defaults = {
        "unit": "none",
        "noValue": "nothing",
        "custom": {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False},
        "mappings": [],
        "thresholds": {"mode": "absolute", "steps": [{"value": None, "color": GREEN}]},
    }
    overrides = (_link_to_virtual_server(), *(_look(column) for column in columns))
    transformations = (
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": hidden, "renameByName": names, "indexByName": {}}},
    )
    queries = tuple(Query(column.expression, instant=True) for column in columns)
    return Panel(
        "table", title, description, queries, width, height, options, defaults, tuple(overrides), transformations
    )


def counted(counter: str, by: str = "") -> str:
    """Return the query for how often something happened, by labels or all in all; `counter` has its matchers: `name_total{@}`.

    Prometheus stretches what it saw to the whole interval, so one event may show as 1.3. It is not rounded: two would become three.
    """
    total = f"sum by ({by})" if by else "sum"
    return f"{total} (increase({counter}[$__rate_interval]))"


def _look(column: Column) -> JSON:
    properties: list[JSON] = [{"id": "unit", "value": column.unit}]
    if column.words:
        properties.append({"id": "mappings", "value": [mapping(column.words)]})
    if column.bad_from is not None:
        steps = [{"value": None, "color": "transparent"}, {"value": column.bad_from, "color": RED}]
        properties.append({"id": "thresholds", "value": {"mode": "absolute", "steps": steps}})
    if column.words or column.bad_from is not None:
        properties.append({"id": "custom.cellOptions", "value": {"type": "color-background", "mode": "basic"}})
    return {"matcher": {"id": "byName", "options": column.name}, "properties": properties}


def _link_to_virtual_server() -> JSON:
    url = "/d/vipervisor-virtual-server?var-virtual_server=${__value.raw}&${datasource:queryparam}&${job:queryparam}&${__url_time_range}"
    link = {"title": "this virtual server", "url": url}
    return {
        "matcher": {"id": "byName", "options": HEADS["virtual_server"]},
        "properties": [{"id": "links", "value": [link]}],
    }


def mapping(words: dict[str, tuple[str, str]]) -> JSON:
    """Return Grafana's mapping of values to a word and a colour: both, for not everybody sees the colour."""
    options = {
        value: {"text": text, "color": colour, "index": index}
        for index, (value, (text, colour)) in enumerate(words.items())
    }
    return {"type": "value", "options": options}
