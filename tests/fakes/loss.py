"""Packets that get lost, and how much later they arrive because Linux sends them again.

A SYN that has no answer goes out again after 1 s, 3 s and 7 s (tcp_syn_retries; RFC 6298, section 2), data after 0.2 s (TCP_RTO_MIN) and
twice as long each time.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

SYN_AGAIN_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
DATA_AGAIN_S = (0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6)
"""Pauses before a packet is sent again."""


def lost_s(rng: random.Random, loss: float, again_s: Sequence[float], ways: int) -> float:
    """How much later a packet arrives whose every sending is lost, on one of so many ways, with this probability."""
    late = 0.0
    for pause in again_s:
        if loss == 0.0 or rng.random() < (1 - loss) ** ways:
            return late
        late += pause
    return math.inf
