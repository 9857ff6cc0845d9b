from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from supervisor.admin import client, protocol, server, words
from supervisor.admin.access import Access, Caller
from supervisor.admin.desk import Desk, Requested, Verb, question
from supervisor.admin.protocol import Request, RequestError, Status
from supervisor.core.snapshot import as_json
from tests.fakes.snapshots import snapshot

OWNER = os.geteuid()
ME = Caller(OWNER, os.getegid(), os.getpid(), "alice")


async def refused(_args: dict[str, Any], _caller: Caller) -> Any:
    raise RequestError("no such thing", Status.NOT_FOUND)


async def forever(_args: dict[str, Any], _caller: Caller) -> Any:
    await trio.sleep_forever()


async def whoami(_args: dict[str, Any], caller: Caller) -> Any:
    return {"uid": caller.uid, "pid": caller.pid, "user": caller.user, "groups": sorted(caller.groups)}


VERBS: dict[str, Verb] = {
    "status": question(lambda args: {"args": args}),
    "raw": question(lambda _args: b'{"raw":1}'),
    "why": Verb(refused, changes=False),
    "drain": Verb(whoami),
    "reload": Verb(forever, limit_s=2.5),
}


def desk(record: list[Requested] | None = None, access: Access | None = None) -> Desk:
    return Desk(VERBS, access or Access(OWNER), (record if record is not None else []).append)


def answer(line: bytes, caller: Caller = ME, **options: Any) -> bytes:
    """The desk's answer line, on a virtual clock."""
    return trio.run(desk(**options).answer, line, caller, clock=MockClock(autojump_threshold=0)).line


def test_a_request_and_its_answer_survive_the_wire() -> None:
    request = Request("status", {"x": [1, "é"]}, 7)
    assert protocol.decode_request(protocol.encode_request(request)) == request
    assert protocol.decode_answer(answer(protocol.encode_request(request))) == {"args": request.args}


def test_an_answer_that_is_json_already_is_passed_on_as_it_is() -> None:
    assert answer(b"raw") == b'{"id":1,"ok":true,"result":{"raw":1}}\n'


def test_a_bare_word_is_a_verb_because_people_type_it_into_socat() -> None:
    assert protocol.decode_request(b"status\r\n") == Request("status")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"", "one JSON object"),
        (b"{", "one JSON object"),
        (b"\xff\xfe", "one JSON object"),
        (b"[" * 60000, "one JSON object"),
        (b"[1]", 'an object with a "verb"'),
        (b'{"verb": 1}', 'an object with a "verb"'),
        (b'{"verb": "status", "args": []}', '"args" is an object'),
        (b'{"verb": "status", "id": "x"}', '"id" a whole number'),
        (b'{"verb": "nonsense"}', "there are: drain, raw, reload, status, why"),
        (b"x" * 70000, "at most 65536 bytes"),
    ],
)
def test_a_wrong_request_is_answered_with_what_was_expected(line: bytes, complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint) as caught:
        protocol.decode_answer(answer(line))
    assert caught.value.status is Status.USAGE


def test_a_refusal_carries_the_exit_status() -> None:
    with pytest.raises(RequestError, match="no such thing") as caught:
        protocol.decode_answer(answer(b"why"))
    assert caught.value.status is Status.NOT_FOUND


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b'{"ok": false}', b'{"ok": false, "error": "x", "code": 99}'])
def test_an_answer_that_is_none_is_reported_as_such(line: bytes) -> None:
    with pytest.raises(RequestError, match="not understood"):
        protocol.decode_answer(line)


def test_the_client_asks_a_real_socket_and_only_its_owner_can(tmp_path: Path) -> None:
    path = tmp_path / "run" / "admin.sock"

    async def main() -> Any:
        sock = server.listen(path)
        assert path.stat().st_mode & 0o777 == 0o600
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, sock, desk(), "0")
            answer = await trio.to_thread.run_sync(client.ask, path, Request("status", {"a": 1}))
            nursery.cancel_scope.cancel()
        return answer

    assert trio.run(main) == {"args": {"a": 1}}


def test_a_client_that_says_nothing_or_too_much_is_let_go_and_others_are_answered(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"

    async def main() -> None:
        sock = server.listen(path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, sock, desk(), "0")
            silent = await trio.open_unix_socket(str(path))
            loud = await trio.open_unix_socket(str(path))
            await loud.send_all(b"x" * 70000)
            said = b"".join([data async for data in loud])
            assert json.loads(said.splitlines()[1])["ok"] is False
            assert await trio.to_thread.run_sync(client.ask, path, Request("status"))
            await silent.aclose()
            await loud.aclose()
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_second_daemon_on_the_same_socket_is_refused_and_a_dead_ones_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    first = server.listen(path)
    with pytest.raises(server.SocketTaken, match="a running vipervisor answers there"):
        server.listen(path)
    first.close()
    server.listen(path).close()


def test_what_is_no_socket_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    path.write_text("precious")
    with pytest.raises(server.SocketTaken, match="is no socket"):
        server.listen(path)
    assert path.read_text() == "precious"


def test_a_folder_that_anybody_can_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(server.SocketTaken, match="anybody may write there"):
        server.listen(tmp_path / "admin.sock")


def test_asking_where_no_daemon_is_names_the_socket_and_exits_5(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no daemon answers there.*--admin-socket") as caught:
        client.ask(tmp_path / "admin.sock", Request("status"))
    assert caught.value.status is Status.UNREACHABLE


def test_a_daemon_that_hangs_up_is_reported(tmp_path: Path) -> None:
    path = str(tmp_path / "admin.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()

        def hang_up() -> None:
            connection, _ = listening.accept()
            connection.recv(65536)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(RequestError) as caught:
            client.ask(Path(path), Request("status"))
        thread.join()
    assert caught.value.status is Status.UNREACHABLE


def test_the_default_socket_follows_the_service_then_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/a:/run/b")
    assert client.default_socket() == Path("/run/a/admin.sock")
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert client.default_socket() == Path("/run/vipervisor/admin.sock")
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1234")
    assert client.default_socket() == Path("/run/user/1234/vipervisor/admin.sock")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert client.default_socket().parent.name == "vipervisor-1234"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "never"),
        (0.04, "0.0s"),
        (9.94, "9.9s"),
        (59.9, "59s"),
        (190, "3m10s"),
        (18120, "5h02m"),
        (183600, "2d03h"),
    ],
)
def test_an_age_is_said_as_a_person_says_it(seconds: float | None, text: str) -> None:
    assert words.age(seconds) == text


