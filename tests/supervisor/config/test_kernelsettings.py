from __future__ import annotations

from ipaddress import IPv6Address

import pytest

from supervisor.model import FlushOnStop, KernelSettings, SyncDaemon, SyncRole, Timeouts
from tests.supervisor.config.written import config_of, outcome_of, real_server, said, virtual_server


def settings_of(*lines: str, warnings: int = 0) -> KernelSettings:
    return config_of("\n".join(["global_defs {", *lines, "}\n"]), warnings=warnings).kernel


def both(daemon: SyncDaemon) -> tuple[SyncDaemon, SyncDaemon]:
    values = (daemon.interface, daemon.sync_id, daemon.max_length, daemon.group, daemon.port, daemon.ttl)
    return SyncDaemon(SyncRole.MASTER, *values), SyncDaemon(SyncRole.BACKUP, *values)


def test_nothing_is_asked_of_the_kernel_unless_the_file_says_so() -> None:
    assert settings_of() == KernelSettings()


@pytest.mark.parametrize(
    ("lines", "timeouts"),
    [
        (["lvs_timeouts tcp 900 tcpfin 120 udp 300"], Timeouts(900, 120, 300)),
        (["lvs_timeouts udp 30 tcp 2678400"], Timeouts(2678400, 0, 30)),
        (["lvs_timeouts tcpfin 5"], Timeouts(0, 5, 0)),
        (["lvs_timeouts tcp 900 udp 9", "lvs_timeouts udp 300"], Timeouts(900, 0, 300)),
        (["lvs_timeouts tcp 900 tcp 901"], Timeouts(901, 0, 0)),
    ],
)
def test_any_of_the_time_outs_may_be_set_and_lines_add_up(lines: list[str], timeouts: Timeouts) -> None:
    assert settings_of(*lines).timeouts == timeouts


def test_a_time_out_of_0_leaves_the_kernels_and_that_is_worth_a_note() -> None:
    outcome = outcome_of("global_defs {\nlvs_timeouts udp 0\n}\n")
    assert said(outcome) == ["2:18: note: 0 leaves the udp time-out as the kernel has it"]
    assert outcome.config is not None
    assert outcome.config.kernel.timeouts == Timeouts()


def test_a_flush_at_the_start_is_on_or_off() -> None:
    assert settings_of("lvs_flush").flush is True
    assert settings_of("lvs_flush off").flush is False


@pytest.mark.parametrize("keyword", ["lvs_flush_on_stop", "lvs_flush_onstop"])
def test_a_flush_at_the_stop_takes_every_service_or_ours_only(keyword: str) -> None:
    assert settings_of(keyword).flush_on_stop is FlushOnStop.TABLE
    assert settings_of(f"{keyword} VS").flush_on_stop is FlushOnStop.SERVICES


def test_without_an_instance_master_and_backup_start_with_the_kernels_defaults() -> None:
    plain = SyncDaemon(SyncRole.MASTER, "eth0")
    assert settings_of("lvs_sync_daemon eth0").sync_daemons == both(plain)


def test_every_option_of_a_sync_daemon_is_read_in_any_order() -> None:
    line = "lvs_sync_daemon eth1 ttl 3 group ff02::81 id 255 port 9000 maxlen 1400"
    wanted = SyncDaemon(SyncRole.MASTER, "eth1", 255, 1400, IPv6Address("ff02::81"), 9000, 3)
    assert settings_of(line).sync_daemons == both(wanted)


@pytest.mark.parametrize("words", ["VI_1", "VI_1 id 5 maxlen 1400 port 8848 ttl 2 group 224.0.0.81", "5", "VI_1 5"])
def test_a_sync_daemon_that_follows_an_instance_is_not_started_and_that_is_said(words: str) -> None:
    outcome = outcome_of(f"global_defs {{\nlvs_sync_daemon eth0 {words}\n}}\n")
    assert outcome.config is not None
    assert outcome.config.kernel.sync_daemons == ()
    assert said(outcome)[0] == (
        f'2:1: warning: "lvs_sync_daemon" follows a VRRP instance, "{words.split(maxsplit=1)[0]}", which this version does not handle:'
        " not started"
    )
    assert outcome.problems[0].code == "W101"


