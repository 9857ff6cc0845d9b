"""TLS for the connections of a probe: a dialer around a dialer, a stream around a stream. No socket, no clock, no file.

    context = context_of(verify=False, ca="")
    dial = TlsDialer(dial, context, server_name="www.example.org")     # a kit.api.Dialer like any other

The engine is OpenSSL between two memory buffers, so it works over anything that is a `Stream`, and for a glance without one. What goes
wrong in the handshake is a `HandshakeFailed` or `HandshakeTimedOut`. A context is made once for equal settings and shared by all probes.

Sessions are resumed only where the file asks for it (`tls_resume`): a health check has to see what a new client sees, and a resumed
session looks at neither key nor certificate. The end is abrupt, without a close_notify, as keepalived's (keepalived.md, section 3.5),
unless `farewell` is called; a server may end either way. Must never read a file once `preload` was called: a worker cannot. Certificates
and keys come as text, and because OpenSSL wants a file for a key, it gets one in memory; the system's own store is read once, so a worker
knows it as it was when it started. Must never put a key or a password into a sentence.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import ssl
from collections.abc import Callable
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from checkers.kit.api import (
    GULP_BYTES,
    Answer,
    ConnectionLost,
    Datagrams,
    DeadlinePassed,
    Dialer,
    ProbeError,
    Reason,
    Stream,
    Target,
)
from checkers.kit.certificate import expires_at
from checkers.kit.frozen import frozen
from checkers.kit.tap import TappedStream

SILENT_MAX_BYTES = 262_144
"""Most bytes of a server that lead to no plain text, a handshake included. Ours: OpenSSL takes chains of 100 KB at most."""

CONTEXTS_MAX = 64
"""Most contexts kept for probes to come. Ours: nobody has so many certificate authorities."""

_Result = TypeVar("_Result")


class HandshakeFailed(ProbeError):
    """The server speaks no TLS, or not one that both want, or its certificate is refused."""

    reason = Reason.L6RSP


class HandshakeTimedOut(ProbeError):
    """The deadline passed before the handshake was done."""

    reason = Reason.L6TOUT


@frozen
class ClientCertificate:
    """What we show to servers that want to know who asks: certificates and key as PEM; the password is for an encrypted key."""

    certificate: str
    key: str = field(repr=False)
    password: str = field(default="", repr=False)


@functools.lru_cache(CONTEXTS_MAX)
def context_of(*, verify: bool, ca: str, client: ClientCertificate | None = None) -> ssl.SSLContext:
    """Return the context for these settings.

    Without `verify` every certificate will do, and every version and cipher that the library allows, as with keepalived. With it
    the chain must lead to one of the certificates in `ca` (PEM; an intermediate one is enough), or when `ca` is empty to the
    system's store, and the certificate must be for the server's name or address. `client` is shown to servers that ask for a
    certificate. Raises ValueError with a sentence.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.options |= ssl.OP_NO_RENEGOTIATION
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.set_ciphers("DEFAULT")
    elif ca:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(cadata=ca)
        except (ssl.SSLError, ValueError) as error:
            raise ValueError(f"ca holds no certificate that can be read: {words_of(error)}") from error
    else:
        context.load_verify_locations(cadata=_system_store())
    if client is not None:
        show(context, client)
    return context


def show(context: ssl.SSLContext, client: ClientCertificate) -> None:
    """Have connections of `context` show the client certificate. Raises ValueError when certificate, key and password do not fit."""
    file = _file_in_memory()
    try:  # with some password always: without one, OpenSSL asks on the terminal
        os.pwrite(file, f"{client.certificate}\n{client.key}\n".encode(), 0)
        context.load_cert_chain(f"/proc/self/fd/{file}", password=client.password)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ValueError(f"client certificate: {_what_does_not_fit(error, client)}") from error
    finally:
        os.ftruncate(file, 0)


@functools.cache
def _file_in_memory() -> int:
    """Return the descriptor of the one file that ever holds a key, and only for a moment. A worker makes it before the walls go up."""
    return os.memfd_create("client certificate")


def preload() -> None:
    """Get from the system what cannot be had behind walls: its certificate authorities, a file in memory, OpenSSL's own settings."""
    _file_in_memory()
    _found_in_system()
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _what_does_not_fit(error: Exception, client: ClientCertificate) -> str:
    """Return what is wrong with a client certificate, in words that an operator can act on."""
    words = words_of(error)
    if "ENCRYPTED" in client.key and "mismatch" not in words:
        return f"the password does not open the key ({words})" if client.password else "the key needs a password"
    return "the key is not the certificate's" if "mismatch" in words else words


