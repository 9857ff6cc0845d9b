"""Filters of system calls: a policy as a value, its program for the kernel, and the way to put it in force for good.

    program(policy, machine) -> tuple[Instruction, ...]     pure: classic BPF over `struct seccomp_data`
    put_in_force(policy) -> str                              "filter", or why there is none

An *allow* policy refuses everything that it does not name; a *deny* policy refuses only what it names, and is for processes that run
programs of others, because a filter is inherited. What is refused fails with EPERM and nobody is killed: Python and the C library take
an error for an answer, and a checker that dies of a call that some library makes once a month would be worse than one that goes on
without it. Calls that did not exist when the tables were made fail with ENOSYS, so that a newer C library falls back to an older call.

Why not a library: pyseccomp has had no release since 2021 and needs libseccomp; what is newer on PyPI (seccompy, sandlock) is
younger than this program. This is all of it, and depends on nothing. Sources: seccomp(2), linux/seccomp.h, linux/filter.h, linux/audit.h.
"""

from __future__ import annotations

import ctypes
import enum
import errno
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import field
from types import MappingProxyType
from typing import assert_never

from checkers.kit.frozen import frozen
from checkers.kit.syscalls import LAST, NUMBERS


class Machine(enum.Enum):
    """The machines whose system calls we know: their AUDIT_ARCH and their column in `syscalls.NUMBERS`."""

    X86_64 = 0xC000003E, 0
    AARCH64 = 0xC00000B7, 1


MACHINES = MappingProxyType({"x86_64": Machine.X86_64, "aarch64": Machine.AARCH64})
"""By what uname(2) calls them."""


@frozen
class OneOf:
    """The argument (its lower 32 bits, which are all of an int) is one of these."""

    argument: int
    values: tuple[int, ...]


@frozen
class Without:
    """The argument (its lower 32 bits) has none of these bits."""

    argument: int
    bits: int


Condition = OneOf | Without


@frozen
class Policy:
    """What a process may call. `only_if` names calls that are allowed only under a condition, whatever else the policy says of calls."""

    allows: bool
    """True: only `calls` are allowed. False: all but `calls` are."""
    calls: tuple[str, ...]
    only_if: Mapping[str, Condition] = field(default_factory=dict)


Instruction = tuple[int, int, int, int]
"""struct sock_filter: code, jump if true, jump if false, k."""

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_GREATER = 0x25  # BPF_JMP | BPF_JGT | BPF_K
_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16  # struct seccomp_data
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
INSTRUCTIONS_MAX = 4096
"""BPF_MAXINSNS, linux/bpf_common.h."""

_libc = ctypes.CDLL(None, use_errno=True)


class _SockFilter(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _SockFprog(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.POINTER(_SockFilter)))


def program(policy: Policy, machine: Machine) -> tuple[Instruction, ...]:
    """Return the filter for `policy` on `machine`. Raises KeyError for a call that `syscalls` does not know.

    A call in the numbers of another machine (a 32-bit one, x32) can only come from a foreign program: where ours alone may run, the
    process dies; where others run, the call does not exist.
    """
    audit_arch, _ = machine.value
    refused, permitted = _refuse(errno.EPERM), (_RETURN, 0, 0, _ALLOW)
    foreign = (_RETURN, 0, 0, _KILL_PROCESS) if policy.allows else _refuse(errno.ENOSYS)
    return (
        (_LOAD, 0, 0, _MACHINE_AT),
        (_EQUAL, 1, 0, audit_arch),
        foreign,
        (_LOAD, 0, 0, _NUMBER_AT),
        (_GREATER, 0, 1, LAST if policy.allows else 0x3FFFFFFF),  # from here on x32 counts its calls
        _refuse(errno.ENOSYS),
        *_conditional(policy.only_if, machine),
        *_named(policy.calls, machine, permitted if policy.allows else refused),
        refused if policy.allows else permitted,
    )


def _refuse(number: int) -> Instruction:
    return (_RETURN, 0, 0, _ERRNO | number)


def _named(calls: Iterable[str], machine: Machine, verdict: Instruction) -> Iterable[Instruction]:
    for name in calls:
        number = NUMBERS[name][machine.value[1]]
        if number is not None:
            yield (_EQUAL, 0, 1, number)
            yield verdict


def _conditional(only_if: Mapping[str, Condition], machine: Machine) -> Iterable[Instruction]:
    """Yield, for each call, a block that always ends in a verdict when the number is the call's."""
    for name, condition in only_if.items():
        number = NUMBERS[name][machine.value[1]]
        if number is None:
            continue
        block = _tests(condition)
        yield (_EQUAL, 0, len(block) + 1, number)
        yield (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * condition.argument)  # little-endian both: the lower half comes first
        yield from block


def _tests(condition: Condition) -> list[Instruction]:
    """Return what judges the argument that was loaded; ends in a verdict whatever it is."""
    match condition:
        case OneOf(values=values):
            tests = [test for value in values for test in ((_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW))]
            return [*tests, _refuse(errno.EPERM)]
        case Without(bits=bits):
            return [(_ANY_BIT, 0, 1, bits), _refuse(errno.EPERM), (_RETURN, 0, 0, _ALLOW)]
        case _:
            assert_never(condition)


def put_in_force(policy: Policy) -> str:
    """Have the kernel filter the calls of this thread and of all that it starts, for good. Needs no_new_privs or CAP_SYS_ADMIN.

    Returns "filter", or why there is none: a machine without a table here, or a kernel without seccomp.
    """
    machine = MACHINES.get(platform.machine())
    if machine is None:
        return f"no table for {platform.machine()}"
    instructions = program(policy, machine)
    filters = (_SockFilter * len(instructions))(*(_SockFilter(*instruction) for instruction in instructions))
    fprog = _SockFprog(len(instructions), filters)
    arguments = ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(fprog), ctypes.c_ulong(0), ctypes.c_ulong(0)
    if _libc.prctl(_PR_SET_SECCOMP, *arguments) == 0:
        return "filter"
    return os.strerror(ctypes.get_errno()).lower()
