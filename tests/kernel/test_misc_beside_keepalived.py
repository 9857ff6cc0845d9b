"""Every way a MISC_CHECK's script can end, Debian's keepalived beside us: the same weight with both, or a difference has a name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.answer_cases import SMTP_CASES
from tests.kernel.beside import Pair, beside_keepalived, require_equal
from tests.kernel.value_cases import SCRIPT_CASES, ScriptCase

CLOCK = next(case for case in SMTP_CASES if case.name == "silence")
"""Beside the scripts, to tell by its probes how long both have been running."""


@pytest.fixture(scope="module")
def pair(directory: Path) -> Iterator[Pair]:
    with beside_keepalived(directory, [*SCRIPT_CASES, CLOCK], CLOCK) as both:
        yield both


@pytest.mark.parametrize("case", SCRIPT_CASES, ids=str)
def test_the_weight_is_keepaliveds_or_a_difference_has_a_name(pair: Pair, case: ScriptCase) -> None:
    require_equal(pair, case)
