"""One virtual_server block into one `VirtualServer`: its head, its own values, and the corrections that keepalived makes in silence.

Every correction is a warning here, and what the kernel would accept although it cannot work is an error (ipvs.md, section 4).
Real servers are read in `realservers`. Sources: keepalived.md, section 2.2.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import dataclass, replace

from checkers.kit.options import Keyword, Kind
from supervisor.config import keywords
from supervisor.config.groups import Group, Groups
from supervisor.config.problems import Code, Place, Problems
from supervisor.config.readers import Fault, endpoint, integer, quoted
from supervisor.config.realservers import RealServers, Surroundings, check_address
from supervisor.config.scripts import Scripts
from supervisor.config.tree import Node
from supervisor.config.values import Block, read_block, report_unhandled, tolerated
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

    def __init__(
        self, problems: Problems, real_servers: RealServers, groups: Groups, scripts: Scripts, *, mail: bool
    ) -> None:
        self.found: dict[ServiceKey, VirtualServer] = {}
        self._problems = problems
        self._groups = groups
        self._real_servers = real_servers
        self._scripts = scripts
        self._mail = mail
        self._nodes: dict[ServiceKey, Node] = {}
        self._group_uses: Counter[str] = Counter()

    def read(self, node: Node) -> None:
        """Add the virtual server of a block to `found`, or one for each address of its group; a problem says why there is none."""
        problems = self._problems
        try:
            head = None if node.words[1:2] == ("group",) else self._head(node)
        except Fault as fault:
            if tolerated(node, fault, problems):
                self.read(node)
                return
            problems.add(fault.code, node.place(fault.index, fault.last), fault.message, fault.suggestion)
            self._read_in_vain(node)
            return
        if head is None:
            self._read_group(node)
            return
        block, method = self._block(node)
        key = self._key(head, block)
        server = self._made(block, key, method)
        self._refuse_duplicate(node, key)
        self.found.setdefault(key, server)

    def _block(self, node: Node) -> tuple[Block, Method]:
        block = read_block(node, keywords.VIRTUAL_SERVER_TABLE, self._problems)
        report_unhandled(block, self._problems)
        if not block.all("real_server"):
            message = "this virtual server has no real server"
            self._problems.add(Code.NO_REAL_SERVER, node.place(0, -1), message, "add a real_server block")
        return block, self._method(block)

    def _read_in_vain(self, node: Node) -> None:
        """Look for what else is wrong in a block whose head is."""
        block = read_block(node, keywords.VIRTUAL_SERVER_TABLE, self._problems)
        report_unhandled(block, self._problems)
        self._real_servers.read_all(Surroundings(None, self._method(block), block))

    def _made(self, block: Block, key: ServiceKey, method: Method, group: str = "") -> VirtualServer:
        """The virtual server of one key."""
        surroundings = Surroundings(key=key, method=method, block=block)
        real_servers = self._real_servers.read_all(surroundings)
        timeout, prefix = self._persistence(block, key)
        if group and prefix:
            prefix = 0
            message = "keepalived ignores the granularity for the addresses of a group, and so it is here: each client by itself"
            self._problems.add(Code.CORRECTED, block.place("persistence_granularity"), message)
        quorum, hysteresis = self._quorum(block, real_servers)
        scheduler = self._scheduler(block)
        sorry_server = self._sorry_server(block, surroundings, real_servers)
        methods = [server.method for server in (*real_servers, sorry_server) if server is not None]
        return VirtualServer(
            key=key,
            scheduler=scheduler,
            scheduler_flags=self._scheduler_flags(block, scheduler),
            one_packet=self._one_packet(block, key, methods),
            persistence_timeout=timeout,
            persistence_prefix=prefix,
            persistence_engine=self._engine(block, key, timeout),
            quorum=quorum,
            hysteresis=hysteresis,
            omega=block.get("omega", False),
            ha_suspend=self._ha_suspend(block, key, group),
            method=method,
            sorry_server=sorry_server,
            real_servers=real_servers,
            mail=block.get("smtp_alert", self._mail),
            group=group,
            quorum_up=self._scripts.read(block, "quorum_up"),
            quorum_down=self._scripts.read(block, "quorum_down"),
        )

    # Groups

    def _read_group(self, node: Node) -> None:
        """One virtual server for each address and mark of the group; those that differ in nothing else are worked out once."""
        words = node.words
        fault = Fault(Code.EXTRA_WORDS, 3, f"extra words {quoted(' '.join(words[3:]))} after the group", last=-1)
        if len(words) > 3 and not tolerated(node, fault, self._problems):
            self._problems.add(fault.code, node.place(3, -1), fault.message)
        group = self._groups.find(node)
        if group is None:
            self._read_in_vain(node)
            return
        block, method = self._block(node)
        self._groups.weigh(node, group, len(block.all("real_server")))
        name = words[2]
        use = self._group_uses[name]
        self._group_uses[name] += 1
        alike: dict[tuple[int, int | None], VirtualServer] = {}
        shared, led = 0, False
        for key in self._keys(group, block):
            kind = (key.family, key.endpoint.port if isinstance(key, AddressKey) else None)
            server = alike.get(kind)
            if server is None:
                server = alike[kind] = self._made(block, key, method, name)
            server = replace(server, key=key, group_use=use, follower=led)
            first = self.found.setdefault(key, server)
            led = led or first is server
            if first is not server and first.group == name:
                shared += 1
                known = {real_server.endpoint for real_server in first.real_servers}
                more = tuple(each for each in server.real_servers if each.endpoint not in known)
                self.found[key] = replace(first, real_servers=(*first.real_servers, *more))
            else:
                self._refuse_duplicate(node, key)
            self._nodes.setdefault(key, node)
        if shared:
            message = f"{shared} services of group {quoted(name)} belong to another virtual_server already, whose settings count"
            self._problems.add(Code.CORRECTED, node.place(0, -1), f"{message}; the real servers are added to them")

    def _keys(self, group: Group, block: Block) -> list[ServiceKey]:
        """What the members of a group are called: the addresses, then the marks."""
        if group.addresses and "protocol" not in block.entries:
            self._missing(block, "protocol", "UDP", 'most services want "protocol TCP"')
        protocol = Protocol[block.get("protocol", "UDP")]
        wanted = {"inet": 4, "inet6": 6}.get(block.get("ip_family"), 0)
        keys: list[ServiceKey] = [AddressKey(protocol, endpoint) for endpoint in group.addresses]
        inferred = self._family_of_servers(block)
        keys.extend(FwmarkKey(mark.family or wanted or inferred, mark.mark) for mark in group.marks)
        return keys

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

    def _one_packet(self, block: Block, key: ServiceKey, methods: list[Method]) -> bool:
        if not block.get("ops", False):
            return False
        if isinstance(key, AddressKey) and key.protocol is not Protocol.UDP:
            message = f"ops is for UDP and firewall marks; {key.protocol} connections go on as usual"
            self._problems.add(Code.CORRECTED, block.place("ops"), message)
            return False
        if any(method.forwarding is Forwarding.NAT for method in methods):
            message = "with ops and NAT, answers leave with the real server's address, so most clients drop them"
            self._problems.add(Code.RISKY, block.place("ops"), message, "use DR or TUN")
        return True

    def _engine(self, block: Block, key: ServiceKey, timeout: int) -> str:
        """The name of the persistence engine. The kernel refuses one that it has no module for, and `sip` reads nothing but UDP."""
        engine: str = block.get("persistence_engine", "")
        if not engine:
            return ""
        problems = self._problems
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

    def _ha_suspend(self, block: Block, key: ServiceKey, group: str) -> bool:
        if not block.get("ha_suspend", False):
            return False
        if isinstance(key, AddressKey) and not group:
            return True
        what = "a group" if group else "a firewall mark"
        self._problems.add(Code.NO_EFFECT, block.place("ha_suspend"), f'"ha_suspend" has no effect for {what}')
        return False

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
