"""Words into typed values: one reader for each kind of value that the keyword tables know.

A reader takes the words of a statement (keyword first) and its `Keyword`, and returns the value or raises `Fault` with a sentence for
the operator and the words that are meant. Numbers are whole words: nothing is ever cut down to a prefix that happens to be one.
Sources: keepalived.md, sections 1.9 and 2.2.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from checkers.kit.options import UNREADABLE, Keyword, Kind
from supervisor.config import keywords
from supervisor.config.problems import Code, suggest
from supervisor.model import Endpoint, Forwarding, IPAddress, Method, TunnelChecksum, TunnelType


class Fault(Exception):
    """A value that is not one: the words `index` to `last` of the statement are wrong. Not an error of ours.

    `value` is what is taken in its place; it is of use when the code is that of a warning.
    """

    def __init__(
        self, code: Code, index: int, message: str, suggestion: str = "", last: int | None = None, value: Any = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.index = index
        self.message = message
        self.suggestion = suggestion
        self.last = last
        self.value = value


def quoted(text: str) -> str:
    """The text between quotes, shortened when nobody wants to read all of it."""
    return f'"{text}"' if len(text) <= 60 else f'"{text[:57]}…"'


_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_TIMER = re.compile(r"[0-9]+(\.[0-9]{1,6})?|\.[0-9]{1,6}", re.ASCII)
_BOOLEANS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
_STATUS = re.compile(r"([0-9]{3})(?:-([0-9]{3}))?", re.ASCII)
_HOST_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?", re.ASCII)
_MAX_DIGITS = 20


def _number_text(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def range_hint(keyword: Keyword) -> str:
    """The range of a keyword's value for the end of a sentence, or "" when it has none."""
    if keyword.low is None or keyword.high is None or keyword.kind is Kind.HEX:
        return ""
    unit = f" {keyword.unit}" if keyword.unit else ""
    return f" ({_number_text(keyword.low)} to {_number_text(keyword.high)}{unit})"


def _in_range(value: float, text: str, keyword: Keyword, index: int = 1) -> None:
    low, high = keyword.low, keyword.high
    if (low is None or value >= low) and (high is None or value <= high):
        return
    if high is None:
        bounds = f"below {_number_text(low or 0)}"
    elif low is None:
        bounds = f"above {_number_text(high)}"
    else:
        bounds = f"outside {_number_text(low)} to {_number_text(high)}"
    unit = f" {keyword.unit}" if keyword.unit else ""
    reason = keywords.RANGE_REASONS.get(keyword.name, "")
    message = f"{keyword.name} {quoted(text)} is {bounds}{unit}{': ' + reason if reason else ''}"
    raise Fault(Code.OUT_OF_RANGE, index, message)


def integer(words: tuple[str, ...], keyword: Keyword, index: int = 1) -> int:
    """A decimal number, the whole word. Raises Fault."""
    text = words[index]
    if _INTEGER.fullmatch(text) is None:
        leading = re.match(r"[0-9]+", text, re.ASCII)
        hint = f"keepalived would take it for {leading[0]}" if leading and len(leading[0]) <= _MAX_DIGITS else ""
        raise Fault(Code.NOT_A_NUMBER, index, f"{keyword.name} {quoted(text)} is not a whole number", hint)
    digits = text.lstrip("+-0")
    value = int(digits or "0") if len(digits) <= _MAX_DIGITS else int("9" * _MAX_DIGITS)
    value = -value if text.startswith("-") else value
    _in_range(value, text, keyword, index)
    return value


def _timer(words: tuple[str, ...], keyword: Keyword) -> float:
    text = words[1]
    if _TIMER.fullmatch(text) is None:
        message = f"{keyword.name} {quoted(text)} is not a time in seconds"
        raise Fault(Code.NOT_A_TIME, 1, message, "digits, and up to six decimals: 5, 1.5, 0.25")
    value = float(text)
    _in_range(value, text, keyword)
    return value


def _flag(words: tuple[str, ...], keyword: Keyword) -> bool:
    if len(words) == 1:
        return True
    value = _BOOLEANS.get(words[1])
    if value is None:
        message = f"{keyword.name} takes no word, or one of true on yes false off no; not {quoted(words[1])}"
        near = suggest(words[1], _BOOLEANS)
        raise Fault(Code.NOT_A_BOOLEAN, 1, message, f'did you mean "{near}"?' if near else "")
    return value