@functools.cache
def _system_store() -> str:
    """Return the certificate authorities of this system as PEM. Raises ValueError with a sentence when there are none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    readable = [certificate for certificate in _found_in_system() if _takes(context, certificate)]
    if not readable:
        raise ValueError("verify finds no certificate authorities on this system: name a file of them with ca")
    return "\n".join(readable)


@functools.cache
def _found_in_system() -> tuple[str, ...]:
    """Read the system's store: its one file, or the files of its folder, as OpenSSL would."""
    paths = ssl.get_default_verify_paths()
    files = [Path(paths.cafile)] if paths.cafile else []
    if paths.capath:
        files += sorted(file for file in Path(paths.capath).glob("????????.[0-9]*") if _HASHED.fullmatch(file.name))
    found: dict[str, None] = {}  # a set that keeps its order
    for file in files:
        with contextlib.suppress(OSError):
            found |= dict.fromkeys(_CERTIFICATE.findall(file.read_text("ascii", "replace")))
    return tuple(found)


_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")  # openssl-rehash(1)
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def _takes(context: ssl.SSLContext, certificate: str) -> bool:
    """Whether OpenSSL can read a certificate of the store; one that is damaged must not cost the others."""
    try:
        context.load_verify_locations(cadata=certificate)
    except (ssl.SSLError, ValueError):
        return False
    return True


