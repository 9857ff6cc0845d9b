"""What a server, a file or a script can say to a check, and what keepalived 2.2.7 makes of it: the table of the tests beside it.

Each case is one real server with one check, of weight 10 and with inhibit_on_failure, so that it stands in the table with the weight
that the check gives it: 10 when it is up, 0 when it is down. Sources: keepalived.md, sections 3.4 and 3.6, and the real keepalived.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from checkers import dns as dns_check
from tests.fakes.behaviours import Behaviour, Connect, End, Mirror, Pause, Reset, Send
from tests.fakes.mail import GREETING, HELO, mail_server, says
from tests.fakes.names import answer_with, datagrams, name_server

UP, DOWN = 10, 0
"""Weights of a server that is up or down."""

SERVER, MARKED, NEAR_SERVER = "203.0.113.10", "203.0.113.69", "198.51.100.2"
SILENT_HOST, REFUSED_HOST, NO_ROUTE = "203.0.113.66", "203.0.113.67", "203.0.113.68"
SERVER6, SILENT_HOST6, REFUSED_HOST6, NO_ROUTE6 = "2001:db8:3::10", "2001:db8:3::66", "2001:db8:3::67", "2001:db8:3::68"
LINK_LOCAL = "fe80::c:2"
"""Hosts of the servers' network (`answering.Street`): MARKED is reached by packets with the mark 7 alone, to SILENT_HOST everything
is dropped, REFUSED_HOST is unreachable for the servers' router, and NO_ROUTE for the director itself."""

DIRECTOR, DIRECTOR_ALIAS, DIRECTOR_OTHER = "192.0.2.1", "192.0.2.9", "198.51.100.1"
"""Source addresses of the director: by default, a second one, and that of its other interface."""

MARK = 7


@dataclass(frozen=True, slots=True)
class Case:
    """One check and what it meets. `weight` is keepalived's; `port` 0 gives the real server a port of its own."""

    name: str
    check: str
    lines: tuple[str, ...] = ()
    server: Behaviour | None = None
    weight: int = UP
    address: str = SERVER
    port: int = 0
    source: tuple[str, int] | None = None  # where every probe must come from; port 0: any

    def __str__(self) -> str:
        return f"{self.check} {self.name}"


def smtp(name: str, server: Behaviour, weight: int, *lines: str) -> Case:
    """Return the case of a mail server."""
    return Case(name, "SMTP_CHECK", lines, server, weight)


FOREVER = Pause(math.inf)
DRIPPING = tuple(step for octet in GREETING for step in (Send(bytes([octet])), Pause(0.01)))
TOO_SLOW = tuple(step for piece in (b"220", b" ma", b"il\r\n") for step in (Send(piece), Pause(0.6)))

