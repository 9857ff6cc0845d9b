"""What a test asks of the record of a duel; each question fails with both programs' answers side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from tests.kernel.duel import Scenario, Seen, Settled

CLOCK_S = 1.0
"""What the machine adds: a guest with one processor for both programs, and tables that are looked at fifty times a second."""
THEIR_CLOCK_S = 2.5
"""The same for a keepalived that comes later than we do: it shares the processor with thirty others of its kind, and is not on trial."""
RELOAD_S = 1.5
"""What keepalived may take longer for a reload: its parent and its checker read the file again, and the first checks wait a second."""


def same_tables(scenario: Scenario, stages: Sequence[Settled]) -> None:
    """Each settled stage is as the scenario says; both tables agree to the letter unless a named difference is about this stage."""
    assert len(stages) == len(scenario.stages) + 1  # the stop
    wrong = []
    for settled in stages:
        stage, ours, theirs = settled.stage, settled.ours, settled.theirs
        if ours.weights != stage.weights or theirs.weights != stage.weights_of_keepalived:
            wrong.append(f"{stage.what}: wanted {stage.weights}, {_both(ours.weights, theirs.weights)}")
        elif stage.theirs is None and not stage.differs and ours.rules != theirs.rules:
            wrong.append(f"{stage.what}: {_both(*_difference(ours, theirs))}")
    assert not wrong, "\n".join(wrong)


def same_time(scenario: Scenario, stages: Sequence[Settled]) -> None:
    """Where both tables change to the same, the last change comes within one probe period of the other's.

    At the start the time counts from when the program can check: our checkers are a process of their own, which starts after the table,
    and so is the runner of scripts, which starts beside their first probes.
    """
    late = [
        f"{settled.stage.what}: {_both(settled.ours.changed_after_s, settled.theirs.changed_after_s)}"
        for settled in stages
        if settled.stage.theirs is None and not _in_time(scenario, settled)
    ]
    assert not late, "\n".join(late)


def _in_time(scenario: Scenario, settled: Settled) -> bool:
    """Tell whether the two last changes lie near enough to each other; a table that did not change has none."""
    ours, theirs = settled.ours.changed_after_s, settled.theirs.changed_after_s
    if ours is None or theirs is None:
        return True
    more_s = scenario.check_s + (RELOAD_S if settled.reload else 0)
    return (
        -(scenario.period_s + THEIR_CLOCK_S + more_s)
        <= ours - theirs
        <= scenario.period_s + CLOCK_S + settled.starting_s + more_s
    )


def same_lines(scenario: Scenario, stages: Sequence[Settled]) -> None:
    """The named pipe has the same lines: in the same order where one thing changed, else of each object in the same order."""
    wrong = [
        f"{settled.stage.what}: {_both(settled.ours.told.lines, settled.theirs.told.lines)}"
        for settled in stages
        if not settled.stage.told_otherwise
        and _in_order(settled, settled.ours.told.lines) != _in_order(settled, settled.theirs.told.lines)
    ]
    assert not wrong, "\n".join(wrong)
    assert any(settled.ours.told.lines for settled in stages), f"{scenario} told nothing at all"


def _in_order(settled: Settled, lines: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Return the lines by what they are about; all together where only one thing happened, so that their order is no chance."""
    if settled.one_change:
        return {"all": lines}
    names = {line.rpartition(" ")[0] for line in lines}
    return {name: [line for line in lines if line.rpartition(" ")[0] == name] for name in names}


def same_scripts(scenario: Scenario, stages: Sequence[Settled]) -> None:
    """The same scripts ran in each stage."""
    wrong = [
        f"{settled.stage.what}: {_both(settled.ours.told.said, settled.theirs.told.said)}"
        for settled in stages
        if not settled.stage.told_otherwise and settled.ours.told.said != settled.theirs.told.said
    ]
    assert not wrong, "\n".join(wrong)
    assert any(settled.ours.told.said for settled in stages), f"{scenario} ran no script at all"


def same_mails(stages: Sequence[Settled]) -> None:
    """The mails of each stage are the same, whatever way they came: keepalived sends all of them at once."""
    wrong = [
        f"{settled.stage.what}: {_both(sorted(settled.ours.told.mails), sorted(settled.theirs.told.mails))}"
        for settled in stages
        if not settled.stage.told_otherwise
        and not settled.stage.mailed_otherwise
        and sorted(settled.ours.told.mails) != sorted(settled.theirs.told.mails)
    ]
    assert not wrong, "\n".join(wrong)


def no_empty_pool(stages: Sequence[Settled]) -> None:
    """Between two settled stages with destinations, ours always had some (no-pool-is-empty-on-the-way)."""
    empty = [
        f"{after.stage.what}: {after.ours.way}"
        for before, after in pairwise(stages)
        if before.ours.weights and after.ours.weights and not all(after.ours.way)
    ]
    assert not empty, "\n".join(empty)


def _difference(ours: Seen, theirs: Seen) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the lines that only one of them has."""
    common = set(ours.rules) & set(theirs.rules)
    return (
        tuple(line for line in ours.rules if line not in common),
        tuple(line for line in theirs.rules if line not in common),
    )


def _both(ours: object, theirs: object) -> str:
    return f"vipervisor has {ours}, keepalived {theirs}"
