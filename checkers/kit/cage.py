"""Giving up privileges: what a child of the supervisor does before the first byte from the network.

    confine(uid, gid, max_files, walls) -> str  a worker or the exporter: own user, no capability, walls, no way back
    keep_only(capabilities) -> str              the supervisor and the runner: nothing but these
    wall_in(walls) -> str                       the supervisor and the runner: after that, the walls that they can have
    become_reaper(), shed(), die_with(parent)   the runner, and what becomes a program of the operator's

Children of a root supervisor start as root (so that a virtual environment below /root can be imported) and call `confine` after
their last import. Capabilities and the user must go, or there is a CageError. Walls (limits, Landlock, seccomp) are what this kernel has
of them: it is no reason to check nothing when one is missing, but it is said. What was reached is read back from /proc or tried, not
assumed, and is one line of text: `lacks=…` at its end names what could not be had.

Everything goes through the C library by ctypes: no dependency, few files to audit (`seccomp`, `policies`, `landlock`, `limits` beside this
one). Sources: reliability.md, section 5; capabilities(7), prctl(2), linux/capability.h.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Iterable
from pathlib import Path
from types import MappingProxyType

from checkers.kit import landlock, limits, seccomp
from checkers.kit.frozen import frozen

CAP_KILL = 5
CAP_SETGID = 6
CAP_SETUID = 7
CAP_SETPCAP = 8
CAP_NET_BIND_SERVICE = 10
CAP_NET_ADMIN = 12
CAP_NET_RAW = 13

capability_numbers = MappingProxyType(
    {
        "CAP_KILL": CAP_KILL,
        "CAP_SETGID": CAP_SETGID,
        "CAP_SETUID": CAP_SETUID,
        "CAP_SETPCAP": CAP_SETPCAP,
        "CAP_NET_BIND_SERVICE": CAP_NET_BIND_SERVICE,
        "CAP_NET_ADMIN": CAP_NET_ADMIN,
        "CAP_NET_RAW": CAP_NET_RAW,
    }
)
"""The capabilities that Vipervisor knows by name (linux/capability.h)."""

EXPENDABLE = 300
"""A process that is replaced within seconds goes before others of the machine, and long before the supervisor (its unit: -900)."""

_PR_SET_PDEATHSIG = 1
_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_CAPABILITIES_MAX = 64

_libc = ctypes.CDLL(None, use_errno=True)


class CageError(Exception):
    """A privilege that had to go is still there. The text says which."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@frozen
class Walls:
    """What stands around a process besides its user and its capabilities."""

    policy: seccomp.Policy
    """The system calls that it may make."""
    shut: bool = False
    """Whether Landlock takes away all files, and who is outside."""
    shut_tcp: bool = False
    """Whether Landlock also takes away new TCP ports and connections."""
    limited: bool = False
    """Whether it gets the resource limits of `kit.limits`."""
    memory_bytes: int = 0
    """Its most data, when it is limited; 0: as it is."""


def confine(uid: int | None, gid: int | None, max_files: int = 0, walls: Walls | None = None) -> str:
    """Become `uid` and `gid` without any capability, for good, and stand within `walls`.

    `uid` and `gid` matter only when we are root; None keeps them. `max_files` is how many descriptors must be possible (0: as
    they are); the soft limit is raised to it, the hard one too where that is allowed
    (and with walls that are limited, no more is possible). No PR_SET_PDEATHSIG: it fires when
    the parent's *thread* ends, and trio starts processes from short-lived threads; a child notices the end of its link instead.
    Returns what was reached, as "uid=65534 gid=65534 caps=0 nnp=1 limits=data:768M landlock=7 seccomp=filter". Raises CageError when
    root could not get everything down.
    """
    raise_file_limit(max_files)
    if walls and walls.limited:
        limits.volunteer(EXPENDABLE)
    _drop_bounding(keep=())
    _clear_ambient()
    if os.geteuid() == 0 and uid is not None and gid is not None:
        try:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        except OSError as error:
            raise CageError(f"cannot become uid {uid} gid {gid}: {error}") from error
    _set_capabilities(())
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    reached = _require_reached(uid, gid)
    return f"{reached} {_build(walls, max_files)}" if walls else reached


