"""Scripts, their users and the named pipes: what the file says, and what is warned of because it cannot work here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervisor.model import Fifo, Script
from tests.supervisor.config.written import config_of, outcome_of, real_server, said, virtual_server

TRUE = "/bin/true"


def file(folder: Path, mode: int = 0o755) -> str:
    path = folder / "script"
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return str(path)


def problems(text: str) -> list[str]:
    """What is said, without the places."""
    return [each.partition(": ")[2] for each in said(outcome_of(text))]


def global_defs(*lines: str) -> str:
    return "\n".join(["global_defs {", *lines, "}\n"])


def test_each_script_has_its_arguments_and_its_user() -> None:
    text = global_defs("script_user daemon") + virtual_server(
        f"quorum_up \"{TRUE} 'a b' c\" nobody nogroup",
        f"quorum_down {TRUE}",
        real_server(f"notify_up '{TRUE} up' nobody", f'notify_down "{TRUE} down"'),
    )
    (server,) = config_of(text).virtual_servers
    assert server.quorum_up == Script((TRUE, "a b", "c"), "nobody", "nogroup")
    assert server.quorum_down == Script((TRUE,), "daemon")
    assert server.real_servers[0].notify_up == Script((TRUE, "up"), "nobody")
    assert server.real_servers[0].notify_down == Script((TRUE, "down"), "daemon")


def test_without_script_user_nobody_is_named_and_least_of_all_root() -> None:
    (server,) = config_of(virtual_server(f"quorum_up {TRUE}", real_server())).virtual_servers
    assert server.quorum_up == Script((TRUE,), "", "")


def test_the_settings_of_the_whole_program() -> None:
    settings = config_of(
        global_defs(
            f"startup_script {TRUE}",
            "startup_script_timeout 20",
            f'shutdown_script "{TRUE} x" nobody',
            "notify_timeout 30",
            "rs_init_notifies",
            "notify_fifo /run/one daemon nogroup",
            f"lvs_notify_fifo_script {TRUE}",
            "lvs_notify_fifo /run/two",
        )
    ).scripts
    assert (settings.startup, settings.startup_timeout) == (Script((TRUE,)), 20)
    assert (settings.shutdown, settings.shutdown_timeout) == (Script((TRUE, "x"), "nobody"), 10)
    assert (settings.timeout, settings.at_start) == (30, True)
    assert settings.fifos == (Fifo("/run/one", "daemon", "nogroup"), Fifo("/run/two", script=Script((TRUE,))))


def test_a_notification_has_a_minute_unless_the_file_says_otherwise() -> None:
    assert config_of("").scripts.timeout == 60


def test_only_the_first_address_of_a_group_tells_people() -> None:
    group = "virtual_server_group web {\n10.0.0.1-3 80\nfwmark 5\n}\n"
    found = config_of(group + virtual_server(real_server(), head="group web")).virtual_servers
    assert [server.follower for server in found] == [False, True, True, True]


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("/no/such/script", "it cannot be found (No such file or directory); each run will fail, loudly"),
        ("/tmp", "it is a directory; each run will fail, loudly"),
        ("/dev/null", "it is no ordinary file; each run will fail, loudly"),
    ],
)
def test_what_cannot_be_run_is_a_warning_and_no_error(script: str, complaint: str) -> None:
    text = virtual_server(real_server(f"notify_down {script}"))
    assert problems(text) == [f"warning: {script}: {complaint}"]
    assert outcome_of(text).config is not None


def test_a_script_that_is_not_executable_is_a_warning(tmp_path: Path) -> None:
    path = file(tmp_path, 0o644)
    assert problems(global_defs(f"startup_script {path}")) == [
        f"warning: {path}: it is not executable; each run will fail, loudly"
    ]


def test_one_script_of_many_servers_is_warned_of_once() -> None:
    servers = [real_server("notify_up /no/such/script", head=f"10.1.0.{i} 80") for i in (1, 2, 3)]
    assert len(problems(virtual_server(*servers))) == 1


def test_a_name_without_a_path_is_looked_for_and_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/no/such/folder:/bin")
    assert problems(global_defs("startup_script true")) == [
        'warning: "true" has no path; it is looked for in PATH at each run, here it means /bin/true'
    ]
    assert problems(global_defs("startup_script no_such_program")) == [
        'warning: "no_such_program" is in no folder of PATH; each run will fail, loudly'
    ]


def test_users_and_groups_that_do_not_exist_are_warnings() -> None:
    assert problems(global_defs("script_user no_such_user no_such_group")) == [
        'warning: there is no user "no_such_user" here; where there is none, a script without a user of its own will fail, loudly',
        'warning: there is no group "no_such_group" here; where there is none, a script without a user of its own will fail, loudly',
    ]


def test_root_is_worth_a_note() -> None:
    assert problems(global_defs(f"startup_script {TRUE} root")) == [
        "note: it runs as root, without root's capabilities: root's files are open to it, network settings are not"
    ]


def test_script_security_warns_of_what_others_can_change_if_it_runs_as_root(tmp_path: Path) -> None:
    path = file(tmp_path, 0o757)
    secure = ("enable_script_security", "script_user root", f"startup_script {path}")
    warnings = [each for each in problems(global_defs(*secure)) if each.startswith("warning")]
    assert len(warnings) == 1
    assert warnings[0].endswith("; as root and with enable_script_security it will not be run")
    assert problems(global_defs("enable_script_security", f"startup_script {path} nobody")) == []
    scripts = config_of(global_defs("enable_script_security", f"startup_script {path} nobody")).scripts
    assert scripts.startup is not None
    assert scripts.startup.secure


@pytest.mark.parametrize(
    ("line", "place", "code"),
    [
        ("startup_script '/bin/true \"x'", "2:16", "E005"),
        ("startup_script ''", "2:16", "E030"),
        ("notify_fifo relative", "2:13", "E030"),
        ("notify_fifo /run/x a b c", "2:24", "E012"),
        ("script_user a b c", "2:17", "E012"),
        ("notify_timeout 0", "2:16", "E021"),
    ],
)
def test_what_is_wrong_on_every_machine_is_an_error(line: str, place: str, code: str) -> None:
    errors = [each for each in outcome_of(global_defs(line)).problems if each.severity.value == "error"]
    assert [(f"{each.line}:{each.column}", each.code) for each in errors] == [(place, code)]


def test_pipes_that_are_none_and_scripts_without_a_pipe_are_warned_of(tmp_path: Path) -> None:
    path = file(tmp_path)
    assert problems(global_defs(f"notify_fifo {path}")) == [
        f"warning: {path} is there and is no named pipe, so nothing will be written to it"
    ]
    assert problems(global_defs(f"lvs_notify_fifo_script {TRUE}")) == [
        'warning: "lvs_notify_fifo_script" has no effect without "lvs_notify_fifo"'
    ]
    os.mkfifo(tmp_path / "fifo")
    assert problems(global_defs(f"notify_fifo {tmp_path}/fifo")) == []
    twice = global_defs(f"notify_fifo {tmp_path}/fifo", f"lvs_notify_fifo {tmp_path}/fifo")
    assert problems(twice) == ["warning: notify_fifo names the same pipe, so each line is written once"]
