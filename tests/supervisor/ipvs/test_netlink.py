"""The netlink socket against a scripted kernel: what it sends, and what it makes of answers that are late, lost, foreign or broken."""

from __future__ import annotations

import errno
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.ipvs.backend import AnswerLost, BackendUnavailable
from supervisor.ipvs.kernel import KernelBackend
from supervisor.ipvs.netlink import Denied, FamilyMissing, GenericNetlink, NetlinkError, NoNetlink, error_word
from supervisor.ipvs.wire import WireError, attribute

ERROR, DONE, CONTROL, ACK, DUMP = 2, 3, 16, 0x4, 0x300
Answer = bytes | OSError


def message(kind: int, sequence: int, body: bytes, flags: int = 0) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def result(sequence: int, number: int = 0) -> bytes:
    return message(ERROR, sequence, struct.pack("=i", -number) + bytes(16))


def data(sequence: int, payload: bytes, family: int = 28, flags: int = 2) -> bytes:
    return message(family, sequence, struct.pack("=BBH", 1, 1, 0) + payload, flags)


class Kernel:
    """Stands in for the socket: `respond` gets each sent message and returns datagrams to receive, with their senders."""

    def __init__(self, *_arguments: int) -> None:
        self.family = 28
        self.sent: list[tuple[int, int, int, int]] = []  # type, flags, sequence, command
        self.inbox: deque[tuple[Answer, int, int]] = deque()  # datagram, sender, flags
        self.respond: Callable[[int, int, int], list[Answer]] = lambda _flags, sequence, _command: [result(sequence)]
        self.closed = False

    def send(self, frame: bytes) -> None:
        start = 0
        while start < len(frame):
            length, kind, flags, sequence, _, command = struct.unpack_from("=IHHIIB", frame, start)
            self.sent.append((kind, flags, sequence, command))
            if kind == CONTROL:
                self.say(data(sequence, attribute(1, struct.pack("=H", self.family)), CONTROL), result(sequence))
            elif kind != self.family:
                self.say(result(sequence, errno.ENOENT))
            else:
                self.say(*self.respond(flags, sequence, command))
            start += length

    def say(self, *answers: Answer, sender: int = 0, flags: int = 0) -> None:
        self.inbox.extend((answer, sender, flags) for answer in answers)

    def recvmsg_into(self, buffers: list[bytearray]) -> tuple[int, list[Any], int, tuple[int, int]]:
        if not self.inbox:
            raise BlockingIOError
        answer, sender, flags = self.inbox.popleft()
        if isinstance(answer, OSError):
            raise answer
        buffers[0][: len(answer)] = answer
        return len(answer), [], flags, (sender, 0)

    def recv_into(self, buffer: bytearray) -> int:
        return self.recvmsg_into([buffer])[0]

    def setsockopt(self, *_arguments: int) -> None:
        """Take any option."""

    def bind(self, _address: tuple[int, int]) -> None:
        """Take any address."""

    def close(self) -> None:
        self.closed = True


class KernelWithoutFamily(Kernel):
    def send(self, frame: bytes) -> None:
        _, _, _, sequence, _ = struct.unpack_from("=IHHII", frame)
        self.say(result(sequence, errno.ENOENT))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(socket, "socket", lambda *_arguments: made)
    return made


REQUESTS = [(5, b""), (6, b""), (7, b"")]


def test_the_family_is_looked_up_by_name_and_used(kernel: Kernel) -> None:
    GenericNetlink().request(4)
    assert [(kind, command) for kind, _, _, command in kernel.sent] == [(CONTROL, 3), (28, 4)]


def test_a_batch_asks_for_an_acknowledgement_of_its_last_message_only(kernel: Kernel) -> None:
    kernel.respond = lambda flags, sequence, _command: [result(sequence)] if flags & ACK else []
    assert GenericNetlink().batch(REQUESTS) == [0, 0, 0]
    assert [flags & ACK for _, flags, _, _ in kernel.sent[1:]] == [0, 0, ACK]
    sequences = [sequence for _, _, sequence, _ in kernel.sent]
    assert sequences == [1, 2, 3, 4]


def test_a_failure_in_the_middle_has_its_place_in_the_results(kernel: Kernel) -> None:
    def respond(flags: int, sequence: int, command: int) -> list[Answer]:
        number = {6: errno.ESRCH, 7: errno.EPERM}.get(command, 0)
        return [result(sequence, number)] if number or flags & ACK else []

    kernel.respond = respond
    assert GenericNetlink().batch(REQUESTS) == [0, errno.ESRCH, errno.EPERM]
    assert GenericNetlink().batch([]) == []


def test_more_than_a_batch_is_a_bug(kernel: Kernel) -> None:
    with pytest.raises(ValueError, match="at most 64"):
        GenericNetlink().batch(REQUESTS * 22)
    assert len(kernel.sent) == 1


def test_a_dump_is_collected_over_several_datagrams(kernel: Kernel) -> None:
    kernel.respond = lambda _flags, sequence, _command: [
        data(sequence, b"one.") + data(sequence, b"two."),
        data(sequence, b"tre."),
        message(DONE, sequence, bytes(4), 2),
    ]
    assert GenericNetlink().dump(4) == [b"one.", b"two.", b"tre."]
    assert kernel.sent[-1][1] & DUMP == DUMP


def test_answers_of_others_and_of_exchanges_given_up_are_ignored(kernel: Kernel) -> None:
    opened = GenericNetlink()
    kernel.say(result(77, errno.EPERM), data(1, b"old."))
    kernel.say(result(2, errno.EPERM), sender=4711)
    kernel.respond = lambda _flags, sequence, _command: [data(sequence, b"new."), result(sequence)]
    assert opened.request(4) == [b"new."]