def _text(words: tuple[str, ...], _keyword: Keyword) -> str:
    return words[1]


def _texts(words: tuple[str, ...], _keyword: Keyword) -> list[str]:
    return list(words[1:])


def _choice(words: tuple[str, ...], keyword: Keyword) -> str:
    text = words[1]
    for choice in keyword.choices:
        if text == choice or (not keyword.case_sensitive and text.lower() == choice.lower()):
            return choice
    near = suggest(text, keyword.choices)
    hint = f'did you mean "{near}"?' if near else "one of: " + " ".join(keyword.choices)
    raise Fault(Code.NOT_A_CHOICE, 1, f"unknown value {quoted(text)} for {keyword.name}", hint)


def address(text: str, index: int) -> IPAddress:
    """A numeric address of the word `index`; says what it looks like when it is none. Raises Fault."""
    try:
        value = _ipv4(text) if ":" not in text else ipaddress.IPv6Address(text)
    except ValueError:
        value = None
    if value is not None and "%" not in text:
        return value
    message, hint = f"{quoted(text)} is not a numeric address", ""
    if "%" in text:
        hint = "leave the zone out; bind_if names the interface of a probe"
    elif "/" in text:
        message, hint = f"{quoted(text)} is a network, and one address is wanted", "each address needs its own block"
    elif re.fullmatch(r"[0-9.]+-[0-9.]+|[0-9a-fA-F:]+-[0-9a-fA-F:]+", text, re.ASCII):
        message, hint = f"{quoted(text)} is a range, and one address is wanted", "each address needs its own block"
    elif text.startswith("["):
        hint = "write IPv6 addresses without brackets"
    elif re.fullmatch(r"[0-9.]+:[0-9]+", text, re.ASCII):
        hint = f"put a blank between address and port: {text.replace(':', ' ')}"
    elif _HOST_NAME.fullmatch(text):
        hint = "host names are not looked up; write the address"
    raise Fault(Code.NOT_AN_ADDRESS, index, message, hint)


def _ipv4(text: str) -> ipaddress.IPv4Address:
    """What `ipaddress` makes of the text, in a quarter of the time: there may be thousands. Raises ValueError."""
    try:
        return ipaddress.IPv4Address(socket.inet_pton(socket.AF_INET, text))
    except OSError as error:
        raise ValueError(str(error)) from error


def _address(words: tuple[str, ...], _keyword: Keyword) -> IPAddress:
    return address(words[1], 1)


def port(text: str, index: int, *, zero_allowed: bool) -> int:
    """A port of the word `index`; 0 means none, where that is allowed. Raises Fault."""
    digits = text.lstrip("0")
    if not (text.isascii() and text.isdigit()):
        hint = "port names are not looked up; write the number" if re.fullmatch(r"[a-z-]+", text) else ""
        raise Fault(Code.NOT_A_PORT, index, f"{quoted(text)} is not a port", hint)
    value = _number(digits or "0") if len(digits) <= 5 else 65536
    if value > 65535 or (value == 0 and not zero_allowed):
        raise Fault(Code.NOT_A_PORT, index, f"port {quoted(text)} is outside {0 if zero_allowed else 1} to 65535")
    return value


@functools.lru_cache(256)
def _number(digits: str) -> int:
    """The same object for the same digits: thousands of real servers have one port."""
    return int(digits)


def _port(words: tuple[str, ...], _keyword: Keyword) -> int:
    return port(words[1], 1, zero_allowed=False)


def endpoint(words: tuple[str, ...], _keyword: Keyword | None = None) -> Endpoint:
    """An address and an optional port after the keyword. Raises Fault."""
    return Endpoint(address(words[1], 1), port(words[2], 2, zero_allowed=True) if len(words) > 2 else 0)


