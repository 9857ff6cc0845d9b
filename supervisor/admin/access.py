"""Who asks, and what they may: decided from what the kernel says of the other end of the socket, never from what it says itself. Pure.

Questions are answered to root, to the daemon's own user, and to members of the admin group if there is one. What changes something
is for root and the daemon's own user, and for the group only where the operator said so as well.
Source: unix(7), SO_PEERCRED: the credentials are those of the moment of connect(2).
"""

from __future__ import annotations

from dataclasses import field

from checkers.kit.frozen import frozen

ROOT = 0


@frozen
class Caller:
    """The other end. `pid` is 0 when it is in a process namespace that we cannot see; `groups` are all that it is a member of."""

    uid: int
    gid: int
    pid: int
    user: str = ""  # the account's name; empty when there is none
    groups: frozenset[int] = field(default_factory=frozenset)

    @property
    def name(self) -> str:
        """How people are told of it."""
        return self.user or f"uid {self.uid}"


@frozen
class Access:
    """Who may what. `owner` is the daemon's own user; `group` may ask, and change things with `group_may_change`."""

    owner: int
    group: int | None = None
    group_may_change: bool = False

    def refusal(self, caller: Caller, *, changes: bool) -> str | None:
        """Return why `caller` may not ask (or change something); None when they may."""
        if caller.uid in {ROOT, self.owner}:
            return None
        member = self.group is not None and self.group in caller.groups | {caller.gid}
        if member and (self.group_may_change or not changes):
            return None
        if member:
            return (
                f"{caller.name} may ask and not change anything: only root and the daemon's own user may"
                " (see run --admin-group-may-change)"
            )
        return f"{caller.name} may not ask: only root, the daemon's own user and the admin group may (see run --admin-group)"


NOBODY_ELSE = Access(owner=ROOT)
"""Root alone."""
