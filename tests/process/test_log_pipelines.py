"""The daemon's lines through a real rsyslog, as Debian ships it: by the journal's way, and from a file.

The rules by which the journal takes the stream apart are `tests.fakes.journal`; rsyslog is a process of ours, without privileges, with
the very file of `deploy/rsyslog`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from supervisor.log import Log
from supervisor.log.entry import PRIORITIES
from supervisor.log.render import LINE_MAX_BYTES
from tests.fakes import journal
from tests.process.test_daemon import ROOT, Daemon, Web, configuration, until

SHIPPED = ROOT / "deploy" / "rsyslog" / "vipervisor.conf"


def program() -> str:
    """Return rsyslogd, which may have been unpacked into .lab."""
    found = shutil.which("rsyslogd")
    if found is None:
        assert not os.environ.get("CI"), "rsyslogd is missing (Debian package rsyslog); in CI that is an error"
        pytest.skip("rsyslogd is missing: `deploy/demo/setup programs rsyslogd` gets it (Debian package rsyslog)")
    return found


class Rsyslog:
    """A running rsyslogd with the file that we ship, and what it kept."""

    def __init__(self, folder: Path, source: str) -> None:
        self.folder = folder
        (folder / "work").mkdir()
        shipped = SHIPPED.read_text()
        assert "/var/log/vipervisor/" in shipped
        main = folder / "rsyslog.conf"
        main.write_text(
            f'global(workDirectory="{folder}/work" maxMessageSize="64k")\n'
            f"{source}\n{shipped.replace('/var/log/vipervisor/', f'{folder}/')}\n"
            f'action(type="omfile" file="{folder}/rest")\n'
        )
        rsyslogd = program()
        libraries = [*Path(rsyslogd).resolve().parents[1].glob("lib/*-linux-gnu")]
        modules = [str(folder / "rsyslog") for folder in libraries if (folder / "rsyslog").is_dir()]
        environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, libraries))}
        command = [rsyslogd, "-n", "-i", "NONE", "-f", str(main), *(["-M", modules[0]] if modules else [])]
        checked = subprocess.run([*command, "-N1"], env=environment, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        assert "warning" not in checked.stderr, checked.stderr
        self.process = subprocess.Popen(command, env=environment)

    def kept(self, name: str = "events.json") -> list[dict[str, Any]]:
        path = self.folder / name
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def rest(self) -> str:
        """What it did not take for ours, or could not take apart."""
        path = self.folder / "rest"
        return path.read_text() if path.exists() else ""


@contextmanager
def rsyslog(folder: Path, source: str) -> Iterator[Rsyslog]:
    running = Rsyslog(folder, source)
    try:
        yield running
    finally:
        running.process.terminate()
        running.process.wait(10)


def failover(folder: Path) -> bytes:
    """Let a daemon lose a server and get it back; return its log."""
    webs = (Web(), Web())
    daemon = Daemon(folder, configuration(webs[0].port, webs[1].port))
    try:
        until(lambda: daemon.status()["process"]["ready"])
        webs[1].close()
        until(lambda: daemon.weights() == [1, 0])
        webs[1].open()
        until(lambda: daemon.weights() == [1, 1])
        daemon.file.write_text("virtual_server {")
        assert daemon.ask("reload").returncode == 3
        assert daemon.stop() == 0
    finally:
        daemon.close()
        for web in webs:
            web.close()
    return (folder / "log.json").read_bytes()


def test_what_the_journal_hands_on_is_kept_by_rsyslog_field_by_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.json"
    log.touch()  # the file that the daemon writes to plays the stream that journald gives a service
    monkeypatch.setenv("JOURNAL_STREAM", f"{log.stat().st_dev}:{log.stat().st_ino}")
    records = list(journal.records(failover(tmp_path)))
    told = [json.loads(record.message) for record in records]
    assert [record.priority for record in records] == [PRIORITIES[line["level"]] for line in told]
    address = str(tmp_path / "syslog")
    source = f'module(load="imuxsock" SysSock.Use="off")\ninput(type="imuxsock" Socket="{address}")'
    with rsyslog(tmp_path, source) as running, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        until(lambda: sender.connect_ex(address) == 0)
        for record in records:
            sender.send(journal.to_syslog(record, "vipervisor", 7))
        sender.send(b"<30>Nov 22 12:00:00 sshd[9]: somebody else's")
        until(lambda: "somebody else's" in running.rest() and len(running.kept()) == len(told))
        assert running.kept() == told
        assert running.kept("errors.json") == [line for line in told if line["level"] == "error"]
        assert [line["event"] for line in running.kept("errors.json")] == ["config.rejected"]
        assert running.rest().count("\n") == 1
    (down, up) = (line for line in told if line["event"] == "real_server.state_changed")
    assert (down["to"], down["level"], down["weight_new"]) == ("DOWN", "warning", 0)
    assert (up["to"], up["level"]) == ("UP", "info")


def test_rsyslog_follows_a_file_and_takes_the_longest_line_with_the_worst_letters(tmp_path: Path) -> None:
    path = tmp_path / "vipervisor.log"
    path.touch()
    source = f'module(load="imfile")\ninput(type="imfile" file="{path}" tag="vipervisor" reopenOnTruncate="on")'
    with rsyslog(tmp_path, source) as running, path.open("ab", buffering=0) as out:
        log = Log(lambda line, _level: out.write(line), strict=True)  # type: ignore[arg-type]
        for text in ("plain", '"\\\x00\n\x7f', "é😀\u2028\udc80", "x" * 30_000, "é" * 30_000, "\x01" * 30_000):
            log.emit("config.rejected", text[:9], text=text, reason=text, path=text)
        until(lambda: len(running.kept()) == 6)
        written = [json.loads(line) for line in path.read_bytes().splitlines()]
        kept = running.kept()
        for line in kept:
            line.pop("metadata")  # imfile's own: which file, which offset
        assert kept == written
        assert max(map(len, path.read_bytes().splitlines())) > LINE_MAX_BYTES * 3 // 4
        assert running.rest() == ""


def test_a_file_that_logrotate_copied_and_truncated_is_followed_on(tmp_path: Path) -> None:
    """The daemon never opens a file itself; where its output is appended to one, copytruncate is the way."""
    path = tmp_path / "vipervisor.log"
    path.touch()
    source = f'module(load="imfile")\ninput(type="imfile" file="{path}" tag="vipervisor" reopenOnTruncate="on")'
    with rsyslog(tmp_path, source) as running, path.open("ab", buffering=0) as out:
        log = Log(lambda line, _level: out.write(line), strict=True)  # type: ignore[arg-type]
        for number in range(20):
            log.emit("daemon.ready", f"Line {number}.")
        until(lambda: len(running.kept()) == 20)
        shutil.copy(path, tmp_path / "vipervisor.log.1")
        os.truncate(path, 0)
        log.emit("daemon.ready", "After the rotation.")
        until(lambda: len(running.kept()) == 21)
        assert running.kept()[-1]["message"] == "After the rotation."
        assert path.stat().st_size < 1000, "it was appended at the new beginning"
