"""The filters as the kernel would run them, in an interpreter of ten lines, and then in a kernel."""

from __future__ import annotations

import errno
import re
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkers.kit import policies, syscalls
from checkers.kit.seccomp import INSTRUCTIONS_MAX, Machine, Policy, Without, program
from tests.checkers.kit.test_cage import child

ALLOWED, KILLED = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS

POLICIES = {"worker": policies.WORKER, "exporter": policies.EXPORTER, "privileged": policies.PRIVILEGED}
both_machines = pytest.mark.parametrize("machine", Machine)


def judged(policy: Policy, machine: Machine, number: int, *arguments: int, arch: int | None = None) -> int:
    """Run the filter on one call; return what it says."""
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("<iIQ6Q", number, machine.value[0] if arch is None else arch, 0, *padded)
    instructions = program(policy, machine)
    accumulator = at = 0
    while True:
        code, if_true, if_false, k = instructions[at]
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, k)
                jump = 0
            case 0x15:
                jump = if_true if accumulator == k else if_false
            case 0x25:
                jump = if_true if accumulator > k else if_false
            case 0x45:
                jump = if_true if accumulator & k else if_false
            case 0x06:
                return k
            case _:
                raise AssertionError(f"no such instruction: {code:x}")
        at += 1 + jump


def number_of(name: str, machine: Machine) -> int:
    number = syscalls.NUMBERS[name][machine.value[1]]
    assert number is not None
    return number


@both_machines
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_filter_says_of_every_call_what_its_policy_says(policy: Policy, machine: Machine) -> None:
    named = {syscalls.NUMBERS[name][machine.value[1]] for name in policy.calls}
    conditional = {syscalls.NUMBERS[name][machine.value[1]] for name in policy.only_if}
    for number in range(syscalls.LAST + 1):
        if number in conditional:
            continue
        assert judged(policy, machine, number) == (ALLOWED if (number in named) == policy.allows else EPERM), number


@both_machines
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_filter_fits_the_kernel_and_ends_whatever_comes(policy: Policy, machine: Machine) -> None:
    instructions = program(policy, machine)
    assert len(instructions) < INSTRUCTIONS_MAX
    for at, (code, if_true, if_false, _) in enumerate(instructions):
        assert code == 0x06 or at + 1 + max(if_true, if_false) < len(instructions)


@given(st.integers(0, 2**64 - 1), st.sampled_from(Machine))
def test_a_worker_has_sockets_of_the_internet_and_no_others(family: int, machine: Machine) -> None:
    allowed = family & 0xFFFFFFFF in {socket.AF_INET, socket.AF_INET6}
    assert (judged(policies.WORKER, machine, number_of("socket", machine), family) == ALLOWED) == allowed


@given(st.integers(0, 2**64 - 1), st.sampled_from(["mmap", "mprotect"]), st.sampled_from(Machine))
def test_nothing_becomes_executable(protection: int, name: str, machine: Machine) -> None:
    allowed = not protection & 4
    assert (judged(policies.WORKER, machine, number_of(name, machine), 0, 0, protection) == ALLOWED) == allowed


@both_machines
def test_a_file_is_opened_for_reading_or_not_at_all(machine: Machine) -> None:
    number = number_of("openat", machine)
    assert judged(policies.WORKER, machine, number, 0, 0, 0o2000000) == ALLOWED
    for flags in (0o1, 0o2, 0o100, 0o1000, 0o20200000):
        assert judged(policies.WORKER, machine, number, 0, 0, flags) == EPERM
    assert judged(policies.EXPORTER, machine, number, 0, 0, 0) == EPERM


def test_calls_of_another_kind_of_program_and_of_a_later_kernel() -> None:
    x86_32 = 0x40000003
    assert judged(policies.WORKER, Machine.X86_64, 1, arch=x86_32) == KILLED
    assert judged(policies.PRIVILEGED, Machine.X86_64, 1, arch=x86_32) == ENOSYS
    x32 = 0x40000000
    for policy in POLICIES.values():
        assert judged(policy, Machine.X86_64, x32 | 1) == ENOSYS
    assert judged(policies.WORKER, Machine.X86_64, syscalls.LAST + 1) == ENOSYS
    assert judged(policies.PRIVILEGED, Machine.X86_64, syscalls.LAST + 1) == ALLOWED


@pytest.mark.parametrize(
    ("header", "pattern", "column"),
    [
        ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", r"#define __NR_(\w+)\s+(\d+)", 0),
        ("/usr/include/asm-generic/unistd.h", r"#define __NR(?:3264)?_(\w+)\s+(\d+)", 1),
    ],
)
def test_the_numbers_are_those_of_the_kernels_headers(header: str, pattern: str, column: int) -> None:
    if not Path(header).exists():
        pytest.skip(f"{header} is not here (Debian package linux-libc-dev)")
    known = {name: int(number) for name, number in re.findall(pattern, Path(header).read_text())}
    ours = {name: numbers[column] for name, numbers in syscalls.NUMBERS.items()}
    renamed = {"newfstatat": "fstatat"}  # as asm-generic calls it where it has one size
    assert {name: known.get(name, known.get(renamed.get(name, ""))) for name in ours} == ours


def test_a_kernel_takes_the_filter_and_says_so() -> None:
    told = child(
        "from checkers.kit import policies\n"
        "result = [cage.wall_in(cage.Walls(policies.PRIVILEGED)), cage._status()['NoNewPrivs']]\n"
        "try:\n    os.chroot('/')\nexcept PermissionError:\n    result.append('refused')"
    )
    assert told["result"] == ["nnp=1 seccomp=filter", 1, "refused"]


def test_what_a_kernel_does_not_have_is_said_and_is_no_reason_to_stop() -> None:
    told = child(
        "from checkers.kit import landlock, policies, seccomp\n"
        "landlock.version = lambda: 0\n"
        "seccomp.MACHINES = {}\n"
        "reached = cage.confine(None, None, 0, cage.Walls(policies.WORKER, shut=True, limited=True))\n"
        "result = [reached, cage.lacks(reached)]"
    )
    assert isinstance(told["result"], list)
    assert "landlock=no seccomp=no (no table for " in told["result"][0]
    assert told["result"][1] == "landlock,seccomp"


def test_a_limit_that_is_not_in_force_is_named() -> None:
    told = child(
        "from checkers.kit import limits, policies\n"
        "limits._lower = lambda *_: None\n"
        "result = cage.lacks(cage.confine(None, None, 0, cage.Walls(policies.WORKER, limited=True)))"
    )
    assert "limit-nproc" in str(told["result"])


@pytest.mark.parametrize("condition", [Without(0, 1)])
def test_a_condition_holds_whatever_a_deny_list_says(condition: Without) -> None:
    policy = Policy(allows=False, calls=(), only_if={"socket": condition})
    number = number_of("socket", Machine.X86_64)
    assert judged(policy, Machine.X86_64, number, 2) == ALLOWED
    assert judged(policy, Machine.X86_64, number, 3) == EPERM
