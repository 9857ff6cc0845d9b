"""The unit that we ship: what systemd thinks of its walls, and that it says what the daemon needs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from supervisor import cli
from supervisor.commands import rollout

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
UNIT = FOLDER / "vipervisor.service"
EXPOSURE_MAX = 2.0
"""The issue; 0 is best, 10 worst. keepalived as Debian ships it: 9.6."""


def setting(name: str) -> list[str]:
    """Return the values of a setting, in order."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze, which may have been unpacked into .lab."""
    program = shutil.which("systemd-analyze")
    if program is None:
        assert not os.environ.get("CI"), "systemd-analyze is missing (Debian package systemd); in CI that is an error"
        pytest.skip(
            "systemd-analyze is missing: `deploy/demo/setup programs systemd-analyze` gets it (Debian package systemd)"
        )
    libraries = Path(program).resolve().parents[1] / "lib"
    folders = [str(folder) for pattern in ("*-linux-gnu", "*-linux-gnu/systemd") for folder in libraries.glob(pattern)]
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(folders), "SYSTEMD_COLORS": "0", "LC_ALL": "C.UTF-8"}
    return subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_systemd_finds_the_unit_hardly_exposed() -> None:
    done = analyze("security", "--offline=true", "--no-pager", str(UNIT))
    found = re.search(r"Overall exposure level for vipervisor\.service: ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) <= EXPOSURE_MAX, done.stdout
    assert "ignoring" not in done.stderr  # a word that systemd does not know is a wall that is not there


def test_the_daemon_is_started_with_options_that_it_has_and_leaves_the_table_at_its_stop() -> None:
    (command,) = setting("ExecStart")
    program, *arguments = command.split()
    assert program == "/usr/bin/vipervisor"
    options = cli.parser().parse_args(arguments)
    assert options.keep
    assert options.file == Path("/etc/keepalived/keepalived.conf")


def test_a_reload_of_the_service_is_one_that_fails_where_the_file_has_a_mistake() -> None:
    (command,) = setting("ExecReload")
    program, *arguments = command.split()
    assert program == "/usr/bin/vipervisor"
    assert arguments[0] == "reload"  # its exit status is systemd's answer, which a signal has none of
    options = cli.parser().parse_args(arguments)
    (limit,) = setting("TimeoutStartSec")  # systemd's for a reload too
    assert 0 < options.wait + rollout.LOADING_S <= float(limit.removesuffix("s"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("Restart", "always"),
        ("KillMode", "mixed"),
        ("OOMPolicy", "continue"),
        ("StateDirectory", "vipervisor"),
        ("RuntimeDirectory", "vipervisor"),
        ("RuntimeDirectoryPreserve", "yes"),
        ("User", "vipervisor"),
        ("NoNewPrivileges", "yes"),
    ],
)
def test_it_says_what_the_guarantees_rest_on(name: str, value: str) -> None:
    assert setting(name) == [value]


def test_its_start_stops_no_keepalived_which_would_empty_the_table_and_may_do_vrrp_alone() -> None:
    assert setting("Conflicts") == ["ldirectord.service"]


def test_its_capabilities_are_those_of_a_director_and_no_others() -> None:
    wanted = {"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE"}
    assert [set(value.split()) for value in setting("AmbientCapabilities")] == [wanted]
    assert [set(value.split()) for value in setting("CapabilityBoundingSet")] == [wanted]


def test_the_calls_that_our_own_walls_are_built_with_are_allowed() -> None:
    allowed = {word for value in setting("SystemCallFilter") for word in value.split()}
    assert allowed >= {"capset", "landlock_create_ruleset", "landlock_restrict_self", "chown"}


def test_systemd_can_read_the_unit_and_the_variant_for_scripts_of_other_users(tmp_path: Path) -> None:
    program = tmp_path / "vipervisor"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / UNIT.name
    unit.write_text(
        re.sub(
            r"^Documentation=.*$", "", UNIT.read_text().replace("/usr/bin/vipervisor", str(program)), flags=re.MULTILINE
        )
    )
    for drop_in in (None, "scripts-of-other-users.conf"):
        if drop_in is not None:
            folder = tmp_path / f"{UNIT.name}.d"
            folder.mkdir()
            shutil.copy(FOLDER / drop_in, folder)
        done = analyze("security", "--offline=true", "--no-pager", str(unit))
        assert "Overall exposure" in done.stdout
        assert not re.search("ignoring|Unknown|Failed to parse", done.stderr), done.stderr