def test_no_answer_at_once_is_a_lost_answer(kernel: Kernel) -> None:
    opened = GenericNetlink()
    kernel.respond = lambda _flags, _sequence, _command: []
    for exchange in (lambda: opened.request(4), lambda: opened.dump(4), lambda: opened.batch(REQUESTS)):
        with pytest.raises(AnswerLost, match="no answer"):
            exchange()


def test_an_overrun_empties_the_queue_and_is_a_lost_answer(kernel: Kernel) -> None:
    opened = GenericNetlink()
    full = OSError(errno.ENOBUFS, "full")
    kernel.respond = lambda _flags, sequence, _command: [full, result(sequence), full, result(sequence)]
    with pytest.raises(AnswerLost, match="ENOBUFS"):
        opened.batch(REQUESTS)
    assert not kernel.inbox


def test_an_answer_that_was_cut_off_is_a_lost_answer(kernel: Kernel) -> None:
    opened = GenericNetlink()
    kernel.say(result(2), flags=socket.MSG_TRUNC)
    with pytest.raises(AnswerLost, match="cut off"):
        opened.request(4)
    assert not kernel.inbox


@pytest.mark.parametrize("flags", [0x10, 0x12])
def test_a_dump_during_which_the_table_changed_is_a_lost_answer(kernel: Kernel, flags: int) -> None:
    opened = GenericNetlink()
    kernel.respond = lambda _flags, sequence, _command: [
        data(sequence, b"one.", flags=flags),
        message(DONE, sequence, bytes(4), 2),
    ]
    with pytest.raises(AnswerLost, match="changed during"):
        opened.dump(4)
    assert not kernel.inbox


def test_a_dump_that_another_one_stands_in_the_way_of_is_a_lost_answer(kernel: Kernel) -> None:
    opened = GenericNetlink()
    kernel.respond = lambda _flags, sequence, _command: [result(sequence, errno.EBUSY), data(sequence, b"old.")]
    with pytest.raises(AnswerLost, match="EBUSY"):
        opened.dump(4)
    assert not kernel.inbox


def test_a_family_that_got_another_number_is_found_again_once(kernel: Kernel) -> None:
    opened = GenericNetlink()
    kernel.family = 29
    assert opened.request(4) == []
    kernel.family = 30
    assert opened.batch(REQUESTS) == [0, 0, 0]
    kernel.family = 31
    kernel.respond = lambda _flags, sequence, _command: [message(DONE, sequence, bytes(4), 2)]
    assert opened.dump(4) == []
    assert [kind for kind, _, _, _ in kernel.sent] == [16, 28, 16, 29, 29, 29, 29, 16, 30, 30, 30, 30, 16, 31]


def test_what_is_truly_missing_stays_missing_and_is_not_sent_again(kernel: Kernel) -> None:
    opened = GenericNetlink()
    kernel.respond = lambda _flags, sequence, _command: [result(sequence, errno.ENOENT)]
    assert opened.batch(REQUESTS) == [errno.ENOENT] * 3
    with pytest.raises(NetlinkError, match="ENOENT"):
        opened.request(4)
    assert [kind for kind, _, _, _ in kernel.sent] == [16, 28, 28, 28, 16, 28, 16]


def test_errors_have_their_types(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = GenericNetlink()
    kernel.respond = lambda _flags, sequence, _command: [result(sequence, errno.EPERM)]
    with pytest.raises(Denied, match="EPERM"):
        opened.dump(4)
    with pytest.raises(BackendUnavailable, match="CAP_NET_ADMIN"):
        KernelBackend()
    assert kernel.closed
    without = KernelWithoutFamily()
    monkeypatch.setattr(socket, "socket", lambda *_arguments: without)
    with pytest.raises(FamilyMissing):
        GenericNetlink()
    assert without.closed
    with pytest.raises(BackendUnavailable, match="modprobe ip_vs"):
        KernelBackend()

    def forbidden(*_arguments: int) -> Kernel:
        raise OSError(errno.EAFNOSUPPORT, "no")

    monkeypatch.setattr(socket, "socket", forbidden)
    with pytest.raises(NoNetlink, match="EAFNOSUPPORT"):
        GenericNetlink()
    with pytest.raises(BackendUnavailable, match="AF_NETLINK"):
        KernelBackend()


def test_an_errno_without_a_name_keeps_its_number() -> None:
    assert error_word(errno.ESRCH) == "ESRCH"
    assert error_word(4242) == "E4242"


def test_datagrams_that_are_no_messages_are_refused_with_our_own_error(kernel: Kernel) -> None:
    opened = GenericNetlink()
    for broken in (b"\x01", bytes(16), struct.pack("=IHHII", 400, 2, 0, 1, 0)):
        kernel.inbox.clear()
        kernel.say(broken)
        with pytest.raises(WireError):
            opened.request(4)


@given(st.lists(st.binary(max_size=80), max_size=3))
def test_any_datagrams_are_answers_or_our_own_errors(noise: list[bytes]) -> None:
    made = Kernel()
    opened = GenericNetlink.__new__(GenericNetlink)
    opened._socket = made  # type: ignore[assignment]  # stands in for a socket
    opened._family, opened._family_name, opened._sequence = 28, "IPVS", 0
    opened._buffer = bytearray(65536)
    for exchange in (lambda: opened.request(4), lambda: opened.batch(REQUESTS)):
        made.inbox.clear()
        made.say(*noise)
        try:
            exchange()
        except (WireError, AnswerLost, NetlinkError):
            continue
