"""The verbs that change something, as they are typed: what is asked of the daemon, what is printed, and the exit status."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.admin import protocol
from supervisor.admin.protocol import Request, RequestError, Status
from supervisor.cli import main
from supervisor.commands import orders


def row(active: int = 0, *, admin: str = "draining", weight: int | None = 0, **more: Any) -> dict[str, Any]:
    """A real server as the daemon tells of it."""
    return {
        "virtual_server": "203.0.113.1:80/tcp",
        "real_server": "192.0.2.1:80",
        "health": "UP",
        "admin": admin,
        "override": {"admin": admin, "weight": None, "reason": "", "by": "alice", "age_s": 0.1, "ends_s": None},
        "weight_wanted": weight,
        "weight_kernel": weight,
        "traffic": {"active": active},
        "changed": True,
        "replaced": "",
        "weight_old": 1,
        "weight_up": 1,
        "quorum": 1,
        "quorate": True,
        "sorry_server": "",
        "others": [{"real_server": "192.0.2.2:80", "weight": 1}],
        "others_more": 0,
        **more,
    }


class Daemon:
    """Answers each request with the next of its answers, over a real socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: list[Any] = []
        self.asked: list[Request] = []
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.bind(str(path))
        self._sock.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._sock.accept()
            except OSError:
                return
            with client, client.makefile("rb") as lines:
                line = lines.readline()
                if not line:
                    return
                client.sendall(protocol.greeting("0"))
                self.asked.append(protocol.decode_request(line))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if isinstance(answer, RequestError):
                    client.sendall(protocol.encode_error(1, answer))
                else:
                    client.sendall(protocol.encode_result(1, answer))

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(self.path))
        self._thread.join()
        self._sock.close()


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    monkeypatch.setattr(orders, "LOOK_S", 0.01)
    running = Daemon(tmp_path / "admin.sock")
    yield running
    running.close()


def said(daemon: Daemon, *words: str) -> int:
    return main([*words, "--admin-socket", str(daemon.path)])


def ordered(*rows: dict[str, Any], in_kernel: bool = True) -> dict[str, Any]:
    return {"in_kernel": in_kernel, "servers": list(rows)}


@pytest.mark.parametrize(
    ("words", "verb", "args"),
    [
        (["drain", "192.0.2.1"], "drain", {}),
        (["drain", "192.0.2.1", "--in", "fwm:1/ipv4"], "drain", {"virtual_server": "fwm:1/ipv4"}),
        (["drain", "192.0.2.1", "--for", "2h", "--reason", "CHG 1"], "drain", {"for_s": 7200, "reason": "CHG 1"}),
        (["disable", "192.0.2.1", "--force", "--for", "90"], "disable", {"force": True, "for_s": 90}),
        (["enable", "192.0.2.1"], "enable", {}),
        (["drain", "192.0.*", "--yes"], "drain", {"yes": True}),
        (["host", "disable", "192.0.2.1"], "disable", {"hosts": ["192.0.2.1"]}),
        (
            ["host", "drain", "[2001:DB8::1]", "--in", "fwm:*"],
            "drain",
            {"hosts": ["2001:db8::1"], "virtual_server": "fwm:*"},
        ),
        (["weight", "192.0.2.1", "0", "--for", "1d"], "weight", {"weight": 0, "for_s": 86400}),
    ],
)
def test_what_is_typed_is_what_is_asked(daemon: Daemon, words: list[str], verb: str, args: dict[str, Any]) -> None:
    daemon.answers = [ordered(row())]
    assert said(daemon, *words) == 0
    named = {} if "hosts" in args else {"real_server": words[1]}
    assert daemon.asked == [Request(verb, {**named, **args})]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("0.5s", 0.5), ("30m", 1800), ("2h", 7200), ("1d", 86400)],
)
def test_durations_as_people_write_them(daemon: Daemon, text: str, seconds: float) -> None:
    daemon.answers = [ordered(row())]
    assert said(daemon, "drain", "192.0.2.1", "--for", text) == 0
    assert daemon.asked[0].args["for_s"] == seconds


