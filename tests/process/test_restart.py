"""Real daemons, really killed: the state file is whole whenever one looks, and the next start knows what the one before knew."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.statefile import SIZE_MAX_BYTES, decode
from supervisor.statefolder import Folder
from tests.process.test_daemon import PATIENCE_S, Daemon, Web, configuration, free_port, until


@pytest.fixture
def web() -> Iterator[Web]:
    opened = Web()
    yield opened
    opened.close()


def test_a_killed_daemon_leaves_its_knowledge_and_the_next_one_starts_from_it(tmp_path: Path, web: Web) -> None:
    text = configuration(web.port, free_port())
    state = tmp_path / "state"
    first = Daemon(tmp_path, text, "--state-dir", str(state))
    until(lambda: first.weights() == [1, 0])
    until(lambda: b'"DOWN"' in (state / "state.json").read_bytes())
    assert stat.S_IMODE((state / "state.json").stat().st_mode) == 0o600
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    first.close()
    second = Daemon(tmp_path, text, "--state-dir", str(state))
    until(lambda: second.events("state.recalled"))
    assert second.events("state.recalled")[0]["down"] == 1
    until(lambda: second.weights() == [1, 0])
    assert (
        second.events("real_server.state_changed") == []
    )  # it was down before, and nobody thought otherwise meanwhile
    until(lambda: "lvs_state_last_write_successful 1.0" in second.metrics())
    assert second.stop() == 0
    second.close()


def test_what_an_operator_said_outlives_a_kill(tmp_path: Path, web: Web) -> None:
    text = configuration(web.port, free_port())
    options = ("--state-dir", str(tmp_path / "state"))
    first = Daemon(tmp_path, text, *options)
    until(lambda: first.status()["process"]["ready"])
    said = first.ask("drain", f"127.0.0.1:{web.port}", "--reason", "CHG-7", "--for", "1h", "--force")
    assert said.returncode == 0, said.stderr
    until(lambda: b"CHG-7" in (tmp_path / "state" / "state.json").read_bytes())
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    first.close()
    second = Daemon(tmp_path, text, *options)
    until(lambda: second.weights() == [0, 0])
    assert "CHG-7" in second.ask("status").stdout
    assert second.ask("enable", f"127.0.0.1:{web.port}").returncode == 0
    until(lambda: second.weights() == [1, 0])
    assert second.stop() == 0
    second.close()


def test_history_and_events_outlive_a_kill_and_are_followed_meanwhile(tmp_path: Path, web: Web) -> None:
    text = configuration(web.port)
    state, name = tmp_path / "state", f"127.0.0.1:{web.port}"
    first = Daemon(tmp_path, text, "--state-dir", str(state))
    until(lambda: first.weights() == [1])
    follow = [sys.executable, "-m", "supervisor", "events", "--follow", "--json", "--type", "real_server.state_changed"]
    with (tmp_path / "followed").open("w+") as followed:
        follower = subprocess.Popen(
            [*follow, "--admin-socket", str(first.socket)],
            stdout=followed,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        web.close()
        until(lambda: first.weights() == [0])
        web.open()
        until(lambda: first.weights() == [1])
        until(lambda: first.ask("history", name).stdout.count("is UP, reason: ") == 1)
        until(lambda: len(Path(followed.name).read_text().splitlines()) == 2)
        until(lambda: "is UP, reason: " in (state / "history.jsonl").read_text())  # it is written once a second
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        assert follower.wait(PATIENCE_S) == 5, "nobody answers any more"
        told = [json.loads(line)["facts"]["to"] for line in Path(followed.name).read_text().splitlines()]
    assert told == ["DOWN", "UP"]
    first.close()
    assert stat.S_IMODE((state / "history.jsonl").stat().st_mode) == 0o600
    second = Daemon(tmp_path, text, "--state-dir", str(state))
    until(lambda: second.weights() == [1])
    until(lambda: "is DOWN, reason: " in second.ask("history", name).stdout)
    events = json.loads(second.ask("events", "--since", "1h", "--json").stdout)["events"]
    types = [event["type"] for event in events]
    assert types.count("daemon.ready") == 2
    assert types.index("real_server.state_changed") < types.index("state.recalled")
    assert second.stop() == 0
    second.close()


def test_a_damaged_state_is_set_aside_and_no_reason_not_to_start(tmp_path: Path, web: Web) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "state.json").write_bytes(b'{"format":1,"vers')
    daemon = Daemon(tmp_path, configuration(web.port), "--state-dir", str(state))
    until(lambda: daemon.weights() == [1])
    (line,) = daemon.events("state.set_aside")
    assert Path(line["kept_as"]).read_bytes() == b'{"format":1,"vers'
    assert daemon.stop() == 0
    daemon.close()


def test_a_state_directory_that_cannot_be_is_said_once_and_no_reason_not_to_start(tmp_path: Path, web: Web) -> None:
    (tmp_path / "file").write_bytes(b"")
    daemon = Daemon(tmp_path, configuration(web.port), "--state-dir", str(tmp_path / "file" / "state"))
    until(lambda: daemon.weights() == [1])
    until(lambda: daemon.events("state.write_failed"))
    assert daemon.status()["process"]["state"]["error"]
    assert daemon.stop() == 0
    daemon.close()


ROOT = Path(__file__).parents[2]

WRITER = """
import sys
from pathlib import Path
from supervisor.statefile import decode, encode
from supervisor.statefolder import Folder
from tests.supervisor.test_statefile import example
from dataclasses import replace

folder, memory, number = Folder(Path(sys.argv[1])), example(), 0
print("ready", flush=True)
while True:
    number += 1
    folder.write(encode(replace(memory, version="x" * (number % 4000))))
"""


def test_a_state_is_whole_whenever_its_writer_is_killed(tmp_path: Path) -> None:
    rng = random.Random(4)
    folder = Folder(tmp_path)
    for _ in range(15):
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            until(folder.path.exists)
            os.kill(writer.pid, signal.SIGSTOP)
            for _ in range(rng.randrange(1, 4)):  # and whenever somebody looks while it writes
                os.kill(writer.pid, signal.SIGCONT)
                found = folder.read(SIZE_MAX_BYTES)
                assert found is not None
                decode(found.data)
            until(lambda: rng.random() < 0.3)
            writer.kill()
        found = folder.read(SIZE_MAX_BYTES)
        assert found is not None
        decode(found.data)
        assert {path.name for path in tmp_path.iterdir()} <= {"state.json", "state.json.new"}


def test_what_is_kept_nowhere_by_default_is_a_table_in_memory(tmp_path: Path, web: Web) -> None:
    daemon = Daemon(tmp_path, configuration(web.port))
    until(lambda: daemon.weights() == [1])
    assert daemon.status()["process"]["state"]["path"] == ""
    assert daemon.stop() == 0
    daemon.close()
