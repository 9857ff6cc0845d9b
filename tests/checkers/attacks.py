"""What somebody tries who has taken over a worker or the exporter: the real program, with attacks after it has confined itself.

    python attacks.py worker|exporter SECRET --link-fd N …      the rest is the command line of the real program

After the real `confine`, in the real process, each attack is tried; what became of it goes to standard error as one JSON object, "worked"
or the name of the error. Then the program goes on as if nothing had been. No attack does harm where it works: signals are 0, files
are our own.
"""

# An attack is a system call, not a path:
# ruff: noqa: PTH101, PTH102, PTH104, PTH108, PTH123, PTH208, PTH211

from __future__ import annotations

import _thread
import contextlib
import ctypes
import errno
import importlib
import json
import mmap
import os
import resource
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
X86_64 = os.uname().machine == "x86_64"
GIGABYTE = 1 << 30


def call(number_x86_64: int, number_aarch64: int, *arguments: int) -> int:
    """Make a system call by its number. Raises OSError."""
    padded = [ctypes.c_long(argument) for argument in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    answer: int = libc.syscall(ctypes.c_long(number_x86_64 if X86_64 else number_aarch64), *padded)
    if answer < 0:
        raise OSError(ctypes.get_errno(), "")
    return answer


def fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def clone() -> None:
    child = call(56, 220, signal.SIGCHLD)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def listen() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()


def allocate() -> None:
    memory = bytearray(GIGABYTE)
    del memory


def change(path: str) -> None:
    with open(path, "a", encoding="ascii") as file:
        file.write("x")


def executable_memory() -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def make_executable() -> None:
    page = libc.mmap(None, ctypes.c_size_t(4096), 3, 0x22, -1, ctypes.c_long(0))
    if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(4096), 5):
        raise OSError(ctypes.get_errno(), "")


def capabilities() -> None:
    """CAP_NET_ADMIN, please."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)(1 << 12, 1 << 12, 0, 0, 0, 0)
    if libc.capset(ctypes.byref(header), ctypes.byref(data)):
        raise OSError(ctypes.get_errno(), "")


def limits() -> None:
    if libc.setrlimit(resource.RLIMIT_NPROC, (ctypes.c_ulong * 2)(1, 1)):
        raise OSError(ctypes.get_errno(), "")


def priority() -> None:
    os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)


def attacks(secret: str) -> dict[str, Callable[[], object]]:
    """Return every attack by name; `secret` is a file that everybody may read and, by its mode, write."""
    parent = os.getppid()
    beside = f"{secret}.new"
    return {
        "read /etc/passwd": lambda: Path("/etc/passwd").read_bytes(),
        "read the configuration": lambda: Path(secret).read_bytes(),
        "change the configuration": lambda: change(secret),
        "write a temporary file": lambda: tempfile.TemporaryFile().close(),
        "write to shared memory": lambda: change("/dev/shm/vipervisor-attack"),
        "list a folder": lambda: os.listdir("/"),
        "read the parent's environment": lambda: Path(f"/proc/{parent}/environ").read_bytes(),
        "open the parent's descriptors": lambda: os.open(f"/proc/{parent}/fd/0", os.O_RDONLY),
        "open a device": lambda: os.open("/dev/null", os.O_RDWR),
        "make a folder": lambda: os.mkdir(beside),
        "rename a file": lambda: os.rename(secret, beside),
        "remove a file": lambda: os.unlink(secret),
        "link a file": lambda: os.symlink(secret, beside),
        "change a mode": lambda: os.chmod(secret, 0o777),
        "make a pipe with a name": lambda: os.mkfifo(beside),
        "watch a file": lambda: call(254, 27, 0, 0, 0),
        "fork": fork,
        "clone": clone,
        "run a program": lambda: os.execv("/bin/true", ["true"]),
        "start a thread": lambda: _thread.start_new_thread(os.getpid, ()),
        "open a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16).close(),
        "open a Unix socket": lambda: socket.socket(socket.AF_UNIX).close(),
        "open a packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
        "open a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close(),
        "open a socket to the kernel's ciphers": lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET).close(),
        "open a socket to the machine below": lambda: socket.socket(socket.AF_VSOCK).close(),
        "listen": listen,
        "signal the parent": lambda: os.kill(parent, 0),
        "signal everybody": lambda: os.kill(-1, 0),
        "get a handle of the parent": lambda: os.pidfd_open(parent),
        "trace the parent": lambda: call(101, 117, 16, parent),
        "read the parent's memory": lambda: call(310, 270, parent),
        "slow the parent down": priority,
        "become root": lambda: os.setuid(0),
        "join a group": lambda: os.setgroups([0]),
        "take a capability": capabilities,
        "raise a limit": limits,
        "become traceable": lambda: call(157, 167, 4, 1),
        "change the root": lambda: os.chroot("/"),
        "make a user namespace": lambda: call(272, 97, 0x10000000),
        "enter a namespace": lambda: call(308, 268, 0, 0),
        "mount": lambda: call(165, 40),
        "load a program into the kernel": lambda: call(321, 280, 0),
        "load a module": lambda: call(175, 105),
        "measure others": lambda: call(298, 241),
        "use io_uring": lambda: call(425, 425, 1),
        "handle page faults": lambda: call(323, 282),
        "keep a key": lambda: call(250, 219, 0, -3),
        "make shared memory": lambda: call(29, 194, 0, 4096, 0o1600),
        "make a file in memory": lambda: os.memfd_create("x"),
        "set the clock": lambda: call(227, 112, 0, 0),
        "allocate a gigabyte": allocate,
        "map executable memory": executable_memory,
        "make memory executable": make_executable,
    }


def of_the_exporter() -> dict[str, Callable[[], object]]:
    """Return what a worker may and the exporter may not."""
    return {
        "open a TCP socket": lambda: socket.socket().close(),
        "open a UDP socket": lambda: socket.socket(type=socket.SOCK_DGRAM).close(),
        "write into memory behind a path": lambda: os.open("/proc/self/fd/2", os.O_WRONLY),
    }


def result(attack: Callable[[], object]) -> str:
    """Try one attack."""
    try:
        attack()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error.errno))
    except (MemoryError, RuntimeError) as error:
        return type(error).__name__
    return "worked"


def main() -> int:
    """Be the program, with the attacks in the middle."""
    kind, secret = sys.argv[1:3]
    del sys.argv[1:3]
    everything = attacks(secret)
    with contextlib.suppress(OSError):
        tempfile.gettempdir()  # looks for a folder that can be written; later there is none

    if kind == "exporter":
        everything |= of_the_exporter()
    program = importlib.import_module("checkers.__main__" if kind == "worker" else "supervisor.exporter.__main__")
    confine: Callable[..., str] = program.confine

    def confine_and_attack(*arguments: object) -> str:
        reached = confine(*arguments)
        told = {name: result(attack) for name, attack in everything.items()}
        os.write(2, json.dumps(told).encode() + b"\n")
        return reached

    vars(program)["confine"] = confine_and_attack
    status: int = program.main()
    return status


if __name__ == "__main__":
    sys.exit(main())
