"""What is remembered of an answer is what h11 says of it: on random heads, again and again, in any order."""

from __future__ import annotations

import h11
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from checkers.kit import answer
from checkers.kit.answer import Answer, Head, NotHttpError

STATUS_LINES = [
    b"HTTP/1.1 200 OK",
    b"HTTP/1.0 200 OK",
    b"HTTP/1.1 204 No",
    b"HTTP/1.1 304 Same",
    b"HTTP/1.1 503 ",
    b"HTTP/2 200",
    b"200 OK",
]
LINES = [
    b"Date: Sat, 28 Nov 2026 17:00:00 GMT",
    b"Date: Sat, 28 Nov 2026 17:00:01 GMT",
    b"Date: Sat, 28 Nov 2026 17:00:01 GM\x01",
    b"Date: Sat, 28 Nov 2026 17:00:01 GMT ",
    b"date: Sat, 28 Nov 2026 17:00:01 GMT",
    b"Date: yesterday, or so it seems to me",
    b"Date:",
    b"Content-Length: 5",
    b"Content-Length: 7",
    b"Content-Length: five",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip",
    b"Connection: close",
    b"Connection: keep-alive",
    b'ETag: "1"',
    b'ETag: "2"',
    b" folded",
    b"no colon",
    b"Bad\x00: x",
]  # fmt: skip
heads = st.builds(
    lambda line, lines: b"\r\n".join([line, *lines, b"", b""]),
    st.sampled_from(STATUS_LINES),
    st.lists(st.sampled_from(LINES), max_size=5),
)


class Told:
    """A stream that says one thing and ends."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = [*pieces, b""]

    async def send(self, data: bytes) -> None: ...

    async def receive(self, max_bytes: int = 65536) -> bytes:  # noqa: ARG002  the shape of a stream
        await trio.lowlevel.checkpoint()
        return self._pieces.pop(0) if len(self._pieces) > 1 else b""

    def close(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> bool:
        return False


def plainly(data: bytes) -> tuple[object, ...]:
    """Judge by h11 and nothing else."""
    connection = answer._new_connection()
    try:
        connection.receive_data(data)
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        return (f"not a valid HTTP answer: {error}",)
    if not isinstance(event, h11.Response):
        return ("not a valid HTTP answer",)
    return event.status_code, connection.our_state is h11.DONE


def remembered(head: bytes, last: Head | None) -> tuple[tuple[object, ...], Head | None]:
    try:
        found = answer.parse(head, last)
    except NotHttpError as error:
        return (str(error),), last
    return (found.status, found.stays_open), found


@given(st.lists(heads, min_size=1, max_size=12))
def test_what_is_remembered_of_a_head_is_what_h11_says_of_it(some: list[bytes]) -> None:
    last: Head | None = None
    for head in some + some:
        said, last = remembered(head, last)
        assert said == plainly(head)


BODIES = [b"", b"hello", b"hello!!", b"5\r\nhello\r\n0\r\n\r\n", b"hel"]


@given(heads, st.sampled_from(BODIES), st.integers(0, 200))
def test_a_body_is_what_h11_reads_in_whatever_pieces_it_comes(head: bytes, body: bytes, cut: int) -> None:
    data = head + body

    async def by(stream: Told, *, plain: bool) -> tuple[bytes | None, bool]:
        found = Answer(stream)
        try:
            await found.head()
            return (await (found._body_by_h11() if plain else found.body())), found.reusable
        except NotHttpError:
            return None, False

    async def main() -> None:
        in_pieces = [piece for piece in (data[:cut], data[cut:]) if piece]
        wanted = await by(Told(data), plain=True)
        assert await by(Told(data), plain=False) == wanted
        assert (await by(Told(*in_pieces), plain=False))[0] == wanted[0]

    trio.run(main)


def test_equal_heads_of_another_second_are_one_object_and_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "_HEADS", {})
    head = b"HTTP/1.1 200 OK\r\nDate: Sat, 28 Nov 2026 17:00:0%d GMT\r\nETag: x\r\n\r\n"
    first = answer.parse(head % 1)
    monkeypatch.setattr(answer, "_read", None)
    assert all(answer.parse(head % second) is first for second in range(10))


def test_a_head_of_the_same_server_is_remembered_by_whoever_has_it_however_many_others_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answer, "_HEADS", {})
    last = answer.parse(b"HTTP/1.1 200 OK\r\nETag: mine\r\n\r\n")
    for number in range(answer.REMEMBERED_MAX + 10):
        answer.parse(b"HTTP/1.1 200 OK\r\nETag: %d\r\n\r\n" % number)
    assert len(answer._HEADS) == answer.REMEMBERED_MAX
    monkeypatch.setattr(answer, "_read", None)
    assert answer.parse(b"HTTP/1.1 200 OK\r\nETag: mine\r\n\r\n", last) is last


def test_dates_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "_DATES", set())
    for second in range(60):
        answer.parse(b"HTTP/1.1 200 OK\r\nDate: Sat, 28 Nov 2026 17:00:%02d GMT\r\n\r\n" % second)
    assert len(answer._DATES) <= answer.DATES_MAX
