"""Where the exporter listens, as an operator writes it. Pure; the command line reads it too."""

from __future__ import annotations

import ipaddress


def parse_listen(text: str) -> tuple[str, int]:
    """Read ADDRESS:PORT, where an IPv6 address stands in brackets and port 0 means any free one.

    Raises ValueError with a sentence for the operator.
    """
    address, _, port = text.rpartition(":")
    bracketed = address.startswith("[") and address.endswith("]")
    try:
        numeric = ipaddress.ip_address(address[1:-1] if bracketed else address)
    except ValueError:
        numeric = None
    if numeric is None or bracketed != (numeric.version == 6) or not _is_port(port):
        raise ValueError(f"expected a numeric ADDRESS:PORT like 127.0.0.1:9720 or [::1]:9720, got {text!r}")
    return str(numeric), int(port)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text) <= 65535
