"""The admin socket itself: who is at the other end, and what no client can do to the others."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import trio

from supervisor.admin import client, server
from supervisor.admin.access import Access, Caller
from supervisor.admin.desk import Desk, Following, Requested, Verb, question
from supervisor.admin.protocol import REQUEST_MAX_BYTES, Request, RequestError, Status
from supervisor.admin.server import CLIENTS_MAX

AS_ANOTHER = """
import os, sys
from pathlib import Path
from supervisor.admin import client
from supervisor.admin.protocol import Request, RequestError
path, verb, uid, groups = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), [int(gid) for gid in sys.argv[4].split(",")]
os.setgroups(groups[1:])
os.setgid(groups[0])
os.setuid(uid)
try:
    print(client.ask(path, Request(verb)))
except RequestError as error:
    print(f"exit {int(error.status)}: {error}")
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which needs root")


class Talk:
    """What a follower is told: whatever is put into it, and nothing is ever lost but on request."""

    def __init__(self) -> None:
        self.send, self._receive = trio.open_memory_channel[Any](1000)
        self.dropped = 0
        self.listeners = 0

    def __enter__(self) -> Self:
        self.listeners += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.listeners -= 1

    async def next(self) -> Any:
        return await self._receive.receive()

    def take_dropped(self) -> int:
        dropped, self.dropped = self.dropped, 0
        return dropped


class Room:
    """A served socket with a question, an order that tells who gave it, one that waits until `over`, and a talk to follow."""

    def __init__(self, path: Path, access: Access | None = None) -> None:
        self.path = path
        self.access = access or Access(os.geteuid())
        self.record: list[Requested] = []
        self.over = trio.Event()
        self.begun = 0
        self.finished = 0
        self.talk = Talk()
        self.desk = Desk(
            {
                "status": question(lambda _args: "fine"),
                "drain": Verb(self._drain),
                "reload": Verb(self._reload),
                "events": question(lambda _args: Following({"events": []}, self.talk)),
            },
            self.access,
            self.record.append,
        )

    async def _drain(self, _args: dict[str, Any], caller: Caller) -> Any:
        return {"uid": caller.uid, "gid": caller.gid, "pid": caller.pid, "user": caller.user}

    async def _reload(self, _args: dict[str, Any], _caller: Caller) -> Any:
        self.begun += 1
        await self.over.wait()
        self.finished += 1
        return "loaded"

    async def ask(self, verb: str) -> Any:
        return await trio.to_thread.run_sync(client.ask, self.path, Request(verb))

    async def connect(self) -> trio.SocketStream:
        return await trio.open_unix_socket(str(self.path))


def serving(path: Path, story: Callable[[Room], Awaitable[None]], access: Access | None = None) -> Room:
    """Serve a socket while a story is played over it, in real time."""

    async def main() -> Room:
        room = Room(path, access)
        sock = server.listen(path, room.access.group)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, sock, room.desk, "0")
            with trio.fail_after(30):
                await story(room)
            nursery.cancel_scope.cancel()
        return room

    return trio.run(main)


async def rest(stream: trio.SocketStream) -> list[Any]:
    """The lines that the server says until it hangs up."""
    return [json.loads(line) for line in b"".join([data async for data in stream]).splitlines()]


