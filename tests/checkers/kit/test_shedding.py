"""Fewer probes while something runs short."""

from __future__ import annotations

import pytest

from checkers.kit.api import Reason, Verdict
from checkers.kit.shedding import QUIET_BEATS, STRETCH_MAX, Shedding


def test_pauses_grow_while_descriptors_are_short_and_shrink_again_when_there_are_enough() -> None:
    shedding = Shedding()
    factors = []
    for _ in range(5):
        shedding.note("EMFILE")
        shedding.beat()
        factors.append(shedding.factor)
    assert factors == [2, 4, 8, STRETCH_MAX, STRETCH_MAX]
    for _ in range(3 * QUIET_BEATS):
        shedding.beat()
    assert shedding.factor == 1


@pytest.mark.parametrize("fault", ["EPERM", "ENETUNREACH", "bind:EADDRNOTAVAIL", "FAVOUR"])
def test_what_fewer_probes_do_not_help_changes_no_pause(fault: str) -> None:
    shedding = Shedding()
    shedding.note(fault)
    shedding.beat()
    assert shedding.factor == 1


def test_only_a_failing_server_is_asked_again_as_soon_as_ever() -> None:
    shedding = Shedding()
    shedding.note("ENFILE")
    shedding.beat()
    dues = [shedding.due(Verdict(reason), 100.0, 106.0) for reason in (Reason.L4OK, Reason.LOCAL, Reason.L4CON)]
    assert dues == [112.0, 112.0, 106.0]


def test_no_pause_grows_beyond_a_minute_and_a_longer_one_stays_as_it_is() -> None:
    shedding = Shedding()
    for _ in range(3):
        shedding.note("EMFILE")
        shedding.beat()
    fine = Verdict(Reason.L4OK)
    assert [shedding.due(fine, 100.0, 100.0 + pause) for pause in (6.0, 20.0, 120.0)] == [148.0, 160.0, 220.0]
