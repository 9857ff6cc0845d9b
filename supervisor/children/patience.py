"""How long a child may be silent, and how long it may take to its first word.

Every child says something every second or two. One that does not is stopped, hung or starved beyond use, and is replaced; what it
said while it was we who stood still is there at a second look. One that waits for a processor most of the time is not hung, and where
that can be seen it is given longer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import trio

from supervisor.children.keeper import ProtocolBroken
from supervisor.core.fitness import STARVED_SHARE

SILENCE_MAX_S = 3.5
"""A child beats once a second; three beats missed, and half a second for the way, mean that it hangs (reliability.md, section 6)."""

SECOND_LOOK_S = 0.1
"""After the patience with a child is over: when it was we who stood still, what it said meanwhile is there at once."""

STARVED_MAX_S = 20.0
"""So long may a child be silent that waits for a processor: as long as a starting one may, for whoever replaces it has that before it."""

STARVED_LOOK_S = 1.0
"""How often it is looked at whether it is still that."""

HELLO_MAX_S = 20.0
"""A starting child may take this long until its first word, for the first time. Python and the imports take 0.3 s; with ten busy
neighbours for each processor it was 9 s (measured)."""

HELLO_LONGEST_S = 60.0
"""After each start without a word it may take twice as long, up to this: a machine that is this slow must not be kept from starting."""


class Vitals(NamedTuple):
    """What can be seen of a process from outside, by its number."""

    memory_bytes: Callable[[int], int]  # how much it has; 0 if nobody knows
    waited_s: Callable[[int], float | None]  # how long it has waited for a processor so far; None if nobody knows


class HelloPatience:
    """How long a starting child may take to its first word."""

    def __init__(self) -> None:
        self.limit_s = HELLO_MAX_S

    def met(self) -> None:
        """It spoke."""
        self.limit_s = HELLO_MAX_S

    def missed(self) -> None:
        """It did not."""
        self.limit_s = min(2 * self.limit_s, HELLO_LONGEST_S)


def _nobody_knows() -> float | None:
    return None


async def patiently(
    receive: Callable[[], Awaitable[bytes]], patience_s: float, waited_s: Callable[[], float | None] = _nobody_knows
) -> bytes:
    """Return what `receive` returns within `patience_s`. Raises ProtocolBroken for silence.

    `waited_s` returns how long the child has waited for a processor since it was started, None where nobody knows. For as long as that
    was most of its silence, it is starved and not hung, and a new one would starve as well: it is given up to STARVED_MAX_S. It is asked
    when half of the patience is over, and what it says is of the time since then: before each word would be thousands of times in vain.
    """
    since = trio.current_time()
    with trio.move_on_after(patience_s / 2):
        return await receive()
    looked_at, before = trio.current_time(), waited_s()
    with trio.move_on_at(since + patience_s):
        return await receive()
    with trio.move_on_after(SECOND_LOOK_S):
        return await receive()
    while before is not None:
        now, waited = trio.current_time(), waited_s()
        if waited is None or waited - before < STARVED_SHARE * (now - looked_at):
            break
        if now - since >= STARVED_MAX_S:
            raise ProtocolBroken(f"silent for {STARVED_MAX_S:g} s, and starved of a processor")
        looked_at, before = now, waited
        with trio.move_on_after(min(STARVED_LOOK_S, STARVED_MAX_S - (now - since))):
            return await receive()
    raise ProtocolBroken(f"silent for {trio.current_time() - since - SECOND_LOOK_S:.3g} s")


async def first_word(receive: Callable[[], Awaitable[bytes]], patience: HelloPatience) -> bytes:
    """Return the first word of a starting child. Raises ProtocolBroken when it does not come."""
    limit_s = patience.limit_s
    patience.missed()
    for wait_s in (limit_s, SECOND_LOOK_S):
        with trio.move_on_after(wait_s):
            word = await receive()
            patience.met()
            return word
    raise ProtocolBroken(f"no greeting within {limit_s:g} s")
