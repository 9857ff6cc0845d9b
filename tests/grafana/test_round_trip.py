"""Grafana's own library reads every board and writes it again, and nothing of it is lost.

`grafana-foundation-sdk` is Grafana Labs' library for dashboards, generated from the definitions that Grafana's JSON schema is generated
from (`tests.grafana.schema` says why the schema itself is not here). What it does not know it drops without a word; so a key of ours
that Grafana would not read is one that does not come back. What it adds are Grafana's defaults, and those are not ours to write.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from grafana.boards import BOARDS, file_of
from grafana.panels import Board

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # as in tests.grafana.schema: ours is Classic on purpose
    from grafana_foundation_sdk.cog import encoder, plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

JSON = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def _kinds_of_panels_and_queries() -> None:
    """Let the library know Prometheus's queries and the options of panels; without, it would keep both as they are, unread."""
    plugins.register_default_plugins()


def written_again(board: JSON) -> Any:
    """Return a board as Grafana's library writes it after reading it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return json.loads(encoder.JSONEncoder().encode(Dashboard.from_json(copy.deepcopy(board))))


def lost(ours: Any, theirs: Any, place: str = "") -> Iterator[str]:
    """Yield what of `ours` is not in `theirs`, or is another thing there."""
    match ours, theirs:
        case dict(), dict():
            for name, value in ours.items():
                if name in theirs:
                    yield from lost(value, theirs[name], f"{place}/{name}")
                else:
                    yield f"{place}/{name}: {str(value)[:80]}"
        case list(), list() if len(ours) == len(theirs):
            for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
                yield from lost(one, other, f"{place}/{number}")
        case _ if ours != theirs:
            yield f"{place}: {ours!r} became {theirs!r}"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_grafanas_library_reads_a_board_and_loses_nothing_of_it(board: Board) -> None:
    ours = json.loads(file_of(board).read_text())
    assert list(lost(ours, written_again(ours))) == []


def test_what_grafana_would_not_read_is_found() -> None:
    mistakes: tuple[tuple[str, Callable[[JSON], object]], ...] = (
        ("/tag", lambda board: board.update(tag="lvs")),
        ("/panels/1/gridPos/width", lambda board: board["panels"][1]["gridPos"].update(width=6)),
        ("/panels/1/targets/0/expression", lambda board: board["panels"][1]["targets"][0].update(expression="up")),
        ("/panels/1/options/colour", lambda board: board["panels"][1]["options"].update(colour="red")),
        ("/panels/1/fieldConfig/defaults/units", lambda board: _defaults(board).update(units="s")),
        ("/templating/list/1/multiple", lambda board: board["templating"]["list"][1].update(multiple=True)),
        ("/annotations/list/0/color", lambda board: board["annotations"]["list"][0].update(color="red")),
    )
    for place, break_it in mistakes:
        broken = json.loads(file_of(BOARDS[0]).read_text())
        break_it(broken)
        assert [found.partition(":")[0] for found in lost(broken, written_again(broken))] == [place]


def _defaults(board: JSON) -> JSON:
    defaults: JSON = board["panels"][1]["fieldConfig"]["defaults"]
    return defaults
