"""SSL_GET: HTTP_GET over TLS (keepalived.md, section 3.5).

Everything about urls and answers is `checkers.http`, everything about TLS is `checkers.kit.tls`; here is what joins the two. As in
keepalived no certificate is looked at and no server name is sent unless the file asks for it. Ours: with `verify` or `ca` the
chain and the name are really checked; the name is then sent as well, because a server chooses its certificate by it.
Must never read a file: certificates and keys come as text, read by the supervisor when it loads the configuration. Where it could not
read them, or they do not fit, every probe fails and says so: a check that asks for less than was wanted would be a lie.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import field, replace
from typing import ClassVar, NamedTuple

from checkers import http
from checkers.kit.api import Dialer, Reason, Target, Verdict
from checkers.kit.frozen import frozen
from checkers.kit.options import CLIENT, UNREADABLE, Json, Keyword, Kind
from checkers.kit.tls import ClientCertificate, Engine, TlsDialer, context_of, farewell, name_of
from checkers.kit.turns import OneByOne

KEYWORD = "SSL_GET"
SENTINEL = True

_TLS_OPTIONS: tuple[Keyword, ...] = (
    Keyword("enable_sni", Kind.FLAG, "send the server name in TLS", default=False),
    Keyword("sni_name", Kind.TEXT, "server name in TLS (the url's virtualhost, or the block's)"),
    Keyword(
        "verify", Kind.FLAG, "the certificate must be valid, for the server name or, without one, the address", own=True
    ),
    Keyword(
        "ca",
        Kind.CERTIFICATES,
        "file of the authorities that may sign the certificate; sets verify (the system's store)",
        own=True,
    ),
    Keyword(
        "tls_resume",
        Kind.INTEGER,
        "go on with the TLS session of the last probe, with a whole handshake for each N-th (each is whole)",
        low=2,
        high=1000,
        own=True,
    ),
)

_TLS_NAMES = frozenset(keyword.name for keyword in _TLS_OPTIONS)

OPTIONS: tuple[Keyword, ...] = (
    *(keyword for keyword in http.OPTIONS if keyword.name not in _TLS_NAMES),
    *_TLS_OPTIONS,
)

_PORT = re.compile(r":[0-9]*$")


class Seen(NamedTuple):
    """A success: what the answer was worth by itself, and the verdict that tells when the certificate ends, too."""

    answer: Verdict
    verdict: Verdict


@frozen
class SecureUrl:
    """One url and the TLS that it is asked over; `server_name` may be empty.

    `context` is None when it cannot be made, and `trouble` says why. Of each `resume` connections to a target one has a whole handshake.
    `sessions` has the one to go on with for each target, and how many have; `seen` the last success of each.
    """

    url: http.Url
    context: ssl.SSLContext | None
    server_name: str
    trouble: str = ""
    resume: int = 1
    sessions: dict[Target, tuple[ssl.SSLSession, int]] = field(default_factory=dict, compare=False)
    seen: dict[Target, Seen] = field(default_factory=dict, compare=False)

    def session(self, target: Target) -> tuple[ssl.SSLSession | None, int]:
        """Take the session to go on with, if the next handshake need not be a whole one, and how many connections had it already.

        It is to be put back after a success: after anything else the next handshake is a whole one.
        """
        session, used = self.sessions.pop(target, (None, 0))
        return (session, used) if used < self.resume else (None, 0)


def prepare(options: Mapping[str, Json]) -> tuple[SecureUrl, ...] | OneByOne:
    """Turn the block's values into urls, in the order of the file. Raises ValueError with a sentence for the operator."""
    ca = str(options.get("ca") or "")
    verify = bool(options.get("verify", bool(ca)))
    context, trouble = _context(verify=verify, ca=ca if verify else "", client=options.get(CLIENT))
    chosen = str(options.get("sni_name") or "")
    named = verify or bool(options.get("enable_sni"))
    resume = options.get("tls_resume")
    resume = resume if isinstance(resume, int) else 1
    urls = tuple(
        SecureUrl(
            url, context, _server_name(chosen or _without_port(url.host.decode())) if named else "", trouble, resume
        )
        for url in http.urls_of(options)
    )
    one_by_one = len(urls) > 1 and options.get("urls_one_by_one")
    return http.in_turns([(url,) for url in urls], options) if one_by_one else urls


