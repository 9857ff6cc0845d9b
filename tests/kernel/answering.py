"""A director and its servers' network, twice the same in one kernel, with scripted servers on every port that a case wants.

    director                                                     servers
    eth0 192.0.2.1, .9   fe80::c:1  ─────  eth0 192.0.2.2   fe80::c:2      203.0.113.10, .69 and 2001:db8:3::10 (its own)
    eth1 198.51.100.1               ─────  eth1 198.51.100.2               .66 dropped, .67 unreachable

The way to 203.0.113.69 is open to packets with the mark 7 alone.
"""

from __future__ import annotations

import socket
import threading
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from types import TracebackType
from typing import Self

import trio

from tests.fakes.behaviours import Behaviour, Connect
from tests.fakes.played import Note, serve, serve_datagrams
from tests.kernel.answer_cases import (
    DIRECTOR,
    DIRECTOR_ALIAS,
    DIRECTOR_OTHER,
    LINK_LOCAL,
    MARK,
    MARKED,
    NO_ROUTE,
    NO_ROUTE6,
    REFUSED_HOST,
    REFUSED_HOST6,
    SERVER,
    SERVER6,
    SILENT_HOST,
    SILENT_HOST6,
    Case,
)
from tests.kernel.lab import Lab, inside, ip, ip_batch

FIRST_PORT = 2001


@dataclass(frozen=True, slots=True)
class Ping:
    """An echo request. The kernel sets the identifier of a socket for ping; by a raw socket it is the first two bytes of our payload."""

    source: str
    raw: bool


class Street(Lab):
    """A lab with another network: the director and one namespace with all servers."""

    def __init__(self, directory: Path, prefix: str) -> None:
        super().__init__(directory, prefix)
        self.servers = f"{prefix}servers"

    def _namespaces(self) -> list[str]:
        return [self.director, self.servers]

    def _build(self) -> None:
        Path("/run/netns").mkdir(exist_ok=True)
        for name in self._namespaces():
            ip("netns", "add", name)
            inside(name, _settings)
        pairs = [
            f"link add {n} netns {self.director} type veth peer name {n} netns {self.servers}" for n in ("eth0", "eth1")
        ]
        ip_batch(None, pairs)
        ip_batch(
            self.servers,
            [
                *_links("192.0.2.2/24", "198.51.100.2/24", "2001:db8:2::2/64", f"{LINK_LOCAL}/64"),
                *(f"addr add {address} dev lo" for address in (f"{SERVER}/32", f"{MARKED}/32", f"{SERVER6}/128")),
                f"route add unreachable {REFUSED_HOST}",
                f"route add unreachable {REFUSED_HOST6}",
                f"route add blackhole {SILENT_HOST}",
                f"route add blackhole {SILENT_HOST6}",
            ],
        )
        ip_batch(
            self.director,
            [
                *_links(f"{DIRECTOR}/24", f"{DIRECTOR_OTHER}/24", "2001:db8:2::1/64", "fe80::c:1/64"),
                f"addr add {DIRECTOR_ALIAS}/32 dev eth0",
                f"route add 203.0.113.0/24 via 192.0.2.2 src {DIRECTOR} metric 10",
                "route add 203.0.113.0/24 via 198.51.100.2 metric 20",
                "route add 2001:db8:3::/64 via 2001:db8:2::2",
                *(f"route add unreachable {address}" for address in (NO_ROUTE, NO_ROUTE6, MARKED)),
                f"route add {MARKED} via 192.0.2.2 table 107",
                f"rule add fwmark {MARK} lookup 107",
            ],
        )

    def weights(self) -> dict[tuple[str, int], int]:
        """Return the weight of each destination by address and port."""
        text = inside(self.director, lambda: Path("/proc/thread-self/net/ip_vs").read_text())
        found = {}
        for line in text.splitlines():
            words = line.split()
            if words[:1] != ["->"] or not words[3].isdecimal():
                continue
            address, _, port = words[1].rpartition(":")
            numeric = ip_address(address.strip("[]")) if "[" in address else ip_address(int(address, 16))
            found[str(numeric), int(port, 16)] = int(words[3])
        return found


async def _attend(server: Behaviour, client: trio.SocketStream, note: Note) -> None:
    async with client:
        await serve(server, client, note)


