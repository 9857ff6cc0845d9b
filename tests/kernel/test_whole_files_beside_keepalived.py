"""What concerns a file as a whole, both programs: the forms of lvs_flush_on_stop, and a reload with a file that is broken.

At a stop the named pipe has the same lines, and nothing is left in the table. With a broken file ours goes on with the old one, whatever
keepalived makes of it (reload-takes-all-or-nothing). Each file has a duel of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kernel import judging
from tests.kernel.duel import STOPPED, Record, Scenario, Stage, Weights, alive, play_lanes, pool, server
from tests.kernel.programs import STOPS

ONE, OTHER = server(1), server(2)


def broken(name: str, text: str, *theirs: Weights) -> Scenario:
    """A file that is broken, and a server that dies after it; `theirs` is what keepalived has of each, and after the stop."""
    ours = ("broken", {1: 1, 2: 1}), ("one dies", {2: 1})
    wrong, dies = (
        Stage(what, weights, theirs=their, told_otherwise=True)
        for (what, weights), their in zip(ours, theirs[:2], strict=True)
    )
    return Scenario(
        name,
        (
            Stage("before", {1: 1, 2: 1}, pool(ONE, OTHER), alive(1, 2)),
            replace(wrong, block=text),
            replace(dies, alive=alive(2)),
        ),
        stopped=replace(STOPPED, theirs=theirs[2]),
    )


BROKEN = (
    # it ends, and nobody looks after its table any more
    broken("a_value_is_missing", pool(server(1, "weight"), OTHER), {1: 1, 2: 1}, {1: 1, 2: 1}, {1: 1, 2: 1}),
    # the second server is read as a part of the first, and lost
    broken("a_brace_is_missing", pool(ONE.removesuffix("}"), OTHER), {1: 1}, {}, {}),
)


FORMS = {"table": "lvs_flush_on_stop", "services": "lvs_flush_on_stop VS"}
every_form = pytest.mark.parametrize("form", FORMS)
every_stop = pytest.mark.parametrize("scenario", STOPS, ids=str)


@pytest.fixture(scope="module")
def records(directory: Path) -> Mapping[str, Record]:
    stops = {form: (STOPS, f"global_defs {{\n {line}\n}}\n") for form, line in FORMS.items()}
    return play_lanes({**stops, **{scenario.name: ([scenario], "") for scenario in BROKEN}}, directory)


@every_form
@every_stop
def test_the_tables_are_equal_before_and_after_a_stop(
    records: Mapping[str, Record], scenario: Scenario, form: str
) -> None:
    judging.same_tables(scenario, records[form][scenario.name])


@every_form
@every_stop
def test_the_named_pipe_has_the_same_lines(records: Mapping[str, Record], scenario: Scenario, form: str) -> None:
    judging.same_lines(scenario, records[form][scenario.name])


@pytest.mark.parametrize("scenario", BROKEN, ids=str)
def test_ours_goes_on_with_the_old_file(records: Mapping[str, Record], scenario: Scenario) -> None:
    record = records[scenario.name][scenario.name]
    judging.same_tables(scenario, record)
    assert [settled.ours.told.lines for settled in record] == [("VS UP",), (), ("RS 1 DOWN",), ()]
