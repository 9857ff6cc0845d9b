"""Looks at the file of a program that the operator named: is it there, can it be run, could somebody else have changed it.

Shared by the configuration's check, which warns, and the runner, which refuses. Looks only; runs and changes nothing.
Source: keepalived.md, section 4.7.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where a name without a slash is looked for when our own environment has no PATH."""

_LINKS_MAX = 40
"""Symbolic links on the way to one file (path_resolution(7))."""


def find(name: str, search_path: str) -> str:
    """Return the file that a program's name means: itself when it has a slash, else the first executable in `search_path`; "" if none."""
    if "/" in name:
        return name
    for folder in search_path.split(":"):
        candidate = os.path.join(folder, name)  # noqa: PTH118  a Path would drop what makes an empty folder the current one
        if folder and trouble(candidate) == "":
            return candidate
    return ""


def trouble(path: str) -> str:
    """Say why a file cannot be run by anybody, "" when it can. Raises PermissionError when we may not look."""
    try:
        found = os.stat(path)  # noqa: PTH116  also for texts that are no path
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return f"it cannot be found ({reason})"
    if stat.S_ISDIR(found.st_mode):
        return "it is a directory"
    if not stat.S_ISREG(found.st_mode):
        return "it is no ordinary file"
    if not found.st_mode & 0o111:
        return "it is not executable"
    return ""


def changeable(path: str) -> str:
    """Return the part of a path that somebody besides root can change, with why; "" when nobody can.

    Every component counts, those of symbolic links and the folders that hold the links too: who can rename a folder decides
    what the name means. In a folder with the sticky bit nobody can rename what is root's.
    """
    here = Path("/")
    waiting = list((here / path).parts[:0:-1])
    links = 0
    try:
        weak = _weakness(here)
        while waiting and not weak:
            part = waiting.pop()
            if part == "..":
                here = here.parent
                continue
            here /= part
            if here.is_symlink():
                links += 1
                if links > _LINKS_MAX:
                    return f"{here}: too many symbolic links"
                target = here.readlink()
                waiting += [step for step in target.parts[::-1] if step != "/"]
                here = Path("/") if target.is_absolute() else here.parent
                continue
            weak = _weakness(here)
    except OSError as error:
        return f"{here}: {error.strerror}"
    return weak


def _weakness(place: Path) -> str:
    found = place.lstat()
    if found.st_uid != 0:
        return f"{place} belongs to another user (uid {found.st_uid})"
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
        return ""
    if found.st_mode & stat.S_IWOTH:
        return f"{place} can be written by everybody"
    if found.st_mode & stat.S_IWGRP and found.st_gid != 0:
        return f"{place} can be written by group {found.st_gid}"
    return ""
