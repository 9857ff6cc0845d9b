"""`virtual_server_group` blocks: the addresses and firewall marks that virtual servers share by the name of the group.

Reads every line into single addresses, whatever the range; a range may leave its last byte, up to `MAX_GROUP_ADDRESSES`. What is made of
them is the business of `servers`. Source: keepalived.md, section 2.3.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TypeVar

from checkers.kit.frozen import frozen
from checkers.kit.options import Keyword, Kind
from supervisor.config.problems import Code, Problems
from supervisor.config.readers import Fault, address, integer, port, quoted
from supervisor.config.realservers import check_address
from supervisor.config.tree import Node
from supervisor.config.values import tolerated
from supervisor.model import Endpoint, IPAddress

MAX_GROUP_ADDRESSES = 4096
"""Addresses and marks of one group; each is a service of the kernel with all real servers (keepalived.md, section 2.3)."""

MAX_GROUP_DESTINATIONS = 1_000_000
"""Addresses times real servers of all virtual servers with a group. Ours: it bounds memory and time."""

MAX_ALL_GROUP_ADDRESSES = 131_072
"""Addresses and marks of all groups together, those that stand there twice included. Ours: it bounds memory and time."""

_MARK = Keyword("fwmark", Kind.INTEGER, "firewall mark", low=1, high=4294967295)
_Member = TypeVar("_Member", "Endpoint", "Mark")
_FAMILIES = {"inet": 4, "inet6": 6}


@frozen
class Mark:
    """A firewall mark of a group; family 0: that of the real servers."""

    mark: int
    family: int

    def __str__(self) -> str:
        return f"fwmark {self.mark}"


@dataclass(slots=True)
class Group:
    """One group: where it stands, and its addresses in the order of the file, then its marks, each with its line."""

    node: Node
    addresses: dict[Endpoint, Node] = field(default_factory=dict)
    marks: dict[Mark, Node] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.addresses) + len(self.marks)

    @property
    def name(self) -> str:
        """What `virtual_server group NAME` calls it."""
        return self.node.words[1]

    @property
    def has_all_ports(self) -> bool:
        """Whether an address of it stands for all ports."""
        return any(endpoint.port == 0 for endpoint in self.addresses)


class Groups:
    """All groups of one configuration, by name. A group may stand behind the virtual servers that use it."""

    def __init__(self, problems: Problems, nodes: list[Node]) -> None:
        self._problems = problems
        self._groups: dict[str, Group] = {}
        self._count = 0
        self._destinations = 0
        for node in nodes:
            self._read(node)

    def find(self, node: Node) -> Group | None:
        """The group that `virtual_server group NAME` names; None, with a problem, when there is none."""
        words = node.words
        if len(words) < 3:
            self._problems.add(Code.MISSING_VALUE, node.place(1), '"virtual_server group" needs the name of the group')
            return None
        found = self._groups.get(words[2])
        if found is None:
            near = self._problems.suggest(words[2], self._groups)
            hint = f'did you mean "{near}"?' if near else "add a virtual_server_group block of this name"
            message = f"there is no virtual_server_group {quoted(words[2])}"
            self._problems.add(Code.GROUP, node.place(2), message, hint)
        return found

    def weigh(self, node: Node, group: Group, real_servers: int) -> None:
        """Count what a virtual server makes of its group. Raises GivenUp when it is too much."""
        self._destinations += len(group) * max(1, real_servers)
        if self._destinations > MAX_GROUP_DESTINATIONS:
            message = f"the addresses of groups times their real servers are more than {MAX_GROUP_DESTINATIONS}"
            hint = "a firewall mark can stand for any number of addresses"
            self._problems.give_up(Code.TOO_MUCH_TEXT, node.place(0, -1), message, hint)

    def _read(self, node: Node) -> None:
        problems = self._problems
        if len(node.words) > 2:
            extra = quoted(" ".join(node.words[2:]))
            message = f'extra words {extra} after "virtual_server_group {node.words[1]}"'
            fault = Fault(Code.EXTRA_WORDS, 2, message, last=-1)
            if not tolerated(node, fault, problems):
                problems.add(fault.code, node.place(2, -1), fault.message)
        if len(node.words) < 2:
            problems.add(Code.MISSING_VALUE, node.place(), '"virtual_server_group" needs a name')
            return
        name = node.words[1]
        group = Group(node)
        first = self._groups.setdefault(name, group)
        if first is not group:
            message = f"virtual_server_group {quoted(name)} stands in {first.node.where(node)} already"
            problems.add(Code.GROUP, node.place(0, 1), message, "merge the two blocks")
        for child in node.children or ():
            self._line(child, group)
        if len(group) == 0 and not node.children:
            problems.add(
                Code.GROUP, node.place(0, 1), "this group has no address", "add lines with an address and a port"
            )

    def _line(self, node: Node, group: Group) -> None:
        """Add what one line stands for."""
        problems = self._problems
        if node.children is not None:
            problems.add(Code.UNEXPECTED_BLOCK, node.place(), '"virtual_server_group" holds addresses, not blocks')
            return
        try:
            self._add(node, group)
        except Fault as fault:
            if tolerated(node, fault, problems):
                self._line(node, group)
            else:
                problems.add(fault.code, node.place(fault.index, fault.last), fault.message, fault.suggestion)

    def _add(self, node: Node, group: Group) -> None:
        """Raises Fault, GivenUp."""
        words = node.words
        most = 3 if words[0] == "fwmark" else 2
        if len(words) > most:
            extra = quoted(" ".join(words[most:]))
            raise Fault(Code.EXTRA_WORDS, most, f'extra words {extra} after "{" ".join(words[:most])}"', last=-1)
        if words[0] == "fwmark":
            self._enter(_mark(words), group.marks, node)
            return
        first, last = _range(words[0])
        check_address(first, 0)
        check_address(last, 0)
        number = port(words[1], 1, zero_allowed=True) if len(words) > 1 else 0
        count = int(last) - int(first) + 1
        if count + len(group) > MAX_GROUP_ADDRESSES:
            message = f"{quoted(words[0])} stands for {count} addresses; a group may have {MAX_GROUP_ADDRESSES}"
            hint = "each address becomes a service of its own; a firewall mark can stand for any number"
            raise Fault(Code.TOO_MUCH_TEXT, 0, message, hint)
        self._count += count
        if self._count > MAX_ALL_GROUP_ADDRESSES:
            message = f"the groups of this configuration have more than {MAX_ALL_GROUP_ADDRESSES} addresses"
            self._problems.give_up(Code.TOO_MUCH_TEXT, node.place(), message)
        for value in range(int(first), int(last) + 1):
            self._enter(Endpoint(type(first)(value), number), group.addresses, node)

    def _enter(self, member: _Member, members: dict[_Member, Node], node: Node) -> None:
        first = members.setdefault(member, node)
        if first is not node:
            message = f"{member} is in this group already, in {first.where(node)}"
            self._problems.add(Code.NO_EFFECT, node.place(0, -1), message)


def _mark(words: tuple[str, ...]) -> Mark:
    """Read `fwmark N [inet|inet6]`. Raises Fault."""
    if len(words) < 2:
        raise Fault(Code.MISSING_VALUE, 0, '"fwmark" needs the mark (1 to 4294967295)')
    mark = integer(words, _MARK, 1)
    if len(words) == 2:
        return Mark(mark, 0)
    if words[2] not in _FAMILIES:
        raise Fault(Code.NOT_A_CHOICE, 2, f"{quoted(words[2])} is no address family", "one of: inet inet6")
    return Mark(mark, _FAMILIES[words[2]])


def _range(text: str) -> tuple[IPAddress, IPAddress]:
    """The first and the last address of `IP`, `IP/MASK`, `IP-IP` or `IP-E`. Raises Fault."""
    if "/" in text:
        return _network(text)
    start, dash, end = text.partition("-")
    first = address(start, 0)
    if not dash:
        return first, first
    if isinstance(first, ipaddress.IPv4Address):
        short = re.fullmatch(r"[0-9]{1,3}", end, re.ASCII)
        last = address(f"{start.rpartition('.')[0]}.{int(end)}" if short else end, 0)
    else:
        short = re.fullmatch(r"[0-9A-Fa-f]{1,4}", end, re.ASCII)
        last = ipaddress.IPv6Address(int(first) >> 16 << 16 | int(end, 16)) if short else address(end, 0)
    if last.version != first.version:
        raise Fault(Code.NOT_AN_ADDRESS, 0, f"{quoted(text)} begins and ends in different address families")
    if int(last) <= int(first):
        raise Fault(Code.NOT_AN_ADDRESS, 0, f"{quoted(text)} ends before it begins: {last} is not above {first}")
    return first, last


def _network(text: str) -> tuple[IPAddress, IPAddress]:
    """Raises Fault."""
    start, _, length = text.partition("/")
    first = address(start, 0)
    bits = first.max_prefixlen
    if re.fullmatch(r"[0-9]{1,3}", length, re.ASCII) is None or not 1 <= int(length) <= bits:
        raise Fault(Code.NOT_AN_ADDRESS, 0, f"{quoted(text)} has no prefix length from 1 to {bits} behind its slash")
    size = 1 << (bits - int(length))
    if int(first) % size:
        base = type(first)(int(first) - int(first) % size)
        raise Fault(Code.NOT_AN_ADDRESS, 0, f"{quoted(text)} has host bits", f"the network is {base}/{length}")
    return first, type(first)(int(first) + size - 1)
