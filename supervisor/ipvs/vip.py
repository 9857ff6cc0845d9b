"""Addresses of virtual servers on interfaces: assign what is missing, announce it, take away at stop what we assigned.

An address that any interface has already is left alone, because the operator or another program put it there. Before one is assigned,
the neighbours are asked: when another machine answers, the address stays away and the operator learns whose MAC it is. What we
assign carries `ADDRESS_TAG` as its protocol, so that a later run knows the leavings of one that crashed.

The home of pyroute2 (routing netlink: links, addresses), which is used as `with IPRoute()` inside one thread call each time, because its
objects do not survive a change of thread (ipvs.md, section 1). It must never raise for what the network does: the outcome of
every address goes to `report` as a state and a detail, and nothing is logged here.

Sources: rtnetlink(7); include/uapi/linux/if_addr.h (IFA_PROTO, IFA_F_NODAD); RFC 5227; RFC 4862; ipvs.md, section 5.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections.abc import Awaitable, Callable, Collection, Iterable
from ipaddress import ip_address, ip_interface
from typing import Any, Protocol

import trio

from checkers.kit.frozen import frozen
from supervisor.ipvs import presence
from supervisor.ipvs.neighbours import MAC_BYTES, announcement, claimant, ethertype, mac_text, probe
from supervisor.model import IPAddress

ADDRESS_TAG = 77
"""IFA_PROTO of our addresses. Ours by choice: the kernel uses 1 to 3 (if_addr.h), and nothing registers the others."""
PROBE_COUNT = 3
"""Questions before an address is assigned (RFC 5227, section 1.1, PROBE_NUM)."""
PROBE_INTERVAL_S = 0.1
"""Pause after each question. RFC 5227 has 1 to 2 s for hosts that join an unknown network; a director must not wait so long."""
ANNOUNCE_COUNT = 3
"""Announcements after it; RFC 5227 has 2 (ANNOUNCE_NUM). One more, since they are never acknowledged."""
ANNOUNCE_INTERVAL_S = 0.1
"""Pause between two announcements; RFC 5227 has 2 s, which would hold up the start."""

ASSIGNED, PRESENT, CONFLICT, FAILED, RELEASED = "assigned", "present", "conflict", "failed", "released"
"""The states that `report` gets. The detail is the interface, for CONFLICT the MAC and the interface, for FAILED a sentence."""

_UP, _LOOPBACK, _NO_ARP = 0x1, 0x8, 0x80  # IFF_*
_ETHERNET_TYPE = 1  # ARPHRD_ETHER
_NO_DAD = 0x02  # IFA_F_NODAD: we have asked already
_IN_PARALLEL = 32  # addresses probed at once: one socket each
_SO_ATTACH_FILTER = 26
_FRAME_BYTES = 2048

Report = Callable[[IPAddress, str, str], None]


class AddressPort(Protocol):
    """What the wiring needs of whoever looks after addresses; stories pass a fake."""

    async def assign(self, addresses: Collection[IPAddress], default_interface: str) -> None:
        """Make `addresses` be here; release what we assigned before and that is not among them."""

    async def release(self) -> None:
        """Take away all that we assigned."""

    async def watch(self, seen: Callable[[frozenset[IPAddress] | None], Awaitable[None]]) -> None:
        """Tell which addresses this host has, now and whenever that changes; None: nobody can know."""


@frozen
class Link:
    """An interface. `mac` is empty where neighbours cannot be asked (loopback, tunnels, NOARP)."""

    index: int
    name: str
    up: bool
    mac: bytes


@frozen
class Present:
    """An address that an interface has. `ours` tells that it carries our tag."""

    address: IPAddress
    prefix: int
    index: int
    ours: bool


class CannotAssign(Exception):
    """There is no interface for an address; the text names the remedy."""


def choose(address: IPAddress, links: Iterable[Link], present: Iterable[Present], default_interface: str) -> Link:
    """Return the interface for `address`: the one with the narrowest network around it, else `default_interface`.

    Raises CannotAssign.
    """
    by_index = {link.index: link for link in links}
    around = [
        (item.prefix, by_index[item.index])
        for item in present
        if item.address.version == address.version
        and item.prefix < item.address.max_prefixlen
        and item.index in by_index
        and address in ip_interface(f"{item.address}/{item.prefix}").network
    ]
    if around:
        _, link = max(around, key=lambda found: found[0])
    else:
        named = [link for link in by_index.values() if link.name == default_interface]
        if not named:
            raise CannotAssign(
                f"no interface has a network with {address}, and there is no interface {default_interface} · "
                "name one with default_interface in global_defs, or assign the address yourself"
            )
        link = named[0]
    if not link.up:
        raise CannotAssign(f"interface {link.name} is down · `ip link set {link.name} up`, then reload")
    return link


class VirtualAddresses:
    """The addresses that we have assigned, in the network namespace of the threads that this process starts."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._held: dict[IPAddress, Link] = {}

    async def assign(self, addresses: Collection[IPAddress], default_interface: str) -> None:
        """Make `addresses` be here; release what we assigned before and that is not among them. Never raises for the network.

        Takes about half a second when there is something to assign, however many there are.
        """
        wanted = sorted(addresses, key=lambda address: (address.version, address))
        try:
            links, present = await trio.to_thread.run_sync(_survey)
        except Exception as error:  # noqa: BLE001  # pyroute2 has many; no address is worth a crash of the writer
            for address in wanted:
                self._report(address, FAILED, f"interfaces cannot be read: {_reason(error)}")
            return
        await self._remove([address for address in self._held if address not in wanted])
        limit = trio.CapacityLimiter(_IN_PARALLEL)
        names = {link.index: link for link in links}
        async with trio.open_nursery() as nursery:
            for address in wanted:
                here = [item for item in present if item.address == address]
                if here:
                    self._note_present(address, names.get(here[0].index), here[0])
                    continue
                self._held.pop(address, None)  # a link that went down took it away
                try:
                    link = choose(address, links, present, default_interface)
                except CannotAssign as error:
                    self._report(address, FAILED, str(error))
                    continue
                nursery.start_soon(self._assign_one, address, link, limit)

    async def release(self) -> None:
        """Take away all that we assigned, and what an earlier run of ours left. Never raises for the network."""
        await self._remove(list(self._held))

    async def watch(self, seen: Callable[[frozenset[IPAddress] | None], Awaitable[None]]) -> None:
        """Tell which addresses this host has, now and whenever that changes, until cancelled."""
        await presence.watch(lambda: frozenset(item.address for item in _survey()[1]), seen)

    def _note_present(self, address: IPAddress, link: Link | None, item: Present) -> None:
        link = link or Link(item.index, f"interface {item.index}", up=True, mac=b"")
        known = address in self._held
        if item.ours:
            self._held[address] = link
        self._report(address, ASSIGNED if known and item.ours else PRESENT, link.name)

    async def _assign_one(self, address: IPAddress, link: Link, limit: trio.CapacityLimiter) -> None:
        async with limit:
            try:
                other = await _ask_neighbours(address, link) if link.mac else None
                if other is not None:
                    self._report(address, CONFLICT, f"{mac_text(other)} on {link.name}")
                    return
                await trio.to_thread.run_sync(_change, "add", [(address, link.index)])
                self._held[address] = link
                self._report(address, ASSIGNED, link.name)
                if link.mac:
                    await _announce(address, link)
            except Exception as error:  # noqa: BLE001  # see assign
                state = ASSIGNED if address in self._held else FAILED
                prefix = f"{link.name}, not announced" if address in self._held else f"on {link.name}"
                self._report(address, state, f"{prefix}: {_reason(error)}")

    async def _remove(self, addresses: list[IPAddress]) -> None:
        held = [(address, self._held.pop(address)) for address in addresses]
        if not held:
            return
        try:
            failures = await trio.to_thread.run_sync(
                _change, "delete", [(address, link.index) for address, link in held]
            )
        except Exception as error:  # noqa: BLE001  # see assign
            failures = {address: _reason(error) for address, _ in held}
        for address, link in held:
            if address in failures:
                self._report(address, FAILED, f"not released from {link.name}: {failures[address]}")
            else:
                self._report(address, RELEASED, link.name)


