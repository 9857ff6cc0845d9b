"""Which address of a group speaks for all of them while a new configuration is taken over.

A block of the file that uses a virtual_server_group is one virtual server here for each address of the group, and people hear of the
first alone. When a new file gives the group other addresses, the block is still the one that they know: an address that comes or goes
is no news, and what else changes is told once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Self, TypeAlias

from checkers.kit.frozen import frozen
from supervisor.core.transitions import Transition
from supervisor.model import ServiceKey, VirtualServer

Block: TypeAlias = tuple[str, int]
"""The name of a group, and which of the blocks that use it."""


@frozen
class Speakers:
    """For the blocks that are in the old and the new configuration.

    `voices` are the addresses that speak meanwhile: who did so far, if it stays, else who will from now on. `heirs` are new addresses in
    the place of one that leaves, which is the value: they go on with its state.
    """

    voices: Mapping[Block, ServiceKey]
    heirs: Mapping[ServiceKey, ServiceKey]

    @classmethod
    def between(cls, old: Sequence[VirtualServer], new: Sequence[VirtualServer]) -> Self:
        """Compare two configurations."""
        before, after = _first(old), _first(new)
        known = {server.key for server in old}
        staying = {server.key: _block(server) for server in new}
        voices, heirs = dict[Block, ServiceKey](), dict[ServiceKey, ServiceKey]()
        for block in before.keys() & after.keys():
            spoke, will_speak = before[block], after[block]
            voices[block] = spoke if staying.get(spoke) == block else will_speak
            if spoke not in staying and will_speak not in known:
                heirs[will_speak] = spoke
        return cls(voices, heirs)

    def spoken(self, told: Iterable[Transition], server: VirtualServer) -> list[Transition]:
        """Return what an address tells, so that people hear it from the one that speaks and from no other."""
        voice = self.voices.get(_block(server))
        if voice is None:
            return list(told)
        return [replace(transition, follower=server.key != voice) for transition in told]


def _first(servers: Sequence[VirtualServer]) -> dict[Block, ServiceKey]:
    return {_block(server): server.key for server in servers if server.group and not server.follower}


def _block(server: VirtualServer) -> Block:
    return server.group, server.group_use
