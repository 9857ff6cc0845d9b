"""What each process may call, on one page for whoever audits it; `kit.seccomp` puts it in force.

| process    | policy                | why                                                                                     |
| ---------- | --------------------- | --------------------------------------------------------------------------------------- |
| checker    | WORKER, an allow list | parses bytes of strangers; opens sockets of the Internet families and nothing else      |
| exporter   | EXPORTER, an allow list | parses bytes of strangers; accepts connections, opens nothing                         |
|            | PROTECTED_EXPORTER    | the same with TLS: opens one file in memory, again and again                            |
| verifier   | EXPORTER              | the exporter's own; compares passwords with their hashes, has one socket                |
| supervisor | PRIVILEGED, a deny list | its children and the operator's scripts inherit it, so it names only what none needs |
| runner     | the supervisor's, inherited | scripts start programs and use the network, and what is refused here is refused them |

Nothing may be mapped as executable once the code is there: no regular expression is compiled to machine code (kit.pattern).
"""

from __future__ import annotations

import os
import socket
from types import MappingProxyType

from checkers.kit.seccomp import Condition, OneOf, Policy, Without

_PROT_EXEC = 0x4
_FIONREAD, _FIONBIO, _FIONCLEX, _FIOCLEX, _TCGETS, _SIOCGIFINDEX = 0x541B, 0x5421, 0x5450, 0x5451, 0x5401, 0x8933
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | 0o20000000  # the last bit is O_TMPFILE's own

_LIVING = (
    # the loop, first because it is asked most
    *("epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl", "epoll_create1", "eventfd2", "poll", "ppoll", "select"),
    *(
        "pselect6",
        "read",
        "write",
        "readv",
        "writev",
        "pread64",
        "close",
        "close_range",
        "fstat",
        "newfstatat",
        "lseek",
    ),
    *("fcntl", "dup"),
    *("clock_gettime", "clock_getres", "gettimeofday", "time", "clock_nanosleep", "nanosleep", "restart_syscall"),
    # memory and signals
    *("munmap", "mremap", "madvise", "brk", "futex", "getrandom", "sched_yield"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "exit", "exit_group"),
    # who am I
    *("getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getrusage"),
    # open sockets
    *("getsockname", "getpeername", "sendto", "recvfrom", "sendmsg", "recvmsg", "shutdown", "setsockopt", "getsockopt"),
)

_LIVING_IF: dict[str, Condition] = {
    "mmap": Without(2, _PROT_EXEC),
    "mprotect": Without(2, _PROT_EXEC),
    "ioctl": OneOf(1, (_FIONBIO, _FIONREAD, _FIOCLEX, _FIONCLEX, _TCGETS, _SIOCGIFINDEX)),
}

WORKER = Policy(
    allows=True,
    calls=(
        *_LIVING,
        "connect",
        "bind",
        "ftruncate",
        "pwrite64",
    ),  # the last two: the one file in memory for TLS's client certificate
    only_if=MappingProxyType(
        {
            **_LIVING_IF,
            "socket": OneOf(0, (int(socket.AF_INET), int(socket.AF_INET6))),
            "openat": Without(
                2, _WRITES
            ),  # that file again, by its name in /proc: every other one is Landlock's to refuse
        }
    ),
)

EXPORTER = Policy(
    allows=True,
    calls=(*_LIVING, "accept4", "getdents64"),  # getdents64: the supervisor's descriptors, a folder opened beforehand
    only_if=MappingProxyType(_LIVING_IF),
)

PROTECTED_EXPORTER = Policy(
    allows=True,
    calls=(*EXPORTER.calls, "ftruncate", "pwrite64"),  # the one file in memory for the server's certificate and key
    only_if=MappingProxyType({**_LIVING_IF, "openat": Without(2, _WRITES)}),  # that file, by its name in /proc
)
"""The exporter with TLS and passwords. Its verifier has EXPORTER."""

PRIVILEGED = Policy(
    allows=False,
    calls=(
        # other processes
        *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp"),
        # the file systems and the root
        *("mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount"),
        *("fspick", "mount_setattr", "open_by_handle_at", "fanotify_init"),
        # the kernel: other code, programs in it, ways in that are young
        *("kexec_load", "kexec_file_load", "reboot", "init_module", "finit_module", "delete_module", "bpf"),
        *("perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "lookup_dcookie"),
        *("unshare", "setns", "personality"),
        # the machine
        *("swapon", "swapoff", "acct", "sethostname", "setdomainname", "settimeofday", "clock_settime"),
        *("iopl", "ioperm", "vhangup"),
    ),
    only_if=MappingProxyType(
        {
            "socket": OneOf(
                0,
                tuple(
                    int(family)
                    for family in (
                        socket.AF_UNIX,
                        socket.AF_INET,
                        socket.AF_INET6,
                        socket.AF_NETLINK,
                        socket.AF_PACKET,
                    )
                ),
            )
        }
    ),
)
