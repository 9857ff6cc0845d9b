"""Landlock: no file, no folder, and where the kernel can tell, no signal and no abstract socket of anybody outside.

    shut(net=...) -> int        the version of Landlock's interface that is in force now; 0: this kernel has none

Nothing is allowed that is handled: rules are not needed. What is open already stays open. Files that have no path (memfd_create) stay too,
and so does TLS's client certificate, which needs one. Connections of a worker are left alone: the next reload may bring a new port, and a
worker that has to be replaced for it would freeze its verdicts meanwhile.

Why not a library: `landlock` on PyPI has been a pre-release since 2025 and knows files only, `landlockpy` and `py-landlock` are months old.
Sources: landlock(7), linux/landlock.h, Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import os

_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # the same on every machine
_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION

_FILES = ((1, 0x1FFF), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
"""Rights on files by the version that brought them: all of the first, refer, truncate, ioctl of devices."""

_TCP = ((4, 0x3),)
"""To bind and to connect."""

_SCOPES = ((6, 0x3),)
"""Abstract Unix sockets and signals, of processes outside."""

_libc = ctypes.CDLL(None, use_errno=True)


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


_SIZES = ((1, 8), (4, 16), (6, 24))
"""Bytes of the attributes by version: an older kernel refuses what is longer and not zero, and takes no more."""


def version() -> int:
    """Return the version of Landlock's interface that the kernel offers; 0: none."""
    found: int = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    return max(found, 0)


def shut(*, tcp: bool) -> int:
    """Take all files away from this thread and what it starts, for good; with `tcp` new TCP ports and connections too.

    Needs no_new_privs or CAP_SYS_ADMIN. Returns the version in force, 0 when the kernel has no Landlock or does not let us.
    """
    offered = version()
    if offered == 0:
        return 0
    attributes = _RulesetAttributes(
        _up_to(offered, _FILES), _up_to(offered, _TCP) if tcp else 0, _up_to(offered, _SCOPES)
    )
    size = max(size for since, size in _SIZES if since <= offered)
    ruleset = _libc.syscall(_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), ctypes.c_uint32(0))
    if ruleset < 0:
        return 0
    refused = _libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    os.close(ruleset)
    return 0 if refused else offered


def _up_to(offered: int, rights: tuple[tuple[int, int], ...]) -> int:
    found = 0
    for since, bits in rights:
        if since <= offered:
            found |= bits
    return found
