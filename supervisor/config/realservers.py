"""One real_server block into one `RealServer`, with its checks. Sources: keepalived.md, sections 2.2 (corrections) and 2.4.

Most real servers of a large file differ in their address alone. A block that was understood without any problem is not read a second
time: it is remembered by its words and by those of the virtual server around it.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import TypeAlias

from checkers.kit import api
from checkers.kit.frozen import frozen
from supervisor.config import keywords
from supervisor.config.checks import Checks, Signature, inherited, signature
from supervisor.config.problems import Code, Problems
from supervisor.config.readers import Fault, endpoint, quoted
from supervisor.config.scripts import Scripts
from supervisor.config.tree import Node
from supervisor.config.values import Block, read_block, tolerated
from supervisor.model import (
    NOWHERE,
    AddressKey,
    CheckSpec,
    Endpoint,
    Forwarding,
    FwmarkKey,
    IPAddress,
    Method,
    RealServer,
    ServiceKey,
)

_UNHANDLED_CHECKS = frozenset(keyword.name for keyword in keywords.UNHANDLED_CHECKS)

_THIS_NETWORK = IPv4Network("0.0.0.0/8")
_FIRST_OF_HOSTS, _FIRST_OF_GROUPS = int(IPv4Address("1.0.0.0")), int(IPv4Address("224.0.0.0"))
"""Between these, every IPv4 address may be a server's."""

_SOMEWHERE = Endpoint(IPv4Address("192.0.2.1"), 1)


def check_address(address: IPAddress, index: int) -> None:
    """Refuse what can be no server's address (the kernel says EINVAL, or worse, nothing). Raises Fault."""
    if address.version == 4 and _FIRST_OF_HOSTS <= int(address) < _FIRST_OF_GROUPS:
        return
    if address.is_multicast:
        kind = "a multicast address"
    elif address.is_unspecified:
        kind = "the unspecified address"
    elif str(address) == "255.255.255.255":
        kind = "the broadcast address"
    elif isinstance(address, IPv4Address) and address in _THIS_NETWORK:
        kind = "an address of 0.0.0.0/8, which means no host"
    elif isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise Fault(Code.UNUSABLE_ADDRESS, index, f"{address} is an IPv4 address", f"write {address.ipv4_mapped}")
    else:
        return
    raise Fault(Code.UNUSABLE_ADDRESS, index, f"{address} is {kind}; no server can have it")


@frozen
class _Understood:
    """A real server that was read without any problem. Its checks go to `probed`, or nowhere."""

    server: RealServer
    carried: Method  # the forwarding method, as known at its place, that decides what address may serve
    probed: Endpoint


_Seen: TypeAlias = "dict[Signature, _Understood]"
"""What was understood in virtual servers that say the same, where the same forwarding method is known: by the words in it."""


MISFIT_HINT = "only TUN carries one address family over the other"


@frozen
class Surroundings:
    """What a real or sorry server has to know of its virtual server; its key is None when nobody could tell it."""

    key: ServiceKey | None
    method: Method
    block: Block
    in_group: bool = False

    def orders(self) -> dict[int, int]:
        """The number of each statement of the block by its node's id; nothing where no forwarding method stands below a real server."""
        methods, servers = self.block.entries.get("lb_kind"), self.block.entries.get("real_server")
        if methods is None or servers is None or methods.order < servers.order:
            return {}
        return {id(node): order for order, node in enumerate(self.block.node.children or (), 1)}

    def method_at(self, order: int | None) -> Method | None:
        """The forwarding method as known at a statement of the block; None for `order`: at any. None: none is known there yet."""
        known: Method | None = self.method if order is None else self.block.as_of("lb_kind", order)
        return known

    def misfit(self, address: IPAddress, method: Method) -> str:
        """Why an address cannot serve here, or "": only a tunnel carries one address family over the other."""
        if self.key is None or address.version == self.key.family or method.forwarding is Forwarding.TUN:
            return ""
        return f"{address} is IPv{address.version} but the virtual server is IPv{self.key.family}"

    def corrected(self, written: Endpoint, method: Method) -> tuple[Endpoint, str]:
        """The endpoint with the port that the kernel can use, and a sentence when it is not the written one."""
        if self.key is None:
            return written, ""
        if isinstance(self.key, FwmarkKey):
            if written.port == 0 or method.forwarding is Forwarding.NAT:
                return written, ""
            message = f"{method.forwarding.name} keeps the port that clients use; port {written.port} is only probed"
            return Endpoint(written.address, 0), message
        port = self.key.endpoint.port
        if written.port == port:
            return written, ""
        if written.port == 0 and method.forwarding is Forwarding.NAT and self.in_group:
            return written, ""  # the kernel keeps the port that clients use, which is another one for each address
        if written.port == 0:
            return Endpoint(written.address, port), f"no port is given; the virtual server's port {port} is taken"
        if method.forwarding is Forwarding.NAT and port == 0:
            message = "a virtual server for all ports keeps the port that clients use"
            return written, f"{message}; port {written.port} is only probed"
        if method.forwarding is Forwarding.NAT:
            return written, ""
        name = method.forwarding.name
        message = f"{name} cannot change the port from {port} to {written.port}; {port or 'no port'} is taken"
        return Endpoint(written.address, port), message

    def probed(self, written: Endpoint, corrected: Endpoint) -> Endpoint:
        """What is probed unless a check says otherwise: a port of its own, where it has one."""
        probed = corrected if corrected.port else written
        if probed.port == 0 and isinstance(self.key, AddressKey):
            return Endpoint(written.address, self.key.endpoint.port)
        return probed


