"""Where the state is kept when nobody says, and what a boot and a network namespace are called."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from supervisor import cli, launch
from supervisor.statefolder import damaged_suffix, default_folder, present_life


@pytest.mark.parametrize(
    ("environment", "uid", "wanted"),
    [
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "HOME": "/root"}, 0, "/var/lib/a"),
        ({"STATE_DIRECTORY": "/var/lib/a", "HOME": "/home/me"}, 1000, "/var/lib/a"),
        ({"HOME": "/root", "XDG_STATE_HOME": "/root/states"}, 0, "/var/lib/vipervisor"),
        ({"HOME": "/home/me", "XDG_STATE_HOME": "/states"}, 1000, "/states/vipervisor"),
        ({"HOME": "/home/me", "XDG_STATE_HOME": "relative"}, 1000, "/home/me/.local/state/vipervisor"),
        ({"HOME": "/home/me"}, 1000, "/home/me/.local/state/vipervisor"),
        ({}, 1000, None),
    ],
)
def test_the_state_is_kept_where_systemd_the_system_or_the_user_keeps_states(
    environment: dict[str, str], uid: int, wanted: str | None
) -> None:
    assert default_folder(environment, uid) == (None if wanted is None else Path(wanted))


def test_a_process_knows_its_boot_and_its_network_namespace() -> None:
    life = present_life()
    assert life.is_same(present_life())
    assert life.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert life.network.startswith("net:[")


def test_names_of_damaged_files_sort_by_time_in_any_time_zone() -> None:
    moment = datetime(2026, 11, 28, 23, 59, 1, tzinfo=UTC)
    assert damaged_suffix(moment) == "damaged-20261128T235901Z"
    assert damaged_suffix(moment.astimezone(timezone(timedelta(hours=9)))) == damaged_suffix(moment)


@pytest.mark.parametrize(
    ("arguments", "state_dir", "keep"),
    [
        (["--backend", "memory"], None, False),
        (["--backend", "memory", "--state-dir", "/s"], Path("/s"), False),
        (["--state-dir", "/s", "--keep"], Path("/s"), True),
        (["--state-dir", "off", "-I"], None, True),
        (["--dry-run", "--state-dir", "/s", "--dont-release-ipvs"], None, True),
        ([], Path("/var/lib/of-systemd"), False),
    ],
)
def test_the_command_line_says_where_and_a_dry_run_or_a_table_in_memory_leave_the_real_one(
    arguments: list[str], state_dir: Path | None, keep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[launch.Options] = []
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/of-systemd")
    monkeypatch.setattr(launch, "run", asked.append)
    cli.main(["run", "-f", "x.conf", *arguments])
    assert (asked[0].state_dir, asked[0].keep) == (state_dir, keep)
