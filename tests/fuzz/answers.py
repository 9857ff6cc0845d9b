"""Fuzz targets of what the network answers: bytes in; an exception comes out for a bug of ours and for nothing else.

The first bytes of an input choose the options of the check, the size of the pieces in which the rest arrives, and how it ends; the rest
is what the server says. A server never makes anybody wait here, so a probe is a coroutine that runs to its end at once.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from checkers.kit.api import (
    DETAIL_MAX_BYTES,
    TYPES,
    Answer,
    ConnectFailed,
    ConnectionLost,
    Datagrams,
    DeadlinePassed,
    Dialer,
    ProbeError,
    Reason,
    Stream,
    Target,
    Verdict,
    load,
)
from checkers.kit.api import Ending as FavourEnding
from checkers.kit.excerpt import clip, excerpt
from checkers.kit.options import Json
from tests.fakes.tls import AUTHORITY, TlsServerStream

Options: TypeAlias = dict[str, Json]

RECEIVED_MAX_BYTES = 12 * 1024 * 1024
"""Most bytes that any probe may take of a server that never stops; the greediest limit of a checker is 8 MiB for a body."""

ENDLESS_BYTES = 65_536
"""Size of the pieces of a server that never stops."""

_CHECKERS = {keyword: load(keyword) for keyword in TYPES}
"""All of them now, not when they are first wanted: what is imported later is not seen by the fuzzer."""

_TARGET = Target("192.0.2.1", 80)


class Ending(enum.Enum):
    """What comes after the last byte."""

    END = 0
    RESET = 1
    SILENCE = 2
    AGAIN = 3  # all of it once more, for ever

    @classmethod
    def of(cls, number: int) -> Ending:
        """The ending of any byte."""
        return cls(number % len(cls))


class Server:
    """One end of a connection that says what it has to say, whatever it is asked (kit.api.Stream)."""

    def __init__(self, said: bytes, size: int, ending: Ending) -> None:
        if ending is Ending.AGAIN:
            said, size = said * (ENDLESS_BYTES // max(1, len(said)) + 1), ENDLESS_BYTES
        self._said = said
        self._size = size
        self._ending = ending
        self._position = 0
        self.received_bytes = 0
        self.open = True

    async def send(self, data: bytes) -> None:
        """See `kit.api.Stream.send`."""
        assert self.open
        assert data

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """See `kit.api.Stream.receive`."""
        assert self.open
        if self._position >= len(self._said):
            match self._ending:
                case Ending.END:
                    return b""
                case Ending.RESET:
                    raise ConnectionLost("connection reset")
                case Ending.SILENCE:
                    raise DeadlinePassed("no complete answer within 1 s", connected=True)
                case Ending.AGAIN:
                    if not self._said:
                        return b""
                    self._position = 0
        data = self._said[self._position : self._position + min(self._size, max_bytes)]
        self._position += len(data)
        self.received_bytes += len(data)
        assert self.received_bytes <= RECEIVED_MAX_BYTES
        return data

    def close(self) -> None:
        """See `kit.api.Stream.close`."""
        self.open = False

    def pause(self) -> None:
        """See `kit.api.Stream.pause`."""

    def resume(self) -> bool:
        """See `kit.api.Stream.resume`."""
        return False

    # What the server's end of TLS wants

    async def wait(self, duration_s: float) -> None:
        """Say nothing. Raises DeadlinePassed."""
        raise DeadlinePassed(f"nothing for {duration_s:g} s", connected=True)

    async def travel(self) -> None:
        """See `tests.fakes.tls.Scripted`: nothing is lost here."""

    def note_server_name(self, name: str) -> None:
        """Do nothing with the name."""

    def note_farewell(self) -> None:
        """Do nothing with the farewell."""


class Peer:
    """Somebody who answers with datagrams, whatever he is asked (kit.api.Datagrams).

    Each begins with its length in one byte. A first byte "=" of a datagram stands for the first two bytes of the question.
    """

    def __init__(self, said: bytes, ending: Ending) -> None:
        self._datagrams: list[bytes] = []
        while said:
            self._datagrams.append(said[1 : 1 + said[0]])
            said = said[1 + said[0] :]
        self._ending = ending
        self._asked = b""
        self._position = 0
        self.received = 0
        self.open = True

    async def send(self, data: bytes) -> None:
        """See `kit.api.Datagrams.send`."""
        assert self.open
        self._asked = data

    async def receive(self) -> bytes:
        """See `kit.api.Datagrams.receive`."""
        assert self.open
        if self._position >= len(self._datagrams):
            if self._ending is Ending.RESET:
                raise ConnectFailed("connection refused")
            if self._ending is not Ending.AGAIN or not self._datagrams:
                raise DeadlinePassed("no complete answer within 1 s", connected=True)
            self._position = 0
        data = self._datagrams[self._position]
        self._position += 1
        self.received += 1
        assert self.received <= 1000
        return self._asked[:2] + data[1:] if data[:1] == b"=" else data

    def close(self) -> None:
        """See `kit.api.Datagrams.close`."""
        self.open = False


class Network:
    """The dialer of one probe (kit.api.Dialer): each connection reaches a new server of the same kind."""

    def __init__(self, said: bytes, size: int, ending: Ending, certificate: str = "") -> None:
        self._said = said
        self._size = size
        self._ending = ending
        self._certificate = certificate
        self.fault = ""
        self.met: list[Server | Peer] = []

    async def connect(self, target: Target, first: bytes = b"") -> Stream:
        """See `kit.api.Dialer.connect`."""
        assert target.port
        server = Server(self._said, self._size, self._ending)
        self.met.append(server)
        stream: Stream = TlsServerStream(server, self._certificate) if self._certificate else server
        if first:
            await stream.send(first)
        return stream

    async def kept(self) -> Stream | None:
        """See `kit.api.Dialer.kept`."""
        return None

    def keep(self, stream: Stream, probes: int) -> bool:  # noqa: ARG002  the shape of a dialer
        """See `kit.api.Dialer.keep`."""
        return False

    async def connect_udp(self, target: Target) -> Datagrams:
        """See `kit.api.Dialer.connect_udp`."""
        assert target.port
        peer = Peer(self._said, self._ending)
        self.met.append(peer)
        return peer

    async def connect_echo(self, target: Target) -> Datagrams:
        """See `kit.api.Dialer.connect_echo`."""
        return await self.connect_udp(target)

    async def run_script(self) -> Answer:
        """See `kit.api.Dialer.run_script`: the script prints what is said, and its status is the first byte of that."""
        status = self._said[0] if self._said else 0
        return Answer(FavourEnding(self._size % len(FavourEnding)), status, excerpt(self._said[1:]))

    async def read_file(self) -> Answer:
        """See `kit.api.Dialer.read_file`: the line is what is said."""
        return Answer(FavourEnding.DONE, text=excerpt(self._said))

    def rest(self) -> None:
        """See `kit.api.Dialer.rest`."""

    def close(self) -> None:
        """See `kit.api.Dialer.close`."""
        for met in self.met:
            met.close()


@functools.cache
def _prepared(keyword: str, number: int) -> tuple[Callable[[Target, Any, Dialer], Coroutine[Any, Any, Verdict]], Any]:
    """The check of a type, and what it made of one of its `OPTIONS`."""
    checker = _CHECKERS[keyword]
    options = OPTIONS[keyword]
    return checker.check, checker.prepare(options[number % len(options)])


def _probe(keyword: str, number: int, network: Network) -> None:
    """Probe once, as the kit does. A verdict that says nothing, or that no wire would carry, is a bug."""
    check, prepared = _prepared(keyword, number % len(OPTIONS[keyword]))
    probe = check(_TARGET, prepared, network)
    try:
        probe.send(None)
    except StopIteration as end:
        verdict: Verdict = end.value
    except ProbeError as error:
        verdict = Verdict(error.reason, str(error))
    else:
        probe.close()
        raise AssertionError("the probe waits for something else than its server")
    network.close()
    assert verdict.reason not in {Reason.NONE, Reason.LATE, Reason.LOCAL, Reason.CRASHED}
    assert verdict.detail
    for text in (verdict.detail, verdict.sent, verdict.received):
        assert len(clip(text).encode()) <= DETAIL_MAX_BYTES
        assert clip(text).isprintable()
    for text in (verdict.sent, verdict.received):
        assert clip(text) == text


_HELLO_DIGEST = "b1946ac92492d2347c6235b4d2611184"  # of "hello\n"
OPTIONS: dict[str, tuple[Options, ...]] = {
    "HTTP_GET": (
        {"url": [{"path": "/"}]},
        {"url": [{"path": "/", "digest": _HELLO_DIGEST}]},
        {"url": [{"path": "/", "regex": "h(el+)o", "status_code": [[100, 599]]}]},
        {"url": [{"path": "/", "status_code": [[100, 599]]}, {"path": "/b", "regex": "^x", "regex_no_match": True}]},
        {"url": [{"path": "/", "regex": "b", "regex_min_offset": 3, "regex_max_offset": 9}], "http_protocol": "1.1"},
    ),
    "SSL_GET": (
        {"url": [{"path": "/"}]},
        {"url": [{"path": "/", "regex": "h(el+)o", "status_code": [[100, 599]]}]},
        {"url": [{"path": "/"}], "ca": AUTHORITY},
        {"url": [{"path": "/"}], "enable_sni": True, "sni_name": "www.example.org"},
    ),
    "SMTP_CHECK": ({}, {"helo_name": "checker.example.org"}),
    "DNS_CHECK": ({}, {"type": "A", "name": "www.example.org."}),
    "UDP_CHECK": (
        {},
        {"require_reply": ""},
        {"require_reply": "x1x28180", "min_reply_length": 3},
        {"require_reply": "ffxx", "max_reply_length": 9},
    ),
    "PING_CHECK": ({},),
    "MISC_CHECK": ({"argv": ["/check"]}, {"argv": ["/check", "a b"], "misc_dynamic": True}),
    "FILE_CHECK": ({"path": "/load", "factor": 1}, {"path": "/load", "factor": 0}, {"path": "/load", "factor": -254}),
}
"""The options that an input may choose from, by type of check."""


def _stream_target(keyword: str, data: bytes, certificate: str = "") -> None:
    number, size, ending, said = data[0], data[1], Ending.of(data[2]), data[3:]
    _probe(keyword, number, Network(said, size or ENDLESS_BYTES, ending, certificate))


def http(data: bytes) -> None:
    """What a web server says."""
    if len(data) >= 3:
        _stream_target("HTTP_GET", data)


def tls(data: bytes) -> None:
    """What a server says to a TLS client; with an odd fourth byte it is said over TLS."""
    if len(data) >= 4:
        _stream_target("SSL_GET", data[:3] + data[4:], "good" if data[3] & 1 else "")


def smtp(data: bytes) -> None:
    """What a mail server says."""
    if len(data) >= 3:
        _stream_target("SMTP_CHECK", data)


def dns(data: bytes) -> None:
    """What a name server says."""
    if len(data) >= 2:
        _probe("DNS_CHECK", data[0], Network(data[2:], 0, Ending.of(data[1])))


def udp(data: bytes) -> None:
    """What anybody says over UDP."""
    if len(data) >= 2:
        _probe("UDP_CHECK", data[0], Network(data[2:], 0, Ending.of(data[1])))


def ping(data: bytes) -> None:
    """What anybody says over ICMP."""
    if data:
        _probe("PING_CHECK", 0, Network(data[1:], 0, Ending.of(data[0])))


def script(data: bytes) -> None:
    """How a script ends and what it prints."""
    if len(data) >= 2:
        _probe("MISC_CHECK", data[0], Network(data[2:], data[1], Ending.END))


def file(data: bytes) -> None:
    """What stands in a file."""
    if data:
        _probe("FILE_CHECK", data[0], Network(data[1:], 0, Ending.END))
