"""The way between the director and the servers, where packets get lost, and how much later things arrive because Linux sends them again.

    wire = Wire(0.01, random.Random(1))
    wire.connected_s(), wire.delivered_s()     # how much later a connection stands, and something said arrives
    wire.reset_arrives()                       # nobody sends that again
    wire.sent, wire.lost                       # packets so far

Each packet is drawn, on each way. What Linux does about it (tcp(7); RFC 6298, section 2; net/ipv4/tcp_timer.c), and what
tests/process/test_lossy_wire.py sees it do:

* A SYN without an answer goes out again after 1 s, 3 s, 7 s, …; so does the SYN-ACK, from whoever sent it. (Linux 6.5 and later send the
  first four of them a second apart: tcp_syn_linear_timeouts.)
* Data and a FIN go out again after 0.2 s (TCP_RTO_MIN), 0.6 s, 1.4 s, …: pessimistic where more follows, for then a gap is filled sooner.
  The first data of a connection whose handshake took a repetition wait for three seconds at worst (RFC 6298, section 5.7).
* A reset is never sent again: who lost it does not know that the connection is over, until it says something itself.
* A keep-alive is asked for every second, answered or not, and the connection ends when nothing came for as long as TCP_USER_TIMEOUT.

Who has the address of a host is not asked while packets of its connections are acknowledged, and each handshake does that
(sk_dst_confirm in net/ipv4/tcp_input.c): while there is a probe each second ARP has nothing to lose, so it is not modelled. Nor are
packets that take longer, twice or overtake each other: nothing of that is a loss.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Iterator, Sequence

from tests.fakes.behaviours import End, Pause, Reset, Send, Step

SYN_AGAIN_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
DATA_AGAIN_S = (0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6)
SLOW_AGAIN_S = (3.0, 6.0, 12.0, 24.0)
"""Pauses before a packet is sent again; the last are those of the first data after a handshake of which something was lost."""

SEGMENT_BYTES = 1460
"""What one packet of Ethernet carries."""

SIGNS_S = 60.0
"""Signs of life are drawn for so long at a time: they may well never be sent."""


class Wire:
    """`rate` is the probability that a packet is lost. `sent` and `lost` count packets."""

    def __init__(self, rate: float = 0.0, rng: random.Random | None = None) -> None:
        self.rate = rate
        self.sent = 0
        self.lost = 0
        self._random = (rng or random.Random(1)).random

    def arrives(self) -> bool:
        """Send one packet, and tell whether it arrives."""
        self.sent += 1
        if self._random() >= self.rate:
            return True
        self.lost += 1
        return False

    def connected_s(self) -> float:
        """Return how much later a connection stands for who asked, in seconds; math.inf: never."""
        answers_s: list[float] = []  # when the server sends its own again
        now = 0.0
        for pause in SYN_AGAIN_S:
            if self.arrives():
                if self.arrives():
                    return now
                answers_s = answers_s or [now + after for after in itertools.accumulate(SYN_AGAIN_S)]
            now += pause
            while answers_s and answers_s[0] <= now:
                if self.arrives():
                    return answers_s[0]
                answers_s.pop(0)
        return math.inf

    def refused_s(self) -> float:
        """Return how much later a refusal comes, which is made for each SYN and forgotten."""
        return self._again(SYN_AGAIN_S, ways=2)

    def delivered_s(self, size_bytes: int = 1, again_s: Sequence[float] = DATA_AGAIN_S) -> float:
        """Return how much later the last of so many bytes is there, in seconds: as late as the latest of their packets."""
        return max(self._again(again_s) for _ in range(-(-size_bytes // SEGMENT_BYTES)))

    def reset_arrives(self) -> bool:
        """Send a reset, and tell whether the other side hears of it."""
        return self.arrives()

    def heard_s(self, idle_s: float, silence_s: float) -> tuple[float, bool]:
        """Return for how long a good host is heard from, in seconds, and whether that is the end; if not, ask again then.

        The first sign of life is asked for when nothing came for `idle_s` seconds, each other one a second later. The end is when nothing
        came for `silence_s`.
        """
        heard_s, asked_s = 0.0, idle_s
        while heard_s < SIGNS_S:
            if self.arrives() and self.arrives():
                heard_s, asked_s = asked_s, asked_s + idle_s
                continue
            asked_s += 1.0
            if asked_s - heard_s >= silence_s:
                return heard_s + silence_s, True
        return heard_s, False

    def travelled(self, steps: Iterable[Step], again_s: Sequence[float] = DATA_AGAIN_S) -> Iterator[Step]:
        """Yield what a server does as the client sees it: later, but in the same order."""
        said_s = seen_s = 0.0  # when the server said it, and when the client saw it
        for step in steps:
            if isinstance(step, Pause):
                said_s += step.duration_s
                continue
            size_bytes = len(step.data) if isinstance(step, Send) else 1
            # a reset is not sent again, but who had not heard of it says the question again, and hears it then
            arrives_s = said_s + (
                self.delivered_s(size_bytes, again_s) if isinstance(step, Send | End | Reset) else 0.0
            )
            if arrives_s > seen_s:
                yield Pause(arrives_s - seen_s)
                seen_s = arrives_s
            yield step
        if said_s > seen_s:
            yield Pause(said_s - seen_s)

    def _again(self, again_s: Sequence[float], ways: int = 1) -> float:
        """Return how much later something arrives that is sent again after these pauses, each time over so many ways."""
        late_s = 0.0
        for pause in again_s:
            if all(self.arrives() for _ in range(ways)):
                return late_s
            late_s += pause
        return math.inf
