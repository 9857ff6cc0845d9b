"""What this host has and lacks around the table: virtual addresses, ways to the real servers, other programs that write the same table.

    surroundings = Surroundings(outside, facts, knows)
    await surroundings.run(send)      # until cancelled: assigns addresses, and has the director know what it must

Facts alone: what follows from an address that is not here, or from a way that is lost, the director decides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from supervisor import announce, kernelnews
from supervisor.core.director import Director
from supervisor.core.events import AddressesSeen, Event, PathsSeen
from supervisor.model import Config, IPAddress
from supervisor.outside import Outside
from supervisor.overview import Facts
from supervisor.rivals import Rival

START_MAX_S = 10.0
"""At start, addresses and "ready" wait this long for the kernel to be as wanted; a service that it refuses must not stop the rest."""

CHECKERS_FIRST_S = 2.0
"""Addresses wait at most this long for the checkers to start: what assigns them is loaded only then, and that keeps a processor busy."""


class Knows(Protocol):
    """The program, as far as its surroundings go."""

    @property
    def config(self) -> Config:
        """The configuration that holds."""

    @property
    def director(self) -> Director:
        """Who decides."""

    async def settle(self, timeout_s: float) -> bool:
        """Wait until the kernel is as wanted."""

    async def greeted(self) -> None:
        """Wait until every checker has greeted once."""

    async def may_write(self) -> None:
        """Wait while an operator has all changes of the kernel paused."""


class Surroundings:
    """Addresses, ways and rivals."""

    def __init__(self, outside: Outside, knows: Knows) -> None:
        self.facts: Facts | None = None
        self._outside = outside
        self._knows = knows
        self._addresses = outside.addresses(self._address_reported)
        self._paths = outside.paths()
        self._address_news = trio.Event()
        self._presence_matters = trio.Event()
        self._rivals_matter = trio.Event()

    async def run(self, send: Callable[[Event], Awaitable[None]]) -> None:
        """Look after them until cancelled; what the director must know goes to `send`."""
        self._note_presence()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._assign_addresses)
            nursery.start_soon(self._watch_addresses, send)
            nursery.start_soon(self._watch_paths, send)
            nursery.start_soon(self._look_for_rivals)

    def reconfigured(self) -> None:
        """Another configuration holds: other addresses, other targets, and a good moment to look for rivals."""
        self._address_news.set()
        self._rivals_matter.set()
        self._note_presence()
        self._paths.look_again()

    def left(self) -> None:
        """A virtual server that left the configuration is out of the table: its address may go."""
        self._address_news.set()

    def contested(self) -> None:
        """Somebody keeps undoing our work: look who."""
        self._rivals_matter.set()

    async def release(self) -> None:
        """Give back every address that is ours."""
        await self._addresses.release()

    async def _assign_addresses(self) -> None:
        """Assign the virtual addresses once the kernel can serve them, and again whenever the configuration changes."""
        with trio.move_on_after(CHECKERS_FIRST_S):
            await self._knows.greeted()
        while True:
            self._address_news = trio.Event()
            await self._knows.settle(START_MAX_S)
            await self._knows.may_write()
            config = self._knows.config
            wanted = self._knows.director.addresses() if config.assign_addresses else frozenset()
            await self._addresses.assign(wanted, config.default_interface)
            await self._address_news.wait()

    def _note_presence(self) -> None:
        if any(vs.ha_suspend for vs in self._knows.config.virtual_servers):
            self._presence_matters.set()

    async def _watch_addresses(self, send: Callable[[Event], Awaitable[None]]) -> None:
        """Have the director know which addresses are here, as soon as a virtual server hangs on it (ha_suspend)."""
        await self._presence_matters.wait()
        await self._addresses.watch(lambda addresses: send(AddressesSeen(addresses)))

    async def _watch_paths(self, send: Callable[[Event], Awaitable[None]]) -> None:
        """Have the director know to which targets this host has no way."""
        await self._paths.watch(lambda: self._knows.director.blame.targets, lambda lost: send(PathsSeen(lost)))

    def _address_reported(self, address: IPAddress, state: str, detail: str) -> None:
        if self.facts is not None:
            self.facts.addresses[str(address)] = f"{state} {detail}".strip()
        announce.address(address, state, detail, self._outside.log)

    async def _look_for_rivals(self) -> None:
        """Tell of other programs that write the table: at start, after each reload, and when somebody undoes our work."""
        told: set[Rival] = set()
        while True:
            self._rivals_matter = trio.Event()
            look = self._outside.rivals
            found = await trio.to_thread.run_sync(look) if self._outside.in_thread else look()
            for rival in found:
                if rival not in told:
                    kernelnews.rival(rival, self._outside.log)
            told = set(found)
            if self.facts is not None:
                self.facts.rivals = found
            await self._rivals_matter.wait()
