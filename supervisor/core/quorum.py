"""Quorum with hysteresis: keepalived's formulas (keepalived.md, section 3.3).

While it holds, it is lost when the live weight is 0 or below quorum minus hysteresis; while it does not, it is gained at quorum plus
hysteresis. Weights are sums of effective weights of live real servers.
"""

from __future__ import annotations


def quorate(was: bool, weight_up: int, quorum: int, hysteresis: int) -> bool:
    """Return whether the quorum holds now, given whether it held before.

    `quorum` is at least 1 and `hysteresis` at least 0 and below `quorum`; the configuration sees to that.
    """
    if was:
        return weight_up > 0 and weight_up >= quorum - hysteresis
    return weight_up >= quorum + hysteresis
