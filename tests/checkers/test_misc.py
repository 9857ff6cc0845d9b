from __future__ import annotations

import pytest
import trio

from checkers import misc
from checkers.kit.api import Answer, Ending, Favour, LocalTrouble, Reason, Target, Verdict
from checkers.kit.options import Json
from tests.fakes.favours import ScriptedFavours
from tests.fakes.network import FakeNetwork

SOMEWHERE = Target("0.0.0.0", 0)
COMMAND = ["/usr/lib/site/check", "a b", "c"]


def verdict_of(answer: Answer, *, dynamic: bool = False) -> Verdict:
    """Check once with a script that ends so."""

    async def main() -> Verdict:
        favours = ScriptedFavours(answer)
        prepared = misc.prepare({"argv": [*COMMAND], "misc_dynamic": dynamic})
        verdict = await misc.check(SOMEWHERE, prepared, FakeNetwork().dialer(3.0, favours))
        assert favours.asked == [Favour.SCRIPT]
        return verdict

    return trio.run(main)


@pytest.mark.parametrize(
    ("dynamic", "status", "reason", "weight"),
    [
        (False, 0, Reason.PROCOK, None),
        (False, 1, Reason.PROCERR, None),
        (False, 2, Reason.PROCERR, None),
        (False, 255, Reason.PROCERR, None),
        (True, 0, Reason.PROCOK, None),
        (True, 1, Reason.PROCERR, None),
        (True, 2, Reason.PROCOK, 0),
        (True, 12, Reason.PROCOK, 10),
        (True, 255, Reason.PROCOK, 253),
    ],
)
def test_the_exit_status_is_the_verdict_and_with_misc_dynamic_the_weight(
    dynamic: bool, status: int, reason: Reason, weight: int | None
) -> None:
    verdict = verdict_of(Answer(Ending.DONE, status, "what it printed"), dynamic=dynamic)
    assert (verdict.reason, verdict.weight, verdict.received) == (reason, weight, "what it printed")
    assert verdict.detail == f"exit status {status}"


def test_the_command_is_shown_as_one_would_type_it() -> None:
    assert verdict_of(Answer(Ending.DONE)).sent == "/usr/lib/site/check 'a b' c"


def test_a_script_that_is_not_done_in_time_has_failed() -> None:
    assert verdict_of(Answer(Ending.TIMED_OUT, text="killed after 3 s")).reason is Reason.PROCTOUT


def test_a_script_that_was_ended_while_its_watcher_stood_still_says_nothing_of_the_server() -> None:
    verdict = verdict_of(Answer(Ending.LATE, text="killed after its limit, in which the runner stood still"))
    assert verdict.reason is Reason.LATE
    assert not verdict.conclusive


def test_a_script_that_nobody_can_run_says_nothing_of_the_server() -> None:
    with pytest.raises(LocalTrouble, match="the runner is not there"):
        verdict_of(Answer(Ending.REFUSED, text="the runner is not there"))


@pytest.mark.parametrize("options", [{}, {"argv": []}, {"argv": [""]}])
def test_a_check_without_a_command_is_refused(options: dict[str, Json]) -> None:
    with pytest.raises(ValueError, match="misc_path needs a command"):
        misc.prepare(options)
