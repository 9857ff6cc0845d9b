"""TCP_CHECK: the real server is up when it accepts a connection (keepalived.md, section 3.4).

Sends nothing and reads nothing; must never wait for a banner. The connection is closed as soon as it stands.
"""

from __future__ import annotations

from collections.abc import Mapping

from checkers.kit.api import Dialer, Glance, Reason, Target, Verdict
from checkers.kit.options import Json, Keyword

KEYWORD = "TCP_CHECK"
SENTINEL = True

OPTIONS: tuple[Keyword, ...] = ()

_CONNECTED = Verdict(Reason.L4OK, "connected")


def prepare(options: Mapping[str, Json]) -> None:
    """Accept the block's values. There are none; raises ValueError when there are."""
    for name in options:
        raise ValueError(f"TCP_CHECK has no keyword {name!r} of its own")


class Standing:
    """Nothing is said, and that the connection stands is all."""

    first = b""
    probes = 1
    layer = None

    def recognise(self, data: bytes) -> Verdict:  # noqa: ARG002  nothing is read
        """Return the verdict: it stands."""
        return _CONNECTED


_GLANCE = Standing()


def glance(target: Target, prepared: None) -> Glance:  # noqa: ARG001  the same shape for every type
    """Return how a probe goes if nothing happens."""
    return _GLANCE


async def check(target: Target, prepared: None, dial: Dialer) -> Verdict:  # noqa: ARG001  the same shape for every type
    """Connect once. Returns L4OK; a failure leaves as the dialer's ProbeError."""
    stream = await dial.connect(target)
    stream.close()
    return _CONNECTED