@pytest.mark.parametrize(
    "words",
    [
        ["drain"],
        ["drain", "192.0.2.1", "--for", ""],
        ["drain", "192.0.2.1", "--for", "0"],
        ["drain", "192.0.2.1", "--for", "-5"],
        ["drain", "192.0.2.1", "--for", "2 h"],
        ["drain", "192.0.2.1", "--for", "2w"],
        ["drain", "192.0.2.1", "--for", "\u0661h"],
        ["drain", "192.0.2.1", "--for", "9999d"],
        ["drain", "192.0.2.1", "--wait=x"],
        ["weight", "192.0.2.1"],
        ["weight", "192.0.2.1", "-1"],
        ["weight", "192.0.2.1", "65536"],
        ["weight", "192.0.2.1", "1.5"],
        ["enable", "192.0.2.1", "--for", "2h"],
    ],
)
def test_wrong_usage_exits_2_and_asks_nobody(daemon: Daemon, words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        said(daemon, *words)
    assert caught.value.code == 2
    assert daemon.asked == []


@pytest.mark.parametrize("status", [Status.NOT_FOUND, Status.REFUSED, Status.TIMEOUT])
def test_a_refusal_is_a_sentence_and_an_exit_status(
    daemon: Daemon, status: Status, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answers = [RequestError("would leave 203.0.113.1:80/tcp with live weight 0 of the quorum 1", status)]
    assert said(daemon, "drain", "192.0.2.1") == status
    assert capsys.readouterr().err == "vipervisor: would leave 203.0.113.1:80/tcp with live weight 0 of the quorum 1\n"


def test_json_is_the_daemons_answer(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers = [ordered(row())]
    assert said(daemon, "drain", "192.0.2.1", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"schema": 1, **ordered(row())}


def test_what_the_kernel_has_not_taken_and_what_a_reload_took_away_is_said(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answers = [ordered(row(), in_kernel=False), ordered()]
    assert said(daemon, "drain", "192.0.2.1") == said(daemon, "drain", "192.0.2.1") == 0
    shown = capsys.readouterr().out
    assert "The kernel has not taken all of it yet" in shown
    assert shown.endswith("the real server has left the configuration meanwhile\n")


@pytest.mark.parametrize("words", [["drain", "--wait", "192.0.2.1"], ["drain", "192.0.2.1", "--wait=5m"]])
def test_wait_says_how_many_are_left_until_nobody_is(
    daemon: Daemon, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answers = [
        ordered(row(5)),
        [row(5, weight=1)],
        [row(5), row(1, virtual_server="203.0.113.2:80/tcp")],
        [row(1), row(virtual_server="203.0.113.2:80/tcp")],
        [row(1), row(virtual_server="203.0.113.2:80/tcp")],
        [row(), row(weight=None)],
    ]
    assert said(daemon, *words) == 0
    assert capsys.readouterr().err.splitlines() == [
        "waiting: 5 active connections left (5 in 203.0.113.1:80/tcp)",
        "waiting: 6 active connections left (5 in 203.0.113.1:80/tcp, 1 in 203.0.113.2:80/tcp)",
        "waiting: 1 active connection left (1 in 203.0.113.1:80/tcp)",
        "drained: no active connections are left",
    ]
    assert {request.verb for request in daemon.asked[1:]} == {"servers"}


def test_wait_is_not_over_before_the_kernel_has_the_weight(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers = [ordered(row(), in_kernel=False), [row(weight=1)], [row()]]
    assert said(daemon, "drain", "192.0.2.1", "--wait") == 0
    assert len(daemon.asked) == 3
    assert "waiting: 0 active connections left" in capsys.readouterr().err


def test_wait_gives_up_at_its_time_and_exits_75_and_the_drain_stands(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answers = [ordered(row(3)), [row(3)]]
    since = time.monotonic()
    assert said(daemon, "drain", "192.0.2.1", "--wait=0.1") == 75
    assert time.monotonic() - since < 20
    assert "not drained within 0.1 s: 3 active connections left (3 in 203.0.113.1:80/tcp); the drain stands" in (
        capsys.readouterr().err
    )
    assert [request.verb for request in daemon.asked if request.verb != "servers"] == ["drain"]


def test_wait_ends_when_somebody_enables_the_server_meanwhile(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answers = [ordered(row(3)), [row(3)], [row(3, admin="enabled", weight=1)]]
    assert said(daemon, "drain", "192.0.2.1", "--wait") == 1
    assert "the drain was ended meanwhile" in capsys.readouterr().err
