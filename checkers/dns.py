"""DNS_CHECK: the real server is up when it answers a query without an error (keepalived.md, section 3.6).

One UDP datagram that asks for recursion, with a random id and no EDNS. The answer must have that id, be an answer, and have the
response code 0; what it answers is not looked at. Datagrams with another id and queries are passed over, as keepalived does, but not
for ever. Must never follow a referral, ask again over TCP, or look at names in an answer. Format: RFC 1035, section 4.1.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping

from checkers.kit.api import Datagrams, Dialer, ProbeError, Reason, Target, Verdict
from checkers.kit.excerpt import excerpt
from checkers.kit.frozen import frozen
from checkers.kit.options import Json, Keyword, Kind
from checkers.kit.values import word

KEYWORD = "DNS_CHECK"

RECORD_TYPES: Mapping[str, int] = {
    "A": 1,
    "NS": 2,
    "CNAME": 5,
    "SOA": 6,
    "MX": 15,
    "TXT": 16,
    "AAAA": 28,
    "RRSIG": 46,
    "DNSKEY": 48,
}
"""Record types that may be asked for (keepalived.md, section 2.5; numbers: IANA, DNS parameters)."""

STRANGERS_MAX = 64
"""Most datagrams passed over. Ours: a late answer to an earlier query cannot come here, so one is rare."""

LABEL_MAX_BYTES = 63
NAME_MAX_BYTES = 255

OPTIONS: tuple[Keyword, ...] = (
    Keyword(
        "type",
        Kind.CHOICE,
        "record type to ask for",
        default="SOA",
        choices=tuple(RECORD_TYPES),
        case_sensitive=False,
    ),
    Keyword("name", Kind.TEXT, "name to ask for", default="."),
)

_HEAD = struct.Struct(">HHHHHH")  # id, flags, numbers of questions, answers, authorities, additional records
_RECURSION_DESIRED = 0x0100
_RESPONSE = 0x8000
_CODE = 0x000F
_INTERNET = 1
_CODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")


@frozen
class Query:
    """What follows the id in the datagram, and the same for people."""

    rest: bytes
    text: str


def prepare(options: Mapping[str, Json]) -> Query:
    """Turn the block's values into a query. Raises ValueError with a sentence for the operator."""
    kind = str(options.get("type") or "SOA").upper()
    if kind not in RECORD_TYPES:
        raise ValueError(f"type {kind!r} is not known, only {' '.join(RECORD_TYPES)}")
    name = word("name", options.get("name") or ".")
    head = _HEAD.pack(0, _RECURSION_DESIRED, 1, 0, 0, 0)[2:]
    return Query(head + _encoded(name) + struct.pack(">HH", RECORD_TYPES[kind], _INTERNET), f"{kind} {name}")


def _encoded(name: str) -> bytes:
    """Return a name as labels; one final dot means nothing."""
    if not name.isascii():
        raise ValueError(f"name {name!r} is not ASCII; write it in its xn-- form")
    labels = name.encode().removesuffix(b".").split(b".") if name != "." else []
    for label in labels:
        if not 0 < len(label) <= LABEL_MAX_BYTES:
            raise ValueError(f"name {name!r} must consist of labels of 1 to {LABEL_MAX_BYTES} characters")
    data = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    if len(data) > NAME_MAX_BYTES:
        raise ValueError(f"name {name!r} is longer than {NAME_MAX_BYTES} bytes")
    return data


async def check(target: Target, prepared: Query, dial: Dialer) -> Verdict:
    """Ask once. Returns L7OK, L7STS for another response code, or what went wrong."""
    number = os.urandom(2)
    server = await dial.connect_udp(target)
    data = b""
    try:
        await server.send(number + prepared.rest)
        data = await _answer(server, number)
        code = _HEAD.unpack_from(data)[1] & _CODE
        reason, detail = Reason.L7OK, "DNS NOERROR"
        if code:
            reason, detail = (
                Reason.L7STS,
                f"DNS {_CODES[code] if code < len(_CODES) else f'code {code}'}, wanted NOERROR",
            )
    except ProbeError as error:
        reason, detail = error.reason, str(error)
    except _TooManyError as error:
        reason, detail = Reason.L7RSP, str(error)
    finally:
        server.close()
    return Verdict(reason, detail, sent=prepared.text, received=excerpt(data))


class _TooManyError(Exception):
    """Many datagrams came, and no answer among them."""


async def _answer(server: Datagrams, number: bytes) -> bytes:
    """Return the answer to the query `number`, at least its whole head. Raises ProbeError, _TooManyError."""
    for _ in range(STRANGERS_MAX):
        data = await server.receive()
        if len(data) >= _HEAD.size and data.startswith(number) and _HEAD.unpack_from(data)[1] & _RESPONSE:
            return data
    raise _TooManyError(f"{STRANGERS_MAX} datagrams, and none of them the answer")
