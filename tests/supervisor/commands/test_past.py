"""The verbs about what was, as they are typed: what is asked of the daemon, what is printed, and the exit status."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.admin import protocol
from supervisor.admin.protocol import Request, RequestError, Status
from supervisor.cli import main

POOL, ONE = "203.0.113.100:80/tcp", "192.168.100.21:80"
FAILED: dict[str, Any] = {
    "id": 7,
    "at": 1_800_000_000.25,
    "type": "check.result",
    "level": "warning",
    "message": "HTTP_GET 192.168.100.21:80: L7STS HTTP 503",
    "virtual_server": POOL,
    "real_server": ONE,
    "facts": {"result": "L7STS", "passed": False, "sent": "GET / HTTP/1.0", "received": "HTTP/1.0 503 Sorry"},
    "count": 4,
    "last_at": 1_800_000_009.0,
}
DOWN: dict[str, Any] = {
    "id": 9,
    "at": 1_800_000_009.0,
    "type": "real_server.state_changed",
    "level": "warning",
    "message": "Server 192.168.100.21:80 of 203.0.113.100:80/tcp is DOWN.",
    "virtual_server": POOL,
    "real_server": ONE,
    "because": ["HTTP_GET of 192.168.100.21:80: L7STS HTTP 503", "failed 4 times in a row, 3 retries are allowed"],
}
LOST: dict[str, Any] = {
    "id": 10,
    "at": 1_800_000_009.0,
    "type": "virtual_server.quorum_lost",
    "level": "error",
    "message": "Virtual server 203.0.113.100:80/tcp lost its quorum.",
    "virtual_server": POOL,
}


class Daemon:
    """Answers one request over a real socket, and goes on with more lines when there are some."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answer: Any = None
        self.more: list[bytes] = []
        self.asked: list[Request] = []
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.bind(str(path))
        self._sock.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        client, _ = self._sock.accept()
        with client, client.makefile("rb") as lines:
            line = lines.readline()
            if line:
                client.sendall(protocol.greeting("0"))
                self.asked.append(protocol.decode_request(line))
                client.sendall(b"".join([protocol.encode_result(1, self.answer), *self.more]))

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(self.path))
        self._thread.join()
        self._sock.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    running = Daemon(tmp_path / "admin.sock")
    yield running
    running.close()


def said(daemon: Daemon, *words: str) -> int:
    return main([*words, "--admin-socket", str(daemon.path)])


def history(*entries: dict[str, Any], omitted: int = 0, real_server: str = ONE) -> dict[str, Any]:
    server = {"virtual_server": POOL, "real_server": real_server, "omitted": omitted, "entries": list(entries)}
    return {"schema": 1, "at": 1_800_000_070.0, "servers": [server]}


@pytest.mark.parametrize(
    ("words", "args"),
    [
        (["history", ONE], {"name": ONE, "most": 50}),
        (["history", ONE, "--in", POOL, "-n", "3"], {"name": ONE, "most": 3, "virtual_server": POOL}),
        (["events"], {}),
        (["events", "-n", "5", "--since", "1h"], {"most": 5, "since_s": 3600.0}),
        (["events", "--type", "real_server", "--type", "*quorum*"], {"types": ["real_server", "*quorum*"]}),
    ],
)
def test_what_is_typed_is_what_is_asked(daemon: Daemon, words: list[str], args: dict[str, Any]) -> None:
    daemon.answer = history() if words[0] == "history" else {"schema": 1, "at": 1.0, "events": []}
    assert said(daemon, *words) == Status.FINE
    assert [(request.verb, request.args) for request in daemon.asked] == [(words[0], args)]


