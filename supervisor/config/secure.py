"""The SSL block: what all SSL_GET checks share. Its files are read here, because a checker worker can read none.

A certificate or key that cannot be had is a warning, because a configuration is also checked on machines that have no such files; the
checks then get the reason in place of the texts and fail with it (`checkers.ssl`). Must never put a key or a password into a message.
Sources: keepalived.md, sections 2.5 and 3.5.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from typing import NamedTuple

from checkers.kit.options import CLIENT, UNREADABLE, Json
from checkers.kit.tls import ClientCertificate, show
from supervisor.config.problems import Code, Problems
from supervisor.config.values import Block

CLIENT_MAX_BYTES = 24_576
"""Most bytes of certificate, key and password: they travel in the job of a check, beside a `ca` (checkers.kit.wire)."""


class Shared(NamedTuple):
    """What the SSL block gives to every SSL_GET. `client`: see `checkers.kit.options.CLIENT`, None: no client certificate."""

    client: Mapping[str, Json] | None = None
    ca: str = ""

    def add_to(self, options: dict[str, Json]) -> None:
        """Complete the values of one check: the client certificate, and whom to trust when it wants that but does not say whom."""
        if self.client is not None:
            options[CLIENT] = dict(self.client)
        if self.ca and options.get("verify") and "ca" not in options:
            options["ca"] = self.ca


def read(top: Block, problems: Problems) -> Shared:
    """Read the SSL block among the blocks of the file, if there is one."""
    block = top.get("SSL")
    if not isinstance(block, Block):
        return Shared()
    texts = {name: block.get(name, "") for name in ("certificate", "key", "password")}
    shared = Shared(ca=block.get("ca", ""))
    if not (texts["certificate"] and texts["key"]):
        if texts != dict.fromkeys(texts, "") or not shared.ca:
            message = 'SSL must give both "certificate" and "key"; no client certificate is shown to servers'
            problems.add(Code.NO_EFFECT, block.node.place(), message)
        return shared
    trouble = _trouble(texts)
    if not trouble:
        return shared._replace(client=texts)
    if not any(text.startswith(UNREADABLE) for text in texts.values()):  # the reader has told of those already
        problems.add(Code.UNUSABLE_FILE, block.node.place(), f"{trouble}; SSL_GET will fail until that is put right")
    return shared._replace(client={"trouble": trouble})


def _trouble(texts: Mapping[str, str]) -> str:
    """Return why these are no client certificate, "" when they are one."""
    for text in texts.values():
        if text.startswith(UNREADABLE):
            return text.removeprefix(UNREADABLE)
    if len(json.dumps(texts)) > CLIENT_MAX_BYTES:
        return f"client certificate: certificate, key and password take more than {CLIENT_MAX_BYTES} bytes"
    try:
        show(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ClientCertificate(**texts))
    except ValueError as error:
        return str(error)
    return ""
