"""Which targets of checks this host has no way to any more: a route, an interface, its carrier or an address that is gone.

When the director's own network fails, every check fails, and none of it says anything about a real server. So the kernel is asked
which way each target lies, at the start, after each new configuration, and whenever it says that a link, an address or a route has
changed. A way is lost when there is no route, when its interface is down or has no carrier, and for `MOVED_MAX_S` also when it leads out
of another interface than it used to (the connected route of an interface that went down gives way to the default route).

Reads only; decides nothing. What it costs is bounded: after a reading it rests ten times as long as that took.
Sources: rtnetlink(7); reliability.md, section 7; peers.md, section 4.10.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol

import trio

from supervisor.ipvs.routewire import (
    GROUPS,
    Link,
    Way,
    links_request,
    read_links,
    read_ways,
    ways_request,
)
from supervisor.ipvs.wire import WireError
from supervisor.model import IPAddress

BATCH = 64
"""Questions sent at once: their answers fit into a receive buffer of the default size (reliability.md, section 0, fact 4)."""

ANSWER_MAX_S = 2.0
"""The kernel answers within microseconds; after so long the reading is given up."""

REST_MIN_S = 0.2
"""Least pause between two readings: a link that comes up says so several times."""

REST_FACTOR = 10
"""A reading takes at most a tenth of the time, however often routes change (a full table of BGP does all the time)."""

READ_AGAIN_S = 5.0
"""Pause after a reading that failed."""

MOVED_MAX_S = 600.0
"""After so long another interface is the usual one. As the longest hold (`self_blame_hold`)."""

_RECEIVE_BYTES = 65_536

Seen = Callable[[Mapping[IPAddress, str] | None], Awaitable[None]]
"""Takes the targets without a way, and why; None: nobody can know."""


class PathPort(Protocol):
    """What the wiring needs of whoever knows the ways; stories pass a fake."""

    async def watch(self, targets: Callable[[], Collection[IPAddress]], seen: Seen) -> None:
        """Tell which of the targets have no way, now and whenever that changes."""

    def look_again(self) -> None:
        """There are other targets."""


class NoPaths:
    """Where nothing of this host's network is used (a table in memory)."""

    async def watch(self, targets: Callable[[], Collection[IPAddress]], seen: Seen) -> None:
        """See PathPort."""
        del targets
        await seen(None)

    def look_again(self) -> None:
        """See PathPort."""


class KernelPaths:
    """The ways of the network namespace that the threads of this process start in."""

    def __init__(self) -> None:
        self._usual = Usual()
        self._again = trio.Event()

    def look_again(self) -> None:
        """See PathPort."""
        self._again.set()

    async def watch(self, targets: Callable[[], Collection[IPAddress]], seen: Seen) -> None:
        """See PathPort. Until cancelled; a reading that fails is tried again, and what was known holds meanwhile."""
        known: Mapping[IPAddress, str] | None = None
        with trio.socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as news:
            await news.bind((0, GROUPS))
            while True:
                self._again = trio.Event()
                began = trio.current_time()
                try:
                    ways, links = await trio.to_thread.run_sync(survey, tuple(targets()))
                except (OSError, WireError):
                    await trio.sleep(READ_AGAIN_S)
                    continue
                lost = self._usual.lost(ways, links, trio.current_time())
                if lost != known:
                    known = lost
                    await seen(lost)
                rest_s = max(REST_MIN_S, REST_FACTOR * (trio.current_time() - began))
                await self._something_changed(news)
                await trio.sleep_until(began + rest_s)

    async def _something_changed(self, news: trio.socket.SocketType) -> None:
        """Wait for news of the kernel or other targets, or until another way is the usual one. What exactly changed does not matter."""

        async def heard(scope: trio.CancelScope) -> None:
            try:
                await news.recv(_RECEIVE_BYTES)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
            scope.cancel()

        async def other_targets(scope: trio.CancelScope) -> None:
            await self._again.wait()
            scope.cancel()

        with trio.move_on_at(self._usual.settles_at()):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(heard, nursery.cancel_scope)
                nursery.start_soon(other_targets, nursery.cancel_scope)


class Usual:
    """By which interface each target is usually reached, and so which ways are lost. Pure but for what it remembers."""

    def __init__(self) -> None:
        self._interfaces: dict[IPAddress, int] = {}
        self._moved: dict[IPAddress, float] = {}

    def settles_at(self) -> float:
        """Return when the first way that has moved is the usual one (trio's seconds); infinite when none has."""
        return min(self._moved.values(), default=float("inf")) + MOVED_MAX_S

    def lost(self, ways: Mapping[IPAddress, Way], links: Mapping[int, Link], now: float) -> dict[IPAddress, str]:
        """Return the targets without a way, and why."""
        for gone in self._interfaces.keys() - ways.keys():
            del self._interfaces[gone]
            self._moved.pop(gone, None)
        lost: dict[IPAddress, str] = {}
        for address, way in ways.items():
            why = self._why(address, way, links, now)
            if why:
                lost[address] = why
        return lost

    def _why(self, address: IPAddress, way: Way, links: Mapping[int, Link], now: float) -> str:
        """Return why the way to an address is lost, "" when it is not."""
        usual = self._interfaces.get(address)
        before = links.get(usual) if usual is not None else None
        gone = _trouble(before) if before else "" if usual is None else "its interface is gone"
        if way.error:
            return gone or f"no route ({errno.errorcode.get(way.error, way.error)})"
        link = links.get(way.interface)
        trouble = _trouble(link) if link else ""
        if trouble:
            return trouble
        if usual is None or usual == way.interface:
            self._interfaces[address] = way.interface
            self._moved.pop(address, None)
            return ""
        if now >= self._moved.setdefault(address, now) + MOVED_MAX_S:
            self._interfaces[address] = way.interface
            del self._moved[address]
            return ""
        return gone or f"its way is not by {before.name if before else usual} any more"


def _trouble(link: Link) -> str:
    if not link.up:
        return f"{link.name} is down"
    return "" if link.running else f"{link.name} has no carrier"


def survey(targets: Collection[IPAddress]) -> tuple[dict[IPAddress, Way], dict[int, Link]]:
    """Return the way to each target, and all interfaces by index. Raises OSError, WireError. Link-local targets are left out."""
    wanted = [address for address in targets if not address.is_link_local]
    links: dict[int, Link] = {}
    ways: dict[IPAddress, Way] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as route:
        route.settimeout(ANSWER_MAX_S)
        route.bind((0, 0))
        route.send(links_request(1))
        while not read_links(route.recv(_RECEIVE_BYTES), links):
            pass
        for start in range(0, len(wanted), BATCH):
            batch = wanted[start : start + BATCH]
            route.send(ways_request(enumerate(batch)))
            answered = 0
            while answered < len(batch):
                for way in read_ways(route.recv(_RECEIVE_BYTES)):
                    if way.error == errno.EPERM or way.sequence >= len(batch):
                        raise WireError(f"the kernel says {way} to a question where an address is")
                    ways[batch[way.sequence]] = way
                    answered += 1
    return ways, links
