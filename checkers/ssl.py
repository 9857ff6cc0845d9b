"""SSL_GET: HTTP_GET over TLS (keepalived.md, section 3.5).

Everything about urls and answers is `checkers.http`, everything about TLS is `checkers.kit.tls`; here is what joins the two. As in
keepalived no certificate is looked at and no server name is sent unless the file asks for it. Ours: with `verify` or `ca` the
chain and the name are really checked; the name is then sent as well, because a server chooses its certificate by it.
Must never read a file: `ca` comes as text, read by the supervisor when it loads the configuration.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from checkers import http
from checkers.kit.api import Dialer, Target, Verdict
from checkers.kit.options import Json, Keyword, Kind
from checkers.kit.tls import TlsDialer, context_of

KEYWORD = "SSL_GET"

_TLS_OPTIONS: tuple[Keyword, ...] = (
    Keyword("enable_sni", Kind.FLAG, "send the server name in TLS", default=False),
    Keyword("sni_name", Kind.TEXT, "server name in TLS (the url's virtualhost, or the block's)"),
    Keyword(
        "verify", Kind.FLAG, "the certificate must be valid, for the server name or, without one, the address (ours)"
    ),
    Keyword(
        "ca",
        Kind.CERTIFICATES,
        "file of the authorities that may sign the certificate; sets verify (ours; the system's store)",
    ),
)

_TLS_NAMES = frozenset(keyword.name for keyword in _TLS_OPTIONS)

OPTIONS: tuple[Keyword, ...] = (
    *(keyword for keyword in http.OPTIONS if keyword.name not in _TLS_NAMES),
    *_TLS_OPTIONS,
)

_PORT = re.compile(r":[0-9]*$")


@dataclass(frozen=True, slots=True)
class SecureUrl:
    """One url and the TLS that it is asked over; `server_name` may be empty."""

    url: http.Url
    context: ssl.SSLContext
    server_name: str


def prepare(options: Mapping[str, Json]) -> tuple[SecureUrl, ...]:
    """Turn the block's values into urls, in the order of the file. Raises ValueError with a sentence for the operator."""
    ca = str(options.get("ca") or "")
    verify = bool(options.get("verify", bool(ca)))
    context = context_of(verify=verify, ca=ca if verify else "")
    chosen = str(options.get("sni_name") or "")
    named = verify or bool(options.get("enable_sni"))
    return tuple(
        SecureUrl(url, context, _server_name(chosen or _without_port(url.host.decode())) if named else "")
        for url in http.prepare(options)
    )


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


async def check(target: Target, prepared: tuple[SecureUrl, ...], dial: Dialer) -> Verdict:
    """Ask all urls in turn, each over its own TLS connection. Failed connects and handshakes leave as ProbeError."""
    requests = [(secure.url, TlsDialer(dial, secure.context, secure.server_name)) for secure in prepared]
    return await http.ask_all(target, requests)
