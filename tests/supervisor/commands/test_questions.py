"""Questions as they are typed: what is shown of a status, in which colours, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from supervisor.core.snapshot import as_json
from tests.fakes import snapshots
from tests.supervisor.commands.test_orders import Daemon, daemon, said

__all__ = ["daemon"]


def snapshot(*, down: bool = True) -> dict[str, Any]:
    found = as_json(snapshots.snapshot())
    for server in found["virtual_servers"]:
        server["quorate"] = server["quorate"] or not down
        for row in server["real_servers"]:
            row["health"] = row["health"] if down else "UP"
    return found


def test_status_shows_what_fits_and_still_counts_everything(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    whole = snapshot()
    daemon.answers = [whole]
    first = whole["virtual_servers"][0]["virtual_server"]
    assert said(daemon, "status", first) == 0
    shown = capsys.readouterr().out
    assert f"{len(whole['virtual_servers'])} virtual server" in shown
    assert first in shown
    assert said(daemon, "status", "nothing-*") == 6


@pytest.mark.parametrize(("down", "status"), [(True, 1), (False, 0)])
def test_the_exit_status_of_what_is_down_tells_whether_anything_is(daemon: Daemon, down: bool, status: int) -> None:
    daemon.answers = [snapshot(down=down)]
    assert said(daemon, "status", "--down") == status
    assert said(daemon, "status") == 0


def test_json_is_the_part_that_fits(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    whole = snapshot()
    daemon.answers = [whole]
    first = whole["virtual_servers"][0]
    assert said(daemon, "status", "--json", first["virtual_server"]) == 0
    assert json.loads(capsys.readouterr().out)["virtual_servers"] == [first]


def test_colours_are_asked_for_or_not(
    daemon: Daemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.answers = [snapshot()]
    monkeypatch.setenv("NO_COLOR", "1")
    for words, painted in (([], False), (["--color", "always"], True), (["--color", "never"], False)):
        assert said(daemon, "status", *words) == 0
        assert ("\x1b[" in capsys.readouterr().out) is painted


def test_watch_shows_it_again_and_again_until_interrupted(
    daemon: Daemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.answers = [snapshot()]
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("supervisor.commands.questions.time.sleep", pause)
    assert said(daemon, "status", "--watch", "--watch=5") == 130
    assert pauses == [5, 5, 5]
    assert capsys.readouterr().out.count("vipervisor ") == 3


CHECK = {"type": "TCP_CHECK", "target": "192.0.2.1:80", "real_servers": ["a in b"], "health": "UP", "trouble": ""}
RESULT = {"ok": True, "reason": "L4OK", "detail": "", "duration_s": 0.1, "weight": None, "rule": "r"}


@pytest.mark.parametrize(
    ("results", "status"),
    [([RESULT], 0), ([RESULT, {**RESULT, "ok": False, "reason": "L4CON"}], 1), ([None], 1)],
)
def test_the_exit_status_of_check_now_tells_whether_all_passed(daemon: Daemon, results: list[Any], status: int) -> None:
    daemon.answers = [{"checks": [{**CHECK, "result": result} for result in results]}]
    assert said(daemon, "check-now", "192.0.2.1") == status
    assert daemon.asked[-1].args == {"real_server": "192.0.2.1"}
    assert said(daemon, "check-now", "192.0.2.1", "--trace") == status
    assert daemon.asked[-1].args == {"real_server": "192.0.2.1", "trace": True}


def test_status_says_that_the_file_was_touched_after_it_was_loaded(
    daemon: Daemon, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "keepalived.conf"
    file.write_text("")
    for name, loaded_s_ago, told in (
        (str(file), 3600.0, True),
        (str(file), 0.0, False),
        ("keepalived.conf", 3600.0, False),
    ):
        found = snapshot()
        found["process"] |= {"config_source": name, "config_age_s": loaded_s_ago}
        daemon.answers = [found]
        assert said(daemon, "status") == 0
        assert (f"{file} was touched 0 s ago, after it was loaded" in capsys.readouterr().out) is told
    file.unlink()
    assert said(daemon, "status") == 0
