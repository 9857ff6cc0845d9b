"""Addresses of virtual servers without interfaces: what the wiring asked for, and answers that a story may choose."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping

import trio

from supervisor.model import IPAddress


class FakeAddresses:
    """An `AddressPort` that remembers. `outcomes` gives another state and detail than "assigned" to some addresses."""

    def __init__(
        self,
        report: Callable[[IPAddress, str, str], None],
        outcomes: Mapping[IPAddress, tuple[str, str]] | None = None,
    ) -> None:
        self._report = report
        self._outcomes = outcomes or {}
        self.assigned: dict[IPAddress, str] = {}
        """Address → interface, for those that are ours now."""
        self.here: set[IPAddress] = set()
        """Addresses that others gave this host."""
        self._moved = trio.Event()

    async def assign(self, addresses: Collection[IPAddress], default_interface: str) -> None:
        """Assign all but those with another outcome; release those that left."""
        for address in [address for address in self.assigned if address not in addresses]:
            self._release(address)
        for address in addresses:
            state, detail = self._outcomes.get(address, ("assigned", default_interface))
            if state == "assigned":
                self.assigned[address] = detail
            self._report(address, state, detail)

    async def watch(self, seen: Callable[[frozenset[IPAddress] | None], Awaitable[None]]) -> None:
        """Tell what is `here`, now and whenever a story calls `come` or `go`."""
        while True:
            self._moved = trio.Event()
            await seen(frozenset(self.here))
            await self._moved.wait()

    def come(self, address: IPAddress) -> None:
        """Somebody else gives this host an address."""
        self.here.add(address)
        self._moved.set()

    def go(self, address: IPAddress) -> None:
        """Somebody else takes an address away."""
        self.here.discard(address)
        self._moved.set()

    async def release(self) -> None:
        """Release all."""
        for address in list(self.assigned):
            self._release(address)

    def _release(self, address: IPAddress) -> None:
        self._report(address, "released", self.assigned.pop(address))
