"""What a scripted server does: data, so that the contract suite plays the same on real sockets.

    server.behaviour = refuse()                        # or status(503), hang(), drip(), …

A behaviour says what happens at connect, then come steps: send, pause, end, reset. Nothing here does any of it: see tests.fakes.network for
servers in memory, and tests.fakes.played for real ones.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace
from typing import TypeAlias


class Connect(enum.Enum):
    """What happens to a connection attempt."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    UNREACHABLE = "unreachable"
    BLACKHOLE = "blackhole"
    NO_DESCRIPTOR = "no descriptor"  # our own trouble


@dataclass(frozen=True, slots=True)
class Send:
    """The server sends these bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """The server does nothing for so many seconds (math.inf: for ever)."""

    duration_s: float


@dataclass(frozen=True, slots=True)
class End:
    """The server ends its side in an orderly way."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The server resets the connection."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """The server sends the first bytes of what it was asked, then these: an answer that has to bear the question's number."""

    size_bytes: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Echo:
    """The server sends the ICMP message back that came, as a reply."""


Step: TypeAlias = Send | Pause | End | Reset | Mirror | Echo


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a server does: at connect, then `greeting` at once, then `answer` when a request came, then each of `more`.

    `terminator` ends a request. With `lasting` each request of a connection gets `answer`. `tls` names the certificate of a server that
    says all this over TLS (tests.fakes.tls). With `udp` it answers each datagram with `answer`, every Send and Mirror of which is one.
    """

    name: str
    connect: Connect = Connect.ACCEPT
    greeting: tuple[Step, ...] = ()
    answer: tuple[Step, ...] = (Pause(math.inf),)
    more: tuple[tuple[Step, ...], ...] = ()
    terminator: bytes = b"\r\n\r\n"
    lasting: bool = False
    tls: str = ""
    udp: bool = False

    def over_tls(self, certificate: str = "good") -> Behaviour:
        """Return the same over TLS."""
        return replace(self, name=f"{self.name} over TLS ({certificate})", tls=certificate)


def answer_of(code: int, body: bytes, *headers: str) -> bytes:
    """Return an HTTP/1.1 answer with a Content-Length."""
    lines = [f"HTTP/1.1 {code} Because", "Server: fake", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def status(code: int, body: bytes = b"hello\n") -> Behaviour:
    """Answer every request with `code` and end."""
    return Behaviour(f"status {code}", answer=(Send(answer_of(code, body)), End()))


def healthy(body: bytes = b"hello\n") -> Behaviour:
    """Answer every request with 200 and end."""
    return status(200, body)


def keep_alive(body: bytes = b"hello\n") -> Behaviour:
    """Answer with 200 and leave the connection open."""
    return Behaviour("keep alive", answer=(Send(answer_of(200, body)), Pause(math.inf)))


def lasting(body: bytes = b"hello\n", *headers: str) -> Behaviour:
    """Answer each request of a connection with 200."""
    return Behaviour("lasting", answer=(Send(answer_of(200, body, *headers)),), lasting=True)


def refuse() -> Behaviour:
    """Refuse connections: the process died, its host lives."""
    return Behaviour("refuse", Connect.REFUSE)


def unreachable() -> Behaviour:
    """No route to the host."""
    return Behaviour("unreachable", Connect.UNREACHABLE)


def blackhole() -> Behaviour:
    """Never answer to a connection attempt: the host is gone."""
    return Behaviour("blackhole", Connect.BLACKHOLE)


def no_descriptor() -> Behaviour:
    """Fail on our own side before anything is sent."""
    return Behaviour("no descriptor", Connect.NO_DESCRIPTOR)


def hang() -> Behaviour:
    """Accept and never say a word."""
    return Behaviour("hang")


def slow(delay_s: float) -> Behaviour:
    """Answer with 200 after `delay_s` seconds."""
    return Behaviour(f"slow {delay_s:g} s", answer=(Pause(delay_s), Send(answer_of(200, b"hello\n")), End()))


def drip(gap_s: float = 0.05) -> Behaviour:
    """Send a good answer one byte at a time."""
    steps: list[Step] = []
    for octet in answer_of(200, b"hello\n"):
        steps += [Send(bytes([octet])), Pause(gap_s)]
    return Behaviour("drip", answer=(*steps, End()))


def garbage() -> Behaviour:
    """Answer with bytes that are no HTTP."""
    return Behaviour("garbage", answer=(Send(b"\x00\xff\x1b[31m" * 40), End()))


def banner() -> Behaviour:
    """Speak first, another protocol."""
    return Behaviour("banner", greeting=(Send(b"SSH-2.0-OpenSSH_9.2\r\n"),))


def close_early() -> Behaviour:
    """End the connection without an answer."""
    return Behaviour("close early", answer=(End(),))


def cut_head() -> Behaviour:
    """End the connection in the middle of the head."""
    return Behaviour("cut head", answer=(Send(answer_of(200, b"hello\n")[:25]), End()))


def cut_body() -> Behaviour:
    """End the connection in the middle of the body."""
    return Behaviour("cut body", answer=(Send(answer_of(200, b"hello\n")[:-2]), End()))


def reset() -> Behaviour:
    """Reset the connection when the request came."""
    return Behaviour("reset", answer=(Reset(),))


def interim() -> Behaviour:
    """Say 100 Continue first, then 200."""
    data = b"HTTP/1.1 100 Continue\r\n\r\n" + answer_of(200, b"hello\n")
    return Behaviour("interim", answer=(Send(data), End()))


def chunked() -> Behaviour:
    """Answer in chunks and leave the connection open."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    steps = (
        Send(head),
        Pause(0.01),
        Send(b"3\r\nhel\r\n"),
        Pause(0.01),
        Send(b"3\r\nlo\n\r\n0\r\n\r\n"),
        Pause(math.inf),
    )
    return Behaviour("chunked", answer=steps)


