"""The persistence of one virtual server: time-out, granularity and engine. Sources: keepalived.md, section 2.2; ipvs.md, section 4."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from supervisor.config import keywords
from supervisor.config.groups import Group
from supervisor.config.problems import Code, Place, Problems
from supervisor.config.readers import quoted
from supervisor.config.values import Block
from supervisor.model import AddressKey, Protocol, ServiceKey

ENGINE_NAME_MAX = 15
"""IP_VS_PENAME_MAXLEN of ip_vs.h, without its NUL."""


class Persistence(NamedTuple):
    """Time-out in seconds (0: none), prefix length (0: the family's default), name of the engine ("": none)."""

    timeout: int
    prefix: int
    engine: str


def read_persistence(block: Block, key: ServiceKey, group: Group | None, problems: Problems) -> Persistence:
    """What a virtual_server block says; `group` when the key is one address or mark of it."""
    timeout, prefix = _times(block, key, group, problems)
    return Persistence(timeout, prefix, _engine(block, key, timeout, problems))


def _engine(block: Block, key: ServiceKey, timeout: int, problems: Problems) -> str:
    """The name of the persistence engine. The kernel refuses one that it has no module for, and `sip` reads nothing but UDP."""
    engine: str = block.get("persistence_engine", "")
    if not engine:
        return ""
    place = block.value_place("persistence_engine")
    if len(engine.encode()) > ENGINE_NAME_MAX:
        message = f"the name of a persistence engine has at most {ENGINE_NAME_MAX} characters"
        problems.add(Code.BAD_TEXT, place, message)
    elif engine != "sip":
        message = (
            f"Linux has no persistence engine {quoted(engine)}; without a module of that name this cannot be served"
        )
        problems.add(Code.RISKY, place, message, 'the only one is "sip"')
    elif isinstance(key, AddressKey) and key.protocol is not Protocol.UDP:
        message = f"the engine sip reads SIP over UDP only; it has no effect on {key.protocol}"
        problems.add(Code.NO_EFFECT, place, message)
    if timeout == 0:
        message = '"persistence_engine" has no effect without "persistence_timeout"'
        problems.add(Code.NO_EFFECT, block.place("persistence_engine"), message)
        return ""  # the kernel forgets it
    return engine


def _times(block: Block, key: ServiceKey, group: Group | None, problems: Problems) -> tuple[int, int]:
    """Timeout in seconds (0: none) and prefix length (0: the family's default)."""
    timeout: int = block.get("persistence_timeout", 0)
    granularity = block.entries.get("persistence_granularity")
    prefix = 0
    if granularity is not None and granularity.value is not None:
        place = block.value_place("persistence_granularity")
        prefix = _prefix(granularity.value, key.family, place, problems)
        if prefix and timeout == 0:
            timeout = keywords.PERSISTENCE_DEFAULT_S
            message = f"persistence_granularity turns persistence on, for {timeout} s"
            problems.add(Code.IMPLIED, granularity.node.place(), message)
    if group and prefix:
        prefix = 0
        message = (
            "keepalived ignores the granularity for the addresses of a group, and so it is here: each client by itself"
        )
        problems.add(Code.CORRECTED, block.place("persistence_granularity"), message)
    all_ports = group.has_all_ports if group else isinstance(key, AddressKey) and key.endpoint.port == 0
    if all_ports and timeout == 0:
        timeout = keywords.PERSISTENCE_DEFAULT_S
        message = f"a virtual server for all ports needs persistence; {timeout} s is taken"
        problems.add(Code.CORRECTED, block.node.place(0, -1), message, 'add "persistence_timeout"')
    return timeout, prefix


def _prefix(text: str, family: int, place: Place, problems: Problems) -> int:
    """The prefix length of a granularity: an IPv4 mask without holes, or an IPv6 prefix length."""
    prefix = 0
    if family == 6:
        if text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= 128:
            prefix = int(text)
        message, hint = f"{quoted(text)} is no IPv6 prefix length", "a number from 1 to 128"
    else:
        try:
            mask = int(ipaddress.IPv4Address(text))
        except ValueError:
            mask = 0
        if mask and (~mask & 0xFFFFFFFF) & ((~mask & 0xFFFFFFFF) + 1) == 0:
            prefix = mask.bit_count()
        message, hint = f"{quoted(text)} is no IPv4 mask", "for example 255.255.255.0"
    if prefix == 0:
        problems.add(Code.NOT_AN_ADDRESS, place, message, hint)
    return prefix
