"""One virtual_server block into one `VirtualServer`: its head, its own values, and the corrections that keepalived makes in silence.

Every correction is a warning here, and what the kernel would accept although it cannot work is an error (ipvs.md, section 4).
Real servers are read in `realservers`. Sources: keepalived.md, section 2.2.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace

from checkers.kit.options import Keyword, Kind
from supervisor.config import keywords
from supervisor.config.problems import Code, Place, Problems
from supervisor.config.readers import Fault, endpoint, integer, quoted
from supervisor.config.realservers import RealServers, Surroundings, check_address
from supervisor.config.tree import Node
from supervisor.config.values import Block, read_block, report_unhandled
from supervisor.model import (
    AddressKey,
    Endpoint,
    Forwarding,
    FwmarkKey,
    Method,
    Protocol,
    RealServer,
    ServiceKey,
    SorryServer,
    VirtualServer,
)

ENGINE_NAME_MAX = 15
"""IP_VS_PENAME_MAXLEN of ip_vs.h, without its NUL."""

_MARK = Keyword("fwmark", Kind.INTEGER, "firewall mark", low=1, high=4294967295)


@dataclass(frozen=True, slots=True)
class _Head:
    """What follows the keyword: an address and port, or a firewall mark."""

    address: Endpoint | None
    mark: int


class VirtualServers:
    """Reads the virtual servers of one configuration."""

    def __init__(self, problems: Problems, real_servers: RealServers, *, mail: bool) -> None:
        self._problems = problems
        self._real_servers = real_servers
        self._mail = mail
        self._nodes: dict[ServiceKey, Node] = {}

    def read(self, node: Node) -> VirtualServer | None:
        """The virtual server of a block; None when it cannot be one, and then a problem says why."""
        problems = self._problems
        if node.words[1:2] == ("group",):
            message = "virtual_server group is not handled by this version; the whole block is skipped"
            problems.add(Code.NOT_HANDLED, node.place(0, -1), message)
            return None
        try:
            head = self._head(node)
        except Fault as fault:
            problems.add(fault.code, node.place(fault.index, fault.last), fault.message, fault.suggestion)
            head = None
        block = read_block(node, keywords.VIRTUAL_SERVER_TABLE, problems)
        report_unhandled(block, problems)
        method = self._method(block)
        if head is None:
            self._real_servers.read_all(Surroundings(None, method, block))  # for what is wrong in them
            return None
        key = self._key(head, block)
        surroundings = Surroundings(key=key, method=method, block=block)
        real_servers = self._real_servers.read_all(surroundings)
        if not real_servers and not block.all("real_server"):
            message = "this virtual server has no real server"
            problems.add(Code.NO_REAL_SERVER, node.place(0, -1), message, "add a real_server block")
        self._refuse_duplicate(node, key)
        timeout, prefix = self._persistence(block, key)
        quorum, hysteresis = self._quorum(block, real_servers)
        scheduler = self._scheduler(block)
        return VirtualServer(
            key=key,
            scheduler=scheduler,
            scheduler_flags=self._scheduler_flags(block, scheduler),
            one_packet=self._one_packet(block, key, method),
            persistence_timeout=timeout,
            persistence_prefix=prefix,
            persistence_engine=self._engine(block),
            quorum=quorum,
            hysteresis=hysteresis,
            omega=block.get("omega", False),
            method=method,
            sorry_server=self._sorry_server(block, surroundings, real_servers),
            real_servers=real_servers,
            mail=block.get("smtp_alert", self._mail),
        )

    # Who it is

    def _head(self, node: Node) -> _Head:
        """Read `IP [PORT]` or `fwmark N`. Raises Fault."""
        words = node.words
        if len(words) < 2:
            raise Fault(Code.MISSING_VALUE, 0, '"virtual_server" needs an address and a port, or fwmark and a mark')
        if words[1] == "fwmark" and len(words) < 3:
            raise Fault(Code.MISSING_VALUE, 1, '"virtual_server fwmark" needs the mark (1 to 4294967295)')
        if len(words) > 3:
            extra = quoted(" ".join(words[3:]))
            raise Fault(Code.EXTRA_WORDS, 3, f'extra words {extra} after "{" ".join(words[:3])}"', last=-1)
        if words[1] == "fwmark":
            return _Head(None, integer(words, _MARK, 2))
        found = endpoint(words)
        check_address(found.address, 1)
        return _Head(found, 0)

    def _key(self, head: _Head, block: Block) -> ServiceKey:
        """The identity: protocol, address and port, or mark and family."""
        problems = self._problems
        family = {"inet": 4, "inet6": 6}.get(block.get("ip_family"))
        if head.address is None:
            if "protocol" in block.entries:
                message = "a firewall mark catches every protocol; this has no effect"
                problems.add(Code.IMPLIED, block.place("protocol"), message)
            return FwmarkKey(family or self._family_of_servers(block), head.mark)
        if "protocol" not in block.entries:
            self._missing(block, "protocol", "UDP", 'most services want "protocol TCP"')
        if family is not None and family != head.address.address.version:
            message = f"{head.address.address} is an IPv{head.address.address.version} address"
            problems.add(Code.WRONG_FAMILY, block.value_place("ip_family"), message)
        return AddressKey(Protocol[block.get("protocol", "UDP")], head.address)

    @staticmethod
    def _family_of_servers(block: Block) -> int:
        """The family of the first real server that has an address."""
        for _, node in block.all("real_server"):
            try:
                return endpoint(node.words[:2]).address.version if len(node.words) > 1 else 4
            except Fault:
                continue
        return 4

    def _refuse_duplicate(self, node: Node, key: ServiceKey) -> None:
        first = self._nodes.setdefault(key, node)
        if first is not node:
            message = f"{key} is a virtual server already, in {first.where(node)}; the kernel has room for one"
            self._problems.add(Code.DUPLICATE_VIRTUAL_SERVER, node.place(0, -1), message, "merge the two blocks")

    # How it is served

    def _missing(self, block: Block, name: str, default: str, hint: str = "") -> None:
        message = f'this virtual server has no "{name}"; {default} is taken'
        self._problems.add(Code.DEFAULT_TAKEN, block.node.place(0, -1), message, hint)

    def _scheduler(self, block: Block) -> str:
        if "lb_algo" not in block.entries:
            self._missing(block, "lb_algo", "wlc")
        scheduler: str = block.get("lb_algo", "wlc")
        if "hashed" in block.entries and scheduler != "sh":
            message = '"hashed" has no effect: it belongs to lb_algo sh'
            self._problems.add(Code.NO_EFFECT, block.place("hashed"), message)
        return scheduler

    def _scheduler_flags(self, block: Block, scheduler: str) -> int:
        """The bits of the flag keywords that stand after the scheduler they belong to."""
        flags = 0
        chosen = block.entries.get("lb_algo")
        for name, (bit, schedulers) in keywords.SCHEDULER_FLAGS.items():
            entry = block.entries.get(name)
            if entry is None or not entry.value:
                continue
            wanted = " or ".join(sorted(schedulers))
            if scheduler not in schedulers:
                message = f'"{name}" has no effect: it belongs to lb_algo {wanted}'
            elif chosen is None or chosen.order > entry.order:
                message = f'"{name}" has no effect before "lb_algo {scheduler}"; put it after that line'
            else:
                flags |= bit
                continue
            self._problems.add(Code.NO_EFFECT, entry.node.place(), message)
        return flags

    def _method(self, block: Block) -> Method:
        if "lb_kind" not in block.entries:
            self._missing(block, "lb_kind", "NAT")
        method: Method = block.get("lb_kind", Method())
        return method

    def _one_packet(self, block: Block, key: ServiceKey, method: Method) -> bool:
        if not block.get("ops", False):
            return False
        if isinstance(key, AddressKey) and key.protocol is not Protocol.UDP:
            message = f"ops is for UDP and firewall marks; {key.protocol} connections go on as usual"
            self._problems.add(Code.CORRECTED, block.place("ops"), message)
            return False
        if method.forwarding is Forwarding.NAT:
            message = "with ops and NAT, answers leave with the real server's address, so most clients drop them"
            self._problems.add(Code.RISKY, block.place("ops"), message, "use DR or TUN")
        return True

    def _engine(self, block: Block) -> str:
        engine: str = block.get("persistence_engine", "")
        if len(engine.encode()) > ENGINE_NAME_MAX:
            message = f"the name of a persistence engine has at most {ENGINE_NAME_MAX} characters"
            self._problems.add(Code.BAD_TEXT, block.value_place("persistence_engine"), message)
        return engine

    def _persistence(self, block: Block, key: ServiceKey) -> tuple[int, int]:
        """Timeout in seconds (0: none) and prefix length (0: the family's default)."""
        timeout: int = block.get("persistence_timeout", 0)
        granularity = block.entries.get("persistence_granularity")
        prefix = 0
        if granularity is not None and granularity.value is not None:
            place = block.value_place("persistence_granularity")
            prefix = self._prefix(granularity.value, key.family, place)
            if prefix and "persistence_timeout" not in block.entries:
                timeout = keywords.PERSISTENCE_DEFAULT_S
                message = f"persistence_granularity turns persistence on, for {timeout} s"
                self._problems.add(Code.IMPLIED, granularity.node.place(), message)
        all_ports = isinstance(key, AddressKey) and key.endpoint.port == 0
        if all_ports and timeout == 0 and "persistence_timeout" not in block.entries:
            timeout = keywords.PERSISTENCE_DEFAULT_S
            message = f"a virtual server for all ports needs persistence; {timeout} s is taken"
            self._problems.add(Code.CORRECTED, block.node.place(0, -1), message, 'add "persistence_timeout"')
        return timeout, prefix

    def _prefix(self, text: str, family: int, place: Place) -> int:
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
            self._problems.add(Code.NOT_AN_ADDRESS, place, message, hint)
        return prefix

    # When it counts as up

    def _quorum(self, block: Block, real_servers: tuple[RealServer, ...]) -> tuple[int, int]:
        """Quorum and hysteresis after keepalived's corrections (and without its underflow to 4294967295)."""
        quorum: int = block.get("quorum", 1)
        hysteresis: int = block.get("hysteresis", 0)
        if quorum == 0:
            self._corrected(block, "quorum", "a quorum is at least 1; 1 is taken")
            quorum = 1
        total = sum(server.weight for server in real_servers)
        if real_servers and total == 0:
            message = "all real servers have weight 0, so the quorum is never reached"
            self._problems.add(Code.RISKY, block.node.place(0, -1), message)
        elif quorum > total > 0:
            message = f"quorum {quorum} is more than the weight of all real servers together; {total} is taken"
            self._corrected(block, "quorum", message)
            quorum = total
        if hysteresis >= quorum:
            message = f"hysteresis {hysteresis} must be less than the quorum {quorum}; {quorum - 1} is taken"
            self._corrected(block, "hysteresis", message)
            hysteresis = quorum - 1
        return quorum, hysteresis

    def _corrected(self, block: Block, name: str, message: str) -> None:
        self._problems.add(Code.CORRECTED, block.value_place(name), message)

    # Where clients go while it does not

    def _sorry_server(
        self, block: Block, surroundings: Surroundings, real_servers: tuple[RealServer, ...]
    ) -> SorryServer | None:
        entry = block.entries.get("sorry_server")
        inhibit = self._sorry_inhibit(block)
        if entry is None or entry.value is None:
            if entry is None and "sorry_server_lvs_method" in block.entries:
                message = '"sorry_server_lvs_method" has no effect without "sorry_server"'
                self._problems.add(Code.NO_EFFECT, block.place("sorry_server_lvs_method"), message)
            return None
        written: Endpoint = entry.value
        method = block.get("sorry_server_lvs_method", surroundings.method)
        try:
            check_address(written.address, 1)
            surroundings.check_family(written.address, method, 1)
        except Fault as fault:
            self._problems.add(fault.code, entry.node.place(fault.index), fault.message, fault.suggestion)
        corrected, message = surroundings.corrected(written, method)
        if message and written.port:
            self._problems.add(Code.CORRECTED, entry.node.place(2), message)
        found = SorryServer(corrected, method, inhibit)
        for server in real_servers:
            if server.endpoint == corrected and server.inhibit_on_failure != inhibit:
                inhibit = server.inhibit_on_failure
                message = (
                    f"the sorry server is real server {corrected} too, so its inhibit is {'on' if inhibit else 'off'}"
                )
                self._problems.add(Code.CORRECTED, entry.node.place(0, -1), message)
                found = replace(found, inhibit=inhibit)
        return found

    def _sorry_inhibit(self, block: Block) -> bool:
        entry = block.entries.get("sorry_server_inhibit")
        if entry is None or not entry.value:
            return False
        sorry = block.entries.get("sorry_server")
        if sorry is None or sorry.order > entry.order:
            message = '"sorry_server_inhibit" has no effect before or without "sorry_server"'
            self._problems.add(Code.NO_EFFECT, entry.node.place(), message)
            return False
        return True