async def true(what: Callable[[], bool]) -> None:
    """Wait until something is true; `serving` bounds it."""
    while not what():  # noqa: ASYNC110  (nobody tells of a descriptor that was closed)
        await trio.sleep(0.01)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_caller_is_whom_the_kernel_says(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        assert await room.ask("drain") == {
            "uid": os.geteuid(),
            "gid": os.getegid(),
            "pid": os.getpid(),
            "user": pwd.getpwuid(os.geteuid()).pw_name,
        }

    room = serving(tmp_path / "admin.sock", story)
    assert room.record[0].caller.groups == frozenset(os.getgroups())


def ask_as(path: Path, verb: str, uid: int, *groups: int) -> str:
    words = [sys.executable, "-c", AS_ANOTHER, str(path), verb, str(uid), ",".join(map(str, groups))]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others can reach."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@needs_root
def test_another_user_gets_in_by_the_group_alone_and_may_only_ask(open_folder: Path) -> None:
    group = grp.getgrnam("adm").gr_gid
    path = open_folder / "admin.sock"

    async def story(room: Room) -> None:
        found = path.stat()
        assert (found.st_mode & 0o777, found.st_gid) == (0o660, group)
        answers = [
            await trio.to_thread.run_sync(ask_as, path, verb, 65533, *groups)
            for verb, groups in (("status", (65533, group)), ("drain", (65533, group)), ("status", (65533,)))
        ]
        assert answers[0] == "fine"
        assert answers[1].startswith("exit 7: uid 65533 may ask and not change anything")
        assert answers[2].startswith("exit 5:")
        assert "permission denied" in answers[2]
        assert room.record[0].outcome == "refused"

    serving(path, story, Access(0, group))


@needs_root
def test_a_group_that_may_change_something_changes_it_under_its_own_name(open_folder: Path) -> None:
    group = grp.getgrnam("adm").gr_gid
    path = open_folder / "admin.sock"

    async def story(room: Room) -> None:
        answer = await trio.to_thread.run_sync(ask_as, path, "drain", pwd.getpwnam("daemon").pw_uid, 65533, group)
        assert "'user': 'daemon'" in answer
        assert [(told.caller.user, told.outcome) for told in room.record] == [("daemon", "done")]

    serving(path, story, Access(0, group, group_may_change=True))


@needs_root
def test_one_who_got_in_without_the_right_is_refused_by_the_credentials(open_folder: Path) -> None:
    """The socket's mode is the first lock and not the only one."""
    path = open_folder / "admin.sock"

    async def story(room: Room) -> None:
        path.chmod(0o666)
        answer = await trio.to_thread.run_sync(ask_as, path, "status", 65533, 65533)
        assert answer.startswith("exit 7: uid 65533 may not ask")
        assert [told.outcome for told in room.record] == ["refused"]

    serving(path, story)


def test_silent_clients_however_many_keep_nobody_out(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        silent = []
        for number in range(120):
            silent.append(await room.connect())
            if number % 7 == 3:
                await silent[-1].send_all(b'{"verb": "sta')  # half a request
        since = trio.current_time()
        assert await room.ask("status") == "fine"
        assert trio.current_time() - since < server.PATIENCE_S / 2, "without waiting for anybody's patience to end"
        with trio.fail_after(server.PATIENCE_S / 2):
            assert await rest(silent[0]) == [{"vipervisor": "0", "protocol": 1}], "the oldest was let go"
        for stream in silent:
            await stream.aclose()

    serving(tmp_path / "admin.sock", story)


def test_when_all_seats_wait_for_their_orders_the_next_is_told_to_come_again_and_a_seat_is_free_afterwards(
    tmp_path: Path,
) -> None:
    async def story(room: Room) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(CLIENTS_MAX):
                nursery.start_soon(room.ask, "reload")
            await true(lambda: room.begun == CLIENTS_MAX)
            with pytest.raises(RequestError, match="busy with the orders of 16 others") as caught:
                await room.ask("status")
            assert caught.value.status is Status.REFUSED
            room.over.set()
        assert await room.ask("status") == "fine"

    serving(tmp_path / "admin.sock", story)


def test_a_giant_request_is_refused_before_it_is_read_whole(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        stream = await room.connect()
        sent = 0
        with contextlib.suppress(trio.BrokenResourceError):
            for _ in range(200):
                await stream.send_all(b"x" * REQUEST_MAX_BYTES)
                sent += 1
        assert sent < 20
        await stream.aclose()
        assert await room.ask("status") == "fine"

    serving(tmp_path / "admin.sock", story)


def test_a_client_that_goes_away_in_the_middle_has_its_order_carried_out_and_leaves_nothing(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        descriptors = open_descriptors()
        for _ in range(50):
            stream = await room.connect()
            await stream.send_all(b"reload\n")
            await stream.aclose()
            half = await room.connect()
            await half.send_all(b'{"verb":')
            await half.aclose()
        room.over.set()
        await true(lambda: open_descriptors() <= descriptors)
        assert room.finished == len(room.record) > 0
        assert {told.outcome for told in room.record} == {"done"}

    serving(tmp_path / "admin.sock", story)


def test_an_answer_that_nobody_takes_is_given_up_and_nobody_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ANSWER_S", 0.2)

    async def story(room: Room) -> None:
        room.desk._verbs = {**room.desk._verbs, "huge": question(lambda _args: "x" * 5_000_000)}
        stream = await room.connect()
        await stream.send_all(b"huge\n")
        assert await room.ask("status") == "fine"
        await trio.sleep(0.4)
        size = len(b"".join([data async for data in stream]))
        assert size < 5_000_000
        await stream.aclose()

    serving(tmp_path / "admin.sock", story)


def test_who_follows_gets_the_answer_and_then_each_event_until_it_hangs_up(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        said: list[Any] = []

        def follow() -> None:
            with contextlib.closing(client.follow(room.path, Request("events"))) as lines:
                for line in lines:
                    said.append(line)
                    if len(said) == 4:
                        return

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, follow)
            await true(lambda: said == [{"events": []}])
            await room.talk.send.send({"id": 1})
            await true(lambda: len(said) == 2)
            room.talk.dropped = 17
            await room.talk.send.send({"id": 19})
        assert said == [{"events": []}, {"id": 1}, 17, {"id": 19}]
        await true(lambda: room.talk.listeners == 0)
        assert room.record == [], "a question is not put on record, however long it lasts"

    serving(tmp_path / "admin.sock", story)


def test_a_daemon_that_stops_ends_those_who_follow_with_a_sentence(tmp_path: Path) -> None:
    said: list[Any] = []
    ended: list[RequestError] = []
    path = tmp_path / "admin.sock"

    def follow() -> None:
        try:
            said.extend(client.follow(path, Request("events")))
        except RequestError as error:
            ended.append(error)

    async def main() -> None:
        room = Room(path)
        async with trio.open_nursery() as clients, trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, server.listen(path), room.desk, "0")
            clients.start_soon(trio.to_thread.run_sync, follow)
            await true(lambda: room.talk.listeners == 1)
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert [(error.status, str(error)) for error in ended] == [(Status.UNREACHABLE, f"{path}: the daemon hung up")]


def test_a_follower_who_is_stuck_harms_nobody_and_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "ANSWER_S", 0.3)

    async def story(room: Room) -> None:
        stuck = await room.connect()
        await stuck.send_all(b"events\n")
        await true(lambda: room.talk.listeners == 1)
        for _ in range(20):
            await room.talk.send.send({"text": "x" * 100_000})
        assert await room.ask("status") == "fine"
        await true(lambda: room.talk.listeners == 0)
        assert await room.ask("status") == "fine"
        await stuck.aclose()

    serving(tmp_path / "admin.sock", story)


def test_a_follower_who_dies_without_a_word_leaves_nothing(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        descriptors = open_descriptors()
        for _ in range(30):
            stream = await room.connect()
            await stream.send_all(b"events\n")
            await true(lambda: room.talk.listeners == 1)
            await stream.aclose()
            await true(lambda: room.talk.listeners == 0)
        await true(lambda: open_descriptors() <= descriptors)

    serving(tmp_path / "admin.sock", story)