def test_a_history_reads_from_the_oldest_to_the_newest_with_causes_and_what_passed_over_the_wire(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answer = history(FAILED, DOWN, omitted=12)
    assert said(daemon, "history", ONE) == Status.FINE
    assert capsys.readouterr().out == (
        "192.168.100.21:80 in 203.0.113.100:80/tcp: 2 entries, 12 older ones are known\n"
        "  2027-01-15 08:00:00Z   1m09s ago  ! HTTP_GET 192.168.100.21:80: L7STS HTTP 503 (4 times until 1m01s ago)\n"
        "                                      > GET / HTTP/1.0\n"
        "                                      < HTTP/1.0 503 Sorry\n"
        "  2027-01-15 08:00:09Z   1m01s ago  ! Server 192.168.100.21:80 of 203.0.113.100:80/tcp is DOWN.\n"
        "                                      because HTTP_GET of 192.168.100.21:80: L7STS HTTP 503\n"
        "                                      because failed 4 times in a row, 3 retries are allowed\n"
    )


def test_a_server_of_which_nothing_is_known_and_a_virtual_server_have_their_own_heads(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answer = history()
    daemon.answer["servers"] += history(LOST, real_server="")["servers"]
    assert said(daemon, "history", ONE) == Status.FINE
    assert capsys.readouterr().out == (
        "192.168.100.21:80 in 203.0.113.100:80/tcp: nothing is known yet\n"
        "\n"
        "203.0.113.100:80/tcp and its real servers: 1 entry\n"
        "  2027-01-15 08:00:09Z   1m01s ago  ✖ Virtual server 203.0.113.100:80/tcp lost its quorum.\n"
    )


def test_events_are_a_line_each_with_their_names(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answer = {"schema": 1, "at": 1_800_000_070.0, "events": [DOWN, LOST]}
    assert said(daemon, "events") == Status.FINE
    assert capsys.readouterr().out == (
        "2027-01-15 08:00:09Z  ! real_server.state_changed    Server 192.168.100.21:80 of 203.0.113.100:80/tcp is DOWN.\n"
        "2027-01-15 08:00:09Z  ✖ virtual_server.quorum_lost   Virtual server 203.0.113.100:80/tcp lost its quorum.\n"
    )


def test_that_nothing_happened_is_said(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answer = {"schema": 1, "at": 1_800_000_070.0, "events": []}
    assert said(daemon, "events", "--since", "10m") == Status.FINE
    assert capsys.readouterr().out == "nothing happened\n"


@pytest.mark.parametrize("words", [["history", ONE], ["events"]])
def test_json_is_the_answer_as_it_is(daemon: Daemon, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    daemon.answer = {"schema": 1, "at": 1.0, "servers": [], "events": [DOWN]}
    assert said(daemon, *words, "--json") == Status.FINE
    assert json.loads(capsys.readouterr().out) == daemon.answer


def test_whoever_follows_sees_what_was_and_then_what_comes_and_what_was_lost(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answer = {"schema": 1, "at": 1_800_000_070.0, "events": [DOWN]}
    daemon.more = [protocol.encode_dropped(1, 17), protocol.encode_event(1, LOST)]
    assert said(daemon, "events", "--follow") == Status.UNREACHABLE
    shown = capsys.readouterr()
    assert [line[24:50].strip() for line in shown.out.splitlines()] == [
        "real_server.state_changed",
        "virtual_server.quorum_lost",
    ]
    lost, end = shown.err.splitlines()
    assert lost == "vipervisor: 17 events were lost here: this end was too slow"
    assert end.endswith("the daemon hung up")
    assert daemon.asked[0].args == {"follow": True}


def test_whoever_follows_in_json_gets_an_object_a_line(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answer = {"schema": 1, "at": 1_800_000_070.0, "events": [DOWN]}
    daemon.more = [protocol.encode_dropped(1, 17), protocol.encode_event(1, LOST)]
    assert said(daemon, "events", "--follow", "--json") == Status.UNREACHABLE
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"schema": 1, **DOWN},
        {"schema": 1, "dropped": 17},
        {"schema": 1, **LOST},
    ]


@pytest.mark.parametrize("words", [["history", ONE, "-n", "0"], ["events", "-n", "x"], ["events", "--since", "soon"]])
def test_what_makes_no_sense_is_refused_before_anybody_is_asked(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == Status.USAGE


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b'{"dropped": "many"}', b'{"dropped": 1e999}', b"[" * 5000])
def test_a_line_that_is_no_event_is_reported_as_such(line: bytes) -> None:
    with pytest.raises(RequestError, match="not understood"):
        protocol.decode_more(line)