def test_a_bare_number_behind_an_instance_is_an_id_in_its_old_spelling() -> None:
    outcome = outcome_of("global_defs {\nlvs_sync_daemon eth0 VI_1 5\n}\n")
    assert said(outcome)[1:] == ['2:27: note: a bare number is the old spelling of "id 5"']


def test_the_first_line_of_a_sync_daemon_counts_and_the_others_are_told_of() -> None:
    outcome = outcome_of("global_defs {\nlvs_sync_daemon eth0 id 5\nlvs_sync_daemon eth1 id 6\n}\n")
    assert said(outcome) == [
        '3:1: warning: "lvs_sync_daemon" stands there already, in line 2; that one counts, not this one'
    ]
    assert outcome.config is not None
    assert outcome.config.kernel.sync_daemons == both(SyncDaemon(SyncRole.MASTER, "eth0", 5))


@pytest.mark.parametrize(
    "server",
    [real_server(head="fd00::9 80"), real_server() + "\nsorry_server fd00::9 80"],
    ids=["real server", "sorry server"],
)
def test_a_sync_daemon_beside_a_server_of_another_family_is_told_of(server: str) -> None:
    base = "lb_algo rr\nlb_kind TUN\nprotocol TCP"
    outcome = outcome_of("global_defs {\nlvs_sync_daemon eth0\n}\n" + virtual_server(server, base=base))
    (told,) = said(outcome)
    assert told == (
        "2:1: warning: the kernel takes no sync daemon beside a server of another family: [fd00::9]:80 of 10.0.0.1:80/tcp;"
        " it will refuse one of the two"
    )
    config_of(virtual_server(server, base=base))


@pytest.mark.parametrize(
    ("line", "column", "code"),
    [
        ("lvs_timeouts", 1, "E011"),
        ("lvs_timeouts tcp", 14, "E011"),
        ("lvs_timeouts tpc 5", 14, "E026"),
        ("lvs_timeouts tcp 2678401", 18, "E021"),
        ("lvs_timeouts tcp -1", 18, "E021"),
        ("lvs_timeouts tcp 9x", 18, "E020"),
        ("lvs_timeouts tcp 5 {\n}", 1, "E013"),
        ("lvs_sync_daemon", 1, "E011"),
        ("lvs_sync_daemon sixteen__letters", 17, "E030"),
        ("lvs_sync_daemon a/b", 17, "E030"),
        ("lvs_sync_daemon eth0 id", 22, "E011"),
        ("lvs_sync_daemon eth0 id 256", 25, "E021"),
        ("lvs_sync_daemon eth0 maxlen 65508", 29, "E021"),
        ("lvs_sync_daemon eth0 port 0", 27, "E021"),
        ("lvs_sync_daemon eth0 ttl 256", 26, "E021"),
        ("lvs_sync_daemon eth0 VI_1 5 6x", 29, "E026"),
        ("lvs_sync_daemon eth0 id 5 VI_1", 27, "E026"),
        ("lvs_sync_daemon eth0 group 10.0.0.1", 28, "E035"),
        ("lvs_sync_daemon eth0 group all", 28, "E024"),
        ("lvs_sync_daemon eth0\nlvs_sync_daemon eth0 ttl 0", 26, "E021"),
        ("lvs_flush maybe", 11, "E023"),
        ("lvs_flush_on_stop RS", 19, "E026"),
    ],
)
def test_a_wrong_value_is_an_error_with_its_place(line: str, column: int, code: str) -> None:
    outcome = outcome_of(f"global_defs {{\n{line}\n}}\n")
    errors = [problem for problem in outcome.problems if problem.severity.value == "error"]
    assert [(error.column, error.code) for error in errors] == [(column, code)]