SMTP_CASES: tuple[Case, ...] = (
    smtp("healthy", mail_server(), UP),
    smtp("with a name of ours", mail_server(), UP, "helo_name lb.example.org"),
    smtp("greeting of several lines", mail_server(greeting=says(b"220-mail\r\n220 ESMTP\r\n")), DOWN),
    smtp("greeting without a text", mail_server(greeting=says(b"220\r\n")), DOWN),
    smtp("greeting with an empty text", mail_server(greeting=says(b"220 \r\n")), UP),
    smtp("no blank after the code", mail_server(greeting=says(b"220mail\r\n")), DOWN),
    smtp("554 at once", mail_server(greeting=says(b"554 no\r\n")), DOWN),
    smtp("554, with retries", mail_server(greeting=says(b"554 no\r\n")), DOWN, "retry 3", "delay_before_retry 0.1"),
    smtp("silence", mail_server(greeting=(FOREVER,)), DOWN),
    smtp("half a greeting", mail_server(greeting=(Send(b"220 mail"), FOREVER)), DOWN),
    smtp("replies in the wrong order", mail_server(greeting=says(HELO), helo=says(GREETING)), DOWN),
    smtp("all replies before they are asked for", mail_server(greeting=says(GREETING + HELO), helo=()), DOWN),
    smtp("HELO answered in several lines", mail_server(helo=says(b"250-mail\r\n250 SIZE 1000\r\n")), DOWN),
    smtp("HELO answered twice", mail_server(helo=says(b"250 one\r\n250 two\r\n")), UP),
    smtp("HELO answered with another code", mail_server(helo=says(b"251 mail\r\n")), DOWN),
    smtp("HELO refused", mail_server(helo=says(b"550 who?\r\n")), DOWN),
    smtp("silence after HELO", mail_server(helo=(FOREVER,)), DOWN),
    smtp("end at HELO", mail_server(helo=(End(),)), DOWN),
    smtp("QUIT answered with 221", mail_server(goodbye=says(b"221 bye\r\n")), UP),
    smtp("QUIT answered with 500", mail_server(goodbye=says(b"500 what?\r\n")), UP),
    smtp("QUIT answered with garbage", mail_server(goodbye=says(b"\xff\r\n")), UP),
    smtp("QUIT answered with a NUL", mail_server(goodbye=says(b"221 \0\r\n")), DOWN),
    smtp("end at QUIT", mail_server(goodbye=(End(),)), DOWN),
    smtp("end in the answer to QUIT", mail_server(goodbye=(Send(b"221 by"), End())), DOWN),
    smtp("reset at QUIT", mail_server(goodbye=(Reset(),)), DOWN),
    smtp("silence after QUIT", mail_server(goodbye=(FOREVER,)), DOWN),
    smtp("end before the greeting", mail_server(greeting=(End(),)), DOWN),
    smtp("end after the greeting", mail_server(greeting=(Send(GREETING), End())), DOWN),
    smtp("end in the greeting", mail_server(greeting=(Send(b"220 mai"), End())), DOWN),
    smtp(
        "line feeds alone", mail_server(greeting=says(b"220 m\n"), helo=says(b"250 m\n"), goodbye=says(b"221 m\n")), UP
    ),
    smtp("line feed before carriage return", mail_server(greeting=says(b"220 m\n\r")), UP),
    smtp("blank before the code", mail_server(greeting=says(b" 220 m\r\n")), DOWN),
    smtp("tab after the code", mail_server(greeting=says(b"220\tm\r\n")), DOWN),
    smtp("code of four digits", mail_server(greeting=says(b"2200 m\r\n")), DOWN),
    smtp("NUL in the greeting", mail_server(greeting=says(b"220 \0\r\n")), DOWN),
    smtp("line of 400 bytes", mail_server(greeting=says(b"220 " + b"x" * 394 + b"\r\n")), UP),
    smtp("line of 600 bytes", mail_server(greeting=says(b"220 " + b"x" * 594 + b"\r\n")), DOWN),
    smtp("garbage", mail_server(greeting=says(b"\xff\x00\x1b[31m\r\n")), DOWN),
    smtp("endless line", mail_server(greeting=(Send(b"220 " + b"x" * 5000), FOREVER)), DOWN),
    smtp("octets one by one", mail_server(greeting=DRIPPING), UP),
    smtp("pieces for longer than the time limit", mail_server(greeting=TOO_SLOW), UP),
    Case("closed port", "SMTP_CHECK", (), None, DOWN),
)


def dns(name: str, server: Behaviour | None, weight: int, *lines: str) -> Case:
    """Return the case of a name server."""
    return Case(name, "DNS_CHECK", lines, server, weight)


_SOA = bytes.fromhex("0001000100000000") + b"\0\0\x06\0\x01" + b"\0\0\x06\0\x01\0\0\0\x3c\0\x02\0\0"
_MANY = b"\0" * 8 + b"\xff" * 600