def _status_ranges(words: tuple[str, ...], _keyword: Keyword) -> list[list[int]]:
    found: list[list[int]] = []
    for index, text in enumerate(words[1:], 1):
        match = _STATUS.fullmatch(text)
        low = int(match[1]) if match else 0
        high = int(match[2]) if match and match[2] else low
        if not 100 <= low <= high <= 599:
            message = f"{quoted(text)} is no HTTP status and no range of them"
            raise Fault(Code.NOT_A_STATUS, index, message, "numbers within 100 to 599: 200, 200-299")
        found.append([low, high])
    return found


def _hexadecimal(words: tuple[str, ...], keyword: Keyword) -> str:
    text = words[1]
    low, high = int(keyword.low or 0), int(keyword.high or len(text))
    if not re.fullmatch(r"[0-9A-Fa-f]*", text, re.ASCII) or not low <= len(text) <= high:
        wanted = f"{high} hexadecimal digits" if keyword.high else "hexadecimal digits"
        raise Fault(Code.NOT_HEX, 1, f"{keyword.name} must be {wanted}; {quoted(text)} has {len(text)} characters")
    return text.lower()


CERTIFICATES_MAX_BYTES = 32_768
"""Longest text of certificates: it travels in the job of a check, which may take 64 KiB (checkers.kit.wire)."""

_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\\s]+-----END CERTIFICATE-----", re.ASCII)
_PRIVATE_KEY = re.compile(
    "-----BEGIN ([A-Z ]*PRIVATE KEY)-----[A-Za-z0-9+/=\\s:,-]+?-----END \\1-----", re.ASCII
)  # the older form of an encrypted one has headers, such as DEK-Info: AES-256-CBC,…
_PEM_FILE_MAX_BYTES = 4_194_304


def _certificates(words: tuple[str, ...], keyword: Keyword) -> str:
    """The certificates of a PEM file as text, and nothing else of it: a private key must not travel. Raises Fault."""
    return _pem(words, keyword, _CERTIFICATE, "certificate")


def _private_key(words: tuple[str, ...], keyword: Keyword) -> str:
    """The private keys of a PEM file as text, and nothing else of it. Raises Fault."""
    return _pem(words, keyword, _PRIVATE_KEY, "private key")


def _pem(words: tuple[str, ...], keyword: Keyword, wanted: re.Pattern[str], what: str) -> str:
    """The wanted parts of a PEM file. Raises Fault: a warning for a file that is not there or not readable by us."""
    path, name = Path(words[1]), quoted(words[1])
    if not path.is_absolute():
        raise Fault(Code.BAD_TEXT, 1, f"{keyword.name} must be a path that begins with /; not {name}")
    try:
        if path.exists() and not path.is_file():
            raise Fault(Code.UNREADABLE, 1, f"{keyword.name} {name} is no ordinary file")
        with path.open("rb") as file:
            text = file.read(_PEM_FILE_MAX_BYTES).decode(errors="replace")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        message = f"{keyword.name} {name} cannot be read: {reason}"
        loser = "mail" if keyword.name.startswith("smtp_") else "SSL_GET"
        told = f"{message}; {loser} will fail until it can"
        raise Fault(Code.UNUSABLE_FILE, 1, told, value=f"{UNREADABLE}{message}") from error
    found = "\n".join(match[0] for match in wanted.finditer(text))
    if not found:
        raise Fault(Code.BAD_TEXT, 1, f"{keyword.name} {name} holds no {what} in PEM form")
    if len(found) > CERTIFICATES_MAX_BYTES:
        message = f"{keyword.name} {name} holds {len(found)} bytes of {what}s; at most {CERTIFICATES_MAX_BYTES} fit"
        raise Fault(Code.BAD_TEXT, 1, message, "keep only those that are needed for these servers")
    return found


def _concealed(words: tuple[str, ...], keyword: Keyword) -> str:
    """One word that nobody is shown. Raises Fault."""
    if len(words) > 2:
        raise Fault(Code.EXTRA_WORDS, 2, f'extra words after the value of "{keyword.name}"', "quote it", last=-1)
    return words[1]


def _octets(words: tuple[str, ...], keyword: Keyword) -> str:
    """Bytes as hexadecimal digits, in pairs; the checker knows where x may stand. Raises Fault."""
    for index, text in enumerate(words[1:], 1):
        if not re.fullmatch(r"(?:[0-9A-Fa-fxX]{2})+", text, re.ASCII):
            raise Fault(
                Code.NOT_HEX, index, f"{keyword.name} must be hexadecimal digits in pairs; {quoted(text)} is not"
            )
    return "".join(words[1:]).lower()