def bare_line_feeds() -> Behaviour:
    """Answer with lines that end in LF alone."""
    return Behaviour("bare line feeds", answer=(Send(b"HTTP/1.1 200 OK\nServer: fake\n\nhello\n"), End()))


def head_of(size_bytes: int) -> Behaviour:
    """Answer with a head of so many bytes."""
    start, end = b"HTTP/1.1 200 OK\r\nX-Long: ", b"\r\n\r\n"
    head = start + b"x" * (size_bytes - len(start) - len(end)) + end
    return Behaviour(f"head of {size_bytes} bytes", answer=(Send(head), End()))


def endless_body() -> Behaviour:
    """Answer with 200 and a body that never ends."""
    block = Send(b"x" * 65_536)
    return Behaviour("endless body", answer=(Send(b"HTTP/1.0 200 OK\r\n\r\n"), *[block] * 64, Pause(math.inf)))


def endless_interim() -> Behaviour:
    """Answer with 100 Continue again and again."""
    return Behaviour("endless interim", answer=(Send(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), Pause(math.inf)))


def close_at_once() -> Behaviour:
    """Accept and end the connection before anything is asked."""
    return Behaviour("close at once", greeting=(End(),))


def reset_at_once() -> Behaviour:
    """Accept and reset the connection before anything is asked."""
    return Behaviour("reset at once", greeting=(Pause(0.02), Reset()))


def endless_noise() -> Behaviour:
    """Send bytes that mean nothing without being asked, and never stop."""
    return Behaviour("endless noise", greeting=(*[Send(b"\x00" * 65_536)] * 64, Pause(math.inf)))


def endless_handshake() -> Behaviour:
    """Greet with records of a TLS handshake whose message never ends."""
    message = b"\x02\xff\xff\xff" + b"\x00" * 16_380
    record = b"\x16\x03\x03\x40\x00" + message
    return Behaviour("endless handshake", greeting=(*[Send(record)] * 64, Pause(math.inf)))
