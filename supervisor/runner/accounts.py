"""Who a program becomes: names of a user and a group into numbers, and whether we can become them at all.

The names are looked up when the program runs, here and not in the supervisor: a directory service that hangs holds up programs,
and nothing else. Nobody becomes root unless root was named.
"""

from __future__ import annotations

import grp
import os
import pwd

from checkers.kit.frozen import frozen

PREFERRED_USER = "keepalived_script"
"""Who runs programs that name nobody, if there is such a user (keepalived.md, section 4.7)."""


class UnknownAccount(Exception):
    """There is no such user or group, or we cannot become it. The text says what to do."""


@frozen
class Account:
    """Numbers to run as. `switch`: whether that takes a change; else we are it already."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str
    switch: bool


@frozen
class Fallback:
    """The unprivileged account of the daemon, for programs that name nobody. None: the daemon was not started by root."""

    uid: int | None
    gid: int | None


def account(user: str, group: str, fallback: Fallback) -> Account:
    """Return what `user` and `group` (names, "" where none was named) stand for. Raises UnknownAccount."""
    entry = _user(user, fallback)
    gid = _group(group) if group else entry.pw_gid
    if os.geteuid() != 0:
        return _ourselves(entry, gid)
    groups = tuple(os.getgrouplist(entry.pw_name, gid)) if entry.pw_name else (gid,)
    return Account(entry.pw_uid, gid, groups, entry.pw_name, entry.pw_dir, switch=True)


def _user(name: str, fallback: Fallback) -> pwd.struct_passwd:
    """Raises UnknownAccount."""
    if name:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            raise UnknownAccount(f'there is no user "{name}"; create it or name another one') from None
    if os.geteuid() != 0 or fallback.uid is None:
        return _by_number(os.geteuid(), os.getegid())
    try:
        preferred = pwd.getpwnam(PREFERRED_USER)
    except KeyError:
        preferred = _by_number(fallback.uid, fallback.gid or 0)
    if preferred.pw_uid == 0:
        raise UnknownAccount("nothing runs as root unless the configuration names root; add script_user")
    return preferred


def _by_number(uid: int, gid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError:  # a number without a name is an account all the same
        return pwd.struct_passwd(("", "x", uid, gid, "", "/", "/bin/sh"))


def _group(name: str) -> int:
    """Raises UnknownAccount."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise UnknownAccount(f'there is no group "{name}"; create it or name another one') from None


def _ourselves(entry: pwd.struct_passwd, gid: int) -> Account:
    """The account of somebody who cannot change it. Raises UnknownAccount when another one is wanted."""
    ours = os.geteuid(), os.getegid()
    if entry.pw_uid != ours[0] or gid not in {ours[1], entry.pw_gid}:
        wanted = f'user "{entry.pw_name}"' if entry.pw_uid != ours[0] else f"group {gid}"
        raise UnknownAccount(f"{wanted} cannot be had: the daemon was not started by root and stays uid {ours[0]}")
    return Account(*ours, (), entry.pw_name, entry.pw_dir, switch=False)
