"""Who gets in: TLS, client certificates and passwords, as the newest policy says.

Without a policy file everybody gets in who reaches the address (loopback by default). With one nobody does before the policy came from
the supervisor. A new policy holds for new connections. Sources: exporter-toolkit's web configuration; RFC 7617 (Basic); RFC 9110.
"""

from __future__ import annotations

import base64
import binascii
import ssl

import h11
import trio

from supervisor.exporter.answers import PLAIN, Answer
from supervisor.exporter.verifier import Passwords, TooManyWait
from supervisor.exporter.webpolicy import WebPolicy, decode
from supervisor.exporter.webtls import to_context

HANDSHAKE_MAX_S = 3.0
"""From the connection to the end of the TLS handshake: two of its round trips over a bad line, and our own second of work for others."""

_ASK = Answer(401, b"who are you?\n", (*PLAIN, ("WWW-Authenticate", 'Basic realm="vipervisor", charset="UTF-8"')))


class Doorman:
    """Stands at the door of the exporter."""

    def __init__(self, passwords: Passwords | None = None) -> None:
        """`passwords` compares them; None: there is no policy file, and everybody is welcome."""
        self._passwords = passwords
        self._policy: WebPolicy | None = WebPolicy() if passwords is None else None
        self._context: ssl.SSLContext | None = None
        self._came = trio.Event()
        if self._policy:
            self._came.set()

    def take(self, line: bytes) -> None:
        """Live by the policy in this line of the supervisor's from now on. Raises ValueError."""
        policy = decode(line)
        self._context = to_context(policy.tls) if policy.tls else None
        if self._passwords is None:
            raise ValueError("web policy: nobody asked for one")
        self._passwords.take(policy.users)
        self._policy = policy
        self._came.set()

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What goes with every answer."""
        return tuple(self._policy.headers.items()) if self._policy else ()

    async def receive(self, stream: trio.abc.Stream) -> trio.abc.Stream | None:
        """Return the stream to talk over, None for who cannot or may not."""
        with trio.move_on_after(HANDSHAKE_MAX_S):
            await self._came.wait()
            if self._context is None:
                return stream
            secured = trio.SSLStream(stream, self._context, server_side=True, https_compatible=True)
            try:
                await secured.do_handshake()
            except (trio.BrokenResourceError, ssl.SSLError):  # the second: OpenSSL's words that trio passes on
                return None
            return secured if self._is_named(secured) else None
        return None

    def _is_named(self, secured: trio.SSLStream[trio.abc.Stream]) -> bool:
        tls = self._policy.tls if self._policy else None
        if tls is None or not tls.client_names:
            return True
        shown = secured.getpeercert() or {}
        names = {str(value) for kind, value in shown.get("subjectAltName", ()) if kind in _KINDS}
        return not names.isdisjoint(tls.client_names)

    async def refusal(self, request: h11.Request) -> Answer | None:
        """Return what to say to who may not ask; None: let the request pass."""
        if self._policy is None or not self._policy.users:
            return None
        said = [value for name, value in request.headers if name == b"authorization"]
        credentials = _credentials(said[0]) if len(said) == 1 else None
        if credentials is None or self._passwords is None:
            return _ASK
        try:
            return None if await self._passwords.fits(*credentials) else _ASK
        except TooManyWait:
            return Answer(503, b"too many passwords wait to be compared; come again\n", (*PLAIN, ("Retry-After", "1")))


_KINDS = frozenset({"DNS", "IP Address", "email", "URI"})
"""Kinds of names that are looked at, as Python calls them."""


def _credentials(header: bytes) -> tuple[str, bytes] | None:
    """Read the header of Basic authentication (RFC 7617, section 2)."""
    scheme, _, encoded = header.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (user.decode(), password) if colon else None
    except (binascii.Error, UnicodeDecodeError):
        return None
