"""The boards: what is in the folder is what the program writes, Grafana can read it, and it keeps to the rules of good boards.

The rules are those of Grafana's dashboard-linter that fit (templated data source, job and instance; titles, descriptions and units;
`$__rate_interval`; counters are rated) and some of our own. tests/process/test_boards.py asks every query of a real Prometheus.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from grafana.boards import BOARDS, FOLDER, file_of, written
from grafana.classic import COLUMNS
from grafana.panels import Board
from tests.grafana import published, schema
from tests.grafana.published import errors

JSON = dict[str, Any]

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics.txt"
OF_PROMETHEUS = {"up", "scrape_duration_seconds"}
FUNCTIONS_OF_COUNTERS = ("rate(", "increase(", "changes(")
each_board = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)


def panels(board: Board) -> Iterator[JSON]:
    for panel in written(board)["panels"]:
        if panel["type"] != "row":
            yield panel


def expressions(board: Board) -> Iterator[str]:
    for panel in panels(board):
        for target in panel["targets"]:
            yield target["expr"]
    for annotation in written(board)["annotations"]["list"]:
        yield annotation["expr"]


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:lvs_\w+|up|scrape_\w+)(?=\{)", expression))


@each_board
def test_the_file_is_what_the_program_writes(board: Board) -> None:
    assert json.loads(file_of(board).read_text()) == written(board), "run: python -m grafana.boards"


def test_no_board_of_an_earlier_day_is_left() -> None:
    assert set(FOLDER.glob("*.json")) == {file_of(board) for board in BOARDS}


@each_board
def test_the_board_fits_the_schema_of_grafana(board: Board) -> None:
    assert errors(written(board), schema.of_dashboard()) == []


@each_board
def test_the_options_of_every_panel_fit_the_schema_of_its_kind(board: Board) -> None:
    for panel in panels(board):
        options, custom = schema.of_panel(panel["type"])
        assert errors(panel["options"], options) == [], panel["title"]
        if custom is not None:
            assert errors(panel["fieldConfig"]["defaults"].get("custom", {}), custom) == [], panel["title"]


def test_the_schema_refuses_what_grafana_would_not_know() -> None:
    good = written(BOARDS[0])
    wanted = schema.of_dashboard()
    mistakes: tuple[Callable[[JSON], object], ...] = (
        lambda board: board.update(__inputs=[]),
        lambda board: board.update(schemaVersion="39"),
        lambda board: board.pop("templating"),
        lambda board: board["panels"][1]["targets"][0].update(expression="up"),
        lambda board: board["panels"][1]["gridPos"].update(w="6"),
        lambda board: board["templating"]["list"][1].update(type="choice"),
        lambda board: board["annotations"]["list"][0].pop("iconColor"),
    )
    for break_it in mistakes:
        broken = copy.deepcopy(good)
        break_it(broken)
        assert errors(broken, wanted) != []
    options, custom = schema.of_panel("state-timeline")
    assert errors({"rowHeight": "tall"}, options) != []
    assert custom is not None
    assert errors({"fillOpacity": "much"}, custom) != []


def test_a_schema_that_somebody_fetched_is_held_against_every_board(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "dashboard.jsonschema.json"
    file.write_text(json.dumps(schema.of_dashboard()))
    assert published.main([str(file)]) == 0
    assert capsys.readouterr().out == "every board fits\n"
    file.write_text(json.dumps({"required": ["gnetId"]}))
    assert published.main([str(file)]) == 1
    assert capsys.readouterr().out.count("'gnetId' is a required property") == len(BOARDS)


@each_board
def test_a_board_has_what_a_reader_needs(board: Board) -> None:
    found = written(board)
    assert re.fullmatch(r"[a-z-]{8,40}", found["uid"])
    assert found["graphTooltip"] == 1
    assert {link["url"] for link in found["links"]} == {f"/d/{other.uid}" for other in BOARDS if other is not board}
    assert all(link["includeVars"] and link["keepTime"] for link in found["links"])
    assert found["templating"]["list"][0]["type"] == "datasource"
    for variable in found["templating"]["list"][1:]:
        assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".+")
    titles = [panel["title"] for panel in panels(board)]
    assert len(titles) == len(set(titles))
    for panel in panels(board):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


@each_board
def test_panels_lie_beside_each_other_and_not_on_each_other(board: Board) -> None:
    taken: set[tuple[int, int]] = set()
    numbers = set()
    for panel in written(board)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["id"] not in numbers
        numbers.add(panel["id"])


@each_board
def test_every_selector_goes_by_the_choices_at_the_top(board: Board) -> None:
    for expression in expressions(board):
        selectors = re.findall(r"(?:lvs_\w+|\bup|scrape_\w+)(\{[^}]*\})?", expression)
        assert selectors, expression
        for selector in selectors:
            assert 'job=~"$job",instance=~"$instance"' in selector, expression


@each_board
def test_counters_are_asked_how_fast_they_grow_and_over_an_interval_that_fits(board: Board) -> None:
    for expression in expressions(board):
        for counter in re.finditer(r"(\w+\()?lvs_\w+_(?:total|bucket)\{", expression):
            assert (counter[1] or "").endswith(FUNCTIONS_OF_COUNTERS), expression
        for interval in re.findall(r"\[([^\]]+)\]", expression):
            assert interval in {"$__rate_interval", "$__range", "1m"}, expression
            assert interval != "1m" or expression in {a["expr"] for a in written(board)["annotations"]["list"]}


@each_board
def test_every_metric_is_one_that_the_exporter_has(board: Board) -> None:
    exported = set(re.findall(r"^(\w+)[{ ]", GOLDEN.read_text(), re.MULTILINE))
    asked = {name for expression in expressions(board) for name in names_in(expression)}
    assert asked - exported == OF_PROMETHEUS & asked


def test_the_docs_show_every_board() -> None:
    page = FOLDER.parent / "docs" / "boards.md"
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text())
    assert set(pictures) == {*(f"boards/{board.uid}.png" for board in BOARDS), "boards/alerts.png"}
    for target in (*pictures, *re.findall(r"(?<!!)\[[^\]]+\]\(([^)]+)\)", page.read_text())):
        assert (page.parent / target).exists(), target