class RealServers:
    """Reads the real servers of one configuration."""

    def __init__(self, problems: Problems, checks: Checks, scripts: Scripts, *, mail: bool) -> None:
        self._problems = problems
        self._checks = checks
        self._scripts = scripts
        self._mail = mail
        self._seen: dict[
            tuple[Signature, Method], dict[Method | None, _Seen]
        ] = {}  # by the words around it and the method that they end with; by the one that is known at its place

    def read_all(self, surroundings: Surroundings) -> tuple[RealServer, ...]:
        """The real servers of a virtual server, in the order of the file."""
        found: list[RealServer] = []
        nodes: dict[Endpoint, Node] = {}  # by the endpoint as the kernel gets it, and as it is written
        orders = surroundings.orders()
        seen = self._seen.setdefault((_words_around(surroundings.block), surroundings.method), {})
        known: Method | None = surroundings.method
        alike = seen.setdefault(known, {})
        for _, node in surroundings.block.all("real_server"):
            here = surroundings.method_at(orders.get(id(node)))
            if here is not known:
                known, alike = here, seen.setdefault(here, {})
            read = self._read(node, surroundings, alike, known)
            if read is None:
                continue
            written, server = read
            twin = nodes.setdefault(written, node)
            if written is not server.endpoint:
                twin = twin if twin is not node else nodes.setdefault(server.endpoint, node)
            if twin is not node:
                where = twin.where(node)
                message = f"{server.endpoint} is a real server of this virtual server already, in {where}; this one is left out"
                self._problems.add(Code.CORRECTED, node.place(0, -1), message)
                continue
            found.append(server)
        return tuple(found)

    def _read(
        self, node: Node, surroundings: Surroundings, seen: _Seen, outside: Method | None
    ) -> tuple[Endpoint, RealServer] | None:
        """The real server and the endpoint as it is written; `seen`: those beside it, `outside`: the method as known at its place."""
        problems = self._problems
        before = len(problems)
        words = _words_in(node)
        understood = seen.get(words)
        if understood is not None:
            like = self._like(understood, node, surroundings)
            if like is not None:
                return like
        block = read_block(node, keywords.REAL_SERVER_TABLE, problems)
        self._report_unhandled(block)
        outer = surroundings.block
        known = block.get("lvs_method", outside)
        method = surroundings.method if known is None else known
        try:
            written = self._head(node)
        except Fault as fault:
            if tolerated(node, fault, problems):
                return self._read(node, surroundings, seen, outside)
            problems.add(fault.code, node.place(fault.index, fault.last), fault.message, fault.suggestion)
            self._all_checks(block, outer, _SOMEWHERE)  # for what is wrong in them
            return None
        misfit = surroundings.misfit(written.address, known or Method())
        if misfit:
            problems.add(Code.CORRECTED, node.place(1), f"{misfit}; this real server is left out", MISFIT_HINT)
            self._all_checks(block, outer, _SOMEWHERE)
            return None
        corrected, message = surroundings.corrected(written, method)
        if message:
            problems.add(Code.CORRECTED, node.place(2 if len(node.words) > 2 else 1), message)
        probed = surroundings.probed(written, corrected)
        upper, lower = block.get("uthreshold", 0), block.get("lthreshold", 0)
        if lower > upper:
            place = block.value_place("lthreshold")
            problems.add(Code.BAD_THRESHOLDS, place, f"lthreshold {lower} is above uthreshold {upper}")
            self._all_checks(block, outer, probed)
            return None
        found = RealServer(
            endpoint=corrected,
            weight=inherited("weight", block, outer, default=1),
            method=method,
            inhibit_on_failure=inherited("inhibit_on_failure", block, outer, default=False),
            upper_threshold=upper,
            lower_threshold=lower,
            checks=self._all_checks(block, outer, probed),
            mail=block.get("smtp_alert", self._mail),
            notify_up=self._scripts.read(block, "notify_up"),
            notify_down=self._scripts.read(block, "notify_down"),
        )
        if len(problems) == before and all(check.target is probed or check.target is NOWHERE for check in found.checks):
            seen[words] = _Understood(found, known or Method(), probed)
        return written, found

    def _like(
        self, understood: _Understood, node: Node, surroundings: Surroundings
    ) -> tuple[Endpoint, RealServer] | None:
        """What `_read` returns for a block that says what another one said; None when it has to be looked at."""
        server = understood.server
        try:
            written = self._head(node)
        except Fault:
            return None
        corrected, message = surroundings.corrected(written, server.method)
        probed = surroundings.probed(written, corrected)
        if message or surroundings.misfit(written.address, understood.carried):
            return None
        if not _alike(probed, understood.probed):
            return None
        checks = tuple([check if check.target is NOWHERE else check.at(probed) for check in server.checks])
        return written, server.at(corrected, checks)

    @staticmethod
    def _head(node: Node) -> Endpoint:
        """Read `IP [PORT]`. Raises Fault."""
        words = node.words
        if len(words) < 2:
            raise Fault(Code.MISSING_VALUE, 0, '"real_server" needs an address and a port')
        if len(words) > 3:
            extra = quoted(" ".join(words[3:]))
            raise Fault(Code.EXTRA_WORDS, 3, f'extra words {extra} after "{" ".join(words[:3])}"', last=-1)
        found = endpoint(words)
        check_address(found.address, 1)
        return found

    def _all_checks(self, block: Block, outer: Block, probed: Endpoint) -> tuple[CheckSpec, ...]:
        """The checks in the order of the file; the same one twice is one."""
        nodes = [node for name in api.TYPES for _, node in block.all(name)]
        if len(nodes) > 1:
            in_file = {id(child): index for index, child in enumerate(block.node.children or ())}
            nodes.sort(key=lambda node: in_file[id(node)])
        found: list[CheckSpec] = []
        for node in nodes:
            for check in self._checks.read(node, block, outer, probed):
                if check in found:
                    self._problems.add(Code.NO_EFFECT, node.place(), "this real server has the very same check already")
                    continue
                found.append(check)
        return tuple(found)

    def _report_unhandled(self, block: Block) -> None:
        """Warn of what is not handled; of a check, also what that means for the server."""
        for node in block.unhandled:
            handled = any(block.all(name) for name in api.TYPES)
            message = f'"{node.keyword}" is not handled by this version'
            if node.keyword in _UNHANDLED_CHECKS:
                rest = "when its other checks succeed" if handled else "always, because nothing else checks it"
                message += f"; this real server will count as healthy without this check ({rest})"
            self._problems.add(Code.NOT_HANDLED, node.place(), message)


def _words_in(node: Node) -> Signature:
    """The words of all that is in a block."""
    return tuple([child.words if child.children is None else signature(child) for child in node.children or ()])


def _words_around(block: Block) -> Signature:
    """The words of a virtual server outside of its real servers: what these may inherit."""
    return tuple([signature(child) for child in block.node.children or () if child.keyword != "real_server"])


def _alike(one: Endpoint, other: Endpoint) -> bool:
    """Whether a check that may probe one may probe the other, too (`Checks`): an address of the link needs an interface."""
    if one.address.version != other.address.version or bool(one.port) is not bool(other.port):
        return False
    return one.address.version == 4 or one.address.is_link_local is other.address.is_link_local