def wall_in(walls: Walls) -> str:
    """Stand within `walls` for good, with the user and the capabilities that are left. Every child inherits them.

    Comes before the first thread, as `keep_only` does. Returns what was reached, as "nnp=1 seccomp=filter".
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    return f"nnp={_status().get('NoNewPrivs', 0)} {_build(walls)}"


def lacks(reached: str) -> str:
    """Return what a cage could not get, as its text says: "landlock,seccomp"; empty: nothing is missing."""
    _, _, missing = reached.partition(" lacks=")
    return missing.split(" ", 1)[0]


def _build(walls: Walls, max_files: int = 0) -> str:
    """Put up the walls and return what stands: the filter last, for the others take calls that it refuses."""
    told, missing = [], []
    if _prctl(_PR_GET_DUMPABLE) != 0:
        missing.append("dumpable")
    status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)  # to be read again when no file can be opened
    if walls.limited:
        limits.lower(walls.memory_bytes, max_files)
        missing += [f"limit-{name}" for name in limits.missing(walls.memory_bytes, max_files)]
        told.append(f"limits={limits.shown()}")
    if walls.shut:
        version = landlock.shut(tcp=walls.shut_tcp)
        told.append(f"landlock={version or 'no'}")
        if not version or _can_open("/"):
            missing.append("landlock")
    answer = seccomp.put_in_force(walls.policy)
    said = os.pread(status, 65536, 0)
    os.close(status)
    if answer == "filter" and b"\nSeccomp:\t2\n" in said:
        told.append("seccomp=filter")
    else:
        told.append(f"seccomp=no ({answer})")
        missing.append("seccomp")
    if missing:
        told.append(f"lacks={','.join(missing)}")
    return " ".join(told)


def _can_open(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def keep_only(capabilities: Iterable[int]) -> str:
    """Give up every capability but `capabilities` (numbers); user and group stay as they are.

    Permitted and effective become what we had of them, inheritable and ambient become empty, so a child that runs another
    program has none unless it is root. Safe for an ordinary user, who has none to lose. Returns what is left, as "caps=1000" (the
    effective set in hexadecimal). Raises CageError when one is left that should not be, and when there are other threads:
    capabilities belong to a thread, and those of another cannot be taken from here (capabilities(7)).
    """
    wanted = frozenset(capabilities)
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        raise CageError("other threads run already, and each would keep its capabilities; this comes before the first")
    _clear_ambient()
    _drop_bounding(keep=wanted)
    _set_capabilities(number for number in wanted if _have(number))
    left = _status()["CapEff"] | _status()["CapPrm"]
    if left & ~sum(1 << number for number in wanted):
        raise CageError(f"capabilities {left:x} are left, wanted none but {sorted(wanted)}")
    return f"caps={left:x}"


def become_reaper() -> None:
    """Make every orphan among our descendants our own child, so that nothing can leave our sight. Raises CageError."""
    if _prctl(_PR_SET_CHILD_SUBREAPER, 1) < 0:
        raise CageError("this kernel knows no child subreaper")


def shed() -> None:
    """Give up every capability and every way to another, whoever we are: for a child of ours just before it runs another program.

    Root without capabilities stays root: it owns root's files, and may do nothing else that is root's. Raises CageError.
    """
    _clear_ambient()
    _set_capabilities(())
    if _prctl(_PR_SET_NO_NEW_PRIVS, 1) < 0:
        raise CageError("this kernel knows no no_new_privs")


def die_with(parent: int) -> None:
    """Be killed when `parent` (a process with one thread) dies; for a child of it. A parent that is gone already is an error.

    Comes after the change of user, which forgets it. Raises CageError.
    """
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        raise CageError("the parent is gone")


def raise_file_limit(max_files: int) -> None:
    """Raise the limit of open descriptors to `max_files`, as far as we may; never lower it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if max_files <= soft or soft == resource.RLIM_INFINITY:
        return
    if hard != resource.RLIM_INFINITY and max_files > hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max_files, max_files))
        except (OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (max_files, hard))


def _prctl(option: int, *arguments: int) -> int:
    """Call prctl; returns its result, or minus the errno."""
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    result: int = _libc.prctl(option, *padded)
    return -ctypes.get_errno() if result < 0 else result


def _drop_bounding(keep: Iterable[int]) -> None:
    """Empty the bounding set but for `keep`, where we may (it takes CAP_SETPCAP; without it nothing there can be had anyway)."""
    for number in range(_CAPABILITIES_MAX):
        if number not in keep and _prctl(_PR_CAPBSET_READ, number) == 1:
            _prctl(_PR_CAPBSET_DROP, number)


def _clear_ambient() -> None:
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)


def _set_capabilities(capabilities: Iterable[int]) -> None:
    """Make these numbers the permitted and effective set, and nothing inheritable."""
    header = _Header(_CAPABILITY_VERSION_3, 0)
    data = (_Data * 2)()
    for number in capabilities:
        word, bit = divmod(number, 32)
        data[word].effective |= 1 << bit
        data[word].permitted |= 1 << bit
    if _libc.capset(ctypes.byref(header), ctypes.byref(data)) != 0:
        raise CageError(f"capset: {os.strerror(ctypes.get_errno())}")


def _have(number: int) -> bool:
    return bool(_status()["CapPrm"] >> number & 1)


def _status() -> dict[str, int]:
    """Return what the kernel says of us: capability sets, NoNewPrivs, and effective user and group."""
    found = {}
    for line in (
        Path("/proc/self/status").read_bytes().decode().splitlines()
    ):  # as text it would import a codec, too late
        name, _, rest = line.partition(":")
        if name in {"CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"}:
            found[name] = int(rest, 16)
        elif name == "NoNewPrivs":
            found[name] = int(rest)
        elif name in {"Uid", "Gid"}:
            found[name] = int(rest.split()[1])
    return found


def _require_reached(uid: int | None, gid: int | None) -> str:
    status = _status()
    left = status["CapPrm"] | status["CapEff"] | status["CapInh"] | status.get("CapAmb", 0)
    text = f"uid={status['Uid']} gid={status['Gid']} caps={left:x} nnp={status.get('NoNewPrivs', 0)}"
    if left:
        raise CageError(f"capabilities are left: {text}")
    if status["Uid"] == 0 and uid not in {None, 0}:
        raise CageError(f"still root, wanted uid {uid} gid {gid}: {text}")
    return text