_TUNNEL_PORT = Keyword("port", Kind.PORT, "port of a GUE tunnel")
_CHECKSUMS = {"nocsum": TunnelChecksum.NONE, "csum": TunnelChecksum.CSUM, "remcsum": TunnelChecksum.REMCSUM}


def _method(words: tuple[str, ...], keyword: Keyword) -> Method:
    """NAT | DR | TUN [type ipip | gue port N | gre] [nocsum | csum | remcsum] (keepalived.md, section 2.2)."""
    kind = words[1]
    if kind not in Forwarding.__members__:
        near = suggest(kind, Forwarding.__members__)
        hint = f'did you mean "{near}"?' if near else "one of: NAT DR TUN"
        raise Fault(Code.BAD_METHOD, 1, f"unknown forwarding method {quoted(kind)}", hint)
    forwarding = Forwarding[kind]
    index, tunnel, tunnel_port, checksum = 2, TunnelType.IPIP, 0, TunnelChecksum.NONE
    if forwarding is Forwarding.TUN:
        if words[index : index + 1] == ("type",):
            index, tunnel, tunnel_port = _tunnel_type(words, index + 1)
        if index < len(words) and words[index] in _CHECKSUMS:
            checksum = _CHECKSUMS[words[index]]
            refused = {TunnelType.IPIP: {"csum", "remcsum"}, TunnelType.GRE: {"remcsum"}, TunnelType.GUE: set[str]()}
            if words[index] in refused[tunnel]:
                message = f'a tunnel of type {tunnel.name.lower()} has no "{words[index]}"'
                raise Fault(Code.BAD_METHOD, index, message)
            index += 1
    if index < len(words):
        extra = " ".join(words[index:])
        raise Fault(Code.EXTRA_WORDS, index, f'extra words {quoted(extra)} after "{keyword.name} {kind}"', last=-1)
    return Method(forwarding, tunnel, tunnel_port, checksum)


def _tunnel_type(words: tuple[str, ...], index: int) -> tuple[int, TunnelType, int]:
    """The type of a tunnel from the word `index` on: the next index, the type, the port of GUE."""
    name = words[index] if index < len(words) else ""
    if name not in {"ipip", "gue", "gre"}:
        raise Fault(Code.BAD_METHOD, min(index, len(words) - 1), '"type" needs one of: ipip, gue port N, gre')
    tunnel = TunnelType[name.upper()]
    if tunnel is not TunnelType.GUE:
        return index + 1, tunnel, 0
    if words[index + 1 : index + 2] != ("port",) or index + 2 >= len(words):
        raise Fault(Code.BAD_METHOD, index, "a tunnel of type gue needs its port: type gue port 6080")
    return index + 3, tunnel, port(words[index + 2], index + 2, zero_allowed=False)


READERS: dict[Kind, tuple[int, int | None, Callable[[tuple[str, ...], Keyword], Any]]] = {
    Kind.FLAG: (0, 1, _flag),
    Kind.INTEGER: (1, 1, integer),
    Kind.TIMER: (1, 1, _timer),
    Kind.TEXT: (1, 1, _text),
    Kind.TEXTS: (1, None, _texts),
    Kind.ADDRESS: (1, 1, _address),
    Kind.PORT: (1, 1, _port),
    Kind.ENDPOINT: (1, 2, endpoint),
    Kind.CHOICE: (1, 1, _choice),
    Kind.STATUS_RANGES: (1, None, _status_ranges),
    Kind.HEX: (1, 1, _hexadecimal),
    Kind.CERTIFICATES: (1, 1, _certificates),
    Kind.PRIVATE_KEY: (1, 1, _private_key),
    Kind.CONCEALED: (1, None, _concealed),
    Kind.OCTETS: (1, None, _octets),
    Kind.COMMAND: (1, 3, _texts),
    Kind.REGEX: (1, 1, _text),
    Kind.FORWARDING: (1, None, _method),
}
"""Kind → least and most words after the keyword, and what reads them."""
