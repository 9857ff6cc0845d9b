"""UDP_CHECK: the real server is up as long as the network does not say that nobody listens there (keepalived.md, section 3.6).

One datagram goes out. An ICMP error is a failure, and so, with `require_reply`, is silence; without it silence is a success, and so
is any reply at once. With a pattern the reply must begin with it and have a length in the given range. As in keepalived the range
means nothing without a pattern. Must never send a second datagram, and never answer the reply.
"""

from __future__ import annotations

from collections.abc import Mapping

from checkers.kit.api import DeadlinePassed, Dialer, ProbeError, Reason, Target, Verdict
from checkers.kit.excerpt import excerpt
from checkers.kit.frozen import frozen
from checkers.kit.options import Json, Keyword, Kind

KEYWORD = "UDP_CHECK"

PAYLOAD_MAX_BYTES = 65_507
"""What a datagram over IPv4 can hold."""

PAYLOAD_DEFAULT = b"vipervisor check vipervisor chec"
"""32 bytes that mean nothing, as many as keepalived sends."""

REPLY_DEFAULT_MAX_BYTES = 255

OPTIONS: tuple[Keyword, ...] = (
    Keyword("payload", Kind.OCTETS, "bytes to send (32 that mean nothing)"),
    Keyword(
        "require_reply",
        Kind.OCTETS,
        "silence is a failure; with bytes (x stands for any digit): the reply must begin so",
        optional_value=True,
        default="",
    ),
    Keyword(
        "min_reply_length",
        Kind.INTEGER,
        "shortest reply that may fit the bytes of require_reply",
        unit="bytes",
        low=0,
        high=65535,
        default=0,
    ),
    Keyword(
        "max_reply_length",
        Kind.INTEGER,
        "longest reply that may fit the bytes of require_reply",
        unit="bytes",
        low=0,
        high=65535,
        default=REPLY_DEFAULT_MAX_BYTES,
    ),
)


@frozen
class Exchange:
    """What to send and what to make of the reply. `mask` has the bits of a reply that must equal `pattern`, byte for byte."""

    payload: bytes
    required: bool
    pattern: bytes
    mask: bytes
    low: int
    high: int

    def complaint(self, reply: bytes) -> str:
        """Return what is wrong with the reply; empty when nothing is."""
        if not self.pattern:
            return ""
        if not self.low <= len(reply) <= self.high:
            return f"reply of {len(reply)} bytes, wanted {self.low} to {self.high}"
        if len(reply) < len(self.pattern):
            return f"reply of {len(reply)} bytes, wanted at least the {len(self.pattern)} of require_reply"
        begins = all(got & mask == wanted for got, mask, wanted in zip(reply, self.mask, self.pattern, strict=False))
        return "" if begins else f"reply of {len(reply)} bytes does not begin as require_reply wants"


def prepare(options: Mapping[str, Json]) -> Exchange:
    """Turn the block's values into an exchange. Raises ValueError with a sentence for the operator."""
    pattern = _digits(options, "require_reply")
    low = _integer(options, "min_reply_length", 0)
    high = _integer(options, "max_reply_length", REPLY_DEFAULT_MAX_BYTES)
    if pattern and low > high:
        raise ValueError(f"min_reply_length {low} is above max_reply_length {high}")
    if pattern and len(pattern) // 2 > high:
        raise ValueError(f"require_reply has {len(pattern) // 2} bytes, more than max_reply_length {high} allows")
    payload = _digits(options, "payload")
    if "x" in payload:
        raise ValueError("payload must be exact: x stands for any digit in require_reply only")
    if len(payload) // 2 > PAYLOAD_MAX_BYTES:
        raise ValueError(f"payload has {len(payload) // 2} bytes; a datagram holds {PAYLOAD_MAX_BYTES}")
    return Exchange(
        payload=bytes.fromhex(payload) or PAYLOAD_DEFAULT,
        required="require_reply" in options,
        pattern=bytes.fromhex(pattern.replace("x", "0")),
        mask=bytes.fromhex("".join("0" if digit == "x" else "f" for digit in pattern)),
        low=low,
        high=high,
    )


def _digits(options: Mapping[str, Json], name: str) -> str:
    """Return the digits of a keyword, in pairs."""
    digits = str(options.get(name) or "")
    if len(digits) % 2 or not set(digits) <= set("0123456789abcdefx"):
        raise ValueError(f"{name} must be hexadecimal digits in pairs")
    return digits


def _integer(options: Mapping[str, Json], name: str, default: int) -> int:
    value = options.get(name)
    return value if isinstance(value, int) else default


async def check(target: Target, prepared: Exchange, dial: Dialer) -> Verdict:
    """Send once. Returns L7OK for a good reply, L4OK for silence where none is required, or what went wrong."""
    server = await dial.connect_udp(target)
    reply = b""
    try:
        await server.send(prepared.payload)
        reply = await server.receive()
        complaint = prepared.complaint(reply)
        reason, detail = (Reason.L7BODY, complaint) if complaint else (Reason.L7OK, f"reply of {len(reply)} bytes")
    except DeadlinePassed as error:
        # Silence proves little, so it makes no difference whether we were late to notice it.
        reason, detail = (error.reason, str(error)) if prepared.required else (Reason.L4OK, "no error came back")
    except ProbeError as error:
        reason, detail = error.reason, str(error)
    finally:
        server.close()
    return Verdict(reason, detail, sent=excerpt(prepared.payload), received=excerpt(reply))
