"""Resource limits of a process that has to do with strangers: what it never needs is 0, memory has room for its work and an end.

    lower(memory_bytes, max_files)     soft and hard limit alike, so that there is no way back
    missing(memory_bytes, max_files)   what is not in force, read back
    shown() -> str                     "data:768M,nproc:0,core:0", read back
    volunteer(score)                   to be killed before others when the machine runs out of memory

Sources: getrlimit(2); reliability.md, section 5 (limits are what stops an attacker who wants memory).
"""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

FILE_MAX_BYTES = 1 << 20
"""The longest file that can be written. The only one is in memory and holds a client certificate; our standard error may be another."""

NEVER = (
    resource.RLIMIT_NPROC,  # no process, no thread
    resource.RLIMIT_CORE,  # memory holds keys and passwords of checks
    resource.RLIMIT_MEMLOCK,
    resource.RLIMIT_MSGQUEUE,
    resource.RLIMIT_NICE,
    resource.RLIMIT_RTPRIO,
)


def lower(memory_bytes: int, max_files: int) -> None:
    """Set the limits; one that is lower already stays.

    `memory_bytes` is for data (RLIMIT_DATA: heap and private mappings), `max_files` for descriptors; 0: as it is.
    """
    for limit, value in _wanted(memory_bytes, max_files).items():
        _lower(limit, value)


def _wanted(memory_bytes: int, max_files: int) -> dict[int, int]:
    wanted = dict.fromkeys(NEVER, 0) | {resource.RLIMIT_FSIZE: FILE_MAX_BYTES}
    if memory_bytes:
        wanted[resource.RLIMIT_DATA] = memory_bytes
    if max_files:
        wanted[resource.RLIMIT_NOFILE] = max_files
    return wanted


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    if hard == resource.RLIM_INFINITY or value < hard:
        with contextlib.suppress(OSError, ValueError):  # read back afterwards
            resource.setrlimit(limit, (value, value))


def missing(memory_bytes: int, max_files: int) -> list[str]:
    """Return the names of limits that are not in force."""
    return [_NAMES[limit] for limit, value in _wanted(memory_bytes, max_files).items() if not _holds(limit, value)]


def _holds(limit: int, value: int) -> bool:
    return all(now != resource.RLIM_INFINITY and now <= value for now in resource.getrlimit(limit))


def shown() -> str:
    """Return the limits that matter most, as they are now."""
    _, data = resource.getrlimit(resource.RLIMIT_DATA)
    told = [] if data == resource.RLIM_INFINITY else [f"data:{data >> 20}M"]
    for limit in (resource.RLIMIT_NPROC, resource.RLIMIT_CORE):
        _, hard = resource.getrlimit(limit)
        told.append(f"{_NAMES[limit]}:{'unlimited' if hard == resource.RLIM_INFINITY else hard}")
    return ",".join(told)


def volunteer(score: int) -> None:
    """Raise our chance to be the one that the kernel kills when memory runs out (proc(5), oom_score_adj: -1000 to 1000).

    Before a change of user, after which the file is not ours. Where it cannot be raised it stays.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(b"%d" % score)


_NAMES = {
    number: name.removeprefix("RLIMIT_").lower() for name, number in vars(resource).items() if name[:7] == "RLIMIT_"
}
