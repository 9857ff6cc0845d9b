from __future__ import annotations

import pytest

from supervisor.config import keywords
from tests.supervisor.config.written import config_of, outcome_of, said


@pytest.mark.parametrize(
    "line",
    [
        "checker_priority -20",
        "process_name fifteen_letters",
        "umask 022",
        "umask IRUSR|IWGRP",
        "snmp_vs_stats_update_interval 0.5",
        "nftables_ipvs",
        "nftables_ipvs table",
        "reload_check_config",
        "json_version 2",
        "vrrp_strict",
        "vrrp_garp_master_delay anything that is written here",
    ],
)
def test_a_valid_value_is_only_told_of_as_not_handled(line: str) -> None:
    outcome = outcome_of(f"global_defs {{\n{line}\n}}\n")
    assert said(outcome) == [f'2:1: warning: "{line.partition(" ")[0]}" is not handled by this version']


@pytest.mark.parametrize(
    ("line", "column", "code"),
    [
        ("checker_priority -21", 18, "E021"),
        ("startup_script_timeout 0", 24, "E021"),
        ("startup_script a b c d", 22, "E012"),
        ("notify_fifo a b c d", 19, "E012"),
        ("process_name sixteen__letters", 14, "E030"),
        ("umask 9", 7, "E020"),
        ("snmp_vs_stats_update_interval 31", 31, "E021"),
        ("json_version two", 14, "E020"),
        ("umask 022 {\n}", 1, "E013"),
    ],
)
def test_a_wrong_value_is_an_error_though_nobody_acts_on_it(line: str, column: int, code: str) -> None:
    outcome = outcome_of(f"global_defs {{\n{line}\n}}\n")
    errors = [problem for problem in outcome.problems if problem.severity.value == "error"]
    assert [(error.line, error.column, error.code) for error in errors] == [(2, column, code)]


def test_what_acts_while_files_are_read_is_no_warning() -> None:
    config_of("global_defs {\nrandom_seed 5\ninclude_check +match\n}\n")


def test_every_keyword_of_global_defs_and_of_the_file_can_be_met_without_a_value() -> None:
    for table in (keywords.GLOBAL_DEFS, keywords.ROOT):
        for keyword in table:
            text = f"global_defs {{\n{keyword.name}\n}}\n" if table is keywords.GLOBAL_DEFS else f"{keyword.name}\n"
            for problem in outcome_of(text).problems:
                assert problem.line in {1, 2}
