"""One virtual_server block into one `VirtualServer`: its head, its own values, and the corrections that keepalived makes in silence.

Every correction is a warning here, and what the kernel would accept although it cannot work is an error (ipvs.md, section 4).
Real servers are read in `realservers`. Sources: keepalived.md, section 2.2.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from checkers.kit.frozen import frozen
from checkers.kit.options import Keyword, Kind
from supervisor.config import keywords, minhealthy
from supervisor.config.groups import Group, Groups
from supervisor.config.persistence import read_persistence
from supervisor.config.problems import Code, Problems
from supervisor.config.readers import Fault, endpoint, integer, quoted
from supervisor.config.realservers import MISFIT_HINT, RealServers, Surroundings, check_address
from supervisor.config.scripts import Scripts
from supervisor.config.sorryserver import read_sorry_server
from supervisor.config.tree import Node
from supervisor.config.values import Block, read_block, report_unhandled, tolerated
from supervisor.model import (
    DRIFT_GRACE_DEFAULT_S,
    AddressKey,
    DriftPolicy,
    Endpoint,
    Forwarding,
    FwmarkKey,
    Method,
    MinHealthy,
    Protocol,
    RealServer,
    ServiceKey,
    VirtualServer,
)

_MARK = Keyword("fwmark", Kind.INTEGER, "firewall mark", low=1, high=4294967295)


@frozen
class Everywhere:
    """What global_defs says for every virtual server that does not say otherwise."""

    mail: bool = False
    drain_timeout: float = keywords.DRAIN_TIMEOUT_DEFAULT_S
    drift_policy: str = "repair"
    drift_grace: int = DRIFT_GRACE_DEFAULT_S
    min_healthy: MinHealthy | None = None


@frozen
class _Head:
    """What follows the keyword: an address and port, or a firewall mark."""

    address: Endpoint | None
    mark: int


class VirtualServers:
    """Reads the virtual servers of one configuration."""

    def __init__(
        self, problems: Problems, real_servers: RealServers, groups: Groups, scripts: Scripts, everywhere: Everywhere
    ) -> None:
        self.found: dict[ServiceKey, VirtualServer] = {}
        self._problems = problems
        self._groups = groups
        self._real_servers = real_servers
        self._scripts = scripts
        self._everywhere = everywhere
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
        key = self._key(head, block, method)
        server = self._made(block, key, method)
        if server.real_servers:
            self._enter(node, server)

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

    def _made(self, block: Block, key: ServiceKey, method: Method, group: Group | None = None) -> VirtualServer:
        """The virtual server of one key."""
        surroundings = Surroundings(key=key, method=method, block=block, in_group=group is not None)
        before = len(self._problems)
        real_servers = self._real_servers.read_all(surroundings)
        if block.all("real_server") and not real_servers and not self._problems.errors_since(before):
            message = f"no real server is left for {key}"
            self._problems.add(Code.NO_REAL_SERVER, block.node.place(0, -1), message)
        persistence = read_persistence(block, key, group, self._problems)
        quorum, hysteresis = self._quorum(block, real_servers)
        scheduler = self._scheduler(block)
        sorry_server = read_sorry_server(surroundings, real_servers, self._problems)
        methods = [server.method for server in (*real_servers, sorry_server) if server is not None]
        return VirtualServer(
            key=key,
            scheduler=scheduler,
            scheduler_flags=self._scheduler_flags(block, scheduler),
            one_packet=self._one_packet(block, key, methods, group),
            persistence_timeout=persistence.timeout,
            persistence_prefix=persistence.prefix,
            persistence_engine=persistence.engine,
            quorum=quorum,
            hysteresis=hysteresis,
            omega=block.get("omega", False),
            ha_suspend=self._ha_suspend(block, key, group),
            method=method,
            sorry_server=sorry_server,
            real_servers=real_servers,
            mail=block.get("smtp_alert", self._everywhere.mail),
            group=group.name if group else "",
            quorum_up=self._scripts.read(block, "quorum_up"),
            quorum_down=self._scripts.read(block, "quorum_down"),
            drain_timeout=block.get("drain_timeout", self._everywhere.drain_timeout),
            drift_policy=DriftPolicy(block.get("drift_policy", self._everywhere.drift_policy)),
            drift_grace=block.get("drift_grace", self._everywhere.drift_grace),
            min_healthy=minhealthy.read(block, self._problems, self._everywhere.min_healthy, real_servers),
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
        use = self._group_uses[group.name]
        self._group_uses[group.name] += 1
        family = self._family_of_servers(block, method, group)
        strangers = [endpoint for endpoint in group.addresses if endpoint.address.version != family]
        if strangers and not self._all_tunnelled(block, method):
            message = f"group {quoted(group.name)} has {strangers[0].address}, but the servers here are IPv{family}"
            self._problems.add(Code.GROUP, node.place(2), message, MISFIT_HINT)
            return
        alike: dict[tuple[int, int | None], VirtualServer] = {}
        shared, led = 0, False
        for key in self._keys(group, block, family):
            kind = (key.family, key.endpoint.port if isinstance(key, AddressKey) else None)
            server = alike.get(kind)
            if server is None:
                server = alike[kind] = self._made(block, key, method, group)
            if server.real_servers:
                mine = replace(server, key=key, group_use=use, follower=led)
                shared += self._enter(node, mine)
                led = led or self.found[key] is mine
        if shared:
            message = f"{shared} services of group {quoted(group.name)} belong to another virtual_server already, whose settings count"
            self._problems.add(Code.CORRECTED, node.place(0, -1), f"{message}; the real servers are added to them")

    @staticmethod
    def _all_tunnelled(block: Block, method: Method) -> bool:
        """Whether every server of a virtual server is reached through a tunnel, which alone carries one family over the other."""
        methods = {word for _, word in _method_words(block, method)}
        if "sorry_server" in block.entries:
            methods.add(block.get("sorry_server_lvs_method", method).forwarding.name)
        return methods <= {"TUN"}

    def _keys(self, group: Group, block: Block, family: int) -> list[ServiceKey]:
        """What the members of a group are called: the addresses, then the marks."""
        if group.addresses and "protocol" not in block.entries:
            self._missing(block, "protocol", "UDP", 'most services want "protocol TCP"')
        protocol = Protocol[block.get("protocol", "UDP")]
        keys: list[ServiceKey] = [AddressKey(protocol, endpoint) for endpoint in group.addresses]
        keys.extend(FwmarkKey(mark.family or family, mark.mark) for mark in group.marks)
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

    def _key(self, head: _Head, block: Block, method: Method) -> ServiceKey:
        """The identity: protocol, address and port, or mark and family."""
        problems = self._problems
        family = {"inet": 4, "inet6": 6}.get(block.get("ip_family"))
        if head.address is None:
            if "protocol" in block.entries:
                message = "a firewall mark catches every protocol; this has no effect"
                problems.add(Code.IMPLIED, block.place("protocol"), message)
            return FwmarkKey(self._family_of_servers(block, method), head.mark)
        if "protocol" not in block.entries:
            self._missing(block, "protocol", "UDP", 'most services want "protocol TCP"')
        if family is not None and family != head.address.address.version:
            message = f"{head.address.address} is an IPv{head.address.address.version} address"
            problems.add(Code.NOT_A_CHOICE, block.value_place("ip_family"), message)
        return AddressKey(Protocol[block.get("protocol", "UDP")], head.address)

    def _family_of_servers(self, block: Block, method: Method, group: Group | None = None) -> int:
        """The family where no address tells: what the first line says that can say it (`ip_family`, the looks of a granularity, a server
        without a tunnel), else that of the group's first address, else that of all servers, else IPv4.
        """
        claims: dict[int, int] = {}
        named, granularity = block.entries.get("ip_family"), block.entries.get("persistence_granularity")
        if named is not None and named.value is not None:
            claims[named.order] = 6 if named.value == "inet6" else 4
        if granularity is not None and granularity.value is not None:
            claims[granularity.order] = 4 if "." in granularity.value else 6
        families: set[int] = set()
        orders = {id(node): order for order, node in enumerate(block.node.children or (), 1)}
        for node, word in _method_words(block, method):
            try:
                family = endpoint(node.words[:2]).address.version if len(node.words) > 1 else 4
            except Fault:
                continue
            families.add(family)
            if word != "TUN":
                claims[orders[id(node)]] = family
                break
        if claims:
            found = claims[min(claims)]
            if named is not None and claims.get(named.order, found) != found:
                message = f"a line above makes this virtual server IPv{found} already"
                self._problems.add(Code.CORRECTED, block.value_place("ip_family"), message)
            return found
        sorry: Endpoint | None = block.get("sorry_server")
        if sorry is not None:
            if block.get("sorry_server_lvs_method", method).forwarding is not Forwarding.TUN:
                return sorry.address.version
            families.add(sorry.address.version)
        if group and group.addresses:
            return next(iter(group.addresses)).address.version
        return families.pop() if len(families) == 1 else 4

    def _enter(self, node: Node, server: VirtualServer) -> bool:
        """Add a virtual server to `found`; tell whether its service belongs to another one already, which got the real servers."""
        key, problems = server.key, self._problems
        first = self.found.setdefault(key, server)
        first_node = self._nodes.setdefault(key, node)
        if first is server:
            return False
        in_one_group = bool(server.group) and first.group == server.group
        if not in_one_group:
            message = f"{key} is a virtual server already, in {first_node.where(node)}; the kernel has room for one"
            if not problems.lenient:
                problems.add(Code.DUPLICATE_VIRTUAL_SERVER, node.place(0, -1), message, "merge the two blocks")
                return False
            problems.add(Code.CORRECTED, node.place(0, -1), f"{message}; the real servers are added to the first")
        known = {real_server.endpoint for real_server in first.real_servers}
        more = tuple(each for each in server.real_servers if each.endpoint not in known)
        self.found[key] = replace(first, real_servers=(*first.real_servers, *more))
        return in_one_group

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
        """The bits of the flag keywords: the numbered ones always, a named one where it stands below the scheduler that it belongs to."""
        flags = 0
        for name, (bit, schedulers) in keywords.SCHEDULER_FLAGS.items():
            entry = block.entries.get(name)
            if entry is None or not entry.value:
                continue
            wanted = " or ".join(sorted(schedulers))
            as_known = block.as_of("lb_algo", entry.order)
            if name.startswith("flag-") or as_known in schedulers:
                flags |= bit
                if scheduler in schedulers:
                    continue
                message = (
                    f'"{name}" is told to the kernel and means nothing to {scheduler}: it belongs to lb_algo {wanted}'
                )
            elif scheduler in schedulers:
                message = f'"{name}" has no effect before "lb_algo {scheduler}"; put it after that line'
            else:
                message = f'"{name}" has no effect: it belongs to lb_algo {wanted}'
            self._problems.add(Code.NO_EFFECT, entry.node.place(), message)
        return flags

    def _method(self, block: Block) -> Method:
        if "lb_kind" not in block.entries:
            self._missing(block, "lb_kind", "NAT")
        method: Method = block.get("lb_kind", Method())
        return method

    def _one_packet(self, block: Block, key: ServiceKey, methods: list[Method], group: Group | None) -> bool:
        if not block.get("ops", False):
            return False
        protocol = Protocol[block.get("protocol", "UDP")]
        if (isinstance(key, AddressKey) or (group and group.addresses)) and protocol is not Protocol.UDP:
            message = f"ops is for UDP and firewall marks; {protocol} connections go on as usual"
            self._problems.add(Code.CORRECTED, block.place("ops"), message)
            return False
        if any(method.forwarding is Forwarding.NAT for method in methods):
            message = "with ops and NAT, answers leave with the real server's address, so most clients drop them"
            self._problems.add(Code.RISKY, block.place("ops"), message, "use DR or TUN")
        return True

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

    def _ha_suspend(self, block: Block, key: ServiceKey, group: Group | None) -> bool:
        if not block.get("ha_suspend", False):
            return False
        if isinstance(key, AddressKey) and not group:
            return True
        what = "a group" if group else "a firewall mark"
        self._problems.add(Code.NO_EFFECT, block.place("ha_suspend"), f'"ha_suspend" has no effect for {what}')
        return False

    def _corrected(self, block: Block, name: str, message: str) -> None:
        self._problems.add(Code.CORRECTED, block.value_place(name), message)


def _method_words(block: Block, method: Method) -> list[tuple[Node, str]]:
    """The real_server blocks, which are not read yet, each with its forwarding method as known there (or what else is written)."""
    surroundings = Surroundings(None, method, block)
    orders = surroundings.orders()
    found: list[tuple[Node, str]] = []
    for _, node in block.all("real_server"):
        own = [
            child.words[1] for child in node.children or () if child.words[0] == "lvs_method" and len(child.words) > 1
        ]
        known = surroundings.method_at(orders.get(id(node)))
        found.append((node, own[-1] if own else (known or Method()).forwarding.name))
    return found
