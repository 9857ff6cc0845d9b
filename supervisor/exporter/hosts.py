"""By which names the exporter may be called. Pure.

A page of a stranger's site can make a browser ask us under a name of its own that leads to our address (DNS rebinding), and would then
read the answer. So a name has to be one that belongs to this host; a numeric address cannot be rebound and always may be used.
Sources: RFC 9110, sections 7.2 and 15.5.20 (421); observability.md, section 6.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

MISDIRECTED = "this exporter is not known by that name; ask by its numeric address, or start vipervisor with --exporter-name NAME\n"


class Hosts:
    """The names that are ours."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """`names` are those that the operator adds and the host's own; localhost is always one."""
        self._names = {"localhost", *(_plain(name) for name in names if name)}

    def knows(self, host: str) -> bool:
        """Tell whether a Host header (a name or an address, and perhaps a port) may be ours."""
        name = _without_port(host.strip())
        return _plain(name) in self._names or _is_address(name)


def _without_port(host: str) -> str:
    if host.startswith("["):
        name, closed, port = host[1:].partition("]")
        fits = closed and (not port or (port.startswith(":") and _is_port(port[1:])))
        return name if fits else ""
    name, colon, port = host.partition(":")
    return name if not colon or _is_port(port) else ""


def _is_port(text: str) -> bool:
    return text.isascii() and (text.isdecimal() or not text)


def _plain(name: str) -> str:
    """Return a name without what makes no difference: case, and a dot at the end."""
    return name.lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
