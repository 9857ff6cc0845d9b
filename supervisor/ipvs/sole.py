"""One Vipervisor to a table: the mark that says that somebody writes it already.

The mark is an abstract Unix socket. Its name belongs to the network namespace, as the table does, whatever file systems, users and
process namespaces two instances see; it needs no right, leaves no file, and is gone with its holder, however that ends. Anybody may
take a name, so a holder that is seen to lack CAP_NET_ADMIN keeps nobody from starting; one of whom nothing can be seen counts as one.
Sources: unix(7), "Abstract sockets" and SO_PEERCRED; network_namespaces(7).
"""

from __future__ import annotations

import re
import socket
import struct
from pathlib import Path

from checkers.kit.frozen import frozen

NAME = "\0vipervisor: writer of this IPVS table"
ASKED_MAX = 128
"""Instances that may ask who we are, all the time that we run; later ones learn only that somebody is."""

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_CAP_NET_ADMIN = 1 << 12


class TableTaken(Exception):
    """Another instance writes this table; the text names it and the remedy."""


@frozen
class Squatter:
    """A process that holds the name and cannot write a table. Its pid and uid as we see them; 0: not to be seen from here."""

    pid: int
    uid: int


def take(processes: Path = Path("/proc")) -> socket.socket | Squatter:
    """Take the mark for as long as the socket returned is open. Blocks for no time worth a word. Raises TableTaken.

    A `Squatter` instead of a socket: we may start, without a mark.
    """
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        mark.bind(NAME)
        mark.listen(ASKED_MAX)
    except OSError:
        mark.close()
        return _judge_holder(processes)
    return mark


def _judge_holder(processes: Path) -> Squatter:
    pid, uid = _holder()
    if pid and _can_write(processes / str(pid) / "status") is False:
        return Squatter(pid, uid)
    who = f"process {pid}" if pid else "a process that is not to be seen from here"
    raise TableTaken(
        f"another vipervisor ({who}) writes the IPVS table of this network namespace already"
        " · stop it, or look on with --dry-run, or try things with --backend memory"
    )


def _holder() -> tuple[int, int]:
    """Return pid and uid of who holds the name; zeros where that is not to be had."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(NAME)
            pid, uid, _ = _CREDENTIALS.unpack(
                probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            )
        except OSError:  # its queue is full: it is alive
            return 0, 0
    return pid, uid


def _can_write(status: Path) -> bool | None:
    """Tell whether a process has CAP_NET_ADMIN; None where that is not to be known."""
    try:
        found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status.read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else bool(int(found[1], 16) & _CAP_NET_ADMIN)
