"""How the exporter is protected, as a value with a wire form: who made it (`webconfig`) has files, who lives by it (`doorman`) has none.

`encode` makes the one line that the supervisor sends, `decode` reads it; certificates and keys are in it as PEM text.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType

from checkers.kit.frozen import frozen

PREFIX = b'{"web":'
"""What the line begins with; no snapshot does."""

LINE_MAX_BYTES = 4 << 20
"""Longest line: three files of FILE_MAX_BYTES (`webconfig`), escaped."""


@frozen
class TlsPolicy:
    """TLS of the listener. Versions and ciphers as OpenSSL names them; an empty `ciphers` is OpenSSL's own choice."""

    certificate: str
    key: str
    client_ca: str = ""
    client_required: bool = (
        False  # a client without a certificate of `client_ca` is refused; else one is only judged when it is shown
    )
    client_names: tuple[
        str, ...
    ] = ()  # one of these stands among the subject alternative names of the client's certificate
    version_min: str = "TLSv1_2"
    version_max: str = "TLSv1_3"
    ciphers: str = ""
    own_preference: bool = True


@frozen
class WebPolicy:
    """All of it. `users` are names and bcrypt hashes of their passwords; none: nobody is asked. `headers` go with every answer."""

    tls: TlsPolicy | None = None
    users: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def encode(policy: WebPolicy) -> bytes:
    """Return the line, without a newline."""
    tls = None if policy.tls is None else dataclasses.asdict(policy.tls)
    plain = {"tls": tls, "users": dict(policy.users), "headers": dict(policy.headers)}
    return json.dumps({"web": plain}, separators=(",", ":")).encode()


def decode(line: bytes) -> WebPolicy:
    """Read the line. Raises ValueError when it is none."""
    try:
        plain = json.loads(line)["web"]
        tls = plain["tls"]
        if tls is not None:
            tls = TlsPolicy(**{**tls, "client_names": tuple(tls["client_names"])})
        return WebPolicy(tls, MappingProxyType(plain["users"]), MappingProxyType(plain["headers"]))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"web policy: {error!r}") from error