def _settings() -> None:
    settings = Path("/proc/sys/net")
    for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        (settings / name).write_text("1")
    # one answer to each unreachable packet, not one a second
    (settings / "ipv4/icmp_ratemask").write_text("0")
    (settings / "ipv6/icmp/ratelimit").write_text("0")


def _links(first: str, second: str, sixth: str, local: str) -> list[str]:
    return [
        "link set lo up",
        "link set eth0 addrgenmode none",
        "link set eth0 up",
        "link set eth1 up",
        f"addr add {first} dev eth0",
        f"addr add {second} dev eth1",
        f"addr add {sixth} dev eth0 nodad",
        f"addr add {local} dev eth0 nodad",
    ]


class Answering:
    """The scripted servers of one street, in a thread of their own. Use it as a context manager.

    `asked` is what each case was asked, `sources` where the probes of each came from, and `pings` the echo requests over IPv4, each in the
    order of their coming. All of it may be read at any time.
    """

    def __init__(self, street: Street, cases: Iterable[Case]) -> None:
        self.asked: dict[Case, list[bytes]] = defaultdict(list)
        self.sources: dict[Case, list[tuple[str, int]]] = defaultdict(list)
        self.pings: list[Ping] = []
        self.ports = {case: case.port or FIRST_PORT + number for number, case in enumerate(cases)}
        self._kept: list[socket.socket] = []
        opened = inside(street.servers, self._open)
        self._pings = inside(
            street.servers, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        )
        self._thread = threading.Thread(target=trio.run, args=(self._run, opened), name=f"answering {street.servers}")
        self._ready = threading.Event()
        self._cancel = trio.CancelScope()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._token.run_sync_soon(self._cancel.cancel)
        self._thread.join()
        for kept in self._kept:
            kept.close()

    def _open(self) -> list[tuple[Case, socket.socket]]:
        return [(case, self._bound(case, port)) for case, port in self.ports.items() if case.server is not None]

    def _bound(self, case: Case, port: int) -> socket.socket:
        assert case.server is not None
        reached = next((line.split()[1] for line in case.lines if line.startswith("connect_ip")), case.address)
        family = socket.AF_INET6 if ":" in reached else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_DGRAM if case.server.udp else socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        scope = (0, socket.if_nametoindex("eth0")) if reached == LINK_LOCAL else ()
        bound.bind((reached, port, *scope))
        if not case.server.udp:
            full = case.server.connect is Connect.BLACKHOLE
            bound.listen(0 if full else 64)
            if full:
                self._fill(bound)
        return bound

    def _fill(self, bound: socket.socket) -> None:
        """Fill the queue of a listener that nobody accepts from: it drops what comes."""
        for _ in range(4):
            filler = socket.socket(bound.family)
            filler.setblocking(False)
            filler.connect_ex(bound.getsockname())
            self._kept.append(filler)
        self._kept.append(bound)

    async def _run(self, opened: list[tuple[Case, socket.socket]]) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with self._cancel:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hear_pings)
                for case, bound in opened:
                    assert case.server is not None
                    if case.server.udp:
                        nursery.start_soon(self._datagrams, case, trio.socket.from_stdlib_socket(bound))
                    elif case.server.connect is Connect.ACCEPT:
                        nursery.start_soon(self._connections, case, trio.socket.from_stdlib_socket(bound))
                self._ready.set()

    async def _connections(self, case: Case, listening: trio.socket.SocketType) -> None:
        assert case.server is not None
        with listening:
            async with trio.open_nursery() as nursery:
                while True:
                    sock, peer = await listening.accept()  # tells the peer, even one that is gone again
                    self.sources[case].append((peer[0], peer[1]))
                    nursery.start_soon(_attend, case.server, trio.SocketStream(sock), self.asked[case].append)

    async def _datagrams(self, case: Case, bound: trio.socket.SocketType) -> None:
        assert case.server is not None

        def heard(data: bytes, sender: tuple[str, int]) -> None:
            self.asked[case].append(data)
            self.sources[case].append(sender)

        await serve_datagrams(case.server, bound, heard)

    async def _hear_pings(self) -> None:
        with trio.socket.from_stdlib_socket(self._pings) as raw:
            while True:
                packet = await raw.recv(2048)
                message = packet[(packet[0] & 0x0F) * 4 :]
                if message[0] == 8:
                    self.pings.append(Ping(str(IPv4Address(packet[12:16])), message[4:6] == message[8:10]))
