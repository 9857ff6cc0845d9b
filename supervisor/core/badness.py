"""How badly a real server failed: the last results of its checks, in the order in which clients would mind.

Pure classification. The words of errors are those of `checkers.kit.sockets` (a test holds both together), because one reason
(L4CON) stands for a host that says no and for one that nobody reaches, and here the difference is the whole point.
"""

from __future__ import annotations

import enum

from supervisor.core.events import Health, Result
from supervisor.core.health import Check
from supervisor.core.realserver import RealServerState


class Badness(enum.IntEnum):
    """The least bad first (peers.md, section 2.2: slow before wrong before unreachable before refused)."""

    WRONG = 1  # it answers, but not what was asked for
    SLOW = 2  # it was reached, and did not answer in time
    GARBLED = 3  # no valid answer, or one cut off
    SILENT = 4  # it was not reached in time
    ODD = 5  # a script or a file says so, or a checker broke: nobody knows what clients would meet
    UNREACHABLE = 6  # the network says that there is no way to it
    UNKNOWN = 7  # down, and nobody has said why since we started
    REFUSED = 8  # nothing listens


UNREACHABLE_WORDS = (
    "no route to host",
    "network unreachable",
    "timed out in the kernel",
    "network interface down",
    "host is down",
)
"""Texts of L4CON that mean a way that does not exist, not a host that says no (`checkers.kit.sockets.errno_text`)."""

NO_WAY_WORDS = ("network unreachable", "network interface down")
"""Those of them that this host's own routing says at once: ENETUNREACH, ENETDOWN."""

_BY_REASON = {
    "L7STS": Badness.WRONG,
    "L7BODY": Badness.WRONG,
    "L7TOUT": Badness.SLOW,
    "L6TOUT": Badness.SLOW,
    "L7RSP": Badness.GARBLED,
    "L6RSP": Badness.GARBLED,
    "L4TOUT": Badness.SILENT,
    "PROCERR": Badness.ODD,
    "PROCTOUT": Badness.ODD,
    "FILEERR": Badness.ODD,
    "CRASHED": Badness.ODD,
}

_WITHOUT_CONNECTION = frozenset({"DNS_CHECK", "UDP_CHECK"})
"""Checker types over UDP: for them no answer is silence, there is no connection that came about before."""


def of_result(check_type: str, result: Result | None) -> Badness:
    """Return how bad the failure behind a result is; UNKNOWN for None and for what is no failure."""
    if result is None:
        return Badness.UNKNOWN
    if result.reason == "L4CON":
        unreachable = any(words in result.detail for words in UNREACHABLE_WORDS)
        return Badness.UNREACHABLE if unreachable else Badness.REFUSED
    if result.reason == "L7TOUT" and check_type in _WITHOUT_CONNECTION:
        return Badness.SILENT
    return _BY_REASON.get(result.reason, Badness.UNKNOWN)


def of_check(check: Check) -> Badness:
    """Return how bad the last failure of a check was."""
    return of_result(check.spec.type, check.failure)


def of_server(server: RealServerState) -> Badness:
    """Return how badly a real server that is DOWN failed: the worst of its checks that are. UNKNOWN when none is."""
    return max((of_check(check) for check in server.checks if check.health is Health.DOWN), default=Badness.UNKNOWN)
