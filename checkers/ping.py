"""PING_CHECK: the real server is up when its host answers to an ICMP echo request (keepalived.md, section 3.6; RFC 792, RFC 4443).

One request with 128 bytes that nobody else can have sent; a reply with the same bytes is a success, silence within the time limit
and an ICMP error are failures. Other messages that the socket hears are passed over. The supervisor opens the socket, because a
worker may not.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping

from checkers.kit.api import Dialer, ProbeError, Reason, Target, Verdict
from checkers.kit.options import Json, Keyword

KEYWORD = "PING_CHECK"

OPTIONS: tuple[Keyword, ...] = ()

PAYLOAD_BYTES = 128
"""As many as keepalived sends."""

TOKEN_BYTES = 16
"""So many of them are random: enough that no two probes of a year have the same."""

STRANGERS_MAX = 64
"""Most messages of others that one probe passes over; whoever floods us has no host that answers."""

_HEAD = struct.Struct(">BBHHH")  # type code checksum identifier sequence
_REQUEST, _REPLY = 8, 0
_REQUEST_V6, _REPLY_V6 = 128, 129


def prepare(options: Mapping[str, Json]) -> None:
    """There is nothing to prepare."""
    del options


async def check(target: Target, prepared: None, dial: Dialer) -> Verdict:
    """Ping once. A socket that cannot be had leaves as ProbeError."""
    del prepared
    token = os.urandom(TOKEN_BYTES)
    payload = token + bytes(range(PAYLOAD_BYTES - TOKEN_BYTES))
    echo = await dial.connect_echo(target)
    try:
        await echo.send(_request(payload, ipv6=target.is_ipv6))
        for _ in range(STRANGERS_MAX):
            if _is_reply(await echo.receive(), payload, ipv6=target.is_ipv6):
                return Verdict(Reason.L4OK, "echo reply")
    except ProbeError as error:
        reason = Reason.L4TOUT if error.reason is Reason.L7TOUT else error.reason
        return Verdict(reason, str(error) if reason is not Reason.L4TOUT else "no echo reply in time")
    finally:
        echo.close()
    return Verdict(Reason.L7RSP, f"{STRANGERS_MAX} other ICMP messages and no echo reply")


def _request(payload: bytes, *, ipv6: bool) -> bytes:
    """Return an echo request. A socket for ping sets identifier and checksum itself, and so does the kernel the checksum of ICMPv6."""
    identifier = int.from_bytes(payload[:2])
    if ipv6:
        return _HEAD.pack(_REQUEST_V6, 0, 0, identifier, 1) + payload
    message = _HEAD.pack(_REQUEST, 0, 0, identifier, 1) + payload
    return _HEAD.pack(_REQUEST, 0, checksum(message), identifier, 1) + payload


def checksum(message: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of a message with an even number of bytes."""
    total: int = sum(struct.unpack(f">{len(message) // 2}H", message))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _is_reply(message: bytes, payload: bytes, *, ipv6: bool) -> bool:
    """Tell whether a message, without its IP header, is the reply to our request."""
    return (
        len(message) == _HEAD.size + len(payload)
        and message[0] == (_REPLY_V6 if ipv6 else _REPLY)
        and message[_HEAD.size :] == payload
    )
