"""The edges: everything humans are told. Each is produced exactly once, by the core, from a change of state.

A transition carries facts, not sentences: log, mail and scripts each make their own words of it. `cause` is the id of the
`Cause` (core/causes.py) that led to it. Weights are IPVS weights, durations seconds. `script` is the program that the file
wants to run at it.

A virtual_server of a group is one virtual server here for each address of the group, and one block to whoever wrote it: `group` is
the group's name ("" for none), `group_use` tells the blocks that use it apart (0, 1, … in the order of the file), and `follower` is True
for every address of a block but its first, so that people can be told once.
"""

from __future__ import annotations

from typing import TypeAlias

from checkers.kit.frozen import frozen
from supervisor.model import Endpoint, Script, ServiceKey


@frozen
class CheckChanged:
    """One check of a real server changed between UP and DOWN (mail tells it even when the real server stays down)."""

    cause: int
    virtual_server: ServiceKey
    real_server: Endpoint
    check: str  # checker type
    up: bool
    reason: str
    detail: str
    real_server_up: bool  # after this change
    mail: bool
    target: Endpoint | None = None  # where the check probes; None without a check
    group: str = ""
    group_use: int = 0
    follower: bool = False


@frozen
class RealServerChanged:
    """A real server went UP or DOWN."""

    cause: int
    virtual_server: ServiceKey
    real_server: Endpoint
    up: bool
    was: str  # UNKNOWN UP DOWN
    check: str
    reason: str
    detail: str
    failures: int
    retry: int
    duration_s: float
    previous_state_s: float
    weight_old: int | None
    weight_new: int | None
    up_left: int
    weight_left: int
    quorum: int
    mail: bool
    target: Endpoint | None = None  # where the check probes; None without a check
    group: str = ""
    group_use: int = 0
    follower: bool = False
    script: Script | None = None
    at_start: bool = False  # it was UP when the program started (rs_init_notifies)


@frozen
class WeightChanged:
    """A check (a script, a file) gave a live real server another weight."""

    cause: int
    virtual_server: ServiceKey
    real_server: Endpoint
    check: str
    reason: str
    detail: str
    weight_old: int
    weight_new: int
    weight_left: int
    quorum: int
    group: str = ""
    group_use: int = 0
    follower: bool = False


@frozen
class QuorumChanged:
    """A virtual server gained or lost its quorum. `at_start` marks the first judgement after start.

    `by_configuration`: what a new configuration asks for or brings changed it, and not a real server that it took away.
    """

    cause: int
    virtual_server: ServiceKey
    up: bool
    weight_up: int
    quorum: int
    hysteresis: int
    servers_up: int
    servers_total: int
    sorry_server: Endpoint | None
    at_start: bool
    mail: bool
    group: str = ""
    group_use: int = 0
    follower: bool = False
    script: Script | None = None
    by_configuration: bool = False


@frozen
class SorryChanged:
    """The sorry server was stepped in or taken back."""

    cause: int
    virtual_server: ServiceKey
    sorry_server: Endpoint
    active: bool
    group: str = ""
    group_use: int = 0
    follower: bool = False


@frozen
class SuspensionChanged:
    """The address of a virtual server with ha_suspend left this host, or came; its checks rest meanwhile."""

    virtual_server: ServiceKey
    suspended: bool
    group: str = ""
    group_use: int = 0
    follower: bool = False


@frozen
class CheckFailed:
    """A failed probe that only consumed a retry; `log` (log_all_failures) asks for each one to be logged."""

    cause: int
    virtual_server: ServiceKey
    real_server: Endpoint
    check: str
    reason: str
    detail: str
    attempt: int
    retry: int
    log: bool
    group: str = ""
    group_use: int = 0
    follower: bool = False


@frozen
class RealServerRemoved:
    """A reload took a real server out of the configuration, or the program stops with omega.

    `in_service`: it stood in the table, so that for people it goes DOWN with this.
    """

    virtual_server: ServiceKey
    real_server: Endpoint
    stopping: bool
    mail: bool
    group: str = ""
    group_use: int = 0
    follower: bool = False
    script: Script | None = None
    in_service: bool = True


@frozen
class VirtualServerRemoved:
    """A virtual server that had its quorum left with a reload, or the program stops with omega: for people it is DOWN now."""

    virtual_server: ServiceKey
    stopping: bool
    mail: bool
    quorum: int
    hysteresis: int
    group: str = ""
    group_use: int = 0
    follower: bool = False
    script: Script | None = None


@frozen
class AdminChanged:
    """An operator's wish for a real server began, changed or ended (`admin` "enabled" and `weight` None), or its time was over."""

    cause: int
    virtual_server: ServiceKey
    real_server: Endpoint
    admin: str  # enabled draining disabled
    weight: int | None
    reason: str
    by: str
    expires_s: float | None  # from now; None: never
    expired: bool
    weight_old: int | None
    weight_new: int | None
    weight_left: int
    quorum: int
    group: str = ""
    group_use: int = 0
    follower: bool = False


@frozen
class Drained:
    """A real server that left the configuration is out of the table now: `in_time` when it was empty, else `cut_off` active
    connections were left when its time was over.
    """

    virtual_server: ServiceKey
    real_server: Endpoint
    took_s: float
    cut_off: int
    in_time: bool
    group: str = ""
    group_use: int = 0
    follower: bool = False


@frozen
class HoldChanged:
    """A real server that is DOWN is held in service from now on, or no more (`held_by` "", with who held it in `was`).

    `held_by` and `was`: guard (min_healthy), blame (the director is suspected). `reason` and `detail` are those of its worst check.
    """

    cause: int
    virtual_server: ServiceKey
    real_server: Endpoint
    held_by: str
    was: str
    text: str  # the evidence, or why it is over
    reason: str
    detail: str
    expires_s: float | None  # from now; None: as long as it is needed
    weight: int | None  # that is wanted now; None: it leaves the table
    up_left: int
    weight_left: int
    quorum: int
    group: str = ""
    group_use: int = 0
    follower: bool = False


@frozen
class SelfBlame:
    """The director suspects itself, and holds removals because of it; or does so no more.

    `held` is how many real servers are held, of `real_servers` in all. `group` and what follows it mean nothing here.
    """

    suspected: bool
    text: str  # the evidence
    held: int
    real_servers: int
    until_s: float | None  # from now, at most; None: nobody is held any more
    since_s: float
    group: str = ""
    group_use: int = 0
    follower: bool = False


LogOnly: TypeAlias = (
    SorryChanged | SuspensionChanged | CheckFailed | WeightChanged | AdminChanged | HoldChanged | SelfBlame | Drained
)
"""What the log is told and nobody else: keepalived has no mail, script or line in a pipe for it."""

Transition: TypeAlias = (
    CheckChanged | RealServerChanged | QuorumChanged | RealServerRemoved | VirtualServerRemoved | LogOnly
)
