"""What global_defs asks of the kernel's IPVS as a whole, into `KernelSettings`. Pure.

Lines of lvs_timeouts add up and of lvs_sync_daemon the first one counts, as with keepalived 2.2.7 (tried).
Sources: keepalived.md, sections 2.1 and 3.8; ipvs.md, section 4.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from checkers.kit.options import Keyword, Kind
from supervisor.config.checks import INTERFACE_NAME_MAX
from supervisor.config.problems import Code, Problems
from supervisor.config.readers import Fault, address, integer, quoted
from supervisor.config.tree import Node
from supervisor.config.values import Block
from supervisor.model import (
    SYNC_GROUP,
    SYNC_PORT,
    FlushOnStop,
    IPAddress,
    KernelSettings,
    SyncDaemon,
    SyncRole,
    Timeouts,
    VirtualServer,
)

TIMEOUT_MAX_S = 2678400

_TIMEOUTS: Mapping[str, str] = {"tcp": "tcp", "tcpfin": "tcp_fin", "udp": "udp"}
"""Word → field of `Timeouts`."""

_NUMBERS: Mapping[str, Keyword] = {
    name: Keyword(name, Kind.INTEGER, "", low=low, high=high)
    for name, low, high in (("id", 0, 255), ("maxlen", 1, 65507), ("port", 1, 65535), ("ttl", 1, 255))
}
"""Words of lvs_sync_daemon that a number follows."""

_OPTIONS = (*_NUMBERS, "group")


@dataclass(slots=True)
class _SyncLine:
    """One line of lvs_sync_daemon as it was read; `instance` is the VRRP instance that it follows."""

    interface: str
    instance: str = ""
    numbers: dict[str, int] = field(default_factory=dict)
    group: IPAddress | None = None
    old_id_at: int = 0  # the word that is an id without saying so


def read(block: Block, virtual_servers: Collection[VirtualServer], problems: Problems) -> KernelSettings:
    """The settings that the global_defs ask for; what is wrong with them is a problem."""
    daemons: tuple[SyncDaemon, ...] = ()
    lines = list(_lines(block, "lvs_sync_daemon"))
    if lines:
        daemons = _sync_daemons(lines[0], problems)
        _complain_of_mixed_families(lines[0], daemons, virtual_servers, problems)
    for node in lines[1:]:
        _sync_daemons(node, problems)
        message = f'"lvs_sync_daemon" stands there already, in {lines[0].where(node)}; that one counts, not this one'
        problems.add(Code.REPEATED, node.place(), message)
    return KernelSettings(
        timeouts=_timeouts(block, problems),
        flush=block.get("lvs_flush", False),
        flush_on_stop=FlushOnStop(block.get("lvs_flush_on_stop", FlushOnStop.NOTHING.value)),
        sync_daemons=daemons,
    )


def _lines(block: Block, name: str) -> Iterator[Node]:
    """The statements of a keyword that have words; of the others a problem has told already."""
    for node in block.node.children or ():
        if node.keyword == name and len(node.words) > 1 and node.children is None:
            yield node


def _timeouts(block: Block, problems: Problems) -> Timeouts:
    """`tcp N`, `tcpfin N` and `udp N`, any of them, in any order."""
    found: dict[str, int] = {}
    for node in _lines(block, "lvs_timeouts"):
        try:
            for index in range(1, len(node.words), 2):
                found[_TIMEOUTS.get(node.words[index], "")] = _timeout(node, index, problems)
        except Fault as fault:
            problems.add(fault.code, node.place(fault.index, fault.last), fault.message, fault.suggestion)
    return Timeouts(**found)


def _timeout(node: Node, index: int, problems: Problems) -> int:
    """The seconds of the name at word `index`. Raises Fault."""
    words, name = node.words, node.words[index]
    if name not in _TIMEOUTS:
        raise Fault(Code.NOT_A_CHOICE, index, f"unknown time-out {quoted(name)}", "one of: tcp N, tcpfin N, udp N")
    if index + 1 == len(words):
        raise Fault(Code.MISSING_VALUE, index, f'"{words[0]} {name}" needs seconds (0 to {TIMEOUT_MAX_S})')
    value = integer(words, Keyword(name, Kind.INTEGER, "", unit="s", low=0, high=TIMEOUT_MAX_S), index + 1)
    if value == 0:
        problems.add(Code.IMPLIED, node.place(index + 1), f"0 leaves the {name} time-out as the kernel has it")
    return value


def _sync_daemons(node: Node, problems: Problems) -> tuple[SyncDaemon, ...]:
    """The daemons of one line: both, because without VRRP nobody tells which of the two directors is the master."""
    try:
        line = _sync_line(node.words)
    except Fault as fault:
        problems.add(fault.code, node.place(fault.index, fault.last), fault.message, fault.suggestion)
        return ()
    if line.old_id_at:
        message = f'a bare number is the old spelling of "id {node.words[line.old_id_at]}"'
        problems.add(Code.OLD_SPELLING, node.place(line.old_id_at), message)
    if line.instance:
        message = (
            f'"lvs_sync_daemon" follows a VRRP instance, {quoted(line.instance)}, which this version does not handle'
        )
        hint = "without the name of an instance, a master and a backup daemon are started"
        problems.add(Code.NOT_HANDLED, node.place(), f"{message}: not started", hint)
        return ()
    master = SyncDaemon(
        SyncRole.MASTER,
        line.interface,
        sync_id=line.numbers.get("id", 0),
        max_length=line.numbers.get("maxlen", 0),
        group=line.group or SYNC_GROUP,
        port=line.numbers.get("port", SYNC_PORT),
        ttl=line.numbers.get("ttl", 1),
    )
    return master, replace(master, role=SyncRole.BACKUP)


def _sync_line(words: tuple[str, ...]) -> _SyncLine:
    """`INTERFACE [INSTANCE] [id N] [maxlen N] [port N] [ttl N] [group ADDRESS]`. Raises Fault.

    The word behind the interface is an instance unless it is one of the options; a bare number behind an instance is an id.
    """
    if not 0 < len(words[1].encode()) <= INTERFACE_NAME_MAX or "/" in words[1]:
        message = f"{quoted(words[1])} is no name of an interface (1 to {INTERFACE_NAME_MAX} characters, no /)"
        raise Fault(Code.BAD_TEXT, 1, message)
    line = _SyncLine(words[1])
    index = 2
    if len(words) > 2 and words[2] not in _OPTIONS:
        line.instance = words[2]
        index = 3
    while index < len(words):
        name = words[index]
        if name.isdigit() and index == 3 and line.instance:
            line.numbers["id"] = integer(words, _NUMBERS["id"], index)
            line.old_id_at = index
            index += 1
            continue
        if name not in _OPTIONS:
            message = f"unknown option {quoted(name)} of {words[0]}"
            raise Fault(Code.NOT_A_CHOICE, index, message, f"one of: {' '.join(_OPTIONS)}")
        if index + 1 == len(words):
            raise Fault(Code.MISSING_VALUE, index, f'"{words[0]} … {name}" needs a value')
        if name == "group":
            line.group = _group(words, index + 1)
        else:
            line.numbers[name] = integer(words, _NUMBERS[name], index + 1)
        index += 2
    return line


def _group(words: tuple[str, ...], index: int) -> IPAddress:
    """A multicast address. Raises Fault."""
    group = address(words[index], index)
    if not group.is_multicast:
        raise Fault(Code.UNUSABLE_ADDRESS, index, f"{words[index]} is no multicast address")
    return group


def _complain_of_mixed_families(
    node: Node, daemons: tuple[SyncDaemon, ...], virtual_servers: Collection[VirtualServer], problems: Problems
) -> None:
    """The kernel refuses to have a sync daemon and a destination of another family than its service's (EINVAL)."""
    for server in virtual_servers if daemons else ():
        behind = [each.endpoint for each in server.real_servers]
        if server.sorry_server is not None:
            behind.append(server.sorry_server.endpoint)
        for endpoint in behind:
            if endpoint.address.version != server.key.family:
                message = (
                    f"the kernel takes no sync daemon beside a server of another family: {endpoint} of {server.key}"
                )
                problems.add(Code.RISKY, node.place(0, -1), f"{message}; it will refuse one of the two")
                return