DNS_CASES: tuple[Case, ...] = (
    dns("NOERROR with an answer", datagrams("", answer_with(0x8180, _SOA)), UP),
    dns("NOERROR without an answer", name_server(), UP),
    dns("not authoritative, no recursion", datagrams("", answer_with(0x8000)), UP),
    *(
        dns(text, name_server(code), DOWN)
        for text, code in (
            ("FORMERR", 1),
            ("SERVFAIL", 2),
            ("NXDOMAIN", 3),
            ("NOTIMP", 4),
            ("REFUSED", 5),
            ("code 15", 15),
        )
    ),
    dns("another id", datagrams("", Send(b"\0\1\x81\x80" + b"\0" * 8)), DOWN),
    dns("another id, then the answer", datagrams("", Send(b"\0\1\x81\x80" + b"\0" * 8), answer_with(0x8180)), UP),
    dns("a query instead of an answer", datagrams("", answer_with(0x0100)), DOWN),
    dns("truncated", datagrams("", answer_with(0x8380)), UP),
    dns("shorter than a head", datagrams("", Mirror(2, b"\x81\x80")), DOWN),
    dns("shorter than a head, then the answer", datagrams("", Mirror(2, b"\x81\x80"), answer_with(0x8180)), UP),
    dns("empty datagram", datagrams("", Send(b"")), DOWN),
    dns("larger than 512 bytes", datagrams("", answer_with(0x8180, _MANY)), UP),
    dns("silence", datagrams(""), DOWN),
    dns("closed port", None, DOWN),
    *(dns(f"type {kind}", name_server(), UP, f"type {kind}") for kind in dns_check.RECORD_TYPES),
    dns("name", name_server(), UP, "type A", "name www.example.org"),
    dns("name with a final dot", name_server(), UP, "type A", "name www.example.org."),
    dns("name of the root", name_server(), UP, "type NS", "name ."),
    dns("name of one label", name_server(), UP, "type A", "name localhost"),
)


def udp(name: str, server: Behaviour | None, weight: int, *lines: str) -> Case:
    """Return the case of a server of datagrams."""
    return Case(name, "UDP_CHECK", lines, server, weight)


def replies(data: bytes) -> Behaviour:
    """Return a server that answers each datagram with this one."""
    return datagrams("", Send(data))


_PATTERN = "require_reply 61x2"

UDP_CASES: tuple[Case, ...] = (
    udp("silence", datagrams(""), UP),
    udp("silence where a reply is required", datagrams(""), DOWN, "require_reply"),
    udp("silence where this reply is required", datagrams(""), DOWN, _PATTERN),
    udp("closed port", None, DOWN),
    udp("closed port where a reply is required", None, DOWN, "require_reply"),
    udp("reply where none is required", replies(b"x"), UP),
    udp("any reply is good", replies(b"x"), UP, "require_reply"),
    udp("empty datagram is a reply", replies(b""), UP, "require_reply"),
    udp("the pattern", replies(b"ab"), UP, "require_reply 6162"),
    udp("another reply", replies(b"ac"), DOWN, "require_reply 6162"),
    udp("pattern with blanks", replies(b"abcd"), UP, "require_reply 61 62 6364"),
    udp("any nibble", replies(b"ar"), UP, _PATTERN),
    udp("any nibble, another", replies(b"as"), DOWN, _PATTERN),
    udp("any byte", replies(b"a\xff"), UP, "require_reply 61xx"),
    udp("upper case", replies(b"\xab\xcd"), UP, "require_reply ABCD"),
    udp("begins with the pattern", replies(b"abcdef"), UP, "require_reply 6162"),
    udp("shorter than the pattern", replies(b"a"), UP, "require_reply 6162"),
    udp("shorter than the pattern and unlike it", replies(b"x"), DOWN, "require_reply 6162"),
    udp("empty, with a pattern", replies(b""), UP, "require_reply 6162"),
    udp("shorter than the pattern and its own limit", replies(b"a"), DOWN, "require_reply 6162", "min_reply_length 2"),
    udp("too short", replies(b"abc"), DOWN, "require_reply 6162", "min_reply_length 4"),
    udp("just long enough", replies(b"abcd"), UP, "require_reply 6162", "min_reply_length 4"),
    udp("too long", replies(b"abcdef"), DOWN, "require_reply 6162", "max_reply_length 5"),
    udp("just short enough", replies(b"abcde"), UP, "require_reply 6162", "max_reply_length 5"),
    udp("255 bytes", replies(b"a" * 255), UP, "require_reply 61"),
    udp("256 bytes", replies(b"a" * 256), DOWN, "require_reply 61"),
    udp("too short without a pattern", replies(b"abc"), UP, "require_reply", "min_reply_length 4"),
    udp("too long without a pattern", replies(b"abcdef"), UP, "require_reply", "max_reply_length 5"),
    udp("too short where none is required", replies(b"abc"), UP, "min_reply_length 4"),
    udp("payload", replies(b"ok"), UP, "payload 00ff10", "require_reply 6f6b"),
    udp("payload with blanks", replies(b"ok"), UP, "payload 00 ff 10", "require_reply 6f6b"),
    Case("IPv6 host unreachable", "UDP_CHECK", (), None, DOWN, REFUSED_HOST6),
    Case("no route", "UDP_CHECK", (), None, DOWN, NO_ROUTE),
    Case("silent host", "UDP_CHECK", (), None, UP, SILENT_HOST),
)