def words_of(error: Exception) -> str:
    """Return what OpenSSL complains of, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message.rstrip('.')}"
    reason = getattr(error, "reason", None)
    return reason.lower().replace("_", " ") if isinstance(reason, str) else str(error)


class TlsDialer:
    """A dialer whose connections speak TLS (kit.api.Dialer).

    `server_name` is as `name_of` has it. `expires_at` is when the certificate of the last server ends, in Unix seconds; 0: unknown.
    `session` is one that is resumed, but never while somebody listens in (check-now): then he sees what a new client sees.
    """

    __slots__ = ("_context", "_dial", "_server_name", "_stream", "expires_at", "session")

    def __init__(
        self, dial: Dialer, context: ssl.SSLContext, server_name: str, session: ssl.SSLSession | None = None
    ) -> None:
        self._dial = dial
        self._context = context
        self._server_name = server_name
        self._stream: TlsStream | None = None
        self.session = session
        self.expires_at = 0.0

    def session_to_resume(self) -> ssl.SSLSession | None:
        """Return the session for the next time: the same one as long as the server goes on with it. None: there was no connection.

        Ask only when it is wanted: Python copies a session, and with it OpenSSL reads the certificate anew, which takes a fifth of a
        whole handshake. With TLS 1.3 there is one only after the first bytes of an answer.
        """
        stream = self._stream
        if stream is None:
            return None
        return self.session if stream.resumed else stream.session

    @property
    def fault(self) -> str:
        """See `kit.api.Dialer`."""
        return self._dial.fault

    async def connect(self, target: Target, first: bytes = b"") -> Stream:
        """Connect, shake hands and say `first`, within one limit.

        Raises what `kit.api.Dialer.connect` does and the two errors of here.
        """
        stream = await self._connect(target)
        if first:
            await stream.send(first)
        return stream

    async def _connect(self, target: Target) -> Stream:
        context = self._context
        name = name_of(context, self._server_name, target)
        below = await self._dial.connect(target)
        if isinstance(below, TlsStream):  # a glance began it
            stream = below
        else:
            stream = TlsStream(below, Engine(context, name, None if isinstance(below, TappedStream) else self.session))
        self._stream = stream
        if not isinstance(below, TappedStream):
            await stream.shake_hands()
            self.expires_at = stream.expires_at
            return stream
        asked = f"TLS handshake{f', server name {name}' if name else ''}"
        await below.veil(f"{asked}, certificate {'' if context.verify_mode else 'not '}verified", stream.shake_hands)
        self.expires_at = stream.expires_at
        return below.unveil(stream, stream.words)

    async def kept(self) -> Stream | None:
        """See `kit.api.Dialer.kept`. Of one that was told another name of a server nothing can be used."""
        stream = await self._dial.kept()
        if isinstance(stream, TlsStream) and stream.dialled == (self._context, self._server_name):
            self.expires_at = stream.expires_at
            return stream
        if stream is not None:
            stream.close()
        return None

    def keep(self, stream: Stream, probes: int) -> bool:
        """See `kit.api.Dialer.keep`."""
        if isinstance(stream, TlsStream):
            stream.dialled = self._context, self._server_name
        return self._dial.keep(stream, probes)

    async def connect_udp(self, target: Target) -> Datagrams:
        """See `kit.api.Dialer.connect_udp`: datagrams stay as they are."""
        return await self._dial.connect_udp(target)

    async def connect_echo(self, target: Target) -> Datagrams:
        """See `kit.api.Dialer.connect_echo`."""
        return await self._dial.connect_echo(target)

    async def run_script(self) -> Answer:
        """See `kit.api.Dialer.run_script`."""
        return await self._dial.run_script()

    async def read_file(self) -> Answer:
        """See `kit.api.Dialer.read_file`."""
        return await self._dial.read_file()

    def rest(self) -> None:
        """See `kit.api.Dialer.rest`."""
        self._dial.rest()

    def close(self) -> None:
        """See `kit.api.Dialer.close`."""
        self._dial.close()


def name_of(context: ssl.SSLContext, server_name: str, target: Target) -> str | None:
    """Return the name that goes to the server and, when the context verifies, must be in the certificate.

    Without a `server_name` nothing is sent, and the certificate must be for the address.
    """
    return server_name or (target.address if context.check_hostname else None)


class Engine:
    """Our end of one TLS connection, between two buffers: bytes that came go in, bytes that are to be sent come out.

    As a `kit.api.Layer` it shakes hands with a server whose certificate ends at `ends` (Unix seconds), and says `words`. What it said,
    heard and ran into meanwhile, it says, hears and runs into once more for the stream that goes on with it: OpenSSL has another answer
    when it is asked again.
    """

    __slots__ = (
        "_ends",
        "_failure",
        "_heard",
        "_incoming",
        "_outgoing",
        "_said",
        "_silent_bytes",
        "_stands",
        "_words",
        "tls",
    )

    def __init__(
        self,
        context: ssl.SSLContext,
        server_name: str | None,
        session: ssl.SSLSession | None = None,
        *,
        words: bytes = b"",
        ends: float = 0.0,
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name, session=session)
        self._words = words
        self._ends = ends
        self._stands = False
        self._silent_bytes = 0
        self._failure: ssl.SSLError | None = None
        self._said = b""
        self._heard = b""

    def hello(self) -> bytes:
        """See `kit.api.Layer.hello`."""
        self.take(b"")
        return self.to_say()

    def take(self, data: bytes) -> bytes | None:
        """See `kit.api.Layer.take`."""
        if not self.fill(data):
            return None
        try:
            if not self._stands:
                self.shake_hands()
                if self.expires_at != self._ends:
                    return None
                self.tls.write(self._words)
                self._said = self._words
            self._heard = self.tls.read(GULP_BYTES)
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLError as error:
            self._failure = error
        return self._heard or None

    def to_say(self) -> bytes:
        """See `kit.api.Layer.to_say`."""
        return self._outgoing.read()

    def over(self, stream: Stream) -> TlsStream:
        """See `kit.api.Layer.over`."""
        return TlsStream(stream, self)

    def fill(self, data: bytes) -> bool:
        """Take in what came, b"" for nothing; whether so many bytes may come without an answer in them."""
        self._incoming.write(data)
        self._silent_bytes += len(data)
        return self._silent_bytes <= SILENT_MAX_BYTES

    def end(self) -> None:
        """Nothing more will come."""
        self._incoming.write_eof()

    def answered(self) -> None:
        """What was taken in had an answer in it."""
        self._silent_bytes = 0

    def shake_hands(self) -> None:
        """Go on with the handshake. Raises ssl.SSLWantReadError when more has to come, ssl.SSLError."""
        if not self._stands:
            self._fail_again()
            self.tls.do_handshake()
            self._stands = True

    def write(self, data: bytes | memoryview) -> int:
        """Say something; return how much of it. Raises as `shake_hands` does."""
        said, self._said = self._said, b""
        return len(data) if said and said == data else self.tls.write(data)

    def read(self, max_bytes: int) -> bytes:
        """Return what was heard; b"" for the end. Raises as `shake_hands` does."""
        self._fail_again()
        heard, self._heard = self._heard, b""
        return heard or self.tls.read(max_bytes)

    @property
    def expires_at(self) -> float:
        """When the server's certificate ends, in Unix seconds; 0.0: unknown. Whether anything was verified does not matter."""
        return expires_at(self.tls.getpeercert(binary_form=True) or b"")

    def _fail_again(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


class TlsStream:
    """TLS on top of another stream (kit.api.Stream)."""

    __slots__ = ("_answered", "_engine", "_stream", "dialled")

    def __init__(self, stream: Stream, engine: Engine) -> None:
        self._stream = stream
        self._engine = engine
        self._answered = False
        self.dialled: tuple[ssl.SSLContext, str] | None = None  # what it was kept for

    async def shake_hands(self) -> None:
        """Do the handshake. Raises HandshakeFailed, HandshakeTimedOut, or DeadlinePassed when we were late ourselves."""
        try:
            await self._turn(self._engine.shake_hands)
        except ssl.SSLError as error:
            raise self._failure(error) from error
        except DeadlinePassed as error:
            if error.reason is Reason.LATE:
                raise
            raise HandshakeTimedOut(f"TLS handshake: {error}") from error
        except ConnectionLost as error:
            raise HandshakeFailed(f"TLS handshake: {error}") from error

    async def send(self, data: bytes) -> None:
        """See `kit.api.Stream.send`."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[await self._turn(functools.partial(self._engine.write, rest)) :]
        except ssl.SSLError as error:
            raise self._failure(error) from error

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """See `kit.api.Stream.receive`. Also raises HandshakeFailed: TLS 1.3 tells late that it refuses us."""
        try:
            data = await self._turn(functools.partial(self._engine.read, max_bytes))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""  # with or without a farewell: what the end is worth, the protocol above knows
        except ssl.SSLError as error:
            raise self._failure(error) from error
        self._engine.answered()
        self._answered = True
        return data

    @property
    def expires_at(self) -> float:
        """See `Engine.expires_at`."""
        return self._engine.expires_at

    @property
    def resumed(self) -> bool:
        """Whether the server went on with the session that it was offered."""
        return bool(self._engine.tls.session_reused)

    @property
    def session(self) -> ssl.SSLSession | None:
        """What another connection may resume: a copy, which is dear."""
        return self._engine.tls.session

    @property
    def words(self) -> str:
        """What was agreed on, for people."""
        cipher = self._engine.tls.cipher()
        ends = self.expires_at
        until = f", certificate until {datetime.fromtimestamp(ends, UTC):%Y-%m-%d %H:%M} UTC" if ends else ""
        return f"{self._engine.tls.version()} {cipher[0] if cipher else ''}{until}"

    async def say_goodbye(self) -> None:
        """Send a close_notify. The server's is not waited for: nothing that it could say changes the verdict."""
        with contextlib.suppress(ssl.SSLError, ProbeError):
            with contextlib.suppress(ssl.SSLWantReadError):
                self._engine.tls.unwrap()
            await self._flush()

    def close(self) -> None:
        """See `kit.api.Stream.close`."""
        self._stream.close()

    def pause(self) -> None:
        """See `kit.api.Stream.pause`."""
        self._stream.pause()

    def resume(self) -> bool:
        """See `kit.api.Stream.resume`."""
        self._engine.answered()
        return self._stream.resume()

    async def _turn(self, operation: Callable[[], _Result]) -> _Result:
        """Do an operation of the engine, carrying bytes to and fro until it is done."""
        while True:
            try:
                result = operation()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
                continue
            await self._flush()
            return result

    async def _flush(self) -> None:
        data = self._engine.to_say()
        if data:
            await self._stream.send(data)

    async def _fill(self) -> None:
        data = await self._stream.receive()
        if not data:
            self._engine.end()
        elif not self._engine.fill(data):
            raise self._blame(f"more than {SILENT_MAX_BYTES} bytes without an answer in them")

    def _failure(self, error: ssl.SSLError) -> ProbeError:
        ended = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)  # which of them hangs on Python and OpenSSL
        return self._blame("connection closed" if ended else words_of(error))

    def _blame(self, complaint: str) -> ProbeError:
        """Until the first byte of an answer it is the handshake that failed, whatever TLS calls it."""
        if self._answered:
            return ConnectionLost(f"TLS: {complaint}")
        return HandshakeFailed(f"TLS handshake: {complaint}")


async def farewell(stream: Stream) -> None:
    """End a TLS connection by the book (RFC 8446, section 6.1). Never fails: the verdict stands by now."""
    within = stream.inner if isinstance(stream, TappedStream) else stream
    if isinstance(within, TlsStream):
        await within.say_goodbye()
