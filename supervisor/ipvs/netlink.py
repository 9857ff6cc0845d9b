"""One generic-netlink socket: synchronous, non-blocking, one exchange at a time.

The kernel carries a request out inside `send` and makes a dump inside `recv`, so the answer is there at once: "would block"
means that an answer was lost, never that one should wait. That is why nothing here is asynchronous, and why an exchange
cannot be cancelled half-way (a dump left half read makes the next one EBUSY).

A batch asks for an acknowledgement of its last message only; an earlier message answers only if it failed. After ENOBUFS the
kernel drops every later answer silently until the queue has been read empty, so it is drained and `AnswerLost` raised: the
outcome is unknown, read the table again. The family's number changes when its module is reloaded and a stale number
answers ENOENT, so that an unexpected ENOENT leads to one new look-up.

Sources: Documentation/userspace-api/netlink/intro.rst; include/uapi/linux/{netlink,genetlink}.h; ipvs.md, sections 0, 2 and 9.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator, Sequence

from supervisor.ipvs.backend import AnswerLost
from supervisor.ipvs.wire import WireError, attribute, attributes

RECEIVE_BYTES = 65536
"""Room for one datagram; the kernel makes dump parts of at most 32 KiB (ipvs.md, section 3)."""
RECEIVE_BUFFER_BYTES = 1 << 20
"""Room for answers in the kernel. The default of 212992 holds 277 acknowledgements; a batch of 64 needs far less than either."""
BATCH_MAX = 64
"""Messages per send: the longest stall of the loop was then 2.4 ms in User-Mode Linux (ipvs.md, section 3)."""

_NETLINK_GENERIC, _SOL_NETLINK = 16, 270
_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _SO_RCVBUFFORCE = 10, 11, 33
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300  # NLM_F_*
_DUMP_INTERRUPTED, _ERROR, _DONE = 0x10, 2, 3  # NLM_F_DUMP_INTR, NLMSG_ERROR, NLMSG_DONE
_CONTROL_FAMILY, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 16, 3, 1, 2  # GENL_ID_CTRL, CTRL_CMD_*, CTRL_ATTR_*
_HEADER, _GENERIC, _HEADERS = struct.Struct("=IHHII"), struct.Struct("=BBH"), struct.Struct("=IHHIIBBH")
_S32, _U16 = struct.Struct("=i"), struct.Struct("=H")
_SEQUENCE_MASK = 0xFFFFFFFF


class NetlinkError(Exception):
    """The kernel refused a request; `number` is the errno, `word` its name."""

    def __init__(self, number: int, what: str) -> None:
        self.number = number
        self.word = error_word(number)
        super().__init__(f"{what}: {self.word}")


class FamilyMissing(NetlinkError):
    """The kernel does not know the generic-netlink family: its module is not loaded."""


class Denied(NetlinkError):
    """EPERM: the capability is missing."""


class NoNetlink(NetlinkError):
    """There is no AF_NETLINK on this system, or a sandbox forbids it."""


def error_word(number: int) -> str:
    """Return the name of an errno, such as "ESRCH"; a number that has none as "E" and its digits."""
    return errno.errorcode.get(number, f"E{number}")


class GenericNetlink:
    """A socket bound to one generic-netlink family of the network namespace in which it was opened.

    Raises FamilyMissing, Denied, NoNetlink, AnswerLost on construction.
    """

    def __init__(self, family: str = "IPVS") -> None:
        self._family_name = family
        self._family = _CONTROL_FAMILY
        self._sequence = 0
        self._buffer = bytearray(RECEIVE_BYTES)
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _NETLINK_GENERIC
            )
        except OSError as error:
            raise NoNetlink(error.errno or 0, "socket(AF_NETLINK)") from error
        try:
            self._configure()
            self._family = self._look_up()
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _configure(self) -> None:
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
            with contextlib.suppress(OSError):  # older kernels: answers are longer, that is all
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self._socket.bind((0, 0))

    def _look_up(self) -> int:
        """Ask for the number of the family; this makes the kernel load its module where it can."""
        try:
            answers = self._exchange(
                _CONTROL_FAMILY, _GET_FAMILY, attribute(_FAMILY_NAME, self._family_name.encode() + b"\0"), _ACK
            )
        except NetlinkError as error:
            if error.number == errno.ENOENT:
                raise FamilyMissing(error.number, f"generic-netlink family {self._family_name}") from error
            raise
        for answer in answers:
            for kind, start, end in attributes(answer):
                if kind == _FAMILY_ID and end - start == _U16.size:
                    number: int = _U16.unpack_from(answer, start)[0]
                    return number
        raise WireError(f"no number for the generic-netlink family {self._family_name} in the answer")

    def _family_moved(self) -> bool:
        """Look the family up again; tell whether its number changed."""
        before, self._family = self._family, self._look_up()
        return self._family != before

    def request(self, command: int, payload: bytes = b"") -> list[bytes]:
        """Send one request and return the payloads of its answers.

        Raises NetlinkError (Denied, FamilyMissing), AnswerLost, WireError.
        """
        return self._with_family(command, payload, _ACK)

    def dump(self, command: int, payload: bytes = b"") -> list[bytes]:
        """Send one dump request and return the payloads of all answers. Raises as `request`."""
        return self._with_family(command, payload, _DUMP)

    def _with_family(self, command: int, payload: bytes, flags: int) -> list[bytes]:
        try:
            return self._exchange(self._family, command, payload, flags)
        except NetlinkError as error:
            if error.number != errno.ENOENT or not self._family_moved():
                raise
            return self._exchange(self._family, command, payload, flags)

    def _exchange(self, family: int, command: int, payload: bytes, flags: int) -> list[bytes]:
        sequence = self._next_sequence()
        self._send(_frame(family, command, payload, _REQUEST | flags, sequence))
        answers: list[bytes] = []
        while True:
            data = self._receive()
            for kind, message_flags, number, start, end in _messages(data):
                if number != sequence:
                    continue  # left over from an exchange whose answer was given up
                if message_flags & _DUMP_INTERRUPTED:
                    self.drain()
                    raise AnswerLost("the table changed during a dump")
                if kind in {_ERROR, _DONE}:
                    self._raise_for(_result(data, start, end, kind), command)
                    return answers
                answers.append(data[start + _GENERIC.size : end])

    def _raise_for(self, number: int, command: int) -> None:
        if not number:
            return
        what = f"command {command} of {self._family_name}"
        if number == errno.EBUSY:  # an earlier dump was left half read
            self.drain()
            raise AnswerLost(f"{what}: EBUSY")
        raise (Denied if number == errno.EPERM else NetlinkError)(number, what)

    def batch(self, requests: Sequence[tuple[int, bytes]]) -> list[int]:
        """Send at most `BATCH_MAX` (command, payload) in one datagram; the kernel carries them out in order, whatever fails.

        Returns one errno for each, 0 for done. Raises FamilyMissing, Denied (only when the family cannot be looked up again),
        AnswerLost, WireError.
        """
        if not requests:
            return []
        if len(requests) > BATCH_MAX:
            raise ValueError(f"batch of {len(requests)} requests, at most {BATCH_MAX}")
        results = self._batch(requests)
        if all(result == errno.ENOENT for result in results) and self._family_moved():
            results = self._batch(requests)
        return results

    def _batch(self, requests: Sequence[tuple[int, bytes]]) -> list[int]:
        last = len(requests) - 1
        sequence = first_sequence = self._next_sequence()
        parts: list[bytes] = []
        for command, payload in requests[:-1]:
            parts += _header(self._family, command, payload, _REQUEST, sequence), payload
            sequence = (sequence + 1) & _SEQUENCE_MASK
        self._sequence = sequence
        parts.append(_frame(self._family, *requests[-1], _REQUEST | _ACK, sequence))
        self._send(b"".join(parts))
        results = [0] * len(requests)
        while True:
            data = self._receive()
            for kind, _, number, start, end in _messages(data):
                index = (number - first_sequence) & _SEQUENCE_MASK
                if kind != _ERROR or index > last:
                    continue
                results[index] = _result(data, start, end, kind)
                if index == last:
                    return results

    def drain(self) -> int:
        """Read the queue empty and return how many datagrams were thrown away."""
        count = 0
        while True:
            try:
                self._socket.recv_into(self._buffer)
                count += 1
            except BlockingIOError:
                return count
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise AnswerLost(f"recv: {error_word(error.errno or 0)}") from error

    def _next_sequence(self) -> int:
        self._sequence = (self._sequence + 1) & _SEQUENCE_MASK
        return self._sequence

    def _send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as error:  # no memory, or a full queue: nothing was carried out, or we cannot tell
            raise AnswerLost(f"send: {error_word(error.errno or 0)}") from error

    def _receive(self) -> bytes:
        """Return one datagram of the kernel; those of other senders are ignored."""
        while True:
            try:
                size, _, flags, (sender, _) = self._socket.recvmsg_into([self._buffer])
            except BlockingIOError:
                raise AnswerLost("no answer") from None
            except OSError as error:
                self.drain()
                raise AnswerLost(f"recv: {error_word(error.errno or 0)}") from error
            if sender != 0:
                continue
            if flags & socket.MSG_TRUNC:
                self.drain()
                raise AnswerLost(f"an answer longer than {RECEIVE_BYTES} bytes was cut off")
            return bytes(memoryview(self._buffer)[:size])


def _header(family: int, command: int, payload: bytes, flags: int, sequence: int) -> bytes:
    """Return what precedes a payload; payloads are whole attributes, so nothing is owed to alignment."""
    return _HEADERS.pack(_HEADERS.size + len(payload), family, flags, sequence, 0, command, 1, 0)


def _frame(family: int, command: int, payload: bytes, flags: int, sequence: int) -> bytes:
    """Return one netlink message."""
    return _header(family, command, payload, flags, sequence) + payload


def _messages(data: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Walk the messages of a datagram: (type, flags, sequence, start and end of what follows the netlink header)."""
    start = 0
    while start < len(data):
        if len(data) - start < _HEADER.size:
            raise WireError(f"netlink message at byte {start}: expected a header of 16 bytes, got {len(data) - start}")
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, start)
        if length < _HEADER.size or start + length > len(data):
            raise WireError(f"netlink message at byte {start}: length {length} does not fit into {len(data) - start}")
        yield kind, flags, sequence, start + _HEADER.size, start + length
        start += (length + 3) & ~3


def _result(data: bytes, start: int, end: int, kind: int) -> int:
    """Return the errno of NLMSG_ERROR or NLMSG_DONE, 0 for success."""
    if end - start < _S32.size:
        if kind == _DONE:
            return 0
        raise WireError(f"error message of {end - start} bytes, expected at least 4")
    number: int = _S32.unpack_from(data, start)[0]
    return -number