PING_CASES: tuple[Case, ...] = (
    Case("host that answers", "PING_CHECK"),
    Case("host that does not", "PING_CHECK", (), None, DOWN, SILENT_HOST),
    Case("host unreachable", "PING_CHECK", (), None, DOWN, REFUSED_HOST),
    Case("no route", "PING_CHECK", (), None, DOWN, NO_ROUTE),
    Case("IPv6 host that answers", "PING_CHECK", (), None, UP, SERVER6),
    Case("IPv6 host that does not", "PING_CHECK", (), None, DOWN, SILENT_HOST6),
    Case("IPv6 host unreachable", "PING_CHECK", (), None, DOWN, REFUSED_HOST6),
    Case("IPv6 no route", "PING_CHECK", (), None, DOWN, NO_ROUTE6),
    Case("with a mark", "PING_CHECK", (f"fwmark {MARK}",), None, DOWN, MARKED),
    Case("without the mark", "PING_CHECK", (), None, DOWN, MARKED),
    Case("bindto", "PING_CHECK", (f"bindto {DIRECTOR_ALIAS}",)),
    Case("bind_if", "PING_CHECK", ("bind_if eth1",)),
    Case("of another address", "PING_CHECK", (f"connect_ip {SERVER}",), None, UP, NO_ROUTE),
)

ACCEPTING = Behaviour("accepting", greeting=(FOREVER,))
RESETTING = Behaviour("resetting", greeting=(Pause(0.05), Reset()))
CLOSING = Behaviour("closing", greeting=(End(),))
CLOSED = Behaviour("closed", Connect.REFUSE)
FULL = Behaviour("full", Connect.BLACKHOLE)
LOW_PORTS = {"TCP_CHECK": 731, "SMTP_CHECK": 732, "DNS_CHECK": 733, "UDP_CHECK": 734}
HIGH_PORTS = {"TCP_CHECK": 7731, "SMTP_CHECK": 7732, "DNS_CHECK": 7733, "UDP_CHECK": 7734}


def tcp(name: str, server: Behaviour | None, weight: int, *lines: str, address: str = SERVER) -> Case:
    """Return the case of a server of connections."""
    return Case(name, "TCP_CHECK", lines, server, weight, address)