# --- neighbours -----------------------------------------------------------------------------------------------------


async def _ask_neighbours(address: IPAddress, link: Link) -> bytes | None:
    """Ask who has `address`; return the MAC that answered, None when nobody did."""
    with _packet_socket(address, link) as packets:
        for _ in range(PROBE_COUNT):
            await packets.send(probe(link.mac, address))
            with trio.move_on_after(PROBE_INTERVAL_S):
                while True:
                    other = claimant(await packets.recv(_FRAME_BYTES), address, link.mac)
                    if other is not None:
                        return other
    return None


async def _announce(address: IPAddress, link: Link) -> None:
    with _packet_socket(address, link) as packets:
        for number in range(ANNOUNCE_COUNT):
            if number:
                await trio.sleep(ANNOUNCE_INTERVAL_S)
            await packets.send(announcement(link.mac, address))


def _packet_socket(address: IPAddress, link: Link) -> trio.socket.SocketType:
    """Return a socket for the frames in which neighbours of `link` talk about `address`."""
    kind = ethertype(address)
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # hears nothing before bind
    try:
        if address.version == 6:
            _attach_neighbour_filter(raw)
        raw.bind((link.name, kind))
        return trio.socket.from_stdlib_socket(raw)
    except BaseException:
        raw.close()
        raise


