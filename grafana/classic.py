"""A board as Grafana's Classic JSON: variables, links, annotations, and the panels in their places.

Sources: grafana.com/docs, "Dashboard JSON model" and "Add template variables"; the types of Grafana's own `grafana-foundation-sdk`,
which tests/grafana/schema.py makes the schema of that the boards are held against.
"""

from __future__ import annotations

from grafana.panels import JSON, Board, Panel, Query, Row, Variable

SCHEMA_VERSION = 39
"""Of the Classic model: Grafana 10.3 and newer read it as it is, to 13 at least they bring it up to date by themselves."""

COLUMNS = 24
"""Width of Grafana's grid."""

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def write(board: Board, boards: tuple[Board, ...]) -> JSON:
    """Return the board as Classic JSON, with links to the other `boards`."""
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.description,
        "tags": ["vipervisor", "lvs"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "links": [_link(other) for other in boards if other is not board],
        "annotations": {"list": [_annotation(*marked) for marked in board.annotations]},
        "templating": {"list": [_datasource(), *_variables(board.variables)]},
        "panels": _laid_out(board.rows),
    }


def _link(board: Board) -> JSON:
    return {
        "title": board.title.partition(" / ")[2],
        "type": "link",
        "url": f"/d/{board.uid}",
        "icon": "dashboard",
        "tooltip": board.description,
        "tags": [],
        "asDropdown": False,
        "targetBlank": False,
        "includeVars": True,
        "keepTime": True,
    }


def _annotation(name: str, colour: str, query: Query) -> JSON:
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": colour,
        "expr": query.text(),
        "titleFormat": name,
        "textFormat": query.legend,
        "step": "15s",
    }


def _datasource() -> JSON:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}


def _variables(variables: tuple[Variable, ...]) -> list[JSON]:
    """Each is narrowed by what was chosen to the left of it."""
    written: list[JSON] = []
    narrowed = ""
    for variable in variables:
        text = f"label_values({variable.metric}{'{' + narrowed + '}' if narrowed else ''}, {variable.label})"
        written.append(
            {
                "name": variable.name,
                "label": variable.title,
                "type": "query",
                "datasource": DATASOURCE,
                "query": {"query": text, "refId": "StandardVariableQuery"},
                "definition": text,
                "refresh": 2,
                "sort": 7,
                "multi": True,
                "includeAll": True,
                "allValue": ".+",
                "current": {"text": ["All"], "value": ["$__all"]},
                "hide": 0,
            }
        )
        narrowed += f'{"," if narrowed else ""}{variable.label}=~"${variable.name}"'
    return written


def _laid_out(rows: tuple[Row, ...]) -> list[JSON]:
    """Put the panels from left to right and from top to bottom."""
    placed: list[JSON] = []
    top = 0
    for row in rows:
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        placed.append(
            {
                "id": len(placed) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": place,
                "panels": [],
            }
        )
        left, top, deepest = 0, top + 1, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                left, top, deepest = 0, top + deepest, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            placed.append(_panel(len(placed) + 1, panel, place))
            left, deepest = left + panel.width, max(deepest, panel.height)
        top += deepest
    return placed


def _panel(number: int, panel: Panel, place: dict[str, int]) -> JSON:
    targets = []
    for index, query in enumerate(panel.queries):
        target = {
            "refId": chr(ord("A") + index),
            "datasource": DATASOURCE,
            "expr": query.text(),
            "legendFormat": query.legend or "__auto",
            "editorMode": "code",
            "instant": query.instant,
            "range": not query.instant,
            "format": {"table": "table", "heatmap": "heatmap"}.get(panel.kind, "time_series"),
        }
        if query.step:
            target["interval"] = query.step
        targets.append(target)
    found: JSON = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": place,
        "targets": targets,
        "options": panel.options,
        "fieldConfig": {"defaults": panel.defaults, "overrides": list(panel.overrides)},
    }
    if panel.transformations:
        found["transformations"] = list(panel.transformations)
    return found
