"""Names as operators abbreviate them: * stands for anything, ? for one character. Pure, and light: the command line uses it too."""

from __future__ import annotations

import fnmatch
import functools
import re

WILD = re.compile(r"[*?]")
"""A name with one of these means every name that fits; brackets are those of an IPv6 address."""


def fits(pattern: str, name: str) -> bool:
    """Tell whether a name fits a pattern."""
    return _expression(pattern).match(name) is not None


def virtual_server_fits(pattern: str, name: str) -> bool:
    """Tell whether a virtual server, as status names it, fits a pattern; "/tcp" and the like may be left out."""
    return fits(pattern, name) or fits(pattern, name.partition("/")[0])


def real_server_fits(pattern: str, name: str) -> bool:
    """Tell whether a real server, as status names it, fits a pattern, by all of its name or by its address."""
    return fits(pattern, name) or fits(pattern, name.rpartition(":")[0].strip("[]"))


@functools.lru_cache(maxsize=64)
def _expression(pattern: str) -> re.Pattern[str]:
    """Return a pattern as a regular expression that takes no long time whatever it is (fnmatch sees to that)."""
    return re.compile(fnmatch.translate(pattern.lower().replace("[", "[[]")))
