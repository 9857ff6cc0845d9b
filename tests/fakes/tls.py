"""A server's end of TLS for the fake network, and the certificates of all tests.

    context_of("good")           for www.example.org, 127.0.0.1 and 192.168.100.20, by AUTHORITY, until 2125
    context_of("expired")        the same, but only until 2021
    context_of("asks")           the good one, and wants a certificate of the client: CLIENT, or one by AUTHORITY
    context_of("old")            the good one, and speaks TLS 1.2 at most

OTHER_AUTHORITY has signed nothing. CLIENT_KEY_ENCRYPTED is CLIENT_KEY and needs PASSWORD. The files were made once with `openssl`; the
keys are worth nothing.
"""

from __future__ import annotations

import contextlib
import functools
import math
import ssl
from pathlib import Path
from typing import Protocol

from checkers.kit.api import Stream

_DIRECTORY = Path(__file__).parent / "certificates"

AUTHORITY_FILE = _DIRECTORY / "authority.pem"
AUTHORITY = AUTHORITY_FILE.read_text()
OTHER_AUTHORITY = (_DIRECTORY / "other-authority.pem").read_text()
CLIENT_FILE, CLIENT_KEY_FILE = _DIRECTORY / "client.pem", _DIRECTORY / "client-key.pem"
CLIENT_KEY_ENCRYPTED_FILE = _DIRECTORY / "client-key-encrypted.pem"
CLIENT, CLIENT_KEY = CLIENT_FILE.read_text(), CLIENT_KEY_FILE.read_text()
CLIENT_KEY_ENCRYPTED, PASSWORD = CLIENT_KEY_ENCRYPTED_FILE.read_text(), "sesame"
SERVER_KEY = (_DIRECTORY / "good.pem").read_text().partition("-----BEGIN CERTIFICATE")[0]


def certificate_file(certificate: str) -> Path:
    """Return the file with the certificate of a server, and its key."""
    return _DIRECTORY / f"{'expired' if certificate == 'expired' else 'good'}.pem"


@functools.cache
def context_of(certificate: str) -> ssl.SSLContext:
    """Return the context of a server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file(certificate))
    match certificate:
        case "asks":
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=AUTHORITY + CLIENT)
        case "old":
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        case _:
            assert certificate in {"good", "expired"}, certificate
    return context


class Scripted(Stream, Protocol):
    """The stream of a scripted server, in plain text."""

    async def wait(self, duration_s: float) -> None:
        """Do nothing for so long. Raises DeadlinePassed."""

    async def travel(self) -> None:
        """Wait for as long as something said, and the answer to it, are late. Raises DeadlinePassed."""

    def note_server_name(self, name: str) -> None:
        """Take note of the name that the client sent."""

    def note_farewell(self) -> None:
        """Take note of a close_notify of the client."""


class TlsServerStream:
    """What a client sees of a scripted server that speaks TLS (kit.api.Stream): bytes that only TLS makes sense of."""

    def __init__(self, plain: Scripted, certificate: str) -> None:
        self._plain = plain
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        context = context_of(certificate)
        context.sni_callback = lambda _, name, __: plain.note_server_name(name or "")
        self._engine = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._ready = False
        self._over = False

    async def send(self, data: bytes) -> None:
        """See `kit.api.Stream.send`."""
        self._incoming.write(data)
        try:
            if not self._ready:
                await self._plain.travel()
                self._engine.do_handshake()
                self._ready = True
            while plain := self._engine.read():
                await self._plain.send(plain)
            self._plain.note_farewell()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # in place of no bytes, when our own close_notify is out
            self._plain.note_farewell()
        except ssl.SSLError:
            self._over = True  # the alert is in the outgoing bytes

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """See `kit.api.Stream.receive`."""
        while not (data := self._outgoing.read(max_bytes)):
            if self._over:
                return b""
            if not self._ready:
                await self._plain.wait(math.inf)
            plain = await self._plain.receive()
            self._engine.write(plain) if plain else self._end()
        return data

    def close(self) -> None:
        """See `kit.api.Stream.close`."""
        self._plain.close()

    def pause(self) -> None:
        """See `kit.api.Stream.pause`."""
        self._plain.pause()

    def resume(self) -> bool:
        """See `kit.api.Stream.resume`."""
        return not self._over and self._plain.resume()

    def _end(self) -> None:
        self._over = True
        with contextlib.suppress(ssl.SSLWantReadError):  # the farewell is written; the client's is not waited for
            self._engine.unwrap()
