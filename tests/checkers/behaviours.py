"""Every way a server misbehaves, and what each checker type must make of it: the table of the conformance suite.

It is played on the fake network in virtual time (test_conformance) and on real sockets (tests/contract/test_network).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from checkers.kit.api import Reason
from checkers.kit.options import Json
from tests.fakes import network as fake
from tests.fakes.network import Behaviour

LIMIT_S = 0.6
"""Time limit of every probe of the suite: so long takes the longest."""

Url = dict[str, Json]
HEAD_ONLY: Url = {"path": "/"}
WHOLE_BODY: Url = {"path": "/", "digest": hashlib.md5(b"hello\n", usedforsecurity=False).hexdigest()}


@dataclass(frozen=True)
class Case:
    """One behaviour; the reason that TCP_CHECK, HTTP_GET without and HTTP_GET with a look at the body must give."""

    behaviour: Behaviour
    tcp: Reason
    head: Reason
    body: Reason

    def __str__(self) -> str:
        return self.behaviour.name


L4OK, L7OK, RSP, TOUT = Reason.L4OK, Reason.L7OK, Reason.L7RSP, Reason.L7TOUT

CASES = (
    Case(fake.healthy(), L4OK, L7OK, L7OK),
    Case(fake.keep_alive(), L4OK, L7OK, L7OK),
    Case(fake.chunked(), L4OK, L7OK, L7OK),
    Case(fake.interim(), L4OK, L7OK, L7OK),
    Case(fake.slow(0.2), L4OK, L7OK, L7OK),
    Case(fake.status(503), L4OK, Reason.L7STS, Reason.L7STS),
    Case(fake.healthy(b"other\n"), L4OK, L7OK, Reason.L7BODY),
    Case(fake.cut_body(), L4OK, L7OK, Reason.L7BODY),
    Case(fake.refuse(), Reason.L4CON, Reason.L4CON, Reason.L4CON),
    Case(fake.blackhole(), Reason.L4TOUT, Reason.L4TOUT, Reason.L4TOUT),
    Case(fake.hang(), L4OK, TOUT, TOUT),
    Case(fake.slow(2.0), L4OK, TOUT, TOUT),
    Case(fake.drip(), L4OK, TOUT, TOUT),
    Case(fake.garbage(), L4OK, RSP, RSP),
    Case(fake.banner(), L4OK, RSP, RSP),
    Case(fake.close_early(), L4OK, RSP, RSP),
    Case(fake.cut_head(), L4OK, RSP, RSP),
    Case(fake.reset(), L4OK, RSP, RSP),
    Case(fake.bare_line_feeds(), L4OK, RSP, RSP),
    Case(fake.head_of(60_000), L4OK, L7OK, Reason.L7BODY),
    Case(fake.head_of(200_000), L4OK, RSP, RSP),
    Case(fake.endless_body(), L4OK, L7OK, RSP),
    Case(fake.endless_interim(), L4OK, RSP, RSP),
)
