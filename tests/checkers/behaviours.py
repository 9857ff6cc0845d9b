"""Every way a server misbehaves, and what each checker type must make of it: the table of the conformance suite.

It is played on the fake network in virtual time (test_conformance) and on real sockets (tests/contract/test_network).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TypeAlias

from checkers.kit.api import Reason
from checkers.kit.options import Json
from tests.fakes import behaviours as fake
from tests.fakes import mail, names
from tests.fakes.behaviours import Behaviour, Connect, Mirror, Pause, Send
from tests.fakes.tls import AUTHORITY

LIMIT_S = 0.6
"""Time limit of every probe of the suite: so long takes the longest."""

Options: TypeAlias = dict[str, Json]
HEAD_ONLY: Options = {"path": "/"}
WHOLE_BODY: Options = {"path": "/", "digest": hashlib.md5(b"hello\n", usedforsecurity=False).hexdigest()}


@dataclass(frozen=True)
class Case:
    """One behaviour, and what must come of it: checker type, its options, the reason."""

    behaviour: Behaviour
    flavours: tuple[tuple[str, Options, Reason], ...]

    def __str__(self) -> str:
        return self.behaviour.name


L4OK, L4CON, L4TOUT = Reason.L4OK, Reason.L4CON, Reason.L4TOUT
RSP6, TOUT6 = Reason.L6RSP, Reason.L6TOUT
L7OK, STS, RSP, BODY, TOUT = Reason.L7OK, Reason.L7STS, Reason.L7RSP, Reason.L7BODY, Reason.L7TOUT


def plain(behaviour: Behaviour, tcp: Reason, head: Reason, body: Reason, tls: Reason, smtp: Reason) -> Case:
    """Return the case of a server without TLS; `head` and `body`: HTTP_GET without and with a look at the body."""
    return Case(
        behaviour,
        (
            ("TCP_CHECK", {}, tcp),
            ("HTTP_GET", {"url": [HEAD_ONLY]}, head),
            ("HTTP_GET", {"url": [WHOLE_BODY]}, body),
            ("SSL_GET", {"url": [HEAD_ONLY]}, tls),
            ("SSL_GET", {"url": [HEAD_ONLY], "ca": AUTHORITY}, tls),
            ("SMTP_CHECK", {}, smtp),
        ),
    )


def secure(behaviour: Behaviour, head: Reason, body: Reason) -> Case:
    """Return the case of a server with TLS."""
    return Case(
        behaviour,
        (
            ("TCP_CHECK", {}, L4OK),
            ("SSL_GET", {"url": [HEAD_ONLY]}, head),
            ("SSL_GET", {"url": [WHOLE_BODY]}, body),
            ("SMTP_CHECK", {}, TOUT),
        ),
    )


WEB_SERVERS: tuple[tuple[Behaviour, Reason, Reason], ...] = (
    (fake.healthy(), L7OK, L7OK),
    (fake.keep_alive(), L7OK, L7OK),
    (fake.chunked(), L7OK, L7OK),
    (fake.interim(), L7OK, L7OK),
    (fake.slow(0.2), L7OK, L7OK),
    (fake.status(503), STS, STS),
    (fake.healthy(b"other\n"), L7OK, BODY),
    (fake.cut_body(), L7OK, BODY),
    (fake.hang(), TOUT, TOUT),
    (fake.slow(2.0), TOUT, TOUT),
    (fake.drip(), TOUT, TOUT),
    (fake.garbage(), RSP, RSP),
    (fake.close_early(), RSP, RSP),
    (fake.cut_head(), RSP, RSP),
    (fake.reset(), RSP, RSP),
    (fake.bare_line_feeds(), RSP, RSP),
    (fake.head_of(60_000), L7OK, BODY),
    (fake.head_of(200_000), RSP, RSP),
    (fake.endless_body(), L7OK, RSP),
    (fake.endless_interim(), RSP, RSP),
)
"""They wait for a request, so TLS (whose greeting they take for its beginning) and SMTP (which waits too) time out."""


def datagrams(behaviour: Behaviour, dns: Reason, silent: Reason, any_reply: Reason, this_reply: Reason) -> Case:
    """Return the case of a server of datagrams."""
    return Case(
        behaviour,
        (
            ("DNS_CHECK", {}, dns),
            ("UDP_CHECK", {}, silent),
            ("UDP_CHECK", {"require_reply": ""}, any_reply),
            ("UDP_CHECK", {"require_reply": "xxxx8180", "min_reply_length": 12}, this_reply),
        ),
    )


DATAGRAM_SERVERS: tuple[tuple[Behaviour, Reason, Reason, Reason, Reason], ...] = (
    (names.name_server(), L7OK, L7OK, L7OK, L7OK),
    (names.datagrams("late name server", Pause(0.2), names.answer_with(0x8180)), L7OK, L7OK, L7OK, L7OK),
    (
        names.datagrams("strangers before the answer", *names.strangers(20), names.answer_with(0x8180)),
        L7OK,
        L7OK,
        L7OK,
        BODY,
    ),
    (names.datagrams("answer with an odd tail", names.answer_with(0x8180, b"\xff" * 200)), L7OK, L7OK, L7OK, L7OK),
    (names.datagrams("large answer", names.answer_with(0x8180, b"\xff" * 20_000)), L7OK, L7OK, L7OK, BODY),
    *((names.name_server(code), STS, L7OK, L7OK, BODY) for code in (1, 2, 3, 5, 15)),
    (names.datagrams("closed UDP port", connect=Connect.REFUSE), L4CON, L4CON, L4CON, L4CON),
    (names.datagrams("silent"), TOUT, L4OK, TOUT, TOUT),
    (names.datagrams("too late", Pause(2.0), names.answer_with(0x8180)), TOUT, L4OK, TOUT, TOUT),
    (names.datagrams("cut off answer", Mirror(2, b"\x81\x80")), TOUT, L7OK, L7OK, BODY),
    (names.datagrams("empty datagram", Send(b"")), TOUT, L7OK, L7OK, BODY),
    (names.datagrams("query instead of an answer", names.answer_with(0x0100)), TOUT, L7OK, L7OK, BODY),
    (names.datagrams("many strangers", *names.strangers(100)), RSP, L7OK, L7OK, BODY),
)
"""Reasons of DNS_CHECK, and of UDP_CHECK without require_reply, with it, and with the beginning of a good answer."""

CASES: tuple[Case, ...] = (
    plain(fake.refuse(), L4CON, L4CON, L4CON, L4CON, L4CON),
    plain(fake.blackhole(), L4TOUT, L4TOUT, L4TOUT, L4TOUT, L4TOUT),
    plain(fake.banner(), L4OK, RSP, RSP, RSP6, RSP),
    plain(fake.close_at_once(), L4OK, RSP, RSP, RSP6, RSP),
    plain(fake.reset_at_once(), L4OK, RSP, RSP, RSP6, RSP),
    plain(fake.endless_noise(), L4OK, RSP, RSP, RSP6, RSP),
    plain(fake.endless_handshake(), L4OK, RSP, RSP, RSP6, RSP),
    *(plain(behaviour, L4OK, head, body, TOUT6, TOUT) for behaviour, head, body in WEB_SERVERS),
    *(secure(behaviour.over_tls(), head, body) for behaviour, head, body in WEB_SERVERS),
    secure(fake.healthy().over_tls("old"), L7OK, L7OK),
    secure(fake.healthy().over_tls("expired"), L7OK, L7OK),
    *(Case(behaviour, (("SMTP_CHECK", {}, L7OK),)) for behaviour in mail.healthy_mail_servers()),
    *(Case(behaviour, (("SMTP_CHECK", {}, STS),)) for behaviour in mail.refusing_mail_servers()),
    *(Case(behaviour, (("SMTP_CHECK", {}, RSP),)) for behaviour in mail.broken_mail_servers()),
    *(Case(behaviour, (("SMTP_CHECK", {}, TOUT),)) for behaviour in mail.silent_mail_servers()),
    plain(mail.mail_server(), L4OK, RSP, RSP, RSP6, L7OK),
    *(datagrams(behaviour, *reasons) for behaviour, *reasons in DATAGRAM_SERVERS),
)
