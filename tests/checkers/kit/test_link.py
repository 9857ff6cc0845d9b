"""Links: the one in memory and the one of the kernel behave alike."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import pytest
import trio

from checkers.kit.link import MESSAGE_MAX_BYTES, Link, LinkError, SeqpacketLink, memory_link_pair, seqpacket_link_pair

Pair = Callable[[], tuple[Link, Link]]
both = pytest.mark.parametrize("pair", [memory_link_pair, seqpacket_link_pair], ids=["memory", "seqpacket"])


def run(pair: Pair, story: Callable[[Link, Link], Awaitable[None]]) -> None:
    async def main() -> None:
        with trio.fail_after(10):
            ours, theirs = pair()
            try:
                await story(ours, theirs)
            finally:
                ours.close()
                theirs.close()

    trio.run(main)


@both
def test_messages_arrive_whole_and_in_order(pair: Pair) -> None:
    async def story(ours: Link, theirs: Link) -> None:
        messages = [b"a", b"bb" * 100, b"c" * MESSAGE_MAX_BYTES]
        for message in messages:
            await ours.send(message)
        assert [await theirs.receive() for _ in messages] == messages

    run(pair, story)


@both
def test_what_was_sent_before_the_end_still_arrives_and_then_the_end_does(pair: Pair) -> None:
    async def story(ours: Link, theirs: Link) -> None:
        await ours.send(b"last words")
        ours.close()
        assert [await theirs.receive(), await theirs.receive()] == [b"last words", b""]

    run(pair, story)


@both
def test_sending_to_a_peer_that_is_gone_is_a_link_error(pair: Pair) -> None:
    async def story(ours: Link, theirs: Link) -> None:
        theirs.close()
        with pytest.raises(LinkError):
            await ours.send(b"hello")

    run(pair, story)


@both
def test_a_link_that_we_closed_says_so(pair: Pair) -> None:
    async def story(ours: Link, theirs: Link) -> None:  # noqa: ARG001  the shape of a story
        ours.close()
        ours.close()
        with pytest.raises(LinkError):
            await ours.receive()
        with pytest.raises(LinkError):
            await ours.send(b"hello")

    run(pair, story)


@both
@pytest.mark.parametrize("size", [0, MESSAGE_MAX_BYTES + 1])
def test_a_message_of_no_or_too_many_bytes_is_our_own_bug(pair: Pair, size: int) -> None:
    async def story(ours: Link, theirs: Link) -> None:  # noqa: ARG001  the shape of a story
        with pytest.raises(ValueError, match="expected a message"):
            await ours.send(b"x" * size)

    run(pair, story)


@both
def test_a_sender_waits_for_a_slow_receiver_instead_of_filling_memory(pair: Pair) -> None:
    async def story(ours: Link, theirs: Link) -> None:
        sent = 0
        with trio.move_on_after(0.2) as scope:
            while True:
                await ours.send(b"x" * 1000)
                sent += 1
        assert scope.cancelled_caught
        assert sent < 2000
        await theirs.receive()

    run(pair, story)


def test_a_message_longer_than_allowed_is_refused_not_cut() -> None:
    async def main() -> None:
        one, other = trio.socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        link = SeqpacketLink(one)
        await other.send(b"x" * (MESSAGE_MAX_BYTES + 1))
        with pytest.raises(LinkError, match="longer"):
            await link.receive()
        link.close()
        other.close()

    trio.run(main)


def test_a_socket_without_message_boundaries_is_refused() -> None:
    async def main() -> None:
        one, other = trio.socket.socketpair()
        with pytest.raises(ValueError, match="SOCK_SEQPACKET"):
            SeqpacketLink(one)
        one.close()
        other.close()

    trio.run(main)
