"""Who gets in: passwords, what is remembered of them, and what nobody can make the verifier do."""

import base64
import socket
from collections.abc import Awaitable, Callable

import bcrypt
import h11
import pytest
import trio
from trio.testing import MockClock

from supervisor.exporter.answers import Answer
from supervisor.exporter.doorman import Doorman
from supervisor.exporter.verifier import _NOBODY, KNOWN_MAX, WAITING_MAX, Passwords
from supervisor.exporter.webpolicy import WebPolicy, encode

HASHES = {name: f"$2b$04${name:.<22}{'.' * 31}" for name in ("alice", "bob")}
RIGHT = {"alice": b"one", "bob": b"two"}


class Verifier:
    """The other end of the verifier's socket: knows two passwords, counts its questions, answers when it is let."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours = ours
        self.asked: list[tuple[str, bytes]] = []
        self.slow = trio.Event()
        self.slow.set()
        self._stream = trio.socket.from_stdlib_socket(theirs)

    def close(self) -> None:
        self._stream.close()

    async def run(self) -> None:
        names = {hashed: name for name, hashed in HASHES.items()}
        while data := await self._stream.recv(4096):
            hashed, _, password = data.partition(b"\n")
            self.asked.append((names.get(hashed.decode(), "?"), password))
            await self.slow.wait()
            await self._stream.send(b"1" if RIGHT.get(names.get(hashed.decode(), "")) == password else b"0")


def play(story: Callable[[Doorman, Verifier], Awaitable[None]]) -> None:
    async def main() -> None:
        verifier = Verifier()
        passwords = Passwords(verifier.ours)
        doorman = Doorman(passwords)
        doorman.take(encode(WebPolicy(users=HASHES, headers={"X-Frame-Options": "deny"})))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(verifier.run)
            await story(doorman, verifier)
            nursery.cancel_scope.cancel()
        passwords.close()
        verifier.close()

    trio.run(main)


def request(*authorization: bytes) -> h11.Request:
    headers = [(b"Host", b"x"), *((b"Authorization", value) for value in authorization)]
    return h11.Request(method=b"GET", target=b"/metrics", headers=headers)


def basic(user: str, password: bytes) -> h11.Request:
    return request(b"Basic " + base64.b64encode(user.encode() + b":" + password))


def status(answer: Answer | None) -> int:
    return 200 if answer is None else answer.status


def test_a_right_password_is_compared_once_and_a_wrong_one_too() -> None:
    async def story(doorman: Doorman, verifier: Verifier) -> None:
        for _ in range(3):
            assert status(await doorman.refusal(basic("alice", b"one"))) == 200
            assert status(await doorman.refusal(basic("alice", b"two"))) == 401
        assert verifier.asked == [("alice", b"one"), ("alice", b"two")]

    play(story)


def test_an_unknown_user_costs_as_much_as_a_known_one_and_never_gets_in() -> None:
    async def story(doorman: Doorman, verifier: Verifier) -> None:
        assert status(await doorman.refusal(basic("mallory", b"one"))) == 401
        assert verifier.asked == [("?", b"one")]

    play(story)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (b"Bearer x",),
        (b"Basic",),
        (b"Basic !!!",),
        (b"Basic " + base64.b64encode(b"alice"),),
        (b"Basic " + base64.b64encode(b"\xff:x"),),
        (b"Basic " + base64.b64encode(b"alice:one"),) * 2,
        (b"Basic " + base64.b64encode(b"alice:"),),
        (b"Basic " + base64.b64encode(b"alice:" + b"x" * 4000),),
    ],
)
def test_malformed_credentials_are_refused_without_a_comparison(headers: tuple[bytes, ...]) -> None:
    async def story(doorman: Doorman, verifier: Verifier) -> None:
        answer = await doorman.refusal(request(*headers))
        assert answer is not None
        assert (answer.status, dict(answer.headers)["WWW-Authenticate"][:5]) == (401, "Basic")
        assert verifier.asked == []

    play(story)


def test_a_crowd_of_guesses_is_told_to_come_again_and_the_loop_goes_on() -> None:
    async def story(doorman: Doorman, verifier: Verifier) -> None:
        verifier.slow = trio.Event()
        said: list[int] = []

        async def guess(number: int) -> None:
            said.append(status(await doorman.refusal(basic("alice", b"guess %d" % number))))

        async with trio.open_nursery() as nursery:
            for number in range(WAITING_MAX + 5):
                nursery.start_soon(guess, number)
            await trio.testing.wait_all_tasks_blocked()
            assert said == [503] * 4
            verifier.slow.set()
        assert sorted(said) == [401] * (WAITING_MAX + 1) + [503] * 4

    play(story)


def test_what_is_remembered_has_an_end_and_ends_with_a_new_policy() -> None:
    async def story(doorman: Doorman, verifier: Verifier) -> None:
        passwords = doorman._passwords
        assert passwords is not None
        for number in range(KNOWN_MAX + 10):
            await passwords.fits("alice", b"%d" % number)
        assert len(passwords._known) == KNOWN_MAX
        assert not any(b"alice" in name or name == b"1" for name in passwords._known), (
            "no password is kept in the clear"
        )
        before = len(verifier.asked)
        doorman.take(encode(WebPolicy(users={"alice": HASHES["bob"]})))
        assert status(await doorman.refusal(basic("alice", b"two"))) == 200
        assert len(verifier.asked) == before + 1

    play(story)


def test_the_operators_headers_go_with_every_answer_and_a_policy_without_users_asks_nobody() -> None:
    async def story(doorman: Doorman, _verifier: Verifier) -> None:
        assert doorman.headers == (("X-Frame-Options", "deny"),)
        doorman.take(encode(WebPolicy()))
        assert await doorman.refusal(request()) is None
        assert len(doorman.headers) == 0

    play(story)


def test_before_the_policy_came_nobody_is_received() -> None:
    async def main() -> None:
        ours, _theirs = trio.testing.memory_stream_pair()
        assert await Doorman(Passwords(None)).receive(ours) is None
        assert await Doorman().receive(ours) is ours

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_the_hash_of_nobody_is_one_that_bcrypt_takes() -> None:
    assert bcrypt.checkpw(b"x", _NOBODY.format(4).encode()) is False
