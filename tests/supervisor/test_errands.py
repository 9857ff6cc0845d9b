"""What the end of a script is to a check."""

from __future__ import annotations

import errno

import pytest

from checkers.kit.api import Ending
from supervisor.errands import _answer
from supervisor.runner.protocol import Ended, Outcome


@pytest.mark.parametrize(
    ("ended", "ending"),
    [
        (Ended(1, Outcome.EXITED, 3), Ending.DONE),
        (Ended(1, Outcome.SIGNALLED, 9), Ending.FAILED),
        (Ended(1, Outcome.TIMED_OUT), Ending.TIMED_OUT),
        (Ended(1, Outcome.LATE), Ending.LATE),
        (Ended(1, Outcome.COULD_NOT_START, errno.ENOENT), Ending.FAILED),
        (Ended(1, Outcome.COULD_NOT_START, errno.EMFILE), Ending.REFUSED),
        (Ended(1, Outcome.RUNNER_LOST), Ending.REFUSED),
        (Ended(1, Outcome.CANCELLED), Ending.REFUSED),
    ],
)
def test_only_what_a_script_did_itself_says_something_of_its_server(ended: Ended, ending: Ending) -> None:
    assert _answer(ended).ending is ending
