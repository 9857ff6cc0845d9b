"""The deliberate differences to keepalived in scripts, named pipes and mail; each test has the name of a row of docs/differences.md.

Most of them are stories that are told elsewhere in full; that keepalived is as the page says is seen beside it, in
tests/kernel/test_scripts_beside_keepalived.py and test_mails_beside_keepalived.py.
"""

from __future__ import annotations

from pathlib import Path

from supervisor.config import Severity
from tests.sim import test_mail_stories as mail
from tests.sim import test_script_stories as scripts
from tests.sim.world import World, play
from tests.supervisor.config.written import outcome_of, real_server, virtual_server
from tests.supervisor.notify import test_grouping as grouping
from tests.supervisor.notify import test_smtp as smtp
from tests.supervisor.runner import test_process as runner
from tests.supervisor.runner.test_process import folder

__all__ = ["folder"]


def test_difference_scripts_run_without_privilege(folder: Path) -> None:
    runner.test_a_program_that_names_nobody_runs_as_the_daemons_unprivileged_user(folder)
    runner.test_nothing_runs_as_root_by_itself(folder)


def test_difference_root_scripts_have_no_capabilities(folder: Path) -> None:
    runner.test_a_program_that_names_root_is_root_without_a_capability_and_can_get_none(folder)


def test_difference_scripts_begin_with_a_clean_environment(folder: Path) -> None:
    runner.test_a_program_begins_with_nothing_of_ours(folder)


def test_difference_script_that_is_missing_fails_loudly() -> None:
    outcome = outcome_of(virtual_server(real_server("notify_down /nowhere/at/all")))
    assert outcome.config is not None
    (problem,) = outcome.problems
    assert problem.severity is Severity.WARNING
    assert "each run will fail, loudly" in problem.message


def test_difference_scripts_have_a_time_limit(tmp_path: Path) -> None:
    scripts.test_a_script_that_fails_or_takes_too_long_is_told_of_with_what_it_said(tmp_path)


def test_difference_scripts_of_one_object_run_one_after_another(tmp_path: Path) -> None:
    scripts.test_the_scripts_of_one_server_run_one_after_another_and_the_last_word_is_true(tmp_path)


def test_difference_scripts_of_the_stop_have_their_time(tmp_path: Path) -> None:
    scripts.test_a_stop_does_not_wait_for_a_script_for_ever(tmp_path)


def test_difference_pipes_stay_open_at_a_reload(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        scripts.serve(world, 21, 22)
        await world.later(5)
        assert world.pipes.opened == 1
        world.reload(scripts.file(21, 22, more="quorum 2"))
        await world.later(5)
        assert world.pipes.opened == 1

    play(story, scripts.file(21, 22), tmp_path)


def test_difference_restart_is_no_news(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        scripts.serve(world, 21, 22)
        await world.later(10)
        assert scripts.said(world) == ["gained"]
        world.crash()
        await world.later(2)
        await world.start()
        await world.later(20)
        assert scripts.said(world) == ["gained"]

    play(story, scripts.file(21, 22), tmp_path)


def test_difference_mails_are_grouped(tmp_path: Path) -> None:
    mail.test_a_rack_that_fails_is_one_mail_of_the_whole_program(tmp_path)


def test_difference_mail_waits_a_second() -> None:
    grouping.test_one_change_is_told_as_keepalived_tells_it_a_second_later()


def test_difference_mail_of_the_stop_is_delivered(tmp_path: Path) -> None:
    mail.test_mail_of_the_stop_is_delivered_before_the_program_ends(tmp_path, 2)


def test_difference_mail_is_tried_again() -> None:
    smtp.test_a_passing_failure_is_retried_with_growing_pauses()


def test_difference_mails_come_in_order() -> None:
    smtp.test_mails_are_delivered_in_order_one_after_another()


def test_difference_first_success_of_a_script_is_no_news(tmp_path: Path) -> None:
    script = "MISC_CHECK {\nmisc_path /site/check\nwarmup 0\n}"
    server = f"real_server 192.168.100.21 80 {{\n{script}\n}}\n"
    head = "virtual_server 203.0.113.1 80 {\ndelay_loop 5\nlb_algo rr\nlb_kind NAT\nprotocol TCP\n"

    async def story(world: World) -> None:
        assert await mail.take(world) == ["Virtualserver [203.0.113.1]:tcp:80 - UP"]

    play(story, f"{mail.GLOBAL}{head}{server}}}\n", tmp_path)
