"""What a mail says: subject and body of each transition that is worth one, word for word as keepalived 2.2.7 has them. Pure.

Source: keepalived.md, section 3.10, and keepalived itself: `tests/kernel/test_mails_beside_keepalived.py` compares its mails with ours.
"""

from __future__ import annotations

import enum
from typing import TypeAlias, assert_never

from checkers.kit.frozen import frozen
from supervisor.core.transitions import (
    CheckChanged,
    LogOnly,
    QuorumChanged,
    RealServerChanged,
    RealServerRemoved,
    Transition,
    VirtualServerRemoved,
)
from supervisor.model import Endpoint
from supervisor.notify._names import server_name, service_name

_OfRealServer: TypeAlias = CheckChanged | RealServerChanged | RealServerRemoved

UNMAILED_CHECKS = frozenset({"FILE_CHECK"})
"""Checks whose changes keepalived mails nobody: only a quorum that they cost is told."""


class What(enum.Enum):
    """What a mail is about; the value is keepalived's word for it."""

    REAL_SERVER = "Realserver"
    VIRTUAL_SERVER = "Virtualserver"


@frozen
class News:
    """One thing to be told. `name` says which one it is about, `up` how that is now."""

    what: What
    name: str
    up: bool
    body: str

    @property
    def subject(self) -> str:
        """The subject without the router's name."""
        return f"{self.what.value} {self.name} - {'UP' if self.up else 'DOWN'}"


def describe(transition: Transition, *, every_check: bool) -> News | None:
    """Return what the mail about `transition` says; None: not worth one.

    `every_check` False: only what changes a real server counts, not each of its checks.
    """
    if isinstance(transition, LogOnly):
        return None
    if transition.follower or not transition.mail:
        return None
    match transition:
        case CheckChanged():
            if not every_check or transition.check in UNMAILED_CHECKS:
                return None
            return _of_real_server(transition, check_body(transition), up=transition.real_server_up)
        case RealServerChanged():
            if every_check or not transition.check or transition.check in UNMAILED_CHECKS:
                return None
            return _of_real_server(transition, check_body(transition), up=transition.up)
        case QuorumChanged():
            return _of_virtual_server(transition, _quorum_body(transition), up=transition.up)
        case RealServerRemoved():
            if not transition.in_service:  # it was DOWN for whoever reads mail, or nothing was said of it
                return None
            body = f"=> {'Shutting down' if transition.stopping else 'Removing'} <="
            return _of_real_server(transition, body, up=False)
        case VirtualServerRemoved():
            return _of_virtual_server(transition, _gone_body(transition), up=False)
        case _:
            assert_never(transition)


def _of_virtual_server(transition: QuorumChanged | VirtualServerRemoved, body: str, *, up: bool) -> News:
    name = service_name(transition.virtual_server, transition.group, transition.group_use)
    return News(What.VIRTUAL_SERVER, name, up, body)


def _of_real_server(transition: _OfRealServer, body: str, *, up: bool) -> News:
    """The state in the subject is that of the real server, whatever one of its checks may say (keepalived.md, section 3.10)."""
    key = transition.virtual_server
    service = service_name(key, transition.group, transition.group_use)
    name = f"{server_name(transition.real_server, key)} of virtual server {service}"
    return News(What.REAL_SERVER, name, up, body)


def check_body(changed: CheckChanged | RealServerChanged) -> str:
    """Say in one line what the check found."""
    check, up = changed.check, changed.up
    succeeded = "succeed" if up else "failed"
    match check:
        case "HTTP_GET" | "SSL_GET":
            finding = f"CHECK {succeeded} on service{'' if up else ' : HTTP request failed'}"
        case "SMTP_CHECK":
            finding = f"CHECK {succeeded} on service{'' if up else f' : {_smtp_failure(changed)}'}"
        case "MISC_CHECK":
            failed = "timed out" if changed.reason == "PROCTOUT" else "failed"
            finding = f"MISC CHECK {'succeeded' if up else failed} on service"
        case "DNS_CHECK":
            finding = f"DNS_CHECK: {succeeded} on service"
        case "PING_CHECK":
            finding = f"ICMP CHECK {succeeded} on service"
        case "BFD_CHECK":  # its detail begins with the name of the bfd_instance
            name = changed.detail.partition(" ")[0]
            finding = f"BFD CHECK {name} {'succeeded' if up else 'failed'} on service"
        case _:
            finding = f"{check.replace('_', ' ')} {succeeded} on service"
    return f"=> {finding} <="


def _smtp_failure(changed: CheckChanged | RealServerChanged) -> str:
    """Say what a mail server did wrong; what keepalived has no words for is said in ours."""
    where: Endpoint = changed.target or changed.real_server
    match changed.reason:
        case "L4CON":
            failure = "Could not connect to"
        case "L4TOUT":
            failure = "Connection timeout to"
        case "L7TOUT":
            failure = "Read timeout from"
        case "L7STS" if "wanted 250" in changed.detail:
            failure = "Bad HELO response from"
        case "L7STS":
            failure = "Bad greeting banner from"
        case "L7RSP" if " after " in changed.detail:  # "… after 0 bytes": it was cut off
            failure = "Read failure from"
        case "L7RSP":
            failure = "Bad greeting banner from"
        case _:
            return f"{changed.reason} {changed.detail}".rstrip()
    return f"{failure} server [{where.address}]:{where.port}"


def _quorum_body(changed: QuorumChanged) -> str:
    """The sum is quorum plus hysteresis, minus it for a loss; keepalived writes a plus sign in any case.

    A new configuration is a start in keepalived's words, too; what it takes away is a loss.
    """
    up, quorum, hysteresis = changed.up, changed.quorum, changed.hysteresis
    starting = changed.at_start or changed.by_configuration
    happened = f"Starting with quorum {'up' if up else 'down'}" if starting else f"{'Gained' if up else 'Lost'} quorum"
    bound = quorum + hysteresis if up or starting else quorum - hysteresis
    return f"=> {happened} {quorum}+{hysteresis}={bound} <= {changed.weight_up} <="


def _gone_body(removed: VirtualServerRemoved) -> str:
    """A virtual server that a reload takes away loses its quorum for whoever reads mail."""
    bound = removed.quorum - removed.hysteresis
    return f"=> Lost quorum {removed.quorum}+{removed.hysteresis}={bound} <= 0 <="