TCP_CASES: tuple[Case, ...] = (
    tcp("accepts", ACCEPTING, UP),
    tcp("refuses", None, DOWN),
    tcp("accepts and resets", RESETTING, UP),
    tcp("accepts and closes", CLOSING, UP),
    tcp("accepts no more", FULL, DOWN),
    tcp("drops", None, DOWN, address=SILENT_HOST),
    tcp("host unreachable", None, DOWN, address=REFUSED_HOST),
    tcp("no route", None, DOWN, address=NO_ROUTE),
    tcp("IPv6 accepts", ACCEPTING, UP, address=SERVER6),
    tcp("IPv6 refuses", None, DOWN, address=SERVER6),
)


def sockets(check: str, server: Behaviour) -> tuple[Case, ...]:
    """Return what may be asked of the socket of a checker type, with a server that is healthy for it."""
    low, high = LOW_PORTS[check], HIGH_PORTS[check]
    alias, other = (DIRECTOR_ALIAS, 0), (DIRECTOR_OTHER, 0)
    return (
        Case("from the address of the route", check, (), server, source=(DIRECTOR, 0)),
        Case("bindto", check, (f"bindto {DIRECTOR_ALIAS}",), server, source=alias),
        Case("bind_if", check, ("bind_if eth1",), server, source=other),
        Case("bindto and bind_if", check, (f"bindto {DIRECTOR_OTHER}", "bind_if eth1"), server, source=other),
        Case(
            "bindto and bind_port", check, (f"bindto {DIRECTOR}", f"bind_port {high}"), server, source=(DIRECTOR, high)
        ),
        Case("bind_port below 1024", check, (f"bindto {DIRECTOR}", f"bind_port {low}"), server, source=(DIRECTOR, low)),
        Case("fwmark", check, (f"fwmark {MARK}",), server, address=MARKED, source=(DIRECTOR, 0)),
        Case("another fwmark", check, (f"fwmark {MARK + 1}",), server, DOWN, address=MARKED),
        Case("connect_ip", check, (f"connect_ip {SERVER}",), server, address=NO_ROUTE, source=(DIRECTOR, 0)),
        Case(
            "link-local",
            check,
            (f"connect_ip {LINK_LOCAL}", "bind_if eth0"),
            server,
            DOWN if check == "UDP_CHECK" else UP,
            address=NO_ROUTE6,
        ),
    )


SOCKET_CASES: tuple[Case, ...] = (
    *sockets("TCP_CHECK", ACCEPTING),
    *sockets("SMTP_CHECK", mail_server()),
    *sockets("DNS_CHECK", name_server()),
    *sockets("UDP_CHECK", replies(b"ok")),
    Case("bindto an address that is not ours", "TCP_CHECK", ("bindto 192.0.2.200",), ACCEPTING),
)

CASES: tuple[Case, ...] = (*SMTP_CASES, *DNS_CASES, *UDP_CASES, *PING_CASES, *TCP_CASES, *SOCKET_CASES)

DIFFERENCES: Mapping[str, tuple[str, ...]] = {
    "smtp-replies-read-in-full": (
        "SMTP_CHECK greeting of several lines",
        "SMTP_CHECK greeting without a text",
        "SMTP_CHECK HELO answered in several lines",
        "SMTP_CHECK line of 600 bytes",
    ),
    "deadline-is-absolute": ("SMTP_CHECK pieces for longer than the time limit",),
    "udp-reply-shorter-than-pattern": ("UDP_CHECK shorter than the pattern", "UDP_CHECK empty, with a pattern"),
    "udp-bind-if": ("UDP_CHECK link-local",),
    "ping-marks-and-binds": ("PING_CHECK with a mark",),
}
"""Deliberate differences, and the cases whose verdict is the opposite of keepalived's by them (tests/differences)."""

OPPOSITE: Mapping[str, str] = {case: name for name, cases in DIFFERENCES.items() for case in cases}


def our_weight(case: Case) -> int:
    """Return the weight that a case has with us."""
    return UP + DOWN - case.weight if str(case) in OPPOSITE else case.weight