def test_the_status_screen_names_every_server_with_a_word_for_its_health() -> None:
    shown = snapshot()
    screen = words.status(as_json(shown))
    for virtual_server in shown.virtual_servers:
        assert virtual_server.virtual_server in screen
        for real_server in virtual_server.real_servers:
            assert any(real_server.real_server in line and real_server.health in line for line in screen.splitlines())
    assert "QUORUM LOST" in screen or all(server.quorate for server in shown.virtual_servers)


def test_the_status_screen_says_first_what_is_wrong_with_ourselves() -> None:
    shown = as_json(snapshot())
    lines = words.status(shown).splitlines()
    assert "checker-0 probes 2 times less often, because something runs short" in lines[1]
    assert lines[1].endswith("(7 probes inconclusive so far: EMFILE 5, ENETUNREACH 1).")
    assert lines[2] == "exporter does not run."
    shown["process"] |= {"workers_lost_s": 75.0, "checks_quarantined": 2}
    shown["process"]["workers"][0]["loop_lag_s"] = 3.2
    lines = words.status(shown).splitlines()
    assert lines[1] == "NO CHECKER WORKER for 1m15s: every verdict is frozen."
    assert lines[2] == "2 checks kept apart in checker-ward, because workers die of it."
    assert lines[3] == "supervisor is late by 3.2 s."


def test_why_prints_the_chain_in_order_with_what_was_sent_and_received() -> None:
    row = as_json(snapshot())["virtual_servers"][0]["real_servers"][0]
    chain = [
        {"age_s": 12.0, "kind": "probe", "text": "refused", "facts": {"sent": "GET /", "received": "HTTP/1.0 503"}},
        {"age_s": 11.9, "kind": "kernel write", "text": "kernel took it", "facts": {}},
    ]
    lines = words.why([{"virtual_server": "a", "real_server": row, "chain": chain}]).splitlines()
    assert [line for line in lines if "ago  " in line] == [
        "       12s ago  probe         refused",
        "       11s ago  kernel write  kernel took it",
    ]
    assert lines[3:5] == ["                > GET /", "                < HTTP/1.0 503"]


def test_why_shows_the_last_failure_beside_the_first_and_that_nothing_came_back() -> None:
    row = as_json(snapshot())["virtual_servers"][0]["real_servers"][0]
    first = {"sent": "GET /\\r\\n\\r\\n", "received": "HTTP/1.0 503"}
    result = {"message": "refused", "age_s": 2.0, "last_age_s": 1.0}
    answer = {"virtual_server": "a", "real_server": row, "at": 1_800_000_000.0, "chain": [], "down_because": []}
    probe = {"age_s": 12.0, "kind": "probe", "text": "refused", "facts": first}
    told = result | {"facts": {"passed": False, **first}}
    assert "The last that failed" not in words.why([answer | {"chain": [probe], "results": [told]}]), "it is the same"
    silent = result | {"facts": {"passed": False, "sent": "GET /\\r\\n\\r\\n"}}
    lines = words.why([answer | {"down_because": [probe], "results": [silent]}]).splitlines()
    assert "  It is DOWN beside that:" in lines
    place = lines.index("  The last that failed, 1.0s ago:")
    assert lines[place + 1 : place + 3] == ["                > GET /", "                < (nothing came back)"]
    assert lines[0].partition(", since ")[2].startswith("20"), "a moment that one finds in the log"


@pytest.mark.parametrize(
    ("wanted", "kernel", "configured", "said"),
    [
        (None, None, 10, "out of the kernel's table, as wanted; weight 10 in the file"),
        (10, 10, 10, "weight 10, and so in the kernel"),
        (0, 0, 10, "weight 0, and so in the kernel; weight 10 in the file"),
        (10, None, 10, "weight 10 WANTED, - IN THE KERNEL (-: not in the table)"),
    ],
)
def test_why_says_what_is_wanted_what_the_kernel_has_and_what_the_file_says(
    wanted: int | None, kernel: int | None, configured: int, said: str
) -> None:
    row = as_json(snapshot())["virtual_servers"][0]["real_servers"][0]
    row |= {"weight_wanted": wanted, "weight_kernel": kernel, "weight_configured": configured}
    assert words.why([{"virtual_server": "a", "real_server": row, "chain": []}]).splitlines()[1] == f"  {said}"
