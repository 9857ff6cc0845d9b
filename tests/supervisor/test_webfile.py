"""The web configuration file while the daemon runs: a change is taken over whole, or told once and not taken."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import trio

from supervisor.exporter.webpolicy import decode
from supervisor.log import Log
from supervisor.webfile import LOOK_EVERY_S, WebFile, WebFileError
from tests.fakes import tls

TEXT = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.pem\n"


class Folder:
    """A web configuration with its certificate, and what was logged of it."""

    def __init__(self, folder: Path) -> None:
        self.path, self.key = folder / "web.yml", folder / "server.pem"
        self.lines: list[dict[str, Any]] = []
        self.times = 0
        self.write(self.key, tls.certificate_file("good").read_text())
        self.write(self.path, TEXT)
        self.web = WebFile(self.path, Log(lambda line, _: self.lines.append(json.loads(line)), strict=True))

    def write(self, path: Path, text: str) -> None:
        """Write, with a time of change that no earlier writing had."""
        self.times += 1
        path.write_text(text)
        path.chmod(0o600)
        os.utime(path, (self.times, self.times))

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_at_start_it_is_read_and_said(folder: Folder) -> None:
    folder.web.begin()
    policy = decode(folder.web.line)
    assert policy.tls is not None
    assert policy.tls.key == folder.key.read_text()
    assert folder.events() == ["web_config.loaded"]
    assert b"\n" not in folder.web.line


@pytest.mark.parametrize("wrong", ["colour: red\n", None])
def test_at_start_a_wrong_or_missing_file_is_refused(folder: Folder, wrong: str | None) -> None:
    if wrong is None:
        folder.path.unlink()
    else:
        folder.write(folder.path, wrong)
    with pytest.raises(WebFileError, match=str(folder.path)):
        folder.web.begin()


def test_a_new_certificate_is_taken_over_though_the_file_itself_is_the_same(folder: Folder) -> None:
    folder.web.begin()
    folder.web.look_now()
    assert folder.web.number == 1
    folder.write(folder.key, tls.certificate_file("expired").read_text())
    folder.web.look_now()
    assert folder.web.number == 2
    policy = decode(folder.web.line)
    assert policy.tls is not None
    assert policy.tls.certificate == tls.certificate_file("expired").read_text()


def test_a_bad_change_is_told_once_the_old_one_holds_and_a_good_one_ends_it(folder: Folder) -> None:
    folder.web.begin()
    good = folder.web.line
    for _ in range(2):
        folder.write(folder.path, "colour: red\n")
        folder.web.look_now()
        folder.web.look_now()
    assert (folder.web.number, folder.web.line) == (1, good)
    assert folder.events() == ["web_config.loaded", "web_config.refused"]
    assert folder.lines[1]["mistakes"] == 1
    assert folder.web.view(0.0).ok is False
    folder.write(folder.path, TEXT)
    folder.web.look_now()
    assert (folder.web.number, folder.web.view(0.0).ok) == (2, True)


def test_a_file_that_goes_away_changes_nothing(folder: Folder) -> None:
    folder.web.begin()
    folder.key.unlink()
    folder.web.look_now()
    assert folder.web.number == 1
    assert folder.events()[-1] == "web_config.refused"


def test_a_key_that_everybody_may_read_is_warned_of(folder: Folder) -> None:
    folder.key.chmod(0o644)
    folder.web.begin()
    (warning,) = [line for line in folder.lines if line["event"] == "web_config.warning"]
    assert "chmod 640" in warning["message"]


def test_the_files_are_looked_at_every_few_seconds_and_the_age_is_known(folder: Folder) -> None:
    folder.web.begin()

    async def main() -> None:
        await folder.web.look()
        assert folder.web.view(trio.current_time()).age_s == pytest.approx(0, abs=0.5)
        folder.write(folder.path, TEXT + "# changed\n")
        await folder.web.look()
        assert folder.web.number == 1, "too early"
        folder.web._looked_at -= LOOK_EVERY_S
        await folder.web.look()
        assert folder.web.number == 2

    trio.run(main)