def _attach_neighbour_filter(raw: socket.socket) -> None:
    """Let only solicitations and advertisements through: a director's other IPv6 traffic shall not wake us."""
    program = (  # classic BPF: operation, jump if true, jump if false, operand
        (0x30, 0, 0, 20),  # next header of the IPv6 header
        (0x15, 0, 4, 58),  # ICMPv6, else drop
        (0x30, 0, 0, 54),  # its type
        (0x15, 1, 0, 135),
        (0x15, 0, 1, 136),
        (0x06, 0, 0, 0xFFFF),
        (0x06, 0, 0, 0),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))


# --- routing netlink, inside a thread -------------------------------------------------------------------------------


def _survey() -> tuple[list[Link], list[Present]]:
    """Return the interfaces and their addresses."""
    from pyroute2 import IPRoute  # noqa: PLC0415  # 0.2 s, which only who assigns addresses shall pay

    with IPRoute() as route:
        links = [_link(message) for message in route.get_links()]
        present = [item for item in map(_present, route.get_addr()) if item is not None]
    return links, present


def _link(message: Any) -> Link:
    flags = message["flags"]
    mac = bytes.fromhex((message.get_attr("IFLA_ADDRESS") or "").replace(":", ""))
    asks = message["ifi_type"] == _ETHERNET_TYPE and len(mac) == MAC_BYTES and not flags & (_LOOPBACK | _NO_ARP)
    return Link(message["index"], message.get_attr("IFLA_IFNAME"), bool(flags & _UP), mac if asks else b"")


def _present(message: Any) -> Present | None:
    text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    if text is None:
        return None
    ours = message.get_attr("IFA_PROTO") == ADDRESS_TAG
    return Present(ip_address(text), message["prefixlen"], message["index"], ours)


def _change(command: str, addresses: list[tuple[IPAddress, int]]) -> dict[IPAddress, str]:
    """Add or delete addresses by interface index. A failed addition raises, failed deletions are returned."""
    from pyroute2 import IPRoute  # noqa: PLC0415  # see _survey

    failures: dict[IPAddress, str] = {}
    with IPRoute() as route:
        for address, index in addresses:
            options: dict[str, Any] = {"index": index, "address": str(address), "prefixlen": address.max_prefixlen}
            if command == "add":
                options |= {"proto": ADDRESS_TAG, "scope": 0}
                if address.version == 6:
                    options["flags"] = _NO_DAD
            try:
                route.addr(command, **options)
            except Exception as error:
                if command == "add":
                    raise
                if _number(error) not in {errno.EADDRNOTAVAIL, errno.ENODEV}:  # gone already: that is what we want
                    failures[address] = _reason(error)
    return failures


def _number(error: Exception) -> int:
    """Return the errno of an OSError or of pyroute2's NetlinkError, 0 for others."""
    number = getattr(error, "code", None) or getattr(error, "errno", None)
    return number if isinstance(number, int) else 0


def _reason(error: Exception) -> str:
    """Say why, and what to do about it."""
    match _number(error):
        case errno.EPERM | errno.EACCES:
            return (
                "not permitted · CAP_NET_ADMIN and CAP_NET_RAW are needed (AmbientCapabilities= of the unit), "
                "or `virtual_server_addresses off`"
            )
        case errno.ENODEV | errno.ENXIO:
            return "the interface is gone · bring it back, then reload"
        case errno.ENETDOWN:
            return "the interface is down · bring it up, then reload"
        case errno.EEXIST:
            return "somebody else assigned it meanwhile"
        case 0:
            return f"{type(error).__name__}: {error}"
        case number:
            return errno.errorcode.get(number, f"errno {number}")