remarks = http.url_remarks


def _context(*, verify: bool, ca: str, client: Json) -> tuple[ssl.SSLContext | None, str]:
    """Return the context, or None and why there is none: files that are not there, which is no error of the configuration.

    Raises ValueError for what is one.
    """
    if ca.startswith(UNREADABLE):
        return None, ca.removeprefix(UNREADABLE)
    if not isinstance(client, dict):
        return context_of(verify=verify, ca=ca), ""
    if client.get("trouble"):
        return None, str(client["trouble"])
    texts = (str(client.get(name) or "") for name in ("certificate", "key", "password"))
    return context_of(verify=verify, ca=ca, client=ClientCertificate(*texts)), ""


def _without_port(host: str) -> str:
    """Return the name in a Host header: TLS wants no port (RFC 6066, section 3) and no brackets."""
    return (host if host.count(":") > 1 and not host.startswith("[") else _PORT.sub("", host)).strip("[]")


def _server_name(name: str) -> str:
    """Return a name that can be sent. Raises ValueError."""
    try:
        name.encode("idna")
    except UnicodeError as error:
        raise ValueError(f"sni_name, or virtualhost in its place, is no host name: {name!r}") from error
    if name.startswith("."):
        raise ValueError(f"sni_name, or virtualhost in its place, must not begin with a dot: {name!r}")
    return name


@frozen
class SameOverTls:
    """A request over TLS: a server whose certificate ends when it did, and whose answer begins as the last, is as good."""

    answer: http.SameHead
    secure: SecureUrl
    context: ssl.SSLContext
    target: Target
    probes: ClassVar[int] = 1

    @property
    def first(self) -> bytes:
        """See `kit.api.Glance.first`."""
        return self.answer.first

    def layer(self) -> Engine:
        """See `kit.api.Glance.layer`."""
        seen = self.secure.seen.get(self.target)
        name = name_of(self.context, self.secure.server_name, self.target)
        return Engine(self.context, name, words=self.answer.first, ends=seen.verdict.expires_at if seen else 0.0)

    def recognise(self, data: bytes) -> Verdict | None:
        """See `kit.api.Glance.recognise`."""
        seen = self.secure.seen.get(self.target)
        return seen.verdict if seen and seen.answer is self.answer.recognise(data) else None


def glance(target: Target, prepared: tuple[SecureUrl, ...]) -> SameOverTls | None:
    """Return how a probe goes if nothing happens: as with HTTP_GET, with a whole handshake on a connection of its own."""
    secure = prepared[0]
    answer = http.glance(target, tuple(each.url for each in prepared))
    if answer is None or secure.context is None or secure.resume > 1 or answer.probes > 1 or secure.url.orderly:
        return None
    return SameOverTls(answer, secure, secure.context, target)


async def check(target: Target, prepared: tuple[SecureUrl, ...], dial: Dialer) -> Verdict:
    """Ask all urls in turn, each over its own TLS connection. Failed connects and handshakes leave as ProbeError."""
    verdict, ends = Verdict(Reason.NONE), 0.0
    for secure in prepared:
        if secure.context is None:
            return Verdict(Reason.L6RSP, secure.trouble)
        session, used = secure.session(target)
        dialer = TlsDialer(dial, secure.context, secure.server_name, session)
        verdict = await http.ask(target, secure.url, dialer, farewell if secure.url.orderly else None)
        if secure.resume > 1 and verdict.ok:
            newest = dialer.session_to_resume()
            if newest is not None:
                secure.sessions[target] = newest, used + 1
        ends = min(ends or dialer.expires_at, dialer.expires_at or ends)
        if not verdict.ok:
            break
        if len(prepared) == 1:
            return _seen(secure, target, verdict, ends)
    return replace(verdict, expires_at=ends) if ends else verdict


def _seen(secure: SecureUrl, target: Target, answer: Verdict, ends: float) -> Verdict:
    """Return a success with the end of the certificate, and remember it: the very same as long as nothing changes."""
    seen = secure.seen.get(target)
    if seen is None or seen.answer is not answer or seen.verdict.expires_at != ends:
        seen = secure.seen[target] = Seen(answer, replace(answer, expires_at=ends))
    return seen.verdict
