"""The ways to targets without a kernel: a story loses them and gives them back."""

from __future__ import annotations

from collections.abc import Callable, Collection
from ipaddress import ip_address

import trio

from supervisor.ipvs.paths import Seen
from supervisor.model import IPAddress


class FakePaths:
    """A `PathPort` that knows what the story says."""

    def __init__(self) -> None:
        self.lost: dict[IPAddress, str] = {}
        self._changed = trio.Event()

    async def watch(self, targets: Callable[[], Collection[IPAddress]], seen: Seen) -> None:
        """Tell what is lost of the targets, now and whenever a story says so."""
        known = None
        while True:
            self._changed = trio.Event()
            wanted = targets()
            lost = {address: why for address, why in self.lost.items() if address in wanted}
            if lost != known:
                known = lost
                await seen(lost)
            await self._changed.wait()

    def look_again(self) -> None:
        """See PathPort."""
        self._changed.set()

    def lose(self, *addresses: str, why: str = "eth1 has no carrier") -> None:
        """The ways to these addresses are gone."""
        self.lost.update(dict.fromkeys(map(ip_address, addresses), why))
        self._changed.set()

    def restore(self) -> None:
        """All ways are there again."""
        self.lost.clear()
        self._changed.set()
